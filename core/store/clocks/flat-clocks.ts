/**
 * A clock blob (`clock-blob.ts`) taken apart into columns of numbers, which are used again for the next.
 *
 * @module
 */

import { u32At } from "../../bytes/u32.ts";
import type { Site, Stamp } from "../../clock/stamp.ts";
import { clockBlobVersion } from "./clock-blob.ts";
import type { StoredOrdinals } from "./ordinals.ts";

/** Cells that there is room for. */
export const flatCellsMax = 64;

export class FlatClocks {
  // Of the row.
  ms = 0;
  clockCount = 0;
  /** Ordinal. */
  site = 0;
  cl = 0;
  /** Cells. */
  count = 0;
  /** A cell's value is in a held blob. */
  hasHeld = false;
  // By cell, ascending by name.
  /** Ordinals. */
  readonly column: Float64Array = new Float64Array(flatCellsMax);
  readonly cellMs: Float64Array = new Float64Array(flatCellsMax);
  readonly cellCount: Int32Array = new Int32Array(flatCellsMax);
  /** Ordinals. */
  readonly cellSite: Float64Array = new Float64Array(flatCellsMax);
  readonly high: Uint32Array = new Uint32Array(flatCellsMax);
  readonly low: Uint32Array = new Uint32Array(flatCellsMax);

  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;

  /**
   * Takes `bytes[start..end)` apart. False when it has more cells than there is room for, or isn't a clock blob: what the
   * fields have then means nothing.
   */
  decode(bytes: Uint8Array, start: number, end: number, ordinals: StoredOrdinals): boolean {
    // The shortest blob of no cells.
    if (end - start < 12 || bytes[start] !== clockBlobVersion) return false;
    this.#bytes = bytes;
    this.ms = u16(bytes, start + 1) * 2 ** 32 + u32At(bytes, start + 3);
    this.clockCount = u16(bytes, start + 7);
    this.#at = start + 9;
    this.site = this.#varint();
    this.cl = this.#varint();
    const count = this.#varint();
    if (count > flatCellsMax || ordinals.site(this.site) === undefined) return false;
    this.count = count;
    this.hasHeld = false;
    let { ms, clockCount: stampCount, site } = this;
    for (let i = 0; i < count; i++) {
      const column = this.#varint();
      const flags = bytes[this.#at++] as number;
      const where = flags & 3;
      if (!(flags <= 7) || where === 3 || ordinals.column(column) === undefined) return false;
      if ((flags & 4) !== 0) this.hasHeld = true;
      if (where === 0) {
        ms = this.ms;
        stampCount = this.clockCount;
        site = this.site;
      } else if (where === 2) {
        const at = this.#at;
        ms = u16(bytes, at) * 2 ** 32 + u32At(bytes, at + 2);
        stampCount = u16(bytes, at + 6);
        this.#at = at + 8;
        site = this.#varint();
        if (ordinals.site(site) === undefined) return false;
      }
      const at = this.#at;
      this.column[i] = column;
      this.cellMs[i] = ms;
      this.cellCount[i] = stampCount;
      this.cellSite[i] = site;
      this.high[i] = u32At(bytes, at);
      this.low[i] = u32At(bytes, at + 4);
      this.#at = at + 8;
    }
    return this.#at === end;
  }

  /** The row clock's stamp against another. */
  compareClock(stamp: Stamp, ordinals: StoredOrdinals): number {
    return (
      this.ms - stamp.ms ||
      this.clockCount - stamp.count ||
      compareSites(ordinals.site(this.site), stamp.site)
    );
  }

  /** A cell's stamp against another. */
  compareCell(i: number, stamp: Stamp, ordinals: StoredOrdinals): number {
    return (
      (this.cellMs[i] as number) - stamp.ms ||
      (this.cellCount[i] as number) - stamp.count ||
      compareSites(ordinals.site(this.cellSite[i] as number), stamp.site)
    );
  }

  /** Past the end it is NaN, which nothing is equal to. */
  #varint(): number {
    let value = this.#bytes[this.#at++] as number;
    if (value < 0x80) return value;
    value &= 0x7f;
    for (let factor = 0x80; factor < 2 ** 53; factor *= 0x80) {
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) * factor;
      // Only the shortest form is one.
      if (byte < 0x80) return byte === 0 ? Number.NaN : value;
    }
    return Number.NaN;
  }
}

function compareSites(a: Site | undefined, b: Site): number {
  return a === b ? 0 : (a as Site) < b ? -1 : 1;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}
