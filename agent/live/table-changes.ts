/**
 * What a transaction changed, as live queries want to know it.
 *
 * @module
 */

import { compareStamps } from "../../core/clock/stamp.ts";
import type { MergedRow, RowRef } from "../../core/row-store.ts";
import type { LocalWrites } from "../sql/transaction-runner.ts";
import { rowidName, type TableDependency } from "./plan/dependencies.ts";

export interface ChangedRow extends RowRef {
  /** In ASCII lower case; undefined: any, or the row came or went. */
  readonly columns: ReadonlySet<string> | undefined;
  /** The merged row; undefined of a local table's. */
  readonly merged?: MergedRow;
}

/** By table; `"unknown"` when it isn't known which rows. */
export type TableChanges = ReadonlyMap<string, readonly ChangedRow[] | "unknown">;

/**
 * @param merged rows of replicated tables; of a local transaction also those that only moved
 * @param local undefined for rows that others wrote
 * @param isReplicated tells local tables from replicated ones in which nothing changed
 */
export function tableChanges(
  merged: readonly MergedRow[],
  local: LocalWrites | undefined,
  isReplicated: (table: string) => boolean,
): TableChanges {
  const changes = new Map<string, ChangedRow[] | "unknown">();
  for (const row of merged) {
    if (!row.changed && local === undefined) continue;
    const { table, key } = row;
    let columns = row.changed ? changedColumns(row) : new Set<string>();
    if (columns !== undefined && local?.moved.has(table)) columns = columns.add(rowidName);
    const changed: ChangedRow = { table, key, columns, merged: row };
    const rows = changes.get(table);
    if (rows === undefined) changes.set(table, [changed]);
    else (rows as ChangedRow[]).push(changed);
  }
  for (const table of local?.tables ?? []) if (!isReplicated(table)) changes.set(table, "unknown");
  return changes;
}

/** The tables alone that {@link tableChanges} would name, without a look at what clocks became. */
export function changedTables(
  merged: readonly MergedRow[],
  local: LocalWrites | undefined,
  isReplicated: (table: string) => boolean,
): Set<string> {
  const tables = new Set<string>();
  for (const { changed, table } of merged) {
    if (changed || local !== undefined) tables.add(table);
  }
  for (const table of local?.tables ?? []) if (!isReplicated(table)) tables.add(table);
  return tables;
}

/** Whether a change of the row can concern somebody who depends on its table so. */
export function concerns({ columns }: ChangedRow, dependency: TableDependency): boolean {
  if (columns === undefined || dependency.columns === undefined) return true;
  for (const column of columns) if (dependency.columns.has(column)) return true;
  return false;
}

/** Of a row that stays, and in which only cells became others. */
function changedColumns({ before, after, isCutToFit }: MergedRow): Set<string> | undefined {
  if (before === undefined || isCutToFit === true) return undefined;
  if (before.clock.cl !== after.clock.cl || compareStamps(before.clock, after.clock) !== 0)
    return undefined;
  const columns = new Set<string>();
  let at = 0;
  for (const cell of after.cells) {
    while (
      at < before.cells.length &&
      (before.cells[at] as { column: string }).column < cell.column
    ) {
      columns.add((before.cells[at] as { column: string }).column);
      at++;
    }
    const old = before.cells[at];
    if (old?.column !== cell.column) {
      columns.add(cell.column);
      continue;
    }
    at++;
    const { high, low } = old.hash;
    const isSame =
      compareStamps(old.stamp, cell.stamp) === 0 &&
      high === cell.hash.high &&
      low === cell.hash.low;
    if (!isSame) columns.add(cell.column);
  }
  for (; at < before.cells.length; at++) {
    columns.add((before.cells[at] as { column: string }).column);
  }
  return columns;
}
