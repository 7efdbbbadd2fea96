/**
 * The ways that nearly all merged rows go, each with the least of work: clocks stay bytes and numbers.
 *
 * - *Nothing changes*: what came is held already or is older. One look-up, in the file or among the rows written
 *   lately (`recent-clocks.ts`); a value is hashed only under a
 *   stamp that is held, and that hash says that it is the same.
 * - *Cells change*: some came with later stamps, in the life that is held or an older one. One look-up, one
 *   UPDATE of these columns, one of the clocks.
 * - *New*: nothing was held. One look-up and two INSERTs.
 *
 * Everything else (another life, a tombstone, what can't be shown, two writers under one stamp, damaged
 * clocks) is left to `held-row.ts` and `row-writer.ts`. Nothing was written then.
 *
 * @module
 */

import { isLive } from "../../clock/row-clock.ts";
import type { Site, Stamp } from "../../clock/stamp.ts";
import { decodeKey } from "../../row/key.ts";
import type { Cell, RowState } from "../../row/row-state.ts";
import type { SqlValue } from "../../row/value.ts";
import type { QuickNews, RowRef } from "../../row-store.ts";
import { EncodedClocks } from "../clocks/encoded-clocks.ts";
import { FlatBlob } from "../clocks/flat-blob.ts";
import { FlatClocks, flatCellsMax } from "../clocks/flat-clocks.ts";
import { PlacedRow, type StoreParts } from "../tables/store-parts.ts";
import type { StoredTable } from "../tables/stored-table.ts";
import type { DecidedRow, QuickWrite } from "./decided-row.ts";

/** A table with what its columns' ordinals stand for. */
interface QuickTable {
  readonly table: StoredTable;
  /** Index in the table's value columns by column ordinal; -1: it has no such column. */
  readonly indexByOrdinal: number[];
  /** Of the table in a scan. */
  readonly part: number;
}

/** More columns than a set of bits has. */
const columnsMax = 30;

