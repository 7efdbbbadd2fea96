/**
 * A result as its reader has it, told by one hash a row: so that a thread which runs the query again hands
 * on what differs, and nothing else.
 *
 * A row's hash is of its identity and cells (wyhash, 64 bits, with a seed that is drawn at each start, so that
 * nobody can choose rows that collide). Equal rows stand there as often as there are such rows.
 *
 * @module
 */

import type { ReadRow } from "./row.ts";

export interface RowHashes {
  /** One a row, in an order that whoever asks knows. */
  readonly hashes: BigUint64Array<ArrayBuffer>;
  readonly seed: bigint;
}

/** What comes after the rows that differ. */
export interface GoneRows {
  /** Which of {@link RowHashes.hashes} no row has any more. */
  readonly gone: Uint32Array<ArrayBuffer>;
  /** Of all rows that there are now. */
  readonly chars: number;
  /** What running it took. */
  readonly runMs: number;
}

/** Drawn at each start. */
export const rowHashSeed = (
  crypto.getRandomValues(new BigUint64Array(1)) as BigUint64Array
)[0] as bigint;

export function rowHash({ identity, cells }: ReadRow, seed: bigint): bigint {
  return Bun.hash.wyhash(identity === cells ? cells : `${identity}\n${cells}`, seed);
}

/** Takes one off for each row that comes. */
export class HashClaims {
  readonly #seed: bigint;
  readonly #hashes: BigUint64Array;
  /** By the hash's low bits: 1 + the first row that has it; 0 for none. A place that is taken leads to the next. */
  readonly #places: Int32Array;
  readonly #mask: number;
  /** For the first row of each hash: the next one to be claimed; -1 when all are. */
  readonly #unclaimed: Int32Array;
  /** Of rows with the same hash the one after. */
  readonly #next: Int32Array;
  #left: number;

  constructor({ hashes, seed }: RowHashes) {
    const count = hashes.length;
    this.#seed = seed;
    this.#hashes = hashes;
    this.#mask = 2 ** Math.ceil(Math.log2(count * 2 + 2)) - 1;
    this.#places = new Int32Array(this.#mask + 1);
    this.#unclaimed = new Int32Array(count).fill(-1);
    this.#next = new Int32Array(count).fill(-1);
    this.#left = count;
    // Backwards: the first of equal rows is claimed first.
    for (let i = count - 1; i >= 0; i--) this.#add(i);
  }

  /** False when there is no such row, or not so many. */
  claim(row: ReadRow): boolean {
    const first = this.#firstOf(rowHash(row, this.#seed));
    if (first < 0) return false;
    const claimed = this.#unclaimed[first] as number;
    if (claimed < 0) return false;
    this.#unclaimed[first] = this.#next[claimed] as number;
    this.#next[claimed] = isClaimed;
    this.#left--;
    return true;
  }

  /** Those that nobody claimed, in their order. */
  unclaimed(): Uint32Array<ArrayBuffer> {
    const gone = new Uint32Array(this.#left);
    let at = 0;
    for (const [i, next] of this.#next.entries()) if (next !== isClaimed) gone[at++] = i;
    return gone;
  }

  #add(row: number): void {
    const hash = this.#hashes[row] as bigint;
    const place = this.#placeOf(hash);
    const first = (this.#places[place] as number) - 1;
    if (first < 0) {
      this.#places[place] = row + 1;
      this.#unclaimed[row] = row;
    } else {
      this.#next[row] = this.#unclaimed[first] as number;
      this.#unclaimed[first] = row;
    }
  }

  #firstOf(hash: bigint): number {
    return (this.#places[this.#placeOf(hash)] as number) - 1;
  }

  #placeOf(hash: bigint): number {
    let place = Number(hash & 0xffff_ffffn) & this.#mask;
    for (;;) {
      const first = (this.#places[place] as number) - 1;
      if (first < 0 || this.#hashes[first] === hash) return place;
      place = (place + 1) & this.#mask;
    }
  }
}

const isClaimed = -2;
