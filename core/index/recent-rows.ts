/**
 * Rows changed lately: what explains nearly every difference between two nodes without a scan.
 *
 * For each row changed in the last ten minutes: where it is, its stamp and its live digest, in the order in
 * which they were touched. Bounded: beyond {@link RecentRowsOptions.rowsMax} the ones touched longest ago
 * go first, and a scan has to find them.
 *
 * A load of many rows fills it to its bound for ten minutes, so rows are kept in arrays of numbers: some
 * 125 bytes a row with its key, which are 4.1 MB at most. Looking for those of some ranges goes through all, which
 * takes up to a millisecond and is rare: chains by range would cost as much memory as the keys, and every change time.
 *
 * @module
 */

import type { Entry } from "../change/frame.ts";
import type { Site, Stamp } from "../clock/stamp.ts";
import {
  type Digest,
  type IdWords,
  idToWords,
  type MutableDigest,
  type RowId,
  readDigestAt,
  writeDigestAt,
} from "../row/digest.ts";
import type { RowRef } from "../row-store.ts";
import { laneToHex } from "./fingerprint-tree.ts";
import { grown, IdTable, noPlace } from "./id-table.ts";

export interface RecentRowsOptions {
  /** A row is forgotten this long after it was touched. */
  readonly keepMs: number;
  /** Rows kept. */
  readonly rowsMax: number;
}

export const recentRowsDefaults: RecentRowsOptions = { keepMs: 600_000, rowsMax: 32_768 };

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

/** Which rows are meant, by when they were stamped. */
export interface Recency {
  /** Rows stamped at this or later, ms. */
  readonly sinceMs: number;
  /** The same for rows that this node stamped. */
  readonly ownSinceMs: number;
  /** Of more the first are meant: urgent ones, then the newest. */
  readonly rowsMax: number;
}

/**
 * A row's record stands in the table of ids, since all of it is wanted at each change of the row:
 *
 * | word | what                                                     |
 * | ---- | -------------------------------------------------------- |
 * | 0    | id                                                       |
 * | 4    | digest, four lanes                                       |
 * | 8    | ms of its stamp, a double                                |
 * | 10   | when it was touched, ms, a double                        |
 * | 12   | stamp: count, then number of the site                    |
 * | 14   | places by time of touch: older, newer                    |
 * | 16   | number of the table                                      |
 * | 17   | twice the bytes of the key, and one for the urgent lane  |
 */
const recordWords = 18;
const recordDoubles = recordWords / 2;
const digestAt = 4;
const stampMsAt = 4;
const touchedAt = 5;
const countAt = 12;
const siteAt = 13;
const olderAt = 14;
const newerAt = 15;
const tableAt = 16;
const keyAndLaneAt = 17;
/** Rows forgotten in one go, some 0.3 ms. */
const expiredMax = 1000;
/** A UUID in text is a key of 39 bytes. */
const inlineKeyBytes = 40;

export class RecentRows {
  readonly #options: RecentRowsOptions;
  readonly #ids = new IdTable(undefined, recordWords);
  #capacity = 0;
  /** {@link inlineKeyBytes} a row. */
  #keys = new Uint8Array(0);
  /** Longer keys, by place. */
  readonly #longKeys = new Map<number, Uint8Array>();
  #oldest: number = noPlace;
  #newest: number = noPlace;

  readonly #sites = new Numbers<Site>();
  readonly #tableNames = new Numbers<string>();

  constructor(options: RecentRowsOptions = recentRowsDefaults) {
    this.#options = options;
  }

  get size(): number {
    return this.#ids.size;
  }

  has(id: RowId): boolean {
    return this.#ids.find(idToWords(id)) !== noPlace;
  }

  get(id: RowId): RecentRow | undefined {
    const place = this.#ids.find(idToWords(id));
    return place === noPlace ? undefined : this.#rowAt(place, id);
  }

