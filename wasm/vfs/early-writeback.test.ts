import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "../database.ts";
import { EarlyWriteback } from "./early-writeback.ts";
import { FileVfs } from "./file.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";

const kb = 1024;

test("what was written is begun in pieces of 256 KB, without the page that is still being filled", () => {
  const begun: [number, number][] = [];
  const writeback = new EarlyWriteback((_fd, offset, bytes) => begun.push([offset, bytes]));
  const fill = () => {
    for (let offset = 0; offset < 600 * kb; offset += 30_000) writeback.wrote(7, offset, 30_000);
  };
  // The file grows.
  fill();
  expect(begun).toEqual([]);
  fill();
  expect(begun).toEqual([
    [0, 65 * 4 * kb],
    [65 * 4 * kb, 66 * 4 * kb],
  ]);
  // A sync took the rest, and the file begins anew.
  writeback.synced();
  writeback.wrote(7, 0, 300 * kb);
  expect(begun.slice(2)).toEqual([[0, 300 * kb]]);
});

test("pages here and there are begun as the range that they are in", () => {
  const begun: [number, number][] = [];
  const writeback = new EarlyWriteback((_fd, offset, bytes) => begun.push([offset, bytes]));
  writeback.wrote(7, 0, 3000 * kb);
  for (let page = 0; page < 70; page++) writeback.wrote(7, page * 40 * kb, 4 * kb);
  expect(begun).toEqual([[0, 63 * 40 * kb + 4 * kb]]);
});

test("a thread that syncs begins early, one that leaves it to another doesn't", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-writeback-"));
  let begun = 0;
  const counting: FileSystem = { ...systemFiles, beginWriteback: () => begun++ };
  try {
    const vfs = new FileVfs(undefined, counting);
    const path = join(folder, "a.db");
    const db = openDatabase(path, { vfs });
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE t (value)");
    const fill = () => {
      begun = 0;
      db.exec("INSERT INTO t VALUES (zeroblob(1000000))");
      const ofWal = begun;
      db.checkpoint("PASSIVE");
      return { ofWal, ofDatabase: begun - ofWal };
    };
    expect(fill()).toEqual({ ofWal: 0, ofDatabase: 0 });
    db.exec("DELETE FROM t");
    db.checkpoint("TRUNCATE");
    // The WAL grows again; the database has room.
    expect(fill()).toEqual({ ofWal: 0, ofDatabase: 3 });
    db.exec("DELETE FROM t");
    db.checkpoint("RESTART");
    expect(fill()).toEqual({ ofWal: 2, ofDatabase: 3 });
    const elsewhere = vfs.openCheckpointSync(path);
    expect(fill()).toEqual({ ofWal: 0, ofDatabase: 0 });
    elsewhere.close();
    db.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
