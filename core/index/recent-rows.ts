/**
 * Rows changed lately: what explains nearly every difference between two nodes without a scan.
 *
 * For each row changed in the last ten minutes: where it is, its stamp and its live digest; by range, and
 * in the order in which they were touched. Bounded: beyond {@link RecentRowsOptions.rowsMax} the ones
 * touched longest ago go first, and a scan has to find them.
 *
 * A load of many rows fills it to its bound for ten minutes, so rows are kept in columns of numbers,
 * at places that are used again: some 110 bytes a row and its key, a fifth of what objects take. A hash
 * table with linear probing (Knuth, TAOCP 3, 6.4, algorithms L and R) finds a row's place by its id,
 * which is a keyed hash already.
 *
 * @module
 */

import type { Entry } from "../change/frame.ts";
import type { Site, Stamp } from "../clock/stamp.ts";
import { type Digest, type RowId, rangeOfRow } from "../row/digest.ts";
import type { RowRef } from "../store/row-store.ts";
import { laneToHex, rangeCount, rangesOfNode } from "./fingerprint-tree.ts";

export interface RecentRowsOptions {
  /** A row is forgotten this long after it was touched. */
  readonly keepMs: number;
  /** Rows kept. */
  readonly rowsMax: number;
}

export const recentRowsDefaults: RecentRowsOptions = { keepMs: 600_000, rowsMax: 200_000 };

/** A row touched lately, as it is now. */
export interface RecentRow {
  readonly id: RowId;
  readonly ref: RowRef;
  /** The largest stamp in the row. */
  readonly stamp: Stamp;
  /** Of the live state. */
  readonly digest: Digest;
  /** Its last change came in the urgent lane. */
  readonly urgent: boolean;
}

/** No place. */
const none = -1;
/** Words of an id, lanes of a digest. */
const lanes = 4;

export class RecentRows {
  readonly #options: RecentRowsOptions;
  #size = 0;
  /** Places in use or free to be used again. */
  #places = 0;
  #capacity = 256;
  #ids = new Uint32Array(256 * lanes);
  #digests = new Uint32Array(256 * lanes);
  #stampMs = new Float64Array(256);
  #stampCount = new Uint16Array(256);
  #stampSite = new Uint32Array(256);
  #touchedMs = new Float64Array(256);
  #urgent = new Uint8Array(256);
  /** By time of touch; `#older` also chains the free places. */
  #older = new Int32Array(256);
  #newer = new Int32Array(256);
  /** Neighbours in the row's range, in no order. */
  #before = new Int32Array(256);
  #after = new Int32Array(256);
  readonly #tables: string[] = [];
  readonly #keys: Uint8Array[] = [];

  /** Place by id; twice as long as there are places at least. */
  #slots = new Int32Array(512).fill(none);
  readonly #firstByRange = new Int32Array(rangeCount).fill(none);
  #oldest = none;
  #newest = none;
  #free = none;

  readonly #sites: Site[] = [];
  readonly #siteNumbers = new Map<Site, number>();

  /** The id looked up last, its words, and its place: a change looks a row up and then touches it. */
  #lookedId = "" as RowId;
  readonly #words = new Uint32Array(lanes);
  #lookedPlace = none;

  constructor(options: RecentRowsOptions = recentRowsDefaults) {
    this.#options = options;
  }

  get size(): number {
    return this.#size;
  }

  get(id: RowId): RecentRow | undefined {
    const place = this.#find(id);
    return place === none ? undefined : this.#rowAt(place, id);
  }

  /** The live digest of a row, without the rest. */
  digestOf(id: RowId): Digest | undefined {
    const place = this.#find(id);
    return place === none ? undefined : this.#digestAt(place);
  }

