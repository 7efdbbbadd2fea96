/**
 * Clocks of a row as they are stored, which become objects only for those who ask: most merges don't.
 *
 * @module
 */

import { assert } from "../../assert.ts";
import type { ByteWriter } from "../../bytes/writer.ts";
import type { RowClock } from "../../clock/row-clock.ts";
import type { Stamp } from "../../clock/stamp.ts";
import type { CellClock, ClockState } from "../../row/digest.ts";
import { stampOfRow } from "../../row/row-state.ts";
import { decodeClocks } from "./clock-blob.ts";
import type { StoredOrdinals } from "./ordinals.ts";

const hlcBytes = 8;
const siteBytes = 16;
const stampBytes = hlcBytes + siteBytes;
const valueHashBytes = 8;
const varintBytesMax = 8;

export class EncodedClocks implements ClockState {
  readonly #bytes: Uint8Array;
  readonly #ordinals: StoredOrdinals;
  /** Of the ordinals, when these were made. */
  readonly #life: number;
  #stamp: Stamp | undefined;
  #decoded: ClockState | undefined;

  /** @param bytes A clock blob that is well-formed. @param stamp The largest in it, if that is known. */
  constructor(bytes: Uint8Array, ordinals: StoredOrdinals, stamp: Stamp | undefined) {
    this.#bytes = bytes;
    this.#ordinals = ordinals;
    this.#life = ordinals.life;
    this.#stamp = stamp;
  }

  /** As they are stored. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get clock(): RowClock {
    return this.#decode().clock;
  }

  get cells(): readonly CellClock[] {
    return this.#decode().cells;
  }

  largestStamp(): Stamp {
    this.#stamp ??= stampOfRow(this);
    return this.#stamp;
  }

  /** Length and site. */
  get digestShape(): number {
    return this.#bytes.length ^ (this.#bytes[9] as number);
  }

