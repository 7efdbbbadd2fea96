/**
 * What becomes of a row, decided before it is written (`prepared-merge.ts`).
 *
 * @module
 */

import type { Rowid } from "../../database.ts";
import type { SqlValue } from "../../row/value.ts";
import type { HeldRow } from "../tables/held-row.ts";
import type { Slot } from "../tables/row-writer.ts";
import type { PlacedRow } from "../tables/store-parts.ts";
import type { StoredTable } from "../tables/stored-table.ts";

/** What the quick ways write (`quick-merge.ts`). */
export interface QuickWrite {
  readonly kind: "quick";
  readonly table: StoredTable;
  readonly isNew: boolean;
  readonly key: readonly SqlValue[] | undefined;
  /** Of a row that is there; undefined for WITHOUT ROWID. */
  readonly rowid: Rowid | undefined;
  /** The columns of a row that is there, as a set of their indexes. */
  readonly columns: number;
  /** By index of the table's value columns. */
  readonly values: readonly SqlValue[];
  readonly clock: Uint8Array;
}

/** What is written of any other row (`row-writer.ts`). Both stay as they are: it may be written again after a rollback. */
export interface AnyWrite {
  readonly kind: "any";
  readonly slot: Slot;
  readonly row: HeldRow;
}

export interface DecidedRow {
  readonly placed: PlacedRow;
  /** Undefined: nothing. */
  readonly write: QuickWrite | AnyWrite | undefined;
}
