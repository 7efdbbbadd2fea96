import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Pace, untilTheEnd } from "../../core/replica/pace.ts";
import { until } from "../../test/until.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { type FileSystem, systemFiles } from "../../wasm/vfs/file-system.ts";
import type { CheckpointSync, Vfs } from "../../wasm/vfs/vfs.ts";
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
  usedVfs: Vfs = vfs,
  measured: (work: () => void) => void = (work) => work(),
  pace: Pace = untilTheEnd,
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
    vfs: usedVfs,
    checkpoint: (mode) => {
      writer.checkpoint(mode);
    },
    isBusy: () => !writer.autocommit,
    measured,
    pace,
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

test("a round copies piece by piece, in turns of their own, up to marks that were set before", async () => {
  const copied: number[] = [];
  let turns = 0;
  const turnsOfCopies: number[] = [];
  const { checkpointer, ended } = create([], 16_000, vfs, (work) => {
    const { waiting } = state(checkpointer);
    work();
    copied.push(waiting - state(checkpointer).waiting);
    turnsOfCopies.push(turns);
  });
  let end = ended();
  // Two marks, and the third begins the round.
  for (let i = 0; i < 3; i++) {
    fill(55);
    checkpointer.work(state(checkpointer), false, true);
  }
  // The next round's.
  fill(10);
  let isOver = false;
  void end.then(() => {
    isOver = true;
  });
  while (!isOver) {
    turns++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  // Each after a slice of copying ahead, of which the database tells nothing.
  expect(copied.map((frames) => frames > 0)).toEqual([false, true, false, true, false, true]);
  expect(Math.max(...copied)).toBeLessThan(150);
  expect(new Set(turnsOfCopies).size).toBe(3);
  expect(state(checkpointer).waiting).toBeGreaterThan(0);
  end = ended();
  checkpointer.work(state(checkpointer), true, true);
  await end;
  expect(state(checkpointer).waiting).toBe(0);
  checkpointer.close();
  expect(writer.pragma("integrity_check")).toBe("ok");
});

test("a round is copied in slices, while commits go on", async () => {
  const failures: string[] = [];
  let slices = 0;
  const noted = (work: () => void) => {
    slices++;
    work();
  };
  let looks = 0;
  const pace: Pace = {
    begin: () => {
      looks = 0;
    },
    isOver: () => looks++ === 1,
  };
  const { checkpointer, ended } = create(failures, 16_000, vfs, noted, pace);
  fill(400);
  const { frames } = state(checkpointer);
  let isOver = false;
  const end = ended().then(() => {
    isOver = true;
  });
  checkpointer.work(state(checkpointer), false, true);
  while (!isOver) {
    writer.exec("UPDATE t SET body = randomblob(100) WHERE n % 50 = 0");
    await new Promise((resolve) => setImmediate(resolve));
  }
  await end;
  expect(slices).toBeGreaterThan(20);
  const after = state(checkpointer);
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
  fill(10);
  expect(checkpointer.work(state(checkpointer), false, true)).toBe(true);
  const end = ended();
  expect(checkpointer.work(state(checkpointer), true, true)).toBe(false);
  await end;
  expect(state(checkpointer).waiting).toBe(0);
  await until(() => checkpointer.work(state(checkpointer), true, true));
  expect(state(checkpointer)).toEqual({ frames: 0, waiting: 0 });
  expect(statSync(`${path}-wal`).size).toBe(0);
  fill(10);
  checkpointer.close();
  expect(writer.pragma("integrity_check")).toBe("ok");
  expect(Number(writer.all("SELECT count(*) FROM t")[0]?.[0])).toBe(20);
});

test("a long WAL that isn't needed is cut in pieces, and what is written meanwhile stays", async () => {
  const pieces: number[] = [];
  let rows = 3000;
  const noting = new (class extends FileVfs {
    override openCheckpointSync(name: string): CheckpointSync {
      const sync = super.openCheckpointSync(name);
      const cutWal = async (usedBytes: number, cutBytesMax: number): Promise<boolean> => {
        const before = walBytes();
        const isCut = await sync.cutWal(usedBytes, cutBytesMax);
        if (isCut) pieces.push(before - walBytes());
        // Beside a cut, and between two.
        if (pieces.length < 3) {
          fill(1);
          rows++;
        }
        return isCut;
      };
      return { ...sync, cutWal };
    }
  })();
  const walBytes = () => statSync(`${path}-wal`).size;
  const { checkpointer } = create([], 16_000, noting);
  writer.exec("BEGIN");
  fill(3000);
  writer.exec("COMMIT");
  const longBytes = walBytes();
  expect(longBytes).toBeGreaterThan(10 * 1024 * 1024);
  await until(async () => {
    const isDone = checkpointer.work(state(checkpointer), true, true);
    await new Promise((resolve) => setImmediate(resolve));
    return isDone && walBytes() === 0;
  });
  expect(pieces.length).toBeGreaterThan(2);
  expect(Math.max(...pieces)).toBeLessThanOrEqual(4 * 1024 * 1024);
  checkpointer.close();
  writer.close();
  writer = openDatabase(path, { vfs });
  expect(Number(writer.all("SELECT count(*) FROM t WHERE length(body) = 3000")[0]?.[0])).toBe(rows);
  expect(writer.pragma("integrity_check")).toBe("ok");
}, 120_000);

test("nothing is cut off under an open transaction, whose frames nobody counts yet", async () => {
  let isBegun = false;
  const beginning = new (class extends FileVfs {
    override openCheckpointSync(name: string): CheckpointSync {
      const sync = super.openCheckpointSync(name);
      const cutWal = async (usedBytes: number, cutBytesMax: number): Promise<boolean> => {
        const isCut = await sync.cutWal(usedBytes, cutBytesMax);
        if (isBegun) return isCut;
        isBegun = true;
        writer.pragma("cache_size", 5);
        writer.exec("BEGIN");
        fill(100);
        return isCut;
      };
      return { ...sync, cutWal };
    }
  })();
  const { checkpointer } = create([], 16_000, beginning);
  writer.exec("BEGIN");
  fill(3000);
  writer.exec("COMMIT");
  await until(async () => {
    const isDone = checkpointer.work(state(checkpointer), true, true);
    await new Promise((resolve) => setImmediate(resolve));
    return isDone && isBegun;
  });
  expect(state(checkpointer).frames).toBe(0);
  writer.exec("COMMIT");
  expect(writer.pragma("integrity_check")).toBe("ok");
  expect(Number(writer.all("SELECT count(*) FROM t WHERE length(body) = 3000")[0]?.[0])).toBe(3100);
  checkpointer.close();
});

test("what a large transaction made of the WAL is given back while writes go on", async () => {
  // Of a file whose pages aren't as large as the store makes them, too.
  expect(writer.pragma("page_size")).toBe(8192);
  const { checkpointer } = create([], 100);
  const walBytes = () => statSync(`${path}-wal`).size;
  writer.exec("BEGIN");
  fill(3000);
  writer.exec("COMMIT");
  const largeBytes = walBytes();
  expect(largeBytes).toBeGreaterThan(8 * 1024 * 1024);
  const deadlineMs = performance.now() + 60_000;
  while (walBytes() > largeBytes - 1024 * 1024) {
    if (performance.now() > deadlineMs) throw new Error("it isn't cut");
    if (!checkpointer.holdsBackWrites) fill(20);
    checkpointer.work(state(checkpointer), false, true);
    expect(walBytes()).toBeGreaterThanOrEqual(state(checkpointer).frames * 8216);
    await new Promise((resolve) => setImmediate(resolve));
  }
  checkpointer.close();
  expect(writer.pragma("integrity_check")).toBe("ok");
}, 120_000);

test("a WAL that is long again as soon as it has begun anew is cut behind all of it", async () => {
  const failures: string[] = [];
  const { checkpointer } = create(failures, 20);
  fill(300);
  const deadlineMs = performance.now() + 60_000;
  while (state(checkpointer).waiting > 0) {
    if (performance.now() > deadlineMs) throw new Error("it isn't copied");
    checkpointer.work(state(checkpointer), false, true);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => !checkpointer.holdsBack);
  const before = statSync(`${path}-wal`).size;
  writer.exec("BEGIN");
  fill(200);
  writer.exec("COMMIT");
  const { frames } = state(checkpointer);
  expect(frames).toBeGreaterThan(3 * 20);
  checkpointer.work(state(checkpointer), false, true);
  await until(() => statSync(`${path}-wal`).size < before);
  expect(statSync(`${path}-wal`).size).toBeGreaterThanOrEqual(frames * (8192 + 24));
  expect(failures).toEqual([]);
  checkpointer.close();
  using other = openDatabase(path, { vfs });
  expect(other.pragma("integrity_check")).toBe("ok");
  expect(Number(other.all("SELECT count(*) FROM t")[0]?.[0])).toBe(500);
}, 120_000);

test("one that is closed while the WAL is being synced copies nothing after that", async () => {
  let goOn = () => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let writes = 0;
  const disk: FileSystem = {
    ...systemFiles,
    pwrite: (...call) => {
      writes++;
      return systemFiles.pwrite(...call);
    },
    fdatasyncLater: async () => gate,
    fsyncLater: async () => {},
  };
  fill(300);
  writer.close();
  writer = openDatabase(path, { vfs: new FileVfs(undefined, disk) });
  writer.pragma("wal_autocheckpoint", 0);
  fill(300);
  const { checkpointer } = create([], 16_000, new FileVfs(undefined, disk));
  expect(checkpointer.work(state(checkpointer), false, true)).toBe(false);
  checkpointer.close();
  const before = writes;
  goOn();
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(writes).toBe(before);
}, 120_000);

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
  ["changes that never wait", false],
] as const) {
  test(`a long WAL begins anew beside a stream of ${whose}`, async () => {
    const failures: string[] = [];
    const { checkpointer } = create(failures, 300);
    const deadlineMs = performance.now() + 60_000;
    const isLong = () => checkpointer.isLong(state(checkpointer));
    while (!isLong()) fill(10);
    while (isLong()) {
      if (performance.now() > deadlineMs) throw new Error("it doesn't begin anew");
      if (!waits || !checkpointer.holdsBackWrites) fill(10);
      checkpointer.work(state(checkpointer), false, true);
      await new Promise((resolve) => setImmediate(resolve));
    }
    writer.exec("INSERT INTO t (body) VALUES (x'aa')");
    expect(state(checkpointer).frames).toBeLessThan(300);
    expect(failures).toEqual([]);
    checkpointer.close();
    expect(writer.pragma("integrity_check")).toBe("ok");
  }, 120_000);
}

