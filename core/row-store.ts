/**
 * The rows that a replica holds, whatever keeps them: SQLite in the agent, a map in tests (`test/model/map-store.ts`).
 *
 * Everything above (index, repair, the node machine) sees rows only through this.
 *
 * @module
 */

import { bytesToHex } from "./bytes/hex.ts";
import type { RowBlockWriter } from "./change/row-block.ts";
import type { Rowid } from "./database.ts";
import type { ClockState, IdWords, RowId } from "./row/digest.ts";
import { decodeKey } from "./row/key.ts";
import type { RowColumns } from "./row/row-columns.ts";
import type { RowState } from "./row/row-state.ts";
import { RawText, Real, type SqlValue } from "./row/value.ts";

export interface RowRef {
  /** In ASCII lower case. */
  readonly table: string;
  /** As of `row/key.ts`. */
  readonly key: Uint8Array;
}

/** Of a row that is larger than the store can hold. Nothing of it was taken in. */
export class RowTooLarge extends Error {
  constructor({ table, key }: RowRef) {
    const values = decodeKey(key)?.map(valueText).join(", ") ?? "";
    super(
      `a row of table ${table} is larger than can be held, and differs from the others': ${values}`,
    );
    this.name = "RowTooLarge";
  }
}

function valueText(value: SqlValue): string {
  const isBytes = value instanceof Uint8Array || value instanceof RawText;
  const text = isBytes ? `x'${bytesToHex(value instanceof RawText ? value.bytes : value)}'` : null;
  const whole = text ?? (value instanceof Real ? String(value.real) : String(value));
  return whole.length > keyTextMax ? `${whole.slice(0, keyTextMax)}…` : whole;
}

/** Of a key's part, where people read it. */
const keyTextMax = 100;

/** What taking in one row did. */
export interface MergedRow extends RowRef {
  readonly id: RowId;
  /** The id as numbers. */
  readonly words: IdWords;
  /** Clocks held before; undefined for a row never heard of. */
  readonly before: ClockState | undefined;
  /** The clocks that came, also those that lost: the settled image counts them. */
  readonly incoming: ClockState;
  /** The join. */
  readonly after: ClockState;
  /** The held state is another than before. */
  readonly changed: boolean;
  /** Two writers under one identity were seen. */
  readonly conflict: boolean;
  /**
   * It is, or was, too large for all of it to be shown: other cells than before may be, also of those that stayed as they
   * were. Undefined: false.
   */
  readonly isCutToFit?: boolean;
  /** What the store has seen of the news while it joined; undefined: to be found out. */
  readonly quickNews: QuickNews | undefined;
}

/** The clocks that came and weren't held as they are. */
export interface QuickNews {
  /** Of their stamps, +Infinity and -Infinity when there are none. */
  readonly msMin: number;
  readonly msMax: number;
  /** All of them are in the join. */
  readonly isHeld: boolean;
}

/** A row as a scan sees it. */
export interface ScannedRow extends RowRef {
  readonly id: RowId;
  readonly clocks: ClockState;
}

/** A row whose clocks become others, while its values stay. */
export interface ReclockedRow extends RowRef {
  /** Of the same columns as before. A cell that is left out counts for nothing from then on: any peer's wins. */
  readonly clocks: ClockState;
}

/** Where a row stands in its table: its rowid, or its key's bytes where the table has none. */
export type TablePlace = Rowid | Uint8Array;

/** Where a scan goes on. Plain data; only the store that made it reads it, and one that a peer made up does no harm. */
export interface ScanPosition {
  readonly part: number;
  readonly after: TablePlace | null;
}

/** Rows that are to be merged in one transaction, worked on before it begins. See `prepared-merge.ts`. */
export interface MergePreparation {
  /** Rows it has. */
  readonly length: number;

  /** Adds rows, and does for them whatever can be done before. Throws as `merge` does; it is of no use then. */
  add(rows: readonly RowState[]): void;

  /** No more are added. */
  finish(): void;

  /** Nobody will merge them any more. */
  end(): void;
}

/** One transaction of merges. It is over after its commit, its rollback, or a call that threw. */
export interface MergeTransaction {
  /** Throws as `merge` does: then nothing of the transaction is applied, and it is over. */
  add(rows: readonly RowState[]): void;

