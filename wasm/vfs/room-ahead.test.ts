import { expect, test } from "bun:test";
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "../database.ts";
import { FileVfs } from "./file.ts";
import { type FileSystem, systemFiles } from "./file-system.ts";
import { findRoom, RoomAhead } from "./room-ahead.ts";

const mb = 1024 * 1024;

test("room is found in pieces of 4 MB, for a file that has passed 1 MB", () => {
  const found: [number, number][] = [];
  const room = new RoomAhead((_fd, offset, bytes) => found.push([offset, bytes]) > 0);
  const grow = (toBytes: number) => {
    for (let offset = 0; offset < toBytes; offset += mb / 2) room.before(7, offset, mb / 2);
  };
  grow(mb);
  expect(found).toEqual([]);
  grow(6 * mb);
  expect(found).toEqual([
    [mb, 4.5 * mb],
    [5.5 * mb, 4.5 * mb],
  ]);
  // It began anew, and what was behind its end may have gone.
  grow(2 * mb);
  expect(found.slice(2)).toEqual([[mb, 4.5 * mb]]);
  room.truncated();
  room.before(7, 2 * mb, mb);
  expect(found.slice(3)).toEqual([[2 * mb, 5 * mb]]);
});

test("a file system that has no room ahead isn't asked again", () => {
  let asked = 0;
  const room = new RoomAhead(() => ++asked === 0);
  for (let offset = 0; offset < 20 * mb; offset += mb) room.before(7, offset, mb);
  expect(asked).toBe(1);
});

test("the file's size is that of what was written", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-room-"));
  const fd = openSync(join(folder, "a"), "w");
  try {
    writeSync(fd, "abc");
    const hasRoom = findRoom(fd, 3, mb);
    expect(fstatSync(fd).size).toBe(3);
    // Of 512 bytes each. Not every file system has such a call.
    if (hasRoom) expect(fstatSync(fd).blocks).toBeGreaterThanOrEqual(mb / 512);
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a WAL that grows has room found for it, a short one and the database don't", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-room-"));
  let found = 0;
  const counting: FileSystem = { ...systemFiles, findRoom: () => ++found > 0 };
  try {
    const db = openDatabase(join(folder, "a.db"), { vfs: new FileVfs(undefined, counting) });
    db.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (value)");
    db.exec("INSERT INTO t VALUES (zeroblob(500000))");
    expect(found).toBe(0);
    for (let i = 0; i < 9; i++) db.exec("INSERT INTO t VALUES (zeroblob(1000000))");
    expect(found).toBe(2);
    db.checkpoint("TRUNCATE");
    expect(found).toBe(2);
    db.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