  /** From blob to digest without a stop: both name the same things in the same order. */
  writeDigestInput(writer: ByteWriter, last: ClockState | undefined): void {
    if (last instanceof EncodedClocks && this.#overwrite(writer, last)) return;
    const bytes = this.#bytes;
    const ordinals = this.#ordinals;
    let out = writer.reserve(stampBytes + 2 * varintBytesMax);
    let { view } = writer;
    let to = writer.length;
    // Byte by byte, and varints of one byte where they are met: a call of `set` takes longer than it all.
    copyEight(out, to, bytes, 1);
    to += hlcBytes;
    let at = 1 + hlcBytes;
    let byte = bytes[at++] as number;
    let site = byte;
    if (byte >= 0x80) {
      site = varintAt(bytes, at - 1);
      at = varintEnd(bytes, at);
    }
    copySite(out, to, ordinals.siteBytes(site));
    to += siteBytes;
    const rowStamp = to - stampBytes;
    // Causal length and cells are written alike.
    do out[to++] = byte = bytes[at++] as number;
    while (byte >= 0x80);
    const countAt = at;
    do out[to++] = byte = bytes[at++] as number;
    while (byte >= 0x80);
    const count = byte === bytes[countAt] ? byte : varintAt(bytes, countAt);
    /** Where the cell's stamp is copied from: what of it was written. */
    let before = rowStamp;
    for (let cell = 0; cell < count; cell++) {
      let ordinal = bytes[at++] as number;
      if (ordinal >= 0x80) {
        ordinal = varintAt(bytes, at - 1);
        at = varintEnd(bytes, at);
      }
      const column = ordinals.columnText(ordinal);
      const wanted = column.length + stampBytes + valueHashBytes;
      if (to + wanted > out.length) {
        writer.advance(to);
        out = writer.reserve(wanted);
        view = writer.view;
      }
      for (let i = 0; i < column.length; i++) out[to++] = column[i] as number;
      const where = (bytes[at++] as number) & 3;
      if (where === 2) {
        before = to;
        copyEight(out, to, bytes, at);
        to += hlcBytes;
        at += hlcBytes;
        site = bytes[at++] as number;
        if (site >= 0x80) {
          site = varintAt(bytes, at - 1);
          at = varintEnd(bytes, at);
        }
        copySite(out, to, ordinals.siteBytes(site));
        to += siteBytes;
      } else {
        if (where === 0) before = rowStamp;
        for (let i = 0; i < stampBytes; i += 4) view.setInt32(to + i, view.getInt32(before + i));
        to += stampBytes;
      }
      copyEight(out, to, bytes, at);
      to += valueHashBytes;
      at += valueHashBytes;
    }
    writer.advance(to);
  }

  /**
   * Where the row before had the same columns and sites, as rows that come together nearly always have, only times
   * and hashes are another: a third of the bytes.
   *
   * @returns false: it hasn't; what is behind the writer's end is of no use any more.
   */
  #overwrite(writer: ByteWriter, last: EncodedClocks): boolean {
    const bytes = this.#bytes;
    const other = last.#bytes;
    const ordinals = this.#ordinals;
    // What was written of the last one was written since it was made, and ordinals haven't been given anew since.
    if (last.#ordinals !== ordinals || last.#life !== ordinals.life) return false;
    if (bytes.length !== other.length) return false;
    // Site, causal length and count of cells; longer varints go the other way.
    for (let at = 9; at < 12; at++) {
      if (bytes[at] !== other[at] || (bytes[at] as number) >= 0x80) return false;
    }
    const cells = bytes[11] as number;
    const out = writer.reserve(0);
    const { view } = writer;
    const rowStamp = writer.length;
    copyEight(out, rowStamp, bytes, 1);
    let before = rowStamp;
    let at = 12;
    let to = rowStamp + stampBytes + 2;
    for (let cell = 0; cell < cells; cell++) {
      const ordinal = bytes[at] as number;
      const flags = bytes[at + 1] as number;
      if (ordinal !== other[at] || flags !== other[at + 1] || ordinal >= 0x80) return false;
      at += 2;
      to += ordinals.columnText(ordinal).length;
      const where = flags & 3;
      if (where === 2) {
        before = to;
        copyEight(out, to, bytes, at);
        at += hlcBytes;
        if (bytes[at] !== other[at] || (bytes[at] as number) >= 0x80) return false;
        at++;
      } else {
        if (where === 0) before = rowStamp;
        for (let i = 0; i < hlcBytes; i += 4) view.setInt32(to + i, view.getInt32(before + i));
      }
      to += stampBytes;
      copyEight(out, to, bytes, at);
      at += valueHashBytes;
      to += valueHashBytes;
    }
    writer.advance(to);
    return true;
  }

  #decode(): ClockState {
    if (this.#decoded === undefined) {
      const decoded = decodeClocks(this.#bytes, this.#ordinals);
      assert(decoded.kind === "clocks", "encoded clocks are well-formed");
      this.#decoded = { clock: decoded.clock, cells: decoded.cells };
    }
    return this.#decoded;
  }
}

/** Written out, for a loop of so few takes nearly twice as long: an HLC, or the hash of a value. */
function copyEight(into: Uint8Array, to: number, from: Uint8Array, at: number): void {
  into[to] = from[at] as number;
  into[to + 1] = from[at + 1] as number;
  into[to + 2] = from[at + 2] as number;
  into[to + 3] = from[at + 3] as number;
  into[to + 4] = from[at + 4] as number;
  into[to + 5] = from[at + 5] as number;
  into[to + 6] = from[at + 6] as number;
  into[to + 7] = from[at + 7] as number;
}

function copySite(into: Uint8Array, to: number, site: Uint8Array): void {
  copyEight(into, to, site, 0);
  copyEight(into, to + 8, site, 8);
}

/** The varint that begins at `from`. */
function varintAt(bytes: Uint8Array, from: number): number {
  let value = 0;
  let factor = 1;
  for (let at = from; ; at++) {
    const byte = bytes[at] as number;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return value;
    factor *= 0x80;
  }
}

/** Where the varint ends of which `from` is no first byte. */
function varintEnd(bytes: Uint8Array, from: number): number {
  let at = from;
  while ((bytes[at] as number) >= 0x80) at++;
  return at + 1;
}