test("a round that failed isn't tried again at once, and isn't forgotten on a host that is idle", async () => {
  class FailingOnce extends FileVfs {
    override openCheckpointSync(name: string): CheckpointSync {
      const sync = super.openCheckpointSync(name);
      let isFirst = true;
      const syncWal = async (): Promise<void> => {
        if (!isFirst) return sync.syncWal();
        isFirst = false;
        throw new Error("the disk is busy");
      };
      return { ...sync, syncWal };
    }
  }
  const failures: string[] = [];
  const { checkpointer, ended } = create(failures, 16_000, new FailingOnce());
  fill(10);
  const end = ended();
  expect(checkpointer.work(state(checkpointer), true, true)).toBe(false);
  await end;
  expect(failures).toEqual(["the disk is busy"]);
  const { waiting } = state(checkpointer);
  expect(waiting).toBeGreaterThan(0);
  expect(checkpointer.work(state(checkpointer), true, true)).toBe(false);
  await until(() => {
    checkpointer.work(state(checkpointer), true, true);
    return state(checkpointer).waiting === 0;
  });
  expect(failures.length).toBe(1);
  checkpointer.close();
});

function walHeader(): { isBlank: boolean; salt: string } {
  const header = readFileSync(`${path}-wal`).subarray(0, 32);
  return { isBlank: header.every((byte) => byte === 0), salt: header.toString("hex", 16, 24) };
}

