/**
 * Queries and results that are long, run in a thread of their own on lent snapshots: the store thread goes on
 * meanwhile, whatever they ask.
 *
 * One thread, which starts with the first of them (7 MB, some 0.15 s) and ends a minute after the last. One query is
 * computing at a time, first come, first served, each for at most its time; those that wait for a slow
 * client wait beside it, on a lane of their own, and keep their snapshot. A snapshot that is kept keeps the WAL from
 * beginning anew, so this is bounded three ways: by the query's time, by how long a client may take over a piece,
 * and by the size of the WAL, at which the oldest query is ended.
 *
 * @module
 */

import { compileSqlite } from "../../wasm/module.ts";
import type { SqlText } from "../api/statement.ts";
import type { InitialRowsSource } from "../live/initial-rows.ts";
import type { InitialQuery, ReadRow } from "../live/subscription.ts";
import type { Log } from "../log.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import { KnownLong } from "./known-long.ts";
import { type FromReader, type ToReader, toPlain } from "./messages.ts";
import { creditMax, type JobRequest, ReadJob } from "./read-job.ts";
import type { SnapshotLender } from "./snapshot-lender.ts";

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
  /** Queries that wait. More are refused. */
  readonly waitingMax: number;
  /** How long a client may take over a piece of 64 KiB. */
  readonly stallMsMax: number;
  /** Of the WAL, while a snapshot is lent. */
  readonly walBytesMax: number;
  /** Without work the thread is ended after so long. */
  readonly idleMs: number;
  /** What the thread's SQLite may take. */
  readonly heapBytesMax: number;
  /** Above this the thread is ended as soon as it has no work: its memory never shrinks. */
  readonly heapBytesKept: number;
  /** Beyond its time, before a query that can't be interrupted takes the thread with it. */
  readonly graceMs: number;
}

export const readerLimits: ReaderLimits = {
  lanes: 8,
  waitingMax: 256,
  stallMsMax: 10_000,
  walBytesMax: 256 * 1024 * 1024,
  idleMs: 60_000,
  heapBytesMax: 256 * 1024 * 1024,
  heapBytesKept: 64 * 1024 * 1024,
  graceMs: 2000,
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
}

const watchMs = 500;
const never = Number.POSITIVE_INFINITY;

