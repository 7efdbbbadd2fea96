import { expect, test } from "bun:test";
import { bytesToHex } from "../core/bytes/hex.ts";
import { ByteWriter } from "../core/bytes/writer.ts";
import { readColumnsMax } from "../core/database.ts";
import type { SqlValue } from "../core/row/value.ts";
import { writeValue } from "../core/row/value.ts";
import { openMemory } from "../test/generators/sqlite-store.ts";

// Of every length up to where another way of copying begins, and of varints of one byte and more.
const lengths = [...Array.from({ length: 18 }, (_, i) => i), 62, 63, 64, 65, 127, 128, 5000];
const literals = [
  ...["NULL", "0", "-1", "9007199254740991", "9007199254740993", "-9223372036854775808"],
  ...["0.0", "-1.5", "1e300", "''", "'x'", "'ä€😀'", "CAST(x'ff' AS TEXT)", "x''", "x'00ff'"],
  ...["63", "64", "-64", "-65", "8191", "8192", "-9007199254740993", "9223372036854775807"],
  ...lengths.map((bytes) => `zeroblob(${bytes})`),
  ...lengths.map((bytes) => `substr('${"aä€😀 and so on. ".repeat(500)}', 3, ${bytes})`),
];

function encoded(values: readonly SqlValue[]): Uint8Array {
  const writer = new ByteWriter();
  for (const value of values) writeValue(writer, value);
  return writer.finish();
}

test("columns that are encoded at once are those that are read one by one", () => {
  using db = openMemory();
  // As many as may be, and not from the first on.
  const all = ["1", "2", ...literals, ...literals].slice(0, readColumnsMax + 2);
  using statement = db.prepare(`SELECT ${all.join(", ")}`);
  expect(statement.step()).toBe(true);
  const from = 2;
  expect(statement.encodeColumns(from, all.length - from)).toBe(true);
  const values = statement.row().slice(from);
  const encodings = values.map((_, i) =>
    statement.memory.slice(statement.encodedStart(i), statement.encodedEnd(i)),
  );
  expect(encodings.map((bytes) => bytesToHex(bytes))).toEqual(
    values.map((value) => bytesToHex(encoded([value]))),
  );
});

test("columns that are too long to be encoded at once say so, and are there for who reads them", () => {
  using db = openMemory();
  const longest = 64 * 1024 - 24;
  for (const [bytes, fits] of [
    [longest, true],
    [longest + 24, false],
    [10 * longest, false],
  ] as const) {
    using statement = db.prepare("SELECT 1, zeroblob(?)");
    statement.bind(1, bytes);
    expect(statement.step()).toBe(true);
    expect(statement.encodeColumns(0, 2)).toBe(fits);
    expect(statement.column(1)).toEqual(new Uint8Array(bytes));
  }
});

test("columns before a change are read at once, in the order asked for, also those that were added and that are the rowid", () => {
  using db = openMemory();
  const names = literals.map((_, i) => `c${i}`);
  db.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, r REAL, g AS (r || '!'), ${names.join(", ")})`);
  const values = `7, 3, ${literals.join(", ")}`;
  db.exec(`INSERT INTO t (id, r, ${names.join(", ")}) VALUES (${values})`);
  db.exec("ALTER TABLE t ADD COLUMN later TEXT DEFAULT 'so'");
  const last = names.length + 3;
  const once = [last, 0, 1, ...names.map((_, i) => last - 1 - i)];
  // More columns, and longer ones, than are read at once.
  const often = Array.from({ length: 4 }, () => once).flat();
  const old: Uint8Array[] = [];
  const expected: SqlValue[][] = [];
  db.onPreupdate((change) => {
    for (const columns of [once, often]) {
      const writer = new ByteWriter();
      change.writeOld(columns, writer);
      old.push(writer.finish());
      expected.push(columns.map((column) => change.old(column)));
    }
  });
  for (const sql of [
    "UPDATE t SET c0 = 1, r = 4",
    "UPDATE t SET c1 = zeroblob(70000)",
    "UPDATE t SET c1 = hex(zeroblob(70000))",
    "DELETE FROM t",
  ]) {
    db.exec(sql);
    expect(old.splice(0)).toEqual(expected.map(encoded));
    expect(expected.splice(0)[0]?.slice(0, 2)).toEqual(["so", 7]);
  }
});

test("asked for a column that there isn't, it throws", () => {
  using db = openMemory();
  db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
  db.onPreupdate((change) => change.writeOld([0, 1], new ByteWriter()));
  expect(() => db.exec("UPDATE t SET a = 2")).toThrow();
});
