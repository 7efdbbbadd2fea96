/**
 * A shard of the settled image (`settled-image.ts`): the rows touched lately whose ids begin alike, and the
 * cuts up to which they have been brought. A shard moves from one cut to the next at once, which takes time in
 * proportion to its rows; so the image moves in as many pieces as it has shards.
 *
 * For each row touched lately it keeps the clock state at the shard's oldest cut, and per *slot* (the
 * second before a cut) the join of every clock stamped in it, also those that the live row ignored or
 * dropped: an overtaken frame changes no table and still belongs to its slot. A row state that comes is
 * taken apart; what belongs to a cut already made enters there at once, for finding such clocks is what
 * comparing is for. A row that isn't among those touched lately has one image at all these cuts, its
 * live state, and costs no memory here.
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
  rangeOfWords,
} from "../row/digest.ts";
import type { QuickNews } from "../store/row-store.ts";
import {
  type ClockPart,
  firstSlotOf,
  isHeld,
  joinParts,
  lastSlotOf,
  newsOf,
  noClocks,
  partOfSlot,
  slotOfMs,
  takeApart,
} from "./clock-part.ts";
import type { FingerprintTree } from "./fingerprint-tree.ts";
import { IdTable, noPlace } from "./id-table.ts";
import { type OneSlotRow, OneSlotRows } from "./one-slot-rows.ts";
import { RangeSums } from "./range-sums.ts";

/** What a row was sent, and what that made of it: `MergedRow`, as far as the image goes. */
export interface TakenRow {
  readonly words: IdWords;
  readonly before: ClockState | undefined;
  readonly incoming: ClockState;
  readonly after: ClockState;
  readonly conflict: boolean;
  readonly quickNews: QuickNews | undefined;
}

interface TouchedSlot {
  readonly slot: number;
  part: ClockPart;
  /**
   * The image with this slot's clocks and all before, where that is known without joining: what the live
   * row was when the first clock of a later slot came.
   */
  end: { readonly image: ClockPart; readonly digest: Digest } | undefined;
}

/** A row touched lately. */
interface TouchedRow {
  readonly id: IdWords;
  readonly range: number;
  /** Its image at the oldest cut. */
  base: ClockPart;
  /** By slot, ascending, all after the oldest cut: the join of the clocks stamped in it. */
  readonly slots: TouchedSlot[];
  live: ClockState;
  liveDigest: Digest;
  /** Its image at the newest cut, and the digest of that; undefined while it has none. */
  cutImage: ClockPart;
  cutDigest: Digest | undefined;
}

/** Of each table of ids: most shards of most stores have few. */
const idsMin = 32;

