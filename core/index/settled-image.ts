/**
 * The settled image: what two nodes can compare while rows keep changing.
 *
 * Live states of two healthy nodes nearly always differ by what is in flight. So they compare the past:
 * at a *cut* C, the image of a row is the join of all clocks known with stamp ≤ C. That is a function of
 * what is known, never of the order or moment in which it came, so two nodes that know the same clocks
 * have the same image. A cut is a whole second since 1970; cut c covers stamps whose ms is below
 * 1000 c. The last {@link askableCuts} cuts can be asked for.
 *
 * For each row touched lately it keeps the clock state at the oldest of these cuts, and per *slot* (the
 * second before a cut) the join of every clock stamped in it, also those that the live row ignored or
 * dropped: an overtaken frame changes no table and still belongs to its slot. A row state that comes is
 * taken apart; what belongs to a cut already made enters there at once, for finding such clocks is what
 * comparing is for. A row that isn't among those touched lately has one image at all these cuts, its
 * live state, and costs no memory here.
 *
 * Fingerprints: one tree at the newest cut, and for each step between two cuts the ranges that it changed.
 *
 * Source: DESIGN §5.
 *
 * @module
 */

import { assert } from "../assert.ts";
import type { FingerprintHex } from "../change/frame.ts";
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
  slotMs,
  slotOfMs,
  takeApart,
} from "./clock-part.ts";
import {
  addSum,
  differenceOf,
  FingerprintTree,
  nodeOfRange,
  subtractSum,
  sumLanes,
  sumToHex,
  sumToShortHex,
  treeFanOut,
} from "./fingerprint-tree.ts";
import { IdTable, noPlace } from "./id-table.ts";
import { type OneSlotRow, OneSlotRows } from "./one-slot-rows.ts";

/** The newest cut and four before it. */
export const askableCuts = 5;
/** A cut is made this long after its last stamp by the store's HLC. */
export const settleMs = 5000;

/** The newest cut that a store may make whose HLC reads `hlcMs`. */
export function cutAt(hlcMs: number): number {
  return Math.max(0, Math.floor((hlcMs - settleMs) / slotMs));
}

/** What a row was sent, and what that made of it: `MergedRow`, as far as the image goes. */
export interface TakenRow {
  readonly words: IdWords;
  readonly before: ClockState | undefined;
  readonly incoming: ClockState;
  readonly after: ClockState;
  readonly conflict: boolean;
  readonly quickNews: QuickNews | undefined;
}

export interface ImageRoot {
  readonly cut: number;
  /** Rows in the image, tombstones too. */
  readonly rows: number;
  /** 32 hex digits. */
  readonly fingerprint: FingerprintHex;
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

export class SettledImage {
  readonly #digester: Digester;
  readonly #tree = new FingerprintTree();
  #cut: number;
  readonly #ids = new IdTable();
  /** By place of its id. */
  readonly #rows: (TouchedRow | undefined)[] = [];
  #oneSlot = new OneSlotRows();
  /** By slot, for slots after the oldest cut: the rows that have clocks in it. */
  readonly #rowsBySlot = new Map<number, TouchedRow[]>();
  /** Steps between the askable cuts, oldest first: what each changed. */
  readonly #steps: RangeSums[] = [];
  #changed = false;

  /** @param cut The first newest cut. */
  constructor(digester: Digester, cut: number) {
    this.#digester = digester;
    this.#cut = cut;
    for (let i = 1; i < askableCuts; i++) this.#steps.push(new RangeSums());
  }

  /** The newest cut. */
  get cut(): number {
    return this.#cut;
  }

  get oldestCut(): number {
    return this.#cut - (askableCuts - 1);
  }

  /** Rows that have clocks after the oldest cut: what memory goes by. */
  get touchedRows(): number {
    return this.#ids.size + this.#oneSlot.size;
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
    (this.#steps[slot - 1 - this.oldestCut] as RangeSums).add(range, undefined, digest);
    this.#changed = true;
  }

  #setRow(row: TouchedRow): void {
    this.#rows[this.#ids.add(row.id)] = row;
  }

