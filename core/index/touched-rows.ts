/**
 * The rows touched lately, of a shard of the settled image: what their images were after each slot in which
 * something was heard of them.
 *
 * A row has a *record* a slot. It says the digest of the row's image with all clocks up to that slot, which for the
 * newest record is the live row, and what the image was before. So a row that changes in one slot after the other, each
 * time with news that win, costs a record each time and nothing else is looked at: making the slot's cut is to replace
 * one digest by the other, also where that comes much later.
 *
 * Records are numbers, and stand in the table of ids itself: a row is found by its newest record. Those of a slot
 * are chained, since a cut wants them together, and so are those of a row, newest first. An older record goes with
 * its slot, and the row's next one isn't told: a chain ends where a record isn't the row's any more.
 *
 * @module
 */

import { assert } from "../assert.ts";
import {
  type Digest,
  type IdWords,
  type MutableDigest,
  readDigestAt,
  writeDigestAt,
} from "../row/digest.ts";
import type { ClockPart } from "./clock-part.ts";
import { subtractSum, sumLanes } from "./fingerprint-tree.ts";
import { IdTable, noPlace } from "./id-table.ts";

/** Less room than for so many records, some 90 bytes each, isn't worth giving back. */
const sparseCapacityMin = 512;
/**
 * A record fills a line of the cache, since all of it is wanted at once:
 *
 * | word | what                                       |
 * | ---- | ------------------------------------------ |
 * | 0    | id of the row                              |
 * | 4    | digest from the slot on, four lanes        |
 * | 8    | digest before the slot, if it has one      |
 * | 12   | slot, a double                             |
 * | 14   | place of the slot's next record            |
 * | 15   | place of the row's record of an older slot |
 */
const recordWords = 16;
const recordDoubles = recordWords / 2;
const digestAt = 4;
const beforeAt = 8;
const slotAt = 6;
const nextAt = 14;
const olderAt = 15;
/** Of each digest. */
const lanes = 4;

/** A row's image: undefined clocks and digest for none. */
export interface Image {
  clocks: ClockPart | undefined;
  digest: Digest | undefined;
}

/** A row's image with all clocks up to a slot. */
export interface SlotImage extends Image {
  readonly slot: number;
  /** Of its record, {@link noPlace} until there is one. */
  readonly place: number;
}

/** A row's images: at the oldest cut, and after each slot since, ascending. */
export interface RowImages {
  readonly base: Image;
  readonly slots: SlotImage[];
}

export class TouchedRows {
  readonly #capacityMin: number;
  readonly #ids: IdTable;
  /** By record: what was held before its slot; undefined for a row never heard of then. */
  readonly #befores: (ClockPart | undefined)[] = [];
  readonly #firstBySlot = new Map<number, number>();
  #lastSlot = Number.NaN;
  /** First of {@link #lastSlot}: a load is stamped in one slot or few. */
  #lastFirst: number = noPlace;

  readonly #difference = new Int32Array(sumLanes);

  /** @param capacityMin Room to begin with, a power of two. */
  constructor(capacityMin: number) {
    this.#capacityMin = capacityMin;
    this.#ids = new IdTable(capacityMin, recordWords);
  }

  /** Rows. */
  get size(): number {
    return this.#ids.size;
  }

  /** It has room for many times as many records as there are. */
  get isSparse(): boolean {
    const { capacity, placesUsed } = this.#ids;
    return capacity > sparseCapacityMin && 8 * placesUsed < capacity;
  }

