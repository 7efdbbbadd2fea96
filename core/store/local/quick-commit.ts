/**
 * The way that nearly all local commits go, with the least of work: rows came, or were updated in their place.
 * Values stay bytes and clocks numbers, from the table to the changeset.
 *
 * One look-up a row gives its values now and its clocks. Values as they were noted at the first touch
 * (`row-notes.ts`) say which of them changed. What is to be written and sent is put together for all rows
 * before the first clock is written, so that it can still be found that a commit isn't one of these:
 * a row that is held in part, that has no clocks or damaged ones, a tombstone, another key, a value that is
 * damaged or too large, whatever is to be refused. All of it is left to `local-commit.ts` then, which
 * comes to the same rows, clocks and bytes where both can.
 *
 * @module
 */

import { ByteReader } from "../../bytes/reader.ts";
import { utf8Decode } from "../../bytes/utf8.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { encodeWrittenRows, type Lane } from "../../change/changeset.ts";
import { RowBlockWriter, rowsMax } from "../../change/row-block.ts";
import type { Site, Stamp } from "../../clock/stamp.ts";
import { type Rowid, readColumnsMax, type SqlStatement } from "../../database.ts";
import { valueHashBytes } from "../../row/digest.ts";
import { keyBytesMax } from "../../row/key.ts";
import { endOfValue, readValue, valueTags } from "../../row/value.ts";
import type { QuickNews, ScanPosition } from "../../row-store.ts";
import { EncodedClocks } from "../clocks/encoded-clocks.ts";
import { type BlobShape, FlatBlob } from "../clocks/flat-blob.ts";
import { FlatClocks, flatCellsMax } from "../clocks/flat-clocks.ts";
import { fewestTogether, togetherCounts } from "../tables/quick-rows.ts";
import { PlacedRow, type StoreParts } from "../tables/store-parts.ts";
import type { StoredTable } from "../tables/stored-table.ts";
import type { RowNotes } from "./row-notes.ts";

/** Commits with more than this to send, and rows with larger values, are left to those who count exactly. */
const bodyBytesMax = 16 * 1024 * 1024;
const quickValueBytesMax = 1024 * 1024;

/** Of a row that has a rowid no more is looked at. */
const noBytes = new Uint8Array();

/** A table as a commit goes through its columns: the value columns, ascending by name. */
interface QuickTable {
  readonly table: StoredTable;
  readonly names: readonly string[];
  readonly ordinals: readonly number[];
  /** Of the key in a statement's row and in what is noted, behind the values; 0: the rowid is the key. */
  readonly keyColumns: number;
  /** Of the table in a scan. */
  readonly part: number;
}

/** A row whose clocks are to be written. */
export interface QuickRow {
  readonly table: StoredTable;
  readonly rowid: Rowid;
  readonly clock: Uint8Array;
  readonly isNew: boolean;
  readonly merged: PlacedRow;
}

interface LastInserted {
  clock: Uint8Array | undefined;
  readonly starts: number[];
  readonly ends: number[];
}

