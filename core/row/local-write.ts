/**
 * What a local write makes of a row's state. Capture (`store/`) and the simulator write through it.
 *
 * - INSERT gives every column a clock, and the row its next life.
 * - UPDATE gives a clock to the columns whose stored value differs; a cell set to the value it has
 *   leaves no trace, unless it is one of those that count when they are said again (`store/local/capture.ts`).
 * - DELETE ends the life and drops every cell, all of which are older.
 *
 * @module
 */

import { lengthAfterDelete, lengthAfterInsert } from "../clock/row-clock.ts";
import type { Stamp } from "../clock/stamp.ts";
import type { Cell, RowState } from "./row-state.ts";
import { equalValues, type SqlValue } from "./value.ts";

/** A row that came to life. @param values By column, ascending by name; no key columns. */
export function insertRow(
  before: RowState | undefined,
  table: string,
  key: Uint8Array,
  values: ReadonlyMap<string, SqlValue>,
  stamp: Stamp,
): RowState {
  const cells: Cell[] = [];
  for (const [column, value] of values) cells.push({ column, stamp, value });
  cells.sort(byColumn);
  const cl = lengthAfterInsert(before?.clock.cl ?? 0);
  return { table, key, clock: { ...stamp, cl }, cells };
}

/**
 * A live row whose columns now have `values` (those that differ are stamped); `before` itself when none
 * does. A column without a cell counts as different from whatever it is set to: the caller leaves out
 * columns that still show their default.
 *
 * @param renewed Of these columns, those that are stamped although they don't differ.
 */
export function updateRow(
  before: RowState,
  values: ReadonlyMap<string, SqlValue>,
  stamp: Stamp,
  renewed: readonly string[] = [],
): RowState {
  let cells: Cell[] | undefined;
  for (const [column, value] of values) {
    const now: readonly Cell[] = cells ?? before.cells;
    const at = placeOf(now, column);
    const held = now[at];
    const isThere = held?.column === column;
    if (isThere && equalValues(held.value, value) && !renewed.includes(column)) continue;
    cells ??= [...before.cells];
    if (isThere) cells[at] = { column, stamp, value };
    else cells.splice(at, 0, { column, stamp, value });
  }
  return cells === undefined ? before : { ...before, cells };
}

/** Where the cell of a column is, or would be. */
function placeOf(cells: readonly Cell[], column: string): number {
  let from = 0;
  let to = cells.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((cells[middle] as Cell).column < column) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** A row that died. */
export function deleteRow(before: RowState, stamp: Stamp): RowState {
  const cl = lengthAfterDelete(before.clock.cl);
  return { ...before, clock: { ...stamp, cl }, cells: [] };
}

function byColumn(a: Cell, b: Cell): number {
  return a.column < b.column ? -1 : a.column > b.column ? 1 : 0;
}
