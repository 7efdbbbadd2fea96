/**
 * Queries and results that are long, run in a thread of their own on lent snapshots: the store thread goes on
 * meanwhile, whatever they ask.
 *
 * One thread, which starts with the first of them (7 MB, some 0.15 s) and ends a minute after the last. One query is
 * computing at a time, first come, first served, each for at most its time; those that wait for a slow
 * client wait beside it, on a lane of their own, and keep their snapshot. Live queries that are run again have a lane
 * of their own, and every other turn while both wait: neither holds the other up for longer than one query takes.
 *
 * A snapshot that is kept keeps the WAL from beginning anew. So a query has none before its turn; while the WAL is
 * long none is lent, and those that wait go on waiting (`lending-pause.ts`); and those that have one are
 * bounded: by the query's time, by how long a client may take over a piece, by both together once
 * others wait for the WAL, and by what the WAL has grown by since.
 *
 * @module
 */

import { compileSqlite } from "../../wasm/module.ts";
import { openLentFiles } from "../../wasm/vfs/lent.ts";
import type { SqlText } from "../api/statement.ts";
import type { InitialRowsSource } from "../live/initial-rows.ts";
import type { RerunSource } from "../live/live-reruns.ts";
import type { WholeQuery } from "../live/read-row.ts";
import type { ReadRow } from "../live/rows/row.ts";
import type { GoneRows, RowHashes } from "../live/rows/row-hashes.ts";
import type { Log } from "../log.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import { KnownLong } from "./known-long.ts";
import { LendingPause } from "./lending-pause.ts";
import { type FromReader, type ToReader, toPlain } from "./messages.ts";
import { creditMax, type JobRequest, ReadJob } from "./read-job.ts";
import type { SnapshotLender } from "./snapshot-lender.ts";
import { TurnWatch, turnWords } from "./turn-watch.ts";

export interface ReaderPoolOptions {
  readonly databasePath: string;
  readonly lender: SnapshotLender;
  /** The store's hybrid logical clock, read. */
  readonly hlcMs: () => number;
  /** A loan has ended: the WAL can be copied and begun anew. */
  readonly onLoanEnded: () => void;
  readonly log: Log;
  readonly limits?: ReaderLimits;
  /** Default: a Worker. */
  readonly startThread?: (hooks: ThreadHooks) => ReaderThread;
}

export interface ReaderLimits {
  /** Queries that are open at the same time; others wait. */
  readonly lanes: number;
  /** Of the store thread, that the first run of a live query is tried there for; 0: it isn't. */
  readonly tryMs: number;
  /** Queries that wait. More are refused. */
  readonly waitingMax: number;
  /** How long a client may take over a piece of 64 KiB. */
  readonly stallMsMax: number;
  /** The same while others wait, and every lane's client lets its piece lie. */
  readonly crowdedStallMsMax: number;
  /** That the WAL may grow by under a snapshot, until its query is ended. */
  readonly walBytesMax: number;
  /** Without work the thread is ended after so long. */
  readonly idleMs: number;
  /** What the thread's SQLite may take. */
  readonly heapBytesMax: number;
  /** Above this the thread is ended as soon as it has no work: its memory never shrinks. */
  readonly heapBytesKept: number;
  /** Of one turn beyond a query's time, before one that can't be interrupted takes the thread with it. */
  readonly graceMs: number;
  /** Until the thread begins with what it was given: it starts, on a machine that may be busy. */
  readonly startMsMax: number;
}

/** What a query may take of the store thread before it is another's. */
export const budget = { ms: 2, bytes: 64 * 1024 } as const;

export const readerLimits: ReaderLimits = {
  lanes: 8,
  tryMs: budget.ms,
  waitingMax: 256,
  stallMsMax: 10_000,
  crowdedStallMsMax: 1000,
  walBytesMax: 192 * 1024 * 1024,
  idleMs: 60_000,
  heapBytesMax: 256 * 1024 * 1024,
  heapBytesKept: 64 * 1024 * 1024,
  graceMs: 2000,
  startMsMax: 30_000,
};

