/**
 * Indexes that some row is too large for, as a schema brings them: an index repeats what its expressions name.
 *
 * SQLite doesn't say which row it was. So the largest are taken out of their table until the index can be made, and written
 * again with the index there: `row-writer.ts` leaves out what of them is too much.
 *
 * @module
 */

import { isTooBig, type SqlDatabase } from "../../database.ts";
import { encodeKey } from "../../row/key.ts";
import type { PlannedObject, PlannedTable } from "../../schema/schema.ts";
import { quoteName } from "../../schema/sql-token.ts";
import type { StoreParts } from "./store-parts.ts";
import type { StoredTable } from "./stored-table.ts";

/** Smaller ones can't be it, but where an index has thousands of columns. */
const largeBytesMin = 1024;
/** Taken out before the index is tried again; then so many times more. */
const firstRows = 8;
const moreRows = 8;

/** In the transaction that is open. Throws what SQLite throws: also where it isn't the rows of a replicated table. */
export function makeIndexes(parts: StoreParts, indexes: readonly PlannedObject[]): void {
  for (const { sql, table: name } of indexes) {
    const table = parts.tables.get(name);
    const keys = table === undefined ? [] : largestKeys(parts.database, table);
    let out = 0;
    for (let count = firstRows; ; count *= moreRows) {
      for (; out < Math.min(count, keys.length); out++) takeOut(parts, name, keys[out]);
      try {
        parts.database.exec(sql);
        break;
      } catch (error) {
        if (!isTooBig(error) || out === keys.length) throw error;
      }
    }
    for (const key of keys.slice(0, out)) {
      const slot = parts.rows.find(name, key);
      if (slot.isAbsent && slot.held !== undefined) parts.rows.write(slot, slot.held);
    }
  }
}

/** One without clocks stays: nothing is known of it that could bring it back. */
function takeOut(parts: StoreParts, name: string, key: Uint8Array | undefined): void {
  const slot = key && parts.rows.find(name, key);
  if (slot?.hasBase === true && slot.held !== undefined) parts.rows.takeOut(slot, slot.held);
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
