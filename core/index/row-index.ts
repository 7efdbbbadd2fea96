/**
 * Everything a node keeps in memory to know whether it agrees with others: the fingerprint tree of its live
 * rows, the settled image, and the rows changed lately. None of it is written anywhere: it is rebuilt by
 * a scan at start, while writes and merges go on.
 *
 * During a rebuild a row is *counted* once the scan has met it or a change has touched it. A change of a row
 * not counted yet counts it at once, and the scan skips it when it gets there. What was changed lately
 * is recalled before (`replica/recent-pass.ts`): rows can be named long before all are counted.
 *
 * @module
 */

import {
  type ClockState,
  type Digester,
  type IdWords,
  idToWords,
  type MutableDigest,
  type RowId,
  rangeOfWords,
} from "../row/digest.ts";
import type { RowColumns } from "../row/row-columns.ts";
import { stampOfRow } from "../row/row-state.ts";
import type { MergedRow, ScannedRow } from "../row-store.ts";
import { slotMs, slotOfMs } from "./clock-part.ts";
import { FingerprintTree } from "./fingerprint-tree.ts";
import { RecentRows, type RecentRowsOptions, recentRowsDefaults } from "./recent-rows.ts";
import { SettledImage } from "./settled-image.ts";

/** Looked at together before they are worked one by one. */
const rowsAhead = 32;

export class RowIndex {
  readonly live: FingerprintTree = new FingerprintTree();
  readonly image: SettledImage;
  readonly recent: RecentRows;
  /** Of no meaning: it keeps {@link #lookAhead} from being left out. */
  looked = 0;
  readonly #digester: Digester;
  // Of the row at hand.
  readonly #beforeDigest: MutableDigest = { a: 0, b: 0, c: 0, d: 0 };
  readonly #afterDigest: MutableDigest = { a: 0, b: 0, c: 0, d: 0 };
  /** Rows that a change has counted; undefined once the index is built. */
  #countedByChange: Set<RowId> | undefined = new Set();

  constructor(
    digester: Digester,
    cut: number,
    recentOptions: RecentRowsOptions = recentRowsDefaults,
  ) {
    this.#digester = digester;
    this.image = new SettledImage(digester, cut);
    this.recent = new RecentRows(recentOptions);
  }

  /** False until {@link finishRebuild}. */
  get isBuilt(): boolean {
    return this.#countedByChange === undefined;
  }

  /**
   * A row that was changed lately, and before this index was made: told before it is scanned, the newest
   * first.
   */
  recall(row: ScannedRow, nowMs: number): void {
    const words = idToWords(row.id);
    const stamp = stampOfRow(row.clocks);
    const digest = this.#digester.digestOf(words, row.clocks);
    this.recent.recall(words, row, stamp, digest, Math.min(stamp.ms, nowMs));
  }

