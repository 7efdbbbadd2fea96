import { describe, expect, test } from "bun:test";
import { constants } from "node:fs";
import { seededRandom } from "../../bench/seeded-random.ts";
import { SQLITE_FULL, SQLITE_IOERR } from "../../wasm/constants.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { FaultyDisk, type FaultyDiskOptions } from "../disk/faulty-disk.ts";
import { FaultyVfs } from "../disk/faulty-vfs.ts";
import { testVfs } from "./vfs.ts";

// Without faults it is a disk like any other; also one that does everything in small pieces.
testVfs("faulty", () => createPlace(0));
testVfs("faulty, in pieces,", () => createPlace(0.5));

function createPlace(shortShare: number) {
  const disk = new FaultyDisk({ random: Math.random, shortShare });
  return {
    vfs: new FaultyVfs(disk),
    path: (name: string) => `/${name}`,
    [Symbol.dispose]: () => {},
  };
}

function createDisk(options: Partial<FaultyDiskOptions> = {}): FaultyDisk {
  return new FaultyDisk({ random: seededRandom(7), ...options });
}

const path = "/d/f";

function openFile(disk: FaultyDisk, name = path): number {
  return disk.open(name, constants.O_RDWR | constants.O_CREAT, 0o600);
}

function syncFolder(disk: FaultyDisk): void {
  disk.fsync(disk.open("/d", constants.O_RDONLY | constants.O_DIRECTORY, 0));
}

function write(disk: FaultyDisk, fd: number, text: string, offset = 0): void {
  disk.pwrite(fd, Buffer.from(text), 0, text.length, offset);
}

function read(disk: FaultyDisk, name = path): string {
  if (!disk.exists(name)) return "no file";
  const bytes = new Uint8Array(100_000);
  return Buffer.from(
    bytes.subarray(0, disk.pread(openFile(disk, name), bytes, 0, 100_000, 0)),
  ).toString();
}

/** What is there after a power cut, over many draws. */
function outcomes(prepare: (disk: FaultyDisk) => void, options: Partial<FaultyDiskOptions> = {}) {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 300; seed++) {
    const disk = createDisk({ random: seededRandom(seed * 7919), ...options });
    prepare(disk);
    disk.restart("power");
    seen.add(read(disk));
  }
  return [...seen].sort();
}

