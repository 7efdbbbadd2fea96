/**
 * Row id and digest of a row straight from the bytes of its key and its clock blob, for a scan of everything:
 * no object a row, where the decoded way makes some thirty. A rebuild of the index would otherwise leave
 * more garbage than the process has memory for.
 *
 * It knows the plain rows, which are nearly all. Of anything else (held values, a long key, a blob that isn't
 * well-formed) it says so, and the caller goes the decoded way, which is the one that decides.
 *
 * The layouts are those of `row/digest.ts` and `clock-blob.ts`.
 *
 * @module
 */

import { i32At, u32At } from "../../bytes/u32.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import type { Site } from "../../clock/stamp.ts";
import { type Digester, digestKeyBytes, siteToBytes } from "../../row/digest.ts";
import type { RowColumns } from "../../row/row-columns.ts";
import { valueTagText } from "../../row/value.ts";
import { clockBlobVersion, type Ordinals } from "./clock-blob.ts";

const idBytes = 16;
const hlcBytes = 8;
const stampBytes = hlcBytes + 16;
const valueHashBytes = 8;
/** A row of some hundred columns. */
const inputBytes = 8192;
/** Below this the lengths in a key take a byte each. */
const shortKeyBytesMax = 120;
const clockStart = digestKeyBytes + 1 + idBytes;
const noBytes = new Uint8Array(0);

export class RowHasher {
  readonly #digester: Digester;
  readonly #ordinals: Ordinals;
  /** Key, domain, row id, and then clocks. */
  readonly #clockInput: Uint8Array;
  readonly #clockViews: (Uint8Array | undefined)[] = [];
  /** Key, domain, table name, and then a row's key. */
  readonly #keyInput: Uint8Array;
  readonly #keyViews: (Uint8Array | undefined)[] = [];
  #table: string | undefined;
  #keyStart = 0;
  readonly #siteBytes = new Map<Site, Uint8Array>();
  readonly #columnBytes = new Map<string, Uint8Array>();
  // Of the blob at hand.
  #bytes: Uint8Array = noBytes;
  #at = 0;
  #end = 0;
  #stampMs = 0;
  #stampCount = 0;
  #firstMs = 0;
  #clockEnd = 0;
  /** Of the key at hand; good until something else is hashed. */
  #id: Uint8Array = noBytes;

  constructor(digester: Digester, ordinals: Ordinals) {
    this.#digester = digester;
    this.#ordinals = ordinals;
    this.#clockInput = digester.newInput(0x01, inputBytes);
    this.#keyInput = digester.newInput(0x02, inputBytes);
  }

  /** Reads the clock blob `bytes[start..end)`: false when this isn't a plain row. */
  readClocks(bytes: Uint8Array, start: number, end: number): boolean {
    this.#clockEnd = this.#writeClocks(bytes, start, end);
    return this.#clockEnd > 0;
  }

  /** Of the largest stamp among the clocks read last. */
  get lastMs(): number {
    return this.#stampMs;
  }

  /** Of the smallest. */
  get firstMs(): number {
    return this.#firstMs;
  }

  /**
   * Reads a key: false when it isn't a short one.
   *
   * @param table In ASCII lower case.
   * @param bytes The key, from `start` on: as of `key.ts`, or where `isText` the one TEXT that it consists of.
   */
  readKey(
    table: string,
    bytes: Uint8Array,
    start: number,
    length: number,
    isText: boolean,
  ): boolean {
    if (length > shortKeyBytesMax) return false;
    this.#id = this.#hashKey(table, bytes, start, length, isText);
    return true;
  }