export class ReaderPool implements InitialRowsSource {
  readonly known: KnownLong = new KnownLong();
  readonly #options: ReaderPoolOptions;
  readonly #limits: ReaderLimits;
  readonly #cancelled: Int32Array;
  readonly #lanes: (ReadJob | undefined)[];
  readonly #waiting: ReadJob[] = [];
  #thread: ReaderThread | undefined;
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
    const { lanes } = this.#limits;
    this.#cancelled = new Int32Array(new SharedArrayBuffer(4 * lanes));
    this.#lanes = new Array(lanes).fill(undefined);
  }

  /**
   * Runs a query that was checked in this turn.
   *
   * @returns its lines after `columns`; undefined when too many wait
   */
  query(text: SqlText, timeoutMs: number): ReadJob | undefined {
    if (this.#isStopped || this.#waiting.length >= this.#limits.waitingMax) return undefined;
    return this.#enter({
      sql: text.sql,
      parameters: toPlain(text.parameters),
      schemaVersion: Number(this.#runner.database.pragma("schema_version")),
      timeoutMs,
      bytesMax: this.#runner.resultBytesMax,
      shape: undefined,
    });
  }

  /** The first rows of a live query; in the store thread where there are few. */
  read(query: InitialQuery): AsyncIterable<readonly ReadRow[]> | undefined {
    const { sql, values, shape } = query;
    if (this.#isStopped || this.#waiting.length >= this.#limits.waitingMax) return undefined;
    if (!this.known.has(sql)) {
      const text = { sql, parameters: values };
      if (this.#runner.query(text, undefined, budget) !== "long") return undefined;
      this.known.add(sql);
    }
    const job = this.#enter(
      {
        sql,
        parameters: values,
        schemaVersion: undefined,
        timeoutMs: this.#runner.timeoutMs,
        bytesMax: never,
        shape,
      },
      true,
    );
    return job as AsyncIterable<readonly ReadRow[]>;
  }

  /** Ends the oldest query where the WAL has grown too large under it. */
  walGrew(bytes: number): void {
    if (bytes <= this.#limits.walBytesMax || !this.#options.lender.isPinned) return;
    const [oldest] = [...this.#lanes, ...this.#waiting]
      .filter((job) => job?.loan !== undefined && job.cancelledBecause === undefined)
      .sort((a, b) => (a as ReadJob).id - (b as ReadJob).id);
    const why = `ended: its snapshot had kept ${bytes} bytes of the write-ahead log, over ${this.#limits.walBytesMax}`;
    if (oldest !== undefined) this.#cancel(oldest, why);
  }

  stop(): void {
    this.#isStopped = true;
    this.#endThread("the agent is stopping");
    for (const job of this.#waiting.splice(0)) this.#over(job, "the agent is stopping");
  }

  describe(): {
    readonly running: number;
    readonly waiting: number;
    readonly starts: number;
    readonly alive: boolean;
  } {
    const running = this.#lanes.filter((job) => job !== undefined).length;
    const alive = this.#thread !== undefined;
    return { running, waiting: this.#waiting.length, starts: this.#starts, alive };
  }

  #enter(request: JobRequest, isLentNow = false): ReadJob {
    const job = new ReadJob(++this.#lastId, request, {
      onTaken: (taken) => this.#taken(taken),
      onLeft: (left) => this.#cancel(left, "nobody reads it"),
    });
    if (isLentNow) job.loan = this.#options.lender.lend();
    this.#waiting.push(job);
    this.#dispatch();
    return job;
  }

  #dispatch(): void {
    while (this.#waiting.length > 0 && !this.#lanes.some((job) => job?.isComputing)) {
      const lane = this.#lanes.indexOf(undefined);
      if (lane < 0) break;
      this.#start(this.#waiting.shift() as ReadJob, lane);
    }
    this.#watch();
  }

  #start(job: ReadJob, lane: number): void {
    const { lender, hlcMs } = this.#options;
    const thread = this.#aliveThread();
    try {
      job.loan ??= lender.lend();
    } catch (error) {
      this.#over(job, (error as Error).message);
      return;
    }
    Atomics.store(this.#cancelled, lane, 0);
    this.#lanes[lane] = job;
    job.lane = lane;
    job.startedMs = performance.now();
    const { regions } = job.loan;
    const { id, request } = job;
    const read = { ...request, id, lane, regions, hlcMs: hlcMs(), credit: creditMax };
    thread.post(
      { kind: "read", request: read },
      regions.map(({ buffer }) => buffer),
    );
  }

  #taken(job: ReadJob): void {
    if (job.lane === undefined || job.isEnded) return;
    if (!job.isComputing) job.startedMs = performance.now();
    job.credit++;
    this.#thread?.post({ kind: "credit", id: job.id, pieces: 1 }, []);
  }

  /** Ends it as soon as its thread looks; at once while it waits for its turn. */
  #cancel(job: ReadJob, why: string): void {
    if (job.isEnded) return;
    job.cancelledBecause ??= why;
    const at = this.#waiting.indexOf(job);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      this.#over(job, why);
    } else if (job.lane !== undefined) {
      Atomics.store(this.#cancelled, job.lane, 1);
      // One that waits for credit looks when it gets some.
      this.#thread?.post({ kind: "credit", id: job.id, pieces: 0 }, []);
    }
  }

  #over(job: ReadJob, why: string | undefined): void {
    if (job.lane !== undefined) this.#lanes[job.lane] = undefined;
    job.lane = undefined;
    job.end(why);
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
      const isShort = message.runMs < budget.ms && job.pieces <= 1;
      if (isShort && message.why === undefined) this.known.delete(job.request.sql);
      this.#over(job, job.cancelledBecause ?? message.why);
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

  #aliveThread(): ReaderThread {
    if (this.#thread !== undefined) return this.#thread;
    const start = ++this.#starts;
    const isOld = (): boolean => start !== this.#starts || this.#thread === undefined;
    const thread = (this.#options.startThread ?? startWorker)({
      onMessage: (message) => {
        if (!isOld()) this.#onMessage(message);
      },
      onEnd: (why) => {
        if (!isOld()) this.#crashed(why);
      },
    });
    this.#thread = thread;
    const cancelled = this.#cancelled.buffer as SharedArrayBuffer;
    const { databasePath } = this.#options;
    const { heapBytesMax } = this.#limits;
    const options = { databasePath, module: compileSqlite(), cancelled, heapBytesMax };
    thread.post({ kind: "start", options }, []);
    return thread;
  }

  /** With all that run in it. @param why what their readers are told */
  #endThread(why: string): void {
    const thread = this.#thread;
    this.#thread = undefined;
    thread?.end();
    for (const job of this.#lanes) if (job !== undefined) this.#over(job, why);
    this.#watch();
  }

  /** A look now and then, while there is a thread. */
  #watch(): void {
    if (this.#thread === undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    this.#timer ??= setInterval(() => this.#look(), watchMs);
    this.#timer.unref();
  }

  #look(): void {
    const nowMs = performance.now();
    const { stallMsMax, graceMs, idleMs } = this.#limits;
    for (const job of this.#lanes) {
      if (job === undefined) continue;
      const { waitingSinceMs } = job;
      if (waitingSinceMs !== undefined && nowMs - waitingSinceMs > stallMsMax) {
        this.#cancel(job, `too slow: a piece of the result was not read within ${stallMsMax} ms`);
      }
      if (job.isComputing && nowMs - job.startedMs > job.request.timeoutMs + graceMs) {
        this.#options.log.error("a query can't be interrupted", { sql: job.request.sql });
        this.#endThread("interrupted");
        this.#dispatch();
        return;
      }
    }
    if (this.#lanes.some((job) => job !== undefined)) this.#idleSinceMs = never;
    else if (this.#idleSinceMs === never) this.#idleSinceMs = nowMs;
    else if (nowMs - this.#idleSinceMs > idleMs) {
      this.#idleSinceMs = never;
      this.#endThread("");
    }
  }
}

/** What a query may take of the store thread before it is another's. */
export const budget = { ms: 2, bytes: 64 * 1024 } as const;

function startWorker({ onMessage, onEnd }: ThreadHooks): ReaderThread {
  const worker = new Worker(new URL("./reader-thread.ts", import.meta.url), {
    name: "patina reader",
  });
  let isOver = false;
  let why = "ended by itself";
  worker.onerror = (event) => {
    why = event.message;
  };
  worker.addEventListener("close", () => {
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
