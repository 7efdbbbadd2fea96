import { expect, test } from "bun:test";
import { Real, type SqlValue } from "../core/row/value.ts";
import {
  SQLITE_ABORT,
  SQLITE_AUTH,
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_CONSTRAINT_PRIMARYKEY,
  SQLITE_DELETE,
  SQLITE_DENY,
  SQLITE_ERROR,
  SQLITE_IGNORE,
  SQLITE_INTERRUPT,
  SQLITE_OK,
  SQLITE_READ,
  SQLITE_READONLY,
  SQLITE_TXN_NONE,
  SQLITE_TXN_READ,
  SQLITE_TXN_WRITE,
} from "./constants.ts";
import { type Database, openDatabase } from "./database.ts";
import { SqliteError } from "./error.ts";
import { loadSqlite } from "./module.ts";
import { MemoryVfs } from "./vfs/memory.ts";

function open(): Database {
  return openDatabase("test.db", { vfs: new MemoryVfs() });
}

function errorOf(body: () => unknown): SqliteError {
  try {
    body();
  } catch (thrown) {
    if (thrown instanceof SqliteError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was thrown");
}

const forever =
  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

test("errors carry codes, message, statement and place", () => {
  using db = open();
  db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY)");
  db.run("INSERT INTO t VALUES (1)");
  const twice = errorOf(() => db.run("INSERT INTO t VALUES (1)"));
  expect([twice.extendedCode, twice.codeName, twice.message]).toEqual([
    SQLITE_CONSTRAINT_PRIMARYKEY,
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "UNIQUE constraint failed: t.k",
  ]);
  const wrong = errorOf(() => db.prepare("SELECT k, oops FROM t"));
  expect([wrong.code, wrong.message, wrong.offset, wrong.sql]).toEqual([
    SQLITE_ERROR,
    "no such column: oops",
    10,
    "SELECT k, oops FROM t",
  ]);
});

test("exec runs many, and stops at the first that fails", () => {
  using db = open();
  expect(
    errorOf(() => db.exec("CREATE TABLE a (x); CREATE TABLE a (x); CREATE TABLE b (x)")).code,
  ).toBe(SQLITE_ERROR);
  expect(db.all("SELECT name FROM sqlite_schema")).toEqual([["a"]]);
});

test("changes, rowids and the state of the transaction", () => {
  using db = open();
  db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v)");
  db.run("INSERT INTO t VALUES (?, 1), (7, 1)", 2n ** 60n);
  db.run("UPDATE t SET v = 2");
  expect([db.changes, db.autocommit, db.transactionState]).toEqual([2, true, SQLITE_TXN_NONE]);
  db.run("INSERT INTO t VALUES (?, 1)", 2n ** 60n + 1n);
  expect(db.lastInsertRowid).toBe(2n ** 60n + 1n);
  db.exec("BEGIN");
  expect([db.autocommit, db.transactionState]).toEqual([false, SQLITE_TXN_NONE]);
  db.all("SELECT * FROM t");
  expect(db.transactionState).toBe(SQLITE_TXN_READ);
  db.run("DELETE FROM t");
  expect(db.transactionState).toBe(SQLITE_TXN_WRITE);
  db.exec("ROLLBACK");
  expect(db.all("SELECT count(*) FROM t")).toEqual([[3]]);
});

interface Seen {
  operation: string;
  table: string;
  rowids: (number | bigint)[];
  old: SqlValue[];
  new: SqlValue[];
}

/** Everything that the hook tells, in order. */
function watch(db: Database): Seen[] {
  const seen: Seen[] = [];
  db.onPreupdate((change) => {
    const { operation, table, oldRowid, newRowid, columnCount } = change;
    const columns = [...Array(columnCount).keys()];
    seen.push({
      operation,
      table,
      rowids: [oldRowid, newRowid],
      old: operation === "insert" ? [] : columns.map((column) => change.old(column)),
      new: operation === "delete" ? [] : columns.map((column) => change.new(column)),
    });
  });
  return seen;
}

