import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../test/until.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { createLog } from "../log.ts";
import { QueryRunner } from "../sql/query-runner.ts";
import type { ReaderOptions, ReadRequest, ToReader } from "./messages.ts";
import { creditMax, type ReadJob } from "./read-job.ts";
import { type ReaderLimits, ReaderPool, readerLimits, type ThreadHooks } from "./reader-pool.ts";
import { SnapshotLender } from "./snapshot-lender.ts";
import { TurnCount } from "./turn-watch.ts";

/** A reader thread that does what the test says. */
class FakeThread {
  readonly messages: ToReader[] = [];
  readonly hooks: ThreadHooks;
  isEnded = false;

  constructor(hooks: ThreadHooks) {
    this.hooks = hooks;
  }

  post(message: ToReader): void {
    this.messages.push(message);
  }

  end(): void {
    if (!this.isEnded) this.hooks.onClosed();
    this.isEnded = true;
  }

  get reads(): ReadRequest[] {
    return this.messages.flatMap((message) => (message.kind === "read" ? [message.request] : []));
  }

  get options(): ReaderOptions {
    const [start] = this.messages;
    if (start?.kind !== "start") throw new Error("start comes first");
    return start.options;
  }

  get cancelled(): Int32Array {
    return this.options.cancelled;
  }

  piece(id: number): void {
    this.hooks.onMessage({ kind: "piece", id, piece: new TextEncoder().encode("x\n") });
  }

  ended(id: number, why?: string, heapBytes = 0): void {
    this.hooks.onMessage({ kind: "ended", id, why, runMs: 100, heapBytes });
  }
}

let folder: string;
let writer: Database;
let reader: Database;
let lender: SnapshotLender;
let pool: ReaderPool;
let newPool: (limits: ReaderLimits) => ReaderPool;
let loansEnded: number;
const threads: FakeThread[] = [];
/** Called first when one is started. */
let startThread: (() => void) | undefined;

const text = (sql: string) => ({ sql, parameters: undefined });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-readers-"));
  const path = join(folder, "a.db");
  const vfs = new FileVfs();
  writer = openDatabase(path, { vfs });
  writer.exec("PRAGMA journal_mode = wal; CREATE TABLE t (n); INSERT INTO t VALUES (1)");
  reader = openDatabase(path, { vfs, readonly: true });
  lender = new SnapshotLender(path, vfs);
  const runner = new QueryRunner(reader, { timeoutMs: 1000, resultBytesMax: 2 ** 20 });
  threads.length = 0;
  startThread = undefined;
  loansEnded = 0;
  newPool = (limits) =>
    new ReaderPool(runner, {
      databasePath: path,
      lender,
      hlcMs: () => 5,
      onLoanEnded: () => {
        // Whoever hears of it finds it ended.
        if (!lender.isPinned) loansEnded++;
      },
      log: createLog({ level: "fatal" as never, format: "text" }),
      limits,
      startThread: (hooks) => {
        startThread?.();
        const thread = new FakeThread(hooks);
        threads.push(thread);
        return thread;
      },
    });
  pool = newPool({ ...readerLimits, lanes: 2, waitingMax: 3, walBytesMax: 1000 });
});

afterEach(() => {
  pool.stop();
  lender.close();
  reader.close();
  writer.close();
  rmSync(folder, { recursive: true });
});

const running = (): FakeThread => threads.at(-1) as FakeThread;

test("where the system gives no thread, those that ask are told, others too, and the next try may succeed", async () => {
  startThread = () => {
    throw new TypeError("Failed to spawn worker thread");
  };
  const refused = pool.query(text("a"), 1000);
  expect(refused?.next()).rejects.toThrow("Failed to spawn worker thread");
  startThread = undefined;
  pool.query(text("b"), 1000);
  const waiting = pool.query(text("c"), 1000);
  startThread = () => {
    throw new TypeError("Failed to spawn worker thread");
  };
  // In its thread's hook, where an error that nobody catches would end the agent.
  running().hooks.onEnd("killed");
  expect(waiting?.next()).rejects.toThrow("Failed to spawn worker thread");
  startThread = undefined;
  pool.query(text("d"), 1000);
  expect(running().reads.map(({ sql }) => sql)).toEqual(["d"]);
});

test("one computes at a time, first come, first served, and only that one has a snapshot", () => {
  expect(threads.length).toBe(0);
  const jobs = ["a", "b", "c"].map((sql) => pool.query(text(sql), 1000));
  expect(running().reads.map(({ sql }) => sql)).toEqual(["a"]);
  expect(jobs.map((job) => job?.loan !== undefined)).toEqual([true, false, false]);
  running().ended(jobs[0]?.id as number);
  expect(running().reads.map(({ sql }) => sql)).toEqual(["a", "b"]);
  expect(pool.describe()).toEqual({
    running: 1,
    waiting: 1,
    starts: 1,
    alive: true,
    paused: false,
  });
});

