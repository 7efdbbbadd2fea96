import { expect, test } from "bun:test";
import { ByteWriter } from "../core/bytes/writer.ts";
import type { SqlValue } from "../core/row/value.ts";
import { writeValue } from "../core/row/value.ts";
import { openMemory } from "../test/generators/sqlite-store.ts";

const literals = [
  ...["NULL", "0", "-1", "9007199254740991", "9007199254740993", "-9223372036854775808"],
  ...["0.0", "-1.5", "1e300", "''", "'x'", "'ä€😀'", "CAST(x'ff' AS TEXT)", "x''", "x'00ff'"],
  ...["zeroblob(70000)", "hex(zeroblob(3000))"],
];

function encoded(values: readonly SqlValue[]): Uint8Array {
  const writer = new ByteWriter();
  for (const value of values) writeValue(writer, value);
  return writer.finish();
}

test("columns that are read at once are those that are read one by one", () => {
  using db = openMemory();
  // More than one of everything, and not from the first on.
  const all = [...literals, ...literals, ...literals];
  using statement = db.prepare(`SELECT ${all.join(", ")}`);
  expect(statement.step()).toBe(true);
  const from = 2;
  const writer = new ByteWriter();
  statement.readColumns(from, all.length - from);
  for (let column = from; column < all.length; column++) statement.writeRead(column, writer);
  const expected = statement.row().slice(from);
  expect(writer.finish()).toEqual(encoded(expected));
  statement.readColumns(from, all.length - from);
  expect(expected.map((_, i) => statement.columnRead(from + i))).toEqual(expected);
});

test("columns before a change are read at once, in the order asked for, also those that were added and that are the rowid", () => {
  using db = openMemory();
  const names = literals.map((_, i) => `c${i}`);
  db.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, r REAL, g AS (r || '!'), ${names.join(", ")})`);
  const values = `7, 3, ${literals.join(", ")}`;
  db.exec(`INSERT INTO t (id, r, ${names.join(", ")}) VALUES (${values})`);
  db.exec("ALTER TABLE t ADD COLUMN later TEXT DEFAULT 'so'");
  const last = names.length + 3;
  // As many as are read in two calls.
  const once = [last, 0, 1, ...names.map((_, i) => last - 1 - i)];
  const columns = Array.from({ length: 10 }, () => once).flat();
  const old: Uint8Array[] = [];
  let expected: SqlValue[] = [];
  db.onPreupdate((change) => {
    const writer = new ByteWriter();
    change.writeOld(columns, writer);
    old.push(writer.finish());
    expected = columns.map((column) => change.old(column));
  });
  for (const sql of ["UPDATE t SET c0 = 1, r = 4", "DELETE FROM t"]) {
    db.exec(sql);
    expect(old.pop()).toEqual(encoded(expected));
  }
  expect(expected.slice(0, 2)).toEqual(["so", 7]);
});

test("asked for a column that there isn't, it throws", () => {
  using db = openMemory();
  db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
  db.onPreupdate((change) => change.writeOld([0, 1], new ByteWriter()));
  expect(() => db.exec("UPDATE t SET a = 2")).toThrow();
});
