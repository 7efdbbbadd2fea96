/**
 * Columns of rows as they were, one row after the other in few arrays: an array for each would cost as much as reading them.
 *
 * A row's *place* is a number: which array, and where in it.
 *
 * @module
 */

import { ByteWriter } from "../../bytes/writer.ts";

/** One larger array would be copied ever again while it grows. */
const arrayBytesMax = 1024 * 1024;
const placesAnArray = 2 ** 32;

export class NotedColumns {
  readonly #writer = new ByteWriter(4096);
  /** Those before the one that is written. */
  readonly #full: Uint8Array[] = [];

  /** To be given the next row's columns. */
  get writer(): ByteWriter {
    return this.#writer;
  }

  /** The place of the row whose columns are written next. */
  begin(): number {
    if (this.#writer.length > arrayBytesMax) {
      this.#full.push(this.#writer.finish());
      this.#writer.reuse();
    }
    return this.#full.length * placesAnArray + this.#writer.length;
  }

  /** The array that a place is in, good until the next row is written. */
  bytesAt(place: number): Uint8Array {
    return this.#full[Math.floor(place / placesAnArray)] ?? this.#writer.reserve(0);
  }

  /** Where in it. */
  startOf(place: number): number {
    return place % placesAnArray;
  }

  clear(): void {
    this.#writer.reuse();
    if (this.#full.length > 0) this.#full.length = 0;
  }
}
