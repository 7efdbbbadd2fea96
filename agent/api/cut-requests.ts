/**
 * Requests that end before their body has come. A client may open and reset streams by the hundred thousand a second
 * (CVE-2023-44487); Bun ends its connections, but of each request some 2 KB of native memory are left that the
 * garbage collector doesn't know of, and so it comes too late: a gigabyte in three seconds. Here it is called in time.
 *
 * @module
 */

/** Fewer are no attack. */
const requestsMin = 8192;
/** Collecting a large heap takes long: most of the time is for everything else, though. */
const pausesPerCollection = 2;

export class CutRequests {
  readonly #collect: () => void;
  readonly #nowMs: () => number;
  #count = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;

  /** @param hooks default: the garbage collector and the machine's clock */
  constructor(hooks: { readonly collect?: () => void; readonly nowMs?: () => number } = {}) {
    this.#collect = hooks.collect ?? (() => Bun.gc(true));
    this.#nowMs = hooks.nowMs ?? (() => performance.now());
  }

  note(): void {
    this.#count++;
    if (this.#count < requestsMin) return;
    const begunMs = this.#nowMs();
    if (begunMs < this.#notBeforeMs) return;
    this.#collect();
    const endMs = this.#nowMs();
    this.#count = 0;
    this.#notBeforeMs = endMs + pausesPerCollection * (endMs - begunMs);
  }
}
