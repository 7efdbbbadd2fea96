/**
 * How a live query's rows are read from what its statement returns: the client's columns first, then the keys of
 * the tables that the row comes from, where the query names them. Read so on the store thread and in the reader thread.
 *
 * @module
 */

import type { SqlValue } from "../../core/row/value.ts";
import type { Statement } from "../../wasm/statement.ts";
import { cellsJson } from "../sql/query-runner.ts";
import { stepUnclocked } from "./plan/changing-functions.ts";
import { keySeparator, keyText } from "./rows/key-text.ts";
import type { ReadRow } from "./rows/row.ts";

/** How a row's identity and cells stand in what a statement returns. */
export interface RowShape {
  /** The client's own, the first ones. */
  readonly columnCount: number;
  /** How many columns each table's key has; they follow, table by table. Empty: not keyed. */
  readonly keys: readonly number[];
  /** Of one that isn't keyed: the columns that make the identity; empty: all. */
  readonly identity: readonly number[];
}

/** What is run to get all rows: plain data, for another connection to the same database. */
export interface WholeQuery {
  readonly sql: string;
  readonly values: readonly (string | number)[];
  readonly shape: RowShape;
}

/** The row at hand. @throws NotUtf8Error */
export function readRow(statement: Statement, shape: RowShape): ReadRow {
  const { columnCount, keys, identity } = shape;
  const cells = cellsJson(statement, columnCount);
  if (keys.length === 0) {
    if (identity.length === 0) return { identity: cells, cells };
    return { identity: keyText(identity.map((column) => statement.column(column))), cells };
  }
  let column = columnCount;
  let text = "";
  for (const [i, keyColumns] of keys.entries()) {
    const values: SqlValue[] = [];
    for (let n = 0; n < keyColumns; n++) values.push(statement.column(column++));
    text += i === 0 ? keyText(values) : keySeparator + keyText(values);
  }
  return { identity: text, cells };
}

/** Runs a statement whose parameters are bound; it is at rest afterwards. @throws SqliteError, NotUtf8Error */
export function forEachRow(
  statement: Statement,
  shape: RowShape,
  use: (row: ReadRow) => void,
): void {
  try {
    while (stepUnclocked(statement)) use(readRow(statement, shape));
  } finally {
    statement.reset();
  }
}

/** Its first parameters. */
export function bindValues(statement: Statement, values: readonly (string | number)[]): void {
  for (let i = 0; i < values.length; i++) statement.bind(i + 1, values[i] as string | number);
}
