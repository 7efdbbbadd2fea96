/**
 * An answer that is a stream: it is sent in chunks, each as soon as it is there; the next is asked for when the client
 * has taken the last.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { noBytes } from "../http.ts";
import type { Output } from "../output.ts";
import { chunkOf, lastChunk } from "./response-head.ts";

/** JSON allows one before a line. */
const oneSpace = Buffer.from(" ");

export interface StreamedOptions {
  readonly isEndless: boolean;
  /** False for HTTP/1.0, where the end of the connection is that of the answer. */
  readonly isChunked: boolean;
}

export class StreamedAnswer {
  /** It has no end of its own. */
  readonly isEndless: boolean;
  readonly #output: Output;
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #isChunked: boolean;
  #hasBegun = false;

  constructor(
    output: Output,
    body: AsyncIterable<Uint8Array>,
    { isEndless, isChunked }: StreamedOptions,
  ) {
    this.#output = output;
    this.#pieces = body[Symbol.asyncIterator]();
    this.isEndless = isEndless;
    this.#isChunked = isChunked;
  }

  /** Its head is written. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** All of it, until the connection is closed. @throws what the stream does */
  async send(head: Buffer): Promise<void> {
    const output = this.#output;
    let next = this.#pieces.next();
    let first: Buffer | undefined = head;
    // The first piece leaves with the head if it is there already.
    if ((await Promise.race([next, nextTurn()])) === undefined) {
      this.#write(head);
      first = undefined;
    }
    for (;;) {
      const { done, value } = await next;
      if (output.isClosed) return;
      let piece: Uint8Array;
      if (done === true) piece = this.#isChunked ? lastChunk : noBytes;
      else piece = this.#isChunked ? chunkOf(value) : value;
      this.#write(first === undefined ? piece : Buffer.concat([first, piece]));
      first = undefined;
      if (done === true) return;
      if (output.isFull) await output.whenDrained();
      if (output.isClosed) return;
      next = this.#pieces.next();
    }
  }

  /** What means nothing to who reads on, in a stream that may be silent for long. Others have more to say. */
  sendSpace(): void {
    if (this.isEndless) this.#output.write(this.#isChunked ? chunkOf(oneSpace) : oneSpace);
  }

  /** Nobody takes the rest. */
  async leave(): Promise<void> {
    await this.#pieces.return?.();
  }

  #write(bytes: Uint8Array): void {
    this.#output.write(bytes);
    this.#hasBegun = true;
  }
}

function nextTurn(): Promise<undefined> {
  return new Promise((resolve) => setImmediate(() => resolve(undefined)));
}
