/**
 * Writes a clock blob (`clock-blob.ts`) from numbers, cell by cell.
 *
 * Byte by byte into an array that is large enough for any: a writer that grows looks for room at each field.
 *
 * @module
 */

import { valueHashBytes } from "../../row/digest.ts";
import { clockBlobVersion } from "./clock-blob.ts";
import { flatCellsMax } from "./flat-clocks.ts";

const varintBytesMax = 8;
const hlcBytes = 8;
const headBytesMax = 1 + hlcBytes + 3 * varintBytesMax;
const cellBytesMax = varintBytesMax + 1 + hlcBytes + varintBytesMax + valueHashBytes;

/** Clock blobs that differ in their hashes alone. */
export interface BlobShape {
  readonly bytes: Uint8Array;
  /** Where each cell's hash begins. */
  readonly hashesAt: readonly number[];
}

export class FlatBlob {
  readonly #bytes = new Uint8Array(headBytesMax + flatCellsMax * cellBytesMax);
  #at = 0;
  // The row clock's stamp and that of the cell before.
  #clockMs = 0;
  #clockCount = 0;
  #clockSite = 0;
  #beforeMs = 0;
  #beforeCount = 0;
  #beforeSite = 0;

  /**
   * @param site Of the row clock: an ordinal, as all sites here.
   * @param cells At most {@link flatCellsMax}.
   */
  begin(ms: number, count: number, site: number, cl: number, cells: number): void {
    this.#bytes[0] = clockBlobVersion;
    this.#at = 1;
    this.#hlc(ms, count);
    this.#varint(site);
    this.#varint(cl);
    this.#varint(cells);
    this.#clockMs = ms;
    this.#clockCount = count;
    this.#clockSite = site;
    this.#beforeMs = ms;
    this.#beforeCount = count;
    this.#beforeSite = site;
  }

  /**
   * A cell whose value is shown.
   *
   * @param column Its ordinal.
   * @param high Of the value's hash, as `low`.
   * @returns whether it has a stamp that neither the row clock nor the cell before has
   */
  cell(
    column: number,
    ms: number,
    count: number,
    site: number,
    high: number,
    low: number,
  ): boolean {
    const bytes = this.#bytes;
    let isOther = false;
    this.#varint(column);
    if (ms === this.#clockMs && count === this.#clockCount && site === this.#clockSite) {
      bytes[this.#at++] = 0;
    } else if (ms === this.#beforeMs && count === this.#beforeCount && site === this.#beforeSite) {
      bytes[this.#at++] = 1;
    } else {
      isOther = true;
      bytes[this.#at++] = 2;
      this.#hlc(ms, count);
      this.#varint(site);
    }
    const hashAt = this.#at;
    writeU32(bytes, hashAt, high);
    writeU32(bytes, hashAt + 4, low);
    this.#at = hashAt + valueHashBytes;
    this.#beforeMs = ms;
    this.#beforeCount = count;
    this.#beforeSite = site;
    return isOther;
  }

  /**
   * A blob whose hashes are still to be written, of a row that came under one stamp.
   *
   * @param columns Ordinals of its cells.
   */
  shapeOf(ms: number, count: number, site: number, columns: readonly number[]): BlobShape {
    this.begin(ms, count, site, 1, columns.length);
    const hashesAt = columns.map((column) => {
      this.cell(column, ms, count, site, 0, 0);
      return this.#at - valueHashBytes;
    });
    return { bytes: this.finish(), hashesAt };
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  #hlc(ms: number, count: number): void {
    const high = Math.floor(ms / 2 ** 32);
    const bytes = this.#bytes;
    const at = this.#at;
    bytes[at] = high >>> 8;
    bytes[at + 1] = high;
    writeU32(bytes, at + 2, ms);
    bytes[at + 6] = count >>> 8;
    bytes[at + 7] = count;
    this.#at = at + hlcBytes;
  }

  #varint(value: number): void {
    const bytes = this.#bytes;
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[this.#at++] = (rest % 0x80) | 0x80;
    bytes[this.#at++] = rest;
  }
}

/** Of a larger one the lowest bits. */
function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
