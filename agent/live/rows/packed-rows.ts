/**
 * The rows of one live query, packed: texts as bytes (`text-store.ts`), all else as integers (`int-table.ts`), so that
 * a row takes 50 to 110 bytes beside its texts, and many rows are nothing to the garbage collector.
 *
 * A row has a place, which it keeps until it is removed. Rows are found by their identity, and those of a join by
 * each of the keys that it is made of.
 *
 * @module
 */

import { IntTable } from "./int-table.ts";
import type { KeyHolders } from "./key-holders.ts";
import { keySeparator, textHash } from "./key-text.ts";
import { LinkedBuckets, none } from "./linked-buckets.ts";
import type { HeldRow } from "./row.ts";
import { RowsSnapshot } from "./rows-snapshot.ts";
import { type TextPlace, TextStore } from "./text-store.ts";

/** Of a keyed query: whom it tells which keys it holds. */
export interface Holding {
  /** One for each table. */
  readonly holders: readonly KeyHolders[];
  readonly member: number;
}

/** Fields of a row: where its texts stand, its id, its identity's hash and list. */
const chunk = 0;
const at = 1;
const rowIdLow = 2;
const rowIdHigh = 3;
const identityList = 4;
const fieldsOfRow = 7;
/** And for each table of a keyed query the holder; of a join the key's hash and list, too. */
const fieldsOfKey = 4;

/** A place without a row. */
const nowhere = -1;
/** Of fewer nothing is gained by taking less. */
const shrinkMin = 64;

export class PackedRows {
  readonly #holding: Holding | undefined;
  readonly #isJoin: boolean;
  #table: IntTable;
  #texts: TextStore;
  #byIdentity: LinkedBuckets;
  /** Of a join, one for each table. */
  #byKey: LinkedBuckets[] = [];
  #count = 0;
  #epoch = 0;

