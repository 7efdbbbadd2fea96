/**
 * A connection's callbacks: what SQLite tells by words and addresses, told in the project's terms.
 *
 * Apart from `Database`, so that what SQLite calls isn't among the methods that others call.
 *
 * @module
 */

import type { ByteWriter } from "../core/bytes/writer.ts";
import type { Preupdate, PreupdateListener } from "../core/database.ts";
import { type SqlValue, writeValue } from "../core/row/value.ts";
import { SQLITE_DELETE, SQLITE_INSERT, SQLITE_OK } from "./constants.ts";
import { errorOf } from "./error.ts";
import type { HookTarget } from "./hooks.ts";
import type { InsertRun } from "./insert-runs.ts";
import type { SqliteModule } from "./module.ts";
import { readValuesMax } from "./row-reads.ts";
import { readValueAt } from "./value.ts";

/** Action code, its two arguments, database, innermost trigger or view. Answers OK, DENY, IGNORE. */
export type Authorizer = (
  action: number,
  first: string | null,
  second: string | null,
  database: string | null,
  trigger: string | null,
) => number;

/** The listeners of one connection, null where there is none. */
export class ConnectionHooks implements HookTarget {
  onPreupdate: PreupdateListener | null = null;
  onCommit: (() => boolean) | null = null;
  onRollback: (() => void) | null = null;
  onAuthorize: Authorizer | null = null;
  onProgress: (() => boolean) | null = null;
  readonly #module: SqliteModule;
  readonly #pointer: number;
  readonly #change: PreupdateCall;
  readonly #onFailure: (thrown: unknown) => void;
  /** Of inserts that the listener isn't told of one by one. */
  run: InsertRun | undefined;
  /** A preupdate listener threw: the transaction must not commit. Until it is rolled back. */
  #failed = false;

  constructor(module: SqliteModule, pointer: number, onFailure: (thrown: unknown) => void) {
    this.#module = module;
    this.#pointer = pointer;
    this.#change = new PreupdateCall(module, pointer);
    this.#onFailure = onFailure;
  }

  preupdate(
    operation: number,
    _zDatabase: number,
    zTable: number,
    oldLow: number,
    oldHigh: number,
    newLow: number,
    newHigh: number,
  ): void {
    if (this.#failed) return;
    const change = this.#change;
    change.followers = this.takeFollowers();
    change.operation =
      operation === SQLITE_INSERT ? "insert" : operation === SQLITE_DELETE ? "delete" : "update";
    change.table = this.#module.heap.cachedText(zTable);
    change.oldRowid = fromWords(oldLow, oldHigh);
    change.newRowid = fromWords(newLow, newHigh);
    try {
      const mayCount = this.onPreupdate?.(change) === true;
      if (mayCount && operation === SQLITE_INSERT) this.run?.begin(zTable, change.newRowid);
    } catch (thrown) {
      // This hook can't say no. The interrupt stops the statement at its next row, if it has one;
      // the commit hook stops the transaction.
      this.#failed = true;
      this.#module.exports.sqlite3_interrupt(this.#pointer);
      throw thrown;
    }
  }

  takeFollowers(): number {
    return this.run?.end() ?? 0;
  }

  authorize(action: number, z1: number, z2: number, zDatabase: number, zTrigger: number): number {
    const text = (pointer: number) => (pointer === 0 ? null : this.#module.heap.cString(pointer));
    return (
      this.onAuthorize?.(action, text(z1), text(z2), text(zDatabase), text(zTrigger)) ?? SQLITE_OK
    );
  }

  progress(): boolean {
    return this.onProgress?.() ?? false;
  }

  commit(): boolean {
    return !this.#failed && (this.onCommit?.() ?? true);
  }

  rollback(): void {
    this.#failed = false;
    this.onRollback?.();
  }

  fail(thrown: unknown): void {
    this.#onFailure(thrown);
  }
}

class PreupdateCall implements Preupdate {
  operation: "insert" | "update" | "delete" = "insert";
  table = "";
  oldRowid: number | bigint = 0;
  newRowid: number | bigint = 0;
  followers = 0;
  readonly #module: SqliteModule;
  readonly #pointer: number;

  constructor(module: SqliteModule, pointer: number) {
    this.#module = module;
    this.#pointer = pointer;
  }

  get columnCount(): number {
    return this.#module.exports.sqlite3_preupdate_count(this.#pointer);
  }

  old(column: number): SqlValue {
    const { exports, scratch } = this.#module;
    return this.#read(exports.sqlite3_preupdate_old(this.#pointer, column, scratch));
  }

  new(column: number): SqlValue {
    const { exports, scratch } = this.#module;
    return this.#read(exports.sqlite3_preupdate_new(this.#pointer, column, scratch));
  }

  writeOld(columns: readonly number[], writer: ByteWriter): void {
    const { heap, rowReads, read, scratch } = this.#module;
    const count = columns.length;
    let end = 0;
    if (count <= readValuesMax) {
      const { numbers, values, limit } = read;
      const { i32 } = heap;
      for (let i = 0; i < count; i++) i32[(numbers >> 2) + i] = columns[i] as number;
      end = rowReads.oldValues(this.#pointer, numbers, count, values, limit, scratch);
      if (end < 0) throw errorOf(this.#module, this.#pointer, -end);
    }
    if (end > 0) writer.copy(heap.u8, read.values, end);
    else for (const column of columns) writeValue(writer, this.old(column));
  }

  #read(code: number): SqlValue {
    return readValueAt(this.#module, this.#valueAt(code));
  }

  /** Address of the value that was asked for. */
  #valueAt(code: number): number {
    if (code !== SQLITE_OK) throw errorOf(this.#module, this.#pointer, code);
    const { heap, scratch } = this.#module;
    return heap.i32[scratch >> 2] as number;
  }
}

/** An int64 from its words: a number if it is safe. */
function fromWords(low: number, high: number): number | bigint {
  const value = high * 4_294_967_296 + (low >>> 0);
  // |high| < 2**21 makes it safe, all of -2**53 .. 2**53 - 1 but the first.
  if (Number.isSafeInteger(value)) return value;
  return (BigInt(high) << 32n) | BigInt(low >>> 0);
}
