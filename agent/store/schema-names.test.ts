import { expect, test } from "bun:test";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import { SchemaNames } from "./schema-names.ts";

test("a key that may be NULL names no row: several rows may have it", () => {
  const schema = schemaOf(
    `CREATE TABLE loose (k TEXT PRIMARY KEY, n INTEGER);
     CREATE TABLE half (k TEXT NOT NULL, part INTEGER, PRIMARY KEY (k, part));
     CREATE TABLE firm (k TEXT NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (part, k));
     CREATE TABLE bare (n INTEGER);
     CREATE TABLE number (id INTEGER PRIMARY KEY);
     CREATE TABLE sorted (k TEXT PRIMARY KEY) WITHOUT ROWID;`,
    Object.fromEntries(
      ["loose", "half", "bare", "number", "sorted"].map((name) => [name, { replicated: false }]),
    ),
  );
  const { keyColumnsOf } = new SchemaNames(schema);
  const tables = ["loose", "half", "firm", "number", "sorted", "patina_members", "none"];
  expect(tables.map(keyColumnsOf)).toEqual([
    undefined,
    undefined,
    ["part", "k"],
    ["id"],
    ["k"],
    ["node"],
    undefined,
  ]);
});