describe("a disk that loses power", () => {
  test("keeps what was synced with its name, and of the rest any part", () => {
    const synced = outcomes((disk) => {
      const fd = openFile(disk);
      write(disk, fd, "one");
      disk.fdatasync(fd);
      syncFolder(disk);
    });
    expect(synced).toEqual(["one"]);
    const overwritten = outcomes((disk) => {
      const fd = openFile(disk);
      write(disk, fd, "one");
      disk.fdatasync(fd);
      syncFolder(disk);
      write(disk, fd, "two");
      write(disk, fd, "six");
    });
    // The page was written back before, between or after: never "six" from before "two".
    expect(overwritten).toEqual(["one", "six", "two"]);
  });

  test("loses a new file whose folder wasn't synced, and brings a deleted one back", () => {
    const made = outcomes((disk) => {
      const fd = openFile(disk);
      write(disk, fd, "one");
      disk.fdatasync(fd);
    });
    expect(made).toEqual(["no file", "one"]);
    const deleted = outcomes((disk) => {
      const fd = openFile(disk);
      write(disk, fd, "one");
      disk.fdatasync(fd);
      syncFolder(disk);
      disk.unlink(path);
    });
    expect(deleted).toEqual(["no file", "one"]);
    const replaced = outcomes((disk) => {
      write(disk, openFile(disk), "one");
      disk.fdatasync(openFile(disk));
      syncFolder(disk);
      disk.unlink(path);
      write(disk, openFile(disk), "two");
      disk.fdatasync(openFile(disk));
    });
    expect(replaced).toEqual(["no file", "one", "two"]);
  });

  test("writes pages in any order and tears them at sectors", () => {
    const a = "a".repeat(4096);
    const seen = outcomes((disk) => {
      const fd = openFile(disk);
      write(disk, fd, a + a);
      disk.fdatasync(fd);
      syncFolder(disk);
      write(disk, fd, "b".repeat(4096), 0);
      write(disk, fd, "c".repeat(4096), 4096);
    }).map((text) => text.replace(/(.)\1{511}/gs, "$1"));
    const aaaa = "aaaaaaaa";
    expect(seen).toContain(`bbbbbbbb${aaaa}`);
    expect(seen).toContain(`${aaaa}cccccccc`);
    expect(seen.some((text) => /^(?=.*a)(?=.*b)[ab]{8}/.test(text))).toBe(true);
    expect(seen.every((text) => /^[ab]{8}[ac]{8}$/.test(text))).toBe(true);
  });

  test("cuts a file off at once or not at all", () => {
    const a = "a".repeat(4096);
    const seen = outcomes((disk) => {
      const fd = openFile(disk);
      write(disk, fd, a + a);
      disk.fdatasync(fd);
      syncFolder(disk);
      disk.ftruncate(fd, 0);
      write(disk, fd, "b");
    });
    // Also a size that was saved before what was written; never a half of what was there.
    expect(seen).toEqual(["", "\0", "b", a + a].sort());
  });

  test("a process's death takes nothing", () => {
    const disk = createDisk();
    write(disk, openFile(disk), "one");
    disk.restart("process");
    expect(read(disk)).toBe("one");
  });

  test("after a failed sync the next succeeds, and what was dropped is still not there", () => {
    const prepare = (disk: FaultyDisk) => {
      const fd = openFile(disk);
      write(disk, fd, "one");
      disk.fdatasync(fd);
      syncFolder(disk);
      write(disk, fd, "two");
      disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
      expect(() => disk.fdatasync(fd)).toThrow("EIO");
      disk.fdatasync(fd);
    };
    expect(outcomes(prepare)).toEqual(["one", "two"]);
    const seen = new Set<string>();
    for (let seed = 1; seed < 50; seed++) {
      const disk = createDisk({ random: seededRandom(seed * 7919), failedPages: "reverted" });
      prepare(disk);
      seen.add(read(disk));
    }
    expect([...seen].sort()).toEqual(["one", "two"]);
    // Written again it is written.
    const again = outcomes((disk) => {
      prepare(disk);
      write(disk, openFile(disk), "two");
      disk.fdatasync(openFile(disk));
    });
    expect(again).toEqual(["two"]);
  });

  test("a full disk takes what fits, and overwriting is no matter of room", () => {
    const disk = createDisk();
    const fd = openFile(disk);
    disk.bytesMax = 2 * 4096;
    expect(disk.pwrite(fd, new Uint8Array(10_000), 0, 10_000, 0)).toBe(8192);
    expect(() => disk.pwrite(fd, new Uint8Array(10), 0, 10, 8192)).toThrow("ENOSPC");
    expect(disk.pwrite(fd, new Uint8Array(8192), 0, 8192, 0)).toBe(8192);
  });

  test("a stop in the middle of a write leaves a part of it, and everything fails from then on", () => {
    const disk = createDisk();
    const fd = openFile(disk);
    disk.inject({ kind: "stop", after: 1 });
    write(disk, fd, "x".repeat(5000));
    expect(() => write(disk, fd, "y".repeat(5000))).toThrow("EIO");
    expect(disk.isStopped).toBe(true);
    expect(() => disk.fdatasync(fd)).toThrow("ENODEV");
    disk.restart("process");
    expect(read(disk)).toMatch(/^y*x*$/);
  });
});

function openWal(disk: FaultyDisk): Database {
  const db = openDatabase("/d/a.db", { vfs: new FaultyVfs(disk) });
  db.pragma("journal_mode", "wal");
  db.pragma("wal_autocheckpoint", 0);
  return db;
}

/** The error of the body; undefined when there is none. */
function errorOf(body: () => unknown): SqliteError | undefined {
  try {
    body();
  } catch (thrown) {
    if (thrown instanceof SqliteError) return thrown;
    throw thrown;
  }
  return undefined;
}

