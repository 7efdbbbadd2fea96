/**
 * Rows changed lately: what explains nearly every difference between two nodes without a scan.
 *
 * For each row changed in the last ten minutes: where it is, its stamp and its live digest; by range, and
 * in the order in which they were touched. Bounded: beyond {@link RecentRowsOptions.rowsMax} the ones
 * touched longest ago go first, and a scan has to find them.
 *
 * @module
 */

import type { Entry } from "../change/frame.ts";
import type { Stamp } from "../clock/stamp.ts";
import { type Digest, type RowId, rangeOfRow } from "../row/digest.ts";
import type { RowRef } from "../store/row-store.ts";
import { laneToHex, rangeCount, rangesOfNode } from "./fingerprint-tree.ts";

export interface RecentRowsOptions {
  /** A row is forgotten this long after it was touched. */
  readonly keepMs: number;
  /** Rows kept, at some 300 bytes each. */
  readonly rowsMax: number;
}

export const recentRowsDefaults: RecentRowsOptions = { keepMs: 600_000, rowsMax: 200_000 };

/** A row touched lately, as it is now. */
export interface RecentRow {
  readonly id: RowId;
  readonly ref: RowRef;
  /** The largest stamp in the row. */
  readonly stamp: Stamp;
  /** Of the live state. */
  readonly digest: Digest;
  /** Its last change came in the urgent lane. */
  readonly urgent: boolean;
}

interface Link {
  row: RecentRow;
  touchedMs: number;
  older: Link | undefined;
  newer: Link | undefined;
  /** Neighbours in the row's range, in no order. */
  before: Link | undefined;
  after: Link | undefined;
}

export class RecentRows {
  readonly #options: RecentRowsOptions;
  readonly #links = new Map<RowId, Link>();
  readonly #firstByRange: (Link | undefined)[] = new Array(rangeCount).fill(undefined);
  /** The last one looked up: a change looks a row up and then touches it. */
  #looked: Link | undefined;
  #oldest: Link | undefined;
  #newest: Link | undefined;

  constructor(options: RecentRowsOptions = recentRowsDefaults) {
    this.#options = options;
  }

  get size(): number {
    return this.#links.size;
  }

  get(id: RowId): RecentRow | undefined {
    this.#looked = this.#links.get(id);
    return this.#looked?.row;
  }

  /** Notes that a row changed. @param nowMs Wall clock; a step back only delays forgetting. */
  touch(row: RecentRow, nowMs: number): void {
    let link = this.#looked?.row.id === row.id ? this.#looked : this.#links.get(row.id);
    if (link === undefined) {
      const range = rangeOfRow(row.id);
      const after = this.#firstByRange[range];
      link = {
        row,
        touchedMs: nowMs,
        older: undefined,
        newer: undefined,
        before: undefined,
        after,
      };
      if (after !== undefined) after.before = link;
      this.#firstByRange[range] = link;
      this.#links.set(row.id, link);
    } else {
      this.#unlinkAge(link);
      link.row = row;
      link.touchedMs = nowMs;
    }
    link.older = this.#newest;
    link.newer = undefined;
    if (this.#newest !== undefined) this.#newest.newer = link;
    this.#newest = link;
    this.#oldest ??= link;
    if (this.#links.size > this.#options.rowsMax) this.#forget(this.#oldest);
  }

  /** Forgets rows touched longer ago than is kept. */
  expire(nowMs: number): void {
    while (this.#oldest !== undefined && this.#oldest.touchedMs < nowMs - this.#options.keepMs) {
      this.#forget(this.#oldest);
    }
  }

  /** Calls `visit` for the rows under a node of the fingerprint tree, in no order. */
  forEachUnder(level: number, node: number, visit: (row: RecentRow) => void): void {
    const { lower, upper } = rangesOfNode(level, node);
    for (let range = lower; range < upper; range++) {
      for (let link = this.#firstByRange[range]; link !== undefined; link = link.after) {
        visit(link.row);
      }
    }
  }

  /**
   * Rows stamped at `sinceMs` or later: urgent ones first, then those touched last.
   *
   * @param aheadMsMax How far a stamp may have been ahead when it was applied: what was touched earlier than
   * that isn't looked at.
   */
  since(sinceMs: number, aheadMsMax: number): RecentRow[] {
    const urgent: RecentRow[] = [];
    const others: RecentRow[] = [];
    for (
      let link = this.#newest;
      link !== undefined && link.touchedMs >= sinceMs - aheadMsMax;
      link = link.older
    ) {
      if (link.row.stamp.ms < sinceMs) continue;
      if (link.row.urgent) urgent.push(link.row);
      else others.push(link.row);
    }
    return urgent.concat(others);
  }

  #forget(link: Link): void {
    this.#unlinkAge(link);
    this.#links.delete(link.row.id);
    if (this.#looked === link) this.#looked = undefined;
    if (link.after !== undefined) link.after.before = link.before;
    if (link.before !== undefined) link.before.after = link.after;
    else this.#firstByRange[rangeOfRow(link.row.id)] = link.after;
  }

  #unlinkAge(link: Link): void {
    if (link.older !== undefined) link.older.newer = link.newer;
    else this.#oldest = link.newer;
    if (link.newer !== undefined) link.newer.older = link.older;
    else this.#newest = link.older;
  }
}

/** A row as lists name it. */
export function entryOf(id: RowId, stamp: Stamp, digest: Digest): Entry {
  return {
    id,
    stamp: { ms: stamp.ms, count: stamp.count, site: stamp.site },
    digest: laneToHex(digest.d) + laneToHex(digest.c),
  };
}
