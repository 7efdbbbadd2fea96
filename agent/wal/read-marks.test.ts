import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { ReadMarks } from "./read-marks.ts";

test("a checkpoint copies up to the first mark, whichever are released", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-read-marks-"));
  try {
    const vfs = new FileVfs();
    const path = join(folder, "d.db");
    using writer = openDatabase(path, { vfs });
    writer.pragma("journal_mode", "wal");
    writer.pragma("wal_autocheckpoint", 0);
    writer.exec("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)");
    const marks = new ReadMarks(path, vfs);
    const frames = () => writer.checkpoint("PASSIVE").walFrames;
    const at: number[] = [];
    for (let i = 0; i < 3; i++) {
      writer.exec("INSERT INTO t (body) VALUES (randomblob(3000))");
      marks.set();
      at.push(Number(writer.all("PRAGMA wal_checkpoint(NOOP)")[0]?.[1]));
    }
    writer.exec("INSERT INTO t (body) VALUES (randomblob(3000))");
    // One stays free for the round that begins.
    expect([marks.count, marks.hasRoom]).toEqual([3, false]);
    const copied = () => writer.checkpoint("PASSIVE").checkpointedFrames;
    expect(copied()).toBe(at[0] as number);
    marks.release(1);
    expect(copied()).toBe(at[0] as number);
    marks.releaseFirst();
    expect(copied()).toBe(at[2] as number);
    marks.releaseAll();
    expect(copied()).toBe(frames());
    expect([marks.count, marks.hasRoom]).toEqual([0, true]);
    marks.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