export class QuickMerge {
  readonly #parts: StoreParts;
  readonly #held = new FlatClocks();
  readonly #blob = new FlatBlob();
  #lastName = "";
  #last: QuickTable | undefined;
  readonly #tables = new Map<string, QuickTable>();
  /** The ordinals' life that these are good for. */
  #life = 0;
  #lastSite: Site | undefined;
  #lastSiteOrdinal = 0;
  /** By index of the table's value columns; those that are written. */
  readonly #values: SqlValue[] = [];
  // Of the row that is being written: what was put together last decides.
  readonly #taken = new Int32Array(2 * flatCellsMax);
  readonly #hashHigh = new Float64Array(flatCellsMax);
  readonly #hashLow = new Float64Array(flatCellsMax);
  /** Values of the row merged last were looked at. */
  hasReadValues = false;
  /** The row before was. */
  #wasNew = false;
  /** Nothing is to be written: what would be is left in {@link #write}. */
  #isDeciding = false;
  #write: QuickWrite | undefined;
  // Of the blob that is being written: its largest stamp.
  #largestMs = 0;
  #largestCount = 0;
  #largestSite = 0;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  /** Joins a row with what is held, and writes no row. Undefined: it isn't one of these. */
  decide(row: RowState): DecidedRow | undefined {
    this.#isDeciding = true;
    this.#write = undefined;
    // It is only by writing that one can find out without looking.
    this.#wasNew = false;
    try {
      const placed = this.merge(row);
      return placed && { placed, write: this.#write };
    } finally {
      this.#isDeciding = false;
      this.#wasNew = false;
    }
  }

  /** Writes what was decided. False: there is a row where none was; nothing was done. The recent clocks aren't told. */
  writeDecided(
    { table, isNew, key, rowid, columns, values, clock }: QuickWrite,
    row: RowRef,
  ): boolean {
    const { quick } = table;
    if (isNew) {
      if (!quick.insert(key, row.key, values)) return false;
      quick.insertClocks(clock, row.key);
      return true;
    }
    quick.foundAt(rowid);
    quick.update(columns, values, key, row.key);
    quick.putClocks(clock, row.key);
    return true;
  }

  /** Joins a row in and writes it. Undefined: it isn't one of these; nothing was done. */
  merge(row: RowState): PlacedRow | undefined {
    const { ordinals } = this.#parts;
    if (ordinals.life !== this.#life) this.#forget();
    const known = this.#tableOf(row.table);
    if (known === undefined || !isLive(row.clock) || row.cells.length > flatCellsMax) {
      return undefined;
    }
    const { table } = known;
    const keyBytes = row.key;
    let key: readonly SqlValue[] | undefined;
    if (!table.isTextKeyBytes(keyBytes)) {
      key = decodeKey(keyBytes);
      if (key === undefined || !table.isKey(key)) return undefined;
    }
    // Rows that are new come together: it is tried at once then, and SQLite looks the key up itself.
    if (this.#wasNew) {
      if (this.#parts.absent.has(row.table, keyBytes)) return undefined;
      const placed = this.#insert(known, key, row);
      if (placed !== undefined) return placed;
    }
    const { recentClocks } = this.#parts;
    if (recentClocks.find(row.table, keyBytes)) {
      const { bytes, start, end } = recentClocks;
      if (this.#held.decode(bytes, start, end, ordinals)) {
        this.#wasNew = false;
        table.quick.foundAt(recentClocks.rowid);
        return this.#join(known, key, bytes.slice(start, end), row);
      }
    }
    const isFound = table.quick.find(key, keyBytes);
    if (!isFound) {
      if (this.#parts.absent.has(row.table, keyBytes)) return undefined;
      const placed = this.#insert(known, key, row);
      this.#wasNew = placed !== undefined;
      return placed;
    }
    this.#wasNew = false;
    const clock = table.quick.foundClock;
    if (clock === null || !this.#held.decode(clock, 0, clock.length, ordinals)) return undefined;
    return this.#join(known, key, clock, row);
  }

  #join(
    known: QuickTable,
    key: readonly SqlValue[] | undefined,
    clock: Uint8Array,
    row: RowState,
  ): PlacedRow | undefined {
    this.hasReadValues = false;
    const { digester, ordinals } = this.#parts;
    const held = this.#held;
    const order = held.compareClock(row.clock, ordinals);
    if (order < 0 || held.cl % 2 === 0 || (order === 0 && held.cl !== row.clock.cl)) {
      return undefined;
    }
    const taken = this.#taken;
    let takenCount = 0;
    let freshCount = 0;
    let msMin = Number.POSITIVE_INFINITY;
    let msMax = Number.NEGATIVE_INFINITY;
    let isNewsHeld = true;
    if (order > 0) {
      msMin = row.clock.ms;
      msMax = msMin;
      isNewsHeld = false;
    }
    const { cells } = row;
    let i = 0;
    for (let j = 0; j < cells.length; j++) {
      const { column, stamp, value } = cells[j] as Cell;
      let name = i < held.count ? ordinals.column(held.column[i] as number) : undefined;
      while (name !== undefined && name !== column && name < column) {
        taken[takenCount++] = i++;
        name = i < held.count ? ordinals.column(held.column[i] as number) : undefined;
      }
      let isTaken: boolean;
      if (name === column) {
        const stampOrder = held.compareCell(i, stamp, ordinals);
        if (stampOrder === 0) {
          this.hasReadValues = true;
          digester.hashValue(value);
          // Two writers under one stamp.
          if (held.high[i] !== digester.hashHigh || held.low[i] !== digester.hashLow) {
            return undefined;
          }
          taken[takenCount++] = i++;
          continue;
        }
        isTaken = stampOrder < 0;
        if (isTaken) i++;
        else taken[takenCount++] = i++;
      } else isTaken = order === 0 || held.compareClock(stamp, ordinals) <= 0;
      if (stamp.ms < msMin) msMin = stamp.ms;
      if (stamp.ms > msMax) msMax = stamp.ms;
      if (!isTaken) isNewsHeld = false;
      else {
        freshCount++;
        taken[takenCount++] = -1 - j;
      }
    }
    const before = new EncodedClocks(clock, ordinals, undefined);
    const news: QuickNews = { msMin, msMax, isHeld: isNewsHeld };
    if (freshCount === 0) return this.#placed(known, row, before, before, false, news);
    this.hasReadValues = true;
    if (held.hasHeld) return undefined;
    while (i < held.count) taken[takenCount++] = i++;
    const mask = this.#prepare(known, row, takenCount);
    if (mask === undefined) return undefined;
    const { table } = known;
    const after = this.#encodeJoin(row, takenCount);
    const placed = this.#placed(known, row, before, after, true, news);
    if (this.#isDeciding) {
      this.#decided(table, key, mask, after);
      return placed;
    }
    table.quick.update(mask, this.#values, key, row.key);
    table.quick.putClocks(after.bytes, row.key);
    this.#parts.recentClocks.put(row.table, row.key, table.quick.foundRowid, after.bytes);
    return placed;
  }

  /**
   * Values and hashes of the cells that are taken. @returns the set of their columns; undefined: not here. So there are
   * no more cells than the table has columns, for all that are held are shown.
   */
  #prepare(known: QuickTable, row: RowState, takenCount: number): number | undefined {
    const { digester } = this.#parts;
    let mask = 0;
    for (let k = 0; k < takenCount; k++) {
      const at = this.#taken[k] as number;
      if (at >= 0) continue;
      const { column, value } = row.cells[-1 - at] as Cell;
      const index = this.#indexOf(known, column);
      if (index < 0 || !known.table.isShownAt(index, value)) return undefined;
      this.#values[index] = value;
      mask |= 1 << index;
      digester.hashValue(value);
      this.#hashHigh[k] = digester.hashHigh;
      this.#hashLow[k] = digester.hashLow;
    }
    return mask;
  }

  #encodeJoin(row: RowState, takenCount: number): EncodedClocks {
    const { ordinals } = this.#parts;
    const held = this.#held;
    const { high, low } = held;
    this.#beginBlob(held.ms, held.clockCount, held.site, held.cl, takenCount);
    for (let k = 0; k < takenCount; k++) {
      const at = this.#taken[k] as number;
      if (at < 0) {
        const { column, stamp } = row.cells[-1 - at] as Cell;
        const ordinal = ordinals.columnOrdinal(column);
        const site = this.#siteOrdinal(stamp.site);
        const hashHigh = this.#hashHigh[k] as number;
        const hashLow = this.#hashLow[k] as number;
        this.#writeCell(ordinal, stamp.ms, stamp.count, site, hashHigh, hashLow);
      } else {
        const ms = held.cellMs[at] as number;
        const count = held.cellCount[at] as number;
        const site = held.cellSite[at] as number;
        const hashHigh = high[at] as number;
        const hashLow = low[at] as number;
        this.#writeCell(held.column[at] as number, ms, count, site, hashHigh, hashLow);
      }
    }
    return this.#finishBlob();
  }

  #insert(
    known: QuickTable,
    key: readonly SqlValue[] | undefined,
    row: RowState,
  ): PlacedRow | undefined {
    this.hasReadValues = true;
    const { digester, ordinals } = this.#parts;
    const { table } = known;
    const { clock, cells } = row;
    const { valueColumns } = table.plan;
    const values = this.#values;
    if (cells.length < valueColumns.length) {
      for (let i = 0; i < valueColumns.length; i++) {
        values[i] = (valueColumns[i] as (typeof valueColumns)[number]).defaultValue;
      }
    }
    let msMax = clock.ms;
    const clockSite = this.#siteOrdinal(clock.site);
    this.#beginBlob(clock.ms, clock.count, clockSite, clock.cl, cells.length);
    for (let j = 0; j < cells.length; j++) {
      const { column, stamp, value } = cells[j] as Cell;
      const index = this.#indexOf(known, column);
      if (index < 0 || !table.isShownAt(index, value)) return undefined;
      values[index] = value;
      if (stamp.ms > msMax) msMax = stamp.ms;
      const site = this.#siteOrdinal(stamp.site);
      digester.hashValue(value);
      const { hashHigh, hashLow } = digester;
      const ordinal = ordinals.columnOrdinal(column);
      this.#writeCell(ordinal, stamp.ms, stamp.count, site, hashHigh, hashLow);
    }
    const after = this.#finishBlob();
    if (this.#isDeciding) this.#decided(table, key, undefined, after);
    else {
      if (!table.quick.insert(key, row.key, values)) return undefined;
      table.quick.insertClocks(after.bytes, row.key);
    }
    // No cell is older than its row.
    const news: QuickNews = { msMin: clock.ms, msMax, isHeld: true };
    const nowhere = undefined;
    const words = digester.idWords(row.table, row.key);
    return new PlacedRow(row, words, nowhere, after, digester, after, true, false, news, nowhere);
  }

  /** @param columns Undefined: the row is new. */
  #decided(
    table: StoredTable,
    key: readonly SqlValue[] | undefined,
    columns: number | undefined,
    { bytes: clock }: EncodedClocks,
  ): void {
    const isNew = columns === undefined;
    const rowid = isNew ? undefined : table.quick.foundRowid;
    const values = this.#values.slice(0, table.plan.valueColumns.length);
    this.#write = { kind: "quick", table, isNew, key, rowid, columns: columns ?? 0, values, clock };
  }

  #placed(
    { table, part }: QuickTable,
    row: RowState,
    before: EncodedClocks,
    after: EncodedClocks,
    changed: boolean,
    news: QuickNews,
  ): PlacedRow {
    const { digester } = this.#parts;
    const place = { part, after: table.quick.foundRowid ?? row.key };
    // While its key is at hand. A row that stays as it is, is hardly ever asked for its id.
    const words = changed ? digester.idWords(row.table, row.key) : undefined;
    return new PlacedRow(row, words, before, row, digester, after, changed, false, news, place);
  }

  // ---- Clock blobs --------------------------------------------------------------------------------

  #beginBlob(ms: number, count: number, site: number, cl: number, cells: number): void {
    this.#blob.begin(ms, count, site, cl, cells);
    this.#largestMs = ms;
    this.#largestCount = count;
    this.#largestSite = site;
  }

