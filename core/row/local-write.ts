/**
 * What a local write makes of a row's state. Capture (`store/`) and the simulator write through it.
 *
 * - INSERT gives every column a clock, and the row its next life.
 * - UPDATE gives a clock to the columns whose stored value differs; a cell set to the value it has
 *   leaves no trace.
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
 */
export function updateRow(
  before: RowState,
  values: ReadonlyMap<string, SqlValue>,
  stamp: Stamp,
): RowState {
  const cells = new Map(before.cells.map((cell) => [cell.column, cell]));
  let changed = false;
  for (const [column, value] of values) {
    const held = cells.get(column);
    if (held !== undefined && equalValues(held.value, value)) continue;
    cells.set(column, { column, stamp, value });
    changed = true;
  }
  return changed ? { ...before, cells: [...cells.values()].sort(byColumn) } : before;
}

/** A row that died. */
export function deleteRow(before: RowState, stamp: Stamp): RowState {
  const cl = lengthAfterDelete(before.clock.cl);
  return { ...before, clock: { ...stamp, cl }, cells: [] };
}

function byColumn(a: Cell, b: Cell): number {
  return a.column < b.column ? -1 : a.column > b.column ? 1 : 0;
}