test("the preupdate hook tells inserts, updates and deletes with both rows", () => {
  using db = open();
  db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT, r REAL)");
  const seen = watch(db);
  db.run("INSERT INTO t VALUES (?, 'a', 5.0)", 2n ** 62n);
  db.run("UPDATE t SET v = 'b', k = 3");
  db.run("DELETE FROM t");
  const five = new Real(5);
  expect(seen).toEqual([
    {
      operation: "insert",
      table: "t",
      rowids: [2n ** 62n, 2n ** 62n],
      old: [],
      new: [2n ** 62n, "a", five],
    },
    {
      operation: "update",
      table: "t",
      rowids: [2n ** 62n, 3],
      old: [2n ** 62n, "a", five],
      new: [3, "b", five],
    },
    { operation: "delete", table: "t", rowids: [3, 3], old: [3, "b", five], new: [] },
  ]);
});

test("the preupdate hook tells negative rowids, WITHOUT ROWID, REPLACE and DELETE without WHERE", () => {
  using db = open();
  db.exec(
    "CREATE TABLE r (k INTEGER PRIMARY KEY, u UNIQUE); CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
  );
  const seen = watch(db);
  db.run("INSERT INTO r VALUES (-1, 'x'), (?, 'y')", -(2n ** 63n));
  db.run("INSERT OR REPLACE INTO r VALUES (5, 'x')");
  db.run("INSERT INTO w VALUES ('k', 1)");
  db.run("DELETE FROM r");
  const told = seen.map(({ operation, table, rowids, old }): unknown[] => [
    operation,
    table,
    table === "w" ? "none" : rowids[0],
    old,
  ]);
  expect(told).toEqual([
    ["insert", "r", -1, []],
    ["insert", "r", -(2n ** 63n), []],
    ["delete", "r", -1, [-1, "x"]],
    ["insert", "r", 5, []],
    ["insert", "w", "none", []],
    ["delete", "r", -(2n ** 63n), [-(2n ** 63n), "y"]],
    ["delete", "r", 5, [5, "x"]],
  ]);
});

test("a table's name is told anew when another takes its place in memory", () => {
  using db = open();
  const seen = watch(db);
  for (const name of ["one", "two", "öö", "onto"]) {
    db.exec(`CREATE TABLE ${name} (a); INSERT INTO ${name} VALUES (1); DROP TABLE ${name}`);
  }
  expect(seen.filter(({ operation }) => operation === "insert").map(({ table }) => table)).toEqual([
    "one",
    "two",
    "öö",
    "onto",
  ]);
});

test("a preupdate listener that throws fails the statement, and nothing of it is kept", () => {
  using db = open();
  db.exec("CREATE TABLE t (a)");
  const cause = new Error("no more");
  db.onPreupdate(() => {
    throw cause;
  });
  const failed = errorOf(() => db.run("INSERT INTO t VALUES (1)"));
  expect([failed.code, failed.message, failed.cause]).toEqual([
    SQLITE_ABORT,
    "a callback threw: no more",
    cause,
  ]);
  expect(errorOf(() => db.exec("INSERT INTO t VALUES (1), (2), (3)")).cause).toBe(cause);
  // In a transaction nothing but a rollback is left.
  db.exec("BEGIN");
  expect(errorOf(() => db.run("INSERT INTO t VALUES (1)")).cause).toBe(cause);
  db.onPreupdate(() => {});
  expect(errorOf(() => db.exec("COMMIT")).codeName).toBe("SQLITE_CONSTRAINT");
  expect(db.autocommit).toBe(true);
  db.run("INSERT INTO t VALUES (4)");
  expect(db.all("SELECT a FROM t")).toEqual([[4]]);
});

test("the commit hook may say no, the rollback hook is told", () => {
  using db = open();
  db.exec("CREATE TABLE t (a)");
  const told: string[] = [];
  db.onCommit(() => {
    told.push("commit?");
    return false;
  });
  db.onRollback(() => told.push("rolled back"));
  expect(errorOf(() => db.run("INSERT INTO t VALUES (1)")).codeName).toBe("SQLITE_CONSTRAINT");
  expect(told).toEqual(["commit?", "rolled back"]);
  db.onCommit(null);
  expect(db.all("SELECT a FROM t")).toEqual([]);
});

