/**
 * The first thing that a start looks for: the rows stamped in the last minutes.
 *
 * A node that was killed may have died with news that nobody else heard, and others have news for it. Both
 * sides name their recent rows as soon as they meet, and that mustn't wait for the index, which needs
 * a digest of every row. So a quick scan first reads only when each row was stamped (`newest-stamp.ts`), and
 * then the rows that it found, the newest first. Rows that change meanwhile are told by their merge.
 *
 * @module
 */

import type { RowIndex } from "../index/row-index.ts";
import type { RowStore, ScanPosition } from "../row-store.ts";

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
/** The index of rows that were looked through in so many slices takes a tenth of a second. */
const fewSlicesMax = 2;
/** Of more the newest are recalled: those before explain no difference that a restart makes. */
const recalledMax = 8192;

export class RecentPass {
  readonly #store: RowStore;
  readonly #index: RowIndex;
  readonly #options: RecentPassOptions;
  #sinceMs: number;
  #position: ScanPosition | undefined;
  /** Of the quick scan. */
  #slices = 0;
  // What was found, in columns: in no order until all is.
  #count = 0;
  readonly #ms = new Float64Array(2 * recalledMax);
  readonly #parts = new Uint16Array(2 * recalledMax);
  readonly #afters: ScanPosition["after"][] = [];
  /** Indexes in the columns, the newest first, once all are found. */
  #order: readonly number[] | undefined;
  /** Of them: those that are read. */
  #recalled = 0;

  /** @param sinceMs Rows stamped earlier aren't looked for. */
  constructor(store: RowStore, index: RowIndex, sinceMs: number, options: RecentPassOptions) {
    this.#store = store;
    this.#index = index;
    this.#sinceMs = sinceMs;
    this.#options = options;
  }

  /** The newest rows are known: they can be named. */
  get isKnown(): boolean {
    return this.isDone || this.#recalled >= knownMin;
  }

  /** The store has few rows. */
  get isOfFew(): boolean {
    return this.#slices <= fewSlicesMax;
  }

  get isDone(): boolean {
    return this.#order !== undefined && this.#recalled === this.#order.length;
  }

  /** One slice. Throws as the store does; the next call tries again. */
  tick(nowMs: number): void {
    this.#order ??= this.#find();
    if (this.#order !== undefined) this.#recall(this.#order, nowMs);
  }

  #find(): readonly number[] | undefined {
    this.#position = this.#store.scanNewer(
      this.#position,
      this.#options.passRowsPerTick,
      this.#sinceMs,
      (part, after, ms) => this.#note(part, after, ms),
    );
    this.#slices++;
    if (this.#position !== undefined) return undefined;
    const order = Array.from({ length: this.#count }, (_, i) => i);
    return order
      .sort((a, b) => (this.#ms[b] as number) - (this.#ms[a] as number))
      .slice(0, recalledMax);
  }

  #note(part: number, after: ScanPosition["after"], ms: number): void {
    if (ms < this.#sinceMs) return;
    if (this.#count === this.#ms.length) this.#dropOldest();
    this.#ms[this.#count] = ms;
    this.#parts[this.#count] = part;
    this.#afters[this.#count] = after;
    this.#count++;
  }

  /** Keeps the newer half, and looks for nothing older from here on. */
  #dropOldest(): void {
    const sorted = this.#ms.toSorted();
    const borderMs = sorted.at(-recalledMax) as number;
    // Of those at the border as many as there is room for.
    let room = recalledMax - (sorted.length - (sorted.lastIndexOf(borderMs) + 1));
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      const ms = this.#ms[i] as number;
      if (ms < borderMs || (ms === borderMs && room-- <= 0)) continue;
      this.#ms[kept] = ms;
      this.#parts[kept] = this.#parts[i] as number;
      this.#afters[kept] = this.#afters[i] as ScanPosition["after"];
      kept++;
    }
    this.#count = kept;
    this.#sinceMs = borderMs;
  }

  #recall(order: readonly number[], nowMs: number): void {
    const until = Math.min(order.length, this.#recalled + this.#options.recallRowsPerTick);
    const places = order.slice(this.#recalled, until).map((i): ScanPosition => {
      return { part: this.#parts[i] as number, after: this.#afters[i] ?? null };
    });
    for (const row of this.#store.rowsAt(places)) {
      if (row !== undefined) this.#index.recall(row, nowMs);
    }
    this.#recalled = until;
  }
}
