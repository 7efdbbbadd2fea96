/**
 * What a local transaction touches of one table whose rows have rowids.
 *
 * Rows are noted by rowid, which the preupdate hook has at hand: no key is read while statements run. Of a
 * row that was there when the transaction began its values are kept, as bytes, when it is touched first. Which
 * keys that comes to is found out at the commit, when the rows are read anyway ({@link RowNotes.touched}).
 *
 * Nearly all transactions are *plain*: rows came, and rows that were there were updated in their place.
 * `quick-commit.ts` takes those as they are noted.
 *
 * What a savepoint or a failing statement took back may be noted as if it had happened. That does no harm: a
 * row that isn't found where it is noted is none. What such a statement named stays named, though: whoever lets
 * one fail and commits the rest (no client can) may stamp a cell anew that was only said in vain.
 *
 * @module
 */

import { assert } from "../../assert.ts";
import { bytesToHex } from "../../bytes/hex.ts";
import { ByteReader } from "../../bytes/reader.ts";
import type { Preupdate, Rowid } from "../../database.ts";
import { canonicalKeyValue, encodeKey } from "../../row/key.ts";
import { readValue, type SqlValue } from "../../row/value.ts";
import type { StoredTable } from "../tables/stored-table.ts";
import { NotedColumns } from "./noted-columns.ts";
import { joinNames, type Touched } from "./touched.ts";

export class RowNotes {
  readonly table: StoredTable;
  /** Rows that were there, by rowid: the place in {@link noted} of their columns, as of `StoredTable.notedPositions`. */
  readonly first: Map<Rowid, number> = new Map();
  readonly noted: NotedColumns = new NotedColumns();
  /** Rowids to which a row came, but for those of the run. Those of {@link first} are among them if another row left them. */
  readonly #arrived = new Set<Rowid>();
  /** The rowids to which rows came last, one after the other: nearly always those of all rows that came. */
  #runFirst = 0;
  #runLast = -1;
  /** Of rowids that aren't held by the row that was there at first: whose row it is; undefined: a new one. */
  readonly #owners = new Map<Rowid, Rowid | undefined>();
  #isPlain = true;
  /** What the statement that runs names, of the columns that the urgent rule reads; undefined: none of them. */
  named: readonly string[] | undefined;
  /** What statements named so of rows that they updated, by rowid. */
  readonly #named = new Map<Rowid, readonly string[]>();

  constructor(table: StoredTable) {
    this.table = table;
  }

  /** No row left its rowid. */
  get isPlain(): boolean {
    return this.#isPlain;
  }

  get size(): number {
    return this.first.size + this.#arrived.size + this.#runLength;
  }

