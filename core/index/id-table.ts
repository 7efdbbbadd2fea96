/**
 * Numbers for row ids: a hash table in columns, for what is kept of many rows at once.
 *
 * Each id has a *place*, a small number that its owner uses as index into columns of its own; places of
 * ids that were removed are used again. Open addressing with linear probing (Knuth, TAOCP 3, 6.4,
 * algorithms L and R); an id is a keyed hash, so one of its words is the hash. 16 bytes an id and 8 or
 * more of table, where a Map of strings takes some 150.
 *
 * An owner whose records are short can have them behind the ids, and more places of one id than the one that it is
 * found by.
 *
 * @module
 */

import { type IdWords, type RowId, wordsToId } from "../row/digest.ts";

/** No place. */
export const noPlace = -1;

const idWords = 4;
const usualCapacityMin = 256;

export class IdTable {
  #size = 0;
  /** Places in use or free to be used again. */
  #places = 0;
  #capacity: number;
  readonly #recordWords: number;
  /** Records by place. */
  #words: Int32Array;
  #doubles: Float64Array;
  /** Places that are free to be used again, the next one last: a chain through them would wait for each one's line. */
  #free: Int32Array;
  #freeCount = 0;
  /** Place by hash; twice as long as there are places. */
  #slots: Int32Array;

  /** The id looked up last, and its place: a change looks a row up and then adds it. */
  #looked: IdWords | undefined;
  #lookedPlace: number = noPlace;

  /**
   * @param capacityMin Places to begin with, a power of two.
   * @param recordWords Of a place, an even number: the id, and what the owner has behind it.
   */
  constructor(capacityMin: number = usualCapacityMin, recordWords: number = idWords) {
    this.#capacity = capacityMin;
    this.#recordWords = recordWords;
    this.#words = new Int32Array(capacityMin * recordWords);
    this.#doubles = new Float64Array(this.#words.buffer);
    this.#free = new Int32Array(capacityMin);
    this.#slots = new Int32Array(2 * capacityMin).fill(noPlace);
  }

  /** Ids. */
  get size(): number {
    return this.#size;
  }

  get placesUsed(): number {
    return this.#places - this.#freeCount;
  }

  /** Places are below this: the length that the owner's columns need. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The records: good until the next {@link claim} or {@link add}. */
  get words(): Int32Array {
    return this.#words;
  }

  /** The same in doubles. */
  get doubles(): Float64Array {
    return this.#doubles;
  }

