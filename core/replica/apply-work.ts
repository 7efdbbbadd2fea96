/**
 * Applies what peers sent, in slices: so many rows, then whoever else wants the store has a turn.
 *
 * - *Rows* of repair stand each for itself, and small changesets are many: a slice takes as many as it has
 *   time for, and the next one begins with their COMMIT, which can't be interrupted and takes about as long.
 * - A *changeset* is applied as one. One that is larger than a slice is a transaction that stays open over
 *   some slices. Of a really large one all that needs no transaction is done before ({@link MergePreparation}).
 * - After a transaction the index takes its rows in, in slices too.
 *
 * While a transaction is open nobody else may write, and what the writing connection reads isn't committed yet. Whoever
 * must have the store {@link ApplyWork.claim}s it. A transaction that is nearly done is then finished and committed; any
 * other is rolled back, and written again later. Once it has lost {@link lostTimesMax} times its rows in this way it isn't
 * rolled back any more: it goes on to its end, and claims wait. So every transaction ends, in bounded time.
 *
 * The store is *busy* until the index knows all that was committed: nothing may be asked of it. Others may write; the index
 * takes their rows in after those that came before.
 *
 * An urgent changeset is one slice: see {@link ApplyWork.now}. A really large one is worked as what isn't urgent, or it would
 * keep the small ones of others from being applied.
 *
 * Of a transaction that fails each changeset, and each row of repair, is tried by itself: what can't be written (a row that
 * is too large to be held, a page that is damaged) takes nothing else with it, again and again. Where many can't be written it
 * may be the disk, and the rest is given up; the next block is read in another order, for repair brings what differs in the same one.
 *
 * A body is read in slices as well. That it is malformed, or stamped too far ahead, may show after some of
 * its rows were merged: then they are rolled back. (Row blocks have a thousand rows at most, and are read at once.)
 *
 * @module
 */

import { assert } from "../assert.ts";
import { decodeChangesetHeader, type Lane } from "../change/changeset.ts";
import { type Hlc, hlcZero, type Stamp } from "../clock/stamp.ts";
import type { StoreReply, StoreRequest } from "../node/border.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import type { MergedRow, MergePreparation, MergeTransaction } from "../row-store.ts";
import { laterHlc, type OpenBody, openChangeset, openRows, type Refusal } from "./apply-bodies.ts";
import { type Pace, untilTheEnd } from "./pace.ts";

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
  prepare(): MergePreparation;
  /** False: somebody had better be served before a large transaction begins. Not for ever. */
  mayBegin(): boolean;
  /** What failed, as peers and status are told. */
  failed(error: unknown): string;
  /** A transaction was committed. */
  committed(applied: Applied): void;
  /** Takes rows `from` up to `to` into the index. */
  take(merged: readonly MergedRow[], from: number, to: number, lane: Lane): void;
}

class Job {
  readonly request: ApplyRequest;
  /** The smallest stamp of its changesets, ms. */
  readonly oldestMs: number;
  nextBody = 0;
  body: OpenBody | undefined;
  /** Of the body at hand, if that is a really large one: its largest stamp, and how much of it the open transaction has. */
  prepared: MergePreparation | undefined;
  latest: Hlc = hlcZero;
  written = 0;
  /** Rows that were written and rolled back since the last COMMIT, for somebody else's sake. */
  lostRows = 0;
  refused: Refusal[] = [];
  rows = 0;
  changed = 0;
  /** Transactions that the index doesn't know all of. */
  untaken = 0;

  constructor(request: ApplyRequest) {
    this.request = request;
    this.oldestMs =
      request.what === "rows" ? Number.POSITIVE_INFINITY : oldestStampMs(request.bodies);
  }

  /** Nothing is left to be read. */
  get isRead(): boolean {
    return this.body === undefined && this.nextBody >= this.request.bodies.length;
  }
}

/** Rows of one body. */
interface Part {
  readonly body: OpenBody;
  readonly rows: readonly RowState[];
}

/** What became of a transaction that failed. */
interface Failed {
  error: unknown;
  /** All of which something can't be written. */
  readonly bodies: Set<number>;
  parts: number;
}

