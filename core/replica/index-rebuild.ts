/**
 * How the index comes to be after a start, in slices: what is recent first (`recent-pass.ts`), then all rows.
 *
 * A slice of the scan ends by the clock, as one of a merge does: the two take turns, and by a number of rows it was many times
 * as long on a slow host whose code isn't compiled yet, so that what peers had sent waited for seconds.
 *
 * Between the two, and after each question about what is recent, it waits a little: the peers ask for that as soon as
 * it is known, and on a small host the index would share a processor with their answers and the compiler. Not with few
 * rows: a node that was away for long lacks most, and can't ask for them before.
 *
 * @module
 */

import type { RowIndex } from "../index/row-index.ts";
import { stampOfRow } from "../row/row-state.ts";
import type { MergedRow, RowStore, ScanPosition } from "../row-store.ts";
import { dueAfterPause, type Pace } from "./pace.ts";
import { RecentPass, type RecentPassOptions, recentPassDefaults } from "./recent-pass.ts";

export interface IndexRebuildOptions extends RecentPassOptions {
  /** Rows of one slice of the rebuild at most, some 2 µs each. A slice delays an urgent frame that comes meanwhile. */
  readonly rebuildRowsPerTick: number;
}

export const indexRebuildDefaults: IndexRebuildOptions = {
  ...recentPassDefaults,
  rebuildRowsPerTick: 2000,
};

export interface IndexRebuildParts {
  readonly store: RowStore;
  /** Empty. */
  readonly index: RowIndex;
  readonly options: IndexRebuildOptions;
  /** How long a slice of the rebuild is. */
  readonly pace: Pace;
  /** Rows stamped since then, ms, are recent. */
  readonly sinceMs: number;
  /** Does something with the store; undefined when it failed. */
  readonly trying: <T>(work: () => T) => T | undefined;
  /** Told of the stamp of each row. */
  readonly onStamp: (ms: number, count: number, nowMs: number) => void;
}

/** Once what is recent is known, and after each question about it, the index isn't worked on for so long, */
const recentFirstMs = 100;
/** and no longer than this in all. */
const recentFirstMsMax = 1000;
/** Rows between two looks at the pace. */
const pieceRows = 250;
/** A slice that the store failed is tried again after this. */
const readRetryMs = 1000;

export class IndexRebuild {
  readonly #parts: IndexRebuildParts;
  readonly #pass: RecentPass;
  #at: ScanPosition | undefined;
  #dueMs = Number.NEGATIVE_INFINITY;
  /** Until when questions about what is recent put the rebuild off. */
  #recentFirstUntilMs = Number.NEGATIVE_INFINITY;

  constructor(parts: IndexRebuildParts) {
    this.#parts = parts;
    this.#pass = new RecentPass(parts.store, parts.index, parts.sinceMs, parts.options);
  }

  /** Wall clock at which the next slice is wanted. */
  dueMs(nowMs: number): number {
    return dueAfterPause(this.#dueMs, readRetryMs, nowMs);
  }

  /** The newest rows are known: they can be named. */
  get isRecentKnown(): boolean {
    return this.#pass.isKnown;
  }

  /** The scan had passed the row's place before it changed. */
  readonly isScanned = (row: MergedRow): boolean => {
    const position = this.#at;
    return (
      position !== undefined &&
      row.before !== undefined &&
      this.#parts.store.isPassed(position, row)
    );
  };

  /** Leaves the next moments to who asks for what is recent. */
  putOff(nowMs: number): void {
    if (this.#pass.isOfFew) return;
    const untilMs = Math.min(nowMs + recentFirstMs, this.#recentFirstUntilMs);
    this.#dueMs = Math.max(this.#dueMs, untilMs);
  }

  /**
   * One slice, if it is due and the index isn't built.
   *
   * @returns whether there is something to tell: what is recent is known, or the index is built.
   */
  slice(nowMs: number): boolean {
    const { trying, index } = this.#parts;
    const pass = this.#pass;
    if (nowMs < this.dueMs(nowMs) || index.isBuilt) return false;
    if (pass.isDone) return this.#scanSlice(nowMs);
    const wasKnown = pass.isKnown;
    const isRead = trying(() => {
      pass.tick(nowMs);
      return true;
    });
    if (isRead === undefined) this.#dueMs = nowMs + readRetryMs;
    else if (pass.isDone && this.#scanSlice(nowMs)) return true;
    if (!pass.isKnown || wasKnown) return false;
    this.#recentFirstUntilMs = nowMs + recentFirstMsMax;
    this.putOff(nowMs);
    return true;
  }

  /** @returns whether it was the last */
  #scanSlice(nowMs: number): boolean {
    const { options, pace } = this.#parts;
    const rowsMax = options.rebuildRowsPerTick;
    pace.begin();
    for (let rows = 0; rows < rowsMax; ) {
      const count = Math.min(pieceRows, rowsMax - rows);
      const step = this.#scanPiece(count, nowMs);
      if (step !== "more") return step === "last";
      rows += count;
      if (pace.isOver(count)) break;
    }
    return false;
  }

  #scanPiece(rowsMax: number, nowMs: number): "more" | "last" | "failed" {
    const { store, index, trying, onStamp } = this.#parts;
    const piece = trying(() => store.scanDigests(this.#at, rowsMax, index.isDigestEnough));
    if (piece === undefined) {
      this.#dueMs = nowMs + readRetryMs;
      return "failed";
    }
    const { columns, rows, next } = piece;
    index.scannedDigests(columns);
    for (let i = 0; i < columns.count; i++) {
      onStamp(columns.stampMs[i] as number, columns.stampCount[i] as number, nowMs);
    }
    for (const row of rows) {
      index.scanned(row);
      const { ms, count } = stampOfRow(row.clocks);
      onStamp(ms, count, nowMs);
    }
    this.#at = next;
    if (next !== undefined) return "more";
    index.finishRebuild();
    index.image.takeChanged();
    return "last";
  }
}
