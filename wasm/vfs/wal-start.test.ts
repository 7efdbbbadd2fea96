import { expect, setDefaultTimeout, test } from "bun:test";
import { seededRandom } from "../../bench/seeded-random.ts";
import { FaultyDisk } from "../../test/disk/faulty-disk.ts";
import { until } from "../../test/until.ts";
import { type Database, openDatabase } from "../database.ts";
import { FileVfs } from "./file.ts";
import type { CheckpointSync } from "./vfs.ts";

setDefaultTimeout(60_000);

const path = "/d/t.db";

/** A database on a disk that loses power, one connection that writes and one that makes checkpoints. */
class World {
  readonly disk: FaultyDisk;
  /** Of the WAL, on the thread that writes. */
  syncs = 0;
  readonly #vfs: FileVfs;
  #databases: Database[] = [];
  #sync: CheckpointSync | undefined;
  /** Syncs on the other thread wait for it. */
  gate: Promise<void> = Promise.resolve();

  constructor(seed: number) {
    this.disk = new FaultyDisk({ random: seededRandom(seed) });
    const { fdatasync } = this.disk;
    this.disk.fdatasync = (fd) => {
      this.syncs++;
      fdatasync.call(this.disk, fd);
    };
    this.disk.fdatasyncLater = async (fd) => {
      await this.gate;
      fdatasync.call(this.disk, fd);
    };
    this.#vfs = new FileVfs(undefined, this.disk);
  }