  /**
   * Moves the newest cut forward to `cut`; a smaller or equal one does nothing. The caller keeps it below
   * stamps that wait in a queue: what waits when its cut is made is merely late.
   */
  advance(cut: number): void {
    while (this.#cut < cut) {
      if (cut - this.#cut > 2 * askableCuts) this.#skip(cut - askableCuts);
      this.#step();
    }
  }

  /** True once after a root that can be asked for became another. */
  takeChanged(): boolean {
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  isAskable(cut: number): boolean {
    return cut <= this.#cut && cut >= this.oldestCut && cut > 0;
  }

  /** Roots of the askable cuts, newest first. */
  roots(): ImageRoot[] {
    const sum = new Uint32Array(sumLanes);
    this.#tree.readSum(0, 0, sum);
    const roots: ImageRoot[] = [];
    for (let cut = this.#cut; cut >= this.oldestCut && cut > 0; cut--) {
      roots.push({ cut, rows: sum[4] as number, fingerprint: sumToHex(sum, 0) });
      const step = this.#steps[cut - 1 - this.oldestCut];
      if (step !== undefined) subtractSum(sum, 0, step.total, 0);
    }
    return roots;
  }

  /**
   * The last 8 bytes of the fingerprints of the sixteen children of each node at `level`; undefined when
   * `cut` can't be asked for.
   */
  childFingerprints(
    cut: number,
    level: number,
    nodes: readonly number[],
  ): FingerprintHex[] | undefined {
    if (!this.isAskable(cut)) return undefined;
    if (cut === this.#cut) {
      return nodes.flatMap((node) => this.#tree.childFingerprints(level, node));
    }
    // Sums of the children at the newest cut, less what the steps since changed below them.
    const sums = new Uint32Array(nodes.length * treeFanOut * sumLanes);
    const scratch = new Uint32Array(sumLanes);
    const placeByNode = new Map<number, number>();
    nodes.forEach((node, i) => {
      placeByNode.set(node, i);
      for (let child = 0; child < treeFanOut; child++) {
        this.#tree.readSum(level + 1, node * treeFanOut + child, scratch);
        sums.set(scratch, (i * treeFanOut + child) * sumLanes);
      }
    });
    for (let step = cut - this.oldestCut; step < this.#steps.length; step++) {
      this.#steps[step]?.forEach((range, lanes, at) => {
        const child = nodeOfRange(range, level + 1);
        const place = placeByNode.get(child >>> 4);
        if (place === undefined) return;
        subtractSum(sums, (place * treeFanOut + (child & 15)) * sumLanes, lanes, at);
      });
    }
    const fingerprints: FingerprintHex[] = [];
    for (let i = 0; i < nodes.length * treeFanOut; i++) {
      // A node named twice shares the place of its last mention.
      const place = placeByNode.get(nodes[i >>> 4] as number) as number;
      fingerprints.push(sumToShortHex(sums, (place * treeFanOut + (i & 15)) * sumLanes));
    }
    return fingerprints;
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
    row.cutDigest = now[askableCuts - 1];
    this.#changeChain(row.range, before, now);
  }

  /** A row's image went from `before` to `now` at each askable cut, oldest first. */
  #changeChain(
    range: number,
    before: readonly (Digest | undefined)[],
    now: readonly (Digest | undefined)[],
  ): void {
    const newest = askableCuts - 1;
    if (before.every((digest, i) => isSame(digest, now[i]))) return;
    this.#changed = true;
    this.#tree.replace(range, before[newest], now[newest]);
    for (let i = 0; i < newest; i++) {
      const step = this.#steps[i] as RangeSums;
      // The step was before[i] → before[i + 1] and is now[i] → now[i + 1].
      if (!isSame(before[i + 1], before[i])) step.add(range, before[i + 1], before[i]);
      if (!isSame(now[i], now[i + 1])) step.add(range, now[i], now[i + 1]);
    }
  }

