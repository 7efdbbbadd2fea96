/**
 * Writes a clock blob (`clock-blob.ts`) from numbers, cell by cell.
 *
 * @module
 */

import { ByteWriter } from "../bytes/writer.ts";
import { clockBlobVersion } from "./clock-blob.ts";

export class FlatBlob {
  readonly #writer = new ByteWriter(1024);
  // The row clock's stamp and that of the cell before.
  #clockMs = 0;
  #clockCount = 0;
  #clockSite = 0;
  #beforeMs = 0;
  #beforeCount = 0;
  #beforeSite = 0;

  /** @param site Of the row clock: an ordinal, as all sites here. */
  begin(ms: number, count: number, site: number, cl: number, cells: number): void {
    const writer = this.#writer;
    writer.clear();
    writer.u8(clockBlobVersion);
    writer.u48(ms);
    writer.u16(count);
    writer.varint(site);
    writer.varint(cl);
    writer.varint(cells);
    this.#clockMs = ms;
    this.#clockCount = count;
    this.#clockSite = site;
    this.#beforeMs = ms;
    this.#beforeCount = count;
    this.#beforeSite = site;
  }

  /** A cell whose value is shown. @param column Its ordinal. @param high Of the value's hash, as `low`. */
  cell(column: number, ms: number, count: number, site: number, high: number, low: number): void {
    const writer = this.#writer;
    writer.varint(column);
    if (ms === this.#clockMs && count === this.#clockCount && site === this.#clockSite) {
      writer.u8(0);
    } else if (ms === this.#beforeMs && count === this.#beforeCount && site === this.#beforeSite) {
      writer.u8(1);
    } else {
      writer.u8(2);
      writer.u48(ms);
      writer.u16(count);
      writer.varint(site);
    }
    writer.u32(high);
    writer.u32(low);
    this.#beforeMs = ms;
    this.#beforeCount = count;
    this.#beforeSite = site;
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}
