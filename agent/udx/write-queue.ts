/**
 * Bytes that were written and are in no packet yet.
 *
 * @module
 */

import { copyBytes } from "./copy-bytes.ts";

/** Writes that are used up leave the list once there are this many. */
const USED_WRITES_MAX = 64;

export class WriteQueue {
  /** What is queued. */
  bytes = 0;
  #writes: Uint8Array[] = [];
  #head = 0;
  /** Bytes of `#writes[#head]` that are in packets already. */
  #offset = 0;

  /** The bytes must not change until they are in a packet. */
  push(bytes: Uint8Array): void {
    this.#writes.push(bytes);
    this.bytes += bytes.length;
  }

  /** Moves the next `count` bytes, which must be there, to `into` at `start`. */
  fill(into: Uint8Array, start: number, count: number): void {
    let at = start;
    const end = start + count;
    while (at < end) {
      // biome-ignore lint/style/noNonNullAssertion: `bytes` counts what is here
      const chunk = this.#writes[this.#head]!;
      const take = Math.min(chunk.length - this.#offset, end - at);
      if (take === chunk.length) into.set(chunk, at);
      else copyBytes(chunk, this.#offset, this.#offset + take, into, at);
      at += take;
      this.#offset += take;
      if (this.#offset === chunk.length) {
        this.#head++;
        this.#offset = 0;
      }
    }
    this.bytes -= count;
    if (this.#head === this.#writes.length) {
      if (this.#head > 0) this.#writes = [];
      this.#head = 0;
    } else if (this.#head >= USED_WRITES_MAX) {
      this.#writes = this.#writes.slice(this.#head);
      this.#head = 0;
    }
  }

  clear(): void {
    this.#writes = [];
    this.bytes = 0;
  }
}
