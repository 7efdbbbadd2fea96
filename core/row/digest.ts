/**
 * Keyed hashes of values and rows: what replicas compare instead of data.
 *
 * All three are SHA-256 over the cluster's 32-byte digest key, a domain byte and the input, cut
 * to length. The key keeps somebody who can only write rows from choosing rows that collide. Cutting
 * the output rules out length extension.
 *
 * | what       | domain | input                                                                  | bytes |
 * | ---------- | ------ | ---------------------------------------------------------------------- | ----- |
 * | row digest | 0x01   | row id 16, row hlc 8, row site 16, varint `cl`, varint cells, then per cell: text column, hlc 8, site 16, value hash 8 | 16 |
 * | row id     | 0x02   | text table, varint length, key bytes                                   | 16    |
 * | value hash | 0x03   | the value's encoding (`value.ts`)                                      | 8     |
 *
 * Digest version 1. A new version runs beside the old one until all have it. No value is
 * read to compute a row digest: the value hash stands beside the clock.
 *
 * @module
 */

import { assert } from "../assert.ts";
import { bytesToHex, hexToBytes, pairByByte } from "../bytes/hex.ts";
import { i32At, u32At } from "../bytes/u32.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { RowClock } from "../clock/row-clock.ts";
import { type Site, type Stamp, writeHlc } from "../clock/stamp.ts";
import type { Sha256 } from "../hash.ts";
import type { RowState } from "./row-state.ts";
import { type SqlValue, shortValueBytesMax, writeShortValue, writeValue } from "./value.ts";

export const digestVersion = 1;
export const digestKeyBytes = 32;
export const valueHashBytes = 8;

/** 16 bytes of keyed hash of (table, primary key), as 32 hex digits. The first four name the range. */
export type RowId = string & { readonly brand: "RowId" };

/** Where an input goes on after the key and the domain. */
const inputStart = digestKeyBytes + 1;
/** A power of two. */
const rowInputs = 8;

/**
 * A row id as four 32-bit numbers, in the order of its digits: what many rows are told apart by. They are signed, since
 * the engine has a number of 2^31 and more as a double, and takes as long to make it an integer as to add two sums.
 */
export interface IdWords {
  readonly first: number;
  readonly second: number;
  readonly third: number;
  readonly fourth: number;
}

/** A keyed hash of a value, eight bytes as two unsigned 32-bit numbers. */
export interface ValueHash {
  readonly high: number;
  readonly low: number;
}

/** A cell without its value: all that comparing and settling need. */
export interface CellClock {
  readonly column: string;
  readonly stamp: Stamp;
  readonly hash: ValueHash;
}

/** A row without its values. */
export interface ClockState {
  readonly clock: RowClock;
  /** Ascending by column name. */
  readonly cells: readonly CellClock[];
  /** The same for most rows that have the same columns and sites. */
  readonly digestShape?: number;
  /**
   * Appends the clocks as a row digest has them, where they needn't become objects for that.
   *
   * @param last Whose clocks still stand where these are written, in the room behind the writer's end.
   */
  writeDigestInput?(writer: ByteWriter, last: ClockState | undefined): void;
  /** The largest stamp, where it is known without the objects. */
  largestStamp?(): Stamp;
}

/** 128 bits as four signed 32-bit lanes, as of {@link IdWords}; lane 0 lowest (little-endian lanes of a big number). */
export interface Digest {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

/** One that is used again for the next row. */
export type MutableDigest = { -readonly [Lane in keyof Digest]: number };

/** Digests of one cluster. Not re-entrant; one per thread. */
export class Digester {
  readonly #sha256: Sha256;
  // Of each domain, which begin with the key and the domain, always.
  /** By shape: rows come by turns that differ in columns and sites, a row as it was and as it is among them. */
  readonly #rows: readonly ByteWriter[];
  /** What each of {@link #rows} had last, if it wrote that itself. */
  readonly #lastInputs: (ClockState | undefined)[] = new Array(rowInputs).fill(undefined);
  readonly #ids = new ByteWriter(1024);
  readonly #values = new ByteWriter(1024);
  /** As {@link #values}, for short ones. */
  readonly #shortValue: Uint8Array;
  /** What of it is hashed, by where that ends. */
  readonly #shortValues: Uint8Array[] = [];
  /** The table whose name {@link #ids} has next: rows of one table come together. */
  #idTable: string | undefined;
  #idStart = 0;
  readonly #siteBytes = new Map<Site, Uint8Array>();
  /** Of the value hashed last. */
  hashHigh = 0;
  hashLow = 0;
  #lastSite = "" as Site;
  #lastSiteBytes: Uint8Array = new Uint8Array(0);

