/**
 * The rows of one live query by their hashes (`row-hashes.ts`): what another thread compares a new run with,
 * and here what its answer means. Kept from one run to the next, some 50 bytes a row.
 *
 * @module
 */

import type { Change, HeldRow } from "./changes.ts";
import { type RowHashes, rowHash } from "./row-hashes.ts";
import type { ReadRow, Subscription } from "./subscription.ts";

/** Drawn at each start. */
const seed = (crypto.getRandomValues(new BigUint64Array(1)) as BigUint64Array)[0] as bigint;

export class KnownResult {
  readonly #subscription: Subscription;
  #rows: HeldRow[] = [];
  #hashes = new BigUint64Array(0);
  /** As of which change; undefined while it is made. */
  #changeId: number | undefined;

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
  }

  /** It is that subscription's, as it is now. */
  isOf(subscription: Subscription): boolean {
    return this.#subscription === subscription && this.#changeId === subscription.history.lastId;
  }

  /** Takes its rows in; may rest after each of them, for as long as they stay as they are. */
  *read(): Generator<void, void> {
    this.#rows = [];
    this.#hashes = new BigUint64Array(this.#subscription.rowCount);
    for (const held of this.#subscription.rows()) {
      this.#hashes[this.#rows.length] = hashOf(held.identity, held.row.cells);
      this.#rows.push(held);
      yield;
    }
    this.#changeId = this.#subscription.history.lastId;
  }

  /** To be given away. */
  hashes(): RowHashes {
    return { hashes: this.#hashes.slice(0, this.#rows.length), seed };
  }

  /** @param place in {@link hashes} */
  rowAt(place: number): HeldRow {
    return this.#rows[place] as HeldRow;
  }

  /**
   * What was taken in is in here, too.
   *
   * @param gone places of rows that are no more, or are others, ascending
   * @param changes all that was taken in
   */
  take(gone: Uint32Array, changes: readonly Change[]): void {
    let last = this.#rows.length;
    // Backwards: what moves into a place is none of those that go.
    for (let i = gone.length - 1; i >= 0; i--) {
      const place = gone[i] as number;
      last--;
      this.#rows[place] = this.#rows[last] as HeldRow;
      this.#hashes[place] = this.#hashes[last] as bigint;
    }
    this.#rows.length = last;
    for (const { type, identity, cells, rowId } of changes) {
      if (type !== "delete") this.#push({ identity, row: { rowId, cells } });
    }
    this.#changeId = this.#subscription.history.lastId;
  }

  #push(held: HeldRow): void {
    const at = this.#rows.push(held) - 1;
    if (at >= this.#hashes.length) {
      const grown = new BigUint64Array(Math.max(16, this.#hashes.length * 2));
      grown.set(this.#hashes);
      this.#hashes = grown;
    }
    this.#hashes[at] = hashOf(held.identity, held.row.cells);
  }
}

function hashOf(identity: string, cells: string): bigint {
  const row: ReadRow = { identity, cells };
  return rowHash(row, seed);
}
