/**
 * Whole rows with their clocks, as bytes: the body of a changeset and of a repair answer.
 *
 * Sites, stamps and names stand once in tables at the front; rows name them by index. A table may stand there more
 * than once, and a row be sent in pieces with one row clock: their join is the row. So what peers have made up
 * columns for can be sent whatever they have made of it.
 *
 * | field   | bytes                                                                               |
 * | ------- | ----------------------------------------------------------------------------------- |
 * | version | u8 = 1                                                                              |
 * | sites   | varint count, then 16 each                                                          |
 * | stamps  | varint count, then each: hlc 8, varint site                                         |
 * | tables  | varint count, then each: text name, varint columns, then text column each           |
 * | rows    | varint count, then each row below                                                   |
 *
 * | row field | bytes                                                                             |
 * | --------- | --------------------------------------------------------------------------------- |
 * | table     | varint index                                                                      |
 * | flags     | u8 = 0 (bit 0 is kept for rows sent as changed cells only)                        |
 * | key       | varint length, bytes as of `row/key.ts`                                           |
 * | clock     | varint stamp, varint causal length `cl` ≥ 1                                       |
 * | cells     | varint count, then each: varint column, varint stamp, value as of `row/value.ts`; ascending by column name, no stamp below the row's |
 *
 * @module
 */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { causalLengthMax, type RowClock } from "../clock/row-clock.ts";
import { compareStamps, readHlc, type Site, type Stamp } from "../clock/stamp.ts";
import { siteFromBytes } from "../row/digest.ts";
import { isKeyBytes, keyBytesMax } from "../row/key.ts";
import type { Cell, RowState } from "../row/row-state.ts";
import { lowerAscii } from "../row/row-state.ts";
import { readValue, writeValue } from "../row/value.ts";

export const rowBlockVersion = 1;

/** Rows in one commit, checked at the origin and by every decoder. */
export const rowsMax = 100_000;
/** Longest table or column name in bytes. */
export const nameBytesMax = 1024;
/** Columns of one table; SQLite's own limit. */
export const columnsMax = 2000;

/** Few stamps are found by comparing, which costs less than to look them up. */
const comparedMax = 8;
/** Stamps that are looked through where the look-up leads: of those who make many that meet, one comes twice. */
const chainMax = 64;
/** Room for more is given up. */
const keptStampsMax = 4096;

interface WrittenTable {
  readonly name: string;
  /** The block that it is in, and where. */
  block: number;
  index: number;
  readonly columns: string[];
  /**
   * Of them so many are in the block. The others were in the block before, and are taken for those that come next, which
   * they nearly always are: to compare names and to write them anew takes longer than a row.
   */
  used: number;
  /** By name; made for tables whose rows don't all have the same cells. */
  indexByColumn: Map<string, number> | undefined;
  /** Name and columns as they were written last, and how many columns that were. */
  front: Uint8Array;
  frontColumns: number;
}

/** Tables that are kept for the next block, if they have no more columns than this. */
const keptTablesMax = 64;
const keptColumnsMax = 100;
const noFront = new Uint8Array();

/**
 * Writes a block row by row: {@link RowBlockWriter.row}, then each of its cells by
 * {@link RowBlockWriter.cell}, ascending by column, and behind each its value, to the `body`.
 */
export class RowBlockWriter {
  /** Rows, whose tables at the front are known only after them. */
  readonly body: ByteWriter = new ByteWriter(4096);
  readonly #stamps = new StampTable();
  readonly #tables: WrittenTable[] = [];
  /** The last of each name, also of blocks before. */
  readonly #tableByName = new Map<string, WrittenTable>();
  #block = 0;
  #table: WrittenTable | undefined;
  #tableName = "";
  #rows = 0;
  /** Of the row at hand: where it begins in the body, and where the count of its cells stands. */
  #rowAt = 0;
  #cellsAt = 0;
  #rowStamp = 0;
  #cells = 0;
  #cellsLeft = 0;
  /** Where the next cell's column is if this row has the cells that others had. */
  #expected = 0;