interface OpenTransaction {
  readonly transaction: MergeTransaction;
  /** All that is in it, unless that was prepared. */
  readonly parts: Part[];
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

/** Rows that were committed, on their way into the index. */
interface Taking {
  readonly merged: readonly MergedRow[];
  readonly lane: Lane;
  /** The smallest stamp that the cut mustn't pass before, ms. */
  readonly oldestMs: number;
  /** Undefined: they were committed by somebody else. */
  readonly job: Job | undefined;
  next: number;
}

/** Rows between two looks at the pace: some tenths of a millisecond. */
const pieceRows = 16;
/** The same where they are only looked up. */
const preparedPieceRows = 64;
/** A changeset of which no more is left is brought to its end. */
const nearlyDoneRows = 16;
/** So is, when somebody claims the store, one that lacks no more rows (some milliseconds), and no larger a share of them. */
const nearlyWrittenRows = 2000;
const nearlyWrittenShare = 1 / 8;
/** Rows whose way into the index isn't worth a slice of its own. */
const takenAtOnceMax = 128;
/** Transactions that may wait for the index. */
const takingsMax = 1000;
/** Of the parts of a transaction that failed: where more of them fail it isn't they that can't be written. */
const failedPartsMax = 3;
/** What a transaction may lose to others, by its rows. */
const lostTimesMax = 2;

export class ApplyWork {
  readonly #host: ApplyHost;
  readonly #pace: Pace;
  readonly #preparedBytesMin: number;
  /** To be done in slices. */
  readonly #jobs: Job[] = [];
  /** Done at once, and not answered yet: the index has more to take in before. */
  #urgent: Job[] = [];
  #open: OpenTransaction | undefined;
  readonly #takings: Taking[] = [];
  /** How often the rest of a block of rows was given up. */
  #turn = 0;
  malformed = 0;
  ahead = 0;
  storeFailed = 0;

  constructor(host: ApplyHost, pace: Pace, preparedBytesMin: number) {
    this.#host = host;
    this.#pace = pace;
    this.#preparedBytesMin = preparedBytesMin;
  }

  /** Something is left for {@link slice}. */
  get hasWork(): boolean {
    return this.#jobs.length > 0 || this.isTaking;
  }

  /** A transaction is open. */
  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** The index doesn't know yet what was committed. */
  get isTaking(): boolean {
    return this.#takings.length > 0;
  }

  /** Either of both. */
  get isBusy(): boolean {
    return this.isOpen || this.isTaking;
  }

  /** A large changeset is being prepared or written: its rows are kept until then. */
  get hasPrepared(): boolean {
    return this.#jobs[0]?.prepared !== undefined;
  }

  /** A large changeset is being prepared, and the store is free. */
  get isPreparing(): boolean {
    return !this.isBusy && this.hasPrepared;
  }

