import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
import { decodeChangeset, EncodedChangeset } from "../../change/changeset.ts";
import { encodeKey } from "../../row/key.ts";
import type { RawText } from "../../row/value.ts";
import type { CommitResult } from "../store-outcomes.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, b TEXT NOT NULL DEFAULT 'none', a, n INTEGER, r REAL);
  CREATE TABLE i (id INTEGER PRIMARY KEY, v NUMERIC, u TEXT);
  CREATE TABLE p (y INTEGER NOT NULL, x BLOB NOT NULL, v, g TEXT AS (v || '!'), PRIMARY KEY (x, y));
  CREATE TABLE only (k TEXT PRIMARY KEY NOT NULL);
  CREATE TABLE slow (k INTEGER PRIMARY KEY);
`;
const rules = { t: { urgent: "n > 3" } };
/** Comes to nothing, and is nothing for the quick way. */
const slowly = ["INSERT INTO slow VALUES (1)", "DELETE FROM slow"];

const literal = fc.constantFrom(
  ...["NULL", "0", "1", "1.0", "-0.0", "1.5", "9007199254740993", "-9223372036854775808", "1e300"],
  ...["''", "'x'", "'ä€😀'", "'5'", "x''", "x'ff00'", "char(0)", "hex(zeroblob(100))"],
  ...["hex(zeroblob(3000))", "CAST(x'ff' AS TEXT)"],
);
const key = fc.constantFrom("'a'", "'b'", "'ü'", "'5'");
const statement = fc.oneof(
  fc
    .tuple(key, literal, literal, literal)
    .map(([k, a, n, r]) => `INSERT OR IGNORE INTO t (k, a, n, r) VALUES (${k}, ${a}, ${n}, ${r})`),
  fc
    .tuple(key, literal)
    .map(
      ([k, v]) => `INSERT INTO t (k, a) VALUES (${k}, 7) ON CONFLICT (k) DO UPDATE SET b = ${v}`,
    ),
  fc
    .tuple(fc.constantFrom("a", "b", "n", "r"), literal)
    .map(([c, v]) => `UPDATE t SET ${c} = ${v}`),
  fc.tuple(key, literal).map(([k, v]) => `UPDATE t SET a = ${v}, n = 5 WHERE k = ${k}`),
  fc
    .tuple(fc.constantFrom("1", "2", "3", "-7", "9223372036854775807"), literal, literal)
    .map(([id, v, u]) => `INSERT OR IGNORE INTO i VALUES (${id}, ${v}, ${u})`),
  literal.map((v) => `UPDATE i SET u = ${v}`),
  fc
    .tuple(fc.constantFrom("1", "2.0", "2.5"), fc.constantFrom("x'01'", "'t'", "3.0"), literal)
    .map(([y, x, v]) => `INSERT OR IGNORE INTO p (y, x, v) VALUES (${y}, ${x}, ${v})`),
  literal.map((v) => `UPDATE p SET v = ${v}`),
  key.map((k) => `INSERT OR IGNORE INTO only VALUES (${k})`),
  // Of these the quick way wants to know nothing.
  key.map((k) => `DELETE FROM t WHERE k = ${k}`),
  key.map((k) => `UPDATE OR REPLACE t SET k = ${k} WHERE k = 'a'`),
);
const history = fc.array(fc.array(statement, { minLength: 1, maxLength: 4 }), { maxLength: 8 });

/** All that a commit says, with what it put together only for those who ask. */
function told(result: CommitResult): unknown {
  if (result.kind === "refused") return result;
  const { changeset, encoded, merged, version } = result;
  const rows = changeset?.rows.map(({ cells, ...row }) => ({
    ...row,
    cells: cells.map(({ column, stamp, value }) => ({ column, stamp, value })),
  }));
  return {
    ...{ version, encoded, stamp: changeset?.stamp, lane: changeset?.lane, rows },
    merged: merged.map(({ id, table, before, after, incoming, changed, conflict }) => ({
      ...{ id, table, changed, conflict },
      before: before && { clock: before.clock, cells: before.cells },
      after: { clock: after.clock, cells: after.cells },
      incoming: { clock: incoming.clock, cells: incoming.cells },
    })),
  };
}

function clocks({ db, store }: SqliteNode): unknown {
  store.bringClocksHome();
  return ["t", "i", "p", "only"].map((name) => db.all(`SELECT * FROM patina_clock_${name}`));
}

test("the quick way comes to what the other comes to, to the byte", () => {
  let quick = 0;
  fc.assert(
    fc.property(history, (transactions) => {
      using one = new SqliteNode(schema, { rules });
      using other = new SqliteNode(schema, { rules });
      for (const statements of transactions) {
        const results = [one, other].map((node) => {
          const prefix = node === other ? slowly : [];
          try {
            return node.tryWrite(...prefix, ...statements);
          } catch {
            return undefined;
          }
        });
        const [ours, theirs] = results;
        expect(ours && told(ours)).toEqual(theirs && told(theirs));
        expect(clocks(one)).toEqual(clocks(other));
        if (ours?.kind === "committed" && ours.changeset instanceof EncodedChangeset) quick++;
        if (theirs?.kind === "committed")
          expect(theirs.changeset).not.toBeInstanceOf(EncodedChangeset);
      }
    }),
    { numRuns: 40 },
  );
  expect(quick).toBeGreaterThan(30);
}, 120_000);

/** Whether a commit went the quick way. */
function isQuick(result: CommitResult): boolean {
  return result.kind === "committed" && result.changeset instanceof EncodedChangeset;
}

test("what the quick way doesn't take goes the other, and the next transaction is quick again", () => {
  using node = new SqliteNode(schema, { rules });
  expect(isQuick(node.write("INSERT INTO t (k) VALUES ('a'), ('b')"))).toBe(true);
  expect(isQuick(node.write("UPDATE t SET n = 1"))).toBe(true);
  expect(isQuick(node.write("DELETE FROM t WHERE k = 'b'"))).toBe(false);
  // A tombstone has its causal length.
  const again = node.write("INSERT INTO t (k) VALUES ('b')");
  expect([isQuick(again), again.changeset?.rows[0]?.clock.cl]).toEqual([false, 3]);
  expect(isQuick(node.write("UPDATE t SET k = 'c' WHERE k = 'b'"))).toBe(false);
  expect(isQuick(node.write("UPDATE t SET n = 2"))).toBe(true);
});

test("a value that is damaged isn't told, whichever way the rest of its row goes", () => {
  using node = new SqliteNode(schema);
  node.write("INSERT INTO t (k, a, n) VALUES ('a', 1, 1)");
  // Behind the store's back.
  node.db.exec("UPDATE t SET a = 666");
  const result = node.write("UPDATE t SET n = 2");
  const cells = result.changeset?.rows[0]?.cells.map(({ column }) => column);
  expect([isQuick(result), cells]).toEqual([false, ["b", "n", "r"]]);
});

test("cells that no column shows travel on", () => {
  using node = new SqliteNode(schema);
  const stamp = { ms: 5_000, count: 0, site: siteOf(7) };
  const cell = (column: string, value: string | RawText) => ({ column, stamp, value });
  const keyBytes = encodeKey(["x"]) as Uint8Array;
  node.store.merge([
    {
      ...{ table: "t", key: keyBytes, clock: { ...stamp, cl: 1 } },
      cells: [cell("a", "v"), cell("new", "held")],
    },
  ]);
  const result = node.write("UPDATE t SET a = 'w'");
  const sent = result.changeset?.rows[0]?.cells.map(({ column, value }) => [column, value]);
  expect([isQuick(result), sent]).toEqual([
    false,
    [
      ["a", "w"],
      ["new", "held"],
    ],
  ]);
});

// Merges don't move the clock: whether it follows what others say is judged elsewhere, and of what is far ahead it doesn't.
test.each([
  ["later", 20_001, 0],
  ["of the same millisecond, and counted further", 20_000, 1],
  ["the clock's next one, of a larger site", 20_000, 0],
])("what is written comes after its row, if that has a stamp that is %s", (_, ms, count) => {
  const stamp = { ms, count, site: siteOf(9) };
  const born = { ms: 10_000, count: 0, site: siteOf(9) };
  const key = encodeKey(["x"]) as Uint8Array;
  const heard = [
    { table: "t", key, clock: { ...stamp, cl: 1 }, cells: [] },
    {
      ...{ table: "t", key, clock: { ...born, cl: 1 } },
      cells: [
        { column: "a", stamp, value: "up" },
        { column: "n", stamp: born, value: 1 },
      ],
    },
  ];
  const ways = [["UPDATE t SET a = 'down'"], [...slowly, "UPDATE t SET a = 'down'"]];
  for (const row of heard) {
    for (const statements of [...ways, ["DELETE FROM t"]]) {
      using node = new SqliteNode(schema, { nowMs: 19_000 });
      using other = new SqliteNode(schema, { site: 1 });
      for (const { store } of [node, other]) store.merge([row]);
      other.store.merge(node.write(...statements).changeset?.rows ?? []);
      const wanted = statements[0] === "DELETE FROM t" ? [] : [["down"]];
      expect(other.db.all("SELECT a FROM t")).toEqual(wanted);
    }
  }
});

test.each([
  ["first", [20_002, 20_001]],
  ["last", [20_001, 20_002]],
])("what is written comes after all of its rows, also where the %s is the latest", (_, times) => {
  const rows = times.map((ms, i) => {
    const stamp = { ms, count: 0, site: siteOf(9) };
    const key = encodeKey(["xy".charAt(i)]) as Uint8Array;
    const cells = [{ column: "a", stamp, value: "up" }];
    return { table: "t", key, clock: { ...stamp, ms: 10_000, cl: 1 }, cells };
  });
  for (const before of [[], slowly]) {
    using node = new SqliteNode(schema, { nowMs: 19_000 });
    using other = new SqliteNode(schema, { site: 1 });
    for (const { store } of [node, other]) store.merge(rows);
    const { changeset } = node.write(...before, "UPDATE t SET a = 'down'");
    other.store.merge(changeset?.rows ?? []);
    expect(other.db.all("SELECT a FROM t")).toEqual([["down"], ["down"]]);
  }
});

test("rows that came one after the other and were rolled back are none of the next transaction's", () => {
  using node = new SqliteNode(schema, { rules });
  node.store.begin();
  node.db.exec("INSERT INTO i VALUES (1, 1, NULL), (2, 2, NULL), (3, 3, NULL)");
  node.store.rollback();
  const rows = (...statements: string[]) => node.write(...statements).changeset?.rows.length;
  expect(rows("INSERT INTO only VALUES ('x')")).toBe(1);
  expect(rows("INSERT INTO i VALUES (2, 2, NULL), (3, 3, NULL)")).toBe(2);
});

test("a commit of many small rows that is too large for the normal lane goes in the one of bulk, unless it is urgent", () => {
  using node = new SqliteNode(schema, { rules });
  const laneOf = (count: number, n: number): unknown => {
    const numbers = `WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < ${count})`;
    const { changeset, encoded } = node.write(
      `${numbers} INSERT INTO t (k, a, n) SELECT '${count} ' || i, hex(zeroblob(250)), ${n} FROM i`,
    );
    const decoded = decodeChangeset(encoded as Uint8Array);
    return [changeset?.lane, decoded.kind === "changeset" && decoded.changeset.lane];
  };
  expect([laneOf(300, 0), laneOf(900, 0), laneOf(901, 4)]).toEqual([
    ...[
      [1, 1],
      [2, 2],
      [0, 0],
    ],
  ]);
});
