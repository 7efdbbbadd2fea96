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
import type { PackedClockRow } from "../clocks/clock-rows.ts";
import { EncodedClocks } from "../clocks/encoded-clocks.ts";
import { type BlobShape, FlatBlob } from "../clocks/flat-blob.ts";
import { FlatClocks, flatCellsMax } from "../clocks/flat-clocks.ts";
import { togetherCounts } from "../tables/quick-rows.ts";
import { PlacedRow, type StoreParts } from "../tables/store-parts.ts";
import type { StoredTable } from "../tables/stored-table.ts";
import type { RowNotes } from "./row-notes.ts";

/** Commits with more than this to send are left to those who count exactly, as are rows whose values are long. */
const bodyBytesMax = 16 * 1024 * 1024;
/** Of rows that came, whose clocks are in one array: whoever keeps those of one row keeps all. */
const packedRowsMax = 1024;
/** Two varints. */
const cellHeadBytesMax = 16;

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

/** A row whose clocks are to be written. Rows that came share the array that these are in. */
export interface QuickRow extends PackedClockRow {
  readonly table: StoredTable;
  readonly clockBytes: number;
  readonly isNew: boolean;
  readonly merged: PlacedRow;
}

interface LastInserted {
  /** Where its clocks begin, or would. */
  clockAt: number;
  /** Of each cell: where its column and stamp begin, then its value, and where that ends. */
  readonly heads: number[];
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
  // Of the row at hand, by value column.
  readonly #isChanged: boolean[] = [];
  readonly #hashHigh = new Float64Array(flatCellsMax);
  readonly #hashLow = new Float64Array(flatCellsMax);
  /** The row that was inserted last, of the table at hand: where its values stand in the block. */
  readonly #lastInserted: LastInserted = {
    ...{ clockAt: 0, heads: [], starts: [], ends: [] },
  };
  /** Clocks of rows that come, one behind the other. */
  #packed: Uint8Array = noBytes;
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
    let at = 0;
    for (const count of togetherCounts) {
      while (first.length - at >= count) {
        const statement = quick.rowsAt(first, at, count);
        try {
          for (const end = at + count; at < end; at++) {
            const rowid = first[at] as Rowid;
            if (!statement.step()) return false;
            if (!statement.encodeColumns(0, rowidColumn + 1)) return false;
            if (rowidAt(statement, rowidColumn) !== rowid) return false;
            if (!this.#update(known, at, notes, statement)) return false;
          }
        } finally {
          // A disk that fails is met in the middle, too; SQLite recovers once nothing reads any more.
          statement.reset();
        }
      }
    }
    for (; at < first.length; at++) if (!this.#updateOne(known, at, notes)) return false;
    return true;
  }

  #updateOne(known: QuickTable, at: number, notes: RowNotes): boolean {
    const statement = known.table.quick.standAt(notes.first[at] as Rowid);
    if (statement === undefined) return false;
    try {
      if (!statement.encodeColumns(0, columnsOf(known))) return false;
      return this.#update(known, at, notes, statement);
    } finally {
      statement.reset();
    }
  }

  /** @param at Of the row in `notes.first`. @param statement Has encoded it. */
  #update(known: QuickTable, at: number, notes: RowNotes, statement: SqlStatement): boolean {
    const rowid = notes.first[at] as Rowid;
    const notedPlace = notes.firstPlaces[at] as number;
    const before = notes.noted.bytesAt(notedPlace);
    // By statements, of the columns that count when they are said again: see `capture.ts`.
    const named = notes.namedAt(rowid);
    const { digester, ordinals } = this.#parts;
    const { table, names, keyColumns } = known;
    if (named !== undefined && table.damagedColumns.size > 0) return false;
    const count = names.length;
    const clock = table.quick.clockAt(rowid, statement, count + keyColumns);
    const heldAt = statement.encodedStart(count + keyColumns + 1);
    const hasHeld = statement.memory[heldAt] !== valueTags.null;
    const held = this.#held;
    if (hasHeld || !held.decode(clock, 0, clock.length, ordinals)) return false;
    if (held.hasHeld || held.cl % 2 === 0 || !this.#isNewest()) return false;

    const now = statement.memory;
    // Walks the noted values, the columns and the cells, all ascending by name.
    let noted = notes.noted.startOf(notedPlace);
    let cells = 0;
    let changed = 0;
    let saidAgain = 0;
    let from = statement.encodedStart(0);
    for (let i = 0; i < count; i++) {
      const end = statement.encodedEnd(i);
      const isSame = isAt(before, noted, now, from, end);
      const isSaid = named !== undefined && isSame && named.includes(names[i] as string);
      const hasCell = held.column[cells] === known.ordinals[i] && cells < held.count;
      this.#isChanged[i] = !isSame;
      if (isSame) noted += end - from;
      else {
        noted = endOfValue(before, noted);
        if (!maySend(table, i, now, from, end)) return false;
        changed++;
      }
      if (isSaid) {
        if (!maySend(table, i, now, from, end)) return false;
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
    const keyEnd = statement.encodedStart(count + keyColumns);
    if (cells < held.count || !isAt(before, noted, now, from, keyEnd)) return false;
    if (saidAgain > 0 && table.isUrgent({ rowid, key: [], keyBytes: noBytes })) {
      changed += saidAgain;
      for (let i = 0; i < count; i++) {
        if (named?.includes(names[i] as string) === true) this.#isChanged[i] = true;
      }
    }
    if (changed === 0) return true;
    const keyBytes = this.#readKey(known, statement, rowid);
    if (keyBytes === undefined) return false;
    const after = this.#writeUpdated(known, keyBytes, statement);
    const clocksBefore = new EncodedClocks(clock, ordinals, undefined);
    const place = { part: known.part, after: rowid };
    return this.#push(table, rowid, keyBytes, clocksBefore, after, 0, after.length, place);
  }

  /** The row's clocks and the row to be sent. @returns the clocks. */
  #writeUpdated(known: QuickTable, keyBytes: Uint8Array, statement: SqlStatement): Uint8Array {
    const { ordinals } = this.#parts;
    const { table, names } = known;
    const [held, blob, block] = [this.#held, this.#blob, this.#block];
    const { ms, count } = this.#stamp;
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
    const now = statement.memory;
    let start = statement.encodedStart(0);
    for (let i = 0; i < names.length; i++) {
      const end = statement.encodedEnd(i);
      const name = names[i] as string;
      const ordinal = known.ordinals[i] as number;
      const hasCell = held.column[cells] === ordinal && cells < held.count;
      const high = this.#hashHigh[i] as number;
      const low = this.#hashLow[i] as number;
      const isChanged = this.#isChanged[i] === true;
      if (isChanged || hasCell) {
        const cellMs = isChanged ? ms : (held.cellMs[cells] as number);
        const cellCounter = isChanged ? count : (held.cellCount[cells] as number);
        const cellSite = isChanged ? this.#site : (held.cellSite[cells] as number);
        const where = blob.cell(ordinal, cellMs, cellCounter, cellSite, high, low);
        if (where === 0) block.ownCell(name);
        else if (where === 1) block.likeCell(name);
        else block.cell(name, cellMs, cellCounter, ordinals.site(cellSite) as Site);
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
        this.#packClocks(shape, notes.arrivals);
      }
      return this.#insertRun(known, first, last, shape);
    });
  }

  /** Makes room for the clocks of some rows that come, which are written but for their hashes. */
  #packClocks({ bytes }: BlobShape, rows: number): void {
    const { length } = bytes;
    const packed = new Uint8Array(Math.min(rows, packedRowsMax) * length);
    packed.set(bytes);
    for (let end = length; end < packed.length; end *= 2) packed.copyWithin(end, 0, end);
    this.#packed = packed;
    this.#lastInserted.clockAt = -length;
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
    const { length } = shape.bytes;
    const before = this.#lastInserted;
    if (before.clockAt + length === this.#packed.length) this.#packClocks(shape, packedRowsMax);
    const clock = this.#packed;
    const clockAt = before.clockAt + length;
    const isFirst = clockAt === 0;
    block.row(table.name, keyBytes, this.#stamp, 1, count);
    const now = statement.memory;
    let start = statement.encodedStart(0);
    // A cell's column and stamp take as many bytes as in the row before.
    const bytes = body.reserve(statement.encodedStart(count) - start + count * cellHeadBytesMax);
    let to = body.length;
    for (let i = 0; i < count; i++) {
      const end = statement.encodedEnd(i);
      const startBefore = before.starts[i] as number;
      const hashAt = clockAt + (shape.hashesAt[i] as number);
      const headAt = to;
      if (isFirst) {
        body.advance(to);
        block.ownCell(names[i] as string);
        to = body.length;
      } else {
        for (let at = before.heads[i] as number; at < startBefore; at++)
          bytes[to++] = bytes[at] as number;
      }
      const at = to;
      // Copied, compared with the one before, and looked at for what isn't ASCII: at once.
      let differs = end - start - ((before.ends[i] as number) - startBefore);
      let all = 0;
      for (let from = start; from < end; from++) {
        const byte = now[from] as number;
        all |= byte;
        differs |= byte ^ (bytes[startBefore + from - start] as number);
        bytes[to++] = byte;
      }
      if (differs === 0 && !isFirst) {
        // Of many columns the values are the same in all rows.
        for (let byte = hashAt; byte < hashAt + valueHashBytes; byte++)
          clock[byte] = clock[byte - length] as number;
      } else {
        if (all >= 0x80 && !isUtf8(now, start, end)) return false;
        if (!isShown(table, i, now, start, end)) return false;
        digester.hashEncodedTo(now, start, end, clock, hashAt);
      }
      before.heads[i] = headAt;
      before.starts[i] = at;
      before.ends[i] = to;
      start = end;
    }
    body.advance(to);
    before.clockAt = clockAt;
    return this.#push(table, rowid, keyBytes, undefined, clock, clockAt, length, undefined);
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
    const start = statement.encodedStart(count);
    const length = 1 + statement.encodedStart(count + keyColumns) - start;
    if (length > keyBytesMax) return undefined;
    const key = new Uint8Array(length);
    // A varint of one byte.
    key[0] = keyColumns;
    let all = 0;
    for (let i = 1; i < length; i++) {
      const byte = now[start + i - 1] as number;
      all |= byte;
      key[i] = byte;
    }
    for (let i = 0; i < keyColumns; i++) {
      const from = statement.encodedStart(count + i);
      const tag = now[from];
      // A REAL may be a key that is an integer (`row/key.ts`).
      if (tag === valueTags.null || tag === valueTags.real) return undefined;
      if (all >= 0x80 && !isUtf8(now, from, statement.encodedEnd(count + i))) return undefined;
    }
    return key;
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
    clockAt: number,
    clockBytes: number,
    place: ScanPosition | undefined,
  ): boolean {
    const { digester, ordinals } = this.#parts;
    const after = new EncodedClocks(clock, ordinals, this.#stamp, clockAt, clockBytes);
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
    const isNew = before === undefined;
    this.#rows.push({ table, rowid, clock, clockAt, clockBytes, isNew, merged });
    return this.#block.body.length <= bodyBytesMax;
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

/** Whether a value can be told to others as it stands in its column. */
function maySend(
  table: StoredTable,
  i: number,
  now: Uint8Array,
  start: number,
  end: number,
): boolean {
  return isUtf8(now, start, end) && isShown(table, i, now, start, end);
}

function isShown(
  table: StoredTable,
  i: number,
  now: Uint8Array,
  start: number,
  end: number,
): boolean {
  const index = table.valuesByName[i] as number;
  if (table.isShownByTag(index, now[start] as number)) return true;
  return table.isShownAt(index, readValue(new ByteReader(now, start, end), "value"));
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
