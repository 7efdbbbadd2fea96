/**
 * Which changesets a node has seen: each is forwarded and applied once.
 *
 * They are told by all that is in them, and not by their stamps. A copy that a peer has damaged, or made up, would else keep
 * the good one of the next peer away, here and wherever it was sent on to, until repair finds it (scenario `mangled`).
 *
 * Two generations of ids; when the younger is old or full it becomes the elder, and the elder is
 * forgotten. So an id is remembered for at least one generation, in bounded memory. A changeset that is stamped
 * before all that is remembered ({@link SeenIds.sinceMs}) may have been here before. Sent on once more by everybody
 * it would go round for ever where queues are longer than memories, and keep them so (scenario `echo`).
 *
 * @module
 */

export class SeenIds<Id = bigint> {
  readonly #generationMs: number;
  readonly #idsMax: number;
  #young = new Set<Id>();
  #old = new Set<Id>();
  #turnedMs = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;

  /** @param generationMs How long an id is kept at least. @param idsMax Ids in one generation. */
  constructor(generationMs: number, idsMax: number) {
    this.#generationMs = generationMs;
    this.#idsMax = idsMax;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Elapsed time since which nothing was forgotten; minus infinity while nothing was. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  has(id: Id): boolean {
    return this.#young.has(id) || this.#old.has(id);
  }

  /** True the first time. @param id Of all its bytes (`options.ts`). @param elapsedMs The node's own elapsed time. */
  add(id: Id, elapsedMs: number): boolean {
    if (elapsedMs - this.#turnedMs >= this.#generationMs || this.#young.size >= this.#idsMax) {
      if (this.#old.size > 0) this.#sinceMs = this.#turnedMs;
      this.#old = this.#young;
      this.#young = new Set();
      this.#turnedMs = elapsedMs;
    }
    if (this.#young.has(id)) return false;
    // Seen again: keep it for another generation, it is still travelling.
    this.#young.add(id);
    return !this.#old.has(id);
  }
}
