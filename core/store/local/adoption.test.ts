import { expect, test } from "bun:test";
import { openMemory, SqliteNode, schemaOf } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { encodeKey } from "../../row/key.ts";
import type { CommitResult } from "../store-outcomes.ts";
import { Adoption, adoptedAtOnceMax } from "./adoption.ts";

const manyRows = adoptedAtOnceMax + 1;

/** A store that is opened on a table which was filled before. @param values of row `i` */
function adoptionOf(
  table: string,
  values: string,
  rows = manyRows,
): { node: SqliteNode; adoption: Adoption<CommitResult> } {
  const vfs = new MemoryVfs();
  const plain = openMemory(vfs);
  plain.exec(`${table};
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO t SELECT ${values} FROM n`);
  plain.close();
  const node = new SqliteNode(schemaOf(table), { vfs });
  return {
    node,
    adoption: new Adoption(node.db, node.store, node.store.schema.tables.get("t") as never),
  };
}

/** What each slice came to, by its kind or the rows of its commit; undefined at the end. */
function sliceOf(node: SqliteNode, adoption: Adoption<CommitResult>) {
  const commit = adoption.slice(node.nowMs);
  return commit?.kind === "committed"
    ? { rows: commit.merged.length, bytes: commit.encoded?.length ?? 0 }
    : commit?.kind;
}

// 63 rows of a megabyte each were one turn of the store thread, of seconds, for which it took more than a gigabyte.
test.each([
  ["rowids", "id INTEGER PRIMARY KEY, v BLOB", "", "i, "],
  [
    "none",
    "a TEXT NOT NULL, b BLOB NOT NULL, v BLOB, PRIMARY KEY (a, b)",
    "WITHOUT ROWID",
    "'a', CAST(i AS BLOB), ",
  ],
])(
  "of large rows a slice has few, but always one: of a table with %s",
  (_, columns, options, key) => {
    const large = "CASE WHEN i <= 20 THEN zeroblob(300000) WHEN i = 21 THEN zeroblob(3000000) END";
    const { node, adoption } = adoptionOf(`CREATE TABLE t (${columns}) ${options}`, key + large);
    const counts: number[] = [];
    for (;;) {
      const slice = sliceOf(node, adoption);
      if (slice === undefined) break;
      if (typeof slice === "string") throw new Error(slice);
      if (slice.rows !== 1) expect(slice.bytes).toBeLessThan(1024 * 1024);
      counts.push(slice.rows);
    }
    expect(Math.max(...counts)).toBe(1000);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(manyRows);
    expect(adoption.progress).toEqual({ table: "t", rows: manyRows, of: manyRows, skipped: 0 });
    expect(node.store.adopting.size).toBe(0);
    expect(node.strays()).toEqual([]);
    node[Symbol.dispose]();
  },
  60_000,
);

// All of them were gone through in one turn, however many they were.
test("rows that may not be said to others are passed by some at a time", () => {
  const { node, adoption } = adoptionOf(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)",
    "i, CASE WHEN i <= 200 THEN CAST(x'ff' AS TEXT) ELSE 'text' END",
  );
  const passed: number[] = [];
  for (;;) {
    const { skipped } = adoption.progress;
    const slice = sliceOf(node, adoption);
    if (slice !== "refused") break;
    passed.push(adoption.progress.skipped - skipped);
  }
  expect(passed.length).toBeGreaterThan(1);
  expect(Math.max(...passed)).toBeLessThan(100);
  // What comes behind them is taken in.
  while (sliceOf(node, adoption) !== undefined);
  expect(adoption.progress).toEqual({ table: "t", rows: manyRows, of: manyRows, skipped: 200 });
  expect(node.db.all("SELECT min(id), count(*) FROM patina_clock_t")).toEqual([
    [201, manyRows - 200],
  ]);
  expect(node.store.adopting.size).toBe(0);
  node[Symbol.dispose]();
}, 60_000);

test("a table of few rows that are large isn't taken in all at once either", () => {
  const table = "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)";
  const { node, adoption } = adoptionOf(table, "i, zeroblob(1000000)", 20);
  expect([...node.store.adopting]).toEqual(["t"]);
  expect(node.report).toMatchObject({ adoptedRows: 0, rowsWithoutClocks: 0 });
  expect(sliceOf(node, adoption)).toMatchObject({ rows: 1 });
  node[Symbol.dispose]();
  const less = adoptionOf(table, "i, zeroblob(1000000)", 10);
  expect(less.node.report).toMatchObject({ adoptedRows: 10 });
  less.node[Symbol.dispose]();
}, 60_000);

test("a row that a merge meets before its turn is taken in first, and both are told", () => {
  const { node } = adoptionOf("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "i, 'v' || i");
  const stamp = { ms: 9000, count: 0, site: siteOf(3) };
  const merged = [7, manyRows + 1].flatMap((id) =>
    node.store.merge([
      {
        ...{ table: "t", key: encodeKey([id]) as Uint8Array, clock: { ...stamp, cl: 1 } },
        cells: [{ column: "v", stamp, value: "peer's" }],
      },
    ]),
  );
  expect(merged.map(({ before, after }) => [before?.clock.ms, after.clock.ms])).toEqual([
    ...[
      [undefined, 1],
      [1, 9000],
      [undefined, 9000],
    ],
  ]);
  node[Symbol.dispose]();
}, 60_000);