  /** The same rows in no more room than they need. */
  compacted(): TouchedRows {
    const compacted = new TouchedRows(this.#capacityMin);
    // So that a row's newest record comes last.
    for (const slot of [...this.slots()].sort((a, b) => a - b)) {
      for (let place = this.#firstOf(slot); place !== noPlace; place = this.#nextOf(place)) {
        const id = this.#ids.wordsAt(place);
        compacted.add(
          id,
          compacted.find(id),
          slot,
          this.#befores[place],
          this.#beforeDigestAt(place),
          this.#digestAt(place),
        );
      }
    }
    return compacted;
  }

  /** Slots that have records. */
  slots(): IterableIterator<number> {
    this.#writeBack();
    return this.#firstBySlot.keys();
  }

  /** Reads a little of what is kept of a row, so that it is at hand. The number means nothing. */
  lookAhead(id: IdWords): number {
    const place = this.#ids.lookAhead(id);
    return place === noPlace ? 0 : (this.#ids.words[place * recordWords + digestAt] as number);
  }

  /** The newest record of a row, or {@link noPlace}. */
  find(id: IdWords): number {
    return this.#ids.find(id);
  }

  /** What the row's image is from the record's slot on. */
  readDigest(place: number, into: MutableDigest): void {
    readDigestAt(this.#ids.words, place * recordWords + digestAt, into);
  }

  slotOf(place: number): number {
    return this.#ids.doubles[place * recordDoubles + slotAt] as number;
  }

  /**
   * All that came of a slot won, and it is the newest slot of the row.
   *
   * @param older The record that was the row's newest until now, or {@link noPlace}.
   */
  add(
    id: IdWords,
    older: number,
    slot: number,
    before: ClockPart | undefined,
    beforeDigest: Digest | undefined,
    digest: Digest,
  ): void {
    const place = this.#claim(id, slot);
    if (older === noPlace) this.#ids.enter(place, id);
    else this.#ids.enterFor(place, older, id);
    this.#write(place, older, before, beforeDigest, digest);
  }

  /** More of the newest slot of a row came, and won: the live row is another. */
  grow(place: number, digest: Digest): void {
    writeDigestAt(this.#ids.words, place * recordWords + digestAt, digest);
  }

  /** What is kept of a row. @param newest Its newest record. @param live The row as it is. */
  imagesAt(newest: number, live: ClockPart): RowImages {
    const slots: SlotImage[] = [];
    let clocks: ClockPart | undefined = live;
    let digest: Digest | undefined;
    for (let place = newest; place !== noPlace; place = this.#olderOf(place)) {
      slots.push({ slot: this.slotOf(place), place, clocks, digest: this.#digestAt(place) });
      clocks = this.#befores[place];
      digest = this.#beforeDigestAt(place);
    }
    return { base: { clocks, digest }, slots: slots.reverse() };
  }

  /**
   * The images of a row become others, and maybe more.
   *
   * @param newest Its newest record until now, or {@link noPlace}. @param images With the records that it has.
   */
  setImages(id: IdWords, newest: number, { base, slots }: RowImages): void {
    let older = noPlace;
    let before: Image = base;
    for (const image of slots) {
      const place = image.place === noPlace ? this.#claim(id, image.slot) : image.place;
      assert(image.digest !== undefined, "settled image: there is a row once its clocks have come");
      this.#write(place, older, before.clocks, before.digest, image.digest);
      older = place;
      before = image;
    }
    if (newest === noPlace) this.#ids.enter(older, id);
    else if (older !== newest) this.#ids.enterFor(older, newest, id);
  }

  /** The rows of a slot: their range, and what the slot adds to it, which is good inside the call. */
  forEachIn(slot: number, visit: (range: number, difference: Int32Array) => void): void {
    const difference = this.#difference;
    const { words } = this.#ids;
    for (let place = this.#firstOf(slot); place !== noPlace; place = this.#nextOf(place)) {
      const at = place * recordWords;
      for (let lane = 0; lane < lanes; lane++) {
        difference[lane] = words[at + digestAt + lane] as number;
      }
      const isNew = this.#befores[place] === undefined;
      if (!isNew) subtractSum(difference, 0, words, at + beforeAt);
      // Behind a digest there is no count.
      difference[lanes] = isNew ? 1 : 0;
      visit(this.#ids.rangeAt(place), difference);
    }
  }

  /** Lets go of the oldest slot: it is settled. @returns how many rows it had */
  forget(slot: number): number {
    let count = 0;
    let place = this.#firstOf(slot);
    while (place !== noPlace) {
      const next = this.#nextOf(place);
      this.#ids.remove(place);
      this.#befores[place] = undefined;
      // Before no other: see `#olderOf`.
      this.#ids.doubles[place * recordDoubles + slotAt] = Number.NaN;
      place = next;
      count++;
    }
    this.#lastFirst = noPlace;
    return count;
  }

  // ---- Records ----------------------------------------------------------------------------------

  /** A record that is its slot's first, and isn't found by its id yet. */
  #claim(id: IdWords, slot: number): number {
    const place = this.#ids.claim(id);
    this.#ids.doubles[place * recordDoubles + slotAt] = slot;
    this.#ids.words[place * recordWords + nextAt] = this.#firstOf(slot);
    this.#lastFirst = place;
    return place;
  }

  #write(
    place: number,
    older: number,
    before: ClockPart | undefined,
    beforeDigest: Digest | undefined,
    digest: Digest,
  ): void {
    const { words } = this.#ids;
    const at = place * recordWords;
    words[at + olderAt] = older;
    writeDigestAt(words, at + digestAt, digest);
    this.#befores[place] = before;
    if (beforeDigest !== undefined) writeDigestAt(words, at + beforeAt, beforeDigest);
  }

  #nextOf(place: number): number {
    return this.#ids.words[place * recordWords + nextAt] as number;
  }

  /** The row's record of the slot before, or {@link noPlace}. */
  #olderOf(place: number): number {
    const older = this.#ids.words[place * recordWords + olderAt] as number;
    // It may have gone with its slot, and its place be another row's, or that of a newer slot.
    const isOlder =
      older !== noPlace &&
      this.#ids.isSameId(older, place) &&
      this.slotOf(older) < this.slotOf(place);
    return isOlder ? older : noPlace;
  }

  #digestAt(place: number): Digest {
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    readDigestAt(this.#ids.words, place * recordWords + digestAt, digest);
    return digest;
  }

  #beforeDigestAt(place: number): Digest | undefined {
    if (this.#befores[place] === undefined) return undefined;
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    readDigestAt(this.#ids.words, place * recordWords + beforeAt, digest);
    return digest;
  }

  // ---- Slots ------------------------------------------------------------------------------------

  /** First record of a slot, which is the one at hand from now on. */
  #firstOf(slot: number): number {
    if (slot !== this.#lastSlot) {
      this.#writeBack();
      this.#lastSlot = slot;
      this.#lastFirst = this.#firstBySlot.get(slot) ?? noPlace;
    }
    return this.#lastFirst;
  }

  #writeBack(): void {
    if (this.#lastFirst !== noPlace) this.#firstBySlot.set(this.#lastSlot, this.#lastFirst);
    else this.#firstBySlot.delete(this.#lastSlot);
  }
}
