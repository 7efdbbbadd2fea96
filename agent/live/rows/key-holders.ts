/**
 * Which members of a group hold results of which rows, by the hash of the row's key: some 20 bytes each.
 * Where two keys have one hash, a member is named that holds the other one; it looks and finds nothing.
 *
 * @module
 */

import { IntTable } from "./int-table.ts";
import { LinkedBuckets, none } from "./linked-buckets.ts";

const member = 3;
const fields = 4;
const nobody = -1;

export class KeyHolders {
  readonly #table = new IntTable(fields);
  readonly #buckets = new LinkedBuckets(this.#table, 0);

  /** @param number the member's @returns what {@link remove} is told */
  add(hash: number, number: number): number {
    const entry = this.#table.take();
    this.#table.set(entry, member, number);
    this.#buckets.add(entry, hash);
    return entry;
  }

  remove(entry: number): void {
    this.#buckets.remove(entry);
    this.#table.set(entry, member, nobody);
    this.#table.give(entry);
  }

  /** It was removed, and nothing added since. */
  isFree(entry: number): boolean {
    return this.#table.get(entry, member) === nobody;
  }

  /** Numbers of members; one may come twice. @returns undefined for more than `countMax` */
  of(hash: number, countMax: number): number[] | undefined {
    const numbers: number[] = [];
    for (let at = this.#buckets.first(hash); at !== none; at = this.#buckets.after(at)) {
      if (numbers.length >= countMax) return undefined;
      numbers.push(this.#table.get(at, member));
    }
    return numbers;
  }
}
