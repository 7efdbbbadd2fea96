/**
 * What the parts of a SQLite store share, made anew with each schema; and where its rows stood.
 *
 * @module
 */

import type { HlcClock } from "../../clock/hlc-clock.ts";
import type { SqlDatabase } from "../../database.ts";
import {
  type ClockState,
  type Digester,
  type IdWords,
  type RowId,
  wordsToId,
} from "../../row/digest.ts";
import type { RowState } from "../../row/row-state.ts";
import type { MergedRow, QuickNews, RowRef, ScanPosition } from "../../row-store.ts";
import type { StoredOrdinals } from "../clocks/ordinals.ts";
import type { RecentClocks } from "../clocks/recent-clocks.ts";
import type { AbsentRows } from "./absent-rows.ts";
import { encodeClocks, encodeHeld, type HeldRow } from "./held-row.ts";
import type { Places } from "./places.ts";
import type { RowWriter, Slot } from "./row-writer.ts";
import type { Place, StoredTable } from "./stored-table.ts";

export interface StoreParts {
  /** The one connection that writes. */
  readonly database: SqlDatabase;
  readonly digester: Digester;
  readonly clock: HlcClock;
  readonly ordinals: StoredOrdinals;
  readonly tables: ReadonlyMap<string, StoredTable>;
  readonly absent: AbsentRows;
  readonly rows: RowWriter;
  readonly places: Places;
  readonly recentClocks: RecentClocks;
}

/** Ends the statements of parts that others have taken the place of. */
export function disposeParts({ tables, absent, rows }: StoreParts): void {
  for (const table of tables.values()) table.dispose();
  absent[Symbol.dispose]();
  rows[Symbol.dispose]();
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

/** A row of a merge or commit of this store, which knows where it stood before. */
export class PlacedRow implements MergedRow {
  readonly table: string;
  readonly key: Uint8Array;
  readonly before: ClockState | undefined;
  readonly after: ClockState;
  readonly changed: boolean;
  readonly conflict: boolean;
  readonly quickNews: QuickNews | undefined;
  /** Told by whoever writes it. */
  isCutToFit = false;
  /** In the order of a scan; undefined: nowhere. */
  readonly placeBefore: ScanPosition | undefined;
  readonly #digester: Digester;
  #incoming: ClockState | RowState;
  #words: IdWords | undefined;
  #id: RowId | undefined;

  /**
   * @param words Undefined: hashed when they are asked for.
   * @param incoming A row as it came, where the store has made no clocks of it.
   */
  constructor(
    ref: RowRef,
    words: IdWords | undefined,
    before: ClockState | undefined,
    incoming: ClockState | RowState,
    digester: Digester,
    after: ClockState,
    changed: boolean,
    conflict: boolean,
    quickNews: QuickNews | undefined,
    placeBefore: ScanPosition | undefined,
  ) {
    this.table = ref.table;
    this.key = ref.key;
    this.#words = words;
    this.before = before;
    this.after = after;
    this.changed = changed;
    this.conflict = conflict;
    this.quickNews = quickNews;
    this.placeBefore = placeBefore;
    this.#incoming = incoming;
    this.#digester = digester;
  }

  get words(): IdWords {
    this.#words ??= this.#digester.idWords(this.table, this.key);
    return this.#words;
  }

  get id(): RowId {
    this.#id ??= wordsToId(this.words);
    return this.#id;
  }

  /** Its values are hashed when it is asked for: most of what comes again is never. */
  get incoming(): ClockState {
    const incoming = this.#incoming;
    if (!("table" in incoming)) return incoming;
    const clocks = this.#digester.clocksOf(incoming);
    this.#incoming = clocks;
    return clocks;
  }
}
