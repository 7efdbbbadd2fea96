/**
 * What a node knows about one row, and the join that takes in what another knows.
 *
 * A row state is a row clock and, per column, a stamp with the value written then. It is a join
 * semilattice: merging takes maxima, so the order, grouping and repetition of merges don't matter.
 *
 * - The larger row clock wins (`row-clock.ts`).
 * - The larger stamp wins a cell. Equal stamps mean two writers under one identity: the larger
 *   value wins (`value.ts`), and the caller raises an alarm.
 * - A cell is dropped exactly when its stamp is smaller than the row clock's, whether that is a life
 *   or a tombstone. An INSERT's own cells (same stamp) stay; a tombstone keeps the cells stamped
 *   after it.
 *
 * A row is live while its causal length is odd; then columns with a cell have its value and the
 * others their default.
 *
 * ```ts
 * import { joinRows, type RowState } from "./row-state.ts";
 *
 * const at = (ms: number, site: string) => ({ ms, count: 0, site: site.repeat(32) }) as never;
 * const row = { table: "instances", key: new Uint8Array([1, 1, 2]) };
 * const up: RowState = {
 *   ...row,
 *   clock: { ...at(1, "a"), cl: 1 },
 *   cells: [{ column: "status", stamp: at(1, "a"), value: "up" }],
 * };
 * const down: RowState = { ...up, cells: [{ column: "status", stamp: at(2, "b"), value: "down" }] };
 *
 * // In whatever order they come, the newer one stays.
 * expect(joinRows(up, down).state).toEqual(down);
 * expect(joinRows(down, up).state).toEqual(down);
 * ```
 *
 * @module
 */

import { compareRowClocks, type RowClock } from "../clock/row-clock.ts";
import { compareStamps, type Stamp } from "../clock/stamp.ts";
import { compareValues, type SqlValue } from "./value.ts";

export interface Cell {
  /** Column name in ASCII lower case. */
  readonly column: string;
  readonly stamp: Stamp;
  readonly value: SqlValue;
}

export interface RowState {
  /** Table name in ASCII lower case. */
  readonly table: string;
  /** Primary key as of `key.ts`. */
  readonly key: Uint8Array;
  readonly clock: RowClock;
  /** Ascending by column name (UTF-16 order; names are compared as JavaScript strings everywhere). */
  readonly cells: readonly Cell[];
}

export interface JoinResult {
  readonly state: RowState;
  /** Two clocks under one stamp differ, so two writers have one identity: raise an alarm. */
  readonly conflict: boolean;
}

/** The join of two states of one row. */
export function joinRows(a: RowState, b: RowState): JoinResult {
  const order = compareRowClocks(a.clock, b.clock);
  const clock = order >= 0 ? a.clock : b.clock;
  let conflict = order !== 0 && compareStamps(a.clock, b.clock) === 0;
  const cells: Cell[] = [];
  let i = 0;
  let j = 0;
  while (i < a.cells.length || j < b.cells.length) {
    const left = a.cells[i];
    const right = b.cells[j];
    let cell: Cell;
    if (right === undefined || (left !== undefined && left.column < right.column)) {
      cell = left as Cell;
      i++;
    } else if (left === undefined || right.column < left.column) {
      cell = right;
      j++;
    } else {
      const cellOrder = compareCells(left, right);
      if (cellOrder !== 0 && compareStamps(left.stamp, right.stamp) === 0) conflict = true;
      cell = cellOrder >= 0 ? left : right;
      i++;
      j++;
    }
    if (compareStamps(cell.stamp, clock) >= 0) cells.push(cell);
  }
  return { state: { table: a.table, key: a.key, clock, cells }, conflict };
}

/** By stamp, then by value. */
function compareCells(a: Cell, b: Cell): number {
  return compareStamps(a.stamp, b.stamp) || compareValues(a.value, b.value);
}

/** The largest stamp in a row. Of a join it is the larger of the two. */
export function stampOfRow(row: {
  readonly clock: RowClock;
  readonly cells: readonly { readonly stamp: Stamp }[];
}): Stamp {
  let largest: Stamp = row.clock;
  for (const cell of row.cells) {
    if (compareStamps(cell.stamp, largest) > 0) largest = cell.stamp;
  }
  return largest;
}

/** Names are compared in ASCII lower case, as SQLite does. */
export function lowerAscii(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