  /** The live digest of a row. False: the row isn't here. */
  readDigest(id: IdWords, into: MutableDigest): boolean {
    const place = this.#ids.find(id);
    if (place === noPlace) return false;
    readDigestAt(this.#ids.words, place * recordWords + digestAt, into);
    return true;
  }

  /** Reads a little of what is kept of a row, so that it is at hand. The number means nothing. */
  lookAhead(id: IdWords): number {
    const place = this.#ids.lookAhead(id);
    return place === noPlace ? 0 : (this.#ids.words[place * recordWords + digestAt] as number);
  }

  /**
   * Notes that a row changed: see {@link RecentRow}.
   *
   * @param nowMs Wall clock; a step back only delays forgetting.
   */
  touch(
    id: IdWords,
    ref: RowRef,
    stamp: Stamp,
    digest: Digest,
    urgent: boolean,
    nowMs: number,
  ): void {
    let place = this.#ids.find(id);
    if (place === noPlace) {
      // Before it is added: the columns needn't be longer than they are full.
      if (this.#ids.size >= this.#options.rowsMax) this.#forget(this.#oldest);
      place = this.#add(id, ref.key);
    } else this.#unlinkAge(place);
    this.#put(place, ref.table, stamp, digest, urgent, nowMs);
    const { words } = this.#ids;
    const at = place * recordWords;
    words[at + olderAt] = this.#newest;
    words[at + newerAt] = noPlace;
    if (this.#newest === noPlace) this.#oldest = place;
    else words[this.#newest * recordWords + newerAt] = place;
    this.#newest = place;
  }

  /** Notes a row that changed before all that are here, if there is room and it isn't here itself. */
  recall(id: IdWords, ref: RowRef, stamp: Stamp, digest: Digest, touchedMs: number): void {
    if (this.#ids.size >= this.#options.rowsMax || this.#ids.find(id) !== noPlace) return;
    const place = this.#add(id, ref.key);
    this.#put(place, ref.table, stamp, digest, false, touchedMs);
    const { words } = this.#ids;
    const at = place * recordWords;
    words[at + newerAt] = this.#oldest;
    words[at + olderAt] = noPlace;
    if (this.#oldest === noPlace) this.#newest = place;
    else words[this.#oldest * recordWords + olderAt] = place;
    this.#oldest = place;
  }

  /** Forgets rows touched longer ago than is kept: not all that a load has left at once, the next call goes on. */
  expire(nowMs: number): void {
    const sinceMs = nowMs - this.#options.keepMs;
    for (let count = 0; count < expiredMax && this.#oldest !== noPlace; count++) {
      if (this.#touchedMsOf(this.#oldest) >= sinceMs) return;
      this.#forget(this.#oldest);
    }
  }

  /** Calls `visit` for the rows of some ranges, in no order. */
  forEachIn(isWanted: (range: number) => boolean, visit: (row: RecentRow) => void): void {
    for (let place = this.#newest; place !== noPlace; place = this.#olderOf(place)) {
      if (isWanted(this.#ids.rangeAt(place))) visit(this.#rowAt(place, this.#ids.idAt(place)));
    }
  }

  /**
   * Rows that were stamped lately: urgent ones first, then those stamped last. Of too many urgent ones some of each site.
   *
   * @param aheadMsMax How far a stamp may have been ahead when it was applied: what was touched earlier than
   * that isn't looked at.
   */
  since(
    { sinceMs, ownSinceMs, rowsMax }: Recency,
    isOwn: (site: Site) => boolean,
    aheadMsMax: number,
  ): RecentRow[] {
    const fromMs = Math.min(sinceMs, ownSinceMs) - aheadMsMax;
    const isOwnByNumber = this.#sites.values.map(isOwn);
    const { words } = this.#ids;
    const urgent: number[] = [];
    const others: number[] = [];
    let place = this.#newest;
    for (; place !== noPlace && this.#touchedMsOf(place) >= fromMs; place = this.#olderOf(place)) {
      const at = place * recordWords;
      const isItsOwn = isOwnByNumber[words[at + siteAt] as number] === true;
      if (this.#stampMsOf(place) < (isItsOwn ? Math.min(sinceMs, ownSinceMs) : sinceMs)) continue;
      (this.#isUrgent(place) ? urgent : others).push(place);
    }
    // Nearly in this order already: by time of touch.
    others.sort(
      (a, b) =>
        this.#stampMsOf(b) - this.#stampMsOf(a) ||
        (words[b * recordWords + countAt] as number) - (words[a * recordWords + countAt] as number),
    );
    const first = urgent.length > rowsMax ? this.#inTurns(urgent, rowsMax) : urgent;
    return first
      .concat(others)
      .slice(0, rowsMax)
      .map((found) => this.#rowAt(found, this.#ids.idAt(found)));
  }

  /** The newest of each site, then the next of each: of a flood of one site there may be more than can be named. */
  #inTurns(places: readonly number[], countMax: number): number[] {
    const bySite = new Map<number, number[]>();
    for (const place of places) {
      const site = this.#ids.words[place * recordWords + siteAt] as number;
      const ofSite = bySite.get(site);
      if (ofSite === undefined) bySite.set(site, [place]);
      else ofSite.push(place);
    }
    const taken: number[] = [];
    for (let turn = 0; taken.length < countMax; turn++) {
      for (const [site, ofSite] of bySite) {
        const place = ofSite[turn];
        if (place === undefined) bySite.delete(site);
        else taken.push(place);
      }
    }
    return taken;
  }

  // ---- Rows -------------------------------------------------------------------------------------

  #stampMsOf(place: number): number {
    return this.#ids.doubles[place * recordDoubles + stampMsAt] as number;
  }

  #touchedMsOf(place: number): number {
    return this.#ids.doubles[place * recordDoubles + touchedAt] as number;
  }

  #olderOf(place: number): number {
    return this.#ids.words[place * recordWords + olderAt] as number;
  }

  #isUrgent(place: number): boolean {
    return ((this.#ids.words[place * recordWords + keyAndLaneAt] as number) & 1) === 1;
  }

  #rowAt(place: number, id: RowId): RecentRow {
    const at = place * recordWords;
    const { words } = this.#ids;
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    readDigestAt(words, at + digestAt, digest);
    return {
      id,
      ref: {
        table: this.#tableNames.values[words[at + tableAt] as number] as string,
        key: this.#keyAt(place),
      },
      stamp: {
        ms: this.#stampMsOf(place),
        count: words[at + countAt] as number,
        site: this.#sites.values[words[at + siteAt] as number] as Site,
      },
      digest,
      urgent: this.#isUrgent(place),
    };
  }

  #put(
    place: number,
    table: string,
    stamp: Stamp,
    digest: Digest,
    urgent: boolean,
    touchedMs: number,
  ): void {
    const at = place * recordWords;
    const { words, doubles } = this.#ids;
    writeDigestAt(words, at + digestAt, digest);
    words[at + countAt] = stamp.count;
    words[at + siteAt] = this.#sites.of(stamp.site);
    words[at + tableAt] = this.#tableNames.of(table);
    words[at + keyAndLaneAt] = ((words[at + keyAndLaneAt] as number) & ~1) | (urgent ? 1 : 0);
    doubles[place * recordDoubles + stampMsAt] = stamp.ms;
    doubles[place * recordDoubles + touchedAt] = touchedMs;
  }

  #keyAt(place: number): Uint8Array {
    const at = place * inlineKeyBytes;
    const length = (this.#ids.words[place * recordWords + keyAndLaneAt] as number) >>> 1;
    return this.#longKeys.get(place) ?? this.#keys.slice(at, at + length);
  }

  /** A place for a row that has none, not yet linked by age. */
  #add(id: IdWords, key: Uint8Array): number {
    const place = this.#ids.add(id);
    if (this.#ids.capacity > this.#capacity) this.#grow();
    if (key.length > inlineKeyBytes) this.#longKeys.set(place, key);
    else {
      // A call of `set` takes longer.
      const keys = this.#keys;
      const at = place * inlineKeyBytes;
      for (let i = 0; i < key.length; i++) keys[at + i] = key[i] as number;
      this.#ids.words[place * recordWords + keyAndLaneAt] = 2 * key.length;
    }
    return place;
  }

  #forget(place: number): void {
    this.#unlinkAge(place);
    this.#ids.remove(place);
    this.#longKeys.delete(place);
  }

  #unlinkAge(place: number): void {
    const at = place * recordWords;
    const { words } = this.#ids;
    const older = words[at + olderAt] as number;
    const newer = words[at + newerAt] as number;
    if (older !== noPlace) words[older * recordWords + newerAt] = newer;
    else this.#oldest = newer;
    if (newer !== noPlace) words[newer * recordWords + olderAt] = older;
    else this.#newest = older;
  }

  #grow(): void {
    const capacity = this.#ids.capacity;
    this.#capacity = capacity;
    this.#keys = grown(this.#keys, new Uint8Array(capacity * inlineKeyBytes));
  }
}

/** Numbers for what is few and comes often. */
class Numbers<Value> {
  readonly values: Value[] = [];
  readonly #numbers = new Map<Value, number>();
  #last: Value | undefined;
  #lastNumber = -1;

  of(value: Value): number {
    // Most rows come from where the one before came.
    if (value === this.#last) return this.#lastNumber;
    let number = this.#numbers.get(value);
    if (number === undefined) {
      number = this.values.push(value) - 1;
      this.#numbers.set(value, number);
    }
    this.#last = value;
    this.#lastNumber = number;
    return number;
  }
}

/** A row as lists name it. */
export function entryOf(id: RowId, stamp: Stamp, digest: Digest): Entry {
  return {
    id,
    stamp: { ms: stamp.ms, count: stamp.count, site: stamp.site },
    digest: laneToHex(digest.d) + laneToHex(digest.c),
  };
}