  constructor(holding: Holding | undefined) {
    this.#holding = holding;
    this.#isJoin = (holding?.holders.length ?? 0) > 1;
    [this.#table, this.#texts, this.#byIdentity] = this.#begin();
  }

  get count(): number {
    return this.#count;
  }

  /** What they take in memory. */
  get bytes(): number {
    let bytes = this.#table.bytes + this.#texts.bytes + this.#byIdentity.bytes;
    for (const keys of this.#byKey) bytes += keys.bytes;
    return bytes;
  }

  /** While it stays the same, so do places. */
  get epoch(): number {
    return this.#epoch;
  }

  /** All places are lower. */
  get placesEnd(): number {
    return this.#table.end;
  }

  isRow(place: number): boolean {
    return this.#table.get(place, chunk) !== nowhere;
  }

  /** Places, in no order. Nothing may be added or removed meanwhile. */
  *places(): IterableIterator<number> {
    for (let place = 0; place < this.#table.end; place++) if (this.isRow(place)) yield place;
  }

  rowAt(place: number): HeldRow {
    const { first, second } = this.#texts.read(this.#textPlace(place));
    return { identity: first, row: { rowId: this.rowIdAt(place), cells: second } };
  }

  identityAt(place: number): string {
    return this.#texts.readFirst(this.#textPlace(place));
  }

  rowIdAt(place: number): number {
    const low = this.#table.get(place, rowIdLow) >>> 0;
    return low + this.#table.get(place, rowIdHigh) * 2 ** 32;
  }

  /** Rows of one identity. */
  *of(identity: string): IterableIterator<number> {
    const rows = this.#byIdentity;
    for (let row = rows.first(textHash(identity)); row !== none; row = rows.after(row)) {
      if (this.identityAt(row) === identity) yield row;
    }
  }

  /** The row of that identity and id; undefined when there is none. @param place where it may be */
  find(identity: string, rowId: number, place = nowhere): number | undefined {
    const isThere = place >= 0 && place < this.placesEnd && this.isRow(place);
    if (isThere && this.rowIdAt(place) === rowId) return place;
    const rows = this.#byIdentity;
    for (let row = rows.first(textHash(identity)); row !== none; row = rows.after(row)) {
      if (this.rowIdAt(row) === rowId) return row;
    }
    return undefined;
  }

  /** Identities in which the key of one of a keyed query's tables stands. */
  *identitiesOf(table: number, key: string): IterableIterator<string> {
    if (!this.#isJoin) {
      // Of one table the key is the identity, of one row.
      for (const _ of this.of(key)) yield key;
      return;
    }
    const rows = this.#byKey[table] as LinkedBuckets;
    const hash = textHash(key);
    for (let row = rows.first(hash); row !== none; row = rows.after(row)) {
      const identity = this.identityAt(row);
      if (isOfKey(identity, table, key)) yield identity;
    }
  }

  add({ identity, row: { rowId, cells } }: HeldRow): void {
    const place = this.#table.take();
    this.#count++;
    this.#setRowId(place, rowId);
    // Where it stands now is nowhere: nothing that moves may take it for another's.
    this.#table.set(place, chunk, nowhere);
    this.#texts.write(place, identity, cells);
    const hash = textHash(identity);
    if (this.#holding !== undefined) this.#addKeys(place, identity, hash, this.#holding);
    this.#byIdentity.add(place, hash);
  }

  /** Its cells are others; all else is the same. */
  update(place: number, identity: string, cells: string): void {
    this.#dropTexts(place);
    this.#texts.write(place, identity, cells);
  }

  remove(place: number): void {
    if (this.#holding !== undefined) this.#removeKeys(place, this.#holding);
    this.#byIdentity.remove(place);
    this.#dropTexts(place);
    this.#table.give(place);
    this.#count--;
  }

  /** After removing, when no place is needed any more: gives back what is mostly empty. */
  trim(): void {
    if (this.#table.end > shrinkMin && this.#count * 8 < this.#table.end) this.#shrink();
  }

  /** It holds no keys any more. Then nothing may be added or removed. */
  release(): void {
    for (const [i, holders] of (this.#holding?.holders ?? []).entries()) {
      const field = fieldsOfRow + i * fieldsOfKey;
      for (const place of this.places()) {
        const holder = this.#table.get(place, field);
        // Rows with one key have one holder.
        if (!holders.isFree(holder)) holders.remove(holder);
      }
    }
  }

  /** Rows as they are now, by row id: to be read while they become others. */
  snapshot(): RowsSnapshot {
    const { segments, fields } = this.#table;
    const ids = new Float64Array(this.#count);
    const where = new Int32Array(this.#count * 2);
    let count = 0;
    // Of a large result this is one turn's work: 100,000 rows take a millisecond.
    for (const [i, segment] of segments.entries()) {
      const end = this.#table.entriesIn(i) * fields;
      for (let field = 0; field < end; field += fields) {
        if (segment[field + chunk] === nowhere) continue;
        const low = (segment[field + rowIdLow] as number) >>> 0;
        ids[count] = low + (segment[field + rowIdHigh] as number) * 2 ** 32;
        where[count * 2] = segment[field + chunk] as number;
        where[count * 2 + 1] = segment[field + at] as number;
        count++;
      }
    }
    return new RowsSnapshot(this.#texts.chunks(), ids, where);
  }

  #begin(): [IntTable, TextStore, LinkedBuckets] {
    const holders = this.#holding?.holders ?? [];
    const table = new IntTable(fieldsOfRow + holders.length * (this.#isJoin ? fieldsOfKey : 1));
    const texts = new TextStore(
      (place) => ({ chunk: table.get(place, chunk), at: table.get(place, at) }),
      (place, inChunk, from) => {
        table.set(place, chunk, inChunk);
        table.set(place, at, from);
      },
    );
    this.#byKey = this.#isJoin
      ? holders.map((_, i) => new LinkedBuckets(table, fieldsOfRow + i * fieldsOfKey + 1))
      : [];
    return [table, texts, new LinkedBuckets(table, identityList)];
  }

  /** Most of it is empty. */
  #shrink(): void {
    // Of equal rows the first ones are found first, and go first.
    const rows = [...this.places()].map((place) => this.rowAt(place)).reverse();
    this.release();
    this.#count = 0;
    this.#epoch++;
    [this.#table, this.#texts, this.#byIdentity] = this.#begin();
    for (const row of rows) this.add(row);
  }

  #textPlace(place: number): TextPlace {
    return { chunk: this.#table.get(place, chunk), at: this.#table.get(place, at) };
  }

  #dropTexts(place: number): void {
    const before = this.#textPlace(place);
    this.#table.set(place, chunk, nowhere);
    this.#texts.drop(before);
  }

  #setRowId(place: number, rowId: number): void {
    this.#table.set(place, rowIdLow, rowId | 0);
    this.#table.set(place, rowIdHigh, Math.floor(rowId / 2 ** 32));
  }

  // ---- Keys -------------------------------------------------------------------------------------

  #addKeys(place: number, identity: string, hash: number, { holders, member }: Holding): void {
    if (!this.#isJoin) {
      // No two rows have one key.
      this.#table.set(place, fieldsOfRow, (holders[0] as KeyHolders).add(hash, member));
      return;
    }
    for (const [i, key] of identity.split(keySeparator).entries()) {
      const keyHash = textHash(key);
      const same = this.#rowOfKey(i, key, keyHash);
      const field = fieldsOfRow + i * fieldsOfKey;
      const holder =
        same === undefined
          ? (holders[i] as KeyHolders).add(keyHash, member)
          : this.#table.get(same, field);
      this.#table.set(place, field, holder);
      (this.#byKey[i] as LinkedBuckets).add(place, keyHash);
    }
  }

  #removeKeys(place: number, { holders }: Holding): void {
    if (!this.#isJoin) {
      (holders[0] as KeyHolders).remove(this.#table.get(place, fieldsOfRow));
      return;
    }
    const keys = this.rowAt(place).identity.split(keySeparator);
    for (const [i, key] of keys.entries()) {
      const rows = this.#byKey[i] as LinkedBuckets;
      const field = fieldsOfRow + i * fieldsOfKey;
      const keyHash = this.#table.get(place, field + 1);
      rows.remove(place);
      const same = this.#rowOfKey(i, key, keyHash);
      if (same === undefined) (holders[i] as KeyHolders).remove(this.#table.get(place, field));
    }
  }

  /** Another row of the key; undefined: there is none. */
  #rowOfKey(table: number, key: string, hash: number): number | undefined {
    const rows = this.#byKey[table] as LinkedBuckets;
    for (let row = rows.first(hash); row !== none; row = rows.after(row)) {
      if (isOfKey(this.identityAt(row), table, key)) return row;
    }
    return undefined;
  }
}

/** Whether a join's row is of that key of one of its tables. */
function isOfKey(identity: string, table: number, key: string): boolean {
  return identity.split(keySeparator)[table] === key;
}
