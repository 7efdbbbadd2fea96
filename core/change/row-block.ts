/**
 * Whole rows with their clocks, as bytes: the body of a changeset and of a repair answer.
 *
 * Sites, stamps and names stand once in tables at the front; rows name them by index.
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
import { causalLengthMax } from "../clock/row-clock.ts";
import { compareStamps, readHlc, type Site, type Stamp, writeHlc } from "../clock/stamp.ts";
import { siteFromBytes, siteToBytes } from "../row/digest.ts";
import { decodeKey, keyBytesMax } from "../row/key.ts";
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

/** Appends `rows` to `writer`. */
export function writeRowBlock(writer: ByteWriter, rows: readonly RowState[]): void {
  const sites = new Map<Site, number>();
  const stamps = new Map<string, number>();
  const stampList: Stamp[] = [];
  const tables = new Map<string, { index: number; columns: Map<string, number> }>();
  const body = new ByteWriter(64 + rows.length * 64);
  // Rows of one commit share one stamp object: most look-ups end here.
  let lastStamp: Stamp | undefined;
  let lastIndex = 0;
  const stampIndex = (stamp: Stamp): number => {
    if (lastStamp !== undefined && (stamp === lastStamp || compareStamps(stamp, lastStamp) === 0)) {
      return lastIndex;
    }
    const name = `${stamp.ms}.${stamp.count}.${stamp.site}`;
    let index = stamps.get(name);
    if (index === undefined) {
      index = stampList.length;
      stamps.set(name, index);
      stampList.push(stamp);
      if (!sites.has(stamp.site)) sites.set(stamp.site, sites.size);
    }
    lastStamp = stamp;
    lastIndex = index;
    return index;
  };
  for (const row of rows) {
    let table = tables.get(row.table);
    if (table === undefined) {
      table = { index: tables.size, columns: new Map() };
      tables.set(row.table, table);
    }
    body.varint(table.index);
    body.u8(0);
    body.blob(row.key);
    body.varint(stampIndex(row.clock));
    body.varint(row.clock.cl);
    body.varint(row.cells.length);
    for (const cell of row.cells) {
      let column = table.columns.get(cell.column);
      if (column === undefined) {
        column = table.columns.size;
        table.columns.set(cell.column, column);
      }
      body.varint(column);
      body.varint(stampIndex(cell.stamp));
      writeValue(body, cell.value);
    }
  }
  writer.u8(rowBlockVersion);
  writer.varint(sites.size);
  for (const site of sites.keys()) writer.bytes(siteToBytes(site));
  writer.varint(stampList.length);
  for (const stamp of stampList) {
    writeHlc(writer, stamp);
    writer.varint(sites.get(stamp.site) as number);
  }
  writer.varint(tables.size);
  for (const [name, table] of tables) {
    writer.text(name);
    writer.varint(table.columns.size);
    for (const column of table.columns.keys()) writer.text(column);
  }
  writer.varint(rows.length);
  writer.bytes(body.peek());
}

export function encodeRowBlock(rows: readonly RowState[]): Uint8Array {
  const writer = new ByteWriter(256 + rows.length * 64);
  writeRowBlock(writer, rows);
  return writer.finish();
}

/**
 * Reads a block to the end of `reader`. On malformed bytes the reader fails and the rows are void.
 * Allocation is bounded by the input: every count is checked against the bytes left.
 */
export function readRowBlock(reader: ByteReader): RowState[] {
  const version = reader.u8("row block version");
  if (reader.ok && version !== rowBlockVersion) {
    reader.fail(`row block: version ${rowBlockVersion}, got ${version}`);
  }
  const sites = readMany(reader, "sites", 16, () => {
    const bytes = reader.bytes(16, "site");
    return reader.ok ? siteFromBytes(bytes) : ("" as Site);
  });
  const stamps = readMany(reader, "stamps", 9, (): Stamp => {
    const hlc = readHlc(reader, "stamp");
    return { ...hlc, site: indexed(reader, sites, "stamp site") as Site };
  });
  const tables = readMany(reader, "tables", 2, () => ({
    name: readName(reader, "table name"),
    columns: readMany(reader, "columns", 1, () => readName(reader, "column name"), columnsMax),
  }));
  return readMany(
    reader,
    "rows",
    6,
    (): RowState => {
      const table = indexed(reader, tables, "row table");
      const flags = reader.u8("row flags");
      if (flags !== 0) reader.fail(`row flags: 0 in version 1, got ${flags}`);
      const key = reader.blob("key", keyBytesMax).slice();
      if (reader.ok && decodeKey(key) === undefined) reader.fail("key: not a canonical key");
      const stamp = indexed(reader, stamps, "row stamp");
      const cl = reader.varint("causal length", causalLengthMax);
      if (reader.ok && cl < 1) reader.fail("causal length: at least 1, got 0");
      let before = "";
      const cells = readMany(
        reader,
        "cells",
        3,
        (): Cell => {
          const column = indexed(reader, table?.columns ?? [], "cell column") ?? "";
          const cellStamp = indexed(reader, stamps, "cell stamp") as Stamp;
          const value = readValue(reader, "cell value");
          if (reader.ok && column <= before) {
            reader.fail(`cells: ascending by column, got "${column}" after "${before}"`);
          } else if (reader.ok && compareStamps(cellStamp, stamp as Stamp) < 0) {
            reader.fail(`cell "${column}": stamp below its row's`);
          }
          before = column;
          return { column, stamp: cellStamp, value };
        },
        columnsMax,
      );
      return { table: table?.name ?? "", key, clock: { ...(stamp as Stamp), cl }, cells };
    },
    rowsMax,
  );
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
  const count = reader.varint(`${what} count`, countMax);
  if (count * bytesMin > reader.left) {
    reader.fail(`${what}: ${count} don't fit in the ${reader.left} bytes left`);
    return [];
  }
  const items: T[] = [];
  for (let i = 0; i < count && reader.ok; i++) items.push(read());
  return items;
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
