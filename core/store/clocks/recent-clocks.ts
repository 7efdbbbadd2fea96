/**
 * Clocks of the rows that merges wrote lately: what comes for a row often comes again soon, from another peer or
 * with the next change, and finding its clocks in the file is most of what a merge does that changes nothing.
 *
 * It says what the clock table says, or nothing. Merges keep it ({@link put}, {@link forget}); a local commit tells the
 * keys of its rows; after any other transaction, and after a rollback, all is forgotten
 * (`store-transaction.ts`). Only rows whose clocks are short and none of whose values are held are in it, and none that are
 * merely new: a load of many rows would drive out those that change.
 *
 * A hash table of buckets of four, in arrays of numbers: what is put into a full bucket takes the place of one that
 * was there. So it is bounded, and so is a look-up, whatever keys somebody chooses. One entry:
 *
 * | offset | bytes | what                          |
 * | ------ | ----- | ----------------------------- |
 * | 0      | 8     | rowid, a double               |
 * | 8      | 4     | number of the table           |
 * | 12     | 4     | the life that it was put in   |
 * | 16     | 1     | bytes of the key              |
 * | 17     | 1     | bytes of the clock blob       |
 * | 18     | 46    | key                           |
 * | 64     | 128   | clock blob                    |
 *
 * @module
 */

import type { Rowid } from "../../database.ts";
import { hashOfKey } from "./key-hash.ts";

// A bad hash costs entries, not time.
const bucketCount = 8192;
const ways = 4;
const wayWords = 2;
const bucketWords = ways * wayWords;
/** Entries there is room for at first. */
const entriesMin = 256;
const entryBytes = 192;
const keyBytesMax = 46;
const clockBytesMax = 128;
const tableAt = 8;
const lifeAt = 12;
const keyLengthAt = 16;
const clockLengthAt = 17;
const keyAt = 18;
const clockAt = 64;
const none = -1;

export class RecentClocks {
  /** Of each way the hash, and one more than its entry. An entry that was forgotten keeps both, and is of no life. */
  #ways = new Int32Array(0);
  #count = 0;
  #bytes = new Uint8Array(entriesMin * entryBytes);
  #words = new Int32Array(this.#bytes.buffer);
  #doubles = new Float64Array(this.#bytes.buffer);
  #life = 1;
  /** The way that the next row of a full bucket takes, in words. */
  #nextWay = 0;
  readonly #tables = new Map<string, number>();
  #lastTable = "";
  #lastTableNumber = -1;
  // Of the row looked for last.
  #hash = 0;
  #at = none;
  /** Where its clocks stand in {@link bytes}. */
  start = 0;
  end = 0;
  rowid = 0;

  /** Good until the next row is put. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Looks for a row. False: nothing is known of it. */
  find(table: string, key: Uint8Array): boolean {
    this.#find(table, key);
    const at = this.#at;
    if (at === none) return false;
    this.rowid = this.#doubles[at / 8] as number;
    this.start = at + clockAt;
    this.end = this.start + (this.#bytes[at + clockLengthAt] as number);
    return true;
  }

  /** A merge changed the row looked for last to these clocks, which are all there is of it beside its values. */
  put(table: string, key: Uint8Array, rowid: Rowid | undefined, clock: Uint8Array): void {
    if (typeof rowid !== "number" || clock.length > clockBytesMax) this.#drop();
    else this.#put(table, key, rowid, clock);
  }

  /** The row was written in another way. */
  forget(table: string, key: Uint8Array): void {
    if (this.#count === 0) return;
    this.#find(table, key);
    this.#drop();
  }

  forgetAll(): void {
    this.#life = (this.#life + 1) | 0 || 1;
  }

  #put(table: string, key: Uint8Array, rowid: number, clock: Uint8Array): void {
    const { length } = key;
    if (length > keyBytesMax) return;
    let at = this.#at;
    if (at === none) {
      at = this.#claim(this.#hash);
      this.#words[(at + tableAt) / 4] = this.#numberOf(table);
      this.#words[(at + lifeAt) / 4] = this.#life;
      this.#bytes[at + keyLengthAt] = length;
      for (let i = 0; i < length; i++) this.#bytes[at + keyAt + i] = key[i] as number;
    }
    const bytes = this.#bytes;
    this.#doubles[at / 8] = rowid;
    bytes[at + clockLengthAt] = clock.length;
    for (let i = 0; i < clock.length; i++) bytes[at + clockAt + i] = clock[i] as number;
  }

  #drop(): void {
    if (this.#at !== none) this.#words[(this.#at + lifeAt) / 4] = 0;
  }

  /** Leaves hash and place of a row in {@link #hash} and {@link #at}. */
  #find(table: string, key: Uint8Array): void {
    const { length } = key;
    const number = this.#numberOf(table);
    const hash = hashOfKey(key);
    this.#hash = hash;
    this.#at = none;
    if (this.#count === 0) return;
    const bucket = (hash & (bucketCount - 1)) * bucketWords;
    for (let way = bucket; way < bucket + bucketWords; way += wayWords) {
      if (this.#ways[way] !== hash) continue;
      const at = ((this.#ways[way + 1] as number) - 1) * entryBytes;
      if (at < 0 || this.#words[(at + lifeAt) / 4] !== this.#life) continue;
      const bytes = this.#bytes;
      if (this.#words[(at + tableAt) / 4] !== number || bytes[at + keyLengthAt] !== length)
        continue;
      let i = 0;
      while (i < length && bytes[at + keyAt + i] === key[i]) i++;
      if (i < length) continue;
      this.#at = at;
      return;
    }
  }

  /** An entry for a row that has none: a new one, one that was forgotten, or another row's. */
  #claim(hash: number): number {
    if (this.#count === 0) this.#ways = new Int32Array(bucketCount * bucketWords);
    const bucket = (hash & (bucketCount - 1)) * bucketWords;
    let way = none;
    for (let i = bucket; i < bucket + bucketWords && way === none; i += wayWords) {
      const entry = (this.#ways[i + 1] as number) - 1;
      if (entry === none) {
        this.#ways[i + 1] = ++this.#count;
        if (this.#count * entryBytes > this.#bytes.length) this.#grow();
        way = i;
      } else if (this.#words[(entry * entryBytes + lifeAt) / 4] !== this.#life) way = i;
    }
    if (way === none) {
      way = bucket + this.#nextWay;
      this.#nextWay = (this.#nextWay + wayWords) & (bucketWords - 1);
    }
    this.#ways[way] = hash;
    return ((this.#ways[way + 1] as number) - 1) * entryBytes;
  }

  #grow(): void {
    const bytes = new Uint8Array(2 * this.#bytes.length);
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.#words = new Int32Array(bytes.buffer);
    this.#doubles = new Float64Array(bytes.buffer);
  }

  #numberOf(table: string): number {
    if (table === this.#lastTable) return this.#lastTableNumber;
    let number = this.#tables.get(table);
    if (number === undefined) {
      number = this.#tables.size;
      this.#tables.set(table, number);
    }
    this.#lastTable = table;
    this.#lastTableNumber = number;
    return number;
  }
}
