/**
 * What a transaction changed, as live queries want to know it.
 *
 * @module
 */

import type { MergedRow } from "../../core/store/row-store.ts";

/** By table; rows by key (`core/row/key.ts`), or `"unknown"` when only the table is known. */
export type TableChanges = ReadonlyMap<string, readonly MergedRow[] | "unknown">;

/**
 * @param merged rows of replicated tables
 * @param tables all tables that were written to; those without a merged row are local ones
 * @param isReplicated tells them apart from replicated ones in which nothing changed
 */
export function tableChanges(
  merged: readonly MergedRow[],
  tables: Iterable<string>,
  isReplicated: (table: string) => boolean,
): TableChanges {
  const changes = new Map<string, MergedRow[] | "unknown">();
  for (const row of merged) {
    if (!row.changed) continue;
    const rows = changes.get(row.table);
    if (rows === undefined) changes.set(row.table, [row]);
    else (rows as MergedRow[]).push(row);
  }
  for (const table of tables) if (!isReplicated(table)) changes.set(table, "unknown");
  return changes;
}
