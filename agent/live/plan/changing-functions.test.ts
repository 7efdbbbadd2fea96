import { expect, test } from "bun:test";
import { openDatabase } from "../../../wasm/database.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { addClockFunctions } from "../../sql/functions.ts";
import { SqlGuard } from "../../sql/guard.ts";
import { changingFunctionOf } from "./changing-functions.ts";

const database = openDatabase("/changing.db", { vfs: new MemoryVfs() });
addClockFunctions(database, () => 0);
database.exec(`
CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, at INTEGER, now TEXT, date TEXT);
CREATE VIEW young AS SELECT id FROM t WHERE at > unixepoch('NOW', '-1 hour');
CREATE VIEW "Above It" AS SELECT id FROM young;
CREATE VIEW dated AS SELECT date(at, 'unixepoch') AS day FROM t;
`);
const guard = new SqlGuard(database);

function changing(sql: string): string | undefined {
  guard.beginNotes();
  guard.within("read", () => database.prepare(sql)).finalize();
  return changingFunctionOf(database, sql, guard.notes.functions);
}

test.each([
  ["random", "SELECT id FROM t ORDER BY Random()"],
  ["randomblob", "SELECT id, hex(randomblob(4)) FROM t"],
  ["sqlite_offset", "SELECT id, sqlite_offset(id) FROM t"],
  ["uuid7", "SELECT uuid7() FROM t"],
  ["hlc_time", "SELECT id FROM t WHERE at > hlc_time() - 1000"],
  ["last_insert_rowid", "SELECT id FROM t WHERE id = last_insert_rowid()"],
  ["current_timestamp", "SELECT id FROM t WHERE date < CURRENT_TIMESTAMP"],
  ["unixepoch", "SELECT id FROM t WHERE at > unixepoch() - 60"],
  ["datetime", "SELECT id FROM t WHERE date < datetime('now', '-1 day')"],
  ["date", `SELECT "date"(coalesce(NULL, 'Now')) FROM t`],
  ["julianday", "SELECT julianday('subsec') FROM t"],
  ["strftime", "SELECT strftime('%s') FROM t"],
  ["timediff", "SELECT timediff(date, 'now') FROM t"],
  ["unixepoch", "SELECT id FROM young"],
  ["unixepoch", `SELECT count(*) FROM "above it"`],
])("%s has another value at another time: %s", (name, sql) => {
  expect(changing(sql)).toBe(name);
});

test.each([
  "SELECT date FROM t WHERE now = 'now'",
  "SELECT date(at, 'unixepoch', '+1 day'), strftime('%s', date) FROM t",
  "SELECT date(now), lower('now') FROM t",
  "SELECT day FROM dated WHERE day <> 'now'",
  "SELECT timediff(date, now) FROM t",
  "SELECT max(at) FROM t",
])("nothing of %s has", (sql) => {
  expect(changing(sql)).toBeUndefined();
});
