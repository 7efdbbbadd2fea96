/**
 * A shard of the settled image (`settled-image.ts`): the rows touched lately whose ids begin alike, and the
 * cuts up to which they have been brought. A shard moves from one cut to the next at once, which takes time in
 * proportion to its rows; so the image moves in as many pieces as it has shards.
 *
 * For each row touched lately it keeps the image at the shard's oldest cut, and after each *slot* (the second
 * before a cut) in which any clock of it was stamped (`touched-rows.ts`): also those that the live row ignored or
 * dropped, for an overtaken frame changes no table and still belongs to its slot. What comes and wins in a row's newest
 * slot, or in a newer one, makes the live row that slot's image, which is nearly all that comes. Anything else is taken
 * apart and joined into the images from its slots on, those at cuts already made too, for finding such clocks is what
 * comparing is for. A row that isn't among those touched lately has one image at all these cuts, its live state, and
 * costs no memory here.
 *
 * The fingerprint tree, which all shards share, has a shard's ranges as they are at its newest cut. For each
 * step from one of its cuts to the next it keeps what that added to which range.
 *
 * @module
 */

import { assert } from "../assert.ts";
import {
  type ClockState,
  type Digest,
  type Digester,
  equalDigests,
  type IdWords,
  type MutableDigest,
  rangeOfWords,
} from "../row/digest.ts";
import type { QuickNews } from "../row-store.ts";
import {
  type ClockPart,
  firstSlotOf,
  isHeld,
  joinParts,
  lastSlotOf,
  newsOf,
  noClocks,
  slotOfMs,
  takeApart,
  withoutLost,
} from "./clock-part.ts";
import type { FingerprintTree } from "./fingerprint-tree.ts";
import { noPlace } from "./id-table.ts";
import { RangeSums } from "./range-sums.ts";
import { type Image, type RowImages, type SlotImage, TouchedRows } from "./touched-rows.ts";

/** What a row was sent, and what that made of it: `MergedRow`, as far as the image goes. */
export interface TakenRow {
  readonly words: IdWords;
  readonly before: ClockState | undefined;
  readonly incoming: ClockState;
  readonly after: ClockState;
  readonly conflict: boolean;
  readonly quickNews: QuickNews | undefined;
}

/** Records of touched rows that there is room for at first: most shards of most stores have few. */
const recordsMin = 32;

export class ImageShard {
  readonly #digester: Digester;
  readonly #tree: FingerprintTree;
  #cut: number;
  /** With all slots after the oldest cut. */
  #touched = new TouchedRows(recordsMin);
  /** Between its cuts, oldest first: what each step changed, undefined for nothing. */
  readonly #steps: (RangeSums | undefined)[];
  #changed = false;

  /** @param cut The newest of its first `cuts` cuts. */
  constructor(digester: Digester, tree: FingerprintTree, cut: number, cuts: number) {
    this.#digester = digester;
    this.#tree = tree;
    this.#cut = cut;
    this.#steps = new Array(cuts - 1).fill(undefined);
  }

  /** The newest cut. */
  get cut(): number {
    return this.#cut;
  }

  get oldestCut(): number {
    return this.#cut - this.#steps.length;
  }

  /** Rows that have clocks after the oldest cut: what memory goes by. */
  get touchedRows(): number {
    return this.#touched.size;
  }

  /** The first slot that has clocks waiting for their cut, or kept since it; infinite for none. */
  get firstSlot(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const slot of this.#touched.slots()) first = Math.min(first, slot);
    return first;
  }

  /** What the step from `cut` to the next changed; undefined for nothing, or if that isn't made. */
  step(cut: number): RangeSums | undefined {
    return this.#steps[cut - this.oldestCut];
  }

