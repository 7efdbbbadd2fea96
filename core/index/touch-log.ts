/**
 * The order in which rows were touched: a ring of places, with an *entry* a touch. The entry of a row's last touch
 * counts, and the row's record says at which *position* it is; those before it don't, and go once the ring is full.
 *
 * Records that are chained by age would make each touch wait for the neighbours' lines of memory, and each row that goes
 * for the next one's. Here what comes next stands side by side.
 *
 * Positions wrap at 2^32, which the ring's length, a power of two, divides.
 *
 * @module
 */

import { type IdTable, noPlace } from "./id-table.ts";

export class TouchLog {
  readonly #ids: IdTable;
  readonly #recordWords: number;
  readonly #positionAt: number;
  /** Twice as long as there are places: twice a row's place, and one for the urgent lane. */
  #entries = new Int32Array(0);
  #begin: number;
  #end: number;

  /**
   * @param recordWords Of a record of `ids`. @param positionAt Which word of it is the position of its entry.
   * @param first The position to begin at: any.
   */
  constructor(ids: IdTable, recordWords: number, positionAt: number, first = 0) {
    this.#ids = ids;
    this.#recordWords = recordWords;
    this.#positionAt = positionAt;
    this.#begin = first;
    this.#end = first;
  }

  /** Position of the first entry: of the row that was touched longest ago, or of one touched again since. */
  get begin(): number {
    return this.#begin;
  }

  /** The position after the last entry. */
  get end(): number {
    return this.#end;
  }

  /** The row whose entry is at a position; {@link noPlace} where it has been touched since. */
  placeAt(position: number): number {
    const place = this.lookAheadAt(position);
    return this.#ids.words[this.#recordOf(place)] === position ? place : noPlace;
  }

  /** The place at a position, counted or not; any position will do. */
  lookAheadAt(position: number): number {
    return (this.#entries[position & (this.#entries.length - 1)] as number) >> 1;
  }

  /** Whether a row's last touch was of the urgent lane. */
  isUrgent(place: number): boolean {
    const position = this.#ids.words[this.#recordOf(place)] as number;
    return ((this.#entries[position & (this.#entries.length - 1)] as number) & 1) === 1;
  }

  /** A row was touched. */
  add(place: number, urgent: boolean): void {
    if (this.#isFull()) this.#sweep();
    this.#enter(this.#end, place, urgent);
    this.#end = (this.#end + 1) | 0;
  }

  /** A row without an entry was touched before all others. */
  addFirst(place: number): void {
    if (this.#isFull()) this.#sweep();
    this.#begin = (this.#begin - 1) | 0;
    this.#enter(this.#begin, place, false);
  }

  /** Of rows that there are, the one that was touched longest ago. */
  oldest(): number {
    for (; ; this.#begin = (this.#begin + 1) | 0) {
      const place = this.placeAt(this.#begin);
      if (place !== noPlace) return place;
    }
  }

  /** Takes away what {@link oldest} said last. */
  removeOldest(): void {
    this.#begin = (this.#begin + 1) | 0;
  }

  /** The table of ids has grown. */
  grow(): void {
    const entries = new Int32Array(2 * this.#ids.capacity);
    for (let at = this.#begin; at !== this.#end; at = (at + 1) | 0) {
      entries[at & (entries.length - 1)] = this.#entries[at & (this.#entries.length - 1)] as number;
    }
    this.#entries = entries;
  }

  #recordOf(place: number): number {
    return place * this.#recordWords + this.#positionAt;
  }

  #isFull(): boolean {
    return ((this.#end - this.#begin) | 0) === this.#entries.length;
  }

  #enter(position: number, place: number, urgent: boolean): void {
    this.#entries[position & (this.#entries.length - 1)] = 2 * place + (urgent ? 1 : 0);
    this.#ids.words[this.#recordOf(place)] = position;
  }

  /** Moves the entries that count together, which are half of them at most. */
  #sweep(): void {
    const entries = this.#entries;
    const { words } = this.#ids;
    let end = this.#begin;
    for (let at = this.#begin; at !== this.#end; at = (at + 1) | 0) {
      const entry = entries[at & (entries.length - 1)] as number;
      const record = this.#recordOf(entry >> 1);
      if (words[record] !== at) continue;
      words[record] = end;
      entries[end & (entries.length - 1)] = entry;
      end = (end + 1) | 0;
    }
    this.#end = end;
  }
}
