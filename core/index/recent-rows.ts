/**
 * Rows changed lately: what explains nearly every difference between two nodes without a scan.
 *
 * For each row changed in the last ten minutes: where it is, its stamp and its live digest, in the order in
 * which they were touched. Bounded: beyond {@link RecentRowsOptions.rowsMax} the ones touched longest ago
 * go first, and a scan has to find them.
 *
 * A load of many rows fills it to its bound for ten minutes, so rows are kept in arrays of numbers: some
 * 125 bytes a row with its key, which are 4.1 MB at most. Keys of more than 40 bytes have 16 MiB beside these: of rows
 * whose keys are the longest that there may be, a few hundred are kept. Looking for those of some ranges goes through all, which
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
import { TouchLog } from "./touch-log.ts";

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
 * A row's record stands in the table of ids, since all of it is wanted at each change of the row, and fills a line of
 * the cache:
 *
 * | word | what                               |
 * | ---- | ---------------------------------- |
 * | 0    | id                                 |
 * | 4    | digest, four lanes                 |
 * | 8    | ms of its stamp, a double          |
 * | 10   | when it was touched, ms, a double  |
 * | 12   | stamp: count, then number of the site |
 * | 14   | number of the table                |
 * | 15   | position of its entry, `touch-log.ts` |
 */
const recordWords = 16;
const recordDoubles = recordWords / 2;
const digestAt = 4;
const stampMsAt = 4;
const touchedAt = 5;
const countAt = 12;
const siteAt = 13;
const tableAt = 14;
const positionAt = 15;
/** Rows forgotten in one go, some 0.3 ms. */
const expiredMax = 1000;
/** A UUID in text is a key of 39 bytes. */
const inlineKeyBytes = 40;
/** Its length comes first. */
const keyRoomBytes = 1 + inlineKeyBytes;
/** Longer keys together, each with what an array of its own takes. */
export const longKeysBytesMax: number = 16 * 1024 * 1024;
const longKeyExtraBytes = 128;

export class RecentRows {
  readonly #options: RecentRowsOptions;
  readonly #ids = new IdTable(undefined, recordWords);
  readonly #log = new TouchLog(this.#ids, recordWords, positionAt);
  #capacity = 0;
  /** {@link keyRoomBytes} a row. */
  #keys = new Uint8Array(0);
  /** Longer keys, by place. */
  readonly #longKeys = new Map<number, Uint8Array>();
  #longKeysBytes = 0;
  #sites = new Numbers<Site>();
  #tableNames = new Numbers<string>();

  constructor(options: RecentRowsOptions = recentRowsDefaults) {
    this.#options = options;
  }

  get size(): number {
    return this.#ids.size;
  }

