import { expect, test } from "bun:test";
import { openDatabase } from "../../../wasm/database.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { TableShapes } from "./table-shapes.ts";

test("a table is another one when its text, an index, its key or its replication is, and all are when a view is", () => {
  const database = openDatabase("/shapes.db", { vfs: new MemoryVfs() });
  database.exec("CREATE TABLE One (id INTEGER PRIMARY KEY, n INTEGER); CREATE TABLE two (id, n)");
  const keys = new Map([["two", ["id"]]]);
  const replicated = new Set<string>();
  const shapes = new TableShapes({
    database,
    keyColumnsOf: (table) => keys.get(table),
    isReplicated: (table) => replicated.has(table),
  });
  const changedBy = (change: () => void): string[] => {
    change();
    return ["one", "two", "nobody"].filter(shapes.changed());
  };
  const exec = (sql: string) => changedBy(() => database.exec(sql));
  expect(exec("INSERT INTO One VALUES (1, 1)")).toEqual([]);
  expect(exec("CREATE INDEX one_n ON One (n)")).toEqual(["one"]);
  expect(exec("DROP INDEX one_n; CREATE INDEX one_n ON one (n DESC)")).toEqual(["one"]);
  expect(exec("ALTER TABLE two ADD COLUMN more")).toEqual(["two"]);
  expect(changedBy(() => keys.set("two", ["n"]))).toEqual(["two"]);
  expect(changedBy(() => replicated.add("one"))).toEqual(["one"]);
  expect(exec("CREATE VIEW v AS SELECT 1")).toEqual(["one", "two", "nobody"]);
  expect(exec("DROP VIEW v; CREATE VIEW v AS SELECT 2")).toEqual(["one", "two", "nobody"]);
  expect(exec("DROP TABLE two")).toEqual(["two"]);
  expect(exec("SELECT 1")).toEqual([]);
});