  open(durability: "normal" | "full" = "normal"): Database {
    const [writer, copier] = [1, 2].map(() => openDatabase(path, { vfs: this.#vfs }));
    this.#databases = [writer as Database, copier as Database];
    for (const database of this.#databases) database.pragma("wal_autocheckpoint", 0);
    this.writer.pragma("journal_mode", "wal");
    this.writer.pragma("synchronous", durability);
    this.writer.exec("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, body BLOB)");
    this.#sync = this.#vfs.openCheckpointSync(path);
    return this.writer;
  }

  get writer(): Database {
    return this.#databases[0] as Database;
  }

  get sync(): CheckpointSync {
    return this.#sync as CheckpointSync;
  }

  /** Copies all there is, as a round does. */
  async copy(syncs = true): Promise<void> {
    await this.sync.syncWal();
    this.sync.withoutSyncs(() => this.#copier.checkpoint("PASSIVE"));
    if (syncs) await this.sync.syncDatabase();
  }

  /** In the WAL. */
  get frames(): number {
    return Number(this.#copier.all("PRAGMA wal_checkpoint(NOOP)")[0]?.[1]);
  }

  blank(): Promise<void> {
    return this.sync.blankWal(this.#copier.module.heap.u8);
  }

  /** What is left after the end of the process, or of the power. */
  after(end: "process" | "power"): number[] {
    this.disk.stop();
    for (const database of this.#databases) database.close();
    this.sync.close();
    this.disk.restart(end);
    this.open();
    expect(this.writer.pragma("integrity_check")).toBe("ok");
    return this.writer.all("SELECT n FROM t ORDER BY n").map(([n]) => Number(n));
  }

  cut(): void {
    this.#copier.checkpoint("TRUNCATE");
  }

  get #copier(): Database {
    return this.#databases[1] as Database;
  }
}

function insert(writer: Database, rows: number): void {
  for (let i = 0; i < rows; i++) writer.exec("INSERT INTO t (body) VALUES (randomblob(3000))");
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

test("a WAL whose header is gone begins anew without a sync, and no power cut takes the old one back", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed);
    insert(world.open(), 20);
    await world.copy();
    await world.blank();
    expect(world.sync.isWalBlank()).toBe(true);
    world.syncs = 0;
    insert(world.writer, 5);
    expect([world.syncs, world.sync.isWalBlank()]).toEqual([0, false]);
    const left = world.after("power");
    // What was copied, and some of what came after.
    expect(left.length).toBeGreaterThanOrEqual(20);
    expect(left).toEqual(upTo(left.length));
  }
});

test("one that begins anew before that is on the disk is synced by whoever begins it", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed);
    insert(world.open(), 20);
    await world.copy();
    world.gate = new Promise(() => {});
    void world.blank();
    await Promise.resolve();
    world.syncs = 0;
    insert(world.writer, 5);
    expect(world.syncs).toBe(1);
    const left = world.after("power");
    expect(left.length).toBeGreaterThanOrEqual(20);
    expect(left).toEqual(upTo(left.length));
  }
});

test("where somebody still reads in it commits follow, and the header is back before them", async () => {
  for (const durability of ["normal", "full"] as const) {
    for (const isSynced of [true, false]) {
      const world = new World(1);
      insert(world.open(durability), 20);
      // Its mark is in the WAL: with all of it copied it would read the database alone.
      const reader = openDatabase(path, { vfs: new FileVfs(undefined, world.disk) });
      reader.exec("BEGIN");
      reader.all("SELECT count(*) FROM t");
      await world.copy();
      let go: () => void = () => {};
      if (!isSynced) {
        world.gate = new Promise((resolve) => {
          go = resolve;
        });
      }
      const blanked = world.blank();
      if (isSynced) await blanked;
      const { frames } = world;
      insert(world.writer, 5);
      expect(world.frames).toBeGreaterThan(frames);
      go();
      await blanked;
      // The sync that ends now was of a header that is there again.
      expect(world.sync.isWalBlank()).toBe(false);
      // While it is open the wal-index is there, and nobody looks at the header.
      reader.close();
      const end = durability === "full" ? "power" : "process";
      expect(world.after(end)).toEqual(upTo(25));
    }
  }
});

test("one that isn't wholly copied, or whose database isn't synced, keeps its header", async () => {
  const world = new World(1);
  insert(world.open(), 20);
  await world.blank();
  expect(world.sync.isWalBlank()).toBe(false);
  await world.copy(false);
  await world.blank();
  expect(world.sync.isWalBlank()).toBe(false);
  expect(world.after("process")).toEqual(upTo(20));
});

test("one of which a single frame isn't copied keeps its header", async () => {
  const world = new World(1);
  insert(world.open(), 20);
  await world.copy();
  world.writer.exec("UPDATE t SET n = 21 WHERE n = 20");
  expect(world.frames).toBe(1);
  await world.blank();
  expect(world.sync.isWalBlank()).toBe(false);
  expect(world.after("process").at(-1)).toBe(21);
});

/** A WAL that is wholly copied and in which somebody reads: commits go on where it ends. */
async function readAndCopied(seed: number, durability: "normal" | "full") {
  const world = new World(seed);
  insert(world.open(durability), 20);
  const reader = openDatabase(path, { vfs: new FileVfs(undefined, world.disk) });
  reader.exec("BEGIN; SELECT count(*) FROM t");
  await world.copy();
  const after = (end: "process" | "power") => {
    // While it is open the wal-index is there, and nobody looks at the header.
    reader.close();
    return world.after(end);
  };
  return { world, after };
}

test("the first commit behind a header that is gone is synced as any other", async () => {
  for (let seed = 0; seed < 10; seed++) {
    const { world, after } = await readAndCopied(seed, "full");
    await world.blank();
    expect(world.sync.isWalBlank()).toBe(true);
    insert(world.writer, 1);
    expect([seed, after("power")]).toEqual([seed, upTo(21)]);
  }
});

test("a header that a failing disk has left half blank, or half put back, is put back whole", async () => {
  for (let seed = 0; seed < 10; seed++) {
    for (const isBlankBefore of [true, false]) {
      const { world, after } = await readAndCopied(seed, "normal");
      if (isBlankBefore) await world.blank();
      world.disk.inject({ kind: "error", call: "pwrite", after: 0, times: 1, code: "EIO" });
      if (isBlankBefore) expect(() => insert(world.writer, 1)).toThrow("EIO");
      else await expect(world.blank()).rejects.toThrow("EIO");
      insert(world.writer, 1);
      expect([seed, after("process")]).toEqual([seed, upTo(21)]);
    }
  }
});

test("SQLite's cut to nothing is left to another thread, and whoever writes behind a cut waits for it", async () => {
  const world = new World(1);
  insert(world.open(), 20);
  await world.copy();
  await world.blank();
  const { ftruncate } = world.disk;
  let cuts = 0;
  world.disk.ftruncate = (fd, bytes) => {
    cuts++;
    ftruncate.call(world.disk, fd, bytes);
  };
  world.cut();
  expect(cuts).toBe(0);
  expect(await world.sync.cutWal(0, 40_000)).toBe(true);
  expect(cuts).toBe(1);
  // It is on its way: the next look at the size finds it done.
  let isCut = false;
  const { ftruncateLater, size } = world.disk;
  world.disk.ftruncateLater = () => new Promise(() => {});
  void world.sync.cutWal(0, 1_000_000);
  world.disk.size = (fd) => {
    if (isCut) return size.call(world.disk, fd);
    isCut = true;
    void ftruncateLater.call(world.disk, fd, 0);
    return 1;
  };
  insert(world.writer, 5);
  expect(isCut).toBe(true);
  world.disk.size = size;
  expect(world.after("process")).toEqual(upTo(25));
});

test("a full disk or a failed sync leaves what is committed", async () => {
  for (const call of ["pread", "pwrite"] as const) {
    const world = new World(1);
    insert(world.open(), 20);
    await world.copy();
    world.disk.inject({ kind: "error", call, after: 0, times: 1, code: "EIO" });
    await expect(world.blank()).rejects.toThrow();
    world.disk.calm();
    insert(world.writer, 5);
    expect(world.after("process")).toEqual(upTo(25));
  }
  const world = new World(1);
  insert(world.open(), 20);
  await world.copy();
  world.disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
  await expect(world.blank()).rejects.toThrow();
  await until(() => !world.sync.isWalBlank());
  expect(() => insert(world.writer, 1)).toThrow("an earlier fdatasync failed");
  expect(world.after("power")).toEqual(upTo(20));
});
