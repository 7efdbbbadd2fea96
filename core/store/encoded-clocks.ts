/**
 * Clocks of a row as they are stored, which become objects only for those who ask: most merges don't.
 *
 * @module
 */

import { assert } from "../assert.ts";
import type { ByteWriter } from "../bytes/writer.ts";
import type { RowClock } from "../clock/row-clock.ts";
import type { Stamp } from "../clock/stamp.ts";
import type { CellClock, ClockState } from "../row/digest.ts";
import { stampOfRow } from "../row/row-state.ts";
import { decodeClocks } from "./clock-blob.ts";
import type { StoredOrdinals } from "./ordinals.ts";

export class EncodedClocks implements ClockState {
  readonly #bytes: Uint8Array;
  readonly #ordinals: StoredOrdinals;
  #stamp: Stamp | undefined;
  #decoded: ClockState | undefined;

  /** @param bytes A clock blob that is well-formed. @param stamp The largest in it, if that is known. */
  constructor(bytes: Uint8Array, ordinals: StoredOrdinals, stamp: Stamp | undefined) {
    this.#bytes = bytes;
    this.#ordinals = ordinals;
    this.#stamp = stamp;
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

  /** From blob to digest without a stop: both name the same things in the same order. */
  writeDigestInput(writer: ByteWriter): void {
    const bytes = this.#bytes;
    const ordinals = this.#ordinals;
    let at = 9;
    /** Reads the varint at `at`. */
    const varint = (): number => {
      let value = bytes[at++] as number;
      if (value < 0x80) return value;
      value &= 0x7f;
      let factor = 0x80;
      for (;;) {
        const byte = bytes[at++] as number;
        value += (byte & 0x7f) * factor;
        if (byte < 0x80) return value;
        factor *= 0x80;
      }
    };
    writer.copy(bytes, 1, 9);
    const rowSite = ordinals.siteBytes(varint());
    writer.copy(rowSite, 0, 16);
    writer.varint(varint());
    const count = varint();
    writer.varint(count);
    let before = 1;
    let siteBefore = rowSite;
    for (let i = 0; i < count; i++) {
      const column = ordinals.columnText(varint());
      const where = (bytes[at++] as number) & 3;
      if (where === 0) {
        before = 1;
        siteBefore = rowSite;
      } else if (where === 2) {
        before = at;
        at += 8;
        siteBefore = ordinals.siteBytes(varint());
      }
      writer.copy(column, 0, column.length);
      writer.copy(bytes, before, before + 8);
      writer.copy(siteBefore, 0, 16);
      writer.copy(bytes, at, at + 8);
      at += 8;
    }
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