  /**
   * Adds so many rows of a preparation that is finished: the same as to add them one by one, and quicker. All of them
   * once are all rows, in an order of the store's in which those of one key stay in theirs.
   */
  addPrepared(prepared: MergePreparation, from: number, to: number): void;

  /** @returns what it did to each row added, in order. Throws as `add` does. */
  commit(): MergedRow[];

  /** Nothing of it is applied. Does nothing once it is over. */
  rollback(): void;
}

/** Told of a row that was stamped lately: where it stands, and the ms of its largest stamp. */
export type NewerRowVisitor = (
  part: ScanPosition["part"],
  after: ScanPosition["after"],
  ms: number,
) => void;

/** Whether a scan is after the rows of a range (`rangeOfRow`). */
export type RangeFilter = (range: number) => boolean;

/** Whether of a row whose clocks were stamped in this span, ms, both ends included, its digest is enough. */
export type DigestsEnough = (firstMs: number, lastMs: number) => boolean;

export interface RowStore {
  /**
   * Joins `rows` into what is held, in one transaction. Total: no row that decodes makes it throw,
   * whatever the schema. A full disk or a failed write throws, and nothing is changed.
   */
  merge(rows: readonly RowState[]): MergedRow[];

  /**
   * The same in pieces, with other work in between. While it is open `read` and `scan` see what it has
   * done so far; nothing else may be asked of the store.
   */
  beginMerge(): MergeTransaction;

  /**
   * Begins to work on rows that will be merged later. Other transactions may come before, between and after; one
   * preparation at a time.
   */
  prepareMerge(): MergePreparation;

  /** Whole rows as held, with values; undefined where nothing is held. */
  read(refs: readonly RowRef[]): (RowState | undefined)[];

  /**
   * Up to `rowsMax` held rows (tombstones too) from `position` on; undefined starts and ends.
   *
   * @param isWanted Rows of other ranges are passed, and cost about a third: they count, and most of them aren't given.
   */
  scan(
    position: ScanPosition | undefined,
    rowsMax: number,
    isWanted?: RangeFilter,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined };

  /**
   * The same, into a block: rows as `read` gives them, until there are `rowsMax`, damaged ones counted too, or the
   * block's body has `bytesMax` or a little more.
   *
   * @returns where it goes on.
   */
  writeRows(
    position: ScanPosition | undefined,
    rowsMax: number,
    bytesMax: number,
    block: RowBlockWriter,
  ): ScanPosition | undefined;

  /**
   * The same, quick: only tells which rows were stamped at `sinceMs` or later, and reads no key and no
   * value. Tombstones too. When it throws it may have told of some.
   *
   * @returns where it goes on.
   */
  scanNewer(
    position: ScanPosition | undefined,
    rowsMax: number,
    sinceMs: number,
    visit: NewerRowVisitor,
  ): ScanPosition | undefined;

  /**
   * The same scan for whoever needs little more than digests: rows for which `isEnough` may come in
   * columns, with no object each; the others come whole. The columns are good until the next call.
   */
  scanDigests(
    position: ScanPosition | undefined,
    rowsMax: number,
    isEnough: DigestsEnough,
  ): {
    readonly columns: RowColumns;
    readonly rows: readonly ScannedRow[];
    readonly next: ScanPosition | undefined;
  };

  /** The rows that stand at these places now; undefined where none does. */
  rowsAt(places: readonly ScanPosition[]): (ScannedRow | undefined)[];

  /**
   * Whether a scan that stands at `position` has already passed the place where the row was before a
   * merge or local commit; `row` is the very {@link MergedRow} that this returned, and its `before` is
   * not undefined. Lets writes go on while the index is rebuilt.
   */
  isPassed(position: ScanPosition, row: RowRef): boolean;

  /**
   * Replaces clocks, in one transaction; no join. Only for clocks that nobody else has (`restamp.ts`).
   * The store's HLC is kept with them, also when `rows` is empty. Throws as `merge` does.
   *
   * @param nowMs By the wall clock: cells that have no clock any more are damaged since.
   * @returns for each row whether it belongs in the urgent lane.
   */
  reclock(rows: readonly ReclockedRow[], nowMs: number): readonly boolean[];
}