test("one that waits for its reader lets another compute, and goes on when pieces are taken", async () => {
  const slow = pool.query(text("slow"), 1000);
  pool.query(text("next"), 1000);
  for (let i = 0; i < creditMax; i++) {
    expect(running().reads.length).toBe(1);
    running().piece(slow?.id as number);
  }
  expect(running().reads.map(({ sql, lane }) => [sql, lane])).toEqual([
    ["slow", 0],
    ["next", 1],
  ]);
  await slow?.next();
  expect(running().messages.at(-1)).toEqual({ kind: "credit", id: slow?.id as number, pieces: 1 });
});

test("what is left early is cancelled, also before its turn, and its snapshot is given back", async () => {
  const first = pool.query(text("first"), 1000);
  const second = pool.query(text("second"), 1000);
  const waiting = first?.next();
  second?.leave();
  first?.leave();
  expect(await waiting).toEqual({ done: true, value: undefined });
  expect(running().cancelled[0]).toBe(1);
  // The thread is still at it: until it says so, the snapshot stays.
  expect(lender.isPinned).toBe(true);
  running().ended(first?.id as number, "interrupted");
  expect(lender.isPinned).toBe(false);
  expect(pool.describe()).toEqual({
    running: 0,
    waiting: 0,
    starts: 1,
    alive: true,
    paused: false,
  });
});

test("one that waits for credit hears that it is cancelled, and the next on its lane isn't", () => {
  const slow = pool.query(text("slow"), 1000);
  for (let i = 0; i < creditMax; i++) running().piece(slow?.id as number);
  slow?.leave();
  expect(running().cancelled[0]).toBe(1);
  expect(running().messages.at(-1)).toEqual({ kind: "credit", id: slow?.id as number, pieces: 0 });
  running().ended(slow?.id as number, "interrupted");
  expect(loansEnded).toBe(1);
  pool.query(text("next"), 1000);
  expect(running().reads.map(({ sql, lane }) => [sql, lane])).toEqual([
    ["slow", 0],
    ["next", 0],
  ]);
  expect(running().cancelled[0]).toBe(0);
});

test("whoever can't be lent a snapshot is told why, and others are tried", async () => {
  const { lend } = lender;
  lender.lend = () => {
    lender.lend = lend;
    throw new Error("disk I/O error");
  };
  const first = pool.query(text("first"), 1000);
  await expect(first?.next()).rejects.toThrow("disk I/O error");
  pool.query(text("second"), 1000);
  expect(running().reads.map(({ sql }) => sql)).toEqual(["second"]);
});

test("a thread that dies takes its queries along, and the next query starts another", async () => {
  const first = pool.query(text("first"), 1000);
  const second = pool.query(text("second"), 1000);
  running().hooks.onEnd("out of luck");
  expect(first?.next()).rejects.toThrow("the reader thread died: ask again");
  // The one that was waiting has its turn in a new one.
  expect(threads.length).toBe(2);
  expect(running().reads.map(({ sql }) => sql)).toEqual(["second"]);
  running().piece(second?.id as number);
  running().ended(second?.id as number);
  expect((await second?.next())?.done).toBe(false);
  expect((await second?.next())?.done).toBe(true);
  // What an ended thread says late is nobody's.
  threads[0]?.ended(second?.id as number);
  expect(lender.isPinned).toBe(false);
});

test("where the WAL grows too large under a snapshot, the oldest query is ended and told why", async () => {
  const first = pool.query(text("first"), 1000);
  pool.walChanged(1000, false);
  expect(running().cancelled[0]).toBe(0);
  pool.walChanged(1001, false);
  expect(running().cancelled[0]).toBe(1);
  running().ended(first?.id as number, "interrupted");
  expect(first?.next()).rejects.toThrow(
    "ended: its snapshot had kept 1001 bytes of the write-ahead log, over 1000",
  );
});

test("what the WAL had before, and what it had before it began anew, isn't its fault", () => {
  pool.walChanged(5000, false);
  pool.query(text("first"), 1000);
  pool.walChanged(6000, false);
  expect(running().cancelled[0]).toBe(0);
  pool.walChanged(100, false);
  pool.walChanged(1100, false);
  expect(running().cancelled[0]).toBe(0);
  pool.walChanged(1101, false);
  expect(running().cancelled[0]).toBe(1);
});

