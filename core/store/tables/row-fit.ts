/**
 * What isn't shown of a row that is too large for SQLite: as much as it takes for the rest to fit in any case.
 *
 * To find out how much is least SQLite would have to put the row together again and again, which takes it a second where
 * generated columns come near to the limit. So a value counts once more for each time that the table's expressions and indexes name
 * its column, and the row is no larger than all of that together.
 *
 * @module
 */

import { utf8Length } from "../../bytes/utf8.ts";
import type { SqlDatabase } from "../../database.ts";
import { bytesOfValue, type SqlValue } from "../../row/value.ts";
import type { PlannedTable } from "../../schema/schema.ts";
import { tokenize } from "../../schema/sql-token.ts";
import type { HeldCell } from "./held-row.ts";

/** What a number becomes at most where it is joined to text. */
const numberBytesMax = 32;
/** The rest is for the headers of records, and for literals. */
const filledShare = 7 / 8;

/**
 * The cells that aren't to be shown, the largest; none: by this reckoning all fit.
 *
 * @param cells Of columns of the table, with their values.
 */
export function cellsToLeaveOut(
  database: SqlDatabase,
  plan: PlannedTable,
  key: readonly SqlValue[],
  cells: readonly HeldCell[],
): readonly HeldCell[] {
  const mentions = mentionsOf(database, plan);
  const bytesOf = (column: string, value: SqlValue) => sizeOf(value) * (mentions.get(column) ?? 1);
  let left = database.lengthMax * filledShare;
  plan.keyColumns.forEach(({ name }, i) => {
    left -= bytesOf(name, key[i] ?? null);
  });
  return cells
    .map((cell) => ({ cell, bytes: bytesOf(cell.column, cell.value as SqlValue) }))
    .sort((a, b) => a.bytes - b.bytes)
    .filter(({ bytes }) => {
      left -= bytes;
      return left < 0;
    })
    .map(({ cell }) => cell);
}

/** How often a table's statements name its columns: each at least once, as its own. */
function mentionsOf(database: SqlDatabase, plan: PlannedTable): ReadonlyMap<string, number> {
  const mentions = new Map<string, number>();
  const statements = database.all(
    "SELECT sql FROM sqlite_schema WHERE lower(tbl_name) = ? AND sql NOT NULL",
    plan.name,
  );
  for (const [sql] of statements) {
    for (const { kind, value } of tokenize(String(sql))) {
      if (kind !== "word" && kind !== "quoted") continue;
      mentions.set(value, (mentions.get(value) ?? 0) + 1);
    }
  }
  return mentions;
}

function sizeOf(value: SqlValue): number {
  if (typeof value === "string") return utf8Length(value);
  return Math.max(bytesOfValue(value), numberBytesMax);
}