  /** Digests of a row's image at the askable cuts, oldest first. */
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

  /**
   * Jumps towards `cut` over cuts that no clock waits for (a host that slept, a clock that was set): they all
   * have today's image.
   */
  #skip(cut: number): void {
    let next = Number.POSITIVE_INFINITY;
    for (const slot of this.#rowsBySlot.keys()) next = Math.min(next, slot);
    for (const slot of this.#oneSlot.slots()) next = Math.min(next, slot);
    const target = Math.min(cut, next - 1);
    if (next <= this.#cut || target - this.#cut < askableCuts) return;
    // The steps kept are empty: a row that made one not empty would still wait in a slot.
    this.#cut = target;
    this.#changed = true;
  }

  /** Makes the next cut, and lets go of the oldest. */
  #step(): void {
    const cut = this.#cut + 1;
    const step = new RangeSums();
    for (const row of this.#rowsBySlot.get(cut) ?? []) {
      const next = row.slots.findIndex(({ slot }) => slot === cut);
      const { part, end } = row.slots[next] as TouchedSlot;
      row.cutImage = end?.image ?? joinParts(row.cutImage, part, row.live);
      const digest = end?.digest ?? this.#digestOf(row, row.cutImage, next + 1);
      if (isSame(row.cutDigest, digest)) continue;
      this.#tree.replace(row.range, row.cutDigest, digest);
      step.add(row.range, row.cutDigest, digest);
      row.cutDigest = digest;
    }
    this.#oneSlot.forEachIn(cut, (range, difference) => {
      this.#tree.addDifference(range, difference);
      step.addDifference(range, difference);
    });
    const gone = this.oldestCut + 1;
    for (const row of this.#rowsBySlot.get(gone) ?? []) {
      const first = row.slots.shift();
      assert(first?.slot === gone, "settled image: a row's first slot is the oldest");
      row.base = joinParts(row.base, first.part, row.live);
      if (row.slots.length > 0) continue;
      const place = this.#ids.find(row.id);
      this.#rows[place] = undefined;
      this.#ids.remove(place);
    }
    this.#rowsBySlot.delete(gone);
    this.#oneSlot.forget(gone);
    // After a load there is room for all of it, and nobody who needs it.
    if (this.#oneSlot.isSparse) this.#oneSlot = this.#oneSlot.compacted();
    this.#steps.shift();
    this.#steps.push(step);
    this.#cut = cut;
    this.#changed = true;
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

/** Sums by range, for few ranges: what one step between two cuts changed. */
class RangeSums {
  readonly total: Uint32Array = new Uint32Array(sumLanes);
  readonly #placeByRange = new Map<number, number>();
  #lanes = new Uint32Array(16 * sumLanes);

  add(range: number, before: Digest | undefined, after: Digest | undefined): void {
    differenceOf(before, after, scratchDifference);
    this.addDifference(range, scratchDifference);
  }

  addDifference(range: number, difference: Uint32Array): void {
    let place = this.#placeByRange.get(range);
    if (place === undefined) {
      place = this.#placeByRange.size * sumLanes;
      if (place === this.#lanes.length) {
        const grown = new Uint32Array(this.#lanes.length * 2);
        grown.set(this.#lanes);
        this.#lanes = grown;
      }
      this.#placeByRange.set(range, place);
    }
    addSum(this.#lanes, place, difference, 0);
    addSum(this.total, 0, difference, 0);
  }

  forEach(visit: (range: number, lanes: Uint32Array, at: number) => void): void {
    for (const [range, place] of this.#placeByRange) visit(range, this.#lanes, place);
  }
}

const scratchDifference = new Uint32Array(sumLanes);

function isSame(a: Digest | undefined, b: Digest | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && equalDigests(a, b));
}
