/**
 * Which changesets a node has seen: each is forwarded and applied once.
 *
 * Two generations of ids; when the younger is old or full it becomes the elder, and the elder is
 * forgotten. So an id is remembered for at least one generation, in bounded memory. Forgetting one is
 * harmless: a repeated changeset changes no row, and costs one more round of forwarding.
 *
 * @module
 */

import type { Stamp } from "../clock/stamp.ts";

export class SeenIds {
  readonly #generationMs: number;
  readonly #idsMax: number;
  #young = new Set<string>();
  #old = new Set<string>();
  #turnedMs = 0;

  /** @param generationMs How long an id is kept at least. @param idsMax Ids in one generation. */
  constructor(generationMs: number, idsMax: number) {
    this.#generationMs = generationMs;
    this.#idsMax = idsMax;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** True the first time. @param elapsedMs The node's own elapsed time. */
  add(stamp: Stamp, elapsedMs: number): boolean {
    if (elapsedMs - this.#turnedMs >= this.#generationMs || this.#young.size >= this.#idsMax) {
      this.#old = this.#young;
      this.#young = new Set();
      this.#turnedMs = elapsedMs;
    }
    const id = `${stamp.ms}.${stamp.count}.${stamp.site}`;
    if (this.#young.has(id)) return false;
    // Seen again: keep it for another generation, it is still travelling.
    this.#young.add(id);
    return !this.#old.has(id);
  }
}
