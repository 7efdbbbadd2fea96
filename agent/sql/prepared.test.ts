import { expect, test } from "bun:test";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { SqlGuard } from "./guard.ts";
import { bindParameters, errorText, PreparedStatements } from "./prepared.ts";

const megabyte = 1024 * 1024;

function open() {
  const database = openDatabase("/prepared.db", { vfs: new MemoryVfs() });
  const guard = new SqlGuard(database);
  const prepared = new PreparedStatements(database, guard);
  const get = (sql: string) => {
    const found = guard.within("read", () => prepared.get(sql));
    if (found === "empty") throw new Error("empty");
    return found.statement;
  };
  /** Of statements, with what is bound to them. */
  const kept = () =>
    database.all("SELECT count(*) FROM sqlite_stmt WHERE sql GLOB 'SELECT [0-9]*'")[0]?.[0];
  return { database, guard, get, kept };
}

test("statements are kept by their number", () => {
  const { get, kept } = open();
  for (let i = 0; i < 300; i++) get(`SELECT ${i}, 1`);
  expect(kept()).toBe(256);
});

test("statements are kept by what they take, the last one always", () => {
  const { get, kept } = open();
  const long = (i: number) => `SELECT ${i}, 1 /* ${"x".repeat(240_000)} */`;
  for (let i = 0; i < 20; i++) get(long(i));
  // Eight of them take 15.4 MB.
  expect(kept()).toBe(9);
});

test("a text that is too long is refused before SQLite sees it", () => {
  const { get } = open();
  const sql = (length: number) => `SELECT '${"x".repeat(length - 9)}'`;
  expect(sql(20).length).toBe(20);
  get(sql(250_000));
  expect(() => get(sql(250_001))).toThrow(
    "a statement's text may have 250000 characters, and has 250001: give values as parameters",
  );
});

test("large values aren't kept with them", () => {
  const { database, get } = open();
  const value = "y".repeat(4 * megabyte);
  const before = database.module.heap.u8.length;
  for (let i = 0; i < 30; i++) {
    const statement = get(`SELECT ${i}, length(?)`);
    bindParameters(statement, [value]);
    statement.step();
    expect(statement.columnNumber(1)).toBe(value.length);
    statement.reset();
  }
  expect(database.module.heap.u8.length - before).toBeLessThan(40 * megabyte);
  // Values that were small, bound anew: the room for them counts.
  const many = `SELECT 0, ${Array.from({ length: 1000 }, () => "?").join("||")}`;
  const statement = get(many);
  bindParameters(
    statement,
    Array.from({ length: 1000 }, () => "z".repeat(20_000)),
  );
  expect(statement.slotBytes).toBeGreaterThan(20 * megabyte);
  get("SELECT 1, 1");
  expect(database.all("SELECT count(*) FROM sqlite_stmt WHERE sql = ?", many)[0]?.[0]).toBe(0);
});

test("a limit that a statement meets while it runs is told in plain words", () => {
  using database = openDatabase("/limited.db", { vfs: new MemoryVfs() });
  database.exec("CREATE TABLE t (a)");
  database.onPreupdate(() => {
    throw new Error("so many rows are too many: split it");
  });
  let text = "";
  try {
    database.exec("INSERT INTO t VALUES (1)");
  } catch (error) {
    text = errorText(error, undefined);
  }
  expect(text).toBe("so many rows are too many: split it");
});

test("what a statement sets is known by name, however it is written", () => {
  const { database, guard } = open();
  database.exec('CREATE TABLE "T" (id TEXT PRIMARY KEY, Status TEXT, weight, g AS (weight + 1))');
  const written = new PreparedStatements(database, guard);
  const names = (sql: string): unknown => {
    const found = guard.within("write", () => written.get(sql));
    if (found === "empty" || found.names === undefined) return undefined;
    return [found.names.table, ...found.names.columns].join(" ");
  };
  expect(names("UPDATE t SET status = 'down'")).toBe("t status");
  expect(names("UPDATE main.T AS x SET (STATUS, [weight]) = ('down', x.weight)")).toBe(
    "t status weight",
  );
  expect(names("WITH a(b) AS (SELECT 1) UPDATE OR IGNORE t SET status = b FROM a")).toBe(
    "t status",
  );
  const insert = "INSERT INTO t (id, status) VALUES ('a', 'down') ON CONFLICT (id) DO";
  expect(names(`${insert} NOTHING`)).toBeUndefined();
  expect(names(`${insert} UPDATE SET status = excluded.status, weight = 0`)).toBe(
    "t status weight",
  );
  for (const sql of ["INSERT INTO t (id) VALUES (1)", "REPLACE INTO t (id) VALUES (1)"]) {
    expect(names(sql)).toBeUndefined();
  }
  expect(names("DELETE FROM t WHERE status = 'down'")).toBeUndefined();
  // Nothing is left of the one before.
  expect(names("SELECT status FROM t")).toBeUndefined();
});
