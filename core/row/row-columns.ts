/**
 * Ids, digests and largest stamps of many rows, in columns: a rebuild of the index goes through all rows, and an object
 * for each would be garbage.
 *
 * @module
 */

import { bytesToHex } from "../bytes/hex.ts";
import { i32At } from "../bytes/u32.ts";
import type { IdWords, MutableDigest, RowId } from "./digest.ts";

const idBytes = 16;

/** Rows in columns: those of one slice of a scan. Good until the next slice. */
export class RowColumns {
  count = 0;
  /** 16 bytes a row. */
  readonly ids: Uint8Array;
  /** Four lanes a row, as of `Digest`, the lowest first. */
  readonly digests: Int32Array;
  /** The largest stamp in the row. */
  readonly stampMs: Float64Array;
  readonly stampCount: Uint16Array;

  constructor(rowsMax: number) {
    this.ids = new Uint8Array(rowsMax * idBytes);
    this.digests = new Int32Array(rowsMax * 4);
    this.stampMs = new Float64Array(rowsMax);
    this.stampCount = new Uint16Array(rowsMax);
  }

  get rowsMax(): number {
    return this.stampMs.length;
  }

  idAt(row: number): RowId {
    return bytesToHex(this.ids, row * idBytes, (row + 1) * idBytes) as RowId;
  }

  /** An object of its own. */
  wordsAt(row: number): IdWords {
    const at = row * idBytes;
    return {
      first: i32At(this.ids, at),
      second: i32At(this.ids, at + 4),
      third: i32At(this.ids, at + 8),
      fourth: i32At(this.ids, at + 12),
    };
  }

  /** The range that the row falls in. */
  rangeAt(row: number): number {
    return ((this.ids[row * idBytes] as number) << 8) | (this.ids[row * idBytes + 1] as number);
  }

  /** Writes the row's digest to `into`. */
  readDigest(row: number, into: MutableDigest): void {
    into.a = this.digests[row * 4] as number;
    into.b = this.digests[row * 4 + 1] as number;
    into.c = this.digests[row * 4 + 2] as number;
    into.d = this.digests[row * 4 + 3] as number;
  }
}
