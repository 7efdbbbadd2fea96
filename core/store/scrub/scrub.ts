/**
 * Scrub: holds values against the hashes beside their clocks.
 *
 * A cell whose value isn't the one that was hashed was changed by something else than Patina: a disk, a
 * `sqlite3` shell. It is *damaged*. It is never sent, whoever reads the row first; and once a scrub has
 * met it, its clock is taken away. The row then says nothing of that column, so its digest is another than
 * the peers', repair brings their copy, and that wins over nothing, at whatever stamp. Where nobody has a
 * copy the column goes on showing what is there; `patina_damaged` names it until it is written again.
 *
 * Rows stamped after the oldest cut that can be asked for wait for the next pass: the settled image
 * keeps what it was told of them, and knows no way back.
 *
 * @module
 */

import type { CellClock, Digester } from "../../row/digest.ts";
import { equalHashes } from "../../row/digest.ts";
import type { SqlValue } from "../../row/value.ts";
import type { MergedRow, ScanPosition } from "../../row-store.ts";

export interface ScrubSlice {
  /** Rows gone through. */
  readonly rows: number;
  /** Of these, rows that are too young. */
  readonly postponed: number;
  /** Cells that were found damaged. */
  readonly damaged: number;
  /** What became of their rows, for the index: `incoming` brings nothing. */
  readonly merged: readonly MergedRow[];
  /** Undefined: the pass is through. */
  readonly next: ScanPosition | undefined;
}

export interface DamagedCell {
  readonly table: string;
  /** As of `row/key.ts`. */
  readonly key: Uint8Array;
  readonly column: string;
  readonly foundMs: number;
}

/** Whether a value is the one that its clock was given for. */
export function isSound(
  cell: Pick<CellClock, "hash"> & { readonly value: SqlValue | undefined },
  digester: Digester,
): boolean {
  return cell.value !== undefined && equalHashes(digester.valueHash(cell.value), cell.hash);
}