/** Its rounds wait before each of their syncs of the WAL. */
class GatedVfs extends FileVfs {
  readonly #gates: (() => void)[] = [];

  override openCheckpointSync(name: string): CheckpointSync {
    const sync = super.openCheckpointSync(name);
    const syncWal = async (): Promise<void> => {
      await new Promise<void>((resolve) => this.#gates.push(resolve));
      return sync.syncWal();
    };
    return { ...sync, syncWal };
  }

  /** Once a round waits. @returns lets it go on */
  async waits(): Promise<() => void> {
    const deadlineMs = performance.now() + 60_000;
    while (this.#gates.length === 0) {
      if (performance.now() > deadlineMs) throw new Error("no round waits");
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.#gates.shift() as () => void;
  }
}

test("bulk waits for a long round from its second pass on, clients' writes for the last ones, and urgent changes for the very last", async () => {
  const gated = new GatedVfs();
  const { checkpointer, ended } = create([], 300, gated);
  fill(300);
  const end = ended();
  checkpointer.work(state(checkpointer), false, true);
  const held: boolean[][] = [];
  const { salt } = walHeader();
  for (let pass = 0; pass < 4; pass++) {
    const go = await gated.waits();
    const { holdsBack, holdsBackWrites, holdsBackUrgent } = checkpointer;
    held.push([holdsBack, holdsBackWrites, holdsBackUrgent]);
    if (pass < 3) fill(100);
    go();
  }
  await end;
  expect(held).toEqual([
    [false, false, false],
    [true, false, false],
    [true, true, false],
    [true, true, true],
  ]);
  const { holdsBack, holdsBackWrites, holdsBackUrgent } = checkpointer;
  expect([holdsBack, holdsBackWrites, holdsBackUrgent]).toEqual([false, false, false]);
  // Whoever commits next syncs nothing.
  expect(walHeader().isBlank).toBe(true);
  fill(1);
  expect(walHeader().isBlank).toBe(false);
  expect(walHeader().salt).not.toBe(salt);
  checkpointer.close();
});

test("on a disk that is slower than those who write, they wait for it", async () => {
  const gated = new GatedVfs();
  const { checkpointer, ended } = create([], 200, gated);
  while (state(checkpointer).frames < 300) fill(10);
  const end = ended();
  checkpointer.work(state(checkpointer), false, true);
  const go = await gated.waits();
  expect(checkpointer.holdsBackWrites).toBe(false);
  while (state(checkpointer).frames < 600) fill(10);
  await until(() => checkpointer.holdsBackWrites);
  expect(checkpointer.holdsBack).toBe(true);
  go();
  (await gated.waits())();
  await end;
  expect([checkpointer.holdsBack, checkpointer.holdsBackWrites]).toEqual([false, false]);
  writer.exec("INSERT INTO t (body) VALUES (x'aa')");
  expect(state(checkpointer).frames).toBeLessThan(200);
  checkpointer.close();
});
