/**
 * Rows changed lately: what explains nearly every difference between two nodes without a scan.
 *
 * For each row changed in the last ten minutes: where it is, its stamp and its live digest, in the order in
 * which they were touched. Bounded: beyond {@link RecentRowsOptions.rowsMax} the ones touched longest ago
 * go first, and a scan has to find them.
 *
 * A load of many rows fills it to its bound for ten minutes, so rows are kept in columns of numbers: some
 * 120 bytes a row with its key, which are 4 MB at most. Looking for those of some ranges goes through all, which
 * takes up to a millisecond and is rare: chains by range would cost as much memory as the keys, and every change time.
 *
 * @module
 */

import type { Entry } from "../change/frame.ts";
import type { Site, Stamp } from "../clock/stamp.ts";
import { type Digest, type IdWords, idToWords, type RowId } from "../row/digest.ts";
import type { RowRef } from "../store/row-store.ts";
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

/** Of a digest. */
const lanes = 4;
/** Rows forgotten in one go, some 0.3 ms. */
const expiredMax = 1000;
/** A UUID in text is a key of 39 bytes. */
const inlineKeyBytes = 40;

export class RecentRows {
  readonly #options: RecentRowsOptions;
  readonly #ids = new IdTable();
  #capacity = 0;
  #digests = new Uint32Array(0);
  #stampMs = new Float64Array(0);
  #stampCount = new Uint16Array(0);
  #stampSite = new Uint32Array(0);
  #touchedMs = new Float64Array(0);
  #urgent = new Uint8Array(0);
  /** By time of touch. */
  #older = new Int32Array(0);
  #newer = new Int32Array(0);
  #tables = new Uint16Array(0);
  /** {@link inlineKeyBytes} a row. */
  #keys = new Uint8Array(0);
  #keyBytes = new Uint8Array(0);
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