export class QuickCommit {
  readonly #parts: StoreParts;
  readonly #tables = new Map<StoredTable, QuickTable>();
  /** The ordinals' life that these are good for. */
  #life = 0;
  readonly #held = new FlatClocks();
  readonly #blob = new FlatBlob();
  readonly #block = new RowBlockWriter();
  readonly #key = new ByteWriter(256);
  /** Values and key of the row at hand, and where each ends. */
  readonly #now = new ByteWriter(1024);
  readonly #ends: number[] = [];
  // Of the row at hand, by value column.
  readonly #isChanged: boolean[] = [];
  readonly #hashHigh = new Float64Array(flatCellsMax);
  readonly #hashLow = new Float64Array(flatCellsMax);
  /** The row that was inserted last, of the table at hand: where its values stand in the block. */
  readonly #lastInserted: LastInserted = { clock: undefined, starts: [], ends: [] };
  #stamp: Stamp = { ms: 0, count: 0, site: "" as Site };
  #site = 0;
  #news: QuickNews = { msMin: 0, msMax: 0, isHeld: true };
  #rows: QuickRow[] = [];

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /**
   * What a transaction changed, put together for {@link encode}. Undefined: it isn't one of these. No row and no clock
   * is written by it.
   *
   * @param stamp The commit's, larger than all that was stamped here; if there are rows it is theirs.
   */
  collect(plain: readonly RowNotes[], stamp: Stamp): readonly QuickRow[] | undefined {
    const { ordinals } = this.#parts;
    if (ordinals.life !== this.#life) {
      this.#life = ordinals.life;
      this.#tables.clear();
    }
    this.#stamp = stamp;
    this.#site = ordinals.siteOrdinal(stamp.site);
    this.#news = { msMin: stamp.ms, msMax: stamp.ms, isHeld: true };
    this.#rows = [];
    this.#block.clear();
    for (const notes of plain) {
      const known = this.#tableOf(notes.table);
      if (known === undefined) return undefined;
      if (!this.#updateAll(known, notes)) return undefined;
      if (!this.#insertAll(known, notes)) return undefined;
    }
    return this.#rows.length > rowsMax ? undefined : this.#rows;
  }

  /** The changeset of what was collected. */
  encode(lane: Lane): Uint8Array {
    const encoded = encodeWrittenRows(this.#stamp, lane, this.#block);
    this.#rows = [];
    return encoded;
  }

  /** Rows that were there, with their columns as they were. */
  #updateAll(known: QuickTable, notes: RowNotes): boolean {
    const { first } = notes;
    const { quick } = known.table;
    const rowidColumn = columnsOf(known);
    if (first.size < fewestTogether) {
      for (const rowid of first.keys()) if (!this.#updateOne(known, rowid, notes)) return false;
      return true;
    }
    const rowids = [...first.keys()];
    let at = 0;
    for (const count of togetherCounts) {
      while (rowids.length - at >= count) {
        const statement = quick.rowsAt(rowids, at, count);
        try {
          for (const end = at + count; at < end; at++) {
            const rowid = rowids[at] as Rowid;
            if (!statement.step()) return false;
            if (!statement.encodeColumns(0, rowidColumn + 1)) return false;
            if (rowidAt(statement, rowidColumn) !== rowid) return false;
            if (!this.#update(known, rowid, notes, statement)) return false;
          }
        } finally {
          // A disk that fails is met in the middle, too; SQLite recovers once nothing reads any more.
          statement.reset();
        }
      }
    }
    for (; at < rowids.length; at++) {
      if (!this.#updateOne(known, rowids[at] as Rowid, notes)) return false;
    }
    return true;
  }

  #updateOne(known: QuickTable, rowid: Rowid, notes: RowNotes): boolean {
    const statement = known.table.quick.standAt(rowid);
    if (statement === undefined) return false;
    try {
      if (!statement.encodeColumns(0, columnsOf(known))) return false;
      return this.#update(known, rowid, notes, statement);
    } finally {
      statement.reset();
    }
  }

  /** @param statement Has encoded the row. */
  #update(known: QuickTable, rowid: Rowid, notes: RowNotes, statement: SqlStatement): boolean {
    const notedPlace = notes.first.get(rowid) as number;
    const before = notes.noted.bytesAt(notedPlace);
    // By statements, of the columns that count when they are said again: see `capture.ts`.
    const named = notes.namedAt(rowid);
    const { digester, ordinals } = this.#parts;
    const { table, names, keyColumns } = known;
    if (named !== undefined && table.damagedColumns.size > 0) return false;
    const count = names.length;
    this.#readNow(known, statement);
    const clock = table.quick.clockAt(rowid, statement, count + keyColumns);
    const heldAt = statement.encodedStart(count + keyColumns + 1);
    const hasHeld = statement.memory[heldAt] !== valueTags.null;
    const held = this.#held;
    if (hasHeld || !held.decode(clock, 0, clock.length, ordinals)) return false;
    if (held.hasHeld || held.cl % 2 === 0 || !this.#isNewest()) return false;

    const now = this.#now.peek();
    const ends = this.#ends;
    // Walks the noted values, the columns and the cells, all ascending by name.
    let noted = notes.noted.startOf(notedPlace);
    let cells = 0;
    let changed = 0;
    let saidAgain = 0;
    let from = 0;
    for (let i = 0; i < count; i++) {
      const end = ends[i] as number;
      const isSame = isAt(before, noted, now, from, end);
      const isSaid = named !== undefined && isSame && named.includes(names[i] as string);
      const hasCell = held.column[cells] === known.ordinals[i] && cells < held.count;
      this.#isChanged[i] = !isSame;
      if (isSame) noted += end - from;
      else {
        noted = endOfValue(before, noted);
        if (!this.#maySend(table, i, now, from, end)) return false;
        changed++;
      }
      if (isSaid) {
        if (!this.#maySend(table, i, now, from, end)) return false;
        saidAgain++;
      }
      if (hasCell || !isSame || isSaid) {
        digester.hashEncoded(now, from, end);
        // Damaged: never told to anybody.
        if (hasCell && isSame && !this.#isHashOf(cells)) return false;
        this.#hashHigh[i] = digester.hashHigh;
        this.#hashLow[i] = digester.hashLow;
      }
      if (hasCell) cells++;
      from = end;
    }
    // Cells of columns that the table doesn't have, and another key.
    if (cells < held.count || !isAt(before, noted, now, from, now.length)) return false;
    if (saidAgain > 0 && table.isUrgent({ rowid, key: [], keyBytes: noBytes })) {
      changed += saidAgain;
      for (let i = 0; i < count; i++) {
        if (named?.includes(names[i] as string) === true) this.#isChanged[i] = true;
      }
    }
    if (changed === 0) return true;
    const keyBytes = this.#encodeKey(known, rowid);
    if (keyBytes === undefined) return false;
    const after = this.#writeUpdated(known, keyBytes, now);
    const clocksBefore = new EncodedClocks(clock, ordinals, undefined);
    const place = { part: known.part, after: rowid };
    return this.#push(table, rowid, keyBytes, clocksBefore, after, place);
  }

  /** The row's clocks and the row to be sent. @returns the clocks. */
  #writeUpdated(known: QuickTable, keyBytes: Uint8Array, now: Uint8Array): Uint8Array {
    const { ordinals } = this.#parts;
    const { table, names } = known;
    const [held, blob, block] = [this.#held, this.#blob, this.#block];
    const { ms, count, site } = this.#stamp;
    let cellCount = held.count;
    let cells = 0;
    for (let i = 0; i < names.length; i++) {
      if (held.column[cells] === known.ordinals[i] && cells < held.count) cells++;
      else if (this.#isChanged[i]) cellCount++;
    }
    blob.begin(held.ms, held.clockCount, held.site, held.cl, cellCount);
    const rowSite = ordinals.site(held.site) as Site;
    const rowStamp = { ms: held.ms, count: held.clockCount, site: rowSite };
    block.row(table.name, keyBytes, rowStamp, held.cl, cellCount);
    cells = 0;
    let start = 0;
    for (let i = 0; i < names.length; i++) {
      const end = this.#ends[i] as number;
      const name = names[i] as string;
      const ordinal = known.ordinals[i] as number;
      const hasCell = held.column[cells] === ordinal && cells < held.count;
      const high = this.#hashHigh[i] as number;
      const low = this.#hashLow[i] as number;
      if (this.#isChanged[i]) {
        blob.cell(ordinal, ms, count, this.#site, high, low);
        block.cell(name, ms, count, site);
        block.body.copy(now, start, end);
      } else if (hasCell) {
        const cellMs = held.cellMs[cells] as number;
        const cellCounter = held.cellCount[cells] as number;
        const cellSite = held.cellSite[cells] as number;
        blob.cell(ordinal, cellMs, cellCounter, cellSite, high, low);
        block.cell(name, cellMs, cellCounter, ordinals.site(cellSite) as Site);
        block.body.copy(now, start, end);
      }
      if (hasCell) cells++;
      start = end;
    }
    return blob.finish();
  }

  /** Rows that came, in runs of rowids. */
  #insertAll(known: QuickTable, notes: RowNotes): boolean {
    let shape: BlobShape | undefined;
    return notes.eachRun((first, last) => {
      if (shape === undefined) {
        const { ms, count } = this.#stamp;
        shape = this.#blob.shapeOf(ms, count, this.#site, known.ordinals);
        this.#lastInserted.clock = undefined;
      }
      return this.#insertRun(known, first, last, shape);
    });
  }

  #insertRun(known: QuickTable, first: Rowid, last: Rowid, shape: BlobShape): boolean {
    const statement = known.table.quick.rowsFrom(first, last);
    let isQuick = true;
    try {
      while (isQuick && statement.step()) isQuick = this.#insert(known, statement, shape);
    } finally {
      // A disk that is full is met in the middle, too; SQLite recovers once nothing reads any more.
      statement.reset();
    }
    return isQuick;
  }

  #insert(known: QuickTable, statement: SqlStatement, shape: BlobShape): boolean {
    const { digester, absent } = this.#parts;
    const { table, names, keyColumns } = known;
    const count = names.length;
    if (!statement.encodeColumns(0, count + keyColumns + 1)) return false;
    const rowid = rowidAt(statement, count + keyColumns);
    const keyBytes = this.#readKey(known, statement, rowid);
    if (keyBytes === undefined || absent.has(table.name, keyBytes)) return false;
    const block = this.#block;
    const { body } = block;
    const clock = new Uint8Array(shape.bytes.length);
    /** So many bytes of it are written. */
    let written = 0;
    block.row(table.name, keyBytes, this.#stamp, 1, count);
    const now = statement.memory;
    const before = this.#lastInserted;
    const hashBefore = before.clock;
    let start = statement.encodedStart(0);
    for (let i = 0; i < count; i++) {
      const end = statement.encodedEnd(i);
      const startBefore = before.starts[i] as number;
      const hashAt = shape.hashesAt[i] as number;
      for (; written < hashAt; written++) clock[written] = shape.bytes[written] as number;
      written += valueHashBytes;
      block.ownCell(names[i] as string);
      const at = body.length;
      body.copy(now, start, end);
      if (
        hashBefore !== undefined &&
        end - start === (before.ends[i] as number) - startBefore &&
        isAt(body.reserve(0), startBefore, now, start, end)
      ) {
        // Of many columns the values are the same in all rows.
        for (let byte = hashAt; byte < hashAt + valueHashBytes; byte++)
          clock[byte] = hashBefore[byte] as number;
      } else {
        if (!this.#maySend(table, i, now, start, end)) return false;
        digester.hashEncodedTo(now, start, end, clock, hashAt);
      }
      before.starts[i] = at;
      before.ends[i] = body.length;
      start = end;
    }
    for (; written < clock.length; written++) clock[written] = shape.bytes[written] as number;
    before.clock = clock;
    return this.#push(table, rowid, keyBytes, undefined, clock, undefined);
  }

  /**
   * The key of the row that a statement has encoded. Undefined: it isn't sent as it is stored, isn't UTF-8, or is too
   * long.
   */
  #readKey(
    { names, keyColumns }: QuickTable,
    statement: SqlStatement,
    rowid: Rowid,
  ): Uint8Array | undefined {
    if (keyColumns === 0) return this.#rowidKey(rowid);
    const count = names.length;
    const now = statement.memory;
    let from = statement.encodedStart(count);
    const key = this.#key;
    key.clear();
    key.varint(keyColumns);
    for (let i = 0; i < keyColumns; i++) {
      const end = statement.encodedEnd(count + i);
      const tag = now[from];
      // A REAL may be a key that is an integer (`row/key.ts`).
      if (tag === valueTags.null || tag === valueTags.real) return undefined;
      if (!isUtf8(now, from, end)) return undefined;
      key.copy(now, from, end);
      from = end;
    }
    return key.length <= keyBytesMax ? key.finish() : undefined;
  }

  /** Of a table whose key is the rowid. */
  #rowidKey(rowid: Rowid): Uint8Array {
    const key = this.#key;
    key.clear();
    key.varint(1);
    key.u8(valueTags.integer);
    key.zigzag(rowid);
    return key.finish();
  }

  /** @returns whether more may come. */
  #push(
    table: StoredTable,
    rowid: Rowid,
    key: Uint8Array,
    before: EncodedClocks | undefined,
    clock: Uint8Array,
    place: ScanPosition | undefined,
  ): boolean {
    const { digester, ordinals } = this.#parts;
    const after = new EncodedClocks(clock, ordinals, this.#stamp);
    const merged = new PlacedRow(
      { table: table.name, key },
      undefined,
      before,
      after,
      digester,
      after,
      true,
      false,
      this.#news,
      place,
    );
    this.#rows.push({ table, rowid, clock, isNew: before === undefined, merged });
    return this.#block.body.length <= bodyBytesMax;
  }

  /** Values and key of the row that a statement has encoded. */
  #readNow({ names, keyColumns }: QuickTable, statement: SqlStatement): void {
    const now = this.#now;
    const columns = names.length + keyColumns;
    const start = statement.encodedStart(0);
    now.reuse();
    for (let i = 0; i < columns; i++) this.#ends[i] = statement.encodedEnd(i) - start;
    now.copy(statement.memory, start, statement.encodedStart(columns));
  }

  /** Undefined: it isn't sent as it is stored, or is too long. */
  #encodeKey({ names, keyColumns }: QuickTable, rowid: Rowid): Uint8Array | undefined {
    if (keyColumns === 0) return this.#rowidKey(rowid);
    const key = this.#key;
    key.clear();
    const now = this.#now.peek();
    key.varint(keyColumns);
    let start = this.#ends[names.length - 1] ?? 0;
    for (let i = 0; i < keyColumns; i++) {
      const tag = now[start];
      // A REAL may be a key that is an integer (`row/key.ts`).
      if (tag === valueTags.null || tag === valueTags.real) return undefined;
      const end = this.#ends[names.length + i] as number;
      key.copy(now, start, end);
      start = end;
    }
    return key.length <= keyBytesMax ? key.finish() : undefined;
  }

  /** Whether a value can be told to others as it stands in its column. */
  #maySend(table: StoredTable, i: number, now: Uint8Array, start: number, end: number): boolean {
    if (end - start > quickValueBytesMax) return false;
    const tag = now[start] as number;
    const index = table.valuesByName[i] as number;
    if (!isUtf8(now, start, end)) return false;
    if (table.isShownByTag(index, tag)) return true;
    return table.isShownAt(index, readValue(new ByteReader(now, start, end), "value"));
  }

  /** Whether the value hashed last is the one that a cell was given its clock for. */
  #isHashOf(cell: number): boolean {
    const { digester } = this.#parts;
    return this.#held.high[cell] === digester.hashHigh && this.#held.low[cell] === digester.hashLow;
  }

  /** Whether the commit's stamp is later than all of the row at hand. */
  #isNewest(): boolean {
    const held = this.#held;
    const { ms, count } = this.#stamp;
    if (held.ms > ms || (held.ms === ms && held.clockCount >= count)) return false;
    for (let i = 0; i < held.count; i++) {
      const cellMs = held.cellMs[i] as number;
      if (cellMs > ms || (cellMs === ms && (held.cellCount[i] as number) >= count)) return false;
    }
    return true;
  }

  #tableOf(table: StoredTable): QuickTable | undefined {
    let known = this.#tables.get(table);
    if (known === undefined) {
      const { valueColumns, rowidAlias } = table.plan;
      if (valueColumns.length > flatCellsMax) return undefined;
      if (valueColumns.length + table.keyPositions.length + 3 > readColumnsMax) return undefined;
      const names = table.valuesByName.map((index) => valueColumns[index]?.name as string);
      known = {
        table,
        names,
        ordinals: names.map((name) => this.#parts.ordinals.columnOrdinal(name)),
        keyColumns: rowidAlias ? 0 : table.keyPositions.length,
        part: this.#parts.places.partOf(table),
      };
      this.#tables.set(table, known);
    }
    return known;
  }
}

/** Columns of a row that was there, without its rowid: values, key, clocks and what is held. */
function columnsOf({ names, keyColumns }: QuickTable): number {
  return names.length + keyColumns + 2;
}

/** The rowid that a statement has encoded as a column. */
function rowidAt(statement: SqlStatement, column: number): Rowid {
  const { memory } = statement;
  const start = statement.encodedStart(column) + 1;
  const end = statement.encodedEnd(column);
  if (end - start > 4) return new ByteReader(memory, start, end).zigzag("rowid");
  let bits = 0;
  for (let at = end - 1; at >= start; at--) bits = (bits << 7) | ((memory[at] as number) & 0x7f);
  return (bits >>> 1) ^ -(bits & 1);
}

/** Whether `bytes[at..]` begins with `other[start..end)`. */
function isAt(
  bytes: Uint8Array,
  at: number,
  other: Uint8Array,
  start: number,
  end: number,
): boolean {
  for (let i = start; i < end; i++) if (bytes[at + i - start] !== other[i]) return false;
  return true;
}

/** Whether the value that is `bytes[start..end)` isn't TEXT that isn't UTF-8. */
function isUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start] !== valueTags.text) return true;
  let text = start + 1;
  // The length.
  while ((bytes[text++] as number) >= 0x80);
  let i = text;
  while (i < end && (bytes[i] as number) < 0x80) i++;
  return i === end || utf8Decode(bytes, i, end) !== undefined;
}