export interface ReaderThread {
  post(message: ToReader, transfer: ArrayBuffer[]): void;
  /** Ends it, whatever it does. */
  end(): void;
}

export interface ThreadHooks {
  readonly onMessage: (message: FromReader) => void;
  /** It ended though nobody asked. */
  readonly onEnd: (why: string) => void;
  /** It is over, in whatever way, and reads nothing any more. */
  readonly onClosed: () => void;
}

/** With memory of its own: one that was ended may go on computing. */
interface AliveThread {
  readonly thread: ReaderThread;
  /** A word for each lane; not 0: stop. */
  readonly cancelled: Int32Array;
  readonly turns: TurnWatch;
}

export const tooManyText = "too many long queries are waiting";

const watchMs = 500;
/** Of a statement: clients send megabytes. */
const loggedCharsMax = 1000;
const never = Number.POSITIVE_INFINITY;

export class ReaderPool implements InitialRowsSource, RerunSource {
  readonly known: KnownLong = new KnownLong();
  readonly #options: ReaderPoolOptions;
  readonly #limits: ReaderLimits;
  readonly #lanes: (ReadJob | undefined)[];
  readonly #waiting: ReadJob[] = [];
  readonly #pause = new LendingPause();
  /** Of the WAL, as last told. */
  #walBytes = 0;
  /** Live queries that are to be run again. */
  readonly #reruns: ReadJob[] = [];
  /** The last that was started was one of these. */
  #wasRerun = false;
  #alive: AliveThread | undefined;
  #starts = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #idleSinceMs = never;
  #lastId = 0;
  #isStopped = false;
  readonly #runner: QueryRunner;

  /** @param runner checks queries before they are run elsewhere */
  constructor(runner: QueryRunner, options: ReaderPoolOptions) {
    this.#runner = runner;
    this.#options = options;
    this.#limits = options.limits ?? readerLimits;
    // The last one is that of live queries.
    this.#lanes = new Array(this.#limits.lanes + 1).fill(undefined);
  }

  /**
   * Whether a query is to be tried in the store thread first: unless it is known as long, and also then when there is
   * no room for it here and it was given up only once. A short one that many ask for, and that was once
   * slow by chance, would be refused to all of them.
   */
  isToBeTried(sql: string): boolean {
    return !this.known.has(sql) || (this.#isFull && this.known.isSuspected(sql));
  }

  /**
   * Runs a query that was checked in this turn.
   *
   * @returns its lines after `columns`; undefined when too many wait
   */
  query(text: SqlText, timeoutMs: number): ReadJob | undefined {
    if (this.#isStopped || this.#isFull) return undefined;
    return this.#enter({
      sql: text.sql,
      parameters: toPlain(text.parameters),
      schemaVersion: this.#schemaVersion(),
      timeoutMs,
      bytesMax: this.#runner.resultBytesMax,
      shape: undefined,
    });
  }

