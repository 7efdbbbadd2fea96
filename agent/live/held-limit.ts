/**
 * How much the rows may take that live queries keep to tell changes by, all together. Every reader that comes and
 * goes leaves its query behind for a while, so without a bound a loop of clients takes all memory.
 *
 * Where there is no room, queries that nobody listens to any more are forgotten, the longest idle first; then a
 * new one is refused. None that somebody listens to is ended for another.
 *
 * @module
 */

import type { Entry, LiveRegistry } from "./live-registry.ts";

export class HeldLimit {
  readonly #registry: LiveRegistry;
  readonly #bytesMax: number;
  readonly #forget: (entry: Entry) => void;
  /** Of all entries at the last count, and what has come since; what has gone since is still in it. */
  #countedBytes = 0;
  /** Of those that the next count has come by, and what has come since it began, some of it twice. */
  #countingBytes = 0;

  /** @param forget takes an entry out of the registry */
  constructor(registry: LiveRegistry, bytesMax: number, forget: (entry: Entry) => void) {
    this.#registry = registry;
    this.#bytesMax = bytesMax;
    this.#forget = forget;
  }

  /** The next one of a count of all. They may be many, and their rows change: this goes on all the time, some a turn. */
  count({ subscription }: Entry): void {
    this.#countingBytes += subscription.heldBytes;
  }

  /** The count has come by all: forgets what must be forgotten, and another one begins. */
  allCounted(): void {
    this.#countedBytes = this.#countingBytes;
    this.#countingBytes = 0;
    if (this.#countedBytes > this.#bytesMax) this.#makeRoom();
  }

  /** Counts all at once, and forgets what must be forgotten. */
  #makeRoom(): void {
    this.#countedBytes = 0;
    for (const { subscription } of this.#registry.entries()) {
      this.#countedBytes += subscription.heldBytes;
    }
    if (this.#countedBytes <= this.#bytesMax) return;
    const idle = [...this.#registry.entries()].filter((entry) => entry.listeners.size === 0);
    const sinceMs = (entry: Entry): number => entry.idleSinceMs ?? Number.POSITIVE_INFINITY;
    for (const entry of idle.sort((a, b) => sinceMs(a) - sinceMs(b))) {
      if (this.#countedBytes <= this.#bytesMax) return;
      if (sinceMs(entry) === Number.POSITIVE_INFINITY) return;
      this.#countedBytes -= entry.subscription.heldBytes;
      this.#forget(entry);
    }
  }

  /** An entry of the registry has that many bytes more than when this was last asked. @returns why there is no room for them */
  grown(bytes: number): string | undefined {
    this.#countedBytes += bytes;
    this.#countingBytes += bytes;
    if (this.#countedBytes <= this.#bytesMax) return undefined;
    this.#makeRoom();
    if (this.#countedBytes <= this.#bytesMax) return undefined;
    const [held, max] = [this.#countedBytes, this.#bytesMax].map((n) => (n / 2 ** 20).toFixed(1));
    return `the rows of all live queries take ${held} MiB, and may take ${max} (store.subscribed_bytes): end some, or ask for less`;
  }
}
