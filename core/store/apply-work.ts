/**
 * Applies what peers sent, in slices: so many rows, then whoever else wants the store has a turn.
 *
 * - *Rows* of repair stand each for itself, and small changesets are many: a slice takes as many as it has
 *   time for, and the next one begins with their COMMIT, which can't be interrupted and takes about as long.
 * - A *changeset* is applied as one. One that is larger than a slice is a transaction that stays open over
 *   some slices.
 * - After a transaction the index takes its rows in, in slices too.
 *
 * From the first row of a transaction until the index knows all of it the store is *busy*: nobody else may write, and what
 * is read through the connection that writes isn't committed yet. Who must have the store {@link ApplyWork.claim}s
 * it: a transaction that lacks only its COMMIT gets that, any other is rolled back and begun again later, but
 * only once for each request, so that it gets done.
 *
 * An urgent changeset is one slice, whatever it has: see {@link ApplyWork.now}.
 *
 * A body is read in slices as well. That it is malformed, or stamped too far ahead, may show after some of
 * its rows were merged: then they are rolled back. (Row blocks have a thousand rows at most, and are read at once.)
 *
 * @module
 */

import { assert } from "../assert.ts";
import { ChangesetReader, decodeChangesetHeader } from "../change/changeset.ts";
import { decodeRowBlock } from "../change/row-block.ts";
import { compareHlc, type Hlc, hlcZero, type Stamp } from "../clock/stamp.ts";
import type { StoreReply, StoreRequest } from "../node/border.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import { type Pace, untilTheEnd } from "./pace.ts";
import type { MergedRow, MergeTransaction } from "./row-store.ts";

export type ApplyRequest = Extract<StoreRequest, { kind: "apply" }>;

/** One transaction. */
export interface Applied {
  readonly request: ApplyRequest;
  readonly merged: readonly MergedRow[];
  /** The largest stamp of its rows. */
  readonly latest: Hlc;
  /** Of its changesets. */
  readonly stamps: readonly Stamp[];
}

/** The replica. */
export interface ApplyHost {
  /** Stamps later than this are refused, in ms. */
  limitMs(): number;
  aheadText(stampMs: number): string;
  /** Throws what the store throws. */
  begin(): MergeTransaction;
  /** What failed, as peers and status are told. */
  failed(error: unknown): string;
  /** A transaction was committed. */
  committed(applied: Applied): void;
  /** Takes rows `from` up to `to` of it into the index. */
  take(applied: Applied, from: number, to: number): void;
}

interface Refusal {
  readonly body: number;
  readonly why: string;
  readonly kind: "malformed" | "ahead" | "store";
  /** Rows, of a row block of which others were taken. */
  readonly rows?: number;
}

/** One body, being read. */
interface OpenBody {
  readonly body: number;
  /** Of a changeset; undefined for rows. */
  readonly stamp: Stamp | undefined;
  /** Nothing is left of it. */
  isAtEnd(): boolean;
  /** @returns why the body is refused */
  read(count: number): readonly RowState[] | Pick<Refusal, "kind" | "why">;
}

class Job {
  readonly request: ApplyRequest;
  /** The smallest stamp of its changesets, ms. */
  readonly oldestMs: number;
  nextBody = 0;
  body: OpenBody | undefined;
  refused: Refusal[] = [];
  rows = 0;
  changed = 0;
  /** It was rolled back for somebody else's sake. */
  hasYielded = false;

  constructor(request: ApplyRequest) {
    this.request = request;
    this.oldestMs =
      request.what === "rows" ? Number.POSITIVE_INFINITY : oldestStampMs(request.bodies);
  }
}

interface OpenTransaction {
  readonly transaction: MergeTransaction;
  /** Bodies that are in it, the one at hand too. */
  readonly bodies: number[];
  readonly stamps: Stamp[];
  latest: Hlc;
  rows: number;
  /** A slice ended with it open: it ends with the body at hand. */
  hasWaited: boolean;
  /** It lacks nothing but the COMMIT. */
  isWhole: boolean;
}

interface Taking {
  readonly applied: Applied;
  next: number;
}

/** Rows between two looks at the pace: some tenths of a millisecond. */
const pieceRows = 16;
/** A changeset of which no more is left is brought to its end. */
const nearlyDoneRows = 16;
/** Larger ones are read piece by piece, in a transaction of their own. */
const smallBytesMax = 32 * 1024;
/** Rows whose way into the index isn't worth a slice of its own. */
const takenAtOnceMax = 128;

