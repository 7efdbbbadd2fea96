/**
 * What a local transaction touches of one table WITHOUT ROWID: its keys, with what their rows were at the
 * first touch.
 *
 * @module
 */

import { bytesToHex } from "../../bytes/hex.ts";
import type { Preupdate } from "../../database.ts";
import { canonicalKeyValue, encodeKey } from "../../row/key.ts";
import type { SqlValue } from "../../row/value.ts";
import type { StoredTable } from "../tables/stored-table.ts";
import { joinNames, type Touched } from "./touched.ts";

export class KeyNotes {
  readonly table: StoredTable;
  /** By the key, or by its bytes. */
  readonly #touched = new Map<SqlValue, Touched>();
  #hasLongKey = false;
  /** What the statement that runs names, of the columns that the urgent rule reads; undefined: none of them. */
  named: readonly string[] | undefined;

  constructor(table: StoredTable) {
    this.table = table;
  }

  /** Never as `RowNotes` has it. */
  readonly isPlain = false;

  get size(): number {
    return this.#touched.size;
  }

  clear(): void {
    this.#touched.clear();
    this.#hasLongKey = false;
  }

  /** The keys that were touched, with the rows that they have now. A key was too long to be one: undefined. */
  touched(): Touched[] | undefined {
    if (this.#hasLongKey) return undefined;
    const all = [...this.#touched.values()];
    for (const touched of all) touched.row = this.table.readByKey(touched.key);
    return all;
  }

  /** Notes one change of one row, before it happens. */
  note(change: Preupdate): void {
    switch (change.operation) {
      case "insert": {
        const touched = this.#touch(change, false);
        if (touched !== undefined) touched.source = undefined;
        return;
      }
      case "delete": {
        const touched = this.#touch(change, true);
        if (touched !== undefined) touched.source = undefined;
        return;
      }
      case "update": {
        const old = this.#touch(change, true);
        if (old === undefined) return;
        const named = joinNames(old.named, this.named);
        if (isSameKey(this.table, change)) {
          old.named = named;
          return;
        }
        const moved = this.#touch(change, false);
        if (moved === undefined) return;
        moved.source = old.source;
        moved.named = named;
        old.source = undefined;
        old.named = undefined;
      }
    }
  }

  /** The entry of the old or the new key of a change, made at the first touch. */
  #touch(change: Preupdate, isOld: boolean): Touched | undefined {
    const { table } = this;
    const key = readKey(table, change, isOld);
    const [only] = key;
    // Most keys are one text or one small integer, which name themselves.
    const isPlain = key.length === 1 && (typeof only === "string" || typeof only === "number");
    let keyBytes: Uint8Array | undefined;
    let name: SqlValue;
    if (isPlain) name = only as SqlValue;
    else {
      keyBytes = encodeKey(key);
      // A bigint is no key of the plain kind, so the two kinds of names can't meet.
      name = keyBytes === undefined ? 0n : BigInt(`0x1${bytesToHex(keyBytes)}`);
    }
    const known = this.#touched.get(name);
    if (known !== undefined) return known;
    keyBytes ??= encodeKey(key);
    if (keyBytes === undefined) {
      this.#hasLongKey = true;
      return undefined;
    }
    const touched: Touched = {
      table,
      key,
      keyBytes,
      before: isOld ? table.valuePositions.map((position) => change.old(position)) : undefined,
      rowidBefore: undefined,
      row: undefined,
      source: undefined,
      named: undefined,
      clocks: undefined,
    };
    if (isOld) touched.source = touched;
    this.#touched.set(name, touched);
    return touched;
  }
}

function readKey(table: StoredTable, change: Preupdate, isOld: boolean): SqlValue[] {
  return table.keyPositions.map((position) =>
    canonicalKeyValue(isOld ? change.old(position) : change.new(position)),
  );
}

/** Whether an update leaves the primary key as it is. */
function isSameKey(table: StoredTable, change: Preupdate): boolean {
  return table.keyPositions.every((position) => {
    const old = canonicalKeyValue(change.old(position));
    const now = canonicalKeyValue(change.new(position));
    if (old === now) return true;
    if (typeof old !== "object" || typeof now !== "object") return false;
    const [oldBytes, newBytes] = [encodeKey([old]), encodeKey([now])];
    if (oldBytes === undefined || newBytes === undefined) return false;
    return bytesToHex(oldBytes) === bytesToHex(newBytes);
  });
}
