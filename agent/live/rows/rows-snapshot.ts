/**
 * The rows of a live query as they were at one moment, to be read in slices while they become others. Their texts stay where
 * they are (`text-store.ts`); what is copied is where.
 *
 * @module
 */

import type { HeldRow } from "./row.ts";
import { readPair, type TextChunks } from "./text-store.ts";

export class RowsSnapshot {
  readonly #chunks: TextChunks;
  readonly #ids: Float64Array;
  readonly #where: Int32Array;
  readonly #order: Float64Array | undefined;

  /**
   * @param ids of rows, integers, in any order
   * @param where two numbers a row: its chunk, and where in it
   */
  constructor(chunks: TextChunks, ids: Float64Array, where: Int32Array) {
    this.#chunks = chunks;
    this.#ids = ids;
    this.#where = where;
    this.#order = orderOf(ids);
  }

  get count(): number {
    return this.#ids.length;
  }

  /** By row id. */
  *rows(): IterableIterator<HeldRow> {
    for (let n = 0; n < this.count; n++) {
      const i = this.#order === undefined ? n : (this.#order[n] as number);
      const buffer = this.#chunks[this.#where[i * 2] as number] as Buffer;
      const { first, second } = readPair(buffer, this.#where[i * 2 + 1] as number);
      yield { identity: first, row: { rowId: this.#ids[i] as number, cells: second } };
    }
  }
}

/** Indexes by ascending number; undefined where these ascend already, as those of rows do that nobody has changed. */
function orderOf(ids: Float64Array): Float64Array | undefined {
  const { length } = ids;
  let isSorted = true;
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  let last = 0;
  // By index: to go through a typed array by its iterator takes four times as long.
  for (let i = 0; i < length; i++) {
    const id = ids[i] as number;
    if (id < last) isSorted = false;
    if (id < least) least = id;
    if (id > most) most = id;
    last = id;
  }
  if (isSorted) return undefined;
  const order = new Float64Array(length);
  if ((most - least + 1) * length > Number.MAX_SAFE_INTEGER) {
    for (let i = 0; i < length; i++) order[i] = i;
    return order.sort((a, b) => (ids[a] as number) - (ids[b] as number));
  }
  // As one number each they are sorted many times faster.
  for (let i = 0; i < length; i++) order[i] = ((ids[i] as number) - least) * length + i;
  order.sort();
  for (let i = 0; i < length; i++) order[i] = (order[i] as number) % length;
  return order;
}