  /** The first rows of a live query; in the store thread where there are few. */
  read(query: WholeQuery): AsyncIterable<readonly ReadRow[]> | undefined {
    const { sql, values } = query;
    const { tryMs } = this.#limits;
    if (tryMs > 0 && this.isToBeTried(sql)) {
      const text = { sql, parameters: values };
      const outcome = this.#runner.query(text, undefined, { ms: tryMs, bytes: budget.bytes });
      if (outcome !== "long") {
        this.known.delete(sql);
        return undefined;
      }
      this.known.add(sql);
    }
    const job = this.#create(this.#liveRequest(query));
    // Never in the store thread after all: it would stand still for as long as the query takes.
    if (this.#isStopped) job.end("the agent is stopping");
    else if (this.#isFull) job.end(tooManyText);
    else this.#wait(job);
    return job as AsyncIterable<readonly ReadRow[]>;
  }

  rerun(
    query: WholeQuery,
    known: RowHashes,
    onLent: () => void,
  ): AsyncIterable<readonly ReadRow[] | GoneRows> {
    const job = this.#create({ ...this.#liveRequest(query), known }, onLent);
    if (this.#isStopped) job.end("the agent is stopping");
    else {
      this.#reruns.push(job);
      this.#dispatch();
    }
    return job as AsyncIterable<readonly ReadRow[] | GoneRows>;
  }

  /**
   * The WAL has grown, or begun anew. Ends queries under which it has grown too large.
   *
   * @param isLong no more is lent until it has begun anew
   */
  walChanged(bytes: number, isLong: boolean): void {
    this.#walBytes = bytes;
    const { walBytesMax } = this.#limits;
    for (const job of this.#lanes) {
      if (job === undefined) continue;
      job.walBytes = Math.min(job.walBytes, bytes);
      const kept = bytes - job.walBytes;
      if (kept <= walBytesMax) continue;
      const why = `its snapshot had kept ${kept} bytes of the write-ahead log, over ${walBytesMax}`;
      this.#cancel(job, `ended: ${why}`);
    }
    this.#pause.walChanged(isLong, performance.now());
    this.#dispatch();
  }

  stop(): void {
    this.#isStopped = true;
    for (const waiting of [this.#waiting, this.#reruns]) {
      for (const job of waiting.splice(0)) this.#over(job, "the agent is stopping");
    }
    this.#endThread("the agent is stopping");
  }

  describe(): {
    readonly running: number;
    readonly waiting: number;
    readonly starts: number;
    readonly alive: boolean;
    /** No snapshot is lent until the WAL has begun anew. */
    readonly paused: boolean;
  } {
    const running = this.#lanes.filter((job) => job !== undefined).length;
    const alive = this.#alive !== undefined;
    const paused = this.#pause.isOn;
    return { running, waiting: this.#waiting.length, starts: this.#starts, alive, paused };
  }

  get #isFull(): boolean {
    return this.#waiting.length >= this.#limits.waitingMax;
  }

  /** Others wait, and nothing is computed for anybody: whoever doesn't read would hold them up for as long as it likes. */
  get #isCrowded(): boolean {
    const lanes = this.#lanes.slice(0, this.#limits.lanes);
    return this.#waiting.length > 0 && lanes.every((job) => job !== undefined && !job.isComputing);
  }

  #schemaVersion(): number {
    return Number(this.#runner.database.pragma("schema_version"));
  }

  #enter(request: JobRequest): ReadJob {
    const job = this.#create(request);
    this.#wait(job);
    return job;
  }

  #wait(job: ReadJob): void {
    this.#waiting.push(job);
    this.#dispatch();
  }

  /** Of a live query: all its rows, however many. */
  #liveRequest({ sql, values, shape }: WholeQuery): JobRequest {
    return {
      sql,
      parameters: values,
      schemaVersion: this.#schemaVersion(),
      timeoutMs: this.#runner.timeoutMs,
      bytesMax: never,
      shape,
    };
  }

