import { expect, test } from "bun:test";
import { openMemory, SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import type { Database } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import { hlcZero } from "../clock/stamp.ts";
import { lateLimits } from "./clocks/late-clocks.ts";
import { readFileHeader } from "./file/file-header.ts";
import { SqliteStore } from "./sqlite-store.ts";

const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)";
const late = { ...lateLimits, rowsMax: 100, transactionRowsMin: 1 };

/** A file with rows, of which some clocks are in the log, as a process that was killed left it. */
function killed(): { vfs: MemoryVfs; rows: unknown } {
  const vfs = new MemoryVfs();
  using node = new SqliteNode(schema, { vfs, late });
  node.write("INSERT INTO t VALUES ('x', 1, 1), ('y', 1, 1), ('z', 1, 1)");
  node.write("UPDATE t SET a = 2 WHERE k <> 'z'");
  node.write("DELETE FROM t WHERE k = 'y'");
  return { vfs, rows: rowsOf(node.store) };
}

function rowsOf(store: SqliteStore): unknown {
  return store.scan(undefined, 100).rows.map((row) => [row.id, store.read([row])]);
}

function openUnwritten(db: Database, site: number, sql = schema) {
  const clock = new HlcClock(siteOf(site), hlcZero);
  const parts = { writer: db, schema: schemaOf(sql), digester: createDigester(), clock };
  return SqliteStore.openUnwritten({ ...parts, late: lateLimits });
}

test("a file that can't be written is opened and read as it is, its clock log included", () => {
  const { vfs, rows } = killed();
  const before = vfs.read("test.db");
  using db = openMemory(vfs);
  db.pragma("query_only", 1);
  const opened = openUnwritten(db, 0);
  expect(opened).toMatchObject({ kind: "opened", report: { lateClocksLost: 0 } });
  if (opened.kind !== "opened") return;
  expect(rowsOf(opened.store)).toEqual(rows);
  expect(vfs.read("test.db")).toEqual(before);
});

test("nothing is written before it is settled how it was opened; then everything goes on", () => {
  const { vfs, rows } = killed();
  using db = openMemory(vfs);
  const opened = openUnwritten(db, 1);
  if (opened.kind !== "opened") throw new Error(opened.why);
  const { store } = opened;
  let isFull = true;
  store.holdBack(() => {
    if (isFull) throw new Error("full");
    store.settle(() => db.exec("UPDATE patina_state SET value = 7 WHERE name = 'incarnation'"));
  });
  for (const write of [
    () => store.begin(),
    () => store.beginMerge(),
    () => store.keepClock(),
    () => store.reclock([], 0),
  ]) {
    expect(write).toThrow("full");
  }
  // What fails in between is owed as before.
  isFull = false;
  expect(() =>
    store.settle(() => {
      throw new Error("still full");
    }),
  ).toThrow("still full");
  expect(readFileHeader(db)).toMatchObject({ site: siteOf(0) });
  store.begin();
  db.run("UPDATE t SET b = 3 WHERE k = 'x'");
  expect(store.commit(30_000)).toMatchObject({ kind: "committed", version: 1 });
  expect(readFileHeader(db)).toMatchObject({ site: siteOf(1), version: 1 });
  const after = rowsOf(store);
  expect(after).not.toEqual(rows);
  db.close();
  using again = new SqliteNode(schema, { vfs, site: 1, late });
  expect(again.report).toMatchObject({ lateClocksLost: 0, rowsWithoutClocks: 0 });
  expect(rowsOf(again.store)).toEqual(after);
});

test("clocks that it took up come home, and a rowid that is used again has its own", () => {
  const { vfs } = killed();
  using db = openMemory(vfs);
  const opened = openUnwritten(db, 0);
  if (opened.kind !== "opened") throw new Error(opened.why);
  const { store } = opened;
  store.settle(() => {});
  store.begin();
  db.run("INSERT INTO t (rowid, k, a, b) VALUES (2, 'new', 1, 1)");
  store.commit(30_000);
  const rows = rowsOf(store);
  store.bringClocksHome();
  expect(db.all("SELECT count(*) FROM patina_late_clocks")).toEqual([[0]]);
  expect([db.pragma("user_version"), rowsOf(store)]).toEqual([1, rows]);
});

test.each([
  ["CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b, c)", "the schema has to be changed"],
  [`${schema}; CREATE TABLE u (k TEXT PRIMARY KEY NOT NULL)`, "the schema has to be changed"],
])("%s: what it would have to write is why it is refused", (sql, why) => {
  const { vfs } = killed();
  using db = openMemory(vfs);
  expect(openUnwritten(db, 0, sql)).toMatchObject({
    kind: "refused",
    why: `the disk is full, and ${why}`,
  });
});

test("a table whose rows are still to be taken in is so on a full disk, too", () => {
  const vfs = new MemoryVfs();
  const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001)";
  {
    using node = new SqliteNode(schema, { vfs, rules: { t: { replicated: false } } });
    node.db.exec(`INSERT INTO t SELECT 'r' || i, i, i FROM (${many} SELECT i FROM n)`);
  }
  {
    using node = new SqliteNode(schema, { vfs });
    expect([...node.store.adopting]).toEqual(["t"]);
  }
  using db = openMemory(vfs);
  db.pragma("query_only", 1);
  const opened = openUnwritten(db, 0);
  // Else its rows would be told as written without Patina, and wait for the next start.
  expect(opened).toMatchObject({ kind: "opened", report: { rowsWithoutClocks: 0 } });
  expect(opened.kind === "opened" && [...opened.store.adopting]).toEqual(["t"]);
});
