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

import type { RowId } from "../row/digest.ts";
import { laneToHex } from "./fingerprint-tree.ts";

/** No place. */
export const noPlace = -1;

const words = 4;
const capacityMin = 256;

export class IdTable {
  #size = 0;
  /** Places in use or free to be used again. */
  #places = 0;
  #capacity: number = capacityMin;
  #ids = new Uint32Array(capacityMin * words);
  /** Chains the free places. */
  #nextFree = new Int32Array(capacityMin);
  #free: number = noPlace;
  /** Place by hash; twice as long as there are places. */
  #slots = new Int32Array(2 * capacityMin).fill(noPlace);

  /** The id looked up last, its words, and its place: a change looks a row up and then adds it. */
  #lookedId = "" as RowId;
  #looked = noPlace;
  readonly #lookedWords = new Uint32Array(words);

  get size(): number {
    return this.#size;
  }

  /** Places are below this: the length that the owner's columns need. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The place of an id, or {@link noPlace}. */
  find(id: RowId): number {
    if (id === this.#lookedId) return this.#looked;
    const first = wordOf(id, 0);
    const second = wordOf(id, 8);
    const third = wordOf(id, 16);
    const fourth = wordOf(id, 24);
    const mask = this.#slots.length - 1;
    let place: number = noPlace;
    // The first word names the range, which neighbours share; the second is as random as any.
    for (let slot = second & mask; ; slot = (slot + 1) & mask) {
      place = this.#slots[slot] as number;
      if (place === noPlace) break;
      const at = place * words;
      if (
        this.#ids[at + 1] === second &&
        this.#ids[at] === first &&
        this.#ids[at + 2] === third &&
        this.#ids[at + 3] === fourth
      ) {
        break;
      }
    }
    this.#lookedId = id;
    this.#looked = place;
    this.#lookedWords[0] = first;
    this.#lookedWords[1] = second;
    this.#lookedWords[2] = third;
    this.#lookedWords[3] = fourth;
    return place;
  }

  /** Gives a place to an id that has none. {@link capacity} may have grown. */
  add(id: RowId): number {
    // It was looked for just now, and its words are at hand.
    this.find(id);
    let place = this.#free;
    if (place !== noPlace) this.#free = this.#nextFree[place] as number;
    else {
      place = this.#places++;
      if (place === this.#capacity) this.#grow();
    }
    this.#ids.set(this.#lookedWords, place * words);
    this.#slots[this.#slotOf(place)] = place;
    this.#looked = place;
    this.#size++;
    return place;
  }

  /** Takes the place of an id away; it will be used again. */
  remove(place: number): void {
    this.#removeSlot(this.#slotOf(place));
    this.#nextFree[place] = this.#free;
    this.#free = place;
    this.#size--;
    if (this.#looked === place) this.#lookedId = "" as RowId;
  }

  idAt(place: number): RowId {
    let id = "";
    for (let word = 0; word < words; word++) {
      id += laneToHex(this.#ids[place * words + word] as number);
    }
    return id as RowId;
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
    this.#ids = grown(this.#ids, new Uint32Array(this.#capacity * words));
    this.#nextFree = grown(this.#nextFree, new Int32Array(this.#capacity));
    const slots = this.#slots;
    this.#slots = new Int32Array(2 * this.#capacity).fill(noPlace);
    for (const place of slots) if (place !== noPlace) this.#slots[this.#slotOf(place)] = place;
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

/** Eight hex digits of an id as a number. */
function wordOf(id: RowId, from: number): number {
  let word = 0;
  for (let i = from; i < from + 8; i++) {
    const code = id.charCodeAt(i);
    // '0'..'9' are 48..57 and 'a'..'f' 97..102.
    word = (word << 4) | (code < 58 ? code - 48 : code - 87);
  }
  return word >>> 0;
}
