import { expect, test } from "bun:test";
import type { SqlValue } from "../../core/row/value.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import { FaultyDisk } from "../../test/disk/faulty-disk.ts";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import { createStoreThread } from "../../test/generators/store-thread.ts";
import { until } from "../../test/until.ts";
import { openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import type { TransactOutcome } from "../api/store-service.ts";
import type { StoreThread } from "../store/store-thread.ts";
import { GroupCommit } from "./group-commit.ts";

const path = "/d/patina.db";

/** A disk that loses whatever wasn't synced. */
function createDisk(): FaultyDisk {
  return new FaultyDisk({ random: () => 0 });
}

function createStore(disk: FaultyDisk): StoreThread {
  return createStoreThread({
    vfs: new FileVfs(undefined, disk),
    databasePath: path,
    schema: schemaOf(
      "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '')",
    ),
    durability: "full",
    queryTimeoutMs: 2000,
    circumstances: { machine: "m", file: "f", born: "", isBornKnown: false, nonce: "", boot: "b" },
  });
}

function insert(store: StoreThread, ...ids: SqlValue[]): Promise<TransactOutcome> {
  const statements = ids.map((id) => ({ sql: "INSERT INTO t (id) VALUES (?)", parameters: [id] }));
  return store.service.transact(statements, undefined);
}

/** What is found after the power went. */
function afterPowerCut(disk: FaultyDisk, store: StoreThread): number[] {
  disk.stop();
  store.stop();
  disk.restart("power");
  using db = openDatabase(path, { vfs: new FileVfs(undefined, disk) });
  expect(db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  return db.all("SELECT id FROM t ORDER BY id").map(([id]) => Number(id));
}

test("what was answered survives the loss of power; who waits together shares a sync", async () => {
  const disk = createDisk();
  const store = createStore(disk);
  let syncs = 0;
  const { fdatasync } = disk;
  disk.fdatasync = (fd) => {
    syncs++;
    fdatasync.call(disk, fd);
  };
  const outcomes = await Promise.all(Array.from({ length: 20 }, (_, i) => insert(store, i)));
  // Each is a transaction of its own: its version, its result.
  expect(outcomes.map((one) => one.kind === "committed" && one.version)).toEqual(
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  // That of the first, and one for all that came while it was under way.
  expect(syncs).toBe(2);
  const ids = Array.from({ length: 20 }, (_, i) => i);
  expect(afterPowerCut(disk, store)).toEqual(ids);
});

test("what wasn't answered may be lost, whole", async () => {
  const disk = createDisk();
  const store = createStore(disk);
  await insert(store, 1, 2);
  // A sync that doesn't come to its end.
  disk.fdatasyncLater = () => new Promise(() => {});
  let isAnswered = false;
  void insert(store, 3, 4).then(() => {
    isAnswered = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isAnswered).toBe(false);
  // Others see it already.
  const rows = await store.service.query(
    { sql: "SELECT count(*) FROM t", parameters: undefined },
    undefined,
  );
  expect(rows.kind === "rows" && Buffer.concat([...rows.chunks]).toString()).toContain("[4]");
  expect(afterPowerCut(disk, store)).toEqual([1, 2]);
});

test("a statement that fails is its own transaction's failure alone", async () => {
  const disk = createDisk();
  const store = createStore(disk);
  const outcomes = await Promise.all([
    insert(store, 1),
    insert(store, 2, 1),
    insert(store, 3),
    insert(store, 1),
    insert(store, 4),
  ]);
  expect(outcomes.map((one) => one.kind === "committed" && one.version)).toEqual([
    1,
    false,
    2,
    false,
    3,
  ]);
  expect(afterPowerCut(disk, store)).toEqual([1, 3, 4]);
});

test("a sync that fails is told to all who waited for it, and nothing is written after it", async () => {
  const disk = createDisk();
  const store = createStore(disk);
  await insert(store, 1);
  disk.inject({ kind: "error", call: "fdatasync", after: 0, times: 1, code: "EIO" });
  const [first, second] = await Promise.all([insert(store, 2), insert(store, 3)]);
  const why = "committed, but it isn't known whether it is on the disk: ";
  for (const outcome of [first, second]) {
    expect(outcome).toMatchObject({ kind: "refused", status: 500 });
    expect(outcome.kind === "refused" && outcome.why).toStartWith(why);
  }
  const later = await insert(store, 4);
  expect(later.kind === "refused" && later.why).toContain("an earlier fdatasync failed (EIO)");
  expect(afterPowerCut(disk, store)).toEqual([1]);
});

test("merges and what the agent writes for itself go on under SQLite's FULL", async () => {
  const disk = createDisk();
  const store = createStore(disk);
  await insert(store, 1);
  let syncs = 0;
  const { fdatasync } = disk;
  disk.fdatasync = (fd) => {
    syncs++;
    fdatasync.call(disk, fd);
  };
  store.request({
    kind: "members",
    rows: [
      {
        node: "other",
        key: "ab".repeat(32) as never,
        region: "r",
        zone: "z",
        state: "ALIVE",
        incarnation: 1,
        sinceMs: 0,
        storeLag: "ok",
      },
    ],
    parted: [],
  });
  expect(syncs).toBe(1);
  store.stop();
});

test("each write waits for a sync that begins after its commit, however many have come before", async () => {
  const disk = createDisk();
  const store = createStore(disk);
  // Some wait for the one that is under way, and so for the next.
  await Promise.all([insert(store, 1), insert(store, 2), insert(store, 3)]);
  const { fdatasyncLater } = disk;
  const waiting: (() => void)[] = [];
  disk.fdatasyncLater = (fd) =>
    new Promise((resolve, reject) => {
      waiting.push(() => fdatasyncLater.call(disk, fd).then(resolve, reject));
    });
  let answered = 0;
  const writes = [4, 5, 6].map(async (id) => {
    await insert(store, id);
    answered++;
  });
  await until(() => waiting.length === 1);
  expect(answered).toBe(0);
  waiting.shift()?.();
  await until(() => waiting.length === 1);
  expect(answered).toBeLessThan(3);
  waiting.shift()?.();
  await Promise.all(writes);
  expect(afterPowerCut(disk, store)).toEqual([1, 2, 3, 4, 5, 6]);
});

test("whoever begins and gives up leaves the connection as durable as it was", () => {
  using db = openDatabase(path, { vfs: new FileVfs(undefined, createDisk()) });
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  let fails = true;
  const store = {
    begin: () => {
      if (fails) throw new Error("no room");
    },
    rollback: () => {
      if (fails) throw new Error("no transaction");
    },
  } as unknown as SqliteStore;
  const commits = new GroupCommit(db, store, () => {
    throw new Error("nothing is synced here");
  });
  expect(() => commits.begin()).toThrow("no room");
  expect(db.pragma("synchronous")).toBe(2);
  fails = false;
  commits.begin();
  expect(db.pragma("synchronous")).toBe(1);
  fails = true;
  expect(() => commits.rollback()).toThrow("no transaction");
  expect(db.pragma("synchronous")).toBe(2);
});
