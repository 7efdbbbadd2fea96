/**
 * Where rows stand in the order of a scan, and the scan.
 *
 * A scan goes through the tables, ascending by name, each by rowid or by key bytes, and then through
 * `patina_absent`. A position is the part (the table's number; that of `patina_absent` is after the
 * last) and the place in it after which the scan goes on. In `patina_absent` the place is: text table
 * name, then the key's bytes to the end.
 *
 * @module
 */

import { ByteReader } from "../bytes/reader.ts";
import { utf8Decode } from "../bytes/utf8.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { type RowBlockWriter, writeRow } from "../change/row-block.ts";
import type { Digester } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { compareBytes } from "../row/value.ts";
import { BlockWriter } from "./block-writer.ts";
import type { Rowid, SqlDatabase, SqlStatement } from "./database.ts";
import { clocksOfHeld, decodeHeldRow, type HeldRow } from "./held-row.ts";
import { newestMsOfClockBlob } from "./newest-stamp.ts";
import type { StoredOrdinals } from "./ordinals.ts";
import { RowColumns, RowHasher } from "./row-hasher.ts";
import type {
  DigestsEnough,
  NewerRowVisitor,
  RowRef,
  ScannedRow,
  ScanPosition,
  TablePlace,
} from "./row-store.ts";
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

export class Places implements Disposable {
  readonly #tables: readonly StoredTable[];
  readonly #partByTable: ReadonlyMap<StoredTable, number>;
  readonly #ordinals: StoredOrdinals;
  readonly #digester: Digester;
  readonly #scanAbsent: SqlStatement;
  readonly #findAbsent: SqlStatement;
  readonly #hasher: RowHasher;
  readonly #blocks: BlockWriter;
  #columns = new RowColumns(0);

