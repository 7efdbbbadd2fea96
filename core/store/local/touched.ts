/**
 * A key that a local transaction has touched: what its row was when that began, and what it is at the commit.
 *
 * @module
 */

import type { Rowid } from "../../database.ts";
import type { SqlValue } from "../../row/value.ts";
import type { HeldRow } from "../tables/held-row.ts";
import type { BaseRow, StoredTable } from "../tables/stored-table.ts";

export interface Touched {
  readonly table: StoredTable;
  /** Canonical. */
  readonly key: readonly SqlValue[];
  readonly keyBytes: Uint8Array;
  /** Values when the transaction began, in the order of `valueColumns`; undefined: there was no row. */
  readonly before: readonly SqlValue[] | undefined;
  /** Rowid when the transaction began, of a row that was there; undefined for WITHOUT ROWID. */
  readonly rowidBefore: Rowid | undefined;
  /** Its row now. */
  row: BaseRow | undefined;
  /** The touched key whose row, of those that were there at first, this one has now. */
  source: Touched | undefined;
  /** Of a row that stayed under its key: the columns that statements named, of those that count when they are said again (`capture.ts`). */
  named: readonly string[] | undefined;
  /** Clocks before the transaction, once they were read: null when there are none. */
  clocks: HeldRow | null | undefined;
}

/** The columns of both; one of the two where that has all of them. */
export function joinNames(
  a: readonly string[] | undefined,
  b: readonly string[] | undefined,
): readonly string[] | undefined {
  if (a === undefined || a === b) return b;
  if (b === undefined || b.every((name) => a.includes(name))) return a;
  return [...new Set([...a, ...b])];
}
