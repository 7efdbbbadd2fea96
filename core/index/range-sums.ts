/**
 * What a step between two cuts changed, by range, for the ranges of one shard.
 *
 * Each change has an entry behind the one before, whatever its range: to look for the range's would wait for two lines of
 * memory, and few ranges change twice in a step. Only when there is no end to them are those of a range added up.
 *
 * @module
 */

import type { Digest } from "../row/digest.ts";
import { addSum, differenceOf, rangeCount, sumLanes } from "./fingerprint-tree.ts";
import { grown } from "./id-table.ts";

/** Neighbouring ranges that a shard has: a power of two. */
export const rangesPerShard = 2048;
export const shardCount: number = rangeCount / rangesPerShard;

/** Of an entry: a sum, then the range. */
const entryWords = sumLanes + 1;
/** Room for so many entries to begin with. */
const entriesMin = 16;
/** So many are added up: a range each is half of them at most. */
const entriesMax = 2 * rangesPerShard;

export class RangeSums {
  readonly total: Int32Array = new Int32Array(sumLanes);
  #entries = new Int32Array(entriesMin * entryWords);
  /** Words used. */
  #end = 0;

  add(range: number, before: Digest | undefined, after: Digest | undefined): void {
    differenceOf(before, after, scratchDifference);
    this.addDifference(range, scratchDifference);
  }

  /** @param difference As of `differenceOf`. */
  addDifference(range: number, difference: Int32Array): void {
    if (this.#end === this.#entries.length) this.#makeRoom();
    const entries = this.#entries;
    const at = this.#end;
    for (let lane = 0; lane < sumLanes; lane++) entries[at + lane] = difference[lane] as number;
    entries[at + sumLanes] = range;
    this.#end = at + entryWords;
    addSum(this.total, 0, difference, 0);
  }

  /** Calls `visit` for each range, maybe more than once, with where a sum is: good inside the call. */
  forEach(visit: (range: number, lanes: Int32Array, at: number) => void): void {
    const entries = this.#entries;
    for (let at = 0; at < this.#end; at += entryWords) {
      visit(entries[at + sumLanes] as number, entries, at);
    }
  }

  #makeRoom(): void {
    const entries = this.#entries;
    if (entries.length < entriesMax * entryWords) {
      this.#entries = grown(entries, new Int32Array(2 * entries.length));
      return;
    }
    /** By range of the shard: one more than where its entry is, 0 for none. */
    const places = new Int32Array(rangesPerShard);
    let end = 0;
    this.forEach((range, lanes, from) => {
      const inShard = range & (rangesPerShard - 1);
      const place = places[inShard] as number;
      if (place > 0) addSum(entries, place - 1, lanes, from);
      else {
        entries.copyWithin(end, from, from + entryWords);
        end += entryWords;
        places[inShard] = end - entryWords + 1;
      }
    });
    this.#end = end;
  }
}

const scratchDifference = new Int32Array(sumLanes);