test("the authorizer denies, ignores, and is asked again about statements that exist", () => {
  using db = open();
  db.exec("CREATE TABLE t (a, secret); INSERT INTO t VALUES (1, 2)");
  using before = db.prepare("DELETE FROM t");
  const asked: (string | null)[] = [];
  db.onAuthorize((action, first, second, database) => {
    if (action === SQLITE_DELETE && first === "t") return SQLITE_DENY;
    if (action === SQLITE_READ && second === "secret") {
      asked.push(first, second, database);
      return SQLITE_IGNORE;
    }
    return SQLITE_OK;
  });
  expect(errorOf(() => before.step()).code).toBe(SQLITE_AUTH);
  expect(errorOf(() => db.prepare("DELETE FROM t")).message).toBe("not authorized");
  expect(db.all("SELECT * FROM t")).toEqual([[1, null]]);
  expect(asked.slice(0, 3)).toEqual(["t", "secret", "main"]);
  db.onAuthorize(() => {
    throw new Error("confused");
  });
  expect(errorOf(() => db.prepare("SELECT a FROM t")).message).toBe("a callback threw: confused");
  db.onAuthorize(null);
  before.step();
  expect(db.all("SELECT * FROM t")).toEqual([]);
});

test("a progress handler ends a statement that would never end", () => {
  using db = open();
  let calls = 0;
  db.onProgress(1000, () => {
    calls += 1;
    return calls === 10;
  });
  expect(errorOf(() => db.all(forever)).code).toBe(SQLITE_INTERRUPT);
  db.onProgress(1000, () => {
    throw new Error("enough");
  });
  expect(errorOf(() => db.all(forever)).message).toBe("a callback threw: enough");
  db.onProgress(0, null);
  expect(db.all("SELECT 1")).toEqual([[1]]);
});

test("functions: any number of arguments, errors, in an index when deterministic", () => {
  using db = open();
  db.createFunction("joined", -1, { deterministic: true }, (...values) =>
    values.map(String).join(),
  );
  db.createFunction("boom", 0, {}, () => {
    throw new Error("bäng");
  });
  db.createFunction("wrong", 0, {}, () => 1.5);
  expect(db.all("SELECT joined(), joined(1, 'x', NULL)")).toEqual([["", "1,x,null"]]);
  expect(errorOf(() => db.all("SELECT boom()")).message).toBe("bäng");
  expect(errorOf(() => db.all("SELECT wrong()")).message).toContain("safe");
  db.exec("CREATE TABLE t (a); CREATE INDEX i ON t (joined(a, a)); INSERT INTO t VALUES (3)");
  expect(db.all("SELECT a FROM t WHERE joined(a, a) = '3,3'")).toEqual([[3]]);
  db.createFunction("direct", 0, { directOnly: true }, () => 1);
  db.exec("CREATE VIEW v AS SELECT direct()");
  expect(errorOf(() => db.all("SELECT * FROM v")).message).toContain("unsafe use of direct()");
});

test("a function may run statements of its own connection, also the same text", () => {
  using db = open();
  db.createFunction("down", 1, {}, (value) =>
    value === 0
      ? 0
      : ((db.get("SELECT down(?)", (value as number) - 1) as number[])[0] as number) + 1,
  );
  expect(db.get("SELECT down(?)", 20)).toEqual([20]);
});

test("pragmas and limits", () => {
  using db = open();
  db.pragma("application_id", 0x50415431);
  db.pragma("user_version", 3);
  expect([db.pragma("application_id"), db.pragma("user_version")]).toEqual([0x50415431, 3]);
  expect(() => db.pragma("user_version", "1; DROP TABLE t")).toThrow("not a pragma");
  const before = db.limit(9, 5);
  expect(before).toBeGreaterThan(5);
  expect(errorOf(() => db.prepare("SELECT ?6")).message).toContain("variable number");
});