  /** Begins anew. */
  clear(): void {
    this.body.reuse();
    this.#stamps.clear();
    for (const { name, columns } of this.#tables) {
      if (columns.length > keptColumnsMax) this.#tableByName.delete(name);
    }
    this.#tables.length = 0;
    if (this.#tableByName.size > keptTablesMax) this.#tableByName.clear();
    this.#block++;
    this.#table = undefined;
    this.#tableName = "";
    this.#rows = 0;
  }

  row(tableName: string, key: Uint8Array, stamp: Stamp, cl: number, cells: number): void {
    let table = this.#table;
    if (table === undefined || tableName !== this.#tableName) {
      this.#tableName = tableName;
      table = this.#tableOf(tableName);
      this.#table = table;
    }
    const { body } = this;
    this.#rowAt = body.length;
    body.varint(table.index);
    body.u8(0);
    body.blob(key);
    this.#rowStamp = this.#stamps.indexOf(stamp.ms, stamp.count, stamp.site);
    body.varint(this.#rowStamp);
    body.varint(cl);
    this.#beginCells(cells);
  }

  /** A cell of the row at hand, without its value. */
  cell(column: string, ms: number, count: number, site: Site): void {
    this.#column(column);
    this.body.varint(this.#stamps.indexOf(ms, count, site));
  }

  /** {@link cell} of the row's own stamp. */
  ownCell(column: string): void {
    this.#column(column);
    this.body.varint(this.#rowStamp);
  }

  #column(column: string): void {
    let index = columnIndex(this.#table as WrittenTable, column, this.#expected);
    if (index === noRoom) {
      this.#goOn();
      index = columnIndex(this.#table as WrittenTable, column, this.#expected);
    }
    this.#expected = index + 1;
    this.#cellsLeft--;
    this.body.varint(index);
  }

  #tableOf(name: string): WrittenTable {
    const table = this.#tableByName.get(name);
    if (table === undefined) return this.#addTable(name);
    if (table.block === this.#block) return table;
    table.block = this.#block;
    table.index = this.#tables.length;
    table.used = 0;
    table.indexByColumn = undefined;
    this.#tables.push(table);
    return table;
  }

  #addTable(name: string): WrittenTable {
    const table: WrittenTable = {
      ...{ name, block: this.#block, index: this.#tables.length, columns: [], used: 0 },
      ...{ indexByColumn: undefined, front: noFront, frontColumns: 0 },
    };
    this.#tables.push(table);
    this.#tableByName.set(name, table);
    return table;
  }

  #beginCells(cells: number): void {
    this.#cellsAt = this.body.length;
    this.body.varint(cells);
    this.#cells = cells;
    this.#cellsLeft = cells;
    this.#expected = 0;
    this.#rows++;
  }

  /** The row's table has all the columns that one may have: what is left of the row is a piece of its own. */
  #goOn(): void {
    const { body } = this;
    const before = this.#table as WrittenTable;
    const bytes = body.peek();
    const head = bytes.slice(this.#rowAt + varintBytes(before.index), this.#cellsAt);
    const cells = bytes.slice(this.#cellsAt + varintBytes(this.#cells));
    const left = this.#cellsLeft;
    if (left === this.#cells) {
      body.truncate(this.#rowAt);
      this.#rows--;
    } else {
      body.truncate(this.#cellsAt);
      body.varint(this.#cells - left);
      body.bytes(cells);
    }
    this.#table = this.#addTable(before.name);
    this.#rowAt = body.length;
    body.varint(this.#table.index);
    body.bytes(head);
    this.#beginCells(left);
  }

  /** Appends the block to `writer`. */
  finish(writer: ByteWriter): void {
    writer.u8(rowBlockVersion);
    this.#stamps.write(writer);
    writer.varint(this.#tables.length);
    for (const table of this.#tables) writeFront(writer, table);
    writer.varint(this.#rows);
    writer.bytes(this.body.peek());
  }
}

function writeFront(writer: ByteWriter, table: WrittenTable): void {
  const { name, columns, used } = table;
  if (used === table.frontColumns && used > 0) {
    writer.bytes(table.front);
    return;
  }
  const start = writer.length;
  writer.text(name);
  writer.varint(used);
  for (let i = 0; i < used; i++) writer.text(columns[i] as string);
  table.front = writer.peek().slice(start);
  table.frontColumns = used;
}

/** Appends `rows` to `writer`. */
export function writeRowBlock(writer: ByteWriter, rows: readonly RowState[]): void {
  block.clear();
  for (const row of rows) writeRow(block, row);
  block.finish(writer);
}

/** Appends a row to a block. */
export function writeRow(into: RowBlockWriter, { table, key, clock, cells }: RowState): void {
  into.row(table, key, clock, clock.cl, cells.length);
  for (const { column, stamp, value } of cells) {
    into.cell(column, stamp.ms, stamp.count, stamp.site);
    writeValue(into.body, value);
  }
}

const noRoom = -1;
const noColumns: readonly string[] = [];

/**
 * @param expected Where it is if this row has the cells that others had.
 * @returns {@link noRoom} where it would be one too many
 */
function columnIndex(table: WrittenTable, column: string, expected: number): number {
  const { columns } = table;
  if (columns[expected] === column) {
    if (expected < table.used) return expected;
    if (expected === table.used) {
      table.used++;
      return expected;
    }
  }
  if (table.used < columns.length) {
    columns.length = table.used;
    table.frontColumns = 0;
  }
  if (table.indexByColumn === undefined) {
    // The first row names its columns one after the other: they ascend, and what is larger than all is new.
    const last = columns[columns.length - 1];
    if (expected === columns.length && (last === undefined || last < column)) {
      if (expected === columnsMax) return noRoom;
      table.used = columns.push(column);
      return expected;
    }
    table.indexByColumn = new Map(columns.map((name, index) => [name, index]));
  }
  let index = table.indexByColumn.get(column);
  if (index === undefined) {
    index = columns.length;
    if (index === columnsMax) return noRoom;
    table.used = columns.push(column);
    table.indexByColumn.set(column, index);
  }
  return index;
}

/** Of a count below 2**31. */
function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) bytes++;
  return bytes;
}

/** The stamps of a block, and their sites, numbered in the order in which they come. */
class StampTable {
  /** Of stamps that were added; what the arrays have behind them is of a block before. */
  #size = 0;
  #ms: number[] = [];
  #counts: number[] = [];
  #sites: Site[] = [];
  #siteIndexes: number[] = [];
  readonly #distinctSites: Site[] = [];
  #last = 0;
  /** By {@link hlcKey} the stamp that came last, and for each the one of its key that came before; -1: none. */
  #newestByKey: Map<number, number> | undefined;
  #before: number[] = [];
  #indexBySite: Map<Site, number> | undefined;

  /** Arrays are emptied only after many: for a block of one row that takes as long as all its stamps. */
  clear(): void {
    if (this.#size > keptStampsMax) {
      this.#ms = [];
      this.#counts = [];
      this.#sites = [];
      this.#siteIndexes = [];
      this.#before = [];
    }
    this.#size = 0;
    this.#distinctSites.length = 0;
    this.#last = 0;
    this.#newestByKey = undefined;
    this.#indexBySite = undefined;
  }

  indexOf(ms: number, count: number, site: Site): number {
    const stamps = this.#size;
    if (this.#last < stamps && this.#isAt(this.#last, ms, count, site)) return this.#last;
    if (stamps <= comparedMax) {
      for (let i = 0; i < stamps; i++) {
        if (this.#isAt(i, ms, count, site)) {
          this.#last = i;
          return i;
        }
      }
    } else {
      this.#newestByKey ??= this.#chain();
      let at = this.#newestByKey.get(hlcKey(ms, count)) ?? -1;
      for (let steps = 0; at >= 0 && steps < chainMax; steps++) {
        if (this.#isAt(at, ms, count, site)) {
          this.#last = at;
          return at;
        }
        at = this.#before[at] as number;
      }
    }
    this.#last = this.#add(ms, count, site);
    return this.#last;
  }

  #isAt(index: number, ms: number, count: number, site: Site): boolean {
    return this.#ms[index] === ms && this.#counts[index] === count && this.#sites[index] === site;
  }

  #chain(): Map<number, number> {
    const newest = new Map<number, number>();
    for (let index = 0; index < this.#size; index++) {
      const key = hlcKey(this.#ms[index] as number, this.#counts[index] as number);
      this.#before[index] = newest.get(key) ?? -1;
      newest.set(key, index);
    }
    return newest;
  }

  #add(ms: number, count: number, site: Site): number {
    const index = this.#size++;
    const isLastSite = index > 0 && this.#sites[index - 1] === site;
    this.#ms[index] = ms;
    this.#counts[index] = count;
    this.#sites[index] = site;
    this.#siteIndexes[index] = isLastSite
      ? (this.#siteIndexes[index - 1] as number)
      : this.#siteIndex(site);
    if (this.#newestByKey !== undefined) {
      const key = hlcKey(ms, count);
      this.#before[index] = this.#newestByKey.get(key) ?? -1;
      this.#newestByKey.set(key, index);
    }
    return index;
  }

  #siteIndex(site: Site): number {
    const sites = this.#distinctSites;
    if (sites.length < comparedMax) {
      const known = sites.indexOf(site);
      return known >= 0 ? known : sites.push(site) - 1;
    }
    this.#indexBySite ??= new Map(sites.map((one, index) => [one, index]));
    let index = this.#indexBySite.get(site);
    if (index === undefined) {
      index = sites.push(site) - 1;
      this.#indexBySite.set(site, index);
    }
    return index;
  }

  /** Appends both tables. */
  write(writer: ByteWriter): void {
    writer.varint(this.#distinctSites.length);
    for (const site of this.#distinctSites) writer.hex(site);
    writer.varint(this.#size);
    for (let i = 0; i < this.#size; i++) {
      writer.u48(this.#ms[i] as number);
      writer.u16(this.#counts[i] as number);
      writer.varint(this.#siteIndexes[i] as number);
    }
  }
}

// After the classes that it is made of: a module is run from top to bottom.
const block = new RowBlockWriter();

/** Rounded beyond 2**53: some neighbours have one key. */
function hlcKey(ms: number, count: number): number {
  return ms * 65_536 + count;
}

export function encodeRowBlock(rows: readonly RowState[]): Uint8Array {
  const writer = new ByteWriter(256 + rows.length * 64);
  writeRowBlock(writer, rows);
  return writer.finish();
}

/**
 * Reads a block row by row, up to the end of its bytes. On malformed ones the reader fails, and all rows
 * are void. Allocation is bounded by the input: every count is checked against the bytes left.
 */
export class RowBlockReader {
  readonly #reader: ByteReader;
  readonly #stamps: readonly Stamp[];
  readonly #tables: readonly { readonly name: string; readonly columns: readonly string[] }[];
  #left: number;
  #lastStamp: Stamp | undefined;
  #lastClock: RowClock | undefined;

  constructor(reader: ByteReader) {
    this.#reader = reader;
    const version = reader.u8("row block version");
    if (reader.ok && version !== rowBlockVersion) {
      reader.fail(`row block: version ${rowBlockVersion}, got ${version}`);
    }
    const sites = readMany(reader, "sites", 16, () => {
      const bytes = reader.bytes(16, "site");
      return reader.ok ? siteFromBytes(bytes) : ("" as Site);
    });
    this.#stamps = readMany(reader, "stamps", 9, (): Stamp => {
      const hlc = readHlc(reader, "stamp");
      return { ...hlc, site: indexed(reader, sites, "stamp site") as Site };
    });
    this.#tables = readMany(reader, "tables", 2, () => ({
      name: readName(reader, "table name"),
      columns: readMany(reader, "columns", 1, () => readName(reader, "column name"), columnsMax),
    }));
    this.#left = readCount(reader, "rows", 6, rowsMax);
  }

  /** Rows still to be read; 0 after a failure. */
  get left(): number {
    return this.#reader.ok ? this.#left : 0;
  }

  /** Up to `count` more rows. */
  read(count: number): RowState[] {
    const rows: RowState[] = [];
    const reader = this.#reader;
    for (; rows.length < count && this.#left > 0 && reader.ok; this.#left--) {
      rows.push(this.#readRow(reader));
    }
    return rows;
  }

  #readRow(reader: ByteReader): RowState {
    const stamps = this.#stamps;
    const table = indexed(reader, this.#tables, "row table");
    const flags = reader.u8("row flags");
    if (flags !== 0) reader.fail(`row flags: 0 in version 1, got ${flags}`);
    const key = reader.copiedBlob("key", keyBytesMax);
    if (reader.ok && !isKeyBytes(key)) reader.fail("key: not a canonical key");
    const stamp = indexed(reader, stamps, "row stamp");
    const cl = reader.varint("causal length", causalLengthMax);
    if (reader.ok && cl < 1) reader.fail("causal length: at least 1, got 0");
    let before = "";
    const columns = table?.columns ?? noColumns;
    const cells: Cell[] = [];
    const count = readCount(reader, "cells", 3, columnsMax);
    for (let i = 0; i < count && reader.ok; i++) {
      const column = indexed(reader, columns, "cell column") ?? "";
      const cellStamp = indexed(reader, stamps, "cell stamp") as Stamp;
      const value = readValue(reader, "cell value");
      if (reader.ok && column <= before) {
        reader.fail(`cells: ascending by column, got "${column}" after "${before}"`);
      } else if (reader.ok && compareStamps(cellStamp, stamp as Stamp) < 0) {
        reader.fail(`cell "${column}": stamp below its row's`);
      }
      before = column;
      cells.push({ column, stamp: cellStamp, value });
    }
    return { table: table?.name ?? "", key, clock: this.#clockOf(stamp as Stamp, cl), cells };
  }

  /** Rows that follow each other mostly have one clock. */
  #clockOf(stamp: Stamp, cl: number): RowClock {
    if (stamp !== this.#lastStamp || cl !== this.#lastClock?.cl) {
      this.#lastStamp = stamp;
      this.#lastClock = { ...stamp, cl };
    }
    return this.#lastClock as RowClock;
  }
}

/** Reads a block to the end of `reader`, as {@link RowBlockReader} does. */
export function readRowBlock(reader: ByteReader): RowState[] {
  return new RowBlockReader(reader).read(Number.POSITIVE_INFINITY);
}

export function decodeRowBlock(
  bytes: Uint8Array,
):
  | { readonly kind: "rows"; readonly rows: RowState[] }
  | { readonly kind: "malformed"; readonly why: string } {
  const reader = new ByteReader(bytes);
  const rows = readRowBlock(reader);
  reader.end("row block");
  return reader.ok ? { kind: "rows", rows } : { kind: "malformed", why: reader.why };
}

/** A count, then that many items of at least `bytesMin` each: a lying count fails before it allocates. */
export function readMany<T>(
  reader: ByteReader,
  what: string,
  bytesMin: number,
  read: () => T,
  countMax: number = Number.MAX_SAFE_INTEGER,
): T[] {
  const count = readCount(reader, what, bytesMin, countMax);
  const items: T[] = [];
  for (let i = 0; i < count && reader.ok; i++) items.push(read());
  return items;
}

function readCount(reader: ByteReader, what: string, bytesMin: number, countMax: number): number {
  const count = reader.varintOf(what, "count", countMax);
  if (count * bytesMin <= reader.left) return count;
  reader.fail(`${what}: ${count} don't fit in the ${reader.left} bytes left`);
  return 0;
}

function indexed<T>(reader: ByteReader, items: readonly T[], what: string): T | undefined {
  const index = reader.varint(what);
  if (reader.ok && index >= items.length) {
    reader.fail(`${what}: index below ${items.length}, got ${index}`);
  }
  return items[index];
}

/** Names travel in ASCII lower case; one that isn't would be a second name for the same thing. */
function readName(reader: ByteReader, what: string): string {
  const name = reader.text(what, nameBytesMax);
  if (reader.ok && (name === "" || lowerAscii(name) !== name)) {
    reader.fail(`${what}: a name in ASCII lower case, got "${name}"`);
  }
  return name;
}