  /** The place that an id is found by, or {@link noPlace}. */
  find(id: IdWords): number {
    if (id === this.#looked) return this.#lookedPlace;
    if (this.#size === 0) return noPlace;
    const { first, second, third, fourth } = id;
    const ids = this.#words;
    const stride = this.#recordWords;
    const slots = this.#slots;
    const mask = slots.length - 1;
    let place: number = noPlace;
    // The first word names the range, which neighbours share; the second is as random as any.
    for (let slot = second & mask; ; slot = (slot + 1) & mask) {
      place = slots[slot] as number;
      if (place === noPlace) break;
      const at = place * stride;
      if (
        ids[at + 1] === second &&
        ids[at] === first &&
        ids[at + 2] === third &&
        ids[at + 3] === fourth
      ) {
        break;
      }
    }
    this.#looked = id;
    this.#lookedPlace = place;
    return place;
  }

  /** What stands where an id is looked for first: its place nearly always, if it has one. Reads nothing else. */
  lookAhead({ second }: IdWords): number {
    return this.#slots[second & (this.#slots.length - 1)] as number;
  }

  /** The same of an id that has a place: the slot that it is taken away from. */
  lookAheadAt(place: number): number {
    return this.#slots[this.#homeOf(place)] as number;
  }

  /** Gives a place to an id that has none. {@link capacity} may have grown. */
  add(id: IdWords): number {
    const place = this.claim(id);
    this.enter(place, id);
    return place;
  }

  /** A place for an id, which isn't found by it yet. {@link capacity} may have grown. */
  claim(id: IdWords): number {
    let place: number;
    if (this.#freeCount > 0) place = this.#free[--this.#freeCount] as number;
    else {
      place = this.#places++;
      if (place === this.#capacity) this.#grow();
    }
    const at = place * this.#recordWords;
    const words = this.#words;
    words[at] = id.first;
    words[at + 1] = id.second;
    words[at + 2] = id.third;
    words[at + 3] = id.fourth;
    return place;
  }

  /** An id that isn't found by any place is found by this one. */
  enter(place: number, id: IdWords): void {
    this.#slots[this.#slotOf(place)] = place;
    this.#looked = id;
    this.#lookedPlace = place;
    this.#size++;
  }

  /** The same for an id that was found by `other`, which stays in use. */
  enterFor(place: number, other: number, id: IdWords): void {
    this.#slots[this.#slotOf(other)] = place;
    this.#looked = id;
    this.#lookedPlace = place;
  }

  /** Takes a place away, and its id if that is found by it. The place will be used again. */
  remove(place: number): void {
    const slot = this.#slotOf(place);
    if (this.#slots[slot] === place) {
      this.#removeSlot(slot);
      this.#size--;
    }
    this.#free[this.#freeCount++] = place;
    if (this.#lookedPlace === place) this.#looked = undefined;
  }

  idAt(place: number): RowId {
    return wordsToId(this.wordsAt(place));
  }

  wordsAt(place: number): IdWords {
    const at = place * this.#recordWords;
    const words = this.#words;
    return {
      first: words[at] as number,
      second: words[at + 1] as number,
      third: words[at + 2] as number,
      fourth: words[at + 3] as number,
    };
  }

  /** Whether two places were claimed for one id. */
  isSameId(place: number, other: number): boolean {
    const at = place * this.#recordWords;
    const otherAt = other * this.#recordWords;
    const words = this.#words;
    for (let i = 0; i < idWords; i++) if (words[at + i] !== words[otherAt + i]) return false;
    return true;
  }

  /** The range that the id at a place falls in. */
  rangeAt(place: number): number {
    return (this.#words[place * this.#recordWords] as number) >>> 16;
  }

  /** The slot that holds a place, or the free one where it belongs. */
  #slotOf(place: number): number {
    const mask = this.#slots.length - 1;
    let slot = this.#homeOf(place);
    while (this.#slots[slot] !== noPlace && this.#slots[slot] !== place) slot = (slot + 1) & mask;
    return slot;
  }

  #homeOf(place: number): number {
    return (this.#words[place * this.#recordWords + 1] as number) & (this.#slots.length - 1);
  }

  /** Empties a slot, and moves up what probing would no longer find past the hole. */
  #removeSlot(slot: number): void {
    const mask = this.#slots.length - 1;
    let hole = slot;
    this.#slots[hole] = noPlace;
    for (let at = (hole + 1) & mask; this.#slots[at] !== noPlace; at = (at + 1) & mask) {
      const place = this.#slots[at] as number;
      const distance = (at - this.#homeOf(place)) & mask;
      if (distance < ((at - hole) & mask)) continue;
      this.#slots[hole] = place;
      this.#slots[at] = noPlace;
      hole = at;
    }
  }

  #grow(): void {
    this.#capacity *= 2;
    this.#words = grown(this.#words, new Int32Array(this.#capacity * this.#recordWords));
    this.#doubles = new Float64Array(this.#words.buffer);
    // None is free.
    this.#free = new Int32Array(this.#capacity);
    const slots = this.#slots;
    this.#slots = new Int32Array(2 * this.#capacity).fill(noPlace);
    // An iterator takes several times as long.
    for (let slot = 0; slot < slots.length; slot++) {
      const place = slots[slot] as number;
      if (place !== noPlace) this.#slots[this.#slotOf(place)] = place;
    }
  }
}

/** A longer column with what the shorter one had. */
export function grown<T extends Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array>(
  from: T,
  to: T,
): T {
  to.set(from);
  return to;
}