  /** @param tables Ascending by name. */
  constructor(
    database: SqlDatabase,
    tables: readonly StoredTable[],
    ordinals: StoredOrdinals,
    digester: Digester,
  ) {
    this.#tables = tables;
    this.#partByTable = new Map(tables.map((table, part) => [table, part]));
    this.#ordinals = ordinals;
    this.#digester = digester;
    this.#hasher = new RowHasher(digester, ordinals);
    this.#blocks = new BlockWriter(digester, ordinals);
    this.#scanAbsent = database.prepare(
      "SELECT tbl, key, clock, held FROM patina_absent WHERE (tbl, key) > (?1, ?2) ORDER BY tbl, key LIMIT ?3",
    );
    this.#findAbsent = database.prepare(
      "SELECT tbl, key, clock, held FROM patina_absent WHERE tbl = ? AND key = ?",
    );
  }

  [Symbol.dispose](): void {
    this.#scanAbsent[Symbol.dispose]();
    this.#findAbsent[Symbol.dispose]();
  }

  ofRow(table: StoredTable, { rowid, keyBytes }: Place): ScanPosition {
    return { part: this.#partByTable.get(table) as number, after: rowid ?? keyBytes };
  }

  /** The part of a position that stands in a table. */
  partOf(table: StoredTable): number {
    return this.#partByTable.get(table) as number;
  }

  ofAbsent(table: string, key: Uint8Array): ScanPosition {
    return { part: this.#tables.length, after: encodeAbsent(table, key) };
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
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    const rows: ScannedRow[] = [];
    const next = this.#pages(position, rowsMax, (table, after, pageRowsMax) => {
      const page =
        table === undefined
          ? this.#absentPage(after as Uint8Array | null, pageRowsMax)
          : this.#tablePage(table, after, pageRowsMax);
      for (const row of page.rows) rows.push(row);
      return page;
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
          ? this.#stepAbsent(after as Uint8Array | null, pageRowsMax, (statement) => {
              const ms = newestMsAt(statement, 2);
              if (ms >= sinceMs) visit(this.#tables.length, absentPlaceOf(statement), ms);
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
          ? this.#stepAbsent(after as Uint8Array | null, pageRowsMax, (statement) => {
              const name = statement.column(0) as string;
              const isAdded =
                this.#readsEnough(statement, 2, undefined, isEnough) &&
                hasher.add(
                  columns,
                  name,
                  statement.memory,
                  statement.bytesStart(1),
                  statement.bytesLength(1),
                  false,
                );
              if (isAdded) return;
              whole(this.#absentOf(statement));
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
    const { name, plan } = table;
    const [hasher, columns] = [this.#hasher, this.#columns];
    return table.scan.each(after, rowsMax, (statement, late, row) => {
      let isAdded = false;
      if (this.#readsEnough(statement, 0, late, isEnough)) {
        const isText = table.scan.isTextKey(statement);
        if (isText || plan.withoutRowid) {
          const column = isText ? scannedKeyColumn : scannedKeyColumn - 1;
          const start = statement.bytesStart(column);
          const length = statement.bytesLength(column);
          isAdded = hasher.add(columns, name, statement.memory, start, length, isText);
        } else {
          const key = encodeKey(row().key ?? []);
          isAdded = key !== undefined && hasher.add(columns, name, key, 0, key.length, false);
        }
      }
      if (!isAdded) whole(this.#scannedOf(table, row()));
    });
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
    const page = this.#stepAbsent(after, rowsMax, (statement) => {
      const row = this.#absentOf(statement);
      if (row !== undefined) rows.push(row);
    });
    return { rows, ...page, isEnd: page.count < rowsMax };
  }

  #stepAbsent(
    after: Uint8Array | null,
    rowsMax: number,
    visit: (statement: SqlStatement) => void,
  ): { readonly after: Uint8Array | null; readonly count: number } {
    const statement = this.#scanAbsent;
    // Before every name and key: no table is called "".
    const from = after === null ? { table: "", key: new Uint8Array(0) } : decodeAbsent(after);
    statement.bind(1, from.table);
    statement.bind(2, from.key);
    statement.bind(3, rowsMax);
    let last = after;
    let count = 0;
    try {
      while (statement.step()) {
        visit(statement);
        if (++count === rowsMax) last = absentPlaceOf(statement);
      }
    } finally {
      statement.reset();
    }
    return { after: last, count };
  }

  #absentAt(place: Uint8Array): ScannedRow | undefined {
    const { table, key } = decodeAbsent(place);
    const statement = this.#findAbsent;
    statement.bind(1, table);
    statement.bind(2, key);
    const row = statement.step() ? this.#absentOf(statement) : undefined;
    statement.reset();
    return row;
  }

  /** Undefined where the clocks are damaged. */
  #absentOf(statement: SqlStatement): ScannedRow | undefined {
    const clock = statement.column(2) as Uint8Array;
    const held = statement.column(3) as Uint8Array | null;
    const row = decodeHeldRow(clock, held, this.#ordinals);
    const [table, key] = [statement.column(0) as string, statement.column(1) as Uint8Array];
    return row && this.#scanned(table, key, row);
  }

  #scanned(table: string, key: Uint8Array, row: HeldRow): ScannedRow {
    return { table, key, id: this.#digester.rowId(table, key), clocks: clocksOfHeld(row) };
  }
}

function newestMsAt(statement: SqlStatement, column: number): number {
  const start = statement.bytesStart(column);
  return newestMsOfClockBlob(statement.memory, start, start + statement.bytesLength(column));
}

function absentPlaceOf(statement: SqlStatement): Uint8Array {
  return encodeAbsent(statement.column(0) as string, statement.column(1) as Uint8Array);
}

function encodeAbsent(table: string, key: Uint8Array): Uint8Array {
  const writer = new ByteWriter(64);
  writer.text(table);
  writer.bytes(key);
  return writer.finish();
}

function decodeAbsent(place: Uint8Array): { readonly table: string; readonly key: Uint8Array } {
  const { name, key } = splitAbsent(place);
  return { table: utf8Decode(name) ?? "", key };
}

function splitAbsent(place: Uint8Array): { readonly name: Uint8Array; readonly key: Uint8Array } {
  const reader = new ByteReader(place);
  const name = reader.blob("table", place.length);
  return { name, key: reader.bytes(reader.left, "key") };
}

/** As SQLite orders them: numbers, bytes, and in `patina_absent` by name and then by key. */
function comparePlaces(
  a: ScanPosition["after"],
  b: ScanPosition["after"],
  isAbsent: boolean,
): number {
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    if (!isAbsent) return compareBytes(a, b);
    const left = splitAbsent(a);
    const right = splitAbsent(b);
    return compareBytes(left.name, right.name) || compareBytes(left.key, right.key);
  }
  const left = a as Rowid;
  const right = b as Rowid;
  return left < right ? -1 : left > right ? 1 : 0;
}