  /** The smallest stamp of what waits, ms. */
  get oldestMs(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const { oldestMs } of this.#jobs) oldest = Math.min(oldest, oldestMs);
    for (const { oldestMs } of this.#takings) oldest = Math.min(oldest, oldestMs);
    return oldest;
  }

  /** To be done in slices. */
  push(request: ApplyRequest): void {
    this.#jobs.push(new Job(request));
  }

  /** Applies a request at once. Not while a transaction is open. Answered when the index knows of it. */
  now(request: ApplyRequest, replies: StoreReply[]): void {
    assert(!this.isOpen, "apply: no transaction is open");
    const job = new Job(request);
    const isNext = !this.isTaking;
    this.#urgent.push(job);
    this.#work(job, untilTheEnd, true);
    if (isNext) this.#take(untilTheEnd);
    this.#answer(replies);
  }

  /** Has the index take in what somebody else committed while it {@link isTaking}. @param stampMs As of its rows. */
  takeLater(merged: readonly MergedRow[], lane: Lane, stampMs: number): void {
    this.#takings.push({ merged, lane, oldestMs: stampMs, job: undefined, next: 0 });
  }

  /** One slice. */
  slice(replies: StoreReply[]): void {
    this.#pace.begin();
    if (this.isTaking || this.#open?.isWhole === true) {
      // And no more: so that the store is free between any two transactions, for those who couldn't claim it.
      this.#commit(this.#jobs[0]);
      this.#take(this.#pace);
    } else {
      for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
        if (!this.#work(job, this.#pace, false)) break;
        this.#answer(replies);
        if (this.#pace.isOver(0)) break;
      }
    }
    this.#answer(replies);
  }

  /** Makes the store free for another transaction, if that may be. Whoever is told no asks again later. */
  claim(): boolean {
    const open = this.#open;
    if (open === undefined) return this.#takings.length < takingsMax;
    const job = this.#jobs[0] as Job;
    if (open.isWhole) {
      this.#commit(job);
      return true;
    }
    const { prepared } = job;
    const rows = prepared?.length ?? open.rows + (job.body?.left ?? 0);
    const lostRows = job.lostRows + open.rows;
    // It goes on in slices, for nobody can end it sooner.
    if (lostRows > lostTimesMax * rows) return false;
    if (prepared !== undefined && isNearlyWritten(prepared.length, job.written)) {
      this.#write(job, prepared, prepared.length);
      this.#leaveBody(job);
      this.#commit(job);
      return true;
    }
    this.#rollback(job);
    job.lostRows = lostRows;
    return true;
  }

  /** Makes it free in any case: a transaction that isn't whole is rolled back, whatever it has lost before. */
  abandon(): void {
    this.#take(untilTheEnd);
    const job = this.#jobs[0];
    if (this.#open === undefined || job === undefined) return;
    // Rolling a whole slice back would read rows again that slices before it have brought in and counted.
    if (this.#open.isWhole) this.#commit(job);
    else this.#rollback(job);
    this.#take(untilTheEnd);
  }

  /**
   * Works on a job until it is done or the slice is over.
   *
   * @returns whether it is done: all of it is committed and, unless it is urgent, known to the index
   */
  #work(job: Job, pace: Pace, isUrgent: boolean): boolean {
    for (;;) {
      if (!isUrgent && !this.#take(pace)) return false;
      if (job.body === undefined) {
        if (!job.isRead) {
          this.#openBody(job, isUrgent);
          continue;
        }
        this.#commit(job);
        if (isUrgent || !this.isTaking) return true;
        continue;
      }
      const { body, prepared } = job;
      const isBeginning = prepared !== undefined && body.left === 0 && !this.isOpen;
      if (isBeginning && !this.#host.mayBegin()) return false;
      const rows = prepared === undefined ? this.#add(job, body) : this.#step(job, body, prepared);
      if (job.body === undefined) continue;
      const isOver = pace.isOver(rows);
      if (prepared !== undefined) {
        const isWritten = body.left === 0 && job.written === prepared.length;
        if (!isWritten && !isOver) continue;
        if (isWritten) this.#leaveBody(job);
        if (this.#open !== undefined) this.#open.isWhole = isWritten;
        if (isOver) return false;
        this.#commit(job);
        continue;
      }
      const isAtEnd = body.left === 0;
      if (isAtEnd) job.body = undefined;
      // Rows of repair may end anywhere.
      const mayEnd = isAtEnd || body.stamp === undefined;
      const open = this.#open;
      const isWhole = mayEnd && (isOver || open?.hasWaited === true);
      const isNearlyDone = body.stamp !== undefined && body.left <= nearlyDoneRows;
      if (!isWhole && (!isOver || isNearlyDone)) continue;
      if (open !== undefined) {
        open.isWhole = isWhole;
        open.hasWaited = true;
      }
      return false;
    }
  }

  #openBody(job: Job, isUrgent: boolean): void {
    const { request } = job;
    const body = job.nextBody++;
    const bytes = request.bodies[body] as Uint8Array;
    const limitMs = this.#host.limitMs();
    if (request.what === "rows") {
      const aheadText = (ms: number) => this.#host.aheadText(ms);
      const opened = openRows(body, bytes, limitMs, aheadText, this.#turn);
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
    // Of one without rows it shows when it is read that it is malformed.
    if (isUrgent || bytes.length < this.#preparedBytesMin || opened.left === 0) return;
    this.#commit(job);
    job.prepared = this.#host.prepare();
  }

  /** The next rows of a body. @returns how many */
  #add(job: Job, body: OpenBody): number {
    const rows = this.#read(job, body, pieceRows);
    if (rows.length === 0) return 0;
    try {
      this.#addTo(this.#begin(body), { body, rows });
    } catch (error) {
      this.#failed(job, error, body);
    }
    return rows.length;
  }

  /** Throws what the store throws. */
  #addTo(open: OpenTransaction, part: Part): void {
    const { rows } = part;
    open.parts.push(part);
    open.transaction.add(rows);
    open.rows += rows.length;
    open.latest = latestOf(rows, open.latest);
  }

  /** The next rows of a large changeset: first they are prepared and then, when all are, written. @returns how many */
  #step(job: Job, body: OpenBody, prepared: MergePreparation): number {
    if (body.left === 0) {
      return this.#write(job, prepared, Math.min(job.written + pieceRows, prepared.length));
    }
    const rows = this.#read(job, body, preparedPieceRows);
    if (rows.length === 0) return 0;
    try {
      prepared.add(rows);
      job.latest = latestOf(rows, job.latest);
      if (body.left === 0) prepared.finish();
    } catch (error) {
      this.#failed(job, error, body);
    }
    return rows.length;
  }

  /** Writes prepared rows up to `to`. @returns how many */
  #write(job: Job, prepared: MergePreparation, to: number): number {
    const body = job.body as OpenBody;
    const from = job.written;
    try {
      const open = this.#begin(body);
      open.transaction.addPrepared(prepared, from, to);
      open.rows += to - from;
      open.latest = job.latest;
      job.written = to;
    } catch (error) {
      this.#failed(job, error, body);
    }
    return to - from;
  }

  /** Rows of a body that is refused when it shows that it must be. */
  #read(job: Job, body: OpenBody, count: number): readonly RowState[] {
    const rows = body.read(count);
    if (!("kind" in rows)) return rows;
    // Only of large ones, which are alone in their transaction.
    this.#end();
    job.refused.push({ ...rows, body: body.body });
    this.#leaveBody(job);
    return [];
  }

  /** The transaction for rows of a body. Throws what the store throws. */
  #begin(body: OpenBody): OpenTransaction {
    this.#open ??= {
      transaction: this.#host.begin(),
      parts: [],
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
    return open;
  }

  #leaveBody(job: Job): void {
    job.body = undefined;
    job.prepared?.end();
    job.prepared = undefined;
    job.latest = hlcZero;
    job.written = 0;
  }

  #commit(job: Job | undefined): void {
    const open = this.#open;
    if (open === undefined || job === undefined) return;
    let merged: readonly MergedRow[];
    try {
      merged = open.transaction.commit();
    } catch (error) {
      this.#failed(job, error);
      return;
    }
    this.#committed(job, open, merged);
  }

