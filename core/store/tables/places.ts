/**
 * Where rows stand in the order of a scan, and the scan.
 *
 * A scan goes through the tables, ascending by name, each by rowid or by key bytes, and then through the rows that
 * stand in none (`absent-rows.ts`). A position is the part (the table's number; theirs is after the last)
 * and the place in it after which the scan goes on.
 *
 * @module
 */

import { type RowBlockWriter, writeRow } from "../../change/row-block.ts";
import type { Rowid, SqlStatement } from "../../database.ts";
import type { Digester } from "../../row/digest.ts";
import { encodeKey } from "../../row/key.ts";
import { RowColumns } from "../../row/row-columns.ts";
import type { RowState } from "../../row/row-state.ts";
import { compareBytes } from "../../row/value.ts";
import type {
  DigestsEnough,
  NewerRowVisitor,
  RangeFilter,
  RowRef,
  ScannedRow,
  ScanPosition,
  TablePlace,
} from "../../row-store.ts";
import { newestMsOfClockBlob } from "../clocks/newest-stamp.ts";
import type { StoredOrdinals } from "../clocks/ordinals.ts";
import { RowHasher } from "../clocks/row-hasher.ts";
import {
  type AbsentRows,
  absentColumns,
  absentPlaceAt,
  compareAbsentPlaces,
  decodeAbsentPlace,
  encodeAbsentPlace,
} from "./absent-rows.ts";
import { BlockWriter } from "./block-writer.ts";
import { clocksOfHeld, decodeHeldRow, type HeldRow } from "./held-row.ts";
import type { Place, StoredTable } from "./stored-table.ts";
import { type ClockedRow, scannedKeyColumn } from "./table-scan.ts";

/** Rows read one by one, before it is looked at how large they are: a few MB at most beyond a block. */
const readRowsMax = 125;

interface Page {
  readonly rows: readonly ScannedRow[];
  readonly after: ScanPosition["after"];
  /** Rows read, damaged ones too. */
  readonly count: number;
  readonly isEnd: boolean;
}

export class Places {
  readonly #tables: readonly StoredTable[];
  readonly #partByTable: ReadonlyMap<StoredTable, number>;
  readonly #ordinals: StoredOrdinals;
  readonly #digester: Digester;
  readonly #absent: AbsentRows;
  readonly #hasher: RowHasher;
  readonly #blocks: BlockWriter;
  #columns = new RowColumns(0);

  /** @param tables Ascending by name. */
  constructor(
    tables: readonly StoredTable[],
    absent: AbsentRows,
    ordinals: StoredOrdinals,
    digester: Digester,
  ) {
    this.#tables = tables;
    this.#absent = absent;
    this.#partByTable = new Map(tables.map((table, part) => [table, part]));
    this.#ordinals = ordinals;
    this.#digester = digester;
    this.#hasher = new RowHasher(digester, ordinals);
    this.#blocks = new BlockWriter(digester, ordinals);
  }

  ofRow(table: StoredTable, { rowid, keyBytes }: Place): ScanPosition {
    return { part: this.#partByTable.get(table) as number, after: rowid ?? keyBytes };
  }

  /** The part of a position that stands in a table. */
  partOf(table: StoredTable): number {
    return this.#partByTable.get(table) as number;
  }

  ofAbsent(table: string, key: Uint8Array): ScanPosition {
    return { part: this.#tables.length, after: encodeAbsentPlace(table, key) };
  }

  /** Whether a scan that stands at `position` has gone by `place`. */
  isPassed(position: ScanPosition, place: ScanPosition): boolean {
    if (place.part !== position.part) return place.part < position.part;
    if (position.after === null) return false;
    const isAbsent = place.part === this.#tables.length;
    return comparePlaces(place.after, position.after, isAbsent) <= 0;
  }

  /** As `RowStore.scan`. */
  scan(
    position: ScanPosition | undefined,
    rowsMax: number,
    isWanted: RangeFilter = isAny,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    const rows: ScannedRow[] = [];
    const take = (row: ScannedRow | undefined) => {
      if (row !== undefined) rows.push(row);
    };
    const hasher = this.#hasher;
    const isUnwanted = (hasKey: boolean) => hasKey && !isWanted(hasher.range);
    const next = this.#pages(position, rowsMax, (table, after, pageRowsMax) => {
      const page =
        table === undefined
          ? this.#absent.each(after as Uint8Array | null, pageRowsMax, (statement) => {
              if (isWanted !== isAny && isUnwanted(this.#readAbsentKey(statement))) return;
              take(this.#absentOf(statement));
            })
          : table.scan.each(after, pageRowsMax, (statement, _, row) => {
              if (isWanted !== isAny && isUnwanted(this.#readKey(table, statement, row))) return;
              take(this.#scannedOf(table, row()));
            });
      return { ...page, isEnd: page.count < pageRowsMax };
    });
    return { rows, next };
  }

  /**
   * As `RowStore.writeRows`.
   *
   * @param read Reads a row that is none of the plain ones.
   */
  writeRows(
    position: ScanPosition | undefined,
    rowsMax: number,
    bytesMax: number,
    block: RowBlockWriter,
    read: (row: RowRef) => RowState | undefined,
  ): ScanPosition | undefined {
    const writeRead = (row: RowRef | undefined) => {
      const state = row && read(row);
      if (state !== undefined) writeRow(block, state);
    };
    const isFull = () => block.body.length >= bytesMax;
    return this.#pages(position, rowsMax, (table, after, pageRowsMax) => {
      // As many as were wanted: it ends here.
      if (isFull()) return { after, count: pageRowsMax, isEnd: false };
      if (table !== undefined && !table.plan.withoutRowid) {
        let count = 0;
        const place = after as Rowid | null;
        const page = table.scan.eachWithValues(place, pageRowsMax, (statement, late, row) => {
          const isAdded = this.#blocks.add(table, statement, late, block);
          if (!isAdded) writeRead(this.#scannedOf(table, row()));
          count++;
          return !isFull();
        });
        return { ...page, count };
      }
      const step = Math.min(pageRowsMax, readRowsMax);
      const page =
        table === undefined
          ? this.#absentPage(after as Uint8Array | null, step)
          : this.#tablePage(table, after as Uint8Array | null, step);
      for (const row of page.rows) writeRead(row);
      return page;
    });
  }

  /** As `RowStore.scanNewer`. */
  scanNewer(
    position: ScanPosition | undefined,
    rowsMax: number,
    sinceMs: number,
    visit: NewerRowVisitor,
  ): ScanPosition | undefined {
    return this.#pages(position, rowsMax, (table, after, pageRowsMax) => {
      const page =
        table === undefined
          ? this.#absent.each(after as Uint8Array | null, pageRowsMax, (statement) => {
              const ms = newestMsAt(statement, absentColumns.clock);
              if (ms >= sinceMs) visit(this.#tables.length, absentPlaceAt(statement), ms);
            })
          : this.#newerOf(table, after, pageRowsMax, sinceMs, visit);
      return { ...page, isEnd: page.count < pageRowsMax };
    });
  }