  /** A row that the rebuilding scan met. */
  scanned(row: ScannedRow): void {
    if (!this.#countedByChange?.has(row.id)) this.#count(idToWords(row.id), row.clocks);
  }

  /**
   * Whether a row that the scan meets needn't bring its clocks: they lie before the oldest cut, or in one
   * slot. Ms of the first and the last of them.
   */
  readonly isDigestEnough = (firstMs: number, lastMs: number): boolean =>
    lastMs < this.image.oldestCut * slotMs || slotOfMs(firstMs) === slotOfMs(lastMs);

  /** Such rows. */
  scannedDigests(rows: RowColumns): void {
    const counted = this.#countedByChange;
    const hasChanges = counted !== undefined && counted.size > 0;
    const { oldestCut } = this.image;
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    for (let row = 0; row < rows.count; row++) {
      if (hasChanges && counted.has(rows.idAt(row))) continue;
      rows.readDigest(row, digest);
      const range = rows.rangeAt(row);
      this.live.add(range, digest);
      const slot = slotOfMs(rows.stampMs[row] as number);
      if (slot <= oldestCut) this.image.addSettled(range, digest);
      else this.image.addOneSlot(rows.wordsAt(row), slot, digest);
    }
  }

  /** The scan is through. */
  finishRebuild(): void {
    this.#countedByChange = undefined;
  }

  /**
   * {@link merged} for rows `from` to `to` of a transaction.
   *
   * @param isScanned Of each row, as of {@link merged}.
   */
  mergedAll(
    rows: readonly MergedRow[],
    from: number,
    to: number,
    urgent: boolean,
    isScanned: (row: MergedRow) => boolean,
    nowMs: number,
  ): void {
    for (let at = from; at < to; at++) {
      if ((at - from) % rowsAhead === 0) this.looked = this.#lookAhead(rows, at, to);
      const row = rows[at] as MergedRow;
      this.merged(row, urgent, isScanned(row), nowMs);
    }
  }

  /**
   * Reads a little of all that the next rows will need. What is kept of a row lies anywhere in some megabytes, and one
   * row's work waits for one line of memory after the other; here nothing depends on what is read, so the processor
   * fetches many at a time.
   */
  #lookAhead(rows: readonly MergedRow[], from: number, to: number): number {
    let sum = this.recent.lookAheadOldest(rowsAhead);
    for (let at = from; at < from + rowsAhead && at < to; at++) {
      const row = rows[at] as MergedRow;
      if (!row.changed) continue;
      const { words } = row;
      const range = rangeOfWords(words);
      sum += this.live.lookAhead(range) + this.recent.lookAhead(words);
      sum += this.image.lookAhead(words);
    }
    return sum;
  }

  /**
   * A row changed, or was sent clocks that changed nothing.
   *
   * @param urgent It came in the urgent lane.
   * @param isScanned While rebuilding: the scan had passed the row's place before the change.
   */
  merged(row: MergedRow, urgent: boolean, isScanned: boolean, nowMs: number): void {
    const counted = this.#countedByChange;
    if (counted !== undefined && !counted.has(row.id)) {
      counted.add(row.id);
      if (row.before !== undefined && !isScanned) this.#count(row.words, row.before);
    }
    const { before } = row;
    const quick = row.quickNews;
    if (!row.changed && before !== undefined && quick !== undefined) {
      // Nothing that a tree or a cut could show: what was sent is known, or lost to what is settled.
      if (quick.msMax < 0) return;
      const isSettled = quick.msMax < this.image.oldestCut * slotMs;
      if (isSettled && (!this.image.mayKeepRows || !this.image.knows(row.words))) return;
    }
    const { words } = row;
    let beforeDigest: MutableDigest | undefined;
    if (before !== undefined) {
      beforeDigest = this.#beforeDigest;
      // Of more rows than are recent, most were touched within seconds.
      const isKept =
        this.recent.readDigest(words, beforeDigest) ||
        this.image.readLiveDigest(words, beforeDigest);
      if (!isKept) {
        this.#digester.readDigest(words, before, beforeDigest);
      }
    }
    let afterDigest = beforeDigest;
    if (row.changed || afterDigest === undefined) {
      afterDigest = this.#afterDigest;
      this.#digester.readDigest(words, row.after, afterDigest);
      this.live.replace(rangeOfWords(words), beforeDigest, afterDigest);
      const stamp = row.after.largestStamp?.() ?? stampOfRow(row.after);
      this.recent.touch(words, row, stamp, afterDigest, urgent, nowMs);
    }
    this.image.take(row, beforeDigest, afterDigest);
  }

  #count(words: IdWords, clocks: ClockState): void {
    const digest = this.#digester.digestOf(words, clocks);
    this.live.add(rangeOfWords(words), digest);
    const taken = { before: undefined, incoming: clocks, after: clocks, conflict: false };
    this.image.take({ words, ...taken, quickNews: undefined }, undefined, digest);
  }
}
