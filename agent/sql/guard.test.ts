import { expect, test } from "bun:test";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { type GuardMode, SqlGuard } from "./guard.ts";

function open() {
  const database = openDatabase("/guard.db", { vfs: new MemoryVfs() });
  database.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n)");
  const guard = new SqlGuard(database);
  /** Why it is refused; undefined when it isn't. */
  const refusal = (sql: string, mode: GuardMode = "read"): string | undefined => {
    try {
      guard.within(mode, () => database.prepare(sql)).finalize();
      return undefined;
    } catch {
      return guard.why;
    }
  };
  return { database, refusal };
}

const sums = (count: number): string =>
  Array.from({ length: count }, (_, i) => `sum(n) OVER (ORDER BY n + ${i})`).join();

// Compiling all of it takes seconds of computing, of 1,990 half a minute.
test("a statement that takes the compiler for long is refused", () => {
  const { database, refusal } = open();
  expect(refusal(`SELECT ${sums(700)} FROM t`)).toBe(
    "the statement takes too long to compile: write it shorter",
  );
  expect(refusal(`SELECT ${sums(20)} FROM t`)).toBeUndefined();
  // What asks often, but not too often, isn't held against the clock.
  const calls = Array.from({ length: 19_000 }, () => "abs(1)").join();
  expect(refusal(`SELECT 1 IN (${calls})`)).toBeUndefined();
  expect(database.all(`SELECT ${sums(20)} FROM t`)).toEqual([]);
});

test("tables that compile a text are refused", () => {
  const { refusal } = open();
  for (const table of ["bytecode", "tables_used"]) {
    expect(refusal(`SELECT 1 FROM ${table}('SELECT 1') AS x`)).toBe(`${table}() is not accepted`);
    const written = `INSERT INTO t (n) SELECT 1 FROM ${table} WHERE stmt = 'SELECT 1'`;
    expect(refusal(written, "write")).toBe(`${table}() is not accepted`);
  }
});

test("functions that sort by an unbounded quicksort are refused", () => {
  const { refusal } = open();
  for (const call of [
    "median(n)",
    "percentile(n, 50)",
    "percentile_cont(n, 0.5)",
    "percentile_disc(n, 1)",
  ]) {
    for (const mode of ["read", "write"] as const) {
      const sql =
        mode === "read" ? `SELECT ${call} FROM t` : `INSERT INTO t SELECT 1, ${call} FROM t`;
      expect(refusal(sql, mode)).toBe(`${call.slice(0, call.indexOf("("))}() is not accepted`);
    }
  }
  expect(refusal("SELECT max(n), avg(n), sum(n) OVER () FROM t")).toBeUndefined();
});
