/**
 * The join on clocks alone: `row/row-state.ts`'s without the values, and on parts of a row.
 *
 * The settled image knows rows by their clocks, some of which belong to a slot and some don't. A *part*
 * is any of a row's clocks: a row clock or none, and cells. Joining parts takes maxima, so a slot's
 * clocks can be folded into one part in whatever order they come.
 *
 * @module
 */

import { compareRowClocks, type RowClock } from "../clock/row-clock.ts";
import { compareStamps, type Hlc } from "../clock/stamp.ts";
import type { CellClock, ClockState, ValueHash } from "../row/digest.ts";

export interface ClockPart {
  /** Undefined in a part that has cells only. */
  readonly clock: RowClock | undefined;
  /** Ascending by column name. */
  readonly cells: readonly CellClock[];
}

/** No clock at all: a row that isn't there. */
export const noClocks: ClockPart = { clock: undefined, cells: [] };

/** Milliseconds in a slot; cuts are its borders. */
export const slotMs = 1000;

/**
 * The slot that a stamp falls in: the first cut that covers it. Cut c covers slots up to c, and so every
 * stamp whose ms is below 1000 c.
 */
export function slotOfStamp(stamp: Hlc): number {
  return slotOfMs(stamp.ms);
}

export function slotOfMs(ms: number): number {
  return Math.floor(ms / slotMs) + 1;
}

/** The last slot that any of a state's clocks falls in. */
export function lastSlotOf(state: ClockPart): number {
  let slot = state.clock === undefined ? 0 : slotOfStamp(state.clock);
  for (const cell of state.cells) {
    const cellSlot = slotOfStamp(cell.stamp);
    if (cellSlot > slot) slot = cellSlot;
  }
  return slot;
}

/** The first slot that any of a state's clocks falls in. */
export function firstSlotOf(state: ClockPart): number {
  // No cell is older than the row clock that it came with.
  if (state.clock !== undefined) return slotOfStamp(state.clock);
  let slot = Number.POSITIVE_INFINITY;
  for (const cell of state.cells) slot = Math.min(slot, slotOfStamp(cell.stamp));
  return slot;
}

/**
 * Those clocks of `incoming` that `before` doesn't have as they are; undefined when it has all. A row is
 * sent whole, so most of what comes is known.
 */
export function newsOf(
  incoming: ClockState,
  before: ClockState | undefined,
): ClockPart | undefined {
  if (before === undefined) return incoming;
  const isClockNew = compareRowClocks(incoming.clock, before.clock) !== 0;
  let cells: CellClock[] | undefined;
  let at = 0;
  for (const cell of incoming.cells) {
    while (at < before.cells.length && (before.cells[at] as CellClock).column < cell.column) at++;
    const held = before.cells[at];
    if (held !== undefined && held.column === cell.column && isSameCell(held, cell)) continue;
    if (cells === undefined) cells = [cell];
    else cells.push(cell);
  }
  if (!isClockNew && cells === undefined) return undefined;
  return { clock: isClockNew ? incoming.clock : undefined, cells: cells ?? [] };
}

/** Whether all news are in the join of them with what was held. */
export function isHeld(news: ClockPart | undefined, after: ClockState): boolean {
  if (news === undefined) return true;
  if (news.clock !== undefined && compareRowClocks(news.clock, after.clock) !== 0) return false;
  let at = 0;
  for (const cell of news.cells) {
    while (at < after.cells.length && (after.cells[at] as CellClock).column < cell.column) at++;
    const held = after.cells[at];
    if (held === undefined || held.column !== cell.column || !isSameCell(held, cell)) return false;
  }
  return true;
}

/** What is left of a part when those cells go that a row had `before` and hasn't `after`; itself if that is all. */
export function withoutLost(part: ClockPart, before: ClockState, after: ClockState): ClockPart {
  const lost = before.cells.filter(
    ({ column }) => !after.cells.some((cell) => cell.column === column),
  );
  const cells = part.cells.filter(
    (cell) => !lost.some((one) => one.column === cell.column && isSameCell(one, cell)),
  );
  return cells.length === part.cells.length ? part : { clock: part.clock, cells };
}