test("while the WAL is long nothing is lent: those that wait go on waiting, in their order", () => {
  const first = pool.query(text("first"), 1000);
  pool.walChanged(500, true);
  const rows = { sql: "rows", values: [], shape: { columnCount: 1, keys: [], identity: [] } };
  pool.known.add("rows");
  pool.known.add("last");
  pool.read(rows);
  const last = pool.query(text("last"), 1000);
  running().ended(first?.id as number);
  expect([running().reads.length, lender.isPinned]).toEqual([1, false]);
  expect(pool.describe()).toMatchObject({ running: 0, waiting: 2, paused: true });
  last?.leave();
  pool.walChanged(600, true);
  expect(pool.describe()).toMatchObject({ running: 0, waiting: 1, paused: true });
  pool.walChanged(1, false);
  expect(running().reads.map(({ sql }) => sql)).toEqual(["first", "rows"]);
  expect(pool.describe()).toMatchObject({ running: 1, waiting: 0, paused: false });
});

test("a stop ends those that wait for a pause to end", async () => {
  pool.walChanged(500, true);
  const job = pool.query(text("first"), 1000);
  expect(threads.length).toBe(0);
  pool.stop();
  expect(job?.next()).rejects.toThrow("the agent is stopping");
  pool.walChanged(1, false);
  expect(threads.length).toBe(0);
});

test("first rows have no snapshot before their turn", () => {
  pool.known.add("rows");
  pool.query(text("first"), 1000);
  const rows = { sql: "rows", values: [], shape: { columnCount: 1, keys: [], identity: [] } };
  pool.read(rows);
  expect(lender.oldest).toBe(1);
  writer.exec("INSERT INTO t VALUES (2)");
  running().ended(1);
  expect(lender.oldest).toBe(2);
});

test("a slow client's snapshot is given back once others have waited for long", async () => {
  pool.stop();
  const limits = { ...readerLimits, lanes: 2, stallMsMax: 20 };
  pool = newPool(limits);
  const slow = pool.query(text("slow"), 30);
  for (let i = 0; i < creditMax; i++) running().piece(slow?.id as number);
  pool.walChanged(500, true);
  const taking = setInterval(() => {
    // Never late with a piece, and never done.
    void slow?.next();
    running().piece(slow?.id as number);
  }, 5);
  await until(() => running().cancelled[0] === 1);
  clearInterval(taking);
  running().ended(slow?.id as number, "interrupted");
  expect(lender.isPinned).toBe(false);
  await expect(Array.fromAsync(slow as AsyncIterable<unknown>)).rejects.toThrow(
    "ended: the write-ahead log has waited for its snapshot for too long",
  );
});

test("clients that don't read in every lane lose their place sooner when others wait", async () => {
  pool.stop();
  pool = newPool({ ...readerLimits, lanes: 2, crowdedStallMsMax: 20 });
  const slow = ["slow", "slower"].map((sql) => pool.query(text(sql), 1000));
  for (const job of slow) {
    for (let i = 0; i < creditMax; i++) running().piece(job?.id as number);
  }
  // Nobody else wants anything: they have the time that they have.
  await Bun.sleep(600);
  expect([...running().cancelled.subarray(0, 2)]).toEqual([0, 0]);
  const next = pool.query(text("next"), 1000);
  await until(() => running().cancelled[0] !== 0);
  for (const job of slow) running().ended(job?.id as number, "interrupted");
  expect(running().reads.map(({ sql }) => sql)).toEqual(["slow", "slower", "next"]);
  running().ended(next?.id as number);
  await expect(Array.fromAsync(slow[0] as AsyncIterable<unknown>)).rejects.toThrow(
    "too slow: a piece of the result was not read within 20 ms, and others wait",
  );
});

test("a query whose step takes longer than its time takes the thread with it, and is the one to blame", async () => {
  pool.stop();
  pool = newPool({ ...readerLimits, graceMs: 100 });
  const other = pool.query(text("other"), 100);
  for (let i = 0; i < creditMax; i++) running().piece(other?.id as number);
  const stuck = pool.query(text("stuck"), 100);
  // Both go on from here, in turns.
  await other?.next();
  const thread = running();
  const turns = new TurnCount(thread.options.turns);
  turns.begin(0);
  turns.end();
  turns.begin(1);
  await until(() => thread.isEnded);
  const [fault, loss] = await Promise.allSettled(
    [stuck, other].map((job) => Array.fromAsync(job as ReadJob)),
  );
  expect([fault, loss]).toMatchObject([
    { reason: { name: "Error", message: "interrupted" } },
    { reason: { name: "NotOfQueryError", message: "interrupted" } },
  ]);
  // The old thread may compute on: the next one's words are not its own.
  pool.query(text("next"), 100);
  expect(running().options.turns).not.toBe(thread.options.turns);
});

test("nothing is held against a query before it is begun, or while others have their turns", async () => {
  pool.stop();
  pool = newPool({ ...readerLimits, graceMs: 1, stallMsMax: 1600 });
  const slow = pool.query(text("slow"), 1);
  for (let i = 0; i < creditMax; i++) running().piece(slow?.id as number);
  const turns = new TurnCount(running().options.turns);
  pool.query(text("not begun"), 1);
  // Told at a look; three came before.
  await until(() => running().cancelled[0] === 1);
  expect([running().isEnded, pool.describe().running]).toEqual([false, 2]);
  turns.begin(1);
  await until(() => running().isEnded);
});

