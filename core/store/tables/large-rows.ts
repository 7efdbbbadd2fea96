/**
 * Indexes that some row is too large for, as a schema brings them: an index repeats what its expressions name.
 *
 * SQLite doesn't say which row it was. So the largest are taken out of their table until the index can be made, and written
 * again with the index there: `row-writer.ts` leaves out what of them is too much. A row that can't be held outside of its table,
 * whose held values are as large again, stays; and so does one of a table that isn't replicated. Then the index is left out until
 * it can be made: what is asked takes longer without, but a host that didn't start would answer nothing.
 *
 * @module
 */

import { isTooBig, type SqlDatabase } from "../../database.ts";
import { encodeKey } from "../../row/key.ts";
import { bytesOfValue } from "../../row/value.ts";
import type { PlannedObject, PlannedTable, SchemaProblem } from "../../schema/schema.ts";
import { quoteName } from "../../schema/sql-token.ts";
import type { StoreParts } from "./store-parts.ts";
import type { StoredTable } from "./stored-table.ts";

/** Smaller ones can't be it, but where an index has thousands of columns. */
const largeBytesMin = 1024;
/** What a held row takes beside its key and values: its clock and the table's name, and of each cell its clock and its lengths. */
const headBytesMax = 512;
const cellBytesMax = 64;
/** Taken out before the index is tried again; then so many times more. */
const firstRows = 8;
const moreRows = 8;

/** In the transaction that is open. Those that can't be made are told. Throws what SQLite throws. */
export function makeIndexes(
  parts: StoreParts,
  indexes: readonly PlannedObject[],
): readonly SchemaProblem[] {
  const leftOut: SchemaProblem[] = [];
  for (const { sql, name: index, table: name } of indexes) {
    const table = parts.tables.get(name);
    const keys = table === undefined ? [] : largestKeys(parts.database, table);
    let out = 0;
    let isStuck = false;
    for (let count = firstRows; ; count *= moreRows) {
      for (; out < Math.min(count, keys.length); out++) {
        isStuck = !takeOut(parts, name, keys[out] as Uint8Array) || isStuck;
      }
      try {
        parts.database.exec(sql);
        break;
      } catch (error) {
        if (!isTooBig(error)) throw error;
        // With all others out it would be the same, most likely: and there may be a million.
        if (!isStuck && out < keys.length) continue;
        const why = `index ${index} isn't made: a row of ${name} is too large for it`;
        leftOut.push({ file: "", line: 0, why });
        break;
      }
    }
    for (const key of keys.slice(0, out)) {
      const slot = parts.rows.find(name, key);
      if (slot.isAbsent && slot.held !== undefined) parts.rows.write(slot, slot.held);
    }
  }
  return leftOut;
}

/** False: it stays. One without clocks does, for nothing is known of it that could bring it back. */
function takeOut({ rows, database }: StoreParts, name: string, key: Uint8Array): boolean {
  const slot = rows.find(name, key);
  if (!slot.hasBase || slot.held === undefined) return false;
  rows.readValues(slot, slot.held);
  let bytes = key.length + headBytesMax;
  for (const { value } of slot.held.cells) bytes += bytesOfValue(value ?? null) + cellBytesMax;
  if (bytes > database.lengthMax) return false;
  rows.takeOut(slot, slot.held);
  return true;
}

/** Keys of the large rows, the largest first. */
function largestKeys(database: SqlDatabase, { plan }: StoredTable): Uint8Array[] {
  const rows: { readonly key: Uint8Array; readonly bytes: number }[] = [];
  using statement = database.prepare(sizesSql(plan));
  const keys = plan.keyColumns.length;
  while (statement.step()) {
    let bytes = 0;
    for (let i = 0; i < plan.valueColumns.length; i++) {
      bytes += Number(statement.column(keys + i) ?? 0);
    }
    if (bytes < largeBytesMin) continue;
    const key = encodeKey(plan.keyColumns.map((_, i) => statement.column(i)));
    if (key !== undefined) rows.push({ key, bytes });
  }
  return rows.sort((a, b) => b.bytes - a.bytes).map(({ key }) => key);
}

function sizesSql({ sqlName, keyColumns, valueColumns }: PlannedTable): string {
  const keys = keyColumns.map((column) => quoteName(column.sqlName));
  const sizes = valueColumns.map((column) => `octet_length(${quoteName(column.sqlName)})`);
  return `SELECT ${[...keys, ...sizes].join(", ")} FROM ${quoteName(sqlName)}`;
}
