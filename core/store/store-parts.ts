/**
 * What the parts of a SQLite store share, made anew with each schema; and where its rows stood.
 *
 * @module
 */

import type { HlcClock } from "../clock/hlc-clock.ts";
import type { ClockState, Digester, RowId } from "../row/digest.ts";
import type { SqlDatabase } from "./database.ts";
import { encodeClocks, encodeHeld, type HeldRow } from "./held-row.ts";
import type { StoredOrdinals } from "./ordinals.ts";
import type { Places } from "./places.ts";
import type { MergedRow, RowRef, ScanPosition } from "./row-store.ts";
import type { RowWriter, Slot } from "./row-writer.ts";
import type { Place, StoredTable } from "./stored-table.ts";

export interface StoreParts {
  /** The one connection that writes. */
  readonly database: SqlDatabase;
  readonly digester: Digester;
  readonly clock: HlcClock;
  readonly ordinals: StoredOrdinals;
  readonly tables: ReadonlyMap<string, StoredTable>;
  readonly rows: RowWriter;
  readonly places: Places;
}

/** Where a row stands in the order of a scan; undefined: nothing is held of it. */
export function positionOfSlot({ places }: StoreParts, slot: Slot): ScanPosition | undefined {
  if (slot.held === undefined) return undefined;
  return slot.isAbsent || slot.table === undefined
    ? places.ofAbsent(slot.name, slot.keyBytes)
    : places.ofRow(slot.table, slot);
}

/** Writes the clocks of a row that stands in its table. */
export function putClocks(
  { ordinals }: StoreParts,
  place: Place,
  table: StoredTable,
  held: HeldRow,
  isNew: boolean,
): void {
  table.putClocks(place, encodeClocks(held, ordinals), encodeHeld(held), isNew, true);
}

/** A row of a merge or commit of this store, which knows where it stood before; undefined: nowhere. */
export class PlacedRow implements MergedRow {
  readonly table: string;
  readonly key: Uint8Array;
  readonly id: RowId;
  readonly before: ClockState | undefined;
  readonly incoming: ClockState;
  readonly after: ClockState;
  readonly changed: boolean;
  readonly conflict: boolean;
  readonly #placeBefore: ScanPosition | undefined;

  constructor(row: MergedRow, placeBefore: ScanPosition | undefined) {
    this.table = row.table;
    this.key = row.key;
    this.id = row.id;
    this.before = row.before;
    this.incoming = row.incoming;
    this.after = row.after;
    this.changed = row.changed;
    this.conflict = row.conflict;
    this.#placeBefore = placeBefore;
  }

  static is(row: RowRef): row is PlacedRow {
    return #placeBefore in row;
  }

  get placeBefore(): ScanPosition | undefined {
    return this.#placeBefore;
  }
}