  #committed(job: Job, open: OpenTransaction, merged: readonly MergedRow[]): void {
    const { rows, latest, stamps } = open;
    const { request, oldestMs } = job;
    this.#open = undefined;
    job.lostRows = 0;
    job.rows += rows;
    for (const row of merged) if (row.changed) job.changed++;
    this.#host.committed({ request, merged, latest, stamps });
    const isNext = !this.isTaking;
    job.untaken++;
    this.#takings.push({ merged, lane: request.lane, oldestMs, job, next: 0 });
    if (isNext && merged.length <= takenAtOnceMax) this.#take(untilTheEnd);
  }

  /** @returns whether the index knows all that was committed */
  #take(pace: Pace): boolean {
    for (let taking = this.#takings[0]; taking !== undefined; taking = this.#takings[0]) {
      const { merged, lane, job } = taking;
      const to = Math.min(taking.next + pieceRows, merged.length);
      this.#host.take(merged, taking.next, to, lane);
      const isOver = pace.isOver(to - taking.next);
      taking.next = to;
      if (to === merged.length) {
        this.#takings.shift();
        if (job !== undefined) job.untaken--;
      }
      if (isOver) break;
    }
    return !this.isTaking;
  }

  /** The transaction is over; what of it can be written is, after all. @param atHand The body that is being read. */
  #failed(job: Job, error: unknown, atHand?: OpenBody): void {
    const open = this.#open;
    this.#end();
    const parts = open === undefined ? [] : partsOf(open.parts, atHand);
    const failed: Failed = { error, bodies: new Set(), parts: 1 };
    if (parts.length > 1) {
      failed.parts = 0;
      this.#tryHalves(job, parts, failed);
    } else {
      for (const body of open?.bodies ?? []) failed.bodies.add(body);
      if (atHand !== undefined) failed.bodies.add(atHand.body);
    }
    // Repair's rows after these may be as good as any.
    const isGivenUp = failed.parts >= failedPartsMax;
    const isLeft = parts.length === 0 || isGivenUp;
    if (isGivenUp) this.#turn++;
    if (atHand !== undefined && (isLeft || atHand.stamp !== undefined)) this.#leaveBody(job);
    if (failed.bodies.size === 0) return;
    const why = this.#host.failed(failed.error);
    for (const body of failed.bodies) job.refused.push({ body, why, kind: "store" });
  }

  #tryHalves(job: Job, parts: readonly Part[], failed: Failed): void {
    const half = parts.length >> 1;
    this.#tryAgain(job, parts.slice(0, half), failed);
    this.#tryAgain(job, parts.slice(half), failed);
  }

  /** Applies parts of a transaction that failed, but for those that can't be written. */
  #tryAgain(job: Job, parts: readonly Part[], failed: Failed): void {
    let open: OpenTransaction | undefined;
    let merged: readonly MergedRow[];
    try {
      if (failed.parts >= failedPartsMax) throw failed.error;
      for (const part of parts) {
        open = this.#begin(part.body);
        this.#addTo(open, part);
      }
      merged = (open as OpenTransaction).transaction.commit();
    } catch (error) {
      this.#end();
      failed.error = error;
      if (parts.length > 1 && failed.parts < failedPartsMax) {
        this.#tryHalves(job, parts, failed);
        return;
      }
      failed.parts++;
      for (const { body } of parts) failed.bodies.add(body.body);
      return;
    }
    this.#committed(job, open as OpenTransaction, merged);
  }

  /** Nothing is open, and nothing of what was is written. */
  #end(): void {
    this.#open?.transaction.rollback();
    this.#open = undefined;
  }

  /** What was prepared stays so. */
  #rollback(job: Job): void {
    const open = this.#open as OpenTransaction;
    this.#end();
    if (job.prepared !== undefined) {
      job.written = 0;
      return;
    }
    const first = open.bodies[0] ?? job.body?.body ?? job.nextBody;
    job.nextBody = first;
    job.body = undefined;
    job.refused = job.refused.filter(({ body }) => body < first);
  }

  /** Answers jobs that are done. */
  #answer(replies: StoreReply[]): void {
    const isDone = (job: Job): boolean => job.isRead && !this.isOpen && job.untaken === 0;
    for (let job = this.#jobs[0]; job !== undefined && isDone(job); job = this.#jobs[0]) {
      this.#jobs.shift();
      this.#finish(job, replies);
    }
    if (this.#urgent.length === 0) return;
    for (const job of this.#urgent) if (job.untaken === 0) this.#finish(job, replies);
    this.#urgent = this.#urgent.filter(({ untaken }) => untaken > 0);
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

function isNearlyWritten(rows: number, written: number): boolean {
  return rows - written <= Math.min(nearlyWrittenRows, nearlyWrittenShare * rows);
}

/** A transaction's changesets, and each row of repair in it. @param atHand The body that is being read. */
function partsOf(pieces: readonly Part[], atHand: OpenBody | undefined): readonly Part[] {
  const rowsByBody = new Map<OpenBody, RowState[]>();
  const parts: Part[] = [];
  for (const { body, rows } of pieces) {
    if (body.stamp === undefined) {
      for (const row of rows) parts.push({ body, rows: [row] });
      continue;
    }
    const known = rowsByBody.get(body);
    if (known !== undefined) known.push(...rows);
    else rowsByBody.set(body, [...rows]);
  }
  for (const [body, rows] of rowsByBody) {
    // One that isn't whole is small, or alone.
    const left = body === atHand && rowsByBody.size > 1 ? body.read(body.left) : [];
    parts.push({ body, rows: "kind" in left ? rows : [...rows, ...left] });
  }
  return parts;
}

function oldestStampMs(bodies: readonly Uint8Array[]): number {
  let oldest = Number.POSITIVE_INFINITY;
  for (const body of bodies) {
    oldest = Math.min(oldest, decodeChangesetHeader(body)?.stamp.ms ?? Number.POSITIVE_INFINITY);
  }
  return oldest;
}

function latestOf(rows: readonly RowState[], before: Hlc): Hlc {
  let latest = before;
  for (const row of rows) latest = laterHlc(latest, stampOfRow(row));
  return latest;
}