describe("the file VFS on a disk that fails", () => {
  // Found by a history: the second process opened a WAL whose name was never synced.
  test("FULL: a WAL that an earlier process made has its name synced before a commit is acknowledged", () => {
    const disk = createDisk({ random: () => 0 });
    const first = openWal(disk);
    first.exec("CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous = NORMAL");
    first.exec("INSERT INTO t VALUES (1)");
    disk.stop();
    first.close();
    disk.restart("process");
    const second = openWal(disk);
    second.exec("PRAGMA synchronous = FULL; INSERT INTO t VALUES (2)");
    disk.stop();
    second.close();
    disk.restart("power");
    using third = openWal(disk);
    expect(third.all("SELECT a FROM t")).toEqual([[1], [2]]);
  });

  test("EXTRA: a commit lasts with its journal's deletion, which else would be rolled back", () => {
    const disk = createDisk({ random: () => 0 });
    const db = openDatabase("/d/a.db", { vfs: new FaultyVfs(disk) });
    db.exec("PRAGMA synchronous = EXTRA; CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    db.exec("INSERT INTO t VALUES (2)");
    disk.stop();
    db.close();
    disk.restart("power");
    using second = openDatabase("/d/a.db", { vfs: new FaultyVfs(disk) });
    expect(second.all("SELECT a FROM t")).toEqual([[1], [2]]);
  });

  test("a close that fails gives the lock back all the same", () => {
    const disk = createDisk();
    const opened = new Set<number>();
    const { open, close } = disk;
    disk.open = (...call) => {
      const fd = open.apply(disk, call);
      opened.add(fd);
      return fd;
    };
    let fails = 1;
    disk.close = (fd) => {
      opened.delete(fd);
      close.call(disk, fd);
      if (fails-- > 0) throw Object.assign(new Error("EIO"), { code: "EIO", errno: -5 });
    };
    const db = openDatabase("/d/a.db", { vfs: new FileVfs("closes", disk) });
    db.exec("SELECT count(*) FROM sqlite_schema");
    db.close();
    expect([fails < 1, [...opened]]).toEqual([true, []]);
  });

  // Found by a history: the answer "wal" came before the commit that made it so, which failed.
  test("a pragma that fails at its very end fails", () => {
    const disk = createDisk();
    using db = openDatabase("/d/a.db", { vfs: new FaultyVfs(disk) });
    db.exec("CREATE TABLE t (a)");
    disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
    expect(errorOf(() => db.pragma("journal_mode", "wal"))?.code).toBe(SQLITE_IOERR);
    expect(db.all("SELECT * FROM t")).toEqual([]);
    expect(db.pragma("journal_mode")).toBe("delete");
    expect(db.pragma("journal_mode", "wal")).toBe("wal");
  });

  test("INSERT … RETURNING whose commit fails throws, also when only its first row is taken", () => {
    const disk = createDisk();
    using db = openWal(disk);
    db.exec("PRAGMA synchronous = FULL; CREATE TABLE t (a)");
    disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
    const insert = () => db.get("INSERT INTO t VALUES (1), (2) RETURNING a");
    expect(errorOf(insert)?.code).toBe(SQLITE_IOERR);
    expect(db.all("SELECT a FROM t")).toEqual([]);
  });

  test("after a failed sync of the WAL nothing is written until it was opened anew", () => {
    const disk = createDisk({ random: () => 0 });
    const db = openWal(disk);
    db.exec("PRAGMA synchronous = NORMAL; CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE)");
    db.exec("INSERT INTO t VALUES (1)");
    disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
    expect(errorOf(() => db.checkpoint("PASSIVE"))?.message).toBe(
      "disk I/O error (fdatasync /d/a.db-wal: EIO)",
    );
    // The disk would say that all is well now, though the frame isn't there.
    const why =
      "disk I/O error (/d/a.db-wal: an earlier fdatasync failed (EIO): what was written since the one before may not be on the disk; nothing is written until the database was closed and opened again)";
    expect(errorOf(() => db.checkpoint("PASSIVE"))?.message).toBe(why);
    expect(errorOf(() => db.exec("INSERT INTO t VALUES (2)"))?.message).toBe(why);
    expect(db.all("SELECT a FROM t")).toEqual([[1]]);
    db.close();

    // Opened anew it is written again, so that the next sync takes all of it to the disk, or fails.
    const second = openWal(disk);
    second.exec("PRAGMA synchronous = FULL");
    expect(second.all("SELECT a FROM t")).toEqual([[1]]);
    second.exec("INSERT INTO t VALUES (2)");
    disk.stop();
    second.close();
    disk.restart("power");
    using third = openWal(disk);
    expect(third.all("SELECT a FROM t")).toEqual([[1], [2]]);
  });

  test("whoever has to restart the process is told once that a sync failed", () => {
    const disk = createDisk({ random: () => 0 });
    const vfs = new FileVfs("told", disk);
    const told: string[] = [];
    vfs.onSyncFailed = (path, why) => told.push(`${path} ${why}`);
    const db = openDatabase("/d/a.db", { vfs });
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (a)");
    disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
    for (let tries = 0; tries < 3; tries++) errorOf(() => db.checkpoint("PASSIVE"));
    expect(told).toEqual(["/d/a.db-wal EIO"]);
    db.close();
  });

  test("a full disk refuses writes, serves reads, and goes on when there is room", () => {
    const disk = createDisk();
    using db = openWal(disk);
    using reader = openDatabase("/d/a.db", { vfs: new FaultyVfs(disk), readonly: true });
    db.exec("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(10000))");
    disk.bytesMax = disk.bytesUsed + 4096;
    const insert = "INSERT INTO t VALUES (zeroblob(20000))";
    for (let tries = 0; tries < 3; tries++) {
      const error = errorOf(() => db.exec(insert)) as SqliteError;
      expect([error.code, error.message]).toEqual([
        SQLITE_FULL,
        "database or disk is full (write /d/a.db-wal: ENOSPC)",
      ]);
      for (const one of [db, reader]) {
        expect(one.all("SELECT length(a) FROM t")).toEqual([[10_000]]);
      }
    }
    disk.bytesMax += 100_000;
    db.exec(insert);
    expect(reader.all("SELECT length(a) FROM t")).toEqual([[10_000], [20_000]]);
    expect(db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  });
});
