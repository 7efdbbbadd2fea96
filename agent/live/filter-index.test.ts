import { expect, test } from "bun:test";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { ChangedCells } from "./changed-cells.ts";
import { FilterIndex } from "./filter-index.ts";
import { type TableChanges, tableChanges } from "./table-changes.ts";

const schema = schemaOf(
  "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, region TEXT, n INTEGER, note TEXT);",
);

function open() {
  const vfs = new MemoryVfs();
  const node = new SqliteNode(schema, { vfs });
  node.db.exec("PRAGMA journal_mode = wal");
  const reader = openDatabase("test.db", { vfs, readonly: true });
  let adopting = false;
  const cells = new ChangedCells({
    writer: node.db,
    reader,
    keyColumnsOf: () => ["id"],
    mayBeUnheard: () => adopting,
  });
  const index = new FilterIndex<string>(cells);
  const regions = ["fra", "ams", "1"];
  for (const value of regions) index.add(value, { table: "t", column: "region", values: [value] });
  for (const value of [1, 2]) index.add(`n${value}`, { table: "t", column: "n", values: [value] });
  let changes: TableChanges = new Map();
  node.store.watch({
    committing(merged) {
      changes = tableChanges(merged, undefined, () => true);
      cells.committing(changes);
    },
    committed() {},
  });
  const concerned = (...statements: string[]): string[] => {
    node.write(...statements);
    return concernedNow();
  };
  /** By what another node wrote, which has none of this one's rows. */
  const merged = (...statements: string[]): string[] => {
    using other = new SqliteNode(schema, { site: 7, nowMs: node.nowMs + 1000 });
    other.write(...statements);
    const states = other.store.read(other.store.scan(undefined, 10).rows);
    node.store.merge(states.filter((state) => state !== undefined));
    return concernedNow();
  };
  const concernedNow = (): string[] => {
    const found = new Set<string>();
    const rows = changes.get("t") ?? [];
    if (rows === "unknown") throw new Error("rows are known");
    for (const row of rows) index.forRow(row, (member) => found.add(member));
    return [...found].sort();
  };
  const adopt = (): void => {
    adopting = true;
  };
  return { cells, index, concerned, merged, adopt, all: ["1", "ams", "fra", "n1", "n2"] };
}

test("a row concerns those who saw it before its change, or see it now", () => {
  const { concerned } = open();
  expect(concerned("INSERT INTO t VALUES ('a', 'fra', 1, '')")).toEqual(["fra", "n1"]);
  expect(concerned("UPDATE t SET note = 'x'")).toEqual(["fra", "n1"]);
  expect(concerned("UPDATE t SET region = 'ams'")).toEqual(["ams", "fra", "n1"]);
  expect(concerned("UPDATE t SET region = 'other', n = 7")).toEqual(["ams", "n1"]);
  expect(concerned("UPDATE t SET note = 'y'")).toEqual([]);
  expect(concerned("UPDATE t SET region = 1, n = 2.0")).toEqual(["1", "n2"]);
  expect(concerned("DELETE FROM t")).toEqual(["1", "n2"]);
  expect(concerned("INSERT INTO t VALUES ('a', NULL, NULL, x'00')")).toEqual([]);
});

test("a row that another host wrote anew concerns those who saw what it was", () => {
  const { concerned, merged } = open();
  concerned("INSERT INTO t VALUES ('a', 'fra', 1, '')");
  expect(merged("INSERT INTO t VALUES ('a', 'ams', 1, '')")).toEqual(["ams", "fra", "n1"]);
});

test("many rows, and rows that the store hasn't heard of, concern everyone", () => {
  const { concerned, adopt, all } = open();
  const rows = Array.from({ length: 100 }, (_, i) => `('r${i}', 'other', 7, '')`);
  expect(concerned(`INSERT INTO t VALUES ${rows.join(", ")}`)).toEqual([]);
  expect(concerned("UPDATE t SET note = 'x'")).toEqual([]);
  // What they were isn't read.
  expect(concerned("UPDATE t SET region = 'else'")).toEqual(["1", "ams", "fra"]);
  adopt();
  expect(concerned("UPDATE t SET note = 'y' WHERE id = 'r1'")).toEqual([]);
  expect(concerned("UPDATE t SET note = 'z'")).toEqual(all);
});

test("who filters no more isn't concerned", () => {
  const { cells, index, concerned } = open();
  index.add("also fra", { table: "t", column: "region", values: ["fra", "ams"] });
  index.remove("fra", { table: "t", column: "region", values: ["fra"] });
  expect(concerned("INSERT INTO t VALUES ('b', 'fra', 7, '')")).toEqual(["also fra"]);
  index.remove("also fra", { table: "t", column: "region", values: ["fra", "ams"] });
  expect(concerned("INSERT INTO t VALUES ('a', 'fra', 1, '')")).toEqual(["n1"]);
  for (const value of ["ams", "1"])
    index.remove(value, { table: "t", column: "region", values: [value] });
  for (const value of [1, 2])
    index.remove(`n${value}`, { table: "t", column: "n", values: [value] });
  expect(cells.isEmpty).toBe(true);
});
