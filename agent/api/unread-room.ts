/**
 * How much all subscribers of an agent together may leave unread. Each has a bound for its events; rows of a
 * snapshot have none of their own, since they come at once, and there may be thousands of subscribers.
 *
 * While it is full nobody else is let in, and those that have read nothing for a while are let go.
 *
 * @module
 */

/** A subscriber that has something to read. */
export interface Unread {
  readonly unreadBytes: number;
  /** Since when it has read nothing, ms on the monotonic clock. */
  readonly idleSinceMs: number;
  /** What waits is thrown away, and the stream ends with a line that says why. */
  drop(why: string): void;
}

export class UnreadRoom {
  readonly #bytesMax: number;
  readonly #stallMs: number;
  readonly #unread = new Set<Unread>();
  #bytes = 0;

  /** @param stallMs that a subscriber may read nothing while it is full */
  constructor(bytesMax: number, stallMs = 10_000) {
    this.#bytesMax = bytesMax;
    this.#stallMs = stallMs;
  }

  get isFull(): boolean {
    return this.#bytes > this.#bytesMax;
  }

  /** What waits for `stream` has become more, or less (negative). */
  changed(stream: Unread, bytes: number): void {
    this.#bytes += bytes;
    if (stream.unreadBytes > 0) this.#unread.add(stream);
    else this.#unread.delete(stream);
  }

  /** Whether another may begin. Lets those go that keep it full. */
  mayEnter(nowMs: number): boolean {
    if (!this.isFull) return true;
    for (const stream of this.#unread) this.dropStalled(stream, nowMs);
    return !this.isFull;
  }

  /** To be asked while it is full. */
  dropStalled(stream: Unread, nowMs: number): void {
    if (nowMs - stream.idleSinceMs <= this.#stallMs) return;
    stream.drop(`too slow: nothing was read for ${this.#stallMs} ms, and others wait`);
  }
}
