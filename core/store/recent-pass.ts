/**
 * The first thing that a start looks for: the rows stamped in the last minutes.
 *
 * A node that was killed may have died with news that nobody else heard, and others have news for it. Both
 * sides name their recent rows as soon as they meet, and that mustn't wait for the index, which needs
 * a digest of every row. So a quick scan first reads only when each row was stamped (`newest-stamp.ts`), and
 * then the rows that it found, the newest first. Rows that change meanwhile are told by their merge.
 *
 * Source: DESIGN §2 and §5.
 *
 * @module
 */

import type { RowIndex } from "../index/row-index.ts";
import type { NewerRow, RowStore, ScanPosition } from "./row-store.ts";

export interface RecentPassOptions {
  /** Rows of one slice of the quick scan, some 0.2 µs each. */
  readonly passRowsPerTick: number;
  /** Rows of one slice that are read, some 5 µs each. */
  readonly recallRowsPerTick: number;
}

export const recentPassDefaults: RecentPassOptions = {
  passRowsPerTick: 20_000,
  recallRowsPerTick: 1000,
};

/** So many of the newest rows are enough to begin with: an exchange names no more. */
const knownMin = 4096;

export class RecentPass {
  readonly #store: RowStore;
  readonly #index: RowIndex;
  readonly #options: RecentPassOptions;
  readonly #rowsMax: number;
  #sinceMs: number;
  #position: ScanPosition | undefined;
  /** Until all are found in no order, then the newest first. */
  #found: NewerRow[] = [];
  #isFound = false;
  /** Of `#found`: those that are read. */
  #recalled = 0;

  /**
   * @param sinceMs Rows stamped earlier aren't looked for.
   * @param rowsMax Of more only the newest are kept.
   */
  constructor(
    store: RowStore,
    index: RowIndex,
    sinceMs: number,
    rowsMax: number,
    options: RecentPassOptions,
  ) {
    this.#store = store;
    this.#index = index;
    this.#sinceMs = sinceMs;
    this.#rowsMax = rowsMax;
    this.#options = options;
  }

  /** The newest rows are known: they can be named. */
  get isKnown(): boolean {
    return this.#isFound && (this.isDone || this.#recalled >= knownMin);
  }

  get isDone(): boolean {
    return this.#isFound && this.#recalled === this.#found.length;
  }

  /** One slice. Throws as the store does; the next call tries again. */
  tick(nowMs: number): void {
    if (!this.#isFound) this.#find();
    if (this.#isFound) this.#recall(nowMs);
  }

  #find(): void {
    const { passRowsPerTick } = this.#options;
    const { rows, next } = this.#store.scanNewer(this.#position, passRowsPerTick, this.#sinceMs);
    for (const row of rows) this.#found.push(row);
    this.#position = next;
    this.#isFound = next === undefined;
    if (!this.#isFound && this.#found.length < 2 * this.#rowsMax) return;
    this.#found.sort((a, b) => b.ms - a.ms);
    if (this.#found.length <= this.#rowsMax) return;
    this.#found.length = this.#rowsMax;
    // What is older than the oldest of so many needn't be found.
    this.#sinceMs = this.#found.at(-1)?.ms ?? this.#sinceMs;
  }

  #recall(nowMs: number): void {
    const until = Math.min(this.#found.length, this.#recalled + this.#options.recallRowsPerTick);
    const slice = this.#found.slice(this.#recalled, until);
    for (const row of this.#store.rowsAt(slice.map(({ place }) => place))) {
      if (row !== undefined) this.#index.recall(row, nowMs);
    }
    this.#recalled = until;
  }
}
