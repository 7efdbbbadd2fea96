/**
 * What every VFS has to do, written once: first its own methods, then through SQLite, which is what
 * they are for. `vfs.test.ts` runs it over each.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Real, type SqlValue } from "../../core/row/value.ts";
import {
  SQLITE_ACCESS_EXISTS,
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_DELETEONCLOSE,
  SQLITE_OPEN_EXCLUSIVE,
  SQLITE_OPEN_MAIN_JOURNAL,
  SQLITE_OPEN_READONLY,
  SQLITE_OPEN_READWRITE,
} from "../../wasm/constants.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { loadSqlite } from "../../wasm/module.ts";
import type { Vfs, VfsFile } from "../../wasm/vfs/vfs.ts";
import { VfsError } from "../../wasm/vfs/vfs-error.ts";

/** An empty place of its own for every test. */
export interface VfsUnderTest extends Disposable {
  readonly vfs: Vfs;
  /** Where a file of this name belongs. */
  path(name: string): string;
}

const CREATE = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_JOURNAL;
const READ = SQLITE_OPEN_READONLY | SQLITE_OPEN_MAIN_JOURNAL;

export function testVfs(name: string, create: () => VfsUnderTest): void {
  describe(`${name} VFS`, () => {
    describe("by itself", () => testFiles(create));
    describe("under SQLite", () => testDatabases(create));
  });
}

function codeOf(body: () => unknown): number {
  try {
    body();
  } catch (thrown) {
    if (thrown instanceof VfsError || thrown instanceof SqliteError) return thrown.code & 0xff;
    throw thrown;
  }
  return 0;
}

/** Bytes `from` to `to` of a file; what lies beyond its end is left out. */
function read(file: VfsFile, from: number, to: number): number[] {
  const heap = new Uint8Array(to - from + 16).fill(0xee);
  const bytes = file.xRead(heap, 8, to - from, from);
  expect([heap[7], heap[8 + bytes]]).toEqual([0xee, 0xee]);
  return [...heap.subarray(8, 8 + bytes)];
}

function write(file: VfsFile, offset: number, ...bytes: number[]): void {
  file.xWrite(new Uint8Array([0, 0, ...bytes, 0]), 2, bytes.length, offset);
}