export class ImageShard {
  readonly #digester: Digester;
  readonly #tree: FingerprintTree;
  #cut: number;
  readonly #ids = new IdTable(idsMin);
  /** By place of its id. */
  readonly #rows: (TouchedRow | undefined)[] = [];
  #oneSlot = new OneSlotRows(idsMin);
  /** By slot, for slots after the oldest cut: the rows that have clocks in it. */
  readonly #rowsBySlot = new Map<number, TouchedRow[]>();
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
    return this.#ids.size + this.#oneSlot.size;
  }

  /** The first slot that has clocks waiting for their cut, or kept since it; infinite for none. */
  get firstSlot(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const slot of this.#rowsBySlot.keys()) first = Math.min(first, slot);
    for (const slot of this.#oneSlot.slots()) first = Math.min(first, slot);
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
   * @param beforeDigest Of `before`. @param afterDigest Of `after`.
   */
  take(row: TakenRow, beforeDigest: Digest | undefined, afterDigest: Digest): void {
    const { words: id, before, after } = row;
    const range = rangeOfWords(id);
    const place = this.#ids.find(id);
    if (place !== noPlace) {
      const news = newsOf(row.incoming, before);
      if (news !== undefined) {
        this.#takeNews(
          this.#rows[place] as TouchedRow,
          news,
          before,
          after,
          beforeDigest,
          afterDigest,
        );
      }
      return;
    }
    const isOneSlot = this.#oneSlot.has(id);
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
    if (!isOneSlot) {
      if (lastSlot <= this.oldestCut) {
        // Everything known of it lies before the oldest cut: the image at all of them is the live state.
        this.#replaceAtAllCuts(range, beforeDigest, afterDigest);
        return;
      }
      if (firstSlot === lastSlot && !row.conflict) {
        if (before === undefined) {
          this.addOneSlot(id, lastSlot, afterDigest);
          return;
        }
        if (lastSlot > this.#cut && (quick !== undefined ? quick.isHeld : isHeld(news, after))) {
          this.#oneSlot.add(id, lastSlot, before, beforeDigest, afterDigest);
          return;
        }
      }
    } else {
      if (lastSlot === Number.NEGATIVE_INFINITY) return;
      // More of the same slot, which won as well.
      if (firstSlot === lastSlot && lastSlot > this.#cut && !row.conflict) {
        if (quick !== undefined ? quick.isHeld : isHeld(news, after)) {
          if (this.#oneSlot.grow(id, lastSlot, afterDigest)) return;
        }
      }
    }
    news ??= newsOf(row.incoming, before) as ClockPart;
    let touched: TouchedRow;
    if (isOneSlot && before !== undefined) touched = this.#retake(id, range, before);
    else {
      touched = {
        id,
        range,
        base: before ?? noClocks,
        slots: [],
        // As it was: what the news make of it is worked out below.
        live: before ?? after,
        liveDigest: beforeDigest ?? afterDigest,
        cutImage: before ?? noClocks,
        cutDigest: beforeDigest,
      };
      this.#setRow(touched);
    }
    this.#takeNews(touched, news, before, after, beforeDigest, afterDigest);
  }

  /** Reads a little of what is kept of a row, so that it is at hand. The number means nothing. */
  lookAhead(id: IdWords): number {
    return this.#oneSlot.lookAhead(id);
  }

  /** Whether it keeps anything of a row: if not, its image at all cuts is the live row. */
  knows(id: IdWords): boolean {
    return this.#ids.find(id) !== noPlace || this.#oneSlot.has(id);
  }

  #takeNews(
    row: TouchedRow,
    news: ClockPart,
    before: ClockState | undefined,
    after: ClockState,
    beforeDigest: Digest | undefined,
    afterDigest: Digest,
  ): void {
    const last = row.slots.at(-1);
    const lastEnd = before && beforeDigest && { image: before, digest: beforeDigest };
    this.#fold(row, news, after, afterDigest);
    // In order of time, as nearly always: nothing that came belongs to the slots before.
    if (last !== undefined && row.slots.at(-2) === last && firstSlotOf(news) > last.slot) {
      last.end = lastEnd;
    }
  }

  /** Takes in a row never counted here, all of whose clocks lie before the oldest cut. */
  addSettled(range: number, digest: Digest): void {
    this.#replaceAtAllCuts(range, undefined, digest);
  }

  /**
   * Takes in a row never counted here, all of whose clocks were stamped in one slot after the oldest cut: its
   * image is the live row from that slot's cut on, also where that was made already.
   */
  addOneSlot(id: IdWords, slot: number, digest: Digest): void {
    this.#oneSlot.add(id, slot, undefined, undefined, digest);
    if (slot > this.#cut) return;
    const range = rangeOfWords(id);
    this.#tree.replace(range, undefined, digest);
    // The step that made the slot's cut.
    this.#stepAt(slot - 1 - this.oldestCut).add(range, undefined, digest);
    this.#changed = true;
  }

  #setRow(row: TouchedRow): void {
    this.#rows[this.#ids.add(row.id)] = row;
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
    const rows = this.#rowsBySlot.get(cut) ?? [];
    for (const row of rows) {
      const next = row.slots.findIndex(({ slot }) => slot === cut);
      const { part, end } = row.slots[next] as TouchedSlot;
      row.cutImage = end?.image ?? joinParts(row.cutImage, part, row.live);
      const digest = end?.digest ?? this.#digestOf(row, row.cutImage, next + 1);
      if (isSame(row.cutDigest, digest)) continue;
      this.#tree.replace(row.range, row.cutDigest, digest);
      this.#stepAt(at).add(row.range, row.cutDigest, digest);
      row.cutDigest = digest;
    }
    let count = rows.length;
    this.#oneSlot.forEachIn(cut, (range, difference) => {
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
    const rows = this.#rowsBySlot.get(gone) ?? [];
    for (const row of rows) {
      const first = row.slots.shift();
      assert(first?.slot === gone, "settled image: a row's first slot is the oldest");
      row.base = joinParts(row.base, first.part, row.live);
      if (row.slots.length > 0) continue;
      const place = this.#ids.find(row.id);
      this.#rows[place] = undefined;
      this.#ids.remove(place);
    }
    this.#rowsBySlot.delete(gone);
    const count = rows.length + this.#oneSlot.forget(gone);
    // After a load there is room for all of it, and nobody who needs it.
    if (this.#oneSlot.isSparse) this.#oneSlot = this.#oneSlot.compacted();
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

  /** A row of one slot of which something else is heard now: it becomes one like the others. */
  #retake(id: IdWords, range: number, live: ClockState): TouchedRow {
    const known = this.#oneSlot.take(id) as OneSlotRow;
    const { slot, digest } = known;
    const hasCut = slot <= this.#cut;
    const base = known.before ?? noClocks;
    const row: TouchedRow = {
      id,
      range,
      base,
      slots: [],
      live,
      liveDigest: digest,
      cutImage: hasCut ? live : base,
      cutDigest: hasCut ? digest : known.beforeDigest,
    };
    this.#setRow(row);
    this.#setSlot(row, slot, partOfSlot(live, slot));
    return row;
  }

  #replaceAtAllCuts(range: number, before: Digest | undefined, after: Digest): void {
    if (before !== undefined && equalDigests(before, after)) return;
    this.#tree.replace(range, before, after);
    this.#changed = true;
  }

  #fold(row: TouchedRow, news: ClockPart, after: ClockState, afterDigest: Digest): void {
    const oldest = this.oldestCut;
    const base = row.base;
    let lateBase = base;
    /** Parts of slots that have a cut already, and become another. */
    const late: { readonly slot: number; readonly part: ClockPart }[] = [];
    for (const { slot, part } of takeApart(news, oldest)) {
      if (slot <= oldest) {
        lateBase = joinParts(base, part, after);
        continue;
      }
      const known = row.slots.find((candidate) => candidate.slot === slot);
      const joined = joinParts(known?.part ?? noClocks, part, after);
      if (joined === (known?.part ?? noClocks)) continue;
      if (slot <= this.#cut) late.push({ slot, part: joined });
      else this.#setSlot(row, slot, joined);
    }
    if (lateBase === base && late.length === 0) {
      row.live = after;
      row.liveDigest = afterDigest;
      return;
    }
    const before = this.#digestsByCut(row);
    row.base = lateBase;
    for (const slot of row.slots) slot.end = undefined;
    for (const { slot, part } of late) {
      this.#setSlot(row, slot, part);
    }
    row.live = after;
    row.liveDigest = afterDigest;
    const now = this.#digestsByCut(row);
    row.cutImage = this.#imageAt(row, this.#cut);
    row.cutDigest = now.at(-1);
    this.#changeChain(row.range, before, now);
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

  /** Digests of a row's image at each cut, oldest first. */
  #digestsByCut(row: TouchedRow): (Digest | undefined)[] {
    const digests: (Digest | undefined)[] = [];
    let image = row.base;
    let next = 0;
    let digest = this.#digestOf(row, image, next);
    for (let cut = this.oldestCut; cut <= this.#cut; cut++) {
      let grown = image;
      for (; next < row.slots.length; next++) {
        const slot = row.slots[next] as TouchedSlot;
        if (slot.slot > cut) break;
        grown = joinParts(grown, slot.part, row.live);
      }
      if (grown !== image) {
        image = grown;
        digest = this.#digestOf(row, image, next);
      }
      digests.push(digest);
    }
    return digests;
  }

  /** @param next Index of the first slot that isn't in `image`. */
  #digestOf(row: TouchedRow, image: ClockPart, next: number): Digest | undefined {
    if (image.clock === undefined) {
      // A frame's cells are never stamped below its row clock, so they don't come into an image alone.
      assert(image.cells.length === 0, "settled image: cells without a row clock");
      return undefined;
    }
    if (next === row.slots.length) return row.liveDigest;
    return this.#digester.digestOf(row.id, { clock: image.clock, cells: image.cells });
  }

  #setSlot(row: TouchedRow, slot: number, part: ClockPart): void {
    let at = row.slots.length;
    for (; at > 0; at--) {
      const known = row.slots[at - 1] as TouchedSlot;
      if (known.slot < slot) break;
      known.end = undefined;
      if (known.slot !== slot) continue;
      known.part = part;
      return;
    }
    row.slots.splice(at, 0, { slot, part, end: undefined });
    const rows = this.#rowsBySlot.get(slot);
    if (rows === undefined) this.#rowsBySlot.set(slot, [row]);
    else rows.push(row);
  }

  #stepAt(index: number): RangeSums {
    let step = this.#steps[index];
    if (step === undefined) {
      step = new RangeSums();
      this.#steps[index] = step;
    }
    return step;
  }

  #imageAt(row: TouchedRow, cut: number): ClockPart {
    let image = row.base;
    for (const { slot, part } of row.slots) {
      if (slot > cut) break;
      image = joinParts(image, part, row.live);
    }
    return image;
  }
}

function isSame(a: Digest | undefined, b: Digest | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && equalDigests(a, b));
}
