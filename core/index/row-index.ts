/**
 * Everything a node keeps in memory to know whether it agrees with others: the fingerprint tree of its live
 * rows, the settled image, and the rows changed lately. None of it is written anywhere: it is rebuilt by
 * a scan at start, while writes and merges go on.
 *
 * During a rebuild a row is *counted* once the scan has met it or a change has touched it. A change of a row
 * not counted yet counts it at once, and the scan skips it when it gets there. What was changed lately
 * is recalled before (`store/recent-pass.ts`): rows can be named long before all are counted.
 *
 * @module
 */

import { bytesToHex } from "../bytes/hex.ts";
import type { Stamp } from "../clock/stamp.ts";
import {
  type ClockState,
  type Digest,
  type Digester,
  type RowId,
  rangeOfRow,
} from "../row/digest.ts";
import { stampOfRow } from "../row/row-state.ts";
import type { RowColumns } from "../store/row-hasher.ts";
import type { MergedRow, RowRef, ScannedRow } from "../store/row-store.ts";
import { FingerprintTree } from "./fingerprint-tree.ts";
import { RecentRows, type RecentRowsOptions, recentRowsDefaults } from "./recent-rows.ts";
import { SettledImage } from "./settled-image.ts";

const rowIdByteCount = 16;

export class RowIndex {
  readonly live: FingerprintTree = new FingerprintTree();
  readonly image: SettledImage;
  readonly recent: RecentRows;
  readonly #digester: Digester;
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
  recall({ id, table, key, clocks }: ScannedRow, nowMs: number): void {
    const stamp = stampOfRow(clocks);
    const digest = this.#digester.rowDigest(id, clocks);
    const row = { id, ref: { table, key }, stamp, digest, urgent: false };
    this.recent.recall(row, Math.min(stamp.ms, nowMs));
  }

  /** A row that the rebuilding scan met. */
  scanned(row: ScannedRow): void {
    if (!this.#countedByChange?.has(row.id)) this.#count(row.id, row.clocks);
  }

  /** Rows that it met all of whose clocks lie before the oldest cut. */
  scannedSettled(rows: RowColumns): void {
    const { ids, digests, count } = rows;
    const counted = this.#countedByChange;
    const hasChanges = counted !== undefined && counted.size > 0;
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    for (let row = 0; row < count; row++) {
      const at = row * rowIdByteCount;
      if (hasChanges && counted.has(bytesToHex(ids, at, at + rowIdByteCount) as RowId)) continue;
      const range = ((ids[at] as number) << 8) | (ids[at + 1] as number);
      digest.a = digests[row * 4] as number;
      digest.b = digests[row * 4 + 1] as number;
      digest.c = digests[row * 4 + 2] as number;
      digest.d = digests[row * 4 + 3] as number;
      this.live.add(range, digest);
      this.image.addSettled(range, digest);
    }
  }

  /** The scan is through. */
  finishRebuild(): void {
    this.#countedByChange = undefined;
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
      if (row.before !== undefined && !isScanned) this.#count(row.id, row.before);
    }
    const { before } = row;
    const range = rangeOfRow(row.id);
    const beforeDigest =
      before && (this.recent.digestOf(row.id) ?? this.#digester.rowDigest(row.id, before));
    let afterDigest = beforeDigest;
    if (row.changed || afterDigest === undefined) {
      afterDigest = this.#digester.rowDigest(row.id, row.after);
      this.live.replace(range, beforeDigest, afterDigest);
      this.#touch(row, stampOfRow(row.after), afterDigest, urgent, nowMs);
    }
    this.image.take(row.id, range, before, row.incoming, row.after, beforeDigest, afterDigest);
  }

  #count(id: RowId, clocks: ClockState): void {
    const digest = this.#digester.rowDigest(id, clocks);
    const range = rangeOfRow(id);
    this.live.add(range, digest);
    this.image.take(id, range, undefined, clocks, clocks, undefined, digest);
  }

  #touch(
    row: RowRef & { readonly id: RowId },
    stamp: Stamp,
    digest: Digest,
    urgent: boolean,
    nowMs: number,
  ): void {
    const { id, table, key } = row;
    this.recent.touch({ id, ref: { table, key }, stamp, digest, urgent }, nowMs);
  }
}
