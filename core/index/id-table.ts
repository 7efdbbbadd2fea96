/**
 * Numbers for row ids: a hash table in columns, for what is kept of many rows at once.
 *
 * Each id has a *place*, a small number that its owner uses as index into columns of its own; places of
 * ids that were removed are used again. Open addressing with linear probing (Knuth, TAOCP 3, 6.4,
 * algorithms L and R); an id is a keyed hash, so one of its words is the hash. 16 bytes an id and 8 or
 * more of table, where a Map of strings takes some 150.
 *
 * @module
 */

import { type IdWords, type RowId, wordsToId } from "../row/digest.ts";

/** No place. */
export const noPlace = -1;

const words = 4;
const usualCapacityMin = 256;

export class IdTable {
  #size = 0;
  /** Places in use or free to be used again. */
  #places = 0;
  #capacity: number;
  /** Words as signed numbers, which are compared as integers. */
  #ids: Int32Array;
  /** Chains the free places. */
  #nextFree: Int32Array;
  #free: number = noPlace;
  /** Place by hash; twice as long as there are places. */
  #slots: Int32Array;

  /** The id looked up last, and its place: a change looks a row up and then adds it. */
  #looked: IdWords | undefined;
  #lookedPlace: number = noPlace;

  /** @param capacityMin Places to begin with, a power of two. */
  constructor(capacityMin: number = usualCapacityMin) {
    this.#capacity = capacityMin;
    this.#ids = new Int32Array(capacityMin * words);
    this.#nextFree = new Int32Array(capacityMin);
    this.#slots = new Int32Array(2 * capacityMin).fill(noPlace);
  }

  get size(): number {
    return this.#size;
  }

  /** Places are below this: the length that the owner's columns need. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The place of an id, or {@link noPlace}. */
  find(id: IdWords): number {
    if (id === this.#looked) return this.#lookedPlace;
    if (this.#size === 0) return noPlace;
    const first = id.first | 0;
    const second = id.second | 0;
    const third = id.third | 0;
    const fourth = id.fourth | 0;
    const ids = this.#ids;
    const slots = this.#slots;
    const mask = slots.length - 1;
    let place: number = noPlace;
    // The first word names the range, which neighbours share; the second is as random as any.
    for (let slot = second & mask; ; slot = (slot + 1) & mask) {
      place = slots[slot] as number;
      if (place === noPlace) break;
      const at = place * words;
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

  /** Gives a place to an id that has none. {@link capacity} may have grown. */
  add(id: IdWords): number {
    let place = this.#free;
    if (place !== noPlace) this.#free = this.#nextFree[place] as number;
    else {
      place = this.#places++;
      if (place === this.#capacity) this.#grow();
    }
    const at = place * words;
    this.#ids[at] = id.first;
    this.#ids[at + 1] = id.second;
    this.#ids[at + 2] = id.third;
    this.#ids[at + 3] = id.fourth;
    this.#slots[this.#slotOf(place)] = place;
    this.#looked = id;
    this.#lookedPlace = place;
    this.#size++;
    return place;
  }

  /** Takes the place of an id away; it will be used again. */
  remove(place: number): void {
    this.#removeSlot(this.#slotOf(place));
    this.#nextFree[place] = this.#free;
    this.#free = place;
    this.#size--;
    if (this.#lookedPlace === place) this.#looked = undefined;
  }

  idAt(place: number): RowId {
    return wordsToId(this.wordsAt(place));
  }

  wordsAt(place: number): IdWords {
    const at = place * words;
    return {
      first: (this.#ids[at] as number) >>> 0,
      second: (this.#ids[at + 1] as number) >>> 0,
      third: (this.#ids[at + 2] as number) >>> 0,
      fourth: (this.#ids[at + 3] as number) >>> 0,
    };
  }

  /** The range that the id at a place falls in. */
  rangeAt(place: number): number {
    return (this.#ids[place * words] as number) >>> 16;
  }

  /** The slot that holds a place, or the free one where it belongs. */
  #slotOf(place: number): number {
    const mask = this.#slots.length - 1;
    let slot = this.#homeOf(place);
    while (this.#slots[slot] !== noPlace && this.#slots[slot] !== place) slot = (slot + 1) & mask;
    return slot;
  }

  #homeOf(place: number): number {
    return (this.#ids[place * words + 1] as number) & (this.#slots.length - 1);
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
    this.#ids = grown(this.#ids, new Int32Array(this.#capacity * words));
    this.#nextFree = grown(this.#nextFree, new Int32Array(this.#capacity));
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
