/**
 * A body that comes in pieces. It takes as much memory as has come of it, not as much as its head promises.
 *
 * @module
 */

import { Buffer } from "node:buffer";

const firstBytes = 1024;

export class BodyBuffer {
  #bytes = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Copies it. */
  add(part: Uint8Array): void {
    const length = this.#length + part.length;
    if (length > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(length, this.#bytes.length * 2, firstBytes));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    this.#bytes.set(part, this.#length);
    this.#length = length;
  }

  /** All of it, without a copy. */
  get whole(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
