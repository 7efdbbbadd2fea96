/**
 * Rows of which all that is known was stamped in one slot: what a load of new rows consists of.
 *
 * The settled image needs of them a digest and the slot. Before the slot they have no image, from its
 * cut on it is the live row; should anything else be heard of one, the live row before that is the part of
 * its slot. So 100,000 rows in one commit cost it some 6 MB for nine seconds and not 60.
 *
 * @module
 */

import type { Digest, RowId } from "../row/digest.ts";
import { grown, IdTable, noPlace } from "./id-table.ts";

const lanes = 4;

export interface FreshRow {
  readonly slot: number;
  readonly digest: Digest;
}

export class FreshRows {
  readonly #ids = new IdTable();
  #capacity = 0;
  #digests = new Uint32Array(0);
  #slot = new Float64Array(0);
  /** The rows of a slot, chained both ways. */
  #before = new Int32Array(0);
  #after = new Int32Array(0);
  readonly #firstBySlot = new Map<number, number>();

  get size(): number {
    return this.#ids.size;
  }

  /** Slots that have rows. */
  slots(): IterableIterator<number> {
    return this.#firstBySlot.keys();
  }

  add(id: RowId, { slot, digest }: FreshRow): void {
    const place = this.#ids.add(id);
    if (this.#ids.capacity > this.#capacity) this.#grow();
    this.#slot[place] = slot;
    this.#digests[place * lanes] = digest.a;
    this.#digests[place * lanes + 1] = digest.b;
    this.#digests[place * lanes + 2] = digest.c;
    this.#digests[place * lanes + 3] = digest.d;
    const first = this.#firstBySlot.get(slot) ?? noPlace;
    this.#before[place] = noPlace;
    this.#after[place] = first;
    if (first !== noPlace) this.#before[first] = place;
    this.#firstBySlot.set(slot, place);
  }

  /** Takes a row out, if it is here: it isn't fresh any more. */
  take(id: RowId): FreshRow | undefined {
    const place = this.#ids.find(id);
    if (place === noPlace) return undefined;
    const slot = this.#slot[place] as number;
    const digest = this.#digestAt(place);
    const before = this.#before[place] as number;
    const after = this.#after[place] as number;
    if (after !== noPlace) this.#before[after] = before;
    if (before !== noPlace) this.#after[before] = after;
    else if (after !== noPlace) this.#firstBySlot.set(slot, after);
    else this.#firstBySlot.delete(slot);
    this.#ids.remove(place);
    return { slot, digest };
  }

  /** The rows of a slot, by range and digest. */
  forEachIn(slot: number, visit: (range: number, digest: Digest) => void): void {
    let place = this.#firstBySlot.get(slot) ?? noPlace;
    for (; place !== noPlace; place = this.#after[place] as number) {
      visit(this.#ids.rangeAt(place), this.#digestAt(place));
    }
  }

  /** Lets go of a slot's rows: they are settled. */
  forget(slot: number): void {
    let place = this.#firstBySlot.get(slot) ?? noPlace;
    while (place !== noPlace) {
      const next = this.#after[place] as number;
      this.#ids.remove(place);
      place = next;
    }
    this.#firstBySlot.delete(slot);
  }

  #digestAt(place: number): Digest {
    const at = place * lanes;
    return {
      a: this.#digests[at] as number,
      b: this.#digests[at + 1] as number,
      c: this.#digests[at + 2] as number,
      d: this.#digests[at + 3] as number,
    };
  }

  #grow(): void {
    const capacity = this.#ids.capacity;
    this.#capacity = capacity;
    this.#digests = grown(this.#digests, new Uint32Array(capacity * lanes));
    this.#slot = grown(this.#slot, new Float64Array(capacity));
    this.#before = grown(this.#before, new Int32Array(capacity));
    this.#after = grown(this.#after, new Int32Array(capacity));
  }
}