  /** The range in which the row of the key read last lies, as of `rangeOfRow`. */
  get range(): number {
    return ((this.#id[0] as number) << 8) | (this.#id[1] as number);
  }

  /** Adds the row of the clocks and the key read last. */
  add(rows: RowColumns): void {
    const at = rows.count++;
    const { ids, digests } = rows;
    const id = this.#id;
    const input = this.#clockInput;
    for (let i = 0; i < idBytes; i++) {
      const byte = id[i] as number;
      ids[at * idBytes + i] = byte;
      input[digestKeyBytes + 1 + i] = byte;
    }
    const hash = this.#digester.hashInput(viewOf(input, this.#clockViews, this.#clockEnd));
    for (let lane = 0; lane < 4; lane++) digests[at * 4 + lane] = i32At(hash, 12 - 4 * lane);
    rows.stampMs[at] = this.#stampMs;
    rows.stampCount[at] = this.#stampCount;
  }

  #hashKey(
    table: string,
    bytes: Uint8Array,
    start: number,
    length: number,
    isText: boolean,
  ): Uint8Array {
    const input = this.#keyInput;
    if (table !== this.#table) {
      const writer = new ByteWriter(table.length + 8);
      writer.text(table);
      input.set(writer.peek(), digestKeyBytes + 1);
      this.#keyStart = digestKeyBytes + 1 + writer.length;
      this.#table = table;
    }
    let at = this.#keyStart;
    if (isText) {
      input[at++] = length + 3;
      input[at++] = 1;
      input[at++] = valueTagText;
    }
    input[at++] = length;
    for (let i = 0; i < length; i++) input[at++] = bytes[start + i] as number;
    return this.#digester.hashInput(viewOf(input, this.#keyViews, at));
  }

  /** Writes a row's clocks as they are hashed; where they end, 0 when this isn't a plain row. */
  #writeClocks(bytes: Uint8Array, start: number, end: number): number {
    const input = this.#clockInput;
    this.#bytes = bytes;
    this.#end = end;
    this.#stampMs = 0;
    this.#stampCount = 0;
    this.#firstMs = Number.POSITIVE_INFINITY;
    if (bytes[start] !== clockBlobVersion) return 0;
    this.#at = start + 1;
    if (!this.#copyStamp(clockStart)) return 0;
    let to = clockStart + stampBytes;
    // Causal length and count of cells, as they are in the blob.
    const headAt = this.#at;
    if (this.#varint() < 0) return 0;
    const cells = this.#varint();
    if (cells < 0) return 0;
    for (let at = headAt; at < this.#at; at++) input[to++] = bytes[at] as number;
    let before = clockStart;
    for (let cell = 0; cell < cells; cell++) {
      const column = this.#columnOf(this.#varint());
      if (to + column.length + stampBytes + valueHashBytes > inputBytes) return 0;
      for (let i = 0; i < column.length; i++) input[to++] = column[i] as number;
      const flags = bytes[this.#at++] as number;
      // Held values and what isn't version 1; an unknown column has no bytes.
      if (flags > 2 || column.length === 0) return 0;
      if (flags === 2) {
        if (!this.#copyStamp(to)) return 0;
      } else {
        const from = flags === 0 ? clockStart : before;
        for (let i = 0; i < stampBytes; i++) input[to + i] = input[from + i] as number;
      }
      before = to;
      to += stampBytes;
      if (this.#at + valueHashBytes > end) return 0;
      for (let i = 0; i < valueHashBytes; i++) input[to++] = bytes[this.#at++] as number;
    }
    return this.#at === end ? to : 0;
  }

  /** An hlc and a site, at `to`. */
  #copyStamp(to: number): boolean {
    const bytes = this.#bytes;
    const input = this.#clockInput;
    const at = this.#at;
    if (at + hlcBytes >= this.#end) return false;
    for (let i = 0; i < hlcBytes; i++) input[to + i] = bytes[at + i] as number;
    const ms =
      (((bytes[at] as number) << 8) | (bytes[at + 1] as number)) * 2 ** 32 + u32At(bytes, at + 2);
    const count = ((bytes[at + 6] as number) << 8) | (bytes[at + 7] as number);
    if (ms > this.#stampMs || (ms === this.#stampMs && count > this.#stampCount)) {
      this.#stampMs = ms;
      this.#stampCount = count;
    }
    if (ms < this.#firstMs) this.#firstMs = ms;
    this.#at = at + hlcBytes;
    const site = this.#siteOf(this.#varint());
    for (let i = 0; i < site.length; i++) input[to + hlcBytes + i] = site[i] as number;
    return site.length > 0;
  }

  /** A number of at most two bytes, below zero for all others. */
  #varint(): number {
    const low = this.#bytes[this.#at++] as number;
    if (low < 0x80) return low;
    const high = this.#bytes[this.#at++] as number;
    return high > 0 && high < 0x80 ? high * 0x80 + (low & 0x7f) : -1;
  }

  #siteOf(ordinal: number): Uint8Array {
    const site = this.#ordinals.site(ordinal);
    if (site === undefined) return noBytes;
    let bytes = this.#siteBytes.get(site);
    if (bytes === undefined) {
      bytes = siteToBytes(site);
      this.#siteBytes.set(site, bytes);
    }
    return bytes;
  }

  /** A column's name as text with its length. */
  #columnOf(ordinal: number): Uint8Array {
    const column = this.#ordinals.column(ordinal);
    if (column === undefined) return noBytes;
    let bytes = this.#columnBytes.get(column);
    if (bytes === undefined) {
      const writer = new ByteWriter(64);
      writer.text(column);
      bytes = writer.finish();
      this.#columnBytes.set(column, bytes);
    }
    return bytes;
  }
}

/** The first `length` bytes: views are kept, for making one costs as much as hashing what it shows. */
function viewOf(input: Uint8Array, views: (Uint8Array | undefined)[], length: number): Uint8Array {
  let view = views[length];
  if (view === undefined) {
    view = input.subarray(0, length);
    views[length] = view;
  }
  return view;
}
