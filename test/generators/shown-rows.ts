/**
 * What a table must show, worked out from what is held and the schema alone.
 *
 * @module
 */

import { isLive } from "../../core/clock/row-clock.ts";
import type { Digester } from "../../core/row/digest.ts";
import { decodeKey, encodeKey } from "../../core/row/key.ts";
import { joinRows, type RowState } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import { isKeptByAffinity, isKeyKept, shownKeyValue } from "../../core/schema/affinity.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import type { SqliteNode } from "./sqlite-store.ts";

/** What is held, by table and key: the naive join of all rows. */
export function joined(rows: readonly RowState[], digester: Digester): Map<string, RowState> {
  const model = new Map<string, RowState>();
  for (const state of rows) {
    const id = digester.rowId(state.table, state.key);
    const held = model.get(id);
    model.set(id, held === undefined ? state : joinRows(held, state).state);
  }
  return model;
}

/** What `SELECT *` without generated columns must give: a function of what is held and the schema. */
export function shownRows(
  schema: PlannedSchema,
  name: string,
  states: Iterable<RowState>,
): SqlValue[][] {
  const table = schema.tables.get(name);
  if (table === undefined) return [];
  const rows: SqlValue[][] = [];
  for (const state of states) {
    if (state.table !== name || !isLive(state.clock)) continue;
    const key = decodeKey(state.key) as SqlValue[];
    const isShown =
      key.length === table.keyColumns.length &&
      table.keyColumns.every((column, i) =>
        isKeyKept(column.affinity, table.rowidAlias, key[i] as SqlValue),
      );
    if (!isShown) continue;
    rows.push(
      table.columns
        .filter(({ generated }) => !generated)
        .map((column) => {
          if (column.key > 0) {
            return shownKeyValue(column.affinity, key[column.key - 1] as SqlValue);
          }
          const cell = state.cells.find((one) => one.column === column.name);
          if (cell === undefined) return column.defaultValue;
          const isKept =
            isKeptByAffinity(column.affinity, cell.value) &&
            !(column.notNull && cell.value === null);
          return isKept ? cell.value : column.defaultValue;
        }),
    );
  }
  return rows;
}

/** What it does give, in no order. */
export function selectRows(node: SqliteNode, name: string): SqlValue[][] {
  const table = node.store.schema.tables.get(name);
  const columns = table?.columns.filter(({ generated }) => !generated).map((column) => column.name);
  return node.db.all(`SELECT ${columns?.join(", ")} FROM ${name}`);
}

/** In an order of their values. */
export function sorted(rows: readonly SqlValue[][]): SqlValue[][] {
  const name = (cells: SqlValue[]): string => {
    const bytes = cells.map((cell) => encodeKey([cell ?? "null"])?.join() ?? "");
    return bytes.join(";");
  };
  return rows.toSorted((a, b) => (name(a) < name(b) ? -1 : 1));
}