export class ApplyWork {
  readonly #host: ApplyHost;
  readonly #pace: Pace;
  readonly #jobs: Job[] = [];
  #open: OpenTransaction | undefined;
  #taking: Taking | undefined;
  malformed = 0;
  ahead = 0;
  storeFailed = 0;

  constructor(host: ApplyHost, pace: Pace) {
    this.#host = host;
    this.#pace = pace;
  }

  /** Something is left for {@link slice}. */
  get hasWork(): boolean {
    return this.#jobs.length > 0;
  }

  /** A transaction is open, or the index doesn't know yet what it did. */
  get isBusy(): boolean {
    return this.#open !== undefined || this.#taking !== undefined;
  }

  /** The smallest stamp of a changeset that waits, ms. */
  get oldestMs(): number {
    return this.#jobs.reduce(
      (so, { oldestMs }) => Math.min(so, oldestMs),
      Number.POSITIVE_INFINITY,
    );
  }

  /** To be done in slices. */
  push(request: ApplyRequest): void {
    this.#jobs.push(new Job(request));
  }

  /** Applies a request at once. Not while the store is busy. */
  now(request: ApplyRequest, replies: StoreReply[]): void {
    assert(!this.isBusy, "apply: the store is free");
    const job = new Job(request);
    this.#work(job, untilTheEnd);
    this.#finish(job, replies);
  }

  /** One slice. */
  slice(replies: StoreReply[]): void {
    this.#pace.begin();
    const atHand = this.#jobs[0];
    const isEnding = this.#taking !== undefined || this.#open?.isWhole === true;
    if (isEnding && atHand !== undefined) {
      // And no more: so that the store is free between any two transactions, for those who couldn't claim it.
      if (this.#open !== undefined) this.#commit(atHand);
      if (this.#taking === undefined || this.#take(this.#pace)) this.#finishIfDone(atHand, replies);
      return;
    }
    for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
      if (!this.#work(job, this.#pace)) return;
      this.#finishIfDone(job, replies);
      if (this.#pace.isOver(0)) return;
    }
  }

  /** Makes the store free for another transaction, if that may be. Whoever is told no asks again later. */
  claim(): boolean {
    if (!this.isBusy) return true;
    const job = this.#jobs[0];
    const open = this.#open;
    if (open === undefined || job === undefined) return false;
    if (open.isWhole) {
      this.#commit(job);
      return !this.isBusy;
    }
    if (job.hasYielded) return false;
    this.#rollback(job);
    job.hasYielded = true;
    return true;
  }

  /** Makes it free in any case: a transaction that isn't whole is rolled back, however often that has been. */
  abandon(): void {
    const job = this.#jobs[0];
    if (this.#taking !== undefined) this.#take(untilTheEnd);
    if (this.#open === undefined || job === undefined) return;
    // Rolling a whole slice back would read rows again that slices before it have brought in and counted.
    if (this.#open.isWhole) this.#commit(job);
    else this.#rollback(job);
    if (this.#taking !== undefined) this.#take(untilTheEnd);
  }

  /** @returns whether the job is done; otherwise the slice is over */
  #work(job: Job, pace: Pace): boolean {
    for (;;) {
      if (this.#taking !== undefined && !this.#take(pace)) return false;
      if (job.body === undefined) {
        if (job.nextBody >= job.request.bodies.length) {
          this.#commit(job);
          if (this.#taking === undefined) return true;
          continue;
        }
        this.#openBody(job);
        continue;
      }
      const { body } = job;
      const rows = this.#add(job, body);
      if (job.body === undefined) continue;
      const isOver = pace.isOver(rows);
      const isAtEnd = body.isAtEnd();
      if (isAtEnd) job.body = undefined;
      // Rows of repair may end anywhere.
      const mayEnd = isAtEnd || body.stamp === undefined;
      const open = this.#open;
      const isWhole = mayEnd && (isOver || open?.hasWaited === true);
      if (!isWhole && (!isOver || isNearlyDone(body))) continue;
      if (open !== undefined) {
        open.isWhole = isWhole;
        open.hasWaited = true;
      }
      return false;
    }
  }

  #openBody(job: Job): void {
    const { request } = job;
    const body = job.nextBody++;
    const bytes = request.bodies[body] as Uint8Array;
    const limitMs = this.#host.limitMs();
    if (request.what === "rows") {
      const opened = openRows(body, bytes, limitMs, (ms) => this.#host.aheadText(ms));
      if (opened.refused !== undefined) job.refused.push(opened.refused);
      job.body = opened.body;
      return;
    }
    const opened = openChangeset(body, bytes, limitMs, (ms) => this.#host.aheadText(ms));
    if ("kind" in opened) {
      job.refused.push({ ...opened, body });
      return;
    }
    // What else is in the transaction isn't to be rolled back with it.
    if (!opened.isSmall && (this.#open?.rows ?? 0) > 0) this.#commit(job);
    job.body = opened;
  }

  /** The next rows of a body. @returns how many */
  #add(job: Job, body: OpenBody): number {
    const rows = body.read(pieceRows);
    if ("kind" in rows) {
      // Only of large ones, which are alone in their transaction.
      this.#open?.transaction.rollback();
      this.#open = undefined;
      job.refused.push({ ...rows, body: body.body });
      job.body = undefined;
      return 0;
    }
    if (rows.length === 0) return 0;
    try {
      this.#open ??= {
        transaction: this.#host.begin(),
        bodies: [],
        stamps: [],
        latest: hlcZero,
        rows: 0,
        hasWaited: false,
        isWhole: false,
      };
      const open = this.#open;
      if (open.bodies.at(-1) !== body.body) {
        open.bodies.push(body.body);
        if (body.stamp !== undefined) {
          open.stamps.push(body.stamp);
          open.latest = laterHlc(open.latest, body.stamp);
        }
      }
      open.transaction.add(rows);
      open.rows += rows.length;
      for (const row of rows) open.latest = laterHlc(open.latest, stampOfRow(row));
    } catch (error) {
      this.#failed(job, error, body.body);
      job.body = undefined;
    }
    return rows.length;
  }

  #commit(job: Job): void {
    const open = this.#open;
    if (open === undefined) return;
    const { transaction, rows, latest, stamps } = open;
    let merged: readonly MergedRow[];
    try {
      merged = transaction.commit();
    } catch (error) {
      this.#failed(job, error);
      return;
    }
    this.#open = undefined;
    job.rows += rows;
    for (const row of merged) if (row.changed) job.changed++;
    const applied = { request: job.request, merged, latest, stamps };
    this.#host.committed(applied);
    this.#taking = { applied, next: 0 };
    if (merged.length <= takenAtOnceMax) this.#take(untilTheEnd);
  }

  /** @returns whether the index knows all of it */
  #take(pace: Pace): boolean {
    const { applied, next } = this.#taking as Taking;
    const { length } = applied.merged;
    for (let from = next; from < length; ) {
      const to = Math.min(from + pieceRows, length);
      this.#host.take(applied, from, to);
      from = to;
      if (from === length || !pace.isOver(to - from)) continue;
      (this.#taking as Taking).next = from;
      return false;
    }
    this.#taking = undefined;
    return true;
  }

  /** The transaction is over, and nothing of it is applied. @param body the one at hand, if it isn't in it yet */
  #failed(job: Job, error: unknown, body?: number): void {
    const why = this.#host.failed(error);
    const bodies = new Set(this.#open?.bodies);
    if (body !== undefined) bodies.add(body);
    for (const one of bodies) job.refused.push({ body: one, why, kind: "store" });
    this.#open?.transaction.rollback();
    this.#open = undefined;
  }

  #rollback(job: Job): void {
    const open = this.#open as OpenTransaction;
    open.transaction.rollback();
    this.#open = undefined;
    const first = open.bodies[0] ?? job.body?.body ?? job.nextBody;
    job.nextBody = first;
    job.body = undefined;
    job.refused = job.refused.filter(({ body }) => body < first);
  }

  #finishIfDone(job: Job, replies: StoreReply[]): void {
    if (job.body !== undefined || job.nextBody < job.request.bodies.length) return;
    this.#jobs.shift();
    this.#finish(job, replies);
  }

  #finish({ request, refused, rows, changed }: Job, replies: StoreReply[]): void {
    for (const refusal of refused) {
      if (refusal.kind === "malformed") this.malformed++;
      else if (refusal.kind === "ahead") this.ahead += refusal.rows ?? 1;
      else this.storeFailed++;
    }
    replies.push({
      kind: "applied",
      ticket: request.ticket,
      rows,
      changed,
      refused: refused.map(({ body, why }) => ({ body, why })).sort((a, b) => a.body - b.body),
    });
  }
}

function isNearlyDone(body: OpenBody): boolean {
  return body instanceof ChangesetBody && body.left <= nearlyDoneRows;
}

class ChangesetBody implements OpenBody {
  readonly body: number;
  readonly stamp: Stamp;
  readonly isSmall: boolean;
  readonly #reader: ChangesetReader;
  readonly #limitMs: number;
  readonly #aheadText: (ms: number) => string;
  /** Of a small one, all. */
  #rows: readonly RowState[] | undefined;
  #next = 0;

  constructor(body: number, bytes: Uint8Array, limitMs: number, aheadText: (ms: number) => string) {
    this.body = body;
    this.#reader = new ChangesetReader(bytes);
    this.#limitMs = limitMs;
    this.#aheadText = aheadText;
    this.stamp = this.#reader.stamp;
    this.isSmall = bytes.length <= smallBytesMax;
  }

  get left(): number {
    return this.#rows === undefined ? this.#reader.left : this.#rows.length - this.#next;
  }

  isAtEnd(): boolean {
    return this.left === 0;
  }

  /** Reads a small one to its end. @returns why it is refused */
  readAhead(): Pick<Refusal, "kind" | "why"> | undefined {
    if (!this.isSmall) return undefined;
    const rows = this.#read(Number.POSITIVE_INFINITY);
    if ("kind" in rows) return rows;
    this.#rows = rows;
    return undefined;
  }

  read(count: number): readonly RowState[] | Pick<Refusal, "kind" | "why"> {
    if (this.#rows === undefined) return this.#read(count);
    const rows = this.#rows.slice(this.#next, this.#next + count);
    this.#next += rows.length;
    return rows;
  }

  #read(count: number): readonly RowState[] | Pick<Refusal, "kind" | "why"> {
    const rows = this.#reader.read(count);
    const { why } = this.#reader;
    if (why !== undefined) return { kind: "malformed", why };
    const last = rows.reduce((so, row) => laterHlc(so, stampOfRow(row)), this.stamp as Hlc);
    if (last.ms > this.#limitMs) return { kind: "ahead", why: this.#aheadText(last.ms) };
    return rows;
  }
}

function openChangeset(
  body: number,
  bytes: Uint8Array,
  limitMs: number,
  aheadText: (ms: number) => string,
): ChangesetBody | Pick<Refusal, "kind" | "why"> {
  const opened = new ChangesetBody(body, bytes, limitMs, aheadText);
  return opened.readAhead() ?? opened;
}

/** Repair's rows stand each for itself: one that is ahead doesn't keep the others away. */
function openRows(
  body: number,
  bytes: Uint8Array,
  limitMs: number,
  aheadText: (ms: number) => string,
): { readonly body?: OpenBody; readonly refused?: Refusal } {
  const decoded = decodeRowBlock(bytes);
  if (decoded.kind === "malformed") {
    return { refused: { body, kind: "malformed", why: decoded.why } };
  }
  let worstMs = 0;
  const rows = decoded.rows.filter((row) => {
    const { ms } = stampOfRow(row);
    if (ms > limitMs) worstMs = Math.max(worstMs, ms);
    return ms <= limitMs;
  });
  let next = 0;
  const opened: OpenBody = {
    body,
    stamp: undefined,
    isAtEnd: () => next >= rows.length,
    read: (count) => {
      const piece = rows.slice(next, next + count);
      next += piece.length;
      return piece;
    },
  };
  const refused = decoded.rows.length - rows.length;
  if (refused === 0) return { body: opened };
  const why = `${refused} of ${decoded.rows.length} rows: ${aheadText(worstMs)}`;
  return { body: opened, refused: { body, kind: "ahead", why, rows: refused } };
}

function oldestStampMs(bodies: readonly Uint8Array[]): number {
  let oldest = Number.POSITIVE_INFINITY;
  for (const body of bodies) {
    oldest = Math.min(oldest, decodeChangesetHeader(body)?.stamp.ms ?? Number.POSITIVE_INFINITY);
  }
  return oldest;
}

function laterHlc(a: Hlc, b: Hlc): Hlc {
  return compareHlc(a, b) >= 0 ? a : b;
}
