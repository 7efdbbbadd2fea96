/**
 * Sums by range, for the ranges of one shard: what a step between two cuts changed.
 *
 * @module
 */

import type { Digest } from "../row/digest.ts";
import { addSum, differenceOf, rangeCount, sumLanes } from "./fingerprint-tree.ts";

/** Neighbouring ranges that a shard has: a power of two. */
export const rangesPerShard = 2048;
export const shardCount: number = rangeCount / rangesPerShard;

/** Room for so many ranges to begin with. */
const rangesMin = 8;

export class RangeSums {
  readonly total: Int32Array = new Int32Array(sumLanes);
  /** By range of the shard: one more than where it stands below, 0 for none. */
  readonly #places = new Uint16Array(rangesPerShard);
  #ranges = new Uint16Array(rangesMin);
  #lanes = new Int32Array(rangesMin * sumLanes);
  #count = 0;

  add(range: number, before: Digest | undefined, after: Digest | undefined): void {
    differenceOf(before, after, scratchDifference);
    this.addDifference(range, scratchDifference);
  }

  /** @param difference As of `differenceOf`. */
  addDifference(range: number, difference: Int32Array): void {
    const inShard = range & (rangesPerShard - 1);
    let place = this.#places[inShard] as number;
    if (place === 0) {
      if (this.#count === this.#ranges.length) this.#grow();
      this.#ranges[this.#count] = range;
      place = ++this.#count;
      this.#places[inShard] = place;
    }
    addSum(this.#lanes, (place - 1) * sumLanes, difference, 0);
    addSum(this.total, 0, difference, 0);
  }

  /** Calls `visit` for each range, with where its sum is: good inside the call. */
  forEach(visit: (range: number, lanes: Int32Array, at: number) => void): void {
    for (let place = 0; place < this.#count; place++) {
      visit(this.#ranges[place] as number, this.#lanes, place * sumLanes);
    }
  }

  #grow(): void {
    const ranges = new Uint16Array(2 * this.#ranges.length);
    ranges.set(this.#ranges);
    this.#ranges = ranges;
    const lanes = new Int32Array(2 * this.#lanes.length);
    lanes.set(this.#lanes);
    this.#lanes = lanes;
  }
}

const scratchDifference = new Int32Array(sumLanes);
