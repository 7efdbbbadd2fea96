/**
 * A hash table over entries that are kept elsewhere, by number: each has a hash, and stands in a list of those
 * whose hash has the same end.
 *
 * It grows by linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing", VLDB 1980): with each
 * entry that comes at most one list is split in two. So no entry has to wait until a large table has been
 * built anew.
 *
 * @module
 */

import type { IntTable } from "./int-table.ts";

/** Stands for no entry. */
export const none = -1;

const bucketsMin = 4;

export class LinkedBuckets {
  readonly #table: IntTable;
  /** Fields of the table: the hash, and the entries after and before in the same list. */
  readonly #hash: number;
  readonly #next: number;
  readonly #before: number;
  /** First entries. */
  #heads = new Int32Array(bucketsMin).fill(none);
  /** Lists that there are, and how many there were when this round of splitting began. */
  #count = bucketsMin;
  #roundCount = bucketsMin;
  #entries = 0;

  /** @param field the first of three fields that it uses */
  constructor(table: IntTable, field: number) {
    this.#table = table;
    this.#hash = field;
    this.#next = field + 1;
    this.#before = field + 2;
  }

  /** What it takes beside the entries. */
  get bytes(): number {
    return this.#heads.byteLength;
  }

  add(entry: number, hash: number): void {
    const table = this.#table;
    table.set(entry, this.#hash, hash);
    this.#link(entry, this.#bucketOf(hash));
    if (++this.#entries > this.#count) this.#split();
  }

  remove(entry: number): void {
    const table = this.#table;
    const next = table.get(entry, this.#next);
    const before = table.get(entry, this.#before);
    if (before === none) this.#heads[this.#bucketOf(table.get(entry, this.#hash))] = next;
    else table.set(before, this.#next, next);
    if (next !== none) table.set(next, this.#before, before);
    this.#entries--;
  }

  /** The first entry of that hash, the last that came; {@link none} when there is none. */
  first(hash: number): number {
    return this.#from(this.#heads[this.#bucketOf(hash)] as number, hash);
  }

  /** The one after it of the same hash. */
  after(entry: number): number {
    const hash = this.#table.get(entry, this.#hash);
    return this.#from(this.#table.get(entry, this.#next), hash);
  }

  #from(first: number, hash: number): number {
    let entry = first;
    while (entry !== none && this.#table.get(entry, this.#hash) !== hash) {
      entry = this.#table.get(entry, this.#next);
    }
    return entry;
  }

  #bucketOf(hash: number): number {
    const bucket = hash & (this.#roundCount * 2 - 1);
    return bucket < this.#count ? bucket : hash & (this.#roundCount - 1);
  }

  #link(entry: number, bucket: number): void {
    const table = this.#table;
    const next = this.#heads[bucket] as number;
    table.set(entry, this.#next, next);
    table.set(entry, this.#before, none);
    if (next !== none) table.set(next, this.#before, entry);
    this.#heads[bucket] = entry;
  }

  /** One list more: it takes its entries off the one whose turn it is. */
  #split(): void {
    if (this.#count === this.#heads.length) {
      const heads = new Int32Array(this.#heads.length * 2).fill(none, this.#heads.length);
      heads.set(this.#heads);
      this.#heads = heads;
    }
    const bucket = this.#count - this.#roundCount;
    let entry = this.#heads[bucket] as number;
    this.#heads[bucket] = none;
    this.#count++;
    // Both lists in the order that they had: each is linked at its front, from the back.
    let last = none;
    for (; entry !== none; entry = this.#table.get(entry, this.#next)) last = entry;
    while (last !== none) {
      const before = this.#table.get(last, this.#before);
      this.#link(last, this.#bucketOf(this.#table.get(last, this.#hash)));
      last = before;
    }
    if (this.#count === this.#roundCount * 2) this.#roundCount = this.#count;
  }
}
