/**
 * Puts right what a host stamped while its clock was far ahead.
 *
 * A host that booted in 2038 and wrote would win every conflict until then, if anybody took what it
 * wrote. Nobody does: a stamp further ahead than {@link restampMs} is twice beyond what any peer
 * accepts. So once the clock is right, every clock that a site of this file stamped beyond that is
 * stamped anew, and the store's HLC, which had followed, is set back with the last of them. What lies
 * below the limit may have been accepted somewhere and stays as it is: a host that was 50 s fast said
 * "up", and its "down" after the correction comes after it.
 *
 * The new stamp is when it was really said, where that is known: the peers have told the replica how far ahead the clock
 * was (`clock-fault.ts`). So a "down" that another host said after this one's "up" wins as it should, although it lost
 * here until now. Where it isn't known (the clock was set while the agent was down, or twice) the last that was said counts
 * as said now, and the rest as long before as it was; so does what was said when the clock was right again and the HLC
 * still stood where it had been. A row gets one such stamp for all of its clocks beyond the limit of which nothing is known.
 * That is larger than every stamp kept below the limit, so the order inside the row stays. A cell whose real time lies before a life of the
 * row that somebody else has begun since has no place there: its clock goes, and any peer's wins.
 *
 * Where several clocks were ahead together (a wrong NTP server), their hosts have taken what each other stamped. Left as
 * it is, an "up" of those would win over every "down" until its time comes. So a row that somebody else
 * stamped beyond the limit is moved back too, on each host by what its HLC is ahead, in whole minutes: nearly all come
 * to one stamp then, and its author to the newest one. A cell that would come before its life so gets the first stamp after
 * that, and not the time at hand: its author may have said another thing since, which nobody took as long as his clock was ahead.
 *
 * This takes seconds at a million rows, so it is done in slices, each a transaction; reads, merges and local writes
 * go on between them:
 *
 * - The HLC stays ahead until the end, in memory and on the disk. Local writes are stamped with it, win over all that
 *   is here, and are stamped anew too. The new stamps come from a clock beside it.
 * - After a crash in between some rows are stamped as they should be, others as before, and the stored HLC still says
 *   that there are such: the next start goes on. Were it set back first, a start in between could stamp a
 *   write below the row that it changes.
 * - What peers send is merged as ever: it loses to what is ahead and compares with what isn't any more, as
 *   it would have before and after one single transaction.
 * - What is still ahead isn't sent, as before (`replica.ts`), and what has its new stamp is.
 *
 * @module
 */

import {
  type Changeset,
  changesetBytesMax,
  encodeChangeset,
  normalBytesMax,
} from "../change/changeset.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import { compareHlc, type Hlc, hlcCountMax, type Site, type Stamp } from "../clock/stamp.ts";
import type { ClockState, Digester, RowId } from "../row/digest.ts";
import type { ReclockedRow, RowRef, RowStore, ScannedRow, ScanPosition } from "../row-store.ts";
import { clocksSameMs, type KnownFault } from "./clock-fault.ts";
import type { Pace } from "./pace.ts";

/** Twice the largest bound on drift: nobody can have accepted what is further ahead. */
export const restampMs = 120_000;

export interface RestampOptions {
  /** Wall clock, which peers agree with. */
  readonly nowMs: number;
  /** Whether a site is one that this file wrote as, now or earlier. */
  readonly isOwn: (site: Site) => boolean;
  /** How far ahead the clock was, if that is known. */
  readonly fault?: KnownFault | undefined;
}

/** Rows that share a stamp, and are pushed as one changeset: some 1.5 ms to write. */
const rowsPerStampMax = 100;
/** More are left to repair. */
const pushedRowsMax = 20_000;

/** What hosts find out each for itself differs by seconds, and what they make of one stamp is to be one stamp. */
const sharedUnitMs = 60_000;

/** Rows read between two looks at the pace. */
const pieceRows = 64;

/**
 * Stamps anew, in slices. See above for what may happen between them.
 *
 * Costs two scans of the store. What the store throws leaves it as it was before the slice; whoever has
 * begun this begins it again later.
 */
export class Restamping {
  readonly #store: RowStore;
  readonly #clock: HlcClock;
  readonly #digester: Digester;
  readonly #isOwn: (site: Site) => boolean;
  readonly #limitMs: number;
  readonly #fault: KnownFault | undefined;
  /** Where the HLC stands still since the clock is right. */
  readonly #stoodMs: number;
  readonly #begunMs: number;
  /** By how much the clocks of several hosts were ahead together, or somewhat more. */
  readonly #sharedMs: number;
  #position: ScanPosition | undefined;
  /** Rows that the first scan found. */
  #found = 0;
  /** The largest stamp within the limit. */
  #kept: Hlc;
  /** Issues the new stamps; undefined during the first scan. */
  #fresh: HlcClock | undefined;
  #isScanned = false;
  /** Rows that were written here after the second scan began. */
  readonly #written = new Map<RowId, RowRef>();
  #rows = 0;

