import { expect, test } from "bun:test";
import { openDatabase } from "../../../wasm/database.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { SqlGuard } from "../../sql/guard.ts";
import {
  dependenciesOf,
  isPlainlyCompared,
  isStrictTable,
  plainColumnsOf,
} from "./dependencies.ts";

const database = openDatabase("/dependencies.db", { vfs: new MemoryVfs() });
database.exec(`
CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a INTEGER, b TEXT, c, D REAL);
CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY, a INTEGER, b TEXT) WITHOUT ROWID;
CREATE INDEX u_a ON u (a);
CREATE TABLE generated (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, g AS (a + 1), s AS (a + 2) STORED);
CREATE TABLE generated_index (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b, g AS (a + 1));
CREATE INDEX generated_index_g ON generated_index (g);
CREATE TABLE expression_index (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b);
CREATE INDEX expression_index_e ON expression_index (lower(b));
CREATE TABLE partial_index (id INTEGER NOT NULL PRIMARY KEY, a INTEGER, b);
CREATE INDEX partial_index_p ON partial_index (a) WHERE b = 1;
CREATE TABLE nocase (id TEXT NOT NULL PRIMARY KEY, s TEXT COLLATE NOCASE);
CREATE TABLE typed (a BIGINT UNSIGNED, b VARCHAR(9), c "CLOB", d CHARINT, e REAL, f INT AS (a), g TEXT AS (b) STORED);
CREATE TABLE strict (id INTEGER NOT NULL PRIMARY KEY) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (word);
CREATE TABLE patina_members (node TEXT NOT NULL PRIMARY KEY, state TEXT);
CREATE TABLE patina_rows (id TEXT NOT NULL PRIMARY KEY, state TEXT);
CREATE VIEW joined AS SELECT t.c FROM t JOIN u USING (a);
CREATE VIEW natural_joined AS SELECT t.c FROM t NATURAL JOIN u;
CREATE VIEW outer_joined AS SELECT * FROM joined;
CREATE VIEW v AS SELECT t.a, u.b FROM t JOIN u ON u.id = t.id;
`);
const guard = new SqlGuard(database);

function dependencies(sql: string, isOrdered: boolean): Record<string, string> {
  guard.beginNotes();
  guard.within("read", () => database.prepare(sql)).finalize();
  const found = dependenciesOf(database, sql, guard.notes, isOrdered);
  const entries = [...found].map(([table, { columns }]) => [
    table,
    columns === undefined ? "any" : [...columns].sort().join(" "),
  ]);
  return Object.fromEntries(entries.sort(([a = ""], [b = ""]) => (a < b ? -1 : 1)));
}

test.each<[string, Record<string, string>]>([
  ["SELECT a FROM t", { t: "a" }],
  ["SELECT 1 FROM t", { t: "" }],
  ["SELECT T.A, d FROM t WHERE b = 1 ORDER BY c", { t: "a b c d" }],
  ["SELECT * FROM t", { t: "a b c d id" }],
  ["SELECT rowid FROM t", { t: "rowid" }],
  ["SELECT t.a FROM t, u", { t: "a", u: "" }],
  ["SELECT t.a FROM t LEFT JOIN u ON u.b = t.c", { t: "a c", u: "b" }],
  ["SELECT g FROM generated", { generated: "any" }],
  ["SELECT s FROM generated", { generated: "any" }],
  ["SELECT a FROM generated", { generated: "a" }],
  ["SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.b = t.b)", { t: "a b", u: "b" }],
  ["SELECT a, (SELECT max(u.a) FROM u) FROM t", { t: "a", u: "a" }],
  [
    "WITH w AS (SELECT b FROM u) SELECT a FROM t WHERE b IN (SELECT b FROM w)",
    { t: "a b", u: "b" },
  ],
  ["SELECT a FROM t UNION SELECT b FROM u", { t: "a", u: "b" }],
  ["SELECT t.a FROM t JOIN u USING (id)", { t: "any", u: "any" }],
  ["SELECT t.c FROM t NATURAL JOIN u", { t: "any", u: "any" }],
  ["SELECT a FROM v", { t: "any", u: "any" }],
  ["SELECT t.c FROM t WHERE t.a IN (SELECT a FROM v)", { t: "any", u: "any" }],
  ["SELECT node FROM patina_members", { patina_members: "node" }],
])("%s depends on what it reads", (sql, want) => {
  expect(dependencies(sql, false)).toEqual(want);
});

test.each<[string, Record<string, string>]>([
  ["SELECT a FROM t LIMIT 1", { t: "a id rowid" }],
  ["SELECT b FROM u LIMIT 1", { u: "a b id rowid" }],
  ["SELECT a FROM generated LIMIT 1", { generated: "a rowid" }],
  ["SELECT a FROM generated_index LIMIT 1", { generated_index: "any" }],
  ["SELECT a FROM expression_index LIMIT 1", { expression_index: "any" }],
  ["SELECT a FROM partial_index LIMIT 1", { partial_index: "any" }],
  ["SELECT t.a FROM t JOIN u ON u.b = t.b LIMIT 1", { t: "a b id rowid", u: "a b id rowid" }],
  ["SELECT count(*) FROM v", { t: "any", u: "any" }],
  ["SELECT count(*) FROM 'joined' x", { t: "any", u: "any" }],
  ['SELECT count(*) FROM "Joined"', { t: "any", u: "any" }],
  ["SELECT count(*) FROM joined", { t: "any", u: "any" }],
  ["SELECT count(*) FROM natural_joined", { t: "any", u: "any" }],
  ["SELECT count(*) FROM outer_joined", { t: "any", u: "any" }],
  ["SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM joined)", { t: "any", u: "any" }],
])("%s depends on the order of what it reads, too", (sql, want) => {
  expect(dependencies(sql, true)).toEqual(want);
});

test.each([
  "SELECT id FROM patina_rows",
  "SELECT t.a FROM t WHERE id IN (SELECT id FROM patina_rows)",
  "SELECT name FROM pragma_table_info('t')",
  "SELECT path FROM dbstat",
  "SELECT name FROM sqlite_schema",
])("%s changes unseen", (sql) => {
  expect(() => dependencies(sql, true)).toThrow("changes unseen: it can't be subscribed to");
});

test("a table compares plainly that has no collation, and is one", () => {
  const all = ["t", "T", "u", "nocase", "v", "words", "nothing"];
  expect(all.filter((table) => isPlainlyCompared(database, table))).toEqual(["t", "T", "u"]);
  expect(plainColumnsOf(database, "nocase")).toBeUndefined();
  expect(plainColumnsOf(database, "t")).toEqual(
    new Map([
      ["id", "text"],
      ["a", "integer"],
      ["b", "text"],
    ]),
  );
  expect(plainColumnsOf(database, "generated")).toEqual(
    new Map([
      ["id", "integer"],
      ["a", "integer"],
    ]),
  );
});

test("a column's type is that of its affinity, and what is made of others has none", () => {
  expect(plainColumnsOf(database, "typed")).toEqual(
    new Map([
      ["a", "integer"],
      ["b", "text"],
      ["c", "text"],
      ["d", "integer"],
    ]),
  );
  expect(["strict", "STRICT", "t"].map((table) => isStrictTable(database, table))).toEqual([
    true,
    true,
    false,
  ]);
});
