/**
 * How long the store thread works on a merge, or copies pages, before others have a turn: by the clock, and shorter
 * while somebody reads or writes here. Much less so while this node isn't ready: then it says so to whoever asks
 * (503 from `/v1/health`), and what it lacks comes first.
 *
 * What a slice wrote is committed by the next, which can't be interrupted and takes about half as long. Longer
 * slices make fewer of them: with nobody to disturb a merge is up to twice as fast.
 *
 * @module
 */

import type { Pace } from "../../core/store/pace.ts";

const servingMs = 0.5;
/** Each slice has its own COMMIT: an empty node takes 100,000 rows in a sixth less time than with half a millisecond. */
const catchingUpMs = 4;
const aloneMs = 8;
/** Whoever asked so recently will ask again. */
const servedMs = 1000;

export class TurnPace implements Pace {
  #begunMs = 0;
  #sliceMs = aloneMs;
  #servedMs = Number.NEGATIVE_INFINITY;
  readonly #isReady: () => boolean;

  /** @param isReady This node may be asked. */
  constructor(isReady: () => boolean) {
    this.#isReady = isReady;
  }

  /** A client was served. */
  served(): void {
    this.#servedMs = performance.now();
  }

  get isServing(): boolean {
    return performance.now() - this.#servedMs < servedMs;
  }

  begin(): void {
    this.#begunMs = performance.now();
    if (this.#begunMs - this.#servedMs >= servedMs) this.#sliceMs = aloneMs;
    else this.#sliceMs = this.#isReady() ? servingMs : catchingUpMs;
  }

  isOver(): boolean {
    return performance.now() - this.#begunMs >= this.#sliceMs;
  }
}
