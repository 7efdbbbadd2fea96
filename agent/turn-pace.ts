/**
 * How long the store thread works on a merge before others have a turn: by the clock, and shorter while
 * somebody reads here.
 *
 * A slice ends with a COMMIT, which can't be interrupted and takes about as long again for what the slice
 * wrote. Longer slices make fewer of them: with nobody to disturb a merge is up to twice as fast.
 *
 * @module
 */

import type { Pace } from "../core/store/pace.ts";

const servingMs = 1;
const aloneMs = 8;
/** Whoever asked so recently will ask again. */
const servedMs = 1000;

export class TurnPace implements Pace {
  #begunMs = 0;
  #sliceMs = aloneMs;
  #servedMs = Number.NEGATIVE_INFINITY;

  /** A client was served. */
  served(): void {
    this.#servedMs = performance.now();
  }

  get isServing(): boolean {
    return performance.now() - this.#servedMs < servedMs;
  }

  begin(): void {
    this.#begunMs = performance.now();
    this.#sliceMs = this.#begunMs - this.#servedMs < servedMs ? servingMs : aloneMs;
  }

  isOver(): boolean {
    return performance.now() - this.#begunMs >= this.#sliceMs;
  }
}
