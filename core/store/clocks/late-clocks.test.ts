import { expect, test } from "bun:test";
import { openMemory, SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import type { Stamp } from "../../clock/stamp.ts";
import { encodeKey } from "../../row/key.ts";
import type { SqlValue } from "../../row/value.ts";
import { lateLimits } from "./late-clocks.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b);
  CREATE TABLE n (id INTEGER PRIMARY KEY NOT NULL, a);
`;

function open(vfs: MemoryVfs, rowsMax = 100): SqliteNode {
  return new SqliteNode(schema, { vfs, late: { ...lateLimits, rowsMax, transactionRowsMin: 1 } });
}

function logRows({ db }: SqliteNode): number {
  return Number(db.all("SELECT count(*) FROM patina_late_clocks")[0]?.[0]);
}

/** Stamps of a row's cells, ms. */
function stamps({ store }: SqliteNode, table: string, key: SqlValue): unknown {
  const [row] = store.read([{ table, key: encodeKey([key]) as Uint8Array }]);
  return row?.cells.map(({ column, stamp, value }) => [column, value, stamp.ms]);
}

test("an update writes no clock table, and a killed process's clocks are there again", () => {
  const vfs = new MemoryVfs();
  {
    using node = open(vfs);
    node.write("INSERT INTO t VALUES ('x', 1, 1)");
    expect(logRows(node)).toBe(0);
    const before = node.db.all("SELECT * FROM patina_clock_t");
    node.write("UPDATE t SET a = 2");
    expect(node.db.all("SELECT * FROM patina_clock_t")).toEqual(before);
    expect([logRows(node), node.db.pragma("user_version")]).toEqual([1, 2]);
  }
  using node = open(vfs);
  expect(node.report).toMatchObject({ lateClocksLost: 0, rowsWithoutClocks: 0 });
  expect([logRows(node), node.db.pragma("user_version")]).toEqual([0, 1]);
  expect(stamps(node, "t", "x")).toEqual([
    ["a", 2, 12_000],
    ["b", 1, 11_000],
  ]);
});

// The one mistake that would let an old "up" stand under another instance's name.
test("a row that gets the rowid of one whose clocks were late has its own", () => {
  for (const leave of ["DELETE FROM t WHERE k = 'x'", "UPDATE t SET k = 'z', rowid = 9"]) {
    const vfs = new MemoryVfs();
    {
      using node = open(vfs);
      node.write("INSERT INTO t (rowid, k, a, b) VALUES (1, 'x', 1, 1)");
      node.write("UPDATE t SET a = 2");
      node.write(leave);
      node.write("INSERT INTO t (rowid, k, a, b) VALUES (1, 'y', 1, 1)");
      expect(stamps(node, "t", "y")).toEqual([
        ["a", 1, 14_000],
        ["b", 1, 14_000],
      ]);
    }
    using node = open(vfs);
    expect(stamps(node, "t", "y")).toEqual([
      ["a", 1, 14_000],
      ["b", 1, 14_000],
    ]);
    expect([node.strays(), node.report.clocksWithoutRows]).toEqual([[], 0]);
  }
});

test("nor do clocks that were on their way home then come to it", () => {
  using node = open(new MemoryVfs());
  node.write(
    `WITH RECURSIVE c (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 100)
     INSERT INTO t (rowid, k, a, b) SELECT i, 'r' || i, 1, 1 FROM c`,
  );
  // So many set out, and none is home yet.
  node.write("UPDATE t SET a = 2");
  node.write("DELETE FROM t WHERE rowid = 1");
  node.write("INSERT INTO t (rowid, k, a, b) VALUES (1, 'y', 1, 1)");
  node.write("UPDATE t SET b = 2 WHERE rowid > 30");
  node.store.bringClocksHome();
  expect(stamps(node, "t", "y")).toEqual([
    ["a", 1, 14_000],
    ["b", 1, 14_000],
  ]);
  expect(stamps(node, "t", "r31")).toEqual([
    ["a", 2, 12_000],
    ["b", 2, 15_000],
  ]);
});

test("clocks that go home in several slices all come home, of each table", () => {
  const vfs = new MemoryVfs();
  const numbers = Array.from({ length: 120 }, (_, i) => i + 1);
  const said = (node: SqliteNode) => [
    numbers.map((id) => stamps(node, "n", id)),
    numbers.slice(70).map((id) => stamps(node, "t", `r${id}`)),
  ];
  const wanted = [
    numbers.map(() => [["a", 2, 12_000]]),
    numbers.slice(70).map(() => [
      ["a", 2, 12_000],
      ["b", 1, 11_000],
    ]),
  ];
  {
    using node = open(vfs);
    const many = "WITH RECURSIVE c (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 120)";
    node.write(
      `${many} INSERT INTO t (k, a, b) SELECT 'r' || i, 1, 1 FROM c`,
      `${many} INSERT INTO n (id, a) SELECT i, 1 FROM c`,
    );
    node.write("UPDATE t SET a = 2", "UPDATE n SET a = 2");
    // Each of them sees to twice as many.
    for (let i = 0; i < 3; i++) {
      node.write(`UPDATE t SET b = ${i} WHERE rowid <= 70`);
      expect(said(node)).toEqual(wanted);
    }
    // Theirs, and no more.
    expect(logRows(node)).toBe(3);
  }
  using node = open(vfs);
  expect(said(node)).toEqual(wanted);
});

test("a transaction that is rolled back leaves the clocks as they were", () => {
  using node = open(new MemoryVfs());
  node.write("INSERT INTO t VALUES ('x', 1, 1)");
  node.write("UPDATE t SET a = 2");
  const merge = node.store.beginMerge();
  const stamp: Stamp = { ms: 90_000, count: 0, site: "f".repeat(32) as Stamp["site"] };
  const key = encodeKey(["x"]) as Uint8Array;
  const clock = { ms: 11_000, count: 0, site: node.clock.site, cl: 1 };
  merge.add([{ table: "t", key, clock, cells: [{ column: "b", stamp, value: 9 }] }]);
  merge.rollback();
  expect(stamps(node, "t", "x")).toEqual([
    ["a", 2, 12_000],
    ["b", 1, 11_000],
  ]);
  expect(logRows(node)).toBe(1);
});

test("the log stays small, however often a row changes", () => {
  using node = open(new MemoryVfs(), 8);
  node.write("INSERT INTO t VALUES ('x', 1, 1)");
  let most = 0;
  for (let i = 0; i < 500; i++) {
    node.write(`UPDATE t SET a = ${i}`);
    most = Math.max(most, logRows(node));
  }
  // 1 KB of rows of 60 bytes, and as many again while those go home.
  expect(most).toBeGreaterThan(10);
  expect(most).toBeLessThan(40);
});

test("a transaction of few rows writes their clocks at once, unless the log has some of them", () => {
  using node = new SqliteNode(schema, {
    late: { ...lateLimits, rowsMax: 100, transactionRowsMin: 3 },
  });
  node.write("INSERT INTO t VALUES ('x', 1, 1), ('y', 1, 1), ('z', 1, 1)");
  node.write("UPDATE t SET a = 2 WHERE k < 'z'");
  expect([logRows(node), stamps(node, "t", "x")]).toEqual([
    0,
    [
      ["a", 2, 12_000],
      ["b", 1, 11_000],
    ],
  ]);
  node.write("UPDATE t SET a = 3");
  node.write("UPDATE t SET a = 4 WHERE k = 'x'");
  node.store.bringClocksHome();
  node.write("UPDATE t SET a = 5 WHERE k = 'x'");
  expect([logRows(node), stamps(node, "t", "x")]).toEqual([
    0,
    [
      ["a", 5, 15_000],
      ["b", 1, 11_000],
    ],
  ]);
});

test("a transaction of so many rows that their pages are dirty anyway leaves none to the log", () => {
  const limits = { rowsMax: 100, transactionRowsMin: 1, transactionRowsMax: 2, restRowsMin: 2 };
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode(schema, { vfs, late: limits });
    node.write("INSERT INTO t VALUES ('w', 1, 1), ('x', 1, 1), ('y', 1, 1), ('z', 1, 1)");
    node.write("UPDATE t SET a = 2 WHERE k < 'z'");
    expect([logRows(node), clockRowsOf(node, 12_000)]).toEqual([1, 1]);
    node.write("UPDATE t SET a = 3");
    // Only that those two aren't in the log any more.
    expect([logRows(node), clockRowsOf(node, 13_000)]).toEqual([2, 4]);
    node.store.bringClocksHome();
    node.write("UPDATE t SET a = 4");
    expect([logRows(node), clockRowsOf(node, 14_000)]).toEqual([0, 4]);
    node.write("UPDATE t SET a = 5 WHERE k < 'y'");
    node.write("UPDATE t SET a = 6");
  }
  using node = new SqliteNode(schema, { vfs, late: limits });
  expect([node.report.lateClocksLost, clockRowsOf(node, 16_000)]).toEqual([0, 4]);
});

/** Rows that the clock table has with a cell of that stamp. */
function clockRowsOf({ db }: SqliteNode, ms: number): number {
  const hex = ms.toString(16).padStart(12, "0");
  const sql = "SELECT count(*) FROM patina_clock_t WHERE instr(hex(clock), upper(?)) > 0";
  return Number(db.all(sql, hex)[0]?.[0]);
}

test("rowids that aren't exact as numbers, and long clocks, aren't late", () => {
  const columns = Array.from({ length: 60 }, (_, i) => `c${i}`);
  using node = new SqliteNode(
    `${schema}; CREATE TABLE wide (k TEXT PRIMARY KEY NOT NULL, ${columns.join(", ")})`,
    { late: { ...lateLimits, rowsMax: 100, transactionRowsMin: 1 } },
  );
  node.write("INSERT INTO n VALUES (9007199254740993, 1)", "INSERT INTO wide (k) VALUES ('x')");
  node.write("UPDATE n SET a = 2", "UPDATE wide SET c1 = 2");
  expect(logRows(node)).toBe(0);
  expect(stamps(node, "n", 9007199254740993n)).toEqual([["a", 2, 12_000]]);
});

test("of a log that is damaged the start tells, and what it said is healed", () => {
  const vfs = new MemoryVfs();
  const healthy = new SqliteNode(schema, { site: 0 });
  {
    using node = open(vfs);
    for (const one of [node, healthy]) {
      one.write("INSERT INTO t VALUES ('x', 1, 1), ('y', 1, 1)");
      one.write("UPDATE t SET a = 2 WHERE k = 'x'");
      one.write("UPDATE t SET a = 3 WHERE k = 'y'");
    }
    node.db.exec("UPDATE patina_late_clocks SET clocks = x'ff' WHERE seq = 1");
  }
  using node = open(vfs);
  expect(node.report.lateClocksLost).toBe(1);
  const ref = { table: "t", key: encodeKey(["x"]) as Uint8Array };
  // What doesn't go with its clock isn't told to anybody.
  expect(stamps(node, "t", "x")).toEqual([["b", 1, 11_000]]);
  expect(stamps(node, "t", "y")).toEqual([
    ["a", 3, 13_000],
    ["b", 1, 11_000],
  ]);
  expect(node.store.scrub(undefined, 100, 50_000, 1).damaged).toBe(1);
  node.store.merge(healthy.store.read([ref]).filter((row) => row !== undefined));
  expect(stamps(node, "t", "x")).toEqual([
    ["a", 2, 12_000],
    ["b", 1, 11_000],
  ]);
  healthy[Symbol.dispose]();
});

test("a COMMIT that fails leaves the file's version to the next one", () => {
  const vfs = new MemoryVfs();
  {
    using node = open(vfs);
    node.write("INSERT INTO t VALUES ('x', 1, 1)");
    {
      using reader = openMemory(vfs);
      reader.exec("BEGIN; SELECT * FROM t");
      expect(() => node.write("UPDATE t SET a = 2")).toThrow("database is locked");
    }
    expect([logRows(node), node.db.pragma("user_version")]).toEqual([0, 1]);
    node.write("UPDATE t SET a = 3");
    expect([logRows(node), node.db.pragma("user_version")]).toEqual([1, 2]);
  }
  using node = open(vfs);
  expect(stamps(node, "t", "x")).toEqual([
    ["a", 3, 13_000],
    ["b", 1, 11_000],
  ]);
});

test("a stop that can't write clocks home can be tried again, and none is lost", () => {
  const vfs = new MemoryVfs();
  {
    using node = open(vfs);
    node.write("INSERT INTO t VALUES ('x', 1, 1)");
    node.write("UPDATE t SET a = 2");
    {
      using reader = openMemory(vfs);
      reader.exec("BEGIN; SELECT * FROM t");
      expect(() => node.store.bringClocksHome()).toThrow("database is locked");
    }
    expect([logRows(node), node.db.pragma("user_version")]).toEqual([1, 2]);
    node.store.bringClocksHome();
    expect([logRows(node), node.db.pragma("user_version")]).toEqual([0, 1]);
  }
  using node = open(vfs);
  expect(stamps(node, "t", "x")).toEqual([
    ["a", 2, 12_000],
    ["b", 1, 11_000],
  ]);
});
