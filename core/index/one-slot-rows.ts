/**
 * Rows of which all that was heard since the oldest cut was stamped in one slot, and won: what nearly every
 * load and every update consists of.
 *
 * The settled image needs of such a row the slot and two digests. Until the slot's cut its image is what it
 * was before, from that cut on it is the live row; should anything else be heard of it, the live row's clocks
 * of that slot are the slot's part. So 100,000 new rows in one commit cost it some 6 MB for nine seconds
 * and not 60.
 *
 * @module
 */

import type { ClockState, Digest, IdWords } from "../row/digest.ts";
import { subtractSum, sumLanes } from "./fingerprint-tree.ts";
import { grown, IdTable, noPlace } from "./id-table.ts";

/** Less room than for so many rows, some 90 bytes each, isn't worth giving back. */
const sparseCapacityMin = 512;
/**
 * What is kept of a row stands together, since all of it is wanted at once:
 *
 * | word | what                                   |
 * | ---- | -------------------------------------- |
 * | 0    | digest of the live row, four lanes     |
 * | 4    | digest before the slot, if it has one  |
 * | 8    | slot, a double                         |
 * | 10   | places of the slot: before this, after |
 */
const recordWords = 12;
const recordDoubles = recordWords / 2;
const beforeAt = 4;
const slotAt = 4;
const previousAt = 10;
const nextAt = 11;
/** Of each digest. */
const lanes = 4;

export interface OneSlotRow {
  readonly slot: number;
  /** What was held before the slot; undefined for a row never heard of. */
  readonly before: ClockState | undefined;
  readonly beforeDigest: Digest | undefined;
  /** Of the live row. */
  readonly digest: Digest;
}

export class OneSlotRows {
  readonly #capacityMin: number;
  readonly #ids: IdTable;
  #capacity = 0;
  /** Records by place, in two views of one buffer. */
  #words = new Int32Array(0);
  #doubles = new Float64Array(0);
  readonly #befores: (ClockState | undefined)[] = [];
  readonly #firstBySlot = new Map<number, number>();
  #lastSlot = Number.NaN;
  /** First of {@link #lastSlot}: a load is stamped in one slot or few. */
  #lastFirst: number = noPlace;

  readonly #before = new Int32Array(sumLanes).fill(1);
  readonly #difference = new Int32Array(sumLanes);

  /** @param capacityMin Room to begin with, a power of two. */
  constructor(capacityMin: number) {
    this.#capacityMin = capacityMin;
    this.#ids = new IdTable(capacityMin);
  }

  get size(): number {
    return this.#ids.size;
  }

  /** It has room for many times as many rows as there are. */
  get isSparse(): boolean {
    return this.#capacity > sparseCapacityMin && 8 * this.#ids.size < this.#capacity;
  }

