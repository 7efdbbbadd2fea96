/**
 * Lent snapshots: what the borrower sees is the commit at which the loan was made, whatever the owner does
 * meanwhile.
 *
 * @module
 */

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "../../bench/seeded-random.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { loadSqlite } from "../../wasm/module.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { LentVfs, openLentFiles } from "../../wasm/vfs/lent.ts";
import { accounts, createAccounts, snapshotSeen, transfer } from "./lent-world.ts";

// On a busy machine.
setDefaultTimeout(120_000);

let folder: string;
let path: string;
let vfs: FileVfs;
let writer: Database;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-lent-"));
  path = join(folder, "a.db");
  vfs = new FileVfs();
  writer = openDatabase(path, { vfs });
  createAccounts(writer);
});

afterEach(() => {
  writer.close();
  rmSync(folder, { recursive: true });
});

const heap = loadSqlite().heap;

/** Begins a read transaction that keeps the snapshot, and copies the wal-index. */
function lend(proxy: Database): Uint8Array<ArrayBuffer>[] {
  proxy.exec("BEGIN");
  proxy.all("SELECT 1 FROM sqlite_schema LIMIT 1");
  return vfs.copyWalIndex(path, heap.u8);
}

interface Lane {
  readonly proxy: Database;
  readonly vfs: LentVfs;
  readonly borrower: () => Database;
  lent: string | undefined;
}

function openLane(number: number): Lane & Disposable {
  const proxy = openDatabase(path, { vfs, readonly: true });
  const files = openLentFiles(path);
  const lentVfs = new LentVfs(`lent-${number}`, heap, files);
  let borrower: Database | undefined;
  return {
    proxy,
    vfs: lentVfs,
    borrower: () => (borrower ??= openDatabase(path, { vfs: lentVfs, readonly: true })),
    lent: undefined,
    [Symbol.dispose]() {
      borrower?.close();
      files.close();
      proxy.close();
    },
  };
}

for (const seed of [1, 2, 3]) {
  test(`loans are snapshots beside commits, checkpoints and a WAL that begins anew, seed ${seed}`, () => {
    const random = seededRandom(seed);
    using a = openLane(1);
    using b = openLane(2);
    using c = openLane(3);
    const lanes = [a, b, c];
    let commits = 0;
    let restarts = 0;
    let frames = 0;
    for (let step = 0; step < 500; step++) {
      const lane = lanes[Math.floor(random() * lanes.length)] as Lane;
      const what = random();
      if (what < 0.6) transfer(writer, ++commits, random);
      else if (what < 0.7) writer.checkpoint("PASSIVE");
      else if (what < 0.75) writer.checkpoint("TRUNCATE");
      else if (lane.lent === undefined) {
        lane.vfs.lend(lend(lane.proxy));
        lane.lent = snapshotSeen(lane.proxy);
        expect(lane.lent).toContain(`,${commits},"ok"`);
      } else {
        expect(snapshotSeen(lane.borrower())).toBe(lane.lent);
        if (what < 0.9) {
          lane.proxy.exec("COMMIT");
          lane.lent = undefined;
        }
      }
      const { walFrames } = writer.checkpoint("PASSIVE");
      if (walFrames < frames) restarts++;
      frames = walFrames;
    }
    expect(restarts).toBeGreaterThan(3);
  });
}

test("a WAL of more than one region of the index", () => {
  using lane = openLane(1);
  const random = seededRandom(7);
  // Nothing can be copied beyond this mark, so the WAL only grows.
  using pin = openDatabase(path, { vfs, readonly: true });
  lend(pin);
  let commits = 0;
  writer.exec(`WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 9000)
    INSERT INTO account SELECT ${accounts} + x, 0, hex(randomblob(1900)) FROM c`);
  const regions = lend(lane.proxy);
  expect(regions.length).toBe(2);
  lane.vfs.lend(regions);
  const before = snapshotSeen(lane.proxy);
  for (let i = 0; i < 10; i++) transfer(writer, ++commits, random);
  expect(snapshotSeen(lane.borrower())).toBe(before);
  pin.exec("COMMIT");
  writer.checkpoint("PASSIVE");
  expect(snapshotSeen(lane.borrower())).toBe(before);
});

test("a borrower can't write, nor copy the WAL", () => {
  using lane = openLane(1);
  lane.vfs.lend(lend(lane.proxy));
  const borrower = lane.borrower();
  expect(() => borrower.exec("UPDATE counter SET n = 1")).toThrow("readonly");
  expect(() => borrower.checkpoint("PASSIVE")).toThrow("readonly");
});

test("while a loan lasts the WAL isn't begun anew, and afterwards it is", () => {
  using lane = openLane(1);
  transfer(writer, 1, Math.random);
  lend(lane.proxy);
  transfer(writer, 2, Math.random);
  expect(writer.checkpoint("TRUNCATE").busy).toBe(true);
  lane.proxy.exec("COMMIT");
  expect(writer.checkpoint("TRUNCATE")).toEqual({
    busy: false,
    walFrames: 0,
    checkpointedFrames: 0,
  });
});

test("another thread reads a loan while this one commits and checkpoints", async () => {
  const reader = new Worker(new URL("./lent-reader.ts", import.meta.url));
  using proxy = openDatabase(path, { vfs, readonly: true });
  const { close, ...files } = openLentFiles(path);
  const random = seededRandom(11);
  let commits = 0;
  const endMs = performance.now() + 2000;
  let loans = 0;
  try {
    while (performance.now() < endMs || loans < 10) {
      for (let i = 0; i < random() * 20; i++) transfer(writer, ++commits, random);
      if (random() < 0.3) writer.checkpoint("TRUNCATE");
      const regions = lend(proxy);
      const expected = snapshotSeen(proxy);
      let seen: string[] | undefined;
      reader.onmessage = (event: MessageEvent<string[]>) => {
        seen = event.data;
      };
      const { promise, reject } = Promise.withResolvers<never>();
      promise.catch(() => {});
      reader.onerror = (event) => reject(new Error(event.message));
      reader.postMessage(
        { path, files, regions },
        regions.map(({ buffer }) => buffer),
      );
      while (seen === undefined) {
        transfer(writer, ++commits, random);
        if (random() < 0.2) writer.checkpoint(random() < 0.5 ? "PASSIVE" : "TRUNCATE");
        await Promise.race([new Promise((resolve) => setImmediate(resolve)), promise]);
      }
      expect(seen).toEqual([expected, expected, expected]);
      proxy.exec("COMMIT");
      loans++;
    }
    expect(loans).toBeGreaterThanOrEqual(10);
  } finally {
    reader.terminate();
    close();
  }
}, 120_000);
