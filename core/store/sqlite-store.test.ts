import { expect, test } from "bun:test";
import { openMemory, SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import { hlcZero, type Stamp } from "../clock/stamp.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { RawText, Real, type SqlValue } from "../row/value.ts";
import { lateFileVersion, readState, writeState } from "./file/file-header.ts";
import { SqliteStore } from "./sqlite-store.ts";

const at = (ms: number, site = 5): Stamp => ({ ms, count: 0, site: siteOf(site) });

function row(
  table: string,
  key: SqlValue | readonly SqlValue[],
  cells: Record<string, SqlValue>,
  stamp: Stamp = at(5000),
  cl = 1,
): RowState {
  return {
    table,
    key: encodeKey(Array.isArray(key) ? key : [key as SqlValue]) as Uint8Array,
    clock: { ...stamp, cl },
    cells: Object.entries(cells)
      .map(([column, value]) => ({ column, stamp, value }))
      .sort((a, b) => (a.column < b.column ? -1 : 1)),
  };
}

/** What is held of a row, whatever is shown. */
function held(node: SqliteNode, state: RowState): RowState | undefined {
  return node.store.read([{ table: state.table, key: state.key }])[0];
}

test("a cell is shown if the column keeps it, and else is held and the default shown", () => {
  using node = new SqliteNode(
    "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, i INTEGER DEFAULT '7', r REAL, s TEXT DEFAULT \"\", n INT NOT NULL DEFAULT 3)",
  );
  const odd = row("t", "a", { i: "5", r: new Real(-0), s: 5, n: null, extra: "x" });
  node.store.merge([odd]);
  expect(node.table("t")).toEqual([["a", 7, null, "", 3]]);
  expect(held(node, odd)).toEqual(odd);
  expect(node.store.unshown()).toEqual(
    ["extra", "i", "n", "r", "s"].map((column) => ({ table: "t", column, cells: 1 })),
  );
  // One by one they become what the columns keep.
  const better = row("t", "a", { i: "five", r: new Real(0), s: "5", n: 0 }, at(6000));
  node.store.merge([better]);
  expect(node.table("t")).toEqual([["a", "five", new Real(0), "5", 0]]);
  expect(node.store.unshown()).toEqual([]);
  // And back: the column shows its default again, not what it showed.
  node.store.merge([row("t", "a", { i: "6", n: 0 }, at(7000))]);
  expect(node.table("t")).toEqual([["a", 7, null, "", 0]]);
});

test("extremes, malformed JSON and bytes that are no text come through", () => {
  using node = new SqliteNode(
    "CREATE TABLE t (k BLOB PRIMARY KEY NOT NULL, v, low TEXT AS (lower(v) || substr(v, 2)) VIRTUAL); CREATE INDEX x ON t (length(v), upper(low)) WHERE v IS NOT NULL",
  );
  const values: SqlValue[] = [
    2n ** 63n - 1n,
    -(2n ** 63n),
    9007199254740993n,
    new Real(Number.POSITIVE_INFINITY),
    new Real(5e-324),
    new Real(-0),
    '{"broken": ',
    "a\0b",
    new RawText(new Uint8Array([0xff, 0])),
    new Uint8Array(0),
    null,
  ];
  const rows = values.map((v, i) => row("t", i, { v }));
  node.store.merge(rows);
  expect(node.db.all("SELECT v FROM t ORDER BY k")).toEqual(values.map((v) => [v]));
  expect(rows.map((state) => held(node, state))).toEqual(rows);
  expect(node.table("t").length).toBe(values.length);
});

test("keys 1 and '1' and 5 and '5': a key is shown where its columns keep it", () => {
  using node = new SqliteNode(
    `CREATE TABLE i (k INTEGER PRIMARY KEY, v); CREATE TABLE s (k TEXT PRIMARY KEY NOT NULL, v);
     CREATE TABLE b (k BLOB PRIMARY KEY NOT NULL, v); CREATE TABLE r (k REAL PRIMARY KEY, v) WITHOUT ROWID`,
  );
  for (const table of ["i", "s", "b", "r"]) {
    for (const key of [1, "1", 5, "5", new Real(1.5), new Uint8Array([1]), 2n ** 53n + 1n]) {
      node.store.merge([row(table, key, { v: key })]);
    }
    node.store.merge([row(table, [1, 2], { v: "two key columns" })]);
  }
  const shown = (table: string) => node.table(table).map(([key]) => key);
  expect(shown("i")).toEqual([1, 5, 2n ** 53n + 1n]);
  expect(shown("s")).toEqual(["1", "5", new Uint8Array([1])]);
  expect(shown("b")).toEqual([1, new Real(1.5), 5, 2n ** 53n + 1n, "1", "5", new Uint8Array([1])]);
  expect(shown("r")).toEqual(
    [1, 1.5, 5].map((real) => new Real(real)).concat(new Uint8Array([1]) as never),
  );
  expect(node.store.unshown()).toEqual([
    { table: "b", column: "", cells: 1 },
    { table: "i", column: "", cells: 5 },
    { table: "r", column: "", cells: 4 },
    { table: "s", column: "", cells: 5 },
  ]);
  expect(node.store.scan(undefined, 100).rows.length).toBe(32);
});

test("when a row comes to life again, columns that the new life doesn't have show their default", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a DEFAULT 'd', b, c)");
  node.store.merge([row("t", "x", { a: 1, b: 2, c: 3 })]);
  const late = { ...row("t", "x", { a: 1, b: 2 }), cells: row("t", "x", { c: 9 }, at(8000)).cells };
  node.store.merge([late, row("t", "x", { b: 4 }, at(7000), 3)]);
  expect(node.table("t")).toEqual([["x", "d", 4, 9]]);
  node.store.merge([row("t", "x", {}, at(9000), 4)]);
  expect(node.table("t")).toEqual([]);
  node.store.merge([row("t", "x", { b: 5 }, at(10_000), 5)]);
  expect(node.table("t")).toEqual([["x", "d", 5, null]]);
});