  /**
   * Takes in clocks of a row, old ones and news alike.
   *
   * @param row `before`: the live state before; undefined for a row never counted here. `incoming`: the clocks
   * that came. `after`: the live state now, the join of both.
   * @param beforeDigest Of `before`. @param afterDigest Of `after`. The caller uses both again.
   */
  take(row: TakenRow, beforeDigest: Digest | undefined, afterDigest: Digest): void {
    const { words: id, before, after } = row;
    const quick = row.quickNews;
    let news: ClockPart | undefined;
    let firstSlot: number;
    let lastSlot: number;
    if (quick !== undefined) {
      firstSlot = slotOfMs(quick.msMin);
      lastSlot = slotOfMs(quick.msMax);
    } else {
      news = newsOf(row.incoming, before);
      firstSlot = news === undefined ? Number.POSITIVE_INFINITY : firstSlotOf(news);
      lastSlot = news === undefined ? Number.NEGATIVE_INFINITY : lastSlotOf(news);
    }
    const touched = this.#touched;
    const place = touched.find(id);
    if (place === noPlace) {
      if (lastSlot <= this.oldestCut) {
        // Everything known of it lies before the oldest cut: the image at all of them is the live state.
        this.#replaceAtAllCuts(rangeOfWords(id), beforeDigest, afterDigest);
        return;
      }
    } else if (lastSlot === Number.NEGATIVE_INFINITY) {
      if (before !== undefined && beforeDigest !== undefined) {
        this.#lose(id, place, before, beforeDigest, after, afterDigest);
      }
      return;
    }
    if (firstSlot === lastSlot && !row.conflict) {
      if (place === noPlace && before === undefined) {
        this.addOneSlot(id, lastSlot, afterDigest);
        return;
      }
      if (lastSlot > this.#cut && (quick !== undefined ? quick.isHeld : isHeld(news, after))) {
        const newest = place === noPlace ? Number.NEGATIVE_INFINITY : touched.slotOf(place);
        if (lastSlot > newest) {
          touched.add(id, place, lastSlot, before, beforeDigest, afterDigest);
          return;
        }
        if (lastSlot === newest) {
          touched.grow(place, afterDigest);
          return;
        }
      }
    }
    news ??= newsOf(row.incoming, before) as ClockPart;
    this.#join(id, place, news, before, beforeDigest, after, afterDigest);
  }

  /** Reads a little of what is kept of a row, so that it is at hand. The number means nothing. */
  lookAhead(id: IdWords): number {
    return this.#touched.lookAhead(id);
  }

  /** The live digest of a row that it keeps something of. False: it doesn't. */
  readLiveDigest(id: IdWords, into: MutableDigest): boolean {
    const place = this.#touched.find(id);
    if (place === noPlace) return false;
    this.#touched.readDigest(place, into);
    return true;
  }

  /** Whether it keeps anything of a row: if not, its image at all cuts is the live row. */
  knows(id: IdWords): boolean {
    return this.#touched.find(id) !== noPlace;
  }