  #create(request: JobRequest, onLent?: () => void): ReadJob {
    return new ReadJob(++this.#lastId, request, {
      onTaken: (taken) => this.#taken(taken),
      onLeft: (left) => this.#cancel(left, "nobody reads it"),
      onRefused: (refused, why) => this.#cancel(refused, why),
      ...(onLent === undefined ? {} : { onLent }),
    });
  }

  #dispatch(): void {
    while (!this.#pause.isOn && !this.#lanes.some((job) => job?.isComputing)) {
      if (!this.#startNext()) break;
    }
    this.#watch();
  }

  /** One of those whose turn it is, or one of the others. @returns false when none can be started */
  #startNext(): boolean {
    for (const isRerun of [!this.#wasRerun, this.#wasRerun]) {
      const waiting = isRerun ? this.#reruns : this.#waiting;
      const lane = isRerun ? this.#limits.lanes : this.#lanes.indexOf(undefined);
      const isFree = this.#lanes[lane] === undefined && (isRerun || lane < this.#limits.lanes);
      const job = isFree && lane >= 0 ? waiting.shift() : undefined;
      if (job === undefined) continue;
      this.#wasRerun = isRerun;
      this.#start(job, lane);
      return true;
    }
    return false;
  }

  #start(job: ReadJob, lane: number): void {
    const { lender, hlcMs } = this.#options;
    let alive: AliveThread;
    try {
      alive = this.#aliveThread();
      job.loan = lender.lend();
      job.walBytes = this.#walBytes;
    } catch (error) {
      this.#over(job, (error as Error).message);
      return;
    }
    Atomics.store(alive.cancelled, lane, 0);
    this.#lanes[lane] = job;
    job.lane = lane;
    job.lent();
    const { regions } = job.loan;
    const { id, request } = job;
    const read = { ...request, id, lane, regions, hlcMs: hlcMs(), credit: creditMax };
    const transfer = regions.map(({ buffer }) => buffer);
    if (request.known !== undefined) transfer.push(request.known.hashes.buffer);
    alive.thread.post({ kind: "read", request: read }, transfer);
  }

  #taken(job: ReadJob): void {
    if (job.lane === undefined || job.isEnded) return;
    job.credit++;
    this.#alive?.thread.post({ kind: "credit", id: job.id, pieces: 1 }, []);
  }

  /** Ends it as soon as its thread looks; at once while it waits for its turn. */
  #cancel(job: ReadJob, why: string): void {
    if (job.isEnded || job.cancelledBecause !== undefined) return;
    job.cancelledBecause = why;
    const waiting = [this.#waiting, this.#reruns].find((jobs) => jobs.includes(job));
    if (waiting !== undefined) {
      waiting.splice(waiting.indexOf(job), 1);
      this.#over(job, why);
    } else if (job.lane !== undefined && this.#alive !== undefined) {
      Atomics.store(this.#alive.cancelled, job.lane, 1);
      // One that waits for credit looks when it gets some.
      this.#alive.thread.post({ kind: "credit", id: job.id, pieces: 0 }, []);
    }
  }

  #over(job: ReadJob, why: string | undefined, isOfQuery = false): void {
    if (job.lane !== undefined) this.#lanes[job.lane] = undefined;
    job.lane = undefined;
    job.end(why, isOfQuery);
    if (job.loan !== undefined) {
      job.loan.end();
      job.loan = undefined;
      this.#options.onLoanEnded();
    }
  }

  #onMessage(message: FromReader): void {
    if (message.kind === "broken") {
      this.#crashed(message.why);
      return;
    }
    const job = this.#lanes.find((one) => one?.id === message.id);
    if (job === undefined) return;
    if (message.kind === "piece") job.push(message.piece);
    else {
      const isShort =
        message.runMs < budget.ms && job.pieces <= 1 && job.request.known === undefined;
      if (isShort && message.why === undefined) this.known.delete(job.request.sql);
      this.#over(job, job.cancelledBecause ?? message.why, job.cancelledBecause === undefined);
      const isIdle = this.#lanes.every((one) => one === undefined);
      if (isIdle && message.heapBytes > this.#limits.heapBytesKept) this.#endThread("");
    }
    this.#dispatch();
  }

  #crashed(why: string): void {
    this.#options.log.error("the reader thread died", { why });
    this.#endThread("the reader thread died: ask again");
    this.#dispatch();
  }

  #aliveThread(): AliveThread {
    if (this.#alive !== undefined) return this.#alive;
    const start = ++this.#starts;
    const isOld = (): boolean => start !== this.#starts || this.#alive === undefined;
    const { databasePath } = this.#options;
    const files = openLentFiles(databasePath);
    let thread: ReaderThread;
    try {
      thread = (this.#options.startThread ?? startWorker)({
        onMessage: (message) => {
          if (!isOld()) this.#onMessage(message);
        },
        onEnd: (why) => {
          if (!isOld()) this.#crashed(why);
        },
        onClosed: () => files.close(),
      });
    } catch (error) {
      // The system gives no thread (a limit on them, no memory).
      files.close();
      throw error;
    }
    const cancelled = new Int32Array(new SharedArrayBuffer(4 * this.#lanes.length));
    const turns = new Int32Array(new SharedArrayBuffer(4 * turnWords));
    this.#alive = { thread, cancelled, turns: new TurnWatch(turns) };
    const { heapBytesMax } = this.#limits;
    const { database, wal } = files;
    const options = {
      databasePath,
      files: { database, wal },
      module: compileSqlite(),
      cancelled,
      turns,
      heapBytesMax,
    };
    thread.post({ kind: "start", options }, []);
    return this.#alive;
  }

  /** With all that run in it. @param why what their readers are told */
  #endThread(why: string): void {
    const alive = this.#alive;
    this.#alive = undefined;
    alive?.thread.end();
    for (const job of this.#lanes) if (job !== undefined) this.#over(job, why);
    this.#watch();
  }

  /** A look now and then, while there is a thread, or somebody waits. */
  #watch(): void {
    if (this.#alive === undefined && this.#waiting.length + this.#reruns.length === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#timer ??= setInterval(() => this.#look(), watchMs);
    this.#timer.unref();
  }

  /** The thread is ended where it doesn't go on. @returns whether it was */
  #endStuck(): boolean {
    if (this.#alive === undefined) return false;
    const isAwaited = this.#lanes.some((job) => job?.isComputing);
    const { lane, looks } = this.#alive.turns.look(isAwaited);
    const lastedMs = (looks - 1) * watchMs;
    if (lane === undefined) {
      if (lastedMs <= this.#limits.startMsMax) return false;
      this.#options.log.error("the reader thread doesn't begin", { for_ms: lastedMs });
      this.#endThread("the reader thread didn't begin: ask again");
      return true;
    }
    const job = this.#lanes[lane];
    if (job === undefined || lastedMs <= job.request.timeoutMs + this.#limits.graceMs) return false;
    const sql = job.request.sql.slice(0, loggedCharsMax);
    this.#options.log.error("a query can't be interrupted", { sql });
    // Its own fault: a live query isn't run again.
    this.#over(job, "interrupted", true);
    this.#endThread("interrupted");
    return true;
  }

  #look(): void {
    const nowMs = performance.now();
    if (this.#endStuck()) {
      this.#dispatch();
      return;
    }
    const { idleMs } = this.#limits;
    const isCrowded = this.#isCrowded;
    const stallMsMax = isCrowded ? this.#limits.crowdedStallMsMax : this.#limits.stallMsMax;
    const pausedMs = this.#pause.lastedMs(nowMs);
    for (const job of this.#lanes) {
      if (job === undefined) continue;
      const { waitingSinceMs } = job;
      if (pausedMs > job.request.timeoutMs + this.#limits.stallMsMax) {
        this.#cancel(job, "ended: the write-ahead log has waited for its snapshot for too long");
      }
      if (waitingSinceMs !== undefined && nowMs - waitingSinceMs > stallMsMax) {
        const why = `too slow: a piece of the result was not read within ${stallMsMax} ms`;
        this.#cancel(job, isCrowded ? `${why}, and others wait` : why);
      }
    }
    if (this.#lanes.some((job) => job !== undefined)) this.#idleSinceMs = never;
    else if (this.#idleSinceMs === never) this.#idleSinceMs = nowMs;
    else if (nowMs - this.#idleSinceMs > idleMs) {
      this.#idleSinceMs = never;
      this.#endThread("");
    }
    if (!this.#pause.isOn) return;
    this.#pause.look(this.#options.lender.isPinned, nowMs);
    this.#dispatch();
  }
}

function startWorker({ onMessage, onEnd, onClosed }: ThreadHooks): ReaderThread {
  const worker = new Worker(new URL("./reader-thread.ts", import.meta.url), {
    name: "patina reader",
  });
  let isOver = false;
  let why = "ended by itself";
  worker.onerror = (event) => {
    why = event.message;
  };
  worker.addEventListener("close", () => {
    onClosed();
    if (isOver) return;
    isOver = true;
    onEnd(why);
  });
  worker.onmessage = (event: MessageEvent<FromReader>) => {
    if (!isOver) onMessage(event.data);
  };
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    end: () => {
      isOver = true;
      worker.terminate();
    },
  };
}
