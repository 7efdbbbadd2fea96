/**
 * Puts right what a host stamped while its clock was far ahead.
 *
 * A host that booted in 2038 and wrote would win every conflict until then, if anybody took what it
 * wrote. Nobody does: a stamp further ahead than {@link restampMs} is twice beyond what any peer
 * accepts. So once the clock is right, every clock that a site of this file stamped beyond that is
 * stamped anew, and the store's HLC, which had followed, is set back in the same transaction. What lies
 * below the limit may have been accepted somewhere and stays as it is: a host that was 50 s fast said
 * "up", and its "down" after the correction comes after it.
 *
 * A row gets one new stamp for all of its clocks beyond the limit. That is larger than every stamp kept
 * below the limit, so the order inside the row stays. A row whose row clock is somebody else's and
 * beyond the limit is left: its cells would fall behind it and be dropped.
 *
 * Source: DESIGN §3.
 *
 * @module
 */

import {
  type Changeset,
  changesetBytesMax,
  encodeChangeset,
  normalBytesMax,
} from "../change/changeset.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import { compareHlc, type Hlc, type Site, type Stamp } from "../clock/stamp.ts";
import type { ClockState } from "../row/digest.ts";
import { stampOfRow } from "../row/row-state.ts";
import type { ReclockedRow, RowStore, ScannedRow, ScanPosition } from "./row-store.ts";

/** Twice the largest bound on drift: nobody can have accepted what is further ahead. */
export const restampMs = 120_000;

export interface RestampOptions {
  /** Wall clock, which peers agree with. */
  readonly nowMs: number;
  /** Whether a site is one that this file wrote as, now or earlier. */
  readonly isOwn: (site: Site) => boolean;
}

export interface Restamped {
  /** Rows that were stamped anew. */
  readonly rows: number;
  /** The largest stamp left in the store, in ms: beyond the limit only where it is somebody else's. */
  readonly leftMs: number;
  /** The rows as they are now, to be pushed. Empty beyond {@link pushedRowsMax}: repair brings them. */
  readonly changesets: readonly Changeset[];
}

/** Rows that share a stamp, and are pushed as one changeset. */
const rowsPerStamp = 500;
/** More are left to repair. */
const pushedRowsMax = 20_000;
const scanRows = 2000;

/**
 * Sets `clock` back and stamps rows anew; one transaction. Costs a scan of the store. On a failed write it
 * throws; the store is then as it was.
 */
export function restamp(store: RowStore, clock: HlcClock, options: RestampOptions): Restamped {
  const { nowMs, isOwn } = options;
  const limitMs = nowMs + restampMs;
  const isAhead = (stamp: Stamp): boolean => stamp.ms > limitMs && isOwn(stamp.site);
  const ahead: ScannedRow[] = [];
  let kept: Hlc = { ms: Math.floor(nowMs), count: 0 };
  let leftMs = 0;
  let position: ScanPosition | undefined;
  do {
    const slice = store.scan(position, scanRows);
    for (const row of slice.rows) {
      const { clock: rowClock, cells } = row.clocks;
      const isRowClockLeft = rowClock.ms > limitMs && !isOwn(rowClock.site);
      if (!isRowClockLeft && (isAhead(rowClock) || cells.some(({ stamp }) => isAhead(stamp)))) {
        ahead.push(row);
      }
      const isChanged = ahead.at(-1) === row;
      for (const stamp of [rowClock, ...cells.map((cell) => cell.stamp)]) {
        if (stamp.ms <= limitMs) {
          if (compareHlc(stamp, kept) > 0) kept = { ms: stamp.ms, count: stamp.count };
        } else if (!isChanged || !isAhead(stamp)) leftMs = Math.max(leftMs, stamp.ms);
      }
    }
    position = slice.next;
  } while (position !== undefined);

  if (clock.last.ms > limitMs) clock.setBack(kept);
  const chunks: Chunk[] = [];
  for (let at = 0; at < ahead.length; at += rowsPerStamp) {
    const stamp = clock.next(nowMs);
    const rows = ahead.slice(at, at + rowsPerStamp).map(({ table, key, clocks }) => ({
      table,
      key,
      clocks: reclocked(clocks, stamp, isAhead),
    }));
    chunks.push({ stamp, rows });
  }
  const changes = chunks.flatMap(({ rows }) => rows);
  const urgent = store.reclock(changes);
  return {
    rows: changes.length,
    leftMs: Math.max(leftMs, clock.last.ms),
    changesets: changes.length > pushedRowsMax ? [] : changesetsOf(store, chunks, urgent),
  };
}

interface Chunk {
  readonly stamp: Stamp;
  readonly rows: readonly ReclockedRow[];
}

function reclocked(
  { clock, cells }: ClockState,
  stamp: Stamp,
  isAhead: (stamp: Stamp) => boolean,
): ClockState {
  return {
    clock: isAhead(clock) ? { ...stamp, cl: clock.cl } : clock,
    cells: cells.map((cell) => (isAhead(cell.stamp) ? { ...cell, stamp } : cell)),
  };
}

function changesetsOf(
  store: RowStore,
  chunks: readonly Chunk[],
  urgent: readonly boolean[],
): Changeset[] {
  const changesets: Changeset[] = [];
  let at = 0;
  for (const { stamp, rows: changes } of chunks) {
    const isUrgent = urgent.slice(at, at + changes.length).includes(true);
    at += changes.length;
    const rows = store.read(changes).filter((row) => row !== undefined);
    // Somebody else's clock beyond the limit may still stand in a row: nobody would take it.
    const sent = rows.filter((row) => compareHlc(stampOfRow(row), stamp) <= 0);
    if (sent.length === 0) continue;
    const changeset: Changeset = { stamp, lane: isUrgent ? 0 : 1, rows: sent };
    const bytes = encodeChangeset(changeset).length;
    // Too large to travel as one: repair sends its rows.
    if (bytes > changesetBytesMax) continue;
    changesets.push(isUrgent || bytes <= normalBytesMax ? changeset : { ...changeset, lane: 2 });
  }
  return changesets;
}