  /** The live digest of a row, without the rest. */
  digestOf(id: IdWords): Digest | undefined {
    const place = this.#ids.find(id);
    return place === noPlace ? undefined : this.#digestAt(place);
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
    this.#older[place] = this.#newest;
    this.#newer[place] = noPlace;
    if (this.#newest === noPlace) this.#oldest = place;
    else this.#newer[this.#newest] = place;
    this.#newest = place;
  }

  /** Notes a row that changed before all that are here, if there is room and it isn't here itself. */
  recall(id: IdWords, ref: RowRef, stamp: Stamp, digest: Digest, touchedMs: number): void {
    if (this.#ids.size >= this.#options.rowsMax || this.#ids.find(id) !== noPlace) return;
    const place = this.#add(id, ref.key);
    this.#put(place, ref.table, stamp, digest, false, touchedMs);
    this.#newer[place] = this.#oldest;
    this.#older[place] = noPlace;
    if (this.#oldest === noPlace) this.#newest = place;
    else this.#older[this.#oldest] = place;
    this.#oldest = place;
  }

  /** Forgets rows touched longer ago than is kept: not all that a load has left at once, the next call goes on. */
  expire(nowMs: number): void {
    const sinceMs = nowMs - this.#options.keepMs;
    for (let count = 0; count < expiredMax && this.#oldest !== noPlace; count++) {
      if ((this.#touchedMs[this.#oldest] as number) >= sinceMs) return;
      this.#forget(this.#oldest);
    }
  }

  /** Calls `visit` for the rows of some ranges, in no order. */
  forEachIn(isWanted: (range: number) => boolean, visit: (row: RecentRow) => void): void {
    for (let place = this.#newest; place !== noPlace; place = this.#older[place] as number) {
      if (isWanted(this.#ids.rangeAt(place))) visit(this.#rowAt(place, this.#ids.idAt(place)));
    }
  }

  /**
   * Rows that were stamped lately: urgent ones first, then those stamped last.
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
    const urgent: number[] = [];
    const others: number[] = [];
    let place = this.#newest;
    for (
      ;
      place !== noPlace && (this.#touchedMs[place] as number) >= fromMs;
      place = this.#older[place] as number
    ) {
      const isItsOwn = isOwnByNumber[this.#stampSite[place] as number] === true;
      if ((this.#stampMs[place] as number) < (isItsOwn ? Math.min(sinceMs, ownSinceMs) : sinceMs))
        continue;
      (this.#urgent[place] === 1 ? urgent : others).push(place);
    }
    // Nearly in this order already: by time of touch.
    others.sort(
      (a, b) =>
        (this.#stampMs[b] as number) - (this.#stampMs[a] as number) ||
        (this.#stampCount[b] as number) - (this.#stampCount[a] as number),
    );
    return urgent
      .concat(others)
      .slice(0, rowsMax)
      .map((found) => this.#rowAt(found, this.#ids.idAt(found)));
  }

  // ---- Rows -------------------------------------------------------------------------------------

  #rowAt(place: number, id: RowId): RecentRow {
    return {
      id,
      ref: {
        table: this.#tableNames.values[this.#tables[place] as number] as string,
        key: this.#keyAt(place),
      },
      stamp: {
        ms: this.#stampMs[place] as number,
        count: this.#stampCount[place] as number,
        site: this.#sites.values[this.#stampSite[place] as number] as Site,
      },
      digest: this.#digestAt(place),
      urgent: this.#urgent[place] === 1,
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
    const at = place * lanes;
    this.#digests[at] = digest.a;
    this.#digests[at + 1] = digest.b;
    this.#digests[at + 2] = digest.c;
    this.#digests[at + 3] = digest.d;
    this.#stampMs[place] = stamp.ms;
    this.#stampCount[place] = stamp.count;
    this.#stampSite[place] = this.#sites.of(stamp.site);
    this.#urgent[place] = urgent ? 1 : 0;
    this.#tables[place] = this.#tableNames.of(table);
    this.#touchedMs[place] = touchedMs;
  }

  #keyAt(place: number): Uint8Array {
    const at = place * inlineKeyBytes;
    return (
      this.#longKeys.get(place) ?? this.#keys.slice(at, at + (this.#keyBytes[place] as number))
    );
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

  /** A place for a row that has none, not yet linked by age. */
  #add(id: IdWords, key: Uint8Array): number {
    const place = this.#ids.add(id);
    if (this.#ids.capacity > this.#capacity) this.#grow();
    if (key.length > inlineKeyBytes) this.#longKeys.set(place, key);
    else {
      this.#keys.set(key, place * inlineKeyBytes);
      this.#keyBytes[place] = key.length;
    }
    return place;
  }

  #forget(place: number): void {
    this.#unlinkAge(place);
    this.#ids.remove(place);
    this.#longKeys.delete(place);
  }

  #unlinkAge(place: number): void {
    const older = this.#older[place] as number;
    const newer = this.#newer[place] as number;
    if (older !== noPlace) this.#newer[older] = newer;
    else this.#oldest = newer;
    if (newer !== noPlace) this.#older[newer] = older;
    else this.#newest = older;
  }

  #grow(): void {
    const capacity = this.#ids.capacity;
    this.#capacity = capacity;
    this.#digests = grown(this.#digests, new Uint32Array(capacity * lanes));
    this.#stampMs = grown(this.#stampMs, new Float64Array(capacity));
    this.#stampCount = grown(this.#stampCount, new Uint16Array(capacity));
    this.#stampSite = grown(this.#stampSite, new Uint32Array(capacity));
    this.#touchedMs = grown(this.#touchedMs, new Float64Array(capacity));
    this.#urgent = grown(this.#urgent, new Uint8Array(capacity));
    this.#older = grown(this.#older, new Int32Array(capacity));
    this.#newer = grown(this.#newer, new Int32Array(capacity));
    this.#tables = grown(this.#tables, new Uint16Array(capacity));
    this.#keys = grown(this.#keys, new Uint8Array(capacity * inlineKeyBytes));
    this.#keyBytes = grown(this.#keyBytes, new Uint8Array(capacity));
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