  /** Notes that a row changed. @param nowMs Wall clock; a step back only delays forgetting. */
  touch(row: RecentRow, nowMs: number): void {
    let place = this.#find(row.id);
    if (place === none) place = this.#add(row.id);
    else this.#unlinkAge(place);
    const { a, b, c, d } = row.digest;
    this.#digests[place * lanes] = a;
    this.#digests[place * lanes + 1] = b;
    this.#digests[place * lanes + 2] = c;
    this.#digests[place * lanes + 3] = d;
    this.#stampMs[place] = row.stamp.ms;
    this.#stampCount[place] = row.stamp.count;
    this.#stampSite[place] = this.#siteNumber(row.stamp.site);
    this.#urgent[place] = row.urgent ? 1 : 0;
    this.#tables[place] = row.ref.table;
    this.#keys[place] = row.ref.key;
    this.#touchedMs[place] = nowMs;
    this.#older[place] = this.#newest;
    this.#newer[place] = none;
    if (this.#newest === none) this.#oldest = place;
    else this.#newer[this.#newest] = place;
    this.#newest = place;
    if (this.#size > this.#options.rowsMax) this.#forget(this.#oldest);
  }

  /** Forgets rows touched longer ago than is kept. */
  expire(nowMs: number): void {
    const sinceMs = nowMs - this.#options.keepMs;
    while (this.#oldest !== none && (this.#touchedMs[this.#oldest] as number) < sinceMs) {
      this.#forget(this.#oldest);
    }
  }

  /** Calls `visit` for the rows under a node of the fingerprint tree, in no order. */
  forEachUnder(level: number, node: number, visit: (row: RecentRow) => void): void {
    const { lower, upper } = rangesOfNode(level, node);
    for (let range = lower; range < upper; range++) {
      let place = this.#firstByRange[range] as number;
      for (; place !== none; place = this.#after[place] as number) {
        visit(this.#rowAt(place, this.#idAt(place)));
      }
    }
  }

  /**
   * Rows stamped at `sinceMs` or later: urgent ones first, then those touched last.
   *
   * @param aheadMsMax How far a stamp may have been ahead when it was applied: what was touched earlier than
   * that isn't looked at.
   */
  since(sinceMs: number, aheadMsMax: number): RecentRow[] {
    const urgent: RecentRow[] = [];
    const others: RecentRow[] = [];
    const fromMs = sinceMs - aheadMsMax;
    let place = this.#newest;
    for (
      ;
      place !== none && (this.#touchedMs[place] as number) >= fromMs;
      place = this.#older[place] as number
    ) {
      if ((this.#stampMs[place] as number) < sinceMs) continue;
      (this.#urgent[place] === 1 ? urgent : others).push(this.#rowAt(place, this.#idAt(place)));
    }
    return urgent.concat(others);
  }

  // ---- Rows -------------------------------------------------------------------------------------

  #rowAt(place: number, id: RowId): RecentRow {
    return {
      id,
      ref: { table: this.#tables[place] as string, key: this.#keys[place] as Uint8Array },
      stamp: {
        ms: this.#stampMs[place] as number,
        count: this.#stampCount[place] as number,
        site: this.#sites[this.#stampSite[place] as number] as Site,
      },
      digest: this.#digestAt(place),
      urgent: this.#urgent[place] === 1,
    };
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

  #idAt(place: number): RowId {
    let id = "";
    for (let word = 0; word < lanes; word++) {
      id += laneToHex(this.#ids[place * lanes + word] as number);
    }
    return id as RowId;
  }

  /** Sites are few: a number for each that a recent row ever had. */
  #siteNumber(site: Site): number {
    let number = this.#siteNumbers.get(site);
    if (number === undefined) {
      number = this.#sites.length;
      this.#sites.push(site);
      this.#siteNumbers.set(site, number);
    }
    return number;
  }

  /** A place for a row that has none: linked into its range, not yet by age. */
  #add(id: RowId): number {
    let place = this.#free;
    if (place !== none) this.#free = this.#older[place] as number;
    else {
      place = this.#places++;
      if (place === this.#capacity) this.#grow();
    }
    for (let word = 0; word < lanes; word++) {
      this.#ids[place * lanes + word] = this.#words[word] as number;
    }
    this.#slots[this.#slotOf(place)] = place;
    this.#lookedPlace = place;
    this.#size++;
    const range = rangeOfRow(id);
    const first = this.#firstByRange[range] as number;
    this.#before[place] = none;
    this.#after[place] = first;
    if (first !== none) this.#before[first] = place;
    this.#firstByRange[range] = place;
    return place;
  }

  #forget(place: number): void {
    this.#unlinkAge(place);
    const before = this.#before[place] as number;
    const after = this.#after[place] as number;
    if (after !== none) this.#before[after] = before;
    if (before !== none) this.#after[before] = after;
    else this.#firstByRange[(this.#ids[place * lanes] as number) >>> 16] = after;
    this.#removeSlot(this.#slotOf(place));
    // The key's bytes go with it.
    this.#keys[place] = noKey;
    this.#older[place] = this.#free;
    this.#free = place;
    this.#size--;
    if (this.#lookedPlace === place) this.#lookedId = "" as RowId;
  }

  #unlinkAge(place: number): void {
    const older = this.#older[place] as number;
    const newer = this.#newer[place] as number;
    if (older !== none) this.#newer[older] = newer;
    else this.#oldest = newer;
    if (newer !== none) this.#older[newer] = older;
    else this.#newest = older;
  }

  // ---- The hash table ---------------------------------------------------------------------------

  #find(id: RowId): number {
    if (id === this.#lookedId) return this.#lookedPlace;
    const first = wordOf(id, 0);
    const second = wordOf(id, 8);
    const third = wordOf(id, 16);
    const fourth = wordOf(id, 24);
    const mask = this.#slots.length - 1;
    let place: number = none;
    // The first word names the range; the second is as random and not shared by neighbours.
    for (let slot = second & mask; ; slot = (slot + 1) & mask) {
      place = this.#slots[slot] as number;
      if (place === none) break;
      const at = place * lanes;
      if (
        this.#ids[at + 1] === second &&
        this.#ids[at] === first &&
        this.#ids[at + 2] === third &&
        this.#ids[at + 3] === fourth
      ) {
        break;
      }
    }
    this.#lookedId = id;
    this.#words[0] = first;
    this.#words[1] = second;
    this.#words[2] = third;
    this.#words[3] = fourth;
    this.#lookedPlace = place;
    return place;
  }

  /** The slot that holds a place, or the first free one where it belongs. */
  #slotOf(place: number): number {
    const mask = this.#slots.length - 1;
    let slot = this.#homeOf(place);
    while (this.#slots[slot] !== none && this.#slots[slot] !== place) slot = (slot + 1) & mask;
    return slot;
  }

  #homeOf(place: number): number {
    return (this.#ids[place * lanes + 1] as number) & (this.#slots.length - 1);
  }

  /** Empties a slot, and moves up what probing would no longer find past the hole. */
  #removeSlot(slot: number): void {
    const mask = this.#slots.length - 1;
    let hole = slot;
    this.#slots[hole] = none;
    for (let at = (hole + 1) & mask; this.#slots[at] !== none; at = (at + 1) & mask) {
      const place = this.#slots[at] as number;
      const distance = (at - this.#homeOf(place)) & mask;
      if (distance < ((at - hole) & mask)) continue;
      this.#slots[hole] = place;
      this.#slots[at] = none;
      hole = at;
    }
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    this.#capacity = capacity;
    this.#ids = copied(this.#ids, new Uint32Array(capacity * lanes));
    this.#digests = copied(this.#digests, new Uint32Array(capacity * lanes));
    this.#stampMs = copied(this.#stampMs, new Float64Array(capacity));
    this.#stampCount = copied(this.#stampCount, new Uint16Array(capacity));
    this.#stampSite = copied(this.#stampSite, new Uint32Array(capacity));
    this.#touchedMs = copied(this.#touchedMs, new Float64Array(capacity));
    this.#urgent = copied(this.#urgent, new Uint8Array(capacity));
    this.#older = copied(this.#older, new Int32Array(capacity));
    this.#newer = copied(this.#newer, new Int32Array(capacity));
    this.#before = copied(this.#before, new Int32Array(capacity));
    this.#after = copied(this.#after, new Int32Array(capacity));
    const slots = this.#slots;
    this.#slots = new Int32Array(capacity * 2).fill(none);
    for (const place of slots) if (place !== none) this.#slots[this.#slotOf(place)] = place;
  }
}

const noKey = new Uint8Array(0);

/** Eight hex digits of an id as a number. */
function wordOf(id: RowId, from: number): number {
  let word = 0;
  for (let i = from; i < from + 8; i++) {
    const code = id.charCodeAt(i);
    // '0'..'9' are 48..57 and 'a'..'f' 97..102.
    word = (word << 4) | (code < 58 ? code - 48 : code - 87);
  }
  return word >>> 0;
}

interface Column {
  set(from: ArrayLike<number>): void;
}

function copied<T extends Column & ArrayLike<number>>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** A row as lists name it. */
export function entryOf(id: RowId, stamp: Stamp, digest: Digest): Entry {
  return {
    id,
    stamp: { ms: stamp.ms, count: stamp.count, site: stamp.site },
    digest: laneToHex(digest.d) + laneToHex(digest.c),
  };
}