  clear(): void {
    // Clearing what is empty takes as long as noting a row.
    if (this.first.size > 0) {
      this.first.clear();
      this.noted.clear();
    }
    if (this.#arrived.size > 0) this.#arrived.clear();
    this.#runFirst = 0;
    this.#runLast = -1;
    if (this.#named.size > 0) this.#named.clear();
    if (this.#isPlain) return;
    this.#owners.clear();
    this.#isPlain = true;
  }

  /** Notes one change of one row, before it happens. */
  note(change: Preupdate): void {
    const { oldRowid, newRowid } = change;
    switch (change.operation) {
      case "insert":
        this.#arrive(newRowid, undefined);
        return;
      case "delete":
        this.#noteFirst(change);
        this.#leave(oldRowid);
        return;
      case "update": {
        this.#noteFirst(change);
        if (oldRowid === newRowid) {
          if (this.named !== undefined) this.#name(newRowid, this.namedAt(oldRowid));
          return;
        }
        const owner = this.#ownerOf(oldRowid);
        const named = this.namedAt(oldRowid);
        this.#leave(oldRowid);
        this.#arrive(newRowid, owner);
        this.#name(newRowid, named);
      }
    }
  }

  /** Notes that rows came at the `count` rowids behind that of the insert that was noted last. */
  follow(count: number): void {
    const last = this.#runLast + count;
    if (this.#isPlain) this.#runLast = last;
    else while (this.#runLast < last) this.#arrive(this.#runLast + 1, undefined);
  }

  #noteFirst(change: Preupdate): void {
    const { oldRowid } = change;
    // A row that came in this transaction wasn't there.
    if (this.first.has(oldRowid)) return;
    if (this.#hasArrived(oldRowid)) return;
    const place = this.noted.begin();
    change.writeOld(this.table.notedPositions, this.noted.writer);
    this.first.set(oldRowid, place);
  }

  #arrive(rowid: Rowid, owner: Rowid | undefined): void {
    if (typeof rowid === "bigint") this.#arrived.add(rowid);
    else if (this.#runLength > 0 && rowid - 1 === this.#runLast) this.#runLast = rowid;
    else {
      this.#endRun();
      this.#runFirst = rowid;
      this.#runLast = rowid;
    }
    if (!this.#isPlain) this.#owners.set(rowid, owner);
  }

  get #runLength(): number {
    return this.#runLast - this.#runFirst + 1;
  }

  #endRun(): void {
    for (let rowid = this.#runFirst; rowid <= this.#runLast; rowid++) this.#arrived.add(rowid);
    this.#runFirst = 0;
    this.#runLast = -1;
  }

  #hasArrived(rowid: Rowid): boolean {
    if (rowid >= this.#runFirst && rowid <= this.#runLast) return true;
    return this.#arrived.size > 0 && this.#arrived.has(rowid);
  }

  /** Calls `each` with the first and the last of each run of rowids to which rows came, as long as it returns true. */
  eachRun(each: (first: Rowid, last: Rowid) => boolean): boolean {
    // After what a savepoint took back, some may have come more than once.
    if (this.#arrived.size > 0) this.#endRun();
    else return this.#runLength === 0 || each(this.#runFirst, this.#runLast);
    let first: Rowid | undefined;
    let last: Rowid = 0;
    for (const rowid of this.#arrived) {
      if (first !== undefined && typeof rowid === "number" && rowid - 1 === last) {
        last = rowid;
        continue;
      }
      if (first !== undefined && !each(first, last)) return false;
      first = rowid;
      last = rowid;
    }
    return first === undefined || each(first, last);
  }

  #name(rowid: Rowid, before: readonly string[] | undefined): void {
    const named = joinNames(before, this.named);
    if (named !== undefined) this.#named.set(rowid, named);
  }

  /** What statements have named of a row that they updated, of the columns that count when they are said again. */
  namedAt(rowid: Rowid): readonly string[] | undefined {
    return this.#named.size === 0 ? undefined : this.#named.get(rowid);
  }

  #leave(rowid: Rowid): void {
    this.#isPlain = false;
    if (this.#named.size > 0) this.#named.delete(rowid);
    this.#owners.set(rowid, undefined);
  }

  /** Whose row, of those that were there at first, stands at a rowid. */
  #ownerOf(rowid: Rowid): Rowid | undefined {
    if (this.#owners.has(rowid)) return this.#owners.get(rowid);
    return this.first.has(rowid) ? rowid : undefined;
  }

  /**
   * The keys that were touched, with the rows that they have now; those that had one at first come first. A
   * key that is too long to be one: undefined.
   */
  touched(): Touched[] | undefined {
    const { table, first } = this;
    const byKey = new Map<string, Touched>();
    const byFirst = new Map<Rowid, Touched>();
    for (const [rowid, place] of first) {
      const { key, values } = decodeNoted(table, rowid, this.noted, place);
      const keyBytes = encodeKey(key);
      if (keyBytes === undefined) return undefined;
      const touched: Touched = {
        ...{ table, key, keyBytes, before: values, rowidBefore: rowid },
        ...{ row: undefined, source: undefined, named: undefined, clocks: undefined },
      };
      byKey.set(bytesToHex(keyBytes), touched);
      byFirst.set(rowid, touched);
    }
    this.#endRun();
    for (const rowid of new Set([...first.keys(), ...this.#arrived])) {
      const row = table.readByRowid(rowid);
      if (row === undefined) continue;
      const key = row.key.map(canonicalKeyValue);
      const keyBytes = encodeKey(key);
      if (keyBytes === undefined) return undefined;
      const name = bytesToHex(keyBytes);
      let touched = byKey.get(name);
      if (touched === undefined) {
        touched = {
          ...{ table, key, keyBytes, before: undefined, rowidBefore: undefined },
          ...{ row, source: undefined, named: undefined, clocks: undefined },
        };
        byKey.set(name, touched);
      }
      touched.row = row;
      const owner = this.#ownerOf(rowid);
      touched.source = owner === undefined ? undefined : byFirst.get(owner);
      touched.named = this.namedAt(rowid);
    }
    return [...byKey.values()];
  }
}

function decodeNoted(
  table: StoredTable,
  rowid: Rowid,
  noted: NotedColumns,
  place: number,
): { readonly key: SqlValue[]; readonly values: SqlValue[] } {
  const reader = new ByteReader(noted.bytesAt(place), noted.startOf(place));
  const values: SqlValue[] = [];
  for (const index of table.valuesByName) values[index] = readValue(reader, "noted value");
  const key: SqlValue[] = [];
  if (table.plan.rowidAlias) key.push(rowid);
  else {
    for (const _ of table.keyPositions) {
      key.push(canonicalKeyValue(readValue(reader, "noted key")));
    }
  }
  assert(reader.ok, "noted columns are well-formed");
  return { key, values };
}