test("a thread that doesn't begin is ended, and those that it was to run are told so", async () => {
  pool.stop();
  pool = newPool({ ...readerLimits, startMsMax: 400 });
  const job = pool.query(text("first"), 1000);
  await until(() => running().isEnded);
  await expect(job?.next()).rejects.toThrow("the reader thread didn't begin: ask again");
});

test("queries and live queries that are run again have every other turn, and a lane is kept for these", async () => {
  const lent: string[] = [];
  const rerun = (sql: string) => {
    const shape = { columnCount: 1, keys: [], identity: [] };
    const known = { hashes: new BigUint64Array(0), seed: 0n };
    return pool.rerun({ sql, values: [], shape }, known, () => lent.push(sql));
  };
  const jobs = ["a", "b", "c"].map((sql) => pool.query(text(sql), 1000));
  for (const sql of ["x", "y"]) rerun(sql);
  for (let i = 0; i < 4; i++) running().ended(running().reads.at(-1)?.id as number);
  expect(running().reads.map(({ sql }) => sql)).toEqual(["a", "x", "b", "y", "c"]);
  expect(lent).toEqual(["x", "y"]);
  running().ended(jobs[2]?.id as number);
  // Both lanes wait for their clients.
  for (const sql of ["slow", "slower"]) {
    const slow = pool.query(text(sql), 1000);
    for (let i = 0; i < creditMax; i++) running().piece(slow?.id as number);
  }
  pool.query(text("next"), 1000);
  rerun("z");
  expect(
    running()
      .reads.map(({ sql, lane }) => [sql, lane])
      .slice(5),
  ).toEqual([
    ["slow", 0],
    ["slower", 1],
    ["z", 2],
  ]);
});

test("what ends a run is its own fault, or isn't", async () => {
  const query = { sql: "x", values: [], shape: { columnCount: 1, keys: [], identity: [] } };
  const rerun = () => {
    const known = { hashes: new BigUint64Array(0), seed: 0n };
    return pool.rerun(query, known, () => undefined)[Symbol.asyncIterator]();
  };
  const first = rerun();
  running().ended(1, "malformed JSON");
  expect(await first.next().catch((error: Error) => error.name)).toBe("Error");
  const second = rerun();
  running().hooks.onEnd("out of luck");
  expect(await second.next().catch((error: Error) => error.name)).toBe("NotOfQueryError");
});

test("too many that wait are refused", () => {
  const jobs = Array.from({ length: 5 }, () => pool.query(text("a"), 1000));
  expect(jobs.map((job) => job !== undefined)).toEqual([true, true, true, true, false]);
});

test("first rows are refused then, too, and never run in the store thread; short ones are", async () => {
  for (let i = 0; i < 4; i++) pool.query(text("a"), 1000);
  for (let i = 0; i < 2; i++) pool.known.add("long");
  const shape = { columnCount: 1, keys: [], identity: [] };
  const long = pool.read({ sql: "long", values: [], shape });
  await expect(Array.fromAsync(long as AsyncIterable<unknown>)).rejects.toThrow(
    "too many long queries are waiting",
  );
  expect(pool.read({ sql: "SELECT n FROM t", values: [], shape })).toBeUndefined();
  expect(pool.describe().waiting).toBe(3);
});

test("a thread whose memory has grown is ended when it has no work", () => {
  const first = pool.query(text("first"), 1000);
  running().ended(first?.id as number, undefined, readerLimits.heapBytesKept + 1);
  expect([running().isEnded, pool.describe().alive]).toEqual([true, false]);
});

test("a statement that was short in the end is tried in the store thread again", () => {
  pool.known.add("sometimes");
  const job = pool.query(text("sometimes"), 1000);
  running().hooks.onMessage({
    kind: "ended",
    id: job?.id as number,
    why: undefined,
    runMs: 0.5,
    heapBytes: 0,
  });
  expect(pool.known.has("sometimes")).toBe(false);
});

test("one that was given up once is tried there again when too many wait; one given up twice isn't", () => {
  const sql = "SELECT n FROM t";
  pool.known.add(sql);
  expect(pool.isToBeTried(sql)).toBe(false);
  for (let i = 0; i < 4; i++) pool.query(text("a"), 1000);
  expect(pool.isToBeTried(sql)).toBe(true);
  const shape = { columnCount: 1, keys: [], identity: [] };
  expect(pool.read({ sql, values: [], shape })).toBeUndefined();
  expect(pool.known.has(sql)).toBe(false);
  for (let i = 0; i < 2; i++) pool.known.add(sql);
  expect(pool.isToBeTried(sql)).toBe(false);
});
