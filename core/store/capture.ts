/**
 * Capture: what a local transaction touches, noted as it happens by SQLite's preupdate hook.
 *
 * A *touched* key keeps what its row was when the transaction began: it is noted at the first touch,
 * and at the first touch nothing has changed yet. What became of the row is read from the table at the
 * commit. So what a savepoint rolled back, an aborted statement and REPLACE did in between leaves no
 * trace: only the net difference counts.
 *
 * A change of the primary key is a delete and an insert. For the sake of cells that are held and not
 * shown, which no column can carry over, the new key remembers whose row it got.
 *
 * @module
 */

import { bytesToHex } from "../bytes/hex.ts";
import { canonicalKeyValue, encodeKey } from "../row/key.ts";
import type { SqlValue } from "../row/value.ts";
import type { Preupdate } from "./database.ts";
import type { HeldRow } from "./held-row.ts";
import type { StoredTable } from "./stored-table.ts";

export interface Touched {
  readonly table: StoredTable;
  /** Canonical. */
  readonly key: readonly SqlValue[];
  readonly keyBytes: Uint8Array;
  /** Values when the transaction began, in the order of `valueColumns`; undefined: there was no row. */
  readonly before: readonly SqlValue[] | undefined;
  /** Rowid when the transaction began, of a row that was there; undefined for WITHOUT ROWID. */
  readonly rowidBefore: number | bigint | undefined;
  /** Where the row was last seen; undefined when it was last seen leaving. */
  rowid: number | bigint | undefined;
  /** The touched key whose row, of those that were there at first, this one has now. */
  source: Touched | undefined;
  /** Clocks before the transaction, once they were read: null when there are none. */
  clocks: HeldRow | null | undefined;
}

/**
 * Keys that a transaction may touch, most of which may come to nothing. Bounds memory: a statement that
 * goes on for ever is stopped here, and not only at the commit.
 */
export const touchedMax = 400_000;

export class Journal {
  readonly #tables: ReadonlyMap<string, StoredTable>;
  readonly #touched = new Map<StoredTable, Map<SqlValue, Touched>>();
  #size = 0;
  #problem = "";

  /** @param tables Replicated ones, by the name that SQLite shows. */
  constructor(tables: ReadonlyMap<string, StoredTable>) {
    this.#tables = tables;
  }

  /** Keys touched. */
  get size(): number {
    return this.#size;
  }

  /** Why the transaction can't be committed; "" when it can. */
  get problem(): string {
    return this.#problem;
  }

  *touched(): IterableIterator<Touched> {
    for (const keys of this.#touched.values()) yield* keys.values();
  }

  clear(): void {
    this.#touched.clear();
    this.#size = 0;
    this.#problem = "";
  }

  /** Notes one change of one row, before it happens. */
  note(change: Preupdate): void {
    const table = this.#tables.get(change.table);
    if (table === undefined) return;
    switch (change.operation) {
      case "insert": {
        const touched = this.#touch(table, change, false);
        if (touched === undefined) return;
        touched.rowid = change.newRowid;
        touched.source = undefined;
        return;
      }
      case "delete": {
        const touched = this.#touch(table, change, true);
        if (touched === undefined) return;
        touched.rowid = undefined;
        touched.source = undefined;
        return;
      }
      case "update": {
        const old = this.#touch(table, change, true);
        if (old === undefined) return;
        if (isSameKey(table, change)) {
          old.rowid = change.newRowid;
          return;
        }
        const moved = this.#touch(table, change, false);
        if (moved === undefined) return;
        moved.rowid = change.newRowid;
        moved.source = old.source;
        old.rowid = undefined;
        old.source = undefined;
      }
    }
  }

  /** The entry of the old or the new key of a change, made at the first touch. */
  #touch(table: StoredTable, change: Preupdate, isOld: boolean): Touched | undefined {
    const key = readKey(table, change, isOld);
    let keys = this.#touched.get(table);
    if (keys === undefined) {
      keys = new Map();
      this.#touched.set(table, keys);
    }
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
    const known = keys.get(name);
    if (known !== undefined) return known;
    keyBytes ??= encodeKey(key);
    if (keyBytes === undefined) {
      this.#problem = `table ${table.name}: a primary key is over 64 KB`;
      return undefined;
    }
    const hasRowid = !table.plan.withoutRowid;
    const touched: Touched = {
      table,
      key,
      keyBytes,
      before: isOld ? table.valuePositions.map((position) => change.old(position)) : undefined,
      rowidBefore: isOld && hasRowid ? change.oldRowid : undefined,
      rowid: undefined,
      source: undefined,
      clocks: undefined,
    };
    if (isOld) touched.source = touched;
    keys.set(name, touched);
    this.#size++;
    // Thrown to SQLite, whose transaction can then only be rolled back.
    if (this.#size > touchedMax) {
      throw new Error(`a transaction may touch ${touchedMax} rows: split it`);
    }
    return touched;
  }
}

function readKey(table: StoredTable, change: Preupdate, isOld: boolean): SqlValue[] {
  if (table.plan.rowidAlias) return [isOld ? change.oldRowid : change.newRowid];
  return table.keyPositions.map((position) =>
    canonicalKeyValue(isOld ? change.old(position) : change.new(position)),
  );
}

/** Whether an update leaves the primary key as it is. */
function isSameKey(table: StoredTable, change: Preupdate): boolean {
  if (table.plan.rowidAlias) return change.oldRowid === change.newRowid;
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
