/**
 * The streams of a connection, and what is known of those that are over (RFC 9113 §5.1, §5.1.1). Clients open odd ones,
 * each with a higher number than the last.
 *
 * @module
 */

import type { Http2Stream } from "./stream.ts";

/** Of streams that we ended first: what was on its way is ignored, until the client knows. */
const ignoredMax = 1024;

export class StreamTable {
  readonly #streams = new Map<number, Http2Stream>();
  readonly #ignored = new Set<number>();
  #lastId = 0;
  /** Before the last one: those that were left out, and so can't be opened any more. */
  #skippedFrom = 0;
  #skippedTo = 0;

  /** The highest that was opened. */
  get lastId(): number {
    return this.#lastId;
  }

  /** Of those that are open. */
  get size(): number {
    return this.#streams.size;
  }

  all(): IterableIterator<Http2Stream> {
    return this.#streams.values();
  }

  get(id: number): Http2Stream | undefined {
    return this.#streams.get(id);
  }

  /** Nobody has opened it yet, or ever will. */
  isIdle(id: number): boolean {
    return id > this.#lastId || id % 2 === 0;
  }

  /** It is opened, though maybe not for long. */
  begin(id: number): void {
    if (id > this.#lastId + 2) {
      this.#skippedFrom = this.#lastId + 2;
      this.#skippedTo = id;
    }
    this.#lastId = id;
  }

  wasSkipped(id: number): boolean {
    return id >= this.#skippedFrom && id < this.#skippedTo;
  }

  add(stream: Http2Stream): void {
    this.#streams.set(stream.id, stream);
  }

  remove(id: number): void {
    this.#streams.delete(id);
  }

  isIgnored(id: number): boolean {
    return this.#ignored.has(id);
  }

  ignore(id: number): void {
    this.#ignored.add(id);
    if (this.#ignored.size <= ignoredMax) return;
    const [oldest] = this.#ignored;
    this.#ignored.delete(oldest as number);
  }

  ignoreNoLonger(id: number): void {
    if (this.#ignored.size > 0) this.#ignored.delete(id);
  }
}