test("a file that isn't there is only made when it may be", () => {
  const vfs = new MemoryVfs();
  for (const options of [
    { vfs, readonly: true },
    { vfs, create: false },
  ]) {
    const failed = errorOf(() => openDatabase("none.db", options));
    expect([failed.code, failed.message]).toEqual([
      SQLITE_CANTOPEN,
      "none.db: unable to open database file (/none.db: no such file)",
    ]);
  }
  expect(vfs.paths()).toEqual([]);
});

test("a readonly connection refuses to write", () => {
  const vfs = new MemoryVfs();
  using writer = openDatabase("a.db", { vfs });
  writer.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
  using reader = openDatabase("a.db", { vfs, readonly: true });
  expect(errorOf(() => reader.run("INSERT INTO t VALUES (1)")).code).toBe(SQLITE_READONLY);
});

test("two writers of one file: the second is told that it is busy", () => {
  const vfs = new MemoryVfs();
  using first = openDatabase("a.db", { vfs });
  first.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a); BEGIN IMMEDIATE");
  using second = openDatabase("a.db", { vfs });
  expect(errorOf(() => second.exec("BEGIN IMMEDIATE")).code).toBe(SQLITE_BUSY);
  first.exec("ROLLBACK");
  second.exec("BEGIN IMMEDIATE; ROLLBACK");
});

test("ATTACH and VACUUM INTO stay on the database's own VFS", () => {
  const vfs = new MemoryVfs();
  using db = openDatabase("a.db", { vfs });
  db.exec(
    "CREATE TABLE t (a); INSERT INTO t VALUES (1); ATTACH '/b.db' AS b; CREATE TABLE b.u (x)",
  );
  db.exec("DETACH b; VACUUM INTO '/c.db'");
  expect(vfs.paths()).toEqual(["/a.db", "/b.db", "/c.db"]);
  using copy = openDatabase("c.db", { vfs });
  expect(copy.all("SELECT a FROM t")).toEqual([[1]]);
});

test("time and randomness come from the VFS", () => {
  const vfs = new MemoryVfs({
    nowMs: () => Date.UTC(2026, 10, 25, 1, 2, 3, 456),
    random: (into) => into.fill(7),
  });
  using db = openDatabase("a.db", { vfs });
  expect(db.all("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now'), unixepoch()")).toEqual([
    ["2026-11-25 01:02:03.456", Date.UTC(2026, 10, 25, 1, 2, 3) / 1000],
  ]);
  expect(db.all("SELECT datetime(0, 'unixepoch', 'localtime')")).toEqual([
    [localTime(new Date(0))],
  ]);
});

function localTime(date: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

test("closing finalizes what is open, frees the heap, and may be done twice", () => {
  const module = loadSqlite();
  const vfs = new MemoryVfs();
  const files = module.vfs.openFiles;
  const cycle = () => {
    const db = openDatabase("a.db", { vfs });
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (a)");
    db.createFunction("f", 0, {}, () => 1);
    db.onPreupdate(() => {});
    const statement = db.prepare("SELECT ? FROM t");
    statement.bind(1, "x".repeat(1000));
    db.exec("BEGIN");
    db.run("INSERT INTO t VALUES (f())");
    statement.step();
    db.close();
    db.close();
    expect(() => statement.step()).toThrow("finalized");
    expect(() => db.exec("SELECT 1")).toThrow("the database is closed: a.db");
  };
  cycle();
  const used = () => {
    module.exports.sqlite3_status(0, module.scratch, module.scratch + 4, 0);
    return module.heap.i32[module.scratch >> 2];
  };
  const before = used();
  for (let at = 0; at < 50; at++) cycle();
  expect([used(), module.vfs.openFiles]).toEqual([before, files]);
  // The transaction that was open was rolled back.
  using db = openDatabase("a.db", { vfs });
  expect(db.all("SELECT count(*) FROM t")).toEqual([[0]]);
});
