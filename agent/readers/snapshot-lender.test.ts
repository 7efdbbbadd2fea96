import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { SnapshotLender } from "./snapshot-lender.ts";

let folder: string;
let writer: Database;
let lender: SnapshotLender;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-lender-"));
  const path = join(folder, "d.db");
  const vfs = new FileVfs();
  writer = openDatabase(path, { vfs });
  writer.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
  writer.exec("CREATE TABLE t (n); INSERT INTO t VALUES (1)");
  lender = new SnapshotLender(path, vfs);
});

afterEach(() => {
  lender.close();
  writer.close();
  rmSync(folder, { recursive: true });
});

test("while a snapshot is lent nothing younger is copied, and the WAL doesn't begin anew", () => {
  const loan = lender.lend();
  expect(loan.regions.length).toBe(1);
  writer.exec("INSERT INTO t VALUES (2)");
  const { walFrames, checkpointedFrames } = writer.checkpoint("PASSIVE");
  expect(checkpointedFrames).toBeLessThan(walFrames);
  expect(writer.checkpoint("TRUNCATE").busy).toBe(true);
  loan.end();
  expect(writer.checkpoint("TRUNCATE").busy).toBe(false);
});

test("a loan that has ended may end once more, and its connection is lent again", () => {
  const first = lender.lend();
  const second = lender.lend();
  expect([lender.isPinned, lender.oldest]).toEqual([true, 1]);
  first.end();
  first.end();
  expect([lender.isPinned, lender.oldest]).toEqual([true, 2]);
  const third = lender.lend();
  // That it is the first one's connection doesn't make it that loan.
  first.end();
  second.end();
  expect([lender.isPinned, lender.oldest]).toEqual([true, 3]);
  third.end();
  expect([lender.isPinned, lender.oldest]).toEqual([false, undefined]);
});