function isSameCell(a: CellClock, b: CellClock): boolean {
  return a === b || (compareHashes(a.hash, b.hash) === 0 && compareStamps(a.stamp, b.stamp) === 0);
}

/** The clocks of one slot. */
export interface SlotPart {
  readonly slot: number;
  readonly part: ClockPart;
}

/** Takes a state apart by slot, ascending. Slots up to `slotMin` count as `slotMin`. */
export function takeApart(state: ClockPart, slotMin: number): readonly SlotPart[] {
  const last = Math.max(lastSlotOf(state), slotMin);
  if (last === slotMin || firstSlotOf(state) === last) return [{ slot: last, part: state }];
  const parts: { slot: number; part: { clock: RowClock | undefined; cells: CellClock[] } }[] = [];
  const partOf = (slot: number) => {
    let at = parts.length;
    while (at > 0 && (parts[at - 1] as SlotPart).slot >= slot) at--;
    let found = parts[at];
    if (found?.slot !== slot) {
      found = { slot, part: { clock: undefined, cells: [] } };
      parts.splice(at, 0, found);
    }
    return found.part;
  };
  if (state.clock !== undefined) {
    partOf(Math.max(slotOfStamp(state.clock), slotMin)).clock = state.clock;
  }
  for (const cell of state.cells) {
    partOf(Math.max(slotOfStamp(cell.stamp), slotMin)).cells.push(cell);
  }
  return parts;
}

/**
 * The join of two parts of one row; `a` itself when `b` adds nothing.
 *
 * @param live The row's state now. Where one stamp has two hashes (two writers under one identity) the
 * live row has decided by value; if it no longer has that stamp, the larger hash is taken.
 */
export function joinParts(a: ClockPart, b: ClockPart, live: ClockState): ClockPart {
  if (a === noClocks) return b;
  if (!adds(a, b, live)) return a;
  const clock =
    a.clock === undefined || (b.clock !== undefined && compareRowClocks(b.clock, a.clock) > 0)
      ? b.clock
      : a.clock;
  const cells: CellClock[] = [];
  let i = 0;
  let j = 0;
  while (i < a.cells.length || j < b.cells.length) {
    const left = a.cells[i];
    const right = b.cells[j];
    let cell: CellClock;
    if (right === undefined || (left !== undefined && left.column < right.column)) {
      cell = left as CellClock;
      i++;
    } else if (left === undefined || right.column < left.column) {
      cell = right;
      j++;
    } else {
      cell = largerCell(left, right, live);
      i++;
      j++;
    }
    if (clock === undefined || compareStamps(cell.stamp, clock) >= 0) cells.push(cell);
  }
  return { clock, cells };
}

/** Whether joining `b` into `a` gives anything but `a`. */
function adds(a: ClockPart, b: ClockPart, live: ClockState): boolean {
  if (b.clock !== undefined) {
    if (a.clock === undefined || compareRowClocks(b.clock, a.clock) > 0) return true;
  }
  let i = 0;
  for (const cell of b.cells) {
    if (a.clock !== undefined && compareStamps(cell.stamp, a.clock) < 0) continue;
    while (i < a.cells.length && (a.cells[i] as CellClock).column < cell.column) i++;
    const held = a.cells[i];
    if (held === undefined || held.column !== cell.column) return true;
    if (held === cell) continue;
    const order = compareStamps(cell.stamp, held.stamp);
    if (order > 0) return true;
    if (order === 0 && compareHashes(cell.hash, held.hash) !== 0) {
      if (compareHashes(largerCell(held, cell, live).hash, held.hash) !== 0) return true;
    }
  }
  return false;
}

function largerCell(a: CellClock, b: CellClock, live: ClockState): CellClock {
  const order = compareStamps(a.stamp, b.stamp) || 0;
  if (order !== 0) return order > 0 ? a : b;
  const hashOrder = compareHashes(a.hash, b.hash);
  if (hashOrder === 0) return a;
  for (const cell of live.cells) {
    if (cell.column === a.column && compareStamps(cell.stamp, a.stamp) === 0) return cell;
  }
  return hashOrder > 0 ? a : b;
}

function compareHashes(a: ValueHash, b: ValueHash): number {
  return a.high - b.high || a.low - b.low;
}