test("unknown tables and columns are held, and shown once the schema has them", () => {
  const vfs = new MemoryVfs();
  const small = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)";
  const large = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b INTEGER NOT NULL DEFAULT 5);
    CREATE TABLE u (k INTEGER PRIMARY KEY, v)`;
  const rows = [
    row("t", "x", { a: 1, b: 2 }),
    row("t", "y", { a: 1, b: "no" }),
    row("t", "z", { a: 1, b: null }),
    row("t", "old", { a: 1 }),
    row("u", 1, { v: "one", w: "later" }),
    row("u", "key of another type", { v: 2 }),
    row("u", 3, {}, at(5000), 2),
  ];
  let scanned: unknown;
  {
    using node = new SqliteNode(small, { vfs });
    node.store.merge(rows);
    expect(node.table("t").length).toBe(4);
    expect(node.store.unshown()).toEqual([
      { table: "t", column: "b", cells: 3 },
      { table: "u", column: "", cells: 2 },
    ]);
    scanned = new Map(node.store.scan(undefined, 100).rows.map(({ id, clocks }) => [id, clocks]));
  }
  {
    using node = new SqliteNode(large, { vfs });
    expect(node.report).toMatchObject({ created: false, adoptedRows: 0, surfacedRows: 3 });
    expect(node.table("t")).toEqual([
      ["old", 1, 5],
      ["x", 1, 2],
      ["y", 1, "no"],
      ["z", 1, 5],
    ]);
    expect(node.table("u")).toEqual([[1, "one"]]);
    expect(node.store.unshown()).toEqual([
      { table: "t", column: "b", cells: 1 },
      { table: "u", column: "", cells: 1 },
      { table: "u", column: "w", cells: 1 },
    ]);
    // Clocks and digests are what they were.
    expect(
      new Map(node.store.scan(undefined, 100).rows.map(({ id, clocks }) => [id, clocks])),
    ).toEqual(scanned as never);
    expect(rows.map((state) => held(node, state))).toEqual(rows);
  }
  using again = new SqliteNode(large, { vfs });
  expect(again.report).toMatchObject({
    statements: [],
    surfacedRows: 0,
    clocksWithoutRows: 0,
    rowsWithoutClocks: 0,
  });
});

test("adding a column changes no clock and sends nothing; setting it stamps it", () => {
  const vfs = new MemoryVfs();
  let clocks: unknown;
  {
    using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)", { vfs });
    node.write("INSERT INTO t VALUES ('x', 1), ('y', 2)");
    clocks = node.store.scan(undefined, 10).rows;
  }
  using node = new SqliteNode(
    "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, b INTEGER DEFAULT 5, a)",
    { vfs },
  );
  expect(node.report.statements).toEqual(['ALTER TABLE "t" ADD COLUMN b INTEGER DEFAULT 5']);
  expect(node.store.scan(undefined, 10).rows).toEqual(clocks as never);
  expect(node.write("UPDATE t SET b = 5").changeset).toBeUndefined();
  const { changeset } = node.write("UPDATE t SET b = 6 WHERE k = 'x'");
  expect(changeset?.rows.map(({ cells }) => cells.map(({ column }) => column))).toEqual([
    ["a", "b"],
  ]);
  // A new row stamps all columns.
  expect(node.write("INSERT INTO t (k) VALUES ('z')").changeset?.rows[0]?.cells.length).toBe(2);
});

test("the file may spell names another way than the database", () => {
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode('CREATE TABLE "Tab" (K TEXT PRIMARY KEY NOT NULL, "Val")', { vfs });
    expect(node.write("INSERT INTO tab VALUES ('x', 1)").changeset?.rows.length).toBe(1);
  }
  using node = new SqliteNode("CREATE TABLE tAB (k TEXT PRIMARY KEY NOT NULL, vAL, more)", {
    vfs,
    rules: { TAB: { urgent: "VAL > 1" } },
  });
  const { changeset } = node.write("UPDATE Tab SET val = 2, MORE = 3");
  expect([changeset?.lane, changeset?.rows[0]?.table]).toEqual([0, "tab"]);
  expect(changeset?.rows[0]?.cells.map(({ column }) => column)).toEqual(["more", "val"]);
});

test("cells that are held go along when a row's key changes, and stay when it is replaced", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a INTEGER, b)");
  node.store.merge([row("t", "x", { a: "12", b: 1, later: "l" })]);
  // By way of another key.
  const { changeset } = node.write("UPDATE t SET k = 'q'", "UPDATE t SET k = 'y'");
  const stamp = changeset?.stamp as Stamp;
  const moved = row("t", "y", { a: "12", b: 1, later: "l" }, stamp);
  expect(held(node, moved)).toEqual(moved);
  expect(node.table("t")).toEqual([["y", null, 1]]);
  // What is set in the same commit is set.
  const set = node.write("UPDATE t SET k = 'z', a = 3");
  const after = row("t", "z", { a: 3, b: 1, later: "l" }, set.changeset?.stamp as Stamp);
  expect(held(node, after)).toEqual(after);
  const replaced = node.write("REPLACE INTO t VALUES ('z', NULL, 2)");
  expect(replaced.changeset?.rows[0]?.cells.map(({ column, value }) => [column, value])).toEqual([
    ["a", null],
    ["b", 2],
    ["later", "l"],
  ]);
});

test("an update that sets a held column shows it; one that doesn't leaves it held", () => {
  using node = new SqliteNode(
    "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a INTEGER DEFAULT 1, b)",
  );
  const odd = row("t", "x", { a: "12", b: 1 });
  node.store.merge([odd]);
  node.write("UPDATE t SET b = 2");
  expect(held(node, odd)?.cells[0]?.value).toBe("12");
  node.write("UPDATE t SET a = 1");
  expect(held(node, odd)?.cells[0]?.value).toBe("12");
  node.write("UPDATE t SET a = 2");
  expect(held(node, odd)?.cells[0]?.value).toBe(2);
  expect(node.store.unshown()).toEqual([]);
});

test("rows that were there before Patina are taken in as inserts of long ago", () => {
  const vfs = new MemoryVfs();
  const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a);
    CREATE TABLE w (k BLOB PRIMARY KEY, v) WITHOUT ROWID`;
  {
    using db = openMemory(vfs);
    db.exec(`${sql}; INSERT INTO t VALUES ('x', 1), ('y', 2); INSERT INTO w VALUES (1.0, 'w');
      INSERT INTO t VALUES ('too large to be sent', zeroblob(8388609)), (hex(zeroblob(40000)), 1)`);
  }
  using node = new SqliteNode(sql, { vfs, nowMs: 7000 });
  expect(node.report).toMatchObject({
    created: false,
    adoptedRows: 3,
    clocksWithoutRows: 0,
    rowsWithoutClocks: 2,
  });
  const stamp = { ms: 1, count: 0, site: siteOf(0) };
  const x = row("t", "x", { a: 1 }, stamp);
  expect(held(node, x)).toEqual(x);
  expect(node.db.all("SELECT typeof(k) FROM w")).toEqual([["integer"]]);
  expect(node.db.all("PRAGMA auto_vacuum")).toEqual([[2]]);
});

