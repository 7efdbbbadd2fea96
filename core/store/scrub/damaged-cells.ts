/**
 * Cells that are shown and have no clock: `patina_damaged` names them until somebody brings or writes them.
 *
 * A scrub took their clock away (`scrub.ts`), or stamping anew did (`core/replica/restamp.ts`). Peers' copies win over
 * them. Where there are none this is how people learn of them, and why a cell that is written as it is shown counts
 * (`local/local-commit.ts`): else hosts would differ in it, and nothing that is said here would end that.
 *
 * @module
 */

import type { StoreParts } from "../tables/store-parts.ts";

type Parts = Pick<StoreParts, "database" | "tables">;

/** Lets the tables of a new schema know of the cells that the file names. */
export function readDamaged({ database, tables }: Parts): void {
  const known = database.all(
    "SELECT tbl, col, max(found_ms) FROM patina_damaged GROUP BY tbl, col",
  );
  for (const [table, column, foundMs] of known) {
    tables.get(String(table))?.damagedColumns.set(String(column), Number(foundMs));
  }
}

/** A cell loses its clock. Inside a transaction. */
export function noteDamaged(
  { database, tables }: Parts,
  table: string,
  key: Uint8Array,
  column: string,
  nowMs: number,
): void {
  tables.get(table)?.damagedColumns.set(column, nowMs);
  // It may have been named before, and healed: peers have their time again.
  const insert = "INSERT OR REPLACE INTO patina_damaged (tbl, key, col, found_ms)";
  database.run(`${insert} VALUES (?, ?, ?, ?)`, table, key, column, Math.floor(nowMs));
}