  /** Sites and tables that have a number; of some there may be no row any more. */
  get numbered(): number {
    return this.#sites.values.length + this.#tableNames.values.length;
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

  /** The same for those rows that so many new ones may push out, which lie anywhere, too. */
  lookAheadOldest(count: number): number {
    if (this.#ids.size + count <= this.#options.rowsMax) return 0;
    let sum = 0;
    for (let i = 0; i < count; i++) {
      sum += this.#ids.lookAheadAt(this.#log.lookAheadAt(this.#log.begin + i));
    }
    return sum;
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
    const numberedMax = 2 * this.#options.rowsMax;
    if (this.#sites.values.length > numberedMax || this.#tableNames.values.length > numberedMax) {
      this.#renumber();
    }
    let place = this.#ids.find(id);
    if (place === noPlace) {
      // Before it is added: the columns needn't be longer than they are full.
      while (this.#ids.size > 0 && !this.#hasRoom(ref.key)) this.#forgetOldest();
      place = this.#add(id, ref.key);
    }
    this.#put(place, ref.table, stamp, digest, nowMs);
    this.#log.add(place, urgent);
  }

  /** Notes a row that changed before all that are here, if there is room and it isn't here itself. */
  recall(id: IdWords, ref: RowRef, stamp: Stamp, digest: Digest, touchedMs: number): void {
    if (!this.#hasRoom(ref.key) || this.#ids.find(id) !== noPlace) return;
    const place = this.#add(id, ref.key);
    this.#put(place, ref.table, stamp, digest, touchedMs);
    this.#log.addFirst(place);
  }

  /** Forgets rows touched longer ago than is kept: not all that a load has left at once, the next call goes on. */
  expire(nowMs: number): void {
    const sinceMs = nowMs - this.#options.keepMs;
    for (let count = 0; count < expiredMax && this.#ids.size > 0; count++) {
      if (this.#touchedMsOf(this.#log.oldest()) >= sinceMs) return;
      this.#forgetOldest();
    }
  }

  /** Calls `visit` for the rows of some ranges, in no order. */
  forEachIn(isWanted: (range: number) => boolean, visit: (row: RecentRow) => void): void {
    const { begin, end } = this.#log;
    for (let position = begin; position !== end; position = (position + 1) | 0) {
      const place = this.#log.placeAt(position);
      if (place === noPlace || !isWanted(this.#ids.rangeAt(place))) continue;
      visit(this.#rowAt(place, this.#ids.idAt(place)));
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
    for (let position = this.#log.end; position !== this.#log.begin; ) {
      position = (position - 1) | 0;
      const place = this.#log.placeAt(position);
      if (place === noPlace) continue;
      if (this.#touchedMsOf(place) < fromMs) break;
      const at = place * recordWords;
      const isItsOwn = isOwnByNumber[words[at + siteAt] as number] === true;
      if (this.#stampMsOf(place) < (isItsOwn ? Math.min(sinceMs, ownSinceMs) : sinceMs)) continue;
      (this.#log.isUrgent(place) ? urgent : others).push(place);
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
      urgent: this.#log.isUrgent(place),
    };
  }

  #put(place: number, table: string, stamp: Stamp, digest: Digest, touchedMs: number): void {
    const at = place * recordWords;
    const { words, doubles } = this.#ids;
    writeDigestAt(words, at + digestAt, digest);
    words[at + countAt] = stamp.count;
    words[at + siteAt] = this.#sites.of(stamp.site, words[at + siteAt] as number);
    words[at + tableAt] = this.#tableNames.of(table, words[at + tableAt] as number);
    doubles[place * recordDoubles + stampMsAt] = stamp.ms;
    doubles[place * recordDoubles + touchedAt] = touchedMs;
  }

  /** Sites and tables without rows lose their numbers: some ms, after as many new ones as there may be rows. */
  #renumber(): void {
    const [sites, tableNames] = [this.#sites, this.#tableNames];
    this.#sites = new Numbers();
    this.#tableNames = new Numbers();
    const { words } = this.#ids;
    const { begin, end } = this.#log;
    for (let position = begin; position !== end; position = (position + 1) | 0) {
      const place = this.#log.placeAt(position);
      if (place === noPlace) continue;
      const [site, table] = [place * recordWords + siteAt, place * recordWords + tableAt];
      words[site] = this.#sites.of(sites.values[words[site] as number] as Site, 0);
      words[table] = this.#tableNames.of(tableNames.values[words[table] as number] as string, 0);
    }
  }

  #keyAt(place: number): Uint8Array {
    const at = place * keyRoomBytes;
    const end = at + 1 + (this.#keys[at] as number);
    return this.#longKeys.get(place) ?? this.#keys.slice(at + 1, end);
  }

  /** A place for a row that has none, without an entry in the log yet. */
  #add(id: IdWords, key: Uint8Array): number {
    const place = this.#ids.add(id);
    if (this.#ids.capacity > this.#capacity) this.#grow();
    if (key.length > inlineKeyBytes) {
      this.#longKeys.set(place, key);
      this.#longKeysBytes += longBytesOf(key);
    } else {
      // A call of `set` takes longer.
      const keys = this.#keys;
      const at = place * keyRoomBytes;
      keys[at] = key.length;
      for (let i = 0; i < key.length; i++) keys[at + 1 + i] = key[i] as number;
    }
    return place;
  }

  #forgetOldest(): void {
    const place = this.#log.oldest();
    this.#log.removeOldest();
    this.#ids.remove(place);
    const longKey = this.#longKeys.get(place);
    if (longKey === undefined) return;
    this.#longKeys.delete(place);
    this.#longKeysBytes -= longBytesOf(longKey);
  }

  #hasRoom(key: Uint8Array): boolean {
    if (this.#ids.size >= this.#options.rowsMax) return false;
    return this.#longKeysBytes + longBytesOf(key) <= longKeysBytesMax;
  }

  #grow(): void {
    const capacity = this.#ids.capacity;
    this.#capacity = capacity;
    this.#keys = grown(this.#keys, new Uint8Array(capacity * keyRoomBytes));
    this.#log.grow();
  }
}

/** What a key takes beside its row's record. */
function longBytesOf(key: Uint8Array): number {
  return key.length > inlineKeyBytes ? key.length + longKeyExtraBytes : 0;
}

/** Numbers for what is few and comes often. */
class Numbers<Value> {
  readonly values: Value[] = [];
  readonly #numbers = new Map<Value, number>();
  #lastNumber = 0;

  /** @param likely Its number, if it is any: most rows come again from where they came. */
  of(value: Value, likely: number): number {
    if (this.values[likely] === value) return likely;
    // Or from where the one before came.
    if (this.values[this.#lastNumber] === value) return this.#lastNumber;
    let number = this.#numbers.get(value);
    if (number === undefined) {
      number = this.values.push(value) - 1;
      this.#numbers.set(value, number);
    }
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