  /** The same rows in no more room than they need. */
  compacted(): OneSlotRows {
    const compacted = new OneSlotRows(this.#capacityMin);
    for (const slot of [...this.slots()]) {
      for (
        let place = this.#firstOf(slot);
        place !== noPlace;
        place = this.#words[place * recordWords + nextAt] as number
      ) {
        compacted.add(
          this.#ids.wordsAt(place),
          slot,
          this.#befores[place],
          this.#beforeDigestAt(place),
          digestAt(this.#words, place * recordWords),
        );
      }
    }
    return compacted;
  }

  /** Slots that have rows. */
  slots(): IterableIterator<number> {
    this.#writeBack();
    return this.#firstBySlot.keys();
  }

  /** Reads a little of what is kept of a row, so that it is at hand. The number means nothing. */
  lookAhead(id: IdWords): number {
    return this.#ids.lookAhead(id);
  }

  has(id: IdWords): boolean {
    return this.#ids.find(id) !== noPlace;
  }

  add(
    id: IdWords,
    slot: number,
    before: ClockState | undefined,
    beforeDigest: Digest | undefined,
    digest: Digest,
  ): void {
    const place = this.#ids.add(id);
    if (this.#ids.capacity > this.#capacity) this.#grow();
    const words = this.#words;
    const at = place * recordWords;
    this.#doubles[place * recordDoubles + slotAt] = slot;
    writeDigest(words, at, digest);
    this.#befores[place] = before;
    if (beforeDigest !== undefined) writeDigest(words, at + beforeAt, beforeDigest);
    const first = this.#firstOf(slot);
    words[at + previousAt] = noPlace;
    words[at + nextAt] = first;
    if (first !== noPlace) words[first * recordWords + previousAt] = place;
    this.#lastFirst = place;
  }

  /** More of a row's slot came: the live row is another. False when it isn't that slot. */
  grow(id: IdWords, slot: number, digest: Digest): boolean {
    const place = this.#ids.find(id);
    if (place === noPlace || this.#slotOf(place) !== slot) return false;
    writeDigest(this.#words, place * recordWords, digest);
    return true;
  }

  /** Takes a row out, if it is here: more than one slot is known of it now. */
  take(id: IdWords): OneSlotRow | undefined {
    const place = this.#ids.find(id);
    if (place === noPlace) return undefined;
    const slot = this.#slotOf(place);
    const words = this.#words;
    const at = place * recordWords;
    const row: OneSlotRow = {
      slot,
      before: this.#befores[place],
      beforeDigest: this.#beforeDigestAt(place),
      digest: digestAt(words, at),
    };
    const first = this.#firstOf(slot);
    const previous = words[at + previousAt] as number;
    const next = words[at + nextAt] as number;
    if (next !== noPlace) words[next * recordWords + previousAt] = previous;
    if (previous !== noPlace) words[previous * recordWords + nextAt] = next;
    if (first === place) this.#lastFirst = next;
    this.#forgetPlace(place);
    return row;
  }

  /** The rows of a slot: their range, and what the slot adds to it, which is good inside the call. */
  forEachIn(slot: number, visit: (range: number, difference: Int32Array) => void): void {
    const difference = this.#difference;
    const before = this.#before;
    const words = this.#words;
    let place = this.#firstOf(slot);
    while (place !== noPlace) {
      const at = place * recordWords;
      for (let lane = 0; lane < lanes; lane++) difference[lane] = words[at + lane] as number;
      difference[lanes] = 1;
      if (this.#befores[place] !== undefined) {
        for (let lane = 0; lane < lanes; lane++) {
          before[lane] = words[at + beforeAt + lane] as number;
        }
        subtractSum(difference, 0, before, 0);
      }
      visit(this.#ids.rangeAt(place), difference);
      place = words[at + nextAt] as number;
    }
  }

  /** Lets go of a slot's rows: they are settled. @returns how many they were */
  forget(slot: number): number {
    let count = 0;
    let place = this.#firstOf(slot);
    while (place !== noPlace) {
      const next = this.#words[place * recordWords + nextAt] as number;
      this.#forgetPlace(place);
      place = next;
      count++;
    }
    this.#lastFirst = noPlace;
    return count;
  }

  #forgetPlace(place: number): void {
    this.#ids.remove(place);
    this.#befores[place] = undefined;
  }

  /** First row of a slot, which is the one at hand from now on. */
  #firstOf(slot: number): number {
    if (slot !== this.#lastSlot) {
      this.#writeBack();
      this.#lastSlot = slot;
      this.#lastFirst = this.#firstBySlot.get(slot) ?? noPlace;
    }
    return this.#lastFirst;
  }

  #writeBack(): void {
    if (this.#lastFirst !== noPlace) this.#firstBySlot.set(this.#lastSlot, this.#lastFirst);
    else this.#firstBySlot.delete(this.#lastSlot);
  }

  #beforeDigestAt(place: number): Digest | undefined {
    const isNew = this.#befores[place] === undefined;
    return isNew ? undefined : digestAt(this.#words, place * recordWords + beforeAt);
  }

  #slotOf(place: number): number {
    return this.#doubles[place * recordDoubles + slotAt] as number;
  }

  #grow(): void {
    const capacity = this.#ids.capacity;
    this.#capacity = capacity;
    this.#words = grown(this.#words, new Int32Array(capacity * recordWords));
    this.#doubles = new Float64Array(this.#words.buffer);
  }
}

function writeDigest(into: Int32Array, at: number, { a, b, c, d }: Digest): void {
  into[at] = a;
  into[at + 1] = b;
  into[at + 2] = c;
  into[at + 3] = d;
}

function digestAt(from: Int32Array, at: number): Digest {
  return {
    a: (from[at] as number) >>> 0,
    b: (from[at + 1] as number) >>> 0,
    c: (from[at + 2] as number) >>> 0,
    d: (from[at + 3] as number) >>> 0,
  };
}
