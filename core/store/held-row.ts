/**
 * A row as the SQLite store has it in hand: its clocks, and the values that were read so far.
 *
 * Values of shown cells stand in the base table and are read only when they are needed, which for most
 * merges is never: the value hash beside the clock says whether two values under one stamp differ.
 *
 * @module
 */

import { assert } from "../assert.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { compareRowClocks, type RowClock } from "../clock/row-clock.ts";
import { compareStamps } from "../clock/stamp.ts";
import type { ClockState } from "../row/digest.ts";
import { equalHashes, type ValueHash } from "../row/digest.ts";
import type { Cell, RowState } from "../row/row-state.ts";
import { compareValues, type SqlValue } from "../row/value.ts";
import {
  decodeClockBlob,
  decodeHeldBlob,
  type Ordinals,
  type StoredCell,
  writeClockBlob,
  writeHeldBlob,
} from "./clock-blob.ts";

export interface HeldCell extends Omit<StoredCell, "held"> {
  /** Undefined: the base table has it, and it wasn't read. */
  value: SqlValue | undefined;
  held: boolean;
  /** It came in the transaction at hand, and the base table doesn't have it yet. */
  fresh: boolean;
}

export interface HeldRow {
  clock: RowClock;
  /** Ascending by column. */
  cells: HeldCell[];
}

/** A row from its blobs; undefined when they are damaged. */
export function decodeHeldRow(
  clock: Uint8Array,
  held: Uint8Array | null,
  ordinals: Ordinals,
): HeldRow | undefined {
  const decoded = decodeClockBlob(clock, ordinals);
  if (decoded.kind === "malformed") return undefined;
  const cells: HeldCell[] = decoded.cells.map((cell) => ({
    column: cell.column,
    stamp: cell.stamp,
    hash: cell.hash,
    held: cell.held,
    value: undefined,
    fresh: false,
  }));
  const heldCells = cells.filter((cell) => cell.held);
  if (heldCells.length > 0) {
    const values = held === null ? undefined : decodeHeldBlob(held, heldCells.length);
    if (values === undefined) return undefined;
    heldCells.forEach((cell, i) => {
      cell.value = values[i] as SqlValue;
    });
  }
  return { clock: decoded.clock, cells };
}

const writer = new ByteWriter(1024);

export function encodeClocks(row: HeldRow, ordinals: Ordinals): Uint8Array {
  writer.clear();
  writeClockBlob(writer, row, ordinals);
  return writer.finish();
}

/** The values of the held cells; null when there are none. */
export function encodeHeld(row: HeldRow): Uint8Array | null {
  const values: SqlValue[] = [];
  for (const cell of row.cells) {
    if (!cell.held) continue;
    assert(cell.value !== undefined, "a held cell has its value in hand");
    values.push(cell.value);
  }
  if (values.length === 0) return null;
  writer.clear();
  writeHeldBlob(writer, values);
  return writer.finish();
}

/** Clocks alone, which may be kept: they hold on to no value. */
export function clocksOfHeld(row: HeldRow): ClockState {
  return {
    clock: row.clock,
    cells: row.cells.map(({ column, stamp, hash }) => ({ column, stamp, hash })),
  };
}

/** Without the cells for which `isSound` doesn't hold. All values must be in hand. */
export function rowStateOfSound(
  table: string,
  key: Uint8Array,
  row: HeldRow,
  isSound: (cell: HeldCell) => boolean,
): RowState {
  return { table, key, clock: row.clock, cells: row.cells.filter(isSound).map(cellOfHeld) };
}

function cellOfHeld({ column, stamp, value }: HeldCell): Cell {
  assert(value !== undefined, "all values were read");
  return { column, stamp, value };
}

export interface HeldJoin {
  readonly row: HeldRow;
  readonly changed: boolean;
  readonly conflict: boolean;
}

/**
 * `row/row-state.ts`'s join of what is held and what came.
 *
 * @param clocks Of `incoming`, cell by cell.
 * @param readShown Reads a shown value. Called only where two writers used one stamp.
 */
export function joinHeld(
  held: HeldRow | undefined,
  incoming: RowState,
  clocks: ClockState,
  readShown: (column: string) => SqlValue,
): HeldJoin {
  if (held === undefined) {
    const cells = incoming.cells.map((cell, i) => freshCell(cell, clocks, i));
    return { row: { clock: incoming.clock, cells }, changed: true, conflict: false };
  }
  const order = compareRowClocks(held.clock, incoming.clock);
  const clock = order >= 0 ? held.clock : incoming.clock;
  let conflict = order !== 0 && compareStamps(held.clock, incoming.clock) === 0;
  let changed = order < 0;
  const cells: HeldCell[] = [];
  let i = 0;
  let j = 0;
  while (i < held.cells.length || j < incoming.cells.length) {
    const left = held.cells[i];
    const right = incoming.cells[j];
    let takesRight = false;
    if (left === undefined || (right !== undefined && right.column < left.column)) {
      takesRight = true;
    } else if (right !== undefined && right.column === left.column) {
      const stampOrder = compareStamps(left.stamp, right.stamp);
      takesRight = stampOrder < 0;
      if (stampOrder === 0 && !equalHashes(left.hash, hashAt(clocks, j))) {
        conflict = true;
        const value = left.value === undefined ? readShown(left.column) : left.value;
        takesRight = compareValues(value, right.value) < 0;
      }
      if (takesRight) i++;
      else j++;
    }
    if (takesRight) {
      const cell = freshCell(right as Cell, clocks, j++);
      if (compareStamps(cell.stamp, clock) < 0) continue;
      cells.push(cell);
      changed = true;
    } else {
      i++;
      const cell = left as HeldCell;
      // Smaller than a row clock that is no newer than before can't be.
      if (order >= 0 || compareStamps(cell.stamp, clock) >= 0) cells.push(cell);
    }
  }
  return changed ? { row: { clock, cells }, changed, conflict } : { row: held, changed, conflict };
}

function freshCell(cell: Cell, clocks: ClockState, at: number): HeldCell {
  const { column, stamp, value } = cell;
  return { column, stamp, hash: hashAt(clocks, at), held: false, value, fresh: true };
}

function hashAt(clocks: ClockState, at: number): ValueHash {
  return (clocks.cells[at] as ClockState["cells"][number]).hash;
}
