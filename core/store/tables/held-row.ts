/**
 * A row as the SQLite store has it in hand: its clocks, and the values that were read so far.
 *
 * Values of shown cells stand in the base table and are read only when they are needed, which for most
 * merges is never: the value hash beside the clock says whether two values under one stamp differ.
 *
 * @module
 */

import { assert } from "../../assert.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { compareRowClocks, type RowClock } from "../../clock/row-clock.ts";
import { compareStamps } from "../../clock/stamp.ts";
import { type CellClock, type ClockState, equalHashes } from "../../row/digest.ts";
import type { Cell, RowState } from "../../row/row-state.ts";
import { compareValues, type SqlValue } from "../../row/value.ts";
import {
  decodeClocks,
  decodeHeldBlob,
  type Ordinals,
  writeClockBlob,
  writeHeldBlob,
} from "../clocks/clock-blob.ts";

export interface HeldCell extends CellClock {
  /** Undefined: the base table has it, and it wasn't read. */
  value: SqlValue | undefined;
  /** The table can't show the value; the held blob has it. */
  held: boolean;
  /** It came in the transaction at hand, and the base table doesn't have it yet. */
  fresh: boolean;
}

export class HeldRow {
  readonly clock: RowClock;
  /** Ascending by column, and only clocks: they may be kept, and hold on to no value. */
  readonly clocks: readonly CellClock[];
  #cells: HeldCell[] | undefined;

  /** @param cells For each of `clocks`. Undefined: as the base table shows them, none was read. */
  constructor(clock: RowClock, clocks: readonly CellClock[], cells?: HeldCell[]) {
    this.clock = clock;
    this.clocks = clocks;
    this.#cells = cells;
  }

  /** Ascending by column. Made when they are asked for, which for a row that stays as it is is never. */
  get cells(): HeldCell[] {
    this.#cells ??= this.clocks.map(shownCell);
    return this.#cells;
  }

  /** Another one that is the same, to be written: writing changes its cells. */
  copy(): HeldRow {
    const cells = this.#cells?.map((cell) => ({ ...cell }));
    return new HeldRow(this.clock, this.clocks, cells);
  }

  /** False where all values are as the base table shows them. */
  get mayHold(): boolean {
    return this.#cells !== undefined;
  }
}

/** A row of cells whose clocks are in no object of their own yet. */
export function heldRowOf(clock: RowClock, cells: HeldCell[]): HeldRow {
  return new HeldRow(
    clock,
    cells.map(({ column, stamp, hash }) => ({ column, stamp, hash })),
    cells,
  );
}

function shownCell({ column, stamp, hash }: CellClock): HeldCell {
  return { column, stamp, hash, value: undefined, held: false, fresh: false };
}

/** A row from its blobs; undefined when they are damaged. */
export function decodeHeldRow(
  clock: Uint8Array,
  held: Uint8Array | null,
  ordinals: Ordinals,
): HeldRow | undefined {
  const decoded = decodeClocks(clock, ordinals);
  if (decoded.kind === "malformed") return undefined;
  const row = new HeldRow(decoded.clock, decoded.cells);
  if (decoded.held.length === 0) return row;
  const values = held === null ? undefined : decodeHeldBlob(held, decoded.held.length);
  if (values === undefined) return undefined;
  decoded.held.forEach((index, i) => {
    const cell = row.cells[index] as HeldCell;
    cell.held = true;
    cell.value = values[i] as SqlValue;
  });
  return row;
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

/** Clocks alone, which may be kept. */
export function clocksOfHeld(row: HeldRow): ClockState {
  return { clock: row.clock, cells: row.clocks };
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
    const fresh = incoming.cells.map((cell, i) => freshCell(cell, clocks, i));
    const row = new HeldRow(incoming.clock, clocks.cells, fresh);
    return { row, changed: true, conflict: false };
  }
  const order = compareRowClocks(held.clock, incoming.clock);
  const clock = order >= 0 ? held.clock : incoming.clock;
  let conflict = order !== 0 && compareStamps(held.clock, incoming.clock) === 0;
  let changed = order < 0;
  const lefts = held.clocks;
  const rights = clocks.cells;
  /** What the join takes, in order: an index in `lefts`, or below zero -1 less one in `rights`. */
  const taken: number[] = [];
  let i = 0;
  let j = 0;
  while (i < lefts.length || j < rights.length) {
    const left = lefts[i];
    const right = rights[j];
    let takesRight = false;
    if (left === undefined || (right !== undefined && right.column < left.column)) {
      takesRight = true;
    } else if (right !== undefined && right.column === left.column) {
      const stampOrder = compareStamps(left.stamp, right.stamp);
      takesRight = stampOrder < 0;
      if (stampOrder === 0 && !equalHashes(left.hash, right.hash)) {
        conflict = true;
        const known = held.mayHold ? held.cells[i]?.value : undefined;
        const value = known === undefined ? readShown(left.column) : known;
        takesRight = compareValues(value, (incoming.cells[j] as Cell).value) < 0;
      }
      if (takesRight) i++;
      else j++;
    }
    if (takesRight) {
      const at = j++;
      if (compareStamps((right as CellClock).stamp, clock) < 0) continue;
      taken.push(-1 - at);
      changed = true;
    } else {
      const at = i++;
      // Smaller than a row clock that is no newer than before can't be.
      if (order >= 0 || compareStamps((left as CellClock).stamp, clock) >= 0) taken.push(at);
    }
  }
  if (!changed) return { row: held, changed, conflict };
  const cells: HeldCell[] = [];
  const cellClocks: CellClock[] = [];
  for (const at of taken) {
    if (at >= 0) {
      cells.push(held.cells[at] as HeldCell);
      cellClocks.push(lefts[at] as CellClock);
    } else {
      cells.push(freshCell(incoming.cells[-1 - at] as Cell, clocks, -1 - at));
      cellClocks.push(rights[-1 - at] as CellClock);
    }
  }
  return { row: new HeldRow(clock, cellClocks, cells), changed, conflict };
}

function freshCell(cell: Cell, clocks: ClockState, at: number): HeldCell {
  const { column, stamp, value } = cell;
  const { hash } = clocks.cells[at] as CellClock;
  return { column, stamp, hash, value, held: false, fresh: true };
}
