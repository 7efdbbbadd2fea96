import { describe, expect, test } from "bun:test";
import { openReader, openWriter, settleWriter } from "../../agent/data/database-files.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import { encodeKey } from "../../core/row/key.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { SqliteStore } from "../../core/store/sqlite-store.ts";
import { openDatabase } from "../../wasm/database.ts";
import { FaultyDisk } from "../disk/faulty-disk.ts";
import { FaultyVfs } from "../disk/faulty-vfs.ts";
import { schemaOf } from "../generators/sqlite-store.ts";
import { createDigester, siteOf } from "../model/history.ts";
import { runFaultyHistory } from "./faulty-store.ts";
import { createCounts, type HistoryCounts } from "./faulty-store-counts.ts";

const seeds = 200;
const perTest = 20;

// More of them: `bun test/long/power.ts --seeds 5000`; one with all its steps: `--seed 17`.
describe("the SQLite store on a disk that fails keeps what its durability promises", () => {
  const counts: HistoryCounts = createCounts();
  let torn = 0;

  for (let first = 1; first <= seeds; first += perTest) {
    test(`seeds ${first} to ${first + perTest - 1}`, async () => {
      for (let seed = first; seed < first + perTest; seed++) await add(seed);
    }, 120_000);
  }

  // The draw is of no use if one of these hardly ever happens.
  test("and each kind of fault was met", () => {
    for (const [name, count] of Object.entries({ ...counts, torn })) {
      expect([name, count > 5]).toEqual([name, true]);
    }
  });

  async function add(seed: number): Promise<void> {
    const report = await runFaultyHistory({ seed });
    for (const name of Object.keys(counts) as (keyof HistoryCounts)[]) {
      counts[name] += report.counts[name];
    }
    torn += report.disk.pagesTorn;
  }
});

// The disk failed while rows that had come were read for their commit: that reading went on, so SQLite stayed in its error.
test("after a commit that failed in the middle of its rows, reads and writes go on", async () => {
  for (const seed of [7437, 7875, 7883, 8250, 8750, 9072]) await runFaultyHistory({ seed });
});

// Readers take from the database what an earlier checkpoint copied there, though that isn't synced yet.
test("after a failed sync of the database that an earlier checkpoint counted on, nothing is served", async () => {
  for (const seed of [20282, 22349]) await runFaultyHistory({ seed });
});

test("a seed is a history: the same one each time", async () => {
  expect(await runFaultyHistory({ seed: 17 })).toEqual(await runFaultyHistory({ seed: 17 }));
});

// Patina copies such a file (`auto_vacuum` can't be added otherwise), adds its tables and turns WAL on.
test("a database of somebody else that is taken over loses no row, at whatever call it stops", () => {
  const schema = schemaOf("CREATE TABLE t (k INTEGER PRIMARY KEY NOT NULL, v BLOB)");
  const takeOver = (vfs: FaultyVfs) => {
    using writer = openWriter("/d/patina.db", vfs).writer;
    const opened = SqliteStore.open({
      writer,
      schema,
      digester: createDigester(),
      clock: new HlcClock(siteOf(0), hlcZero),
    });
    if (opened.kind === "refused") throw new Error(opened.why);
    settleWriter(writer, "/d/patina.db", "normal");
    return { report: opened.report, count: opened.store.scan(undefined, 1000).rows.length };
  };
  const stops = { begun: 0, adoptedBefore: 0, adoptedAfter: 0 };
  for (const restart of ["process", "power"] as const) {
    for (let after = 0, isDone = false; !isDone; after++) {
      const disk = new FaultyDisk({ random: seededRandom(after + 1) });
      const vfs = new FaultyVfs(disk);
      {
        using plain = openDatabase("/d/patina.db", { vfs });
        plain.exec(`PRAGMA synchronous = EXTRA; CREATE TABLE t (k INTEGER PRIMARY KEY NOT NULL, v BLOB);
          WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < 60)
          INSERT INTO t SELECT n, zeroblob(n * 37) FROM k`);
      }
      disk.inject({ kind: "stop", after });
      try {
        takeOver(vfs);
        isDone = !disk.isStopped;
      } catch (error) {
        if (!disk.isStopped) throw error;
      }
      disk.stop();
      disk.restart(restart);
      const { report, count } = takeOver(vfs);
      expect([after, count, report.rowsWithoutClocks]).toEqual([after, 60, 0]);
      stops.begun += 1;
      if (report.adoptedRows === 0) stops.adoptedBefore += 1;
      else stops.adoptedAfter += 1;
      using reader = openReader("/d/patina.db", vfs);
      expect(reader.all("SELECT count(*), sum(length(v)) FROM t")).toEqual([[60, 67_710]]);
      expect(reader.all("PRAGMA integrity_check")).toEqual([["ok"]]);
    }
  }
  for (const count of Object.values(stops)) expect(count).toBeGreaterThan(10);
}, 120_000);

test("a full disk refuses writes, serves reads, merges what fits, and needs no restart", () => {
  const disk = new FaultyDisk({ random: () => 0 });
  const vfs = new FaultyVfs(disk);
  const { writer } = openWriter("/d/patina.db", vfs);
  const opened = SqliteStore.open({
    writer,
    schema: schemaOf("CREATE TABLE t (k INTEGER PRIMARY KEY NOT NULL, v BLOB)"),
    digester: createDigester(),
    clock: new HlcClock(siteOf(0), hlcZero),
  });
  if (opened.kind === "refused") throw new Error(opened.why);
  const { store } = opened;
  settleWriter(writer, "/d/patina.db", "full");
  const reader = openReader("/d/patina.db", vfs);
  const insert = (k: number, bytes: number) => {
    store.begin();
    try {
      writer.run("INSERT INTO t VALUES (?, zeroblob(?))", k, bytes);
    } catch (error) {
      store.rollback();
      throw error;
    }
    return store.commit(1000 + k);
  };
  const remote = (k: number, bytes: number): RowState => ({
    table: "t",
    key: encodeKey([k]) as Uint8Array,
    clock: { ms: 2000, count: 0, site: siteOf(1), cl: 1 },
    cells: [
      {
        column: "v",
        stamp: { ms: 2000, count: 0, site: siteOf(1) },
        value: new Uint8Array(bytes),
      },
    ],
  });
  const shown = () => reader.all("SELECT k, length(v) FROM t ORDER BY k");
  const full = "database or disk is full (write /d/patina.db-wal: ENOSPC)";

  insert(1, 10);
  for (let k = 2; k < 12; k++) insert(k, 1000);
  expect(writer.checkpoint("PASSIVE").busy).toBe(false);
  disk.bytesMax = disk.bytesUsed;
  expect(() => insert(20, 200_000)).toThrow(full);
  expect(() => store.merge([remote(21, 200_000)])).toThrow(full);
  expect(shown().length).toBe(11);

  // The WAL, whose frames are all in the database, is used again from its start: small things fit.
  expect(store.merge([remote(1, 20)])[0]?.changed).toBe(true);
  expect(insert(22, 10).kind).toBe("committed");
  expect(() => insert(20, 200_000)).toThrow(full);
  expect(shown()[0]).toEqual([1, 20]);

  disk.bytesMax += 2_000_000;
  expect(insert(20, 200_000).kind).toBe("committed");
  expect(store.merge([remote(21, 200_000)])[0]?.changed).toBe(true);
  expect(shown().slice(-3)).toEqual([
    [20, 200_000],
    [21, 200_000],
    [22, 10],
  ]);
  expect(writer.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  reader.close();
  writer.close();
});
