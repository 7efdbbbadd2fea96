/**
 * Where the rows of some ranges are: what one scan leaves behind for the fetches that follow it.
 *
 * Rows stand in a store by table and key, and are asked for by ranges of their ids, so each fetch by
 * range would cost a scan of everything. A peer that fetches all there is goes through the ranges in
 * ascending order; so one scan notes the places of the ranges asked for and of those after them. What is
 * sent is read when it is sent. Rows that came after the scan are not in it: they are pushed, or found by
 * the next walk.
 *
 * Places are packed: 12 bytes and the key's bytes a row.
 *
 * @module
 */

import { rangeCount } from "../index/fingerprint-tree.ts";
import { type RowId, rangeOfRow } from "../row/digest.ts";
import type { RowRef } from "../row-store.ts";

/** In `#firstByRange`. */
const outside = -2;
const none = -1;

export class PlaceWindow {
  readonly #firstByRange = new Int32Array(rangeCount).fill(outside);
  #next = new Int32Array(1024);
  #keyEnd = new Uint32Array(1024);
  #table = new Uint32Array(1024);
  #keys = new Uint8Array(16 * 1024);
  #count = 0;
  readonly #tables: string[] = [];
  readonly #indexByTable = new Map<string, number>();

  /** @param ranges Whose rows are noted. */
  constructor(ranges: Iterable<number>) {
    for (const range of ranges) this.#firstByRange[range] = none;
  }

  covers(ranges: Iterable<number>): boolean {
    for (const range of ranges) if (this.#firstByRange[range] === outside) return false;
    return true;
  }

  /** Whether the rows of a range are noted. */
  has(range: number): boolean {
    return this.#firstByRange[range] !== outside;
  }

  /** Notes the place of a row whose range it {@link has}. */
  add(id: RowId, { table, key }: RowRef): void {
    const row = this.#count++;
    const start = row === 0 ? 0 : (this.#keyEnd[row - 1] as number);
    if (row === this.#next.length) {
      this.#next = grown(this.#next, new Int32Array(2 * row));
      this.#keyEnd = grown(this.#keyEnd, new Uint32Array(2 * row));
      this.#table = grown(this.#table, new Uint32Array(2 * row));
    }
    if (start + key.length > this.#keys.length) {
      const bytes = new Uint8Array(2 * (start + key.length));
      this.#keys = grown(this.#keys, bytes);
    }
    this.#keys.set(key, start);
    this.#keyEnd[row] = start + key.length;
    this.#table[row] = this.#tableIndex(table);
    const range = rangeOfRow(id);
    this.#next[row] = this.#firstByRange[range] as number;
    this.#firstByRange[range] = row;
  }

  /** The places of the rows of these ranges, in no order. */
  *places(ranges: Iterable<number>): IterableIterator<RowRef> {
    for (const range of ranges) {
      let row = this.#firstByRange[range] as number;
      for (; row >= 0; row = this.#next[row] as number) {
        const start = row === 0 ? 0 : (this.#keyEnd[row - 1] as number);
        yield {
          table: this.#tables[this.#table[row] as number] as string,
          key: this.#keys.slice(start, this.#keyEnd[row]),
        };
      }
    }
  }

  /** Tables are few: schemas have 2,000 at most, and unknown ones come from peers that have them. */
  #tableIndex(table: string): number {
    let index = this.#indexByTable.get(table);
    if (index === undefined) {
      index = this.#tables.length;
      this.#tables.push(table);
      this.#indexByTable.set(table, index);
    }
    return index;
  }
}

function grown<T extends Int32Array | Uint32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
