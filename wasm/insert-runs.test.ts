import { expect, test } from "bun:test";
import type { Preupdate } from "../core/database.ts";
import { openMemory } from "../test/generators/sqlite-store.ts";
import type { Database } from "./database.ts";

/** What is told: the operation, the table, the rowid after it, and how many came before it. */
function watch(db: Database, mayCount: (change: Preupdate) => boolean = () => true): unknown[] {
  const told: unknown[] = [];
  db.onPreupdate((change) => {
    told.push([change.operation, change.table, change.newRowid, change.followers]);
    return mayCount(change);
  });
  return told;
}

const schema = `
  CREATE TABLE t (v); CREATE TABLE u (v); CREATE TABLE i (id INTEGER PRIMARY KEY, v);
  CREATE TABLE w (k PRIMARY KEY, v) WITHOUT ROWID;
`;
const insertMany = (table: string, count: number) =>
  `WITH RECURSIVE n(v) AS (VALUES (1) UNION ALL SELECT v + 1 FROM n LIMIT ${count})
   INSERT INTO ${table} (v) SELECT v FROM n`;

test("rows that come one after the other are counted, across statements", () => {
  using db = openMemory();
  db.exec(schema);
  const told = watch(db);
  db.exec("INSERT INTO t VALUES ('a'), ('b'), ('c')");
  db.exec("INSERT INTO t VALUES ('d')");
  expect(told).toEqual([["insert", "t", 1, 0]]);
  expect(db.takeFollowers()).toBe(3);
  // They were taken, and the run has ended.
  expect(db.takeFollowers()).toBe(0);
  db.exec("INSERT INTO t VALUES ('e'), ('f')");
  expect(told.slice(1)).toEqual([["insert", "t", 5, 0]]);
  expect(db.takeFollowers()).toBe(1);
});

test("where the listener doesn't ask for it, each row is told", () => {
  using db = openMemory();
  db.exec(schema);
  const told = watch(db, ({ newRowid }) => newRowid === 2);
  db.exec("INSERT INTO t VALUES ('a'), ('b'), ('c'), ('d')");
  expect(told).toEqual([
    ["insert", "t", 1, 0],
    ["insert", "t", 2, 0],
  ]);
  expect(db.takeFollowers()).toBe(2);
});

test("whatever else happens is told, with what was counted before it", () => {
  using db = openMemory();
  db.exec(schema);
  const told = watch(db);
  db.exec("INSERT INTO t VALUES (1), (2), (3)");
  db.exec("UPDATE t SET v = 0 WHERE v = 2");
  db.exec("INSERT INTO t VALUES (4), (5)");
  db.exec("INSERT INTO u VALUES (1), (2)");
  db.exec("INSERT INTO i VALUES (7, 0), (8, 0), (8 + 2, 0), (9, 0), (11, 0)");
  db.exec("REPLACE INTO i VALUES (11, 1), (12, 0)");
  db.exec("DELETE FROM i WHERE id = 12");
  db.exec("INSERT INTO w VALUES (1, 1), (2, 2)");
  expect(told).toEqual([
    ["insert", "t", 1, 0],
    ["update", "t", 2, 2],
    ["insert", "t", 4, 0],
    ["insert", "u", 1, 1],
    ["insert", "i", 7, 1],
    ["insert", "i", 10, 1],
    ["insert", "i", 9, 0],
    ["insert", "i", 11, 0],
    ["delete", "i", expect.anything(), 0],
    ["insert", "i", 11, 0],
    ["delete", "i", expect.anything(), 1],
    ["insert", "w", expect.anything(), 0],
    ["insert", "w", expect.anything(), 0],
  ]);
});

test.each([
  [-3n, 5],
  [2n ** 31n - 2n, 5],
  [2n ** 32n - 2n, 5],
  [-(2n ** 32n) - 2n, 5],
  [2n ** 53n - 5000n, 5],
  // Rowids that could come to be no safe integers are told.
  [2n ** 53n - 3n, 0],
  [2n ** 62n, 0],
  [-(2n ** 62n), 0],
])("a run may begin anywhere: %d", (first, counted) => {
  using db = openMemory();
  db.exec(schema);
  const told = watch(db);
  for (let at = 0n; at < 6n; at++) db.run("INSERT INTO i VALUES (?, 0)", first + at);
  expect(db.takeFollowers()).toBe(counted);
  expect(told.length).toBe(6 - counted);
});

test("of a long run one is told from time to time", () => {
  using db = openMemory();
  db.exec(schema);
  const told = watch(db);
  db.exec(insertMany("t", 10_000));
  expect(told).toEqual([
    ["insert", "t", 1, 0],
    ["insert", "t", 4098, 4096],
    ["insert", "t", 8195, 4096],
  ]);
  expect(db.takeFollowers()).toBe(10_000 - 8195);
});

test("connections count each their own", () => {
  using one = openMemory();
  using other = openMemory();
  const told = [one, other].map((db) => {
    db.exec(schema);
    return watch(db);
  });
  for (let i = 0; i < 3; i++) {
    one.exec("INSERT INTO t VALUES (1)");
    other.exec("INSERT INTO t VALUES (1), (2)");
  }
  expect(told.map(({ length }) => length)).toEqual([1, 1]);
  expect([one.takeFollowers(), other.takeFollowers()]).toEqual([2, 5]);
});

test("nothing is counted after a listener that threw, nor for one that came later", () => {
  using db = openMemory();
  db.exec(schema);
  db.onPreupdate(({ newRowid }) => {
    if (newRowid === 4098) throw new Error("enough");
    return true;
  });
  expect(() => db.exec(insertMany("t", 5000))).toThrow("enough");
  expect(db.takeFollowers()).toBe(0);
  db.exec("INSERT INTO t VALUES (1), (2)");
  const told = watch(db);
  db.exec("INSERT INTO t VALUES (3)");
  expect(told).toEqual([["insert", "t", 3, 0]]);
});