function testFiles(create: () => VfsUnderTest): void {
  test("what is written is read, and no more than there is", () => {
    using place = create();
    const { file } = place.vfs.xOpen(place.path("f"), CREATE);
    write(file, 0, 1, 2, 3, 4);
    write(file, 2, 9);
    expect(read(file, 0, 4)).toEqual([1, 2, 9, 4]);
    expect(read(file, 3, 10)).toEqual([4]);
    expect(read(file, 4, 10)).toEqual([]);
    expect(read(file, 1000, 1010)).toEqual([]);
    expect(file.xFileSize()).toBe(4);
    file.xSync();
    file.xClose();
  });

  test("a gap reads as zeros, also where something was before a truncate", () => {
    using place = create();
    const { file } = place.vfs.xOpen(place.path("f"), CREATE);
    write(file, 0, 1, 2, 3, 4);
    file.xTruncate(2);
    expect([file.xFileSize(), ...read(file, 0, 4)]).toEqual([2, 1, 2]);
    write(file, 5, 7);
    expect(read(file, 0, 10)).toEqual([1, 2, 0, 0, 0, 7]);
    file.xTruncate(0);
    expect(file.xFileSize()).toBe(0);
    file.xClose();
  });

  test("a file outlives its handle, and two handles see one file", () => {
    using place = create();
    const path = place.path("f");
    const first = place.vfs.xOpen(path, CREATE).file;
    write(first, 0, 5);
    const second = place.vfs.xOpen(path, READ);
    expect(second.flags & SQLITE_OPEN_READONLY).toBe(SQLITE_OPEN_READONLY);
    expect(read(second.file, 0, 1)).toEqual([5]);
    write(first, 0, 6);
    expect(read(second.file, 0, 1)).toEqual([6]);
    first.xClose();
    second.file.xClose();
    const third = place.vfs.xOpen(path, READ).file;
    expect(read(third, 0, 1)).toEqual([6]);
    third.xClose();
  });

  test("opening makes a file only when asked to, and not over another when exclusive", () => {
    using place = create();
    const path = place.path("f");
    expect(codeOf(() => place.vfs.xOpen(path, READ))).toBe(SQLITE_CANTOPEN);
    expect(codeOf(() => place.vfs.xOpen(path, SQLITE_OPEN_READWRITE))).toBe(SQLITE_CANTOPEN);
    const exclusive = CREATE | SQLITE_OPEN_EXCLUSIVE;
    place.vfs.xOpen(path, exclusive).file.xClose();
    expect(codeOf(() => place.vfs.xOpen(path, exclusive))).toBe(SQLITE_CANTOPEN);
  });

  test("a deleted file is gone by name and stays for those who have it open", () => {
    using place = create();
    const path = place.path("f");
    const { file } = place.vfs.xOpen(path, CREATE);
    write(file, 0, 1);
    expect([place.vfs.xAccess(path, SQLITE_ACCESS_EXISTS), file.hasMoved()]).toEqual([true, false]);
    expect(place.vfs.xDelete(path, true)).toBe(true);
    expect([place.vfs.xAccess(path, SQLITE_ACCESS_EXISTS), file.hasMoved()]).toEqual([false, true]);
    expect(read(file, 0, 1)).toEqual([1]);
    expect(place.vfs.xDelete(path, false)).toBe(false);
    // Another file takes the name; it isn't this one.
    place.vfs.xOpen(path, CREATE).file.xClose();
    expect(file.hasMoved()).toBe(true);
    file.xClose();
  });

  test("temporary files go with their handle", () => {
    using place = create();
    const path = place.path("t");
    const named = place.vfs.xOpen(path, CREATE | SQLITE_OPEN_DELETEONCLOSE).file;
    const nameless = place.vfs.xOpen(null, CREATE | SQLITE_OPEN_DELETEONCLOSE).file;
    write(named, 0, 1);
    write(nameless, 10, 2);
    expect(read(nameless, 9, 11)).toEqual([0, 2]);
    named.xClose();
    nameless.xClose();
    expect(place.vfs.xAccess(path, SQLITE_ACCESS_EXISTS)).toBe(false);
  });

  test("paths become absolute, randomness random, time now", () => {
    using place = create();
    expect(place.vfs.xFullPathname("some.db")).toStartWith("/");
    expect(place.vfs.xFullPathname("/a/b.db")).toBe("/a/b.db");
    const random = new Uint8Array(64);
    place.vfs.xRandomness(random);
    expect(new Set(random).size).toBeGreaterThan(8);
    expect(Math.abs(place.vfs.xCurrentTimeMs() - Date.now())).toBeLessThan(60_000);
  });
}

/** Ten accounts that always hold 1,000 together, and how often money was moved. */
const accounts = `CREATE TABLE account (k INTEGER PRIMARY KEY, held INTEGER);
  CREATE TABLE moves (n INTEGER);
  WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 10)
    INSERT INTO account SELECT n, 100 FROM k;
  INSERT INTO moves VALUES (0);`;

/** Everything there is, in one statement, so that it is one snapshot. */
const accountState = "SELECT (SELECT n FROM moves), (SELECT group_concat(held) FROM account)";

