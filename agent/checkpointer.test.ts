import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Database, openDatabase } from "../wasm/database.ts";
import { FileVfs } from "../wasm/vfs/file.ts";
import { Checkpointer } from "./checkpointer.ts";

let folder: string;
let writer: Database;
let path: string;
let vfs: FileVfs;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-checkpointer-"));
  path = join(folder, "d.db");
  vfs = new FileVfs();
  writer = openDatabase(path, { vfs });
  writer.pragma("journal_mode", "wal");
  writer.pragma("synchronous", "normal");
  writer.pragma("wal_autocheckpoint", 0);
  writer.exec("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)");
});

afterEach(() => {
  writer.close();
  rmSync(folder, { recursive: true });
});

function create(
  failures: string[] = [],
  framesMax = 16_000,
): {
  checkpointer: Checkpointer;
  ended: () => Promise<void>;
} {
  let end: () => void = () => {};
  let promise = Promise.resolve();
  const next = () => {
    promise = new Promise((resolve) => {
      end = resolve;
    });
  };
  next();
  const checkpointer = new Checkpointer({
    path,
    vfs,
    checkpoint: (mode) => writer.checkpoint(mode),
    isBusy: () => !writer.autocommit,
    measured: (work) => work(),
    framesMax,
    onFailure: (why) => failures.push(why),
    onEnd: () => {
      end();
      next();
    },
  });
  return { checkpointer, ended: () => promise };
}

function fill(rows: number): void {
  for (let i = 0; i < rows; i++) writer.exec("INSERT INTO t (body) VALUES (randomblob(3000))");
}

function state(checkpointer: Checkpointer) {
  return checkpointer.state as NonNullable<Checkpointer["state"]>;
}

test("a round copies what was committed before it, while commits go on", async () => {
  const failures: string[] = [];
  const { checkpointer, ended } = create(failures);
  fill(300);
  const { frames, waiting } = state(checkpointer);
  expect(waiting).toBe(frames);
  const end = ended();
  expect(checkpointer.work(state(checkpointer), false, true)).toBe(false);
  fill(10);
  await end;
  const after = state(checkpointer);
  expect(after.frames).toBeGreaterThan(frames);
  expect(after.waiting).toBe(after.frames - frames);
  expect(failures).toEqual([]);
  checkpointer.close();
  expect(writer.pragma("integrity_check")).toBe("ok");
});

test("a round goes on beside an open transaction, which it leaves alone", async () => {
  const { checkpointer, ended } = create();
  fill(300);
  const { frames } = state(checkpointer);
  writer.exec("BEGIN; INSERT INTO t (body) VALUES (x'aa')");
  const end = ended();
  checkpointer.work(state(checkpointer), false, true);
  await end;
  expect(state(checkpointer)).toEqual({ frames, waiting: 0 });
  writer.exec("ROLLBACK");
  expect(Number(writer.all("SELECT count(*) FROM t")[0]?.[0])).toBe(300);
  checkpointer.close();
});

test("with nothing to do all is copied, and the WAL is cut", async () => {
  const { checkpointer, ended } = create();
  fill(20);
  expect(checkpointer.work(state(checkpointer), false, true)).toBe(true);
  const end = ended();
  expect(checkpointer.work(state(checkpointer), true, true)).toBe(false);
  await end;
  expect(state(checkpointer).waiting).toBe(0);
  expect(checkpointer.work(state(checkpointer), true, true)).toBe(true);
  expect(state(checkpointer)).toEqual({ frames: 0, waiting: 0 });
  checkpointer.close();
});

test("it may be closed in the middle of a round, and the database too", async () => {
  const { checkpointer } = create();
  fill(300);
  checkpointer.work(state(checkpointer), false, true);
  checkpointer.close();
  writer.checkpoint("TRUNCATE");
  writer.close();
  await Bun.sleep(0);
  writer = openDatabase(path, { vfs });
  expect(Number(writer.all("SELECT count(*) FROM t")[0]?.[0])).toBe(300);
  expect(writer.pragma("integrity_check")).toBe("ok");
});

for (const [whose, waits] of [
  ["clients' writes, which wait for the last pass", true],
  ["urgent changes, which never wait", false],
] as const) {
  test(`a long WAL begins anew beside a stream of ${whose}`, async () => {
    const failures: string[] = [];
    const { checkpointer } = create(failures, 300);
    let held = 0;
    const deadlineMs = performance.now() + 20_000;
    const isLong = () => checkpointer.isLong(state(checkpointer));
    while (!isLong()) fill(10);
    while (isLong()) {
      if (performance.now() > deadlineMs) throw new Error("it doesn't begin anew");
      if (checkpointer.holdsBackWrites) held++;
      if (!waits || !checkpointer.holdsBackWrites) fill(20);
      checkpointer.work(state(checkpointer), false, true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    writer.exec("INSERT INTO t (body) VALUES (x'aa')");
    expect(state(checkpointer).frames).toBeLessThan(300);
    expect(held).toBeGreaterThan(0);
    expect(failures).toEqual([]);
    checkpointer.close();
    expect(writer.pragma("integrity_check")).toBe("ok");
  });
}