  /** Joins news into a row's images from their slots on. @param place Its newest record, if it has one. */
  #join(
    id: IdWords,
    place: number,
    news: ClockPart,
    before: ClockState | undefined,
    beforeDigest: Digest | undefined,
    after: ClockState,
    afterDigest: Digest,
  ): void {
    const oldest = this.oldestCut;
    const images: RowImages =
      place === noPlace
        ? { base: { clocks: before, digest: beforeDigest && { ...beforeDigest } }, slots: [] }
        : this.#touched.imagesAt(place, before ?? after);
    const { base, slots } = images;
    const digestsBefore = digestsByCut(images, oldest, this.#cut);
    for (const { slot, part } of takeApart(news, oldest)) {
      if (slot <= oldest) joinInto(base, part, after);
      else if (!slots.some((image) => image.slot === slot)) {
        const at = slots.filter((image) => image.slot < slot).length;
        slots.splice(at, 0, { ...(slots[at - 1] ?? base), slot, place: noPlace });
      }
      for (const image of slots) if (image.slot >= slot) joinInto(image, part, after);
    }
    this.#setImages(id, place, images, digestsBefore, after, afterDigest);
  }

  /** Takes clocks that a row has lost, for a scrub found their cells damaged, out of its images. */
  #lose(
    id: IdWords,
    place: number,
    before: ClockState,
    beforeDigest: Digest,
    after: ClockState,
    afterDigest: Digest,
  ): void {
    if (equalDigests(beforeDigest, afterDigest)) return;
    const images = this.#touched.imagesAt(place, before);
    const digestsBefore = digestsByCut(images, this.oldestCut, this.#cut);
    for (const image of [images.base, ...images.slots]) {
      const { clocks } = image;
      if (clocks === undefined) continue;
      image.clocks = withoutLost(clocks, before, after);
      if (image.clocks !== clocks) image.digest = undefined;
    }
    this.#setImages(id, place, images, digestsBefore, after, afterDigest);
  }

  /** A row's images have become others. @param digestsBefore Theirs, of all cuts. */
  #setImages(
    id: IdWords,
    place: number,
    images: RowImages,
    digestsBefore: readonly (Digest | undefined)[],
    after: ClockState,
    afterDigest: Digest,
  ): void {
    const { base, slots } = images;
    const newest = slots.at(-1) as SlotImage;
    newest.clocks = after;
    newest.digest = { ...afterDigest };
    let last = base;
    for (const image of [base, ...slots]) {
      const { clocks } = image;
      if (clocks === last.clocks) image.digest ??= last.digest;
      if (clocks?.clock !== undefined) {
        image.digest ??= this.#digester.digestOf(id, { clock: clocks.clock, cells: clocks.cells });
      }
      last = image;
    }
    this.#touched.setImages(id, place, images);
    const digests = digestsByCut(images, this.oldestCut, this.#cut);
    this.#changeChain(rangeOfWords(id), digestsBefore, digests);
  }

  /**
   * Takes in a row never counted here, all of whose clocks were stamped in one slot after the oldest cut: its
   * image is the live row from that slot's cut on, also where that was made already.
   */
  addOneSlot(id: IdWords, slot: number, digest: Digest): void {
    this.#touched.add(id, noPlace, slot, undefined, undefined, digest);
    if (slot > this.#cut) return;
    const range = rangeOfWords(id);
    this.#tree.replace(range, undefined, digest);
    // The step that made the slot's cut.
    this.#stepAt(slot - 1 - this.oldestCut).add(range, undefined, digest);
    this.#changed = true;
  }

  /** True once after what it is at one of its cuts became another. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  /** Makes the next cut; the oldest stays until {@link letGo}. @returns of how many rows */
  make(): number {
    const cut = this.#cut + 1;
    const at = this.#steps.length;
    this.#steps.push(undefined);
    this.#cut = cut;
    if (this.touchedRows === 0) return 0;
    let count = 0;
    this.#touched.forEachIn(cut, (range, difference) => {
      this.#tree.addDifference(range, difference);
      this.#stepAt(at).addDifference(range, difference);
      count++;
    });
    return count;
  }

  /** Lets go of the oldest cut, and of rows that were kept for it. @returns of how many rows that was */
  letGo(): number {
    const gone = this.oldestCut + 1;
    if (this.touchedRows === 0) {
      // A row that changed a step is kept for as long as that.
      this.#steps.shift();
      return 0;
    }
    const count = this.#touched.forget(gone);
    // After a load there is room for all of it, and nobody who needs it.
    if (this.#touched.isSparse) this.#touched = this.#touched.compacted();
    this.#steps.shift();
    return count;
  }

  /** Jumps to `cut`, before which no clock waits and none is kept: it has today's image. */
  skip(cut: number): void {
    assert(
      this.#steps.every((step) => step === undefined),
      "settled image: nothing is skipped",
    );
    this.#cut = cut;
  }

  #replaceAtAllCuts(range: number, before: Digest | undefined, after: Digest): void {
    if (before !== undefined && equalDigests(before, after)) return;
    this.#tree.replace(range, before, after);
    this.#changed = true;
  }

  /** A row's image went from `before` to `now` at each cut, oldest first. */
  #changeChain(
    range: number,
    before: readonly (Digest | undefined)[],
    now: readonly (Digest | undefined)[],
  ): void {
    const newest = this.#steps.length;
    if (before.every((digest, i) => isSame(digest, now[i]))) return;
    this.#changed = true;
    this.#tree.replace(range, before[newest], now[newest]);
    for (let i = 0; i < newest; i++) {
      // The step was before[i] → before[i + 1] and is now[i] → now[i + 1].
      if (!isSame(before[i + 1], before[i])) this.#stepAt(i).add(range, before[i + 1], before[i]);
      if (!isSame(now[i], now[i + 1])) this.#stepAt(i).add(range, now[i], now[i + 1]);
    }
  }

  #stepAt(index: number): RangeSums {
    let step = this.#steps[index];
    if (step === undefined) {
      step = new RangeSums();
      this.#steps[index] = step;
    }
    return step;
  }
}

function isSame(a: Digest | undefined, b: Digest | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && equalDigests(a, b));
}

/** Digests of a row's image at each cut from `oldest` to `newest`. */
function digestsByCut(
  { base, slots }: RowImages,
  oldest: number,
  newest: number,
): (Digest | undefined)[] {
  const digests: (Digest | undefined)[] = [];
  let { digest } = base;
  let next = 0;
  for (let cut = oldest; cut <= newest; cut++) {
    for (; next < slots.length && (slots[next] as SlotImage).slot <= cut; next++) {
      digest = (slots[next] as SlotImage).digest;
    }
    digests.push(digest);
  }
  return digests;
}

/** Joins clocks into an image. Its digest is unknown if that made it another. */
function joinInto(image: Image, part: ClockPart, live: ClockState): void {
  const clocks = joinParts(image.clocks ?? noClocks, part, live);
  if (clocks === image.clocks) return;
  // A frame's cells are never stamped below its row clock, so they don't come into an image alone.
  assert(clocks.clock !== undefined, "settled image: cells without a row clock");
  image.clocks = clocks;
  image.digest = undefined;
}