  constructor(sha256: Sha256, digestKey: Uint8Array) {
    assert(digestKey.length === digestKeyBytes, `digest key: 32 bytes, got ${digestKey.length}`);
    this.#sha256 = sha256;
    this.#rows = Array.from({ length: rowInputs }, () => new ByteWriter(1024));
    for (const [writer, domain] of [
      ...this.#rows.map((rows) => [rows, 0x01] as const),
      [this.#ids, 0x02],
      [this.#values, 0x03],
    ] as const) {
      writer.bytes(digestKey);
      writer.u8(domain);
    }
    this.#shortValue = this.newInput(0x03, inputStart + shortValueBytesMax);
    for (let end = 0; end <= this.#shortValue.length; end++) {
      this.#shortValues.push(this.#shortValue.subarray(0, end));
    }
  }

  /** @param table In ASCII lower case. @param key As of `key.ts`. */
  rowId(table: string, key: Uint8Array): RowId {
    return wordsToId(this.idWords(table, key));
  }

  /** {@link rowId} as numbers. */
  idWords(table: string, key: Uint8Array): IdWords {
    const writer = this.#ids;
    if (table === this.#idTable) writer.truncate(this.#idStart);
    else {
      writer.truncate(inputStart);
      writer.text(table);
      this.#idTable = table;
      this.#idStart = writer.length;
    }
    writer.blob(key);
    const hash = this.#sha256(writer.peek());
    return {
      first: i32At(hash, 0),
      second: i32At(hash, 4),
      third: i32At(hash, 8),
      fourth: i32At(hash, 12),
    };
  }

  valueHash(value: SqlValue): ValueHash {
    this.hashValue(value);
    return { high: this.hashHigh, low: this.hashLow };
  }

  /** {@link valueHash}, left in {@link hashHigh} and {@link hashLow}. */
  hashValue(value: SqlValue): void {
    const end = writeShortValue(this.#shortValue, inputStart, value);
    const hash = this.#sha256(
      end > 0 ? (this.#shortValues[end] as Uint8Array) : this.#longValue(value),
    );
    this.hashHigh = u32At(hash, 0);
    this.hashLow = u32At(hash, 4);
  }

  /** {@link hashValue} of `bytes[from..to)`, which is a value as `value.ts` writes it. */
  hashEncoded(bytes: Uint8Array, from: number, to: number): void {
    const hash = this.#hashOf(bytes, from, to);
    this.hashHigh = u32At(hash, 0);
    this.hashLow = u32At(hash, 4);
  }

  /** {@link hashEncoded}, written to `into[at..]` as clock blobs have it. */
  hashEncodedTo(bytes: Uint8Array, from: number, to: number, into: Uint8Array, at: number): void {
    const hash = this.#hashOf(bytes, from, to);
    for (let i = 0; i < valueHashBytes; i++) into[at + i] = hash[i] as number;
  }

  #hashOf(bytes: Uint8Array, from: number, to: number): Uint8Array {
    const length = to - from;
    let input: Uint8Array;
    if (length <= shortValueBytesMax) {
      const short = this.#shortValue;
      for (let i = 0; i < length; i++) short[inputStart + i] = bytes[from + i] as number;
      input = this.#shortValues[inputStart + length] as Uint8Array;
    } else {
      const writer = this.#values;
      writer.truncate(inputStart);
      writer.copy(bytes, from, to);
      input = writer.peek();
    }
    return this.#sha256(input);
  }

  #longValue(value: SqlValue): Uint8Array {
    const writer = this.#values;
    writer.truncate(inputStart);
    writeValue(writer, value);
    return writer.peek();
  }

  /** The digest of a row whose clocks are `state`. */
  rowDigest(id: RowId, state: ClockState): Digest {
    return this.digestOf(idToWords(id), state);
  }

  /** {@link rowDigest} by the id's words. */
  digestOf(id: IdWords, state: ClockState): Digest {
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    this.readDigest(id, state, digest);
    return digest;
  }

  /** {@link digestOf} without an object of its own. */
  readDigest(id: IdWords, state: ClockState, into: MutableDigest): void {
    const at = (state.digestShape ?? 0) & (rowInputs - 1);
    const writer = this.#rows[at] as ByteWriter;
    const { view } = writer;
    view.setInt32(inputStart, id.first);
    view.setInt32(inputStart + 4, id.second);
    view.setInt32(inputStart + 8, id.third);
    view.setInt32(inputStart + 12, id.fourth);
    writer.truncate(inputStart);
    writer.advance(inputStart + 16);
    const last = this.#lastInputs[at];
    this.#lastInputs[at] = undefined;
    if (state.writeDigestInput !== undefined) {
      state.writeDigestInput(writer, last);
      this.#lastInputs[at] = state;
    } else {
      this.#stamp(writer, state.clock);
      writer.varint(state.clock.cl);
      writer.varint(state.cells.length);
      for (const cell of state.cells) {
        writer.text(cell.column);
        this.#stamp(writer, cell.stamp);
        writer.u32(cell.hash.high);
        writer.u32(cell.hash.low);
      }
    }
    const hash = this.#sha256(writer.peek());
    into.d = i32At(hash, 0);
    into.c = i32At(hash, 4);
    into.b = i32At(hash, 8);
    into.a = i32At(hash, 12);
  }

  /** Bytes that begin with the key and a domain, for inputs that are written in place and hashed many times. */
  newInput(domain: number, bytes: number): Uint8Array {
    const input = new Uint8Array(bytes);
    const values = this.#values;
    values.truncate(inputStart);
    input.set(values.peek());
    input[digestKeyBytes] = domain;
    return input;
  }

  /** The hash of an input that {@link newInput} began: 32 bytes, good until the next hash. */
  hashInput(input: Uint8Array): Uint8Array {
    return this.#sha256(input);
  }

  /** The clocks of a row, with its values hashed. */
  clocksOf(row: RowState): ClockState {
    const cells: CellClock[] = [];
    for (const { column, stamp, value } of row.cells) {
      cells.push({ column, stamp, hash: this.valueHash(value) });
    }
    return { clock: row.clock, cells };
  }

  #stamp(writer: ByteWriter, stamp: Stamp): void {
    writeHlc(writer, stamp);
    // The cells of a row have few sites.
    if (stamp.site !== this.#lastSite) {
      this.#lastSiteBytes = this.#bytesOfSite(stamp.site);
      this.#lastSite = stamp.site;
    }
    writer.bytes(this.#lastSiteBytes);
  }

  #bytesOfSite(site: Site): Uint8Array {
    let bytes = this.#siteBytes.get(site);
    if (bytes === undefined) {
      bytes = siteToBytes(site);
      // Sites are few; a flood of invented ones must not fill memory.
      if (this.#siteBytes.size >= 65536) this.#siteBytes.clear();
      this.#siteBytes.set(site, bytes);
    }
    return bytes;
  }
}

export function siteToBytes(site: Site): Uint8Array {
  const bytes = hexToBytes(site);
  assert(bytes?.length === 16, `site: 32 hex digits, got ${site}`);
  return bytes;
}

export function siteFromBytes(bytes: Uint8Array): Site {
  assert(bytes.length === 16, `site: 16 bytes, got ${bytes.length}`);
  return bytesToHex(bytes) as Site;
}

export function rowIdToBytes(id: RowId): Uint8Array {
  const bytes = hexToBytes(id);
  assert(bytes?.length === 16, `row id: 32 hex digits, got ${id}`);
  return bytes;
}

export function rowIdFromBytes(bytes: Uint8Array): RowId {
  assert(bytes.length === 16, `row id: 16 bytes, got ${bytes.length}`);
  return bytesToHex(bytes) as RowId;
}

export function idToWords(id: RowId): IdWords {
  return {
    first: wordAt(id, 0),
    second: wordAt(id, 8),
    third: wordAt(id, 16),
    fourth: wordAt(id, 24),
  };
}

export function wordsToId({ first, second, third, fourth }: IdWords): RowId {
  return (wordToHex(first) + wordToHex(second) + wordToHex(third) + wordToHex(fourth)) as RowId;
}

function wordToHex(word: number): string {
  return (
    (pairByByte[word >>> 24] as string) +
    pairByByte[(word >>> 16) & 0xff] +
    pairByByte[(word >>> 8) & 0xff] +
    pairByByte[word & 0xff]
  );
}

/** Eight hex digits of an id as a number. */
function wordAt(id: RowId, from: number): number {
  let word = 0;
  for (let i = from; i < from + 8; i++) {
    const code = id.charCodeAt(i);
    // '0'..'9' are 48..57 and 'a'..'f' 97..102.
    word = (word << 4) | (code < 58 ? code - 48 : code - 87);
  }
  return word;
}

/** The range of {@link rangeOfRow}, by the id's words. */
export function rangeOfWords({ first }: IdWords): number {
  return first >>> 16;
}

/** The range (0..65535) that a row falls in: the first two bytes of its id. */
export function rangeOfRow(id: RowId): number {
  let range = 0;
  for (let i = 0; i < 4; i++) {
    const code = id.charCodeAt(i);
    // '0'..'9' are 48..57 and 'a'..'f' 97..102.
    range = range * 16 + (code < 58 ? code - 48 : code - 87);
  }
  return range;
}

export function equalDigests(x: Digest, y: Digest): boolean {
  return x.a === y.a && x.b === y.b && x.c === y.c && x.d === y.d;
}

/** Four lanes, the lowest first. */
export function writeDigestAt(into: Int32Array, at: number, { a, b, c, d }: Digest): void {
  into[at] = a;
  into[at + 1] = b;
  into[at + 2] = c;
  into[at + 3] = d;
}

/** What {@link writeDigestAt} wrote. */
export function readDigestAt(from: Int32Array, at: number, into: MutableDigest): void {
  into.a = from[at] as number;
  into.b = from[at + 1] as number;
  into.c = from[at + 2] as number;
  into.d = from[at + 3] as number;
}

export function equalHashes(x: ValueHash, y: ValueHash): boolean {
  return x.high === y.high && x.low === y.low;
}
