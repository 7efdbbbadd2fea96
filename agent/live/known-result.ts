/**
 * The rows of one live query by their hashes (`row-hashes.ts`): what another thread compares a new run with,
 * and here what its answer means. Kept from one run to the next, twelve bytes a row.
 *
 * @module
 */

import type { Change } from "./changes.ts";
import type { HeldRow } from "./rows/row.ts";
import { type RowHashes, rowHash, rowHashSeed } from "./rows/row-hashes.ts";
import type { Subscription } from "./subscription.ts";

export class KnownResult {
  readonly #subscription: Subscription;
  #hashes = new BigUint64Array(0);
  /** Where the subscription has them. */
  #places = new Int32Array(0);
  #count = 0;
  #epoch: number;
  /** As of which change; undefined while it is made. */
  #changeId: number | undefined;

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
    this.#epoch = subscription.held.epoch;
  }

  /** It is that subscription's, as it is now. */
  isOf(subscription: Subscription): boolean {
    return (
      this.#subscription === subscription &&
      this.#changeId === subscription.history.lastId &&
      this.#epoch === subscription.held.epoch
    );
  }

  /** Takes its rows in; may rest after each of them, for as long as they stay as they are. */
  *read(): Generator<void, void> {
    const { held, history } = this.#subscription;
    this.#hashes = new BigUint64Array(held.count);
    this.#places = new Int32Array(held.count);
    for (const place of held.places()) {
      this.#push(place);
      yield;
    }
    this.#changeId = history.lastId;
  }

  /** To be given away. */
  hashes(): RowHashes {
    return { hashes: this.#hashes.slice(0, this.#count), seed: rowHashSeed };
  }

  /** @param number in {@link hashes} */
  rowAt(number: number): HeldRow {
    const place = this.#places[number] as number;
    return { ...this.#subscription.held.rowAt(place), place };
  }

  /**
   * What was taken in is in here, too.
   *
   * @param gone numbers of rows that are no more, or are others, ascending
   * @param changes all that was taken in
   */
  take(gone: Uint32Array, changes: readonly Change[]): void {
    // Backwards: what moves into a place is none of those that go.
    for (let i = gone.length - 1; i >= 0; i--) {
      const number = gone[i] as number;
      const last = --this.#count;
      this.#places[number] = this.#places[last] as number;
      this.#hashes[number] = this.#hashes[last] as bigint;
    }
    const { held, history } = this.#subscription;
    for (const { type, identity, rowId, place: before } of changes) {
      const place = type === "delete" ? undefined : held.find(identity, rowId, before);
      if (place !== undefined) this.#push(place);
    }
    this.#changeId = history.lastId;
  }

  #push(place: number): void {
    const number = this.#count++;
    if (number >= this.#hashes.length) {
      const hashes = new BigUint64Array(Math.max(16, number * 2));
      hashes.set(this.#hashes);
      this.#hashes = hashes;
      const places = new Int32Array(hashes.length);
      places.set(this.#places);
      this.#places = places;
    }
    const { identity, row } = this.#subscription.held.rowAt(place);
    this.#places[number] = place;
    this.#hashes[number] = rowHash({ identity, cells: row.cells }, rowHashSeed);
  }
}
