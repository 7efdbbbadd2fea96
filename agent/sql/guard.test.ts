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
  return { database, guard, refusal };
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

test("a function that reads any table by its name is refused", () => {
  const { database, refusal } = open();
  // What it tells of rows is in what it finds wrong with them.
  database.exec(
    "CREATE TABLE x_rowid (a, b); CREATE TABLE x_parent (a, b); CREATE TABLE x_node (a, b)",
  );
  for (const call of ["rtreecheck('x')", "RtreeCheck('main', 'x')"]) {
    expect(refusal(`SELECT ${call}`)).toBe("rtreecheck() is not accepted");
    expect(refusal(`INSERT INTO t SELECT 1, ${call}`, "write")).toBe(
      "rtreecheck() is not accepted",
    );
  }
});

test("what SQLite has beside SQL is reached by nobody", () => {
  const { database, guard, refusal } = open();
  const pragma = "PRAGMA functions are not accepted in a transaction";
  for (const table of [
    "pragma_table_info('t')",
    "pragma_integrity_check",
    "pragma_database_list",
  ]) {
    expect(refusal(`INSERT INTO t (n) SELECT 1 FROM ${table}`, "write")).toBe(pragma);
    expect(refusal(`UPDATE t SET n = 1 FROM ${table}`, "write")).toBe(pragma);
    expect(refusal(`DELETE FROM t RETURNING (SELECT 1 FROM ${table})`, "write")).toBe(pragma);
  }
  // Of one in a FROM it is judged when it runs.
  for (const name of ["optimize", "data_version", "module_list", "pragma_list", "schema_version"]) {
    using statement = guard.within("read", () => database.prepare(`SELECT * FROM pragma_${name}`));
    expect(() => guard.within("read", () => statement.step())).toThrow();
    expect(guard.why).toBe(`PRAGMA ${name} is not accepted`);
  }
  expect(refusal("INSERT INTO sqlite_dbpage VALUES (1, x'00')", "write")).toBe(
    "sqlite_dbpage is SQLite's own: it can be read only",
  );
  expect(refusal("ATTACH (SELECT ':memory:') AS m", "write")).toBe(
    "ATTACH and VACUUM are not accepted",
  );
  for (const what of [
    "TEMP TABLE x (a)",
    "VIRTUAL TABLE temp.x USING fts5(a)",
    "VIRTUAL TABLE x USING rtree(a, b, c)",
  ]) {
    expect(refusal(`CREATE ${what}`, "write")).toBe(
      "DDL is not accepted: tables and indexes come from the schema files",
    );
  }
});
