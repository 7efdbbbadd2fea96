/**
 * What a connection sends. The kernel takes what it has room for; the rest is kept, and whoever writes more asks
 * {@link Output.isFull} first.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import { assert } from "../../core/assert.ts";

/** Of answers that leave together. */
const corkedBytesMax = 64 * 1024;

/** Only one connection is corked at a time: its answers are made within one call. */
export const corked: Buffer = Buffer.alloc(corkedBytesMax);
let corkedBytes = 0;
let corkedBy: Output | undefined;

export class Output {
  readonly #socket: Socket<unknown>;
  #unsent: Uint8Array[] = [];
  #wake: (() => void) | undefined;
  #isClosed = false;

  constructor(socket: Socket<unknown>) {
    this.#socket = socket;
  }

  /** Nothing is sent any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The client hasn't taken what was written. */
  get isFull(): boolean {
    return this.#unsent.length > 0;
  }

  /** What is written from now on leaves together, at {@link uncork}: in the same turn. */
  cork(): void {
    assert(corkedBy === undefined, "one connection is corked at a time");
    corkedBy = this;
  }

  uncork(): void {
    this.#flush();
    corkedBy = undefined;
  }

  /** @param bytes don't change any more */
  write(bytes: Uint8Array): void {
    if (corkedBy !== this) {
      this.#send(bytes, false);
      return;
    }
    if (corkedBytes + bytes.length > corkedBytesMax) this.#flush();
    if (bytes.length > corkedBytesMax) {
      this.#send(bytes, false);
      return;
    }
    corked.set(bytes, corkedBytes);
    corkedBytes += bytes.length;
  }

  /**
   * Room in {@link corked}, for what is put together there without a buffer of its own. Only between {@link cork} and
   * {@link uncork}.
   *
   * @param bytes at most 64 KiB; they are written before anything else is
   * @returns where they go
   */
  reserve(bytes: number): number {
    assert(corkedBy === this && bytes <= corkedBytesMax, "room is there while it is corked");
    if (corkedBytes + bytes > corkedBytesMax) this.#flush();
    const at = corkedBytes;
    corkedBytes += bytes;
    return at;
  }

  /** Resolves when it isn't full any more, or the connection is closed. */
  async whenDrained(): Promise<void> {
    while (this.isFull && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The socket takes more. */
  drained(): void {
    const unsent = this.#unsent;
    this.#unsent = [];
    for (const bytes of unsent) this.#send(bytes, false);
    if (!this.isFull) this.#wakeUp();
  }

  closed(): void {
    this.#isClosed = true;
    this.#unsent = [];
    this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #flush(): void {
    const bytes = corkedBytes;
    corkedBytes = 0;
    if (bytes > 0) this.#send(corked.subarray(0, bytes), true);
  }

  /** @param isLent `bytes` are another's after the call */
  #send(bytes: Uint8Array, isLent: boolean): void {
    if (this.#isClosed) return;
    // It must not overtake what waits.
    const sent = this.isFull ? 0 : this.#socket.write(bytes);
    // Closed: the socket tells of it in a moment.
    if (sent < 0 || sent >= bytes.length) return;
    const rest = bytes.subarray(sent);
    this.#unsent.push(isLent ? Buffer.from(rest) : rest);
  }
}
