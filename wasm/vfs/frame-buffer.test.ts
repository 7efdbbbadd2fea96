import { expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, openDatabase } from "../database.ts";
import { FileVfs } from "./file.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";

class World implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "patina-frames-"));
  readonly path: string = join(this.folder, "a.db");
  writes = 0;
  readonly #counting: FileSystem = {
    ...systemFiles,
    pwrite: (fd, from, at, bytes, offset) => {
      this.writes++;
      return systemFiles.pwrite(fd, from, at, bytes, offset);
    },
  };

  open(): Database {
    const db = openDatabase(this.path, { vfs: new FileVfs(undefined, this.#counting) });
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    db.exec("PRAGMA wal_autocheckpoint = 0");
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)");
    return db;
  }

  /** What another process would find now, if this one were killed. */
  ifKilled(): number[] {
    const copy = join(this.folder, "copy.db");
    rmSync(`${copy}-wal`, { force: true });
    copyFileSync(this.path, copy);
    copyFileSync(`${this.path}-wal`, `${copy}-wal`);
    using db = openDatabase(copy, { vfs: new FileVfs() });
    expect(db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
    return db.all("SELECT count(*), coalesce(sum(length(value)), 0) FROM t")[0] as number[];
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("a commit is one write, however many pages it has", () => {
  using world = new World();
  using db = world.open();
  db.exec("INSERT INTO t VALUES (1, zeroblob(50000))");
  world.writes = 0;
  db.exec("UPDATE t SET value = zeroblob(49999)");
  expect(world.writes).toBe(1);
  expect(world.ifKilled()).toEqual([1, 49_999]);
});

test("what is committed is in the file, also where a page was written twice on the way", () => {
  using world = new World();
  using db = world.open();
  db.exec("PRAGMA cache_size = 5");
  db.exec("BEGIN");
  // More pages than the cache has: they go to the WAL before the commit, and some of them twice.
  for (let i = 1; i <= 300; i++) db.exec(`INSERT INTO t VALUES (${i}, zeroblob(3000))`);
  for (let i = 1; i <= 300; i += 7) db.exec(`UPDATE t SET value = zeroblob(2000) WHERE id = ${i}`);
  expect(world.ifKilled()).toEqual([0, 0]);
  db.exec("COMMIT");
  expect(world.ifKilled()).toEqual([300, 300 * 3000 - 43 * 1000]);
});

test("frames of a transaction that was rolled back are no one's", () => {
  using world = new World();
  using db = world.open();
  using reader = openDatabase(world.path, { vfs: new FileVfs() });
  db.exec("PRAGMA cache_size = 5");
  for (let round = 0; round < 5; round++) {
    db.exec("BEGIN");
    for (let i = 0; i < 50; i++) db.exec("INSERT INTO t (value) VALUES (zeroblob(3000))");
    db.exec("SAVEPOINT s");
    for (let i = 0; i < 50; i++) db.exec("INSERT INTO t (value) VALUES (zeroblob(3000))");
    db.exec("ROLLBACK TO s");
    db.exec(round % 2 === 0 ? "ROLLBACK" : "COMMIT");
    const rows = 50 * Math.ceil(round / 2);
    expect(world.ifKilled()[0]).toBe(rows);
    expect(reader.all("SELECT count(*) FROM t")).toEqual([[rows]]);
  }
});
