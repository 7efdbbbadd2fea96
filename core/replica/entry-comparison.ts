/**
 * Compares two lists of rows of one part of the fingerprint tree.
 *
 * Only the digest says whether two rows are equal (two writers' columns: equal stamps, different
 * rows), and it doesn't say who knows more: a row that differs goes both ways, and the join decides. The
 * stamp says whether a row is above the cut; such rows are left out on both sides.
 *
 * @module
 */

import type { Entry } from "../change/frame.ts";
import { slotMs } from "../index/clock-part.ts";
import { nodeOfRange } from "../index/fingerprint-tree.ts";
import type { Moment, TreeNodes } from "../node/border.ts";
import { type RowId, rangeOfRow } from "../row/digest.ts";

export interface EntryDifferences {
  /** Rows to fetch from the peer: unknown here, or different. */
  readonly want: readonly RowId[];
  /** Rows that the peer lacks or has differently. */
  readonly offer: readonly RowId[];
}

/**
 * @param own All own rows under the nodes, by id, or all that changed lately.
 * @param theirs The peer's list of the same nodes and moment.
 * @param isComplete Both lists have all rows. Then a node of the tree that differs and in which no row
 * below the cut does must have one above it to blame: one that changes all the time and of which one
 * side lacks an older clock. Those are offered, or they would never be mended.
 */
export function compareEntries(
  own: ReadonlyMap<RowId, Entry>,
  theirs: readonly Entry[],
  moment: Moment,
  level: number,
  isComplete: boolean,
): EntryDifferences {
  const want: RowId[] = [];
  const offer: RowId[] = [];
  const listed = new Set<RowId>();
  const explained = new Set<number>();
  const nodeOf = (id: RowId) => nodeOfRange(rangeOfRow(id), level);
  for (const { id, digest } of theirs) {
    listed.add(id);
    const ours = own.get(id);
    if (ours?.digest === digest) continue;
    if (ours !== undefined && !isCovered(ours, moment)) continue;
    explained.add(nodeOf(id));
    want.push(id);
    if (ours !== undefined) offer.push(id);
  }
  const above: RowId[] = [];
  for (const entry of own.values()) {
    if (!isCovered(entry, moment)) above.push(entry.id);
    else if (!listed.has(entry.id)) {
      explained.add(nodeOf(entry.id));
      offer.push(entry.id);
    }
  }
  if (isComplete) for (const id of above) if (!explained.has(nodeOf(id))) offer.push(id);
  return { want, offer };
}

/** Whether an entry's stamp is covered by the moment that is asked for. */
export function isCovered(entry: Entry, moment: Moment): boolean {
  return moment.live || entry.stamp.ms < moment.cut * slotMs;
}

/** Whether a range is under one of the nodes. */
export function isUnder({ level, nodes }: TreeNodes): (range: number) => boolean {
  const wanted = new Set(nodes);
  return (range) => wanted.has(nodeOfRange(range, level));
}