function testDatabases(create: () => VfsUnderTest): void {
  const integrity = (db: Database) => db.all("PRAGMA integrity_check");

  for (const mode of ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"]) {
    test(`journal mode ${mode}: commits last`, () => {
      using place = create();
      const path = place.path("a.db");
      using first = openDatabase(path, { vfs: place.vfs });
      expect(first.pragma("journal_mode", mode)).toBe(mode.toLowerCase());
      first.exec("CREATE TABLE t (a, b, c); BEGIN");
      const row: SqlValue[] = [new Real(-0), "x\0y", new Uint8Array([1, 2])];
      first.run("INSERT INTO t VALUES (?, ?, ?)", ...row);
      first.exec("COMMIT");
      expect(integrity(first)).toEqual([["ok"]]);
      first.close();
      using second = openDatabase(path, { vfs: place.vfs, create: false });
      expect(second.all("SELECT * FROM t")).toEqual([row]);
    });
  }

  for (const mode of ["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"]) {
    test(`journal mode ${mode}: a rollback undoes also what had spilled to the file`, () => {
      using place = create();
      using db = openDatabase(place.path("a.db"), { vfs: place.vfs });
      db.pragma("journal_mode", mode);
      db.pragma("cache_size", 5);
      db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v); BEGIN");
      for (let k = 0; k < 300; k++) db.run("INSERT INTO t VALUES (?, randomblob(500))", k);
      db.exec("COMMIT");
      const before = db.all("SELECT k, v FROM t");
      db.exec("BEGIN; DELETE FROM t WHERE k % 3 = 0; UPDATE t SET v = randomblob(700)");
      for (let k = 1000; k < 1300; k++) db.run("INSERT INTO t VALUES (?, randomblob(500))", k);
      db.exec("SAVEPOINT s; DELETE FROM t; ROLLBACK TO s");
      expect(db.all("SELECT count(*) FROM t")).toEqual([[500]]);
      db.exec("ROLLBACK");
      expect(db.all("SELECT k, v FROM t")).toEqual(before);
      expect(integrity(db)).toEqual([["ok"]]);
    });
  }

  for (const mode of ["DELETE", "WAL"]) {
    test(`journal mode ${mode}: files as a crash would leave them open with every commit`, () => {
      using place = create();
      const path = place.path("a.db");
      using db = openDatabase(path, { vfs: place.vfs });
      db.pragma("journal_mode", mode);
      db.pragma("cache_size", 5);
      db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, v)");
      let committed = 0;
      for (let round = 0; round < 12; round++) {
        db.exec("BEGIN");
        db.run("UPDATE t SET v = zeroblob(600)");
        for (let k = 0; k < 40; k++) db.run("INSERT INTO t (v) VALUES (randomblob(600))");
        // The cache has long spilled: the file, or the WAL, has pages of a transaction that is open.
        using crashed = create();
        for (const suffix of ["", "-journal", "-wal"]) {
          copyFile(place.vfs, `${path}${suffix}`, crashed.vfs, crashed.path(`a.db${suffix}`));
        }
        using reopened = openDatabase(crashed.path("a.db"), { vfs: crashed.vfs });
        expect(reopened.all("SELECT count(*) FROM t")).toEqual([[committed]]);
        expect(integrity(reopened)).toEqual([["ok"]]);
        if (round % 3 === 2) db.exec("ROLLBACK");
        else {
          db.exec("COMMIT");
          committed += 40;
        }
      }
    });
  }

  for (const seed of [1, 2, 3]) {
    test(`WAL: readers never see an uncommitted row or half a transaction (seed ${seed})`, () => {
      using place = create();
      const path = place.path("a.db");
      using writer = openDatabase(path, { vfs: place.vfs });
      writer.pragma("journal_mode", "WAL");
      // So small that open transactions spill into the WAL, and checkpoints often meet a reader.
      writer.pragma("cache_size", 3);
      writer.pragma("wal_autocheckpoint", 20);
      writer.exec(accounts);
      interleave(writer, path, place.vfs, seed);
      expect(integrity(writer)).toEqual([["ok"]]);
    });
  }

  test("WAL: a transaction that a reader has begun stays as it was, over commits and checkpoints", () => {
    using place = create();
    const path = place.path("a.db");
    using writer = openDatabase(path, { vfs: place.vfs });
    writer.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    using reader = openDatabase(path, { vfs: place.vfs, readonly: true });
    reader.exec("BEGIN");
    expect(reader.all("SELECT a FROM t")).toEqual([[1]]);
    writer.exec("UPDATE t SET a = 2");
    expect(writer.checkpoint("TRUNCATE").busy).toBe(true);
    expect(writer.checkpoint("PASSIVE").busy).toBe(false);
    writer.exec("UPDATE t SET a = 3");
    expect(reader.all("SELECT a FROM t")).toEqual([[1]]);
    reader.exec("COMMIT");
    expect(reader.all("SELECT a FROM t")).toEqual([[3]]);
    expect(writer.checkpoint("TRUNCATE")).toEqual({
      busy: false,
      walFrames: 0,
      checkpointedFrames: 0,
    });
    expect(reader.all("SELECT a FROM t")).toEqual([[3]]);
  });

  test("WAL: it grows over many wal-index regions, and a new reader finds its way", () => {
    using place = create();
    const path = place.path("a.db");
    using writer = openDatabase(path, { vfs: place.vfs });
    writer.exec("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
    writer.exec("PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)");
    using early = openDatabase(path, { vfs: place.vfs, readonly: true });
    // A region of the wal-index holds 4,096 frames, and each update writes about 1,000.
    writer.exec("INSERT INTO t VALUES (zeroblob(4000000))");
    for (let round = 0; round < 12; round++) writer.exec("UPDATE t SET a = randomblob(4000000)");
    const expected = writer.all("SELECT substr(a, 1, 100), substr(a, -100), length(a) FROM t");
    using late = openDatabase(path, { vfs: place.vfs, readonly: true });
    for (const reader of [early, late]) {
      expect(reader.all("SELECT substr(a, 1, 100), substr(a, -100), length(a) FROM t")).toEqual(
        expected,
      );
    }
    expect(writer.checkpoint("PASSIVE").walFrames).toBeGreaterThan(8192);
  });

  test("WAL: the last to close empties it, others leave it", () => {
    using place = create();
    const path = place.path("a.db");
    const exists = () => place.vfs.xAccess(`${path}-wal`, SQLITE_ACCESS_EXISTS);
    const writer = openDatabase(path, { vfs: place.vfs });
    writer.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const reader = openDatabase(path, { vfs: place.vfs });
    reader.all("SELECT * FROM t");
    writer.exec("INSERT INTO t VALUES (1)");
    writer.close();
    expect(exists()).toBe(true);
    expect(reader.all("SELECT * FROM t")).toEqual([[1]]);
    reader.close();
    expect(exists()).toBe(false);
  });

  test("rollback journal: a reader keeps a writer from committing, and a writer at it new readers out", () => {
    using place = create();
    const path = place.path("a.db");
    using writer = openDatabase(path, { vfs: place.vfs });
    writer.exec("PRAGMA journal_mode = DELETE; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    using reader = openDatabase(path, { vfs: place.vfs });
    using other = openDatabase(path, { vfs: place.vfs });
    reader.exec("BEGIN");
    reader.all("SELECT * FROM t");
    writer.exec("BEGIN IMMEDIATE; UPDATE t SET a = 2");
    // RESERVED lets readers in, but no second writer.
    expect(other.all("SELECT * FROM t")).toEqual([[1]]);
    expect(codeOf(() => other.exec("BEGIN IMMEDIATE"))).toBe(SQLITE_BUSY);
    expect(codeOf(() => writer.exec("COMMIT"))).toBe(SQLITE_BUSY);
    // PENDING lets nobody in any more.
    expect(codeOf(() => other.all("SELECT * FROM t"))).toBe(SQLITE_BUSY);
    reader.exec("COMMIT");
    writer.exec("COMMIT");
    expect(other.all("SELECT * FROM t")).toEqual([[2]]);
  });

  test("exclusive locking mode works, and keeps the other connections out", () => {
    using place = create();
    const path = place.path("a.db");
    using first = openDatabase(path, { vfs: place.vfs });
    first.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    first.exec("PRAGMA locking_mode = EXCLUSIVE; INSERT INTO t VALUES (1)");
    using second = openDatabase(path, { vfs: place.vfs });
    expect(codeOf(() => second.all("SELECT * FROM t"))).toBe(SQLITE_BUSY);
    first.exec("PRAGMA locking_mode = NORMAL");
    first.all("SELECT * FROM t");
    expect(second.all("SELECT * FROM t")).toEqual([[1]]);
  });

  test("auto_vacuum = INCREMENTAL gives pages back when told to", () => {
    using place = create();
    using db = openDatabase(place.path("a.db"), { vfs: place.vfs });
    db.pragma("page_size", 4096);
    db.pragma("auto_vacuum", "INCREMENTAL");
    db.exec(
      "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(400000))",
    );
    expect([db.pragma("page_size"), db.pragma("auto_vacuum")]).toEqual([4096, 2]);
    const before = db.pragma("page_count") as number;
    db.exec("DELETE FROM t");
    expect(db.pragma("page_count")).toBe(before);
    db.exec("PRAGMA incremental_vacuum");
    expect(db.pragma("page_count") as number).toBeLessThan(10);
    expect(db.checkpoint("TRUNCATE").busy).toBe(false);
    const { file } = place.vfs.xOpen(place.path("a.db"), READ);
    expect(file.xFileSize()).toBe((db.pragma("page_count") as number) * 4096);
    file.xClose();
  });

  test("VACUUM and VACUUM INTO", () => {
    using place = create();
    using db = openDatabase(place.path("a.db"), { vfs: place.vfs });
    db.exec(`PRAGMA journal_mode = WAL; ${accounts} VACUUM`);
    db.run("VACUUM INTO ?", place.path("copy.db"));
    using copy = openDatabase(place.path("copy.db"), { vfs: place.vfs });
    expect(copy.all(accountState)).toEqual(db.all(accountState));
    expect(integrity(copy)).toEqual([["ok"]]);
  });

  test("when the heap grows, statements and rows in flight go on", () => {
    using place = create();
    using db = openDatabase(place.path("a.db"), { vfs: place.vfs });
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t (k, v)");
    db.pragma("cache_size", -1_000_000);
    using insert = db.prepare("INSERT INTO t VALUES (?, ?)");
    using counter = db.prepare("SELECT ?, ?");
    counter.bindAll(["bound before it grew", 7]);
    counter.step();
    const { heap } = loadSqlite();
    const before = heap.u8.length;
    const value = new Uint8Array(60_000);
    let rows = 0;
    db.exec("BEGIN");
    while (heap.u8.length === before || rows < 200) {
      value.fill(rows);
      insert.run(`row ${rows}`, value);
      rows += 1;
    }
    db.exec("COMMIT");
    expect(counter.row()).toEqual(["bound before it grew", 7]);
    counter.reset();
    counter.step();
    expect(counter.row()).toEqual(["bound before it grew", 7]);
    using select = db.prepare("SELECT k, v FROM t ORDER BY rowid");
    for (let at = 0; select.step(); at++) {
      const bytes = select.column(1) as Uint8Array;
      expect([select.column(0), bytes.length, bytes[0], bytes[59_999]]).toEqual([
        `row ${at}`,
        60_000,
        at & 0xff,
        at & 0xff,
      ]);
    }
    expect(integrity(db)).toEqual([["ok"]]);
  });

  test("nothing stays open or in the heap when all is disposed", () => {
    const { vfs, exports, scratch, heap } = loadSqlite();
    const used = () => {
      exports.sqlite3_status(0, scratch, scratch + 4, 0);
      return [heap.i32[scratch >> 2], vfs.openFiles];
    };
    const cycle = () => {
      using place = create();
      using writer = openDatabase(place.path("a.db"), { vfs: place.vfs });
      writer.exec(`PRAGMA journal_mode = WAL; ${accounts}`);
      using reader = openDatabase(place.path("a.db"), { vfs: place.vfs, readonly: true });
      reader.exec("BEGIN");
      reader.prepare(accountState).step();
      writer.exec("BEGIN; DELETE FROM account");
    };
    cycle();
    const before = used();
    for (let at = 0; at < 10; at++) cycle();
    expect(used()).toEqual(before);
  });
}

function copyFile(from: Vfs, fromPath: string, to: Vfs, toPath: string): void {
  if (!from.xAccess(fromPath, SQLITE_ACCESS_EXISTS)) return;
  const source = from.xOpen(fromPath, READ).file;
  const target = to.xOpen(toPath, CREATE).file;
  const bytes = source.xFileSize();
  const heap = new Uint8Array(bytes);
  expect(source.xRead(heap, 0, bytes, 0)).toBe(bytes);
  target.xWrite(heap, 0, bytes, 0);
  source.xClose();
  target.xClose();
}

/**
 * One writer and two readers, in an order drawn from the seed, against a model: what was committed
 * last, and for each reader what that was when it began.
 */
function interleave(writer: Database, path: string, vfs: Vfs, seed: number): void {
  const random = seededRandom(seed);
  const below = (bound: number) => Math.floor(random() * bound);
  const state = (db: Database) => (db.get(accountState) as SqlValue[]).join("|");
  let committed = state(writer);
  let open: string | null = null;
  const readers = [0, 1].map(() => ({
    db: openDatabase(path, { vfs, readonly: true }),
    snapshot: null as string | null,
  }));
  const counts = { reads: 0, commits: 0, rollbacks: 0, checkpoints: 0, busy: 0 };

  for (let step = 0; step < 8000; step++) {
    const action = below(100);
    const reader = readers[below(2)] as (typeof readers)[number];
    if (action < 55) {
      expect(state(reader.db)).toBe(reader.snapshot ?? committed);
      counts.reads += 1;
    } else if (action < 60) {
      if (reader.snapshot === null) {
        reader.db.exec("BEGIN");
        // A deferred transaction sees what is there at its first read.
        reader.snapshot = state(reader.db);
        expect(reader.snapshot).toBe(committed);
      } else {
        reader.db.exec("COMMIT");
        reader.snapshot = null;
      }
    } else if (action < 85) {
      if (open === null) writer.exec("BEGIN IMMEDIATE");
      const amount = below(50);
      writer.run("UPDATE account SET held = held - ? WHERE k = ?", amount, 1 + below(10));
      // Half a transaction, if a reader ever saw it.
      if (below(3) === 0) expect(state(reader.db)).toBe(reader.snapshot ?? committed);
      writer.run("UPDATE account SET held = held + ? WHERE k = ?", amount, 1 + below(10));
      writer.run("UPDATE moves SET n = n + 1");
      if (below(10) === 0)
        writer.exec(
          "CREATE TABLE fill (a); INSERT INTO fill VALUES (randomblob(40000)); DROP TABLE fill",
        );
      if (below(10) === 0)
        writer.exec("SAVEPOINT s; DELETE FROM account; ROLLBACK TO s; RELEASE s");
      open = state(writer);
    } else if (action < 94) {
      if (open === null) continue;
      if (below(3) === 0) {
        writer.exec("ROLLBACK");
        counts.rollbacks += 1;
      } else {
        writer.exec("COMMIT");
        committed = open;
        counts.commits += 1;
      }
      open = null;
      expect(state(writer)).toBe(committed);
    } else if (open === null) {
      const mode = (["PASSIVE", "FULL", "RESTART", "TRUNCATE"] as const)[below(4)];
      const { busy } = writer.checkpoint(mode as "PASSIVE");
      counts.checkpoints += 1;
      counts.busy += busy ? 1 : 0;
    }
  }
  if (open !== null) writer.exec("ROLLBACK");
  for (const { db } of readers) db.close();
  // The draw is of no use if one of these never happened.
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(20);
  expect(counts.reads).toBeGreaterThan(3000);
}