test("what was written without Patina is counted at the start, and merges get over it", () => {
  const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a);
    CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID`;
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode(sql, { vfs });
    node.write(
      "INSERT INTO t VALUES ('x', 1), ('y', 2)",
      "INSERT INTO w VALUES ('x', 1), ('y', 2)",
    );
    node.db.onPreupdate(null);
    node.db.exec("DELETE FROM t WHERE k = 'x'; INSERT INTO t VALUES ('z', 9), ('q', 8)");
    node.db.exec("DELETE FROM w WHERE k = 'x'; INSERT INTO w VALUES ('z', 9), ('q', 8)");
  }
  using node = new SqliteNode(sql, { vfs });
  expect(node.report).toMatchObject({ clocksWithoutRows: 2, rowsWithoutClocks: 4 });
  const rows = ["t", "w"].flatMap((table) =>
    ["x", "y", "z"].map((key) => row(table, key, table === "t" ? { a: 5 } : { v: 5 }, at(90_000))),
  );
  node.store.merge(rows);
  expect(node.table("t")).toEqual([
    ["q", 8],
    ["x", 5],
    ["y", 5],
    ["z", 5],
  ]);
  expect(node.table("w")).toEqual([
    ["q", 8],
    ["x", 5],
    ["y", 5],
    ["z", 5],
  ]);
  expect(rows.map((state) => held(node, state))).toEqual(rows);
  // Touched, the last one is told too.
  expect(node.write("UPDATE t SET a = 7 WHERE k = 'q'").changeset?.rows.length).toBe(1);
});

test("a local table is not touched by rows that others have of that name", () => {
  using node = new SqliteNode("CREATE TABLE l (k TEXT PRIMARY KEY NOT NULL, v)", {
    rules: { l: { replicated: false } },
  });
  expect(node.write("INSERT INTO l VALUES ('x', 'mine')").changeset).toBeUndefined();
  const theirs = row("l", "x", { v: "theirs" });
  node.store.merge([theirs, row("l", "y", { v: "theirs" })]);
  expect(node.table("l")).toEqual([["x", "mine"]]);
  expect(held(node, theirs)).toEqual(theirs);
});

test("what is no number is NULL before anybody hears of it", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, r REAL, b)");
  const nan = "9e999 - 9e999";
  const { changeset } = node.write(`INSERT INTO t VALUES ('x', ${nan}, ${nan})`);
  expect(changeset?.rows[0]?.cells.map(({ value }) => value)).toEqual([null, null]);
});

test("damaged clocks count as nothing: not sent, and any copy wins", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)");
  node.write("INSERT INTO t VALUES ('x', 1)");
  node.db.exec("UPDATE patina_clock_t SET clock = x'ff'");
  const state = row("t", "x", { a: 2 }, at(1));
  expect(node.store.scan(undefined, 10).rows).toEqual([]);
  expect(held(node, state)).toBeUndefined();
  node.store.merge([state]);
  expect(node.table("t")).toEqual([["x", 2]]);
  expect(held(node, state)).toEqual(state);
});

test("a new file says what it is; another's, and a newer one, are refused untouched", () => {
  const open = (vfs: MemoryVfs) => {
    const db = openMemory(vfs);
    const opened = SqliteStore.open({
      writer: db,
      schema: schemaOf("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL)"),
      digester: createDigester(),
      clock: new HlcClock(siteOf(0), hlcZero),
    });
    const answer = opened.kind === "refused" ? opened.why : "opened";
    const header = ["application_id", "user_version", "page_size", "auto_vacuum"].map(
      (name) => db.all(`PRAGMA ${name}`)[0]?.[0],
    );
    const tables = db.all("SELECT count(*) FROM sqlite_schema")[0]?.[0];
    db.close();
    return { answer, header, tables };
  };
  const own = new MemoryVfs();
  expect(open(own)).toMatchObject({ answer: "opened", header: [0x5041544e, 1, 4096, 2] });
  {
    using db = openMemory(own);
    db.exec(`PRAGMA user_version = ${lateFileVersion + 1}`);
  }
  expect(open(own).answer).toContain("start the newer patina again");
  const other = new MemoryVfs();
  {
    using db = openMemory(other);
    db.exec("PRAGMA application_id = 7; CREATE TABLE theirs (x)");
  }
  expect(open(other)).toMatchObject({ tables: 1 });
  expect(open(other).answer).toContain("belongs to another program");
});

test("site, version and hlc are kept; another site counts its own commits", () => {
  const vfs = new MemoryVfs();
  const sql = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL)";
  {
    using node = new SqliteNode(sql, { vfs, nowMs: 50_000 });
    node.write("INSERT INTO t VALUES ('x')");
    node.write("INSERT INTO t VALUES ('y')");
    writeState(node.db, "nonce", "n-1");
  }
  {
    using node = new SqliteNode(sql, { vfs, nowMs: 1000 });
    expect([node.store.version, readState(node.db, "nonce"), node.clock.last.ms]).toEqual([
      2,
      "n-1",
      52_000,
    ]);
    // The wall clock went back, stamps don't.
    expect(node.write("INSERT INTO t VALUES ('z')").changeset?.stamp.ms).toBe(52_000);
  }
  using other = new SqliteNode(sql, { vfs, site: 1 });
  expect(other.write("INSERT INTO t VALUES ('q')").version).toBe(1);
});

test("what a transaction that was rolled back wrote of the clock counts for nothing", () => {
  const vfs = new MemoryVfs();
  const sql = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL)";
  let last = 0;
  {
    using node = new SqliteNode(sql, { vfs });
    const commit = (k: string, nowMs: number) => {
      node.store.begin();
      node.db.run("INSERT INTO t VALUES (?)", k);
      return node.store.commit(nowMs);
    };
    commit("a", 50_000);
    {
      using reader = openMemory(vfs);
      reader.exec("BEGIN; SELECT * FROM t");
      expect(() => commit("b", 50_100)).toThrow("database is locked");
    }
    // One that writes nothing of the clock.
    using other = new SqliteNode(sql, { site: 1, nowMs: 1000 });
    node.store.merge(other.write("INSERT INTO t VALUES ('c')").changeset?.rows ?? []);
    commit("d", 50_200);
    last = node.clock.last.ms;
  }
  using node = new SqliteNode(sql, { vfs });
  expect(node.clock.last.ms).toBeGreaterThanOrEqual(last);
});

test("after a crash in the middle of many commits, stamps and versions go on above all that were given", () => {
  const vfs = new MemoryVfs();
  const sql = "CREATE TABLE t (k INTEGER PRIMARY KEY NOT NULL)";
  let last = { version: 0, ms: 0, count: 0 };
  const commit = (node: SqliteNode, nowMs: number): typeof last => {
    node.store.begin();
    node.db.exec("INSERT INTO t DEFAULT VALUES");
    const result = node.store.commit(nowMs);
    if (result.kind === "refused" || result.changeset === undefined) throw new Error("no change");
    const { ms, count } = result.changeset.stamp;
    return { version: result.version as number, ms, count };
  };
  // Not disposed of: killed.
  const killed = new SqliteNode(sql, { vfs, nowMs: 10_000 });
  for (let i = 0; i < 1000; i++) last = commit(killed, 10_000 + Math.floor(i / 3));
  expect(last).toEqual({ version: 1000, ms: 10_333, count: 0 });
  killed.store.begin();
  killed.db.exec("INSERT INTO t DEFAULT VALUES");
  killed.db.close();
  {
    // The wall clock went back, too.
    using node = new SqliteNode(sql, { vfs, nowMs: 9000 });
    const next = commit(node, 9000);
    expect(next.version).toBeGreaterThan(last.version);
    expect(next.version - last.version).toBeLessThan(300);
    expect(next.ms).toBeGreaterThan(last.ms);
    // Less than what peers warn of.
    expect(next.ms - last.ms).toBeLessThan(500);
    last = next;
    node.store.keepClock();
  }
  // After an orderly stop they go on without a gap.
  using node = new SqliteNode(sql, { vfs, nowMs: 9000 });
  expect(commit(node, 9000)).toEqual({ ...last, version: last.version + 1, count: last.count + 1 });
});

// Rows get new rowids from a dump, and are found by them beside their clocks: a row would have had the stamps of another.
test("a database that was made of a dump is refused, and not touched", () => {
  const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)";
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode(schema, { vfs });
    node.write("INSERT INTO t VALUES ('x', 1), ('y', 1)");
    node.write("DELETE FROM t WHERE k = 'x'");
  }
  {
    // All that a dump has of its mark.
    using db = openMemory(vfs);
    db.exec("PRAGMA application_id = 0; PRAGMA user_version = 0");
  }
  expect(() => new SqliteNode(schema, { vfs })).toThrow("made of a dump");
  using db = openMemory(vfs);
  expect(db.all("PRAGMA application_id")).toEqual([[0]]);
  expect(db.all("SELECT k FROM t")).toEqual([["y"]]);
});

test("a merge that can't be written changes nothing and can be done again", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)");
  const rows = [row("t", "x", { a: 1, b: 2 }), row("t", "y", { a: 1, b: 2 })];
  node.db.exec(
    "CREATE TRIGGER stop BEFORE INSERT ON t WHEN new.k = 'y' BEGIN SELECT raise(ABORT, 'disk'); END",
  );
  expect(() => node.store.merge(rows)).toThrow("disk");
  expect([node.table("t"), node.store.unshown(), node.store.scan(undefined, 9).rows]).toEqual([
    [],
    [],
    [],
  ]);
  node.db.exec("DROP TRIGGER stop");
  expect(node.store.merge(rows).map(({ changed }) => changed)).toEqual([true, true]);
  expect(rows.map((state) => held(node, state))).toEqual(rows);
});

test("a scan for digests makes no object of a plain row, whatever its key", () => {
  using node = new SqliteNode(
    "CREATE TABLE n (k INTEGER PRIMARY KEY NOT NULL, v); CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v); CREATE TABLE w (a TEXT NOT NULL, b INTEGER NOT NULL, v, PRIMARY KEY (a, b)) WITHOUT ROWID",
  );
  const rows = [
    row("n", 7, { v: "x" }),
    row("t", "key", { v: 1 }, at(4000)),
    row("t", "k".repeat(500), { v: 1 }),
    row("w", ["a", 1], { v: null }),
    row("elsewhere", "y", {}, at(5000), 2),
  ];
  node.store.merge(rows);
  const { columns, rows: whole } = node.store.scanDigests(undefined, 100, () => true);
  expect(columns.count).toBe(4);
  expect(whole.map(({ table, key }) => ({ table, key }))).toEqual([
    { table: "t", key: (rows[2] as RowState).key },
  ]);
  const isBefore = (firstMs: number, lastMs: number) => firstMs <= lastMs && lastMs < 4001;
  expect(node.store.scanDigests(undefined, 100, isBefore).columns.count).toBe(1);
});

test("of rows that are stamped anew it is told which are urgent: those of which the rule says so, and the dead", () => {
  const sql = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT)";
  using node = new SqliteNode(sql, { rules: { t: { urgent: "status <> 'up'" } } });
  node.write("INSERT INTO t VALUES ('1', 'up'), ('2', 'down'), ('3', 'up')");
  node.write("DELETE FROM t WHERE k = '3'");
  const { rows } = node.store.scan(undefined, 10);
  expect(node.store.reclock(rows, node.nowMs)).toEqual([false, true, true]);
});
