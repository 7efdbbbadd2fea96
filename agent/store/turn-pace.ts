/**
 * How long the store thread works on a merge, or copies pages, before others have a turn: by the clock, and shorter
 * while somebody reads or writes here.
 *
 * What a slice wrote is committed by the next, which can't be interrupted and takes about half as long. Longer
 * slices make fewer of them: with nobody to disturb a merge is up to twice as fast.
 *
 * @module
 */

import type { Pace } from "../../core/store/pace.ts";

const servingMs = 0.5;
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