  #writeCell(
    column: number,
    ms: number,
    count: number,
    site: number,
    high: number,
    low: number,
  ): void {
    const isOther = this.#blob.cell(column, ms, count, site, high, low);
    if (!isOther || !this.#isLargest(ms, count, site)) return;
    this.#largestMs = ms;
    this.#largestCount = count;
    this.#largestSite = site;
  }

  #isLargest(ms: number, count: number, site: number): boolean {
    if (ms !== this.#largestMs) return ms > this.#largestMs;
    if (count !== this.#largestCount) return count > this.#largestCount;
    const { ordinals } = this.#parts;
    return (ordinals.site(site) as Site) > (ordinals.site(this.#largestSite) as Site);
  }

  #finishBlob(): EncodedClocks {
    const { ordinals } = this.#parts;
    const site = ordinals.site(this.#largestSite) as Site;
    const largest: Stamp = { ms: this.#largestMs, count: this.#largestCount, site };
    return new EncodedClocks(this.#blob.finish(), ordinals, largest);
  }

  // ---- Names --------------------------------------------------------------------------------------

  #siteOrdinal(site: Site): number {
    if (site === this.#lastSite) return this.#lastSiteOrdinal;
    const ordinal = this.#parts.ordinals.siteOrdinal(site);
    this.#lastSite = site;
    this.#lastSiteOrdinal = ordinal;
    return ordinal;
  }

  #indexOf({ table, indexByOrdinal }: QuickTable, column: string): number {
    const ordinal = this.#parts.ordinals.columnOrdinal(column);
    let index = indexByOrdinal[ordinal];
    if (index === undefined) {
      index = table.valueIndex.get(column) ?? -1;
      while (indexByOrdinal.length <= ordinal) indexByOrdinal.push(-2);
      indexByOrdinal[ordinal] = index;
    } else if (index === -2) {
      index = table.valueIndex.get(column) ?? -1;
      indexByOrdinal[ordinal] = index;
    }
    return index;
  }

  #tableOf(name: string): QuickTable | undefined {
    if (name === this.#lastName) return this.#last;
    let known = this.#tables.get(name);
    if (known === undefined) {
      const table = this.#parts.tables.get(name);
      if (table !== undefined && table.plan.valueColumns.length <= columnsMax) {
        known = { table, indexByOrdinal: [], part: this.#parts.places.partOf(table) };
        this.#tables.set(name, known);
      }
    }
    this.#lastName = name;
    this.#last = known;
    return known;
  }

  /** A rollback took ordinals back. */
  #forget(): void {
    this.#life = this.#parts.ordinals.life;
    this.#tables.clear();
    this.#last = undefined;
    this.#lastName = "";
    this.#lastSite = undefined;
  }
}