  constructor(
    store: RowStore,
    clock: HlcClock,
    digester: Digester,
    { nowMs, isOwn, fault }: RestampOptions,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#digester = digester;
    this.#isOwn = isOwn;
    this.#limitMs = nowMs + restampMs;
    this.#fault = fault;
    this.#stoodMs = clock.last.ms;
    this.#begunMs = Math.floor(nowMs);
    this.#sharedMs = Math.ceil((clock.last.ms - nowMs) / sharedUnitMs) * sharedUnitMs;
    this.#kept = { ms: Math.floor(nowMs), count: 0 };
  }

  /** Rows get other clocks: an index of them isn't right. */
  get isWriting(): boolean {
    return this.#fresh !== undefined;
  }

  /** Rows that were stamped anew. */
  get rows(): number {
    return this.#rows;
  }

  /** Rows of others were merged, the last of them stamped so. */
  observe(hlc: Hlc): void {
    if (hlc.ms > this.#limitMs) return;
    if (compareHlc(hlc, this.#kept) > 0) this.#kept = hlc;
    this.#fresh?.observe(hlc);
  }

  /** A local transaction was committed: stamped too far ahead once more. */
  committed(rows: readonly (RowRef & { readonly id: RowId })[]): void {
    if (this.#fresh === undefined) return;
    for (const { id, table, key } of rows) this.#written.set(id, { table, key });
  }

  /**
   * One slice.
   *
   * @param told Gets what is to be pushed.
   * @returns whether it was the last
   */
  slice(nowMs: number, pace: Pace, told: Changeset[]): boolean {
    if (this.#fresh === undefined) {
      this.#find(pace);
      return false;
    }
    const rows = this.#isScanned ? this.#nextWritten() : this.#nextAhead(pace);
    const isLast = this.#isScanned && this.#written.size === 0;
    this.#write(rows, nowMs, isLast, told);
    return isLast;
  }

  /** The first scan: what is to be kept. */
  #find(pace: Pace): void {
    let rows: readonly ScannedRow[];
    do {
      const slice = this.#store.scan(this.#position, pieceRows);
      rows = slice.rows;
      for (const row of rows) {
        if (this.#isAhead(row.clocks)) this.#found++;
        for (const stamp of stampsOf(row.clocks)) {
          if (stamp.ms <= this.#limitMs && compareHlc(stamp, this.#kept) > 0) {
            this.#kept = { ms: stamp.ms, count: stamp.count };
          }
        }
      }
      this.#position = slice.next;
      if (slice.next !== undefined) continue;
      const isClockAhead = this.#clock.last.ms > this.#limitMs;
      this.#fresh = isClockAhead ? new HlcClock(this.#clock.site, this.#kept) : this.#clock;
      return;
    } while (!pace.isOver(rows.length));
  }

  /** The second scan: rows to be stamped anew, as many as share a stamp and a slice has time for. */
  #nextAhead(pace: Pace): ScannedRow[] {
    const ahead: ScannedRow[] = [];
    for (;;) {
      const rowsMax = Math.min(pieceRows, rowsPerStampMax - ahead.length);
      const slice = this.#store.scan(this.#position, rowsMax);
      ahead.push(...this.#aheadOf(slice.rows));
      this.#position = slice.next;
      this.#isScanned = slice.next === undefined;
      if (this.#isScanned || ahead.length === rowsPerStampMax) return ahead;
      if (pace.isOver(slice.rows.length)) return ahead;
    }
  }

  #nextWritten(): ReclockedRow[] {
    const refs: RowRef[] = [];
    for (const [id, ref] of this.#written) {
      if (refs.length === rowsPerStampMax) break;
      refs.push(ref);
      this.#written.delete(id);
    }
    const rows: ReclockedRow[] = [];
    for (const state of this.#store.read(refs)) {
      if (state === undefined) continue;
      rows.push({ table: state.table, key: state.key, clocks: this.#digester.clocksOf(state) });
    }
    return this.#aheadOf(rows);
  }

  #aheadOf<Row extends ReclockedRow>(rows: readonly Row[]): Row[] {
    const ahead: Row[] = [];
    for (const row of rows) {
      const isAhead = this.#isAhead(row.clocks);
      if (isAhead) ahead.push(row);
      for (const stamp of stampsOf(row.clocks)) {
        if (stamp.ms <= this.#limitMs) this.#fresh?.observe(stamp);
      }
    }
    return ahead;
  }

  #write(ahead: readonly ReclockedRow[], nowMs: number, isLast: boolean, told: Changeset[]): void {
    if (ahead.length === 0 && !isLast) return;
    const fresh = this.#fresh as HlcClock;
    const stamp = fresh.next(nowMs);
    const rows = ahead.map(({ table, key, clocks }) => ({
      table,
      key,
      clocks: this.#reclocked(clocks, stamp),
    }));
    const { last } = this.#clock;
    // With the last rows, and not before: then nothing here is beyond what is stored.
    if (isLast && last.ms > this.#limitMs) this.#clock.setBack(fresh.last);
    let urgent: readonly boolean[];
    try {
      urgent = this.#store.reclock(rows, nowMs);
    } catch (error) {
      this.#clock.observe(last);
      throw error;
    }
    this.#rows += rows.length;
    if (this.#found <= pushedRowsMax) {
      // What is somebody else's all others have too, and come to the same.
      const isTold = ({ clocks }: ReclockedRow) =>
        stampsOf(clocks).some(({ ms, site }) => ms > this.#limitMs && this.#isOwn(site));
      const own = rows.filter((_, i) => isTold(ahead[i] as ReclockedRow));
      told.push(...changesetsOf(this.#store, stamp, own, urgent.includes(true)));
    }
  }

  #isAhead(clocks: ClockState): boolean {
    return stampsOf(clocks).some(({ ms }) => ms > this.#limitMs);
  }

  #reclocked({ clock, cells }: ClockState, now: Stamp): ClockState {
    const ahead = stampsOf({ clock, cells }).filter(({ ms }) => ms > this.#limitMs);
    const isLifeKept = clock.ms <= this.#limitMs;
    const areOwn = ahead.every(({ site }) => this.#isOwn(site));
    // Of a life that isn't ahead each cell has a place of its own.
    const isOwn = ({ site }: Stamp) => (isLifeKept ? this.#isOwn(site) : areOwn);
    const lowerMs = isLifeKept ? clock.ms : 0;
    const realMsOf = (old: Stamp) => (isOwn(old) ? this.#realMs(old) : undefined);
    // What is known and what is guessed isn't told to the ms: of the row the clock stays the eldest.
    const guessedMsMin = isLifeKept ? clock.ms : (realMsOf(clock) ?? 0);
    const guessOf = (old: Stamp) =>
      old.ms - (isOwn(old) ? this.#stoodMs - this.#begunMs : this.#sharedMs);
    const isGuessed = ahead.every((old) => {
      if (realMsOf(old) !== undefined || (isLifeKept && !isOwn(old))) return true;
      // What was said with the clock right again: the HLC stood still, and now is nearer than what it shows.
      if (isOwn(old) && old.ms >= this.#stoodMs) return false;
      // What would be older than the row may be what was said of it last.
      return guessOf(old) > guessedMsMin && guessOf(old) < now.ms;
    });
    const stampOf = (old: Stamp): Stamp | undefined => {
      if (old.ms <= this.#limitMs) return old;
      const realMs = realMsOf(old);
      if (realMs === undefined) {
        const ms = guessOf(old);
        // The last, if it is: that knows its author only, and may have said another thing since.
        const isByItself = isLifeKept && !isOwn(old);
        if (isByItself && ms <= clock.ms) return { ...nextHlc(clock), site: old.site };
        if ((isByItself || isGuessed) && ms < now.ms) return { ...old, ms };
      }
      if (realMs === undefined || realMs >= now.ms)
        return { ...now, site: isOwn(old) ? now.site : old.site };
      if (realMs > lowerMs) return { ...old, ms: realMs };
      // It was said of a life before this one, and has won over what somebody else said in this one.
      return realMs < lowerMs - clocksSameMs ? undefined : { ...nextHlc(clock), site: old.site };
    };
    return {
      clock: { ...clock, ...(stampOf(clock) as Stamp) },
      cells: cells.flatMap((cell) => {
        const stamp = stampOf(cell.stamp);
        return stamp === undefined ? [] : [{ ...cell, stamp }];
      }),
    };
  }

  /** When a stamp of the own was really given, if that is known. */
  #realMs(stamp: Stamp): number | undefined {
    if (this.#fault === undefined || compareHlc(stamp, this.#fault.until) > 0) return undefined;
    return stamp.ms - this.#fault.aheadMs;
  }
}

/** The first after this one. */
function nextHlc({ ms, count }: Hlc): Hlc {
  return count < hlcCountMax ? { ms, count: count + 1 } : { ms: ms + 1, count: 0 };
}

function stampsOf({ clock, cells }: ClockState): Stamp[] {
  return [clock, ...cells.map(({ stamp }) => stamp)];
}

function changesetsOf(
  store: RowStore,
  stamp: Stamp,
  changes: readonly ReclockedRow[],
  isUrgent: boolean,
): Changeset[] {
  const rows = store.read(changes).filter((row) => row !== undefined);
  if (rows.length === 0) return [];
  const changeset: Changeset = { stamp, lane: isUrgent ? 0 : 1, rows };
  const bytes = encodeChangeset(changeset).length;
  // Too large to travel as one: repair sends its rows.
  if (bytes > changesetBytesMax) return [];
  return [isUrgent || bytes <= normalBytesMax ? changeset : { ...changeset, lane: 2 }];
}