  #newerOf(
    table: StoredTable,
    after: ScanPosition["after"],
    rowsMax: number,
    sinceMs: number,
    visit: NewerRowVisitor,
  ): { readonly after: ScanPosition["after"]; readonly count: number } {
    const part = this.#partByTable.get(table) as number;
    return table.scan.clocks(after, rowsMax, (statement, late) => {
      const ms =
        late === undefined ? newestMsAt(statement, 0) : newestMsOfClockBlob(late, 0, late.length);
      if (ms >= sinceMs) visit(part, statement.column(1) as ScanPosition["after"], ms);
    });
  }

  /** As `RowStore.scanDigests`. */
  scanDigests(
    position: ScanPosition | undefined,
    rowsMax: number,
    isEnough: DigestsEnough,
  ): {
    readonly columns: RowColumns;
    readonly rows: readonly ScannedRow[];
    readonly next: ScanPosition | undefined;
  } {
    if (this.#columns.rowsMax < rowsMax) this.#columns = new RowColumns(rowsMax);
    const columns = this.#columns;
    columns.count = 0;
    const rows: ScannedRow[] = [];
    const whole = (row: ScannedRow | undefined) => {
      if (row !== undefined) rows.push(row);
    };
    const hasher = this.#hasher;
    const next = this.#pages(position, rowsMax, (table, after, pageRowsMax) => {
      const page =
        table === undefined
          ? this.#absent.each(after as Uint8Array | null, pageRowsMax, (statement) => {
              const isPlain =
                this.#readsEnough(statement, absentColumns.clock, undefined, isEnough) &&
                this.#readAbsentKey(statement);
              if (isPlain) hasher.add(columns);
              else whole(this.#absentOf(statement));
            })
          : this.#eachOf(table, after, pageRowsMax, isEnough, whole);
      return { ...page, isEnd: page.count < pageRowsMax };
    });
    return { columns, rows, next };
  }

  #eachOf(
    table: StoredTable,
    after: ScanPosition["after"],
    rowsMax: number,
    isEnough: DigestsEnough,
    whole: (row: ScannedRow | undefined) => void,
  ): { readonly after: ScanPosition["after"]; readonly count: number } {
    const [hasher, columns] = [this.#hasher, this.#columns];
    return table.scan.each(after, rowsMax, (statement, late, row) => {
      const isPlain =
        this.#readsEnough(statement, 0, late, isEnough) && this.#readKey(table, statement, row);
      if (isPlain) hasher.add(columns);
      else whole(this.#scannedOf(table, row()));
    });
  }

  /** Whether the row that a scan of the table stands at has a short key; it is read then. */
  #readKey(table: StoredTable, statement: SqlStatement, row: () => ClockedRow): boolean {
    const { name, plan } = table;
    const isText = table.scan.isTextKey(statement);
    if (isText || plan.withoutRowid) {
      const column = isText ? scannedKeyColumn : scannedKeyColumn - 1;
      return this.#readKeyAt(name, statement, column, isText);
    }
    const key = encodeKey(row().key ?? []);
    return key !== undefined && this.#hasher.readKey(name, key, 0, key.length, false);
  }

  #readAbsentKey(statement: SqlStatement): boolean {
    const name = statement.column(absentColumns.table) as string;
    return this.#readKeyAt(name, statement, absentColumns.key, false);
  }

  #readKeyAt(table: string, statement: SqlStatement, column: number, isText: boolean): boolean {
    const start = statement.bytesStart(column);
    const length = statement.bytesLength(column);
    return this.#hasher.readKey(table, statement.memory, start, length, isText);
  }

  /** Whether these are clocks of a plain row, of which its digest is enough; they are read then. */
  #readsEnough(
    statement: SqlStatement,
    column: number,
    late: Uint8Array | undefined,
    isEnough: DigestsEnough,
  ): boolean {
    const hasher = this.#hasher;
    const start = statement.bytesStart(column);
    const isPlain =
      late === undefined
        ? hasher.readClocks(statement.memory, start, start + statement.bytesLength(column))
        : hasher.readClocks(late, 0, late.length);
    return isPlain && isEnough(hasher.firstMs, hasher.lastMs);
  }

  /** Goes on page by page, from part to part, until there were `rowsMax` rows. */
  #pages(
    position: ScanPosition | undefined,
    rowsMax: number,
    read: (
      table: StoredTable | undefined,
      after: ScanPosition["after"],
      rowsMax: number,
    ) => Pick<Page, "after" | "count" | "isEnd">,
  ): ScanPosition | undefined {
    let { part, after } = position ?? { part: 0, after: null };
    let wanted = rowsMax;
    while (part <= this.#tables.length) {
      if (wanted <= 0) return { part, after };
      const page = read(this.#tables[part], after, wanted);
      wanted -= page.count;
      if (page.isEnd) {
        part++;
        after = null;
      } else after = page.after;
    }
    return undefined;
  }

  /** As `RowStore.rowsAt`, for one. */
  rowAt({ part, after }: ScanPosition): ScannedRow | undefined {
    const table = this.#tables[part];
    if (table === undefined) return this.#absentAt(after as Uint8Array);
    const found = table.scan.rowAt(after as TablePlace);
    return found && this.#scannedOf(table, found);
  }

  #tablePage(table: StoredTable, after: ScanPosition["after"], rowsMax: number): Page {
    const found = table.scan.page(after, rowsMax);
    const rows: ScannedRow[] = [];
    for (const clocked of found) {
      const row = this.#scannedOf(table, clocked);
      if (row !== undefined) rows.push(row);
    }
    const count = found.length;
    return { rows, after: found.at(-1)?.after ?? after, count, isEnd: count < rowsMax };
  }

  /** Undefined where the clocks are damaged: they count as nothing. */
  #scannedOf(table: StoredTable, { after, key: stored, clock, held }: ClockedRow) {
    const row = decodeHeldRow(clock, held, this.#ordinals);
    const key = stored === undefined ? (after as Uint8Array) : encodeKey(stored);
    return row === undefined || key === undefined ? undefined : this.#scanned(table.name, key, row);
  }

  #absentPage(after: Uint8Array | null, rowsMax: number): Page {
    const rows: ScannedRow[] = [];
    const page = this.#absent.each(after, rowsMax, (statement) => {
      const row = this.#absentOf(statement);
      if (row !== undefined) rows.push(row);
    });
    return { rows, ...page, isEnd: page.count < rowsMax };
  }

  #absentAt(place: Uint8Array): ScannedRow | undefined {
    const { table, key } = decodeAbsentPlace(place);
    const held = this.#absent.find(table, key)?.held;
    return held && this.#scanned(table, key, held);
  }

  /** Undefined where the clocks are damaged. */
  #absentOf(statement: SqlStatement): ScannedRow | undefined {
    const at = absentColumns;
    const clock = statement.column(at.clock) as Uint8Array;
    const held = statement.column(at.held) as Uint8Array | null;
    const row = decodeHeldRow(clock, held, this.#ordinals);
    const table = statement.column(at.table) as string;
    const key = statement.column(at.key) as Uint8Array;
    return row && this.#scanned(table, key, row);
  }

  #scanned(table: string, key: Uint8Array, row: HeldRow): ScannedRow {
    return { table, key, id: this.#digester.rowId(table, key), clocks: clocksOfHeld(row) };
  }
}

/** No filter: nothing is to be found out for it. */
const isAny: RangeFilter = () => true;

function newestMsAt(statement: SqlStatement, column: number): number {
  const start = statement.bytesStart(column);
  return newestMsOfClockBlob(statement.memory, start, start + statement.bytesLength(column));
}

/** As SQLite orders them: numbers, bytes, absent rows. */
function comparePlaces(
  a: ScanPosition["after"],
  b: ScanPosition["after"],
  isAbsent: boolean,
): number {
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    return isAbsent ? compareAbsentPlaces(a, b) : compareBytes(a, b);
  }
  const left = a as Rowid;
  const right = b as Rowid;
  return left < right ? -1 : left > right ? 1 : 0;
}
