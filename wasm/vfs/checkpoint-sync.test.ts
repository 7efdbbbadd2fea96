/**
 * A database whose checkpoints leave its sync to another thread loses nothing, however its WAL goes before that sync.
 *
 * @module
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { seededRandom } from "../../bench/seeded-random.ts";
import { FaultyDisk } from "../../test/disk/faulty-disk.ts";
import { type Database, openDatabase } from "../database.ts";
import { FileVfs } from "./file.ts";
import type { CheckpointSync } from "./vfs.ts";

setDefaultTimeout(60_000);

const path = "/d/t.db";

class World {
  readonly disk: FaultyDisk;
  /** WALs that may not be relied on, as the VFS told of them. */
  readonly told: string[] = [];
  readonly writer: Database;
  readonly sync: CheckpointSync;
  readonly #vfs: FileVfs;

  constructor(disk: FaultyDisk) {
    this.disk = disk;
    this.#vfs = new FileVfs(undefined, disk);
    this.#vfs.onSyncFailed = (wal) => this.told.push(wal);
    this.writer = this.open();
    this.writer.exec("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, body BLOB)");
    this.sync = this.#vfs.openCheckpointSync(path);
  }

  open(): Database {
    const database = openDatabase(path, { vfs: this.#vfs });
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    database.pragma("wal_autocheckpoint", 0);
    return database;
  }

  insert(count: number): void {
    for (let i = 0; i < count; i++) {
      this.writer.exec("INSERT INTO t (body) VALUES (randomblob(3000))");
    }
  }

  /** All that is committed is copied into the database, whose sync is owed. */
  async copy(): Promise<void> {
    await this.sync.syncWal();
    this.sync.withoutSyncs(() => this.writer.checkpoint("PASSIVE"));
  }

  failSync(after = 0): void {
    this.disk.inject({ kind: "error", call: "fdatasync", after, times: 1, code: "EIO" });
  }

  /** The rows that are there after the power was gone. */
  afterPowerCut(): number[] {
    this.disk.stop();
    this.sync.close();
    this.writer.close();
    this.disk.restart("power");
    const { writer } = new World(this.disk);
    expect(writer.pragma("integrity_check")).toBe("ok");
    return writer.all("SELECT n FROM t ORDER BY n").map(([n]) => Number(n));
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

/** Twenty rows, copied into a database that isn't synced; each seed is another power cut. */
async function copied(seed: number): Promise<World> {
  const world = new World(new FaultyDisk({ random: seededRandom(seed) }));
  world.insert(20);
  await world.copy();
  return world;
}

/** The same, and some rows more in a WAL that goes on where it was, for somebody read in it. */
async function copiedAndMore(seed: number, more: number): Promise<World> {
  const world = new World(new FaultyDisk({ random: seededRandom(seed) }));
  world.insert(20);
  const reader = world.open();
  reader.exec("BEGIN; SELECT count(*) FROM t");
  await world.copy();
  world.insert(more);
  reader.close();
  return world;
}

for (const [how, go] of [
  ["is closed", (world) => world.writer.close()],
  ["is closed after who syncs", (world) => [world.sync.close(), world.writer.close()]],
  ["begins anew", (world) => world.insert(3)],
  ["is cut", (world) => world.writer.checkpoint("TRUNCATE")],
] as [string, (world: World) => void][]) {
  test(`a WAL that ${how} before its database is synced takes nothing with it`, async () => {
    for (let seed = 0; seed < 12; seed++) {
      const world = await copied(seed);
      go(world);
      expect(world.told).toEqual([]);
      expect([seed, world.afterPowerCut().slice(0, 20)]).toEqual([seed, upTo(20)]);
    }
  });

  // What a failed sync dropped the next one doesn't write: the frames are all that is left.
  test(`nor one that ${how} once that sync has failed`, async () => {
    for (let seed = 0; seed < 12; seed++) {
      const world = await copied(seed);
      world.failSync();
      const failed = world.sync.syncDatabase();
      expect(await failed.catch(({ message }) => message)).toContain("EIO");
      expect(world.told).toEqual([`${path}-wal`]);
      expect(world.sync.isWalBlank()).toBe(false);
      try {
        go(world);
      } catch (error) {
        expect((error as Error).message).toContain("an earlier fdatasync failed");
      }
      expect([seed, world.afterPowerCut()]).toEqual([seed, upTo(20)]);
    }
  });

  test(`nor one that ${how} while that sync fails`, async () => {
    for (let seed = 0; seed < 12; seed++) {
      const world = await copied(seed);
      world.failSync();
      try {
        go(world);
      } catch (error) {
        expect((error as Error).message).toContain("EIO");
      }
      expect([seed, world.afterPowerCut()]).toEqual([seed, upTo(20)]);
    }
  });
}

test("a sync that SQLite asks for, and that fails, concerns what is owed as well", async () => {
  for (let seed = 0; seed < 12; seed++) {
    const world = await copiedAndMore(seed, 1);
    // The first is of the WAL.
    world.failSync(1);
    expect(() => world.writer.checkpoint("PASSIVE")).toThrow("EIO");
    expect(world.told).toEqual([`${path}-wal`]);
    expect([seed, world.afterPowerCut()]).toEqual([seed, upTo(21)]);
  }
});

test("a sync pays for what was copied before it began, not for what came meanwhile", async () => {
  for (let seed = 0; seed < 12; seed++) {
    const world = await copiedAndMore(seed, 5);
    await world.sync.syncWal();
    let goOn = () => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    world.disk.fdatasyncLater = async (fd) => {
      world.disk.fdatasync(fd);
      await gate;
    };
    const synced = world.sync.syncDatabase();
    world.sync.withoutSyncs(() => world.writer.checkpoint("PASSIVE"));
    goOn();
    await synced;
    world.writer.close();
    expect([seed, world.afterPowerCut()]).toEqual([seed, upTo(25)]);
  }
});

test("whoever opens the database after a failed sync has all of it, and may write again", async () => {
  const world = await copied(1);
  world.failSync();
  await world.sync.syncDatabase().catch(() => {});
  world.sync.close();
  world.writer.close();
  const next = new World(world.disk);
  next.insert(1);
  await next.copy();
  await next.sync.syncDatabase();
  next.insert(1);
  expect(next.told).toEqual([]);
  expect(next.afterPowerCut().slice(0, 21)).toEqual(upTo(21));
});

test("no descriptor stays open, whoever pays", async () => {
  const disk = new FaultyDisk({ random: seededRandom(1) });
  const opened = new Set<number>();
  const { open, close } = disk;
  disk.open = (...call) => {
    const fd = open.apply(disk, call);
    opened.add(fd);
    return fd;
  };
  disk.close = (fd) => {
    opened.delete(fd);
    close.call(disk, fd);
  };
  const world = new World(disk);
  world.insert(20);
  await world.copy();
  world.sync.close();
  // Nobody syncs elsewhere any more.
  world.insert(1);
  world.writer.close();
  expect([...opened]).toEqual([]);
});

test("a rolled back transaction writes nothing over what another connection commits in its place", () => {
  const world = new World(new FaultyDisk({ random: seededRandom(1) }));
  const other = world.open();
  world.insert(2);
  world.writer.pragma("cache_size", 2);
  world.writer.exec("BEGIN");
  world.insert(20);
  world.writer.exec("ROLLBACK");
  for (let i = 0; i < 10; i++) other.exec("INSERT INTO t (body) VALUES (zeroblob(3000))");
  expect(world.writer.pragma("integrity_check")).toBe("ok");
  other.close();
  expect(world.writer.all("SELECT n FROM t").map(([n]) => n)).toEqual(upTo(12));
  world.sync.close();
  world.writer.close();
});
