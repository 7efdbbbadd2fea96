/**
 * What opening a store, changing its schema and committing come to.
 *
 * @module
 */

import type { Changeset } from "../change/changeset.ts";
import type { MergedRow } from "../row-store.ts";
import type { SchemaProblem } from "../schema/schema.ts";

export interface OpenReport {
  /** The file was new. */
  readonly created: boolean;
  /** Schema statements that were run. */
  readonly statements: readonly string[];
  /** Where the database differs from the schema files and stays so. */
  readonly warnings: readonly SchemaProblem[];
  /** Rows that stood in a table when it became replicated, taken in as INSERTs of long ago (`adoption.ts`). */
  readonly adoptedRows: number;
  /** Rows and cells that were held and are shown since the schema grew. */
  readonly surfacedRows: number;
  /** Clocks whose row somebody deleted without Patina. They were removed: a peer brings the row back. */
  readonly clocksWithoutRows: number;
  /** Rows that somebody wrote without Patina: nobody else hears of them until they are written again. */
  readonly rowsWithoutClocks: number;
  /** Rows whose hashes were of another digest key: the file was another cluster's, or stood alone. */
  readonly rehashedRows: number;
  /**
   * Rows of the clock log that were damaged, and those before them: their clocks are lost, and a scrub finds the values
   * damaged that these were of.
   */
  readonly lateClocksLost: number;
}

export type SchemaChanged =
  | {
      readonly kind: "changed";
      readonly statements: readonly string[];
      /** As in {@link OpenReport}. */
      readonly warnings: readonly SchemaProblem[];
      /** Tables that have got columns. */
      readonly grown: readonly string[];
      /** Taken in here, as in {@link OpenReport}; beyond that see `SqliteStore.adopting`. */
      readonly adoptedRows: number;
      readonly surfacedRows: number;
    }
  /** Nothing was done. */
  | { readonly kind: "refused"; readonly problems: readonly SchemaProblem[] };

export type CommitResult =
  | {
      readonly kind: "committed";
      /** Counts this site's commits that changed something, after a crash with a gap; null when it changed nothing. */
      readonly version: number | null;
      /** Undefined when nothing that is replicated changed. */
      readonly changeset: Changeset | undefined;
      /** The changeset's bytes. */
      readonly encoded: Uint8Array | undefined;
      readonly merged: readonly MergedRow[];
    }
  /**
   * The transaction was rolled back; nothing of it was applied.
   *
   * `isUnheard`: because a row was new here, and others may have it (`local-transaction.ts`).
   */
  | { readonly kind: "refused"; readonly why: string; readonly isUnheard?: boolean };
