/**
 * One scan of a row store for all who need one.
 *
 * A scan goes in slices with pauses between, so that merges and local writes go on. It is of no moment:
 * a row is met as it is when the scan gets there. Questions put while one runs wait for the next.
 *
 * @module
 */

import type { RangeFilter, RowStore, ScannedRow, ScanPosition } from "../row-store.ts";
import { dueAfterPause } from "./pace.ts";

export interface ScanOptions {
  /** Rows of one slice. */
  readonly scanRowsPerTick: number;
  /** Between slices: with 500 rows in 1 ms, a pause of 9 leaves nine tenths of the store's time to others. */
  readonly scanPauseMs: number;
  /** Questions that may wait or be in a scan. */
  readonly scanQuestionsMax: number;
}

/** What one question does with the rows of a scan. */
export interface ScanQuestion {
  /** Whether it wants rows of this range: of others only the keys are read. */
  wantsRange(range: number): boolean;
  wants(row: ScannedRow): boolean;
  /** Takes a row it wants, as the scan meets it. */
  meet(row: ScannedRow): void;
  /** Every row has been met. */
  finish(): void;
  /** The store can't be read. */
  fail(): void;
}

/** A store's `scan`; undefined when the store can't be read. */
export type ReadSlice = (
  position: ScanPosition | undefined,
  rowsMax: number,
  isWanted?: RangeFilter,
) => ReturnType<RowStore["scan"]> | undefined;

export class RowScan {
  readonly #read: ReadSlice;
  readonly #options: ScanOptions;
  #at: ScanPosition | undefined;
  /** Of the running scan; empty while none runs. */
  #running: ScanQuestion[] = [];
  #isUnderWay = false;
  #next: ScanQuestion[] = [];
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(read: ReadSlice, options: ScanOptions) {
    this.#read = read;
    this.#options = options;
  }

  /** Wall clock at which the next slice is wanted. */
  dueMs(nowMs: number): number {
    return dueAfterPause(this.#dueMs, this.#options.scanPauseMs, nowMs);
  }

  get questions(): number {
    return this.#running.length + this.#next.length;
  }

  /** False when too many questions wait: the caller answers `busy`. */
  ask(question: ScanQuestion, nowMs: number): boolean {
    if (this.questions >= this.#options.scanQuestionsMax) return false;
    if (this.#isUnderWay) this.#next.push(question);
    else {
      this.#running.push(question);
      this.#dueMs = Math.min(this.#dueMs, nowMs);
    }
    return true;
  }

  /** One slice, if one is due. */
  tick(nowMs: number): void {
    if (nowMs < this.dueMs(nowMs)) return;
    this.#isUnderWay = true;
    const slice = this.#read(this.#at, this.#options.scanRowsPerTick, this.#isWanted);
    if (slice === undefined) {
      this.fail(nowMs);
      return;
    }
    for (const row of slice.rows) {
      for (const question of this.#running) if (question.wants(row)) question.meet(row);
    }
    this.#at = slice.next;
    this.#dueMs = nowMs + this.#options.scanPauseMs;
    if (slice.next !== undefined) return;
    const finished = this.#running;
    this.#end(nowMs);
    for (const question of finished) question.finish();
  }

  readonly #isWanted: RangeFilter = (range) =>
    this.#running.some((question) => question.wantsRange(range));

  /** Ends every question without an answer. */
  fail(nowMs: number): void {
    const failed = this.#running.concat(this.#next);
    this.#next = [];
    this.#end(nowMs);
    for (const question of failed) question.fail();
  }

  #end(nowMs: number): void {
    this.#at = undefined;
    this.#isUnderWay = false;
    this.#running = this.#next;
    this.#next = [];
    this.#dueMs =
      this.#running.length > 0 ? nowMs + this.#options.scanPauseMs : Number.POSITIVE_INFINITY;
  }
}
