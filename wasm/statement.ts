/**
 * A prepared statement: parameters in, rows out, straight over the raw exports.
 *
 * Bound TEXT and BLOB live in memory of the statement's own, one slot a parameter, and SQLite is
 * told that they stay there (SQLITE_STATIC), so that a value is copied once. A slot is only written
 * while the statement is at rest, which `bind` asserts: SQLite would refuse to bind, but only after
 * the bytes under the running statement had changed.
 *
 * @module
 */

import type { ByteWriter } from "../core/bytes/writer.ts";
import type { SqlStatement } from "../core/database.ts";
import { RawText, Real, type SqlValue, valueTags } from "../core/row/value.ts";
import {
  SQLITE_BLOB,
  SQLITE_DONE,
  SQLITE_FLOAT,
  SQLITE_INTEGER,
  SQLITE_OK,
  SQLITE_ROW,
  SQLITE_TEXT,
} from "./constants.ts";
import type { SqliteError } from "./error.ts";
import type { SqliteModule } from "./module.ts";
import type { SqliteCalls, SqliteExports } from "./running-sqlite.ts";
import { writeBytes } from "./value.ts";

/** What a statement needs of its database. */
export interface StatementOwner {
  readonly module: SqliteModule;
  /** Builds the error for a result code, with the message that SQLite has for it. */
  error(code: number, sql?: string): SqliteError;
  /** Throws what a callback threw during the call that just ended. */
  throwCallbackFailure(sql: string): void;
  /** Whether a callback threw. */
  readonly hasCallbackFailure: boolean;
  forget(statement: Statement): void;
}

const SQLITE_STATIC = 0;
const SQLITE_TRANSIENT = -1;
/** Larger values go through a temporary copy: a statement keeps no more than this a parameter. */
const slotBytesMax = 64 * 1024;
const slotBytesMin = 64;

export class Statement implements SqlStatement, Disposable {
  /** The text of this statement alone. */
  readonly sql: string;
  /** What followed it in the text it was prepared from, trimmed; "" when there was nothing. */
  readonly tail: string;
  readonly parameterCount: number;
  readonly #owner: StatementOwner;
  readonly #module: SqliteModule;
  readonly #exports: SqliteExports;
  readonly #calls: SqliteCalls;
  #pointer: number;
  #running = false;
  /** Address and room of each parameter's slot, by index - 1; 0 until it is needed. */
  readonly #slots: number[];
  readonly #slotBytes: number[];
  #slotBytesSum = 0;
  #hasLargeValue = false;
  #columnCount: number;
  #columnNames: string[] | null = null;

  /** Made by `Database.prepare`. */
  constructor(owner: StatementOwner, pointer: number, sql: string, tail: string) {
    this.#owner = owner;
    this.#module = owner.module;
    this.#exports = owner.module.exports;
    this.#calls = owner.module.calls;
    this.#pointer = pointer;
    this.sql = sql;
    this.tail = tail;
    this.#columnCount = this.#exports.sqlite3_column_count(pointer);
    this.parameterCount = this.#exports.sqlite3_bind_parameter_count(pointer);
    this.#slots = new Array(this.parameterCount).fill(0);
    this.#slotBytes = new Array(this.parameterCount).fill(0);
  }

  /**
   * Columns of its rows; 0 for a statement that returns none. Where `*` has become more or fewer since, {@link all} and
   * {@link get} find out; who steps by itself prepares anew after the schema changed.
   */
  get columnCount(): number {
    return this.#columnCount;
  }

  /** Of all statements of its module: how often SQLite has asked what time it is. */
  get clockReads(): number {
    return this.#module.vfs.clockReads;
  }

  /** Binds a value to parameter `index1`, counted from 1. It stays until it is bound anew. */
  bind(index1: number, value: SqlValue): this {
    if (typeof value === "number") this.bindInteger(index1, value);
    else if (typeof value === "string") this.bindText(index1, value);
    else if (value === null) this.bindNull(index1);
    else if (value instanceof Real) this.bindReal(index1, value.real);
    else if (value instanceof Uint8Array) this.bindBlob(index1, value);
    else if (typeof value === "bigint") this.bindInteger(index1, value);
    else if (value instanceof RawText) this.bindTextBytes(index1, value.bytes);
    else throw new TypeError(`parameter ${index1}: not a value of SQL: ${typeof value}`);
    return this;
  }

  /** Binds `values[0]` to parameter 1 and so on: exactly as many as there are parameters. */
  bindAll(values: readonly SqlValue[]): this {
    if (values.length !== this.parameterCount) {
      throw new RangeError(
        `${this.parameterCount} parameters wanted, ${values.length} given: ${this.sql}`,
      );
    }
    for (let at = 0; at < values.length; at++) this.bind(at + 1, values[at] as SqlValue);
    return this;
  }

  bindNull(index1: number): void {
    this.#atRest();
    this.#check(this.#exports.sqlite3_bind_null(this.#pointer, index1));
  }

  /** @param value an integer: a safe one as a number, any int64 as a bigint */
  bindInteger(index1: number, value: number | bigint): void {
    this.#atRest();
    if (typeof value === "bigint") {
      if (BigInt.asIntN(64, value) !== value) throw new RangeError(`not within int64: ${value}`);
      this.#check(this.#exports.sqlite3_bind_int64(this.#pointer, index1, value));
    } else if ((value | 0) === value) {
      // Not `value`: what arithmetic has left as a double takes ten times as long on its way into WebAssembly.
      this.#check(this.#exports.sqlite3_bind_int(this.#pointer, index1, value | 0));
    } else {
      if (!Number.isSafeInteger(value)) {
        throw new RangeError(`a number stands for an INTEGER and must be a safe one: ${value}`);
      }
      this.#check(this.#calls.sqlite3_bind_int64(this.#pointer, index1, value));
    }
  }

  /** NaN becomes NULL, as always in SQLite. */
  bindReal(index1: number, value: number): void {
    this.#atRest();
    this.#check(this.#exports.sqlite3_bind_double(this.#pointer, index1, value));
  }

  /** A lone surrogate, which UTF-8 can't say, becomes U+FFFD. */
  bindText(index1: number, value: string): void {
    this.#atRest();
    const bytesMax = value.length * 3;
    const heap = this.#module.heap;
    if (bytesMax > slotBytesMax) {
      this.bindTextBytes(index1, Buffer.from(value, "utf8"));
      return;
    }
    const pointer = this.#slot(index1, bytesMax);
    const bytes = heap.writeText(value, pointer, bytesMax);
    this.#check(
      this.#exports.sqlite3_bind_text(this.#pointer, index1, pointer, bytes, SQLITE_STATIC),
    );
  }

  /** TEXT of these bytes, whether they are UTF-8 or not. */
  bindTextBytes(index1: number, value: Uint8Array): void {
    this.#bindBytes(index1, value, true);
  }

  bindBlob(index1: number, value: Uint8Array): void {
    this.#bindBytes(index1, value, false);
  }

  #bindBytes(index1: number, value: Uint8Array, isText: boolean): void {
    this.#atRest();
    const bytes = value.length;
    const bind = isText ? this.#exports.sqlite3_bind_text : this.#exports.sqlite3_bind_blob;
    if (bytes <= slotBytesMax) {
      const pointer = this.#slot(index1, bytes);
      this.#module.heap.writeBytes(value, pointer);
      this.#check(bind(this.#pointer, index1, pointer, bytes, SQLITE_STATIC));
      return;
    }
    const pointer = this.#module.allocate(bytes);
    this.#module.heap.u8.set(value, pointer);
    this.#hasLargeValue = true;
    const code = bind(this.#pointer, index1, pointer, bytes, SQLITE_TRANSIENT);
    this.#module.free(pointer);
    this.#check(code);
  }

  /** TEXT of `value[from..]`, without a view on it. */
  bindTextFrom(index1: number, value: Uint8Array, from: number): void {
    const bytes = value.length - from;
    if (bytes > slotBytesMax) {
      this.bindTextBytes(index1, value.subarray(from));
      return;
    }
    this.#atRest();
    const pointer = this.#slot(index1, bytes);
    const u8 = this.#module.heap.u8;
    for (let at = 0; at < bytes; at++) u8[pointer + at] = value[from + at] as number;
    this.#check(
      this.#exports.sqlite3_bind_text(this.#pointer, index1, pointer, bytes, SQLITE_STATIC),
    );
  }

  /** What is kept for values of parameters as long as the statement lives, bytes. */
  get slotBytes(): number {
    return this.#slotBytesSum;
  }

  /** It may hold a copy of a value of over 64 KiB, until that is bound anew or cleared. */
  get hasLargeValue(): boolean {
    return this.#hasLargeValue;
  }

  /** All parameters become NULL. */
  clearBindings(): void {
    this.#atRest();
    this.#hasLargeValue = false;
    this.#exports.sqlite3_clear_bindings(this.#pointer);
  }

  /**
   * Runs to the next row. True: there is one, its columns can be read until the next `step` or
   * `reset`. False: it has ended and is at rest again.
   *
   * Throws {@link SqliteError} on failure; the statement is then at rest too.
   */
  step(): boolean {
    if (this.#module.trap !== null) throw this.#module.trap;
    let code: number;
    try {
      code = this.#exports.sqlite3_step(this.#pointer);
    } catch (thrown) {
      throw this.#module.trapped(thrown);
    }
    if (code === SQLITE_ROW && !this.#owner.hasCallbackFailure) {
      this.#running = true;
      return true;
    }
    if (code === SQLITE_DONE && !this.#owner.hasCallbackFailure) {
      // SQLite would do it at the next step; now, it also gives up the read transaction.
      this.#exports.sqlite3_reset(this.#pointer);
      this.#running = false;
      return false;
    }
    return this.#failStep(code);
  }

  #failStep(code: number): never {
    this.#live();
    const error = this.#owner.error(code, this.sql);
    this.#exports.sqlite3_reset(this.#pointer);
    this.#running = false;
    this.#owner.throwCallbackFailure(this.sql);
    throw error;
  }

  /**
   * Back to the start, bindings stay. Gives up the read transaction that a row held.
   *
   * Throws {@link SqliteError} when that was a writing statement outside of any transaction (INSERT …
   * RETURNING) and this was its commit, which failed.
   */
  reset(): void {
    const code = this.#exports.sqlite3_reset(this.#pointer);
    const wasRunning = this.#running;
    this.#running = false;
    // At rest, it returns the last step's error once more, which was already thrown.
    if (wasRunning && code !== SQLITE_OK) throw this.#owner.error(code, this.sql);
  }

  /** Binds, runs to the end and comes to rest. */
  run(...values: SqlValue[]): void {
    if (this.#running) this.reset();
    this.bindAll(values);
    while (this.step());
  }

  /** All rows. */
  all(...values: SqlValue[]): SqlValue[][] {
    if (this.#running) this.reset();
    this.bindAll(values);
    const rows: SqlValue[][] = [];
    while (this.step()) {
      if (rows.length === 0) this.#lookAtColumns();
      rows.push(this.row());
    }
    return rows;
  }

  /** The first row, or undefined. */
  get(...values: SqlValue[]): SqlValue[] | undefined {
    if (this.#running) this.reset();
    this.bindAll(values);
    if (!this.step()) return undefined;
    this.#lookAtColumns();
    const row = this.row();
    this.reset();
    return row;
  }

  /** SQLite compiles a statement anew in the step that finds another schema. */
  #lookAtColumns(): void {
    this.#columnCount = this.#exports.sqlite3_column_count(this.#pointer);
    this.#columnNames = null;
  }

  /** All columns of the row at hand. */
  row(): SqlValue[] {
    const count = this.columnCount;
    const row: SqlValue[] = new Array(count);
    for (let column = 0; column < count; column++) row[column] = this.column(column);
    return row;
  }

  /** Value of a column, counted from 0, exactly as it is stored. TEXT and BLOB are copies. */
  column(column: number): SqlValue {
    switch (this.#exports.sqlite3_column_type(this.#pointer, column)) {
      case SQLITE_INTEGER:
        return this.columnInteger(column);
      case SQLITE_FLOAT:
        return new Real(this.#exports.sqlite3_column_double(this.#pointer, column));
      case SQLITE_TEXT: {
        const pointer = this.#exports.sqlite3_column_text(this.#pointer, column);
        const bytes = this.#exports.sqlite3_column_bytes(this.#pointer, column);
        return this.#module.heap.text(pointer, bytes);
      }
      case SQLITE_BLOB:
        return this.columnBytes(column);
      default:
        return null;
    }
  }

  /** Appends a column to `writer` as `writeValue` of `core/row/value.ts` would. */
  writeColumn(column: number, writer: ByteWriter): void {
    switch (this.#exports.sqlite3_column_type(this.#pointer, column)) {
      case SQLITE_INTEGER:
        writer.u8(valueTags.integer);
        writer.zigzag(this.columnInteger(column));
        return;
      case SQLITE_FLOAT:
        writer.u8(valueTags.real);
        writer.f64(this.#exports.sqlite3_column_double(this.#pointer, column));
        return;
      case SQLITE_TEXT:
        this.#writeBytes(column, writer, valueTags.text);
        return;
      case SQLITE_BLOB:
        this.#writeBytes(column, writer, valueTags.blob);
        return;
      default:
        writer.u8(valueTags.null);
    }
  }

  encodeColumns(from: number, count: number): boolean {
    const { rowReads, read } = this.#module;
    const { values, limit, ends } = read;
    return rowReads.columns(this.#pointer, from, count, values, limit, ends) > 0;
  }

  encodedStart(index: number): number {
    return index === 0 ? this.#module.read.values : this.encodedEnd(index - 1);
  }

  encodedEnd(index: number): number {
    const { heap, read } = this.#module;
    return heap.i32[(read.ends >> 2) + index] as number;
  }

  #writeBytes(column: number, writer: ByteWriter, tag: number): void {
    const pointer = this.#exports.sqlite3_column_blob(this.#pointer, column);
    const bytes = this.#exports.sqlite3_column_bytes(this.#pointer, column);
    writeBytes(this.#module, writer, tag, pointer, bytes);
  }

  /** `SQLITE_INTEGER`, `_FLOAT`, `_TEXT`, `_BLOB` or `_NULL`. */
  columnType(column: number): number {
    return this.#exports.sqlite3_column_type(this.#pointer, column);
  }

  isText(column: number): boolean {
    return this.#exports.sqlite3_column_type(this.#pointer, column) === SQLITE_TEXT;
  }

  /** An INTEGER column. Of anything else it is what SQLite makes of it as an integer. */
  columnInteger(column: number): number | bigint {
    // An int64 converts to a double below 2**53 if and only if it is itself below, and then exactly.
    const value = this.#exports.sqlite3_column_double(this.#pointer, column);
    if (Number.isSafeInteger(value)) return value;
    const exact = this.#exports.sqlite3_column_int64(this.#pointer, column);
    const number = Number(exact);
    return Number.isSafeInteger(number) ? number : exact;
  }

  /** A column as a number: INTEGER (rounded beyond 2**53) or REAL; 0 for NULL. */
  columnNumber(column: number): number {
    return this.#exports.sqlite3_column_double(this.#pointer, column);
  }

  /** A TEXT column that is known to be UTF-8; malformed bytes are replaced. "" for NULL. */
  columnText(column: number): string {
    const pointer = this.#exports.sqlite3_column_text(this.#pointer, column);
    const bytes = this.#exports.sqlite3_column_bytes(this.#pointer, column);
    return this.#module.heap.lossyText(pointer, bytes);
  }

  /** Address of a TEXT column's bytes in {@link heapBytes}, until the next call. Before {@link columnLength}. */
  columnPointer(column: number): number {
    return this.#exports.sqlite3_column_text(this.#pointer, column);
  }

  /** Bytes at {@link columnPointer}. */
  columnLength(column: number): number {
    return this.#exports.sqlite3_column_bytes(this.#pointer, column);
  }

  /** SQLite's heap as it is now: any call may replace it. */
  get heapBytes(): Uint8Array {
    return this.#module.heap.u8;
  }

  /** A copy of a BLOB's or a TEXT's bytes. Empty for NULL. */
  columnBytes(column: number): Uint8Array {
    const pointer = this.#exports.sqlite3_column_blob(this.#pointer, column);
    const bytes = this.#exports.sqlite3_column_bytes(this.#pointer, column);
    return bytes === 0 ? new Uint8Array(0) : this.#module.heap.bytes(pointer, bytes);
  }

  get memory(): Uint8Array {
    return this.#module.heap.u8;
  }

  /** Where in {@link memory} a BLOB's or a TEXT's bytes begin: good until the next call into SQLite. */
  bytesStart(column: number): number {
    return this.#exports.sqlite3_column_blob(this.#pointer, column);
  }

  bytesLength(column: number): number {
    return this.#exports.sqlite3_column_bytes(this.#pointer, column);
  }

  columnName(column: number): string {
    if (this.#columnNames === null) {
      this.#live();
      this.#columnNames = [];
      for (let at = 0; at < this.columnCount; at++) {
        const pointer = this.#exports.sqlite3_column_name(this.#pointer, at);
        this.#columnNames.push(this.#module.heap.cString(pointer));
      }
    }
    return this.#columnNames[column] as string;
  }

  columnNames(): readonly string[] {
    if (this.columnCount > 0) this.columnName(0);
    return this.#columnNames ?? [];
  }

  /** Database, table and column that this column is; null for an expression. */
  columnOrigin(column: number): { database: string; table: string; column: string } | null {
    const exports = this.#exports;
    const name = this.#optional(exports.sqlite3_column_origin_name(this.#live(), column));
    if (name === null) return null;
    return {
      database: this.#module.heap.cString(
        exports.sqlite3_column_database_name(this.#pointer, column),
      ),
      table: this.#module.heap.cString(exports.sqlite3_column_table_name(this.#pointer, column)),
      column: name,
    };
  }

  #optional(pointer: number): string | null {
    return pointer === 0 ? null : this.#module.heap.cString(pointer);
  }

  /** Whether it leaves the database file as it is (sqlite3_stmt_readonly, with its exceptions). */
  get readonly(): boolean {
    return this.#exports.sqlite3_stmt_readonly(this.#pointer) !== 0;
  }

  /** 0: no EXPLAIN, 1: EXPLAIN, 2: EXPLAIN QUERY PLAN. */
  get explain(): number {
    return this.#exports.sqlite3_stmt_isexplain(this.#pointer);
  }

  /** The text with the bound values in it; "" where that would be longer than the connection's longest value may be. */
  get expandedSql(): string {
    const pointer = this.#exports.sqlite3_expanded_sql(this.#live());
    const text = this.#module.heap.cString(pointer);
    this.#module.free(pointer);
    return text;
  }

  /** Name of a parameter with its `:`, `@`, `$` or `?NNN`; null for a bare `?`. */
  parameterName(index1: number): string | null {
    return this.#optional(this.#exports.sqlite3_bind_parameter_name(this.#live(), index1));
  }

  /** Index of a parameter by its full name; 0 when there is none of that name. */
  parameterIndex(name: string): number {
    const zName = this.#module.allocateCString(name);
    const index1 = this.#exports.sqlite3_bind_parameter_index(this.#live(), zName);
    this.#module.free(zName);
    return index1;
  }

  /** Frees it. Once more does nothing. */
  finalize(): void {
    if (this.#pointer === 0) return;
    const pointer = this.#pointer;
    this.#pointer = 0;
    this.#running = false;
    this.#owner.forget(this);
    if (this.#module.trap !== null) return;
    this.#exports.sqlite3_finalize(pointer);
    for (const slot of this.#slots) if (slot !== 0) this.#module.free(slot);
    this.#slots.fill(0);
    this.#slotBytes.fill(0);
  }

  [Symbol.dispose](): void {
    this.finalize();
  }

  /** Not on hot paths: there SQLite itself notices the null pointer. */
  #live(): number {
    if (this.#pointer === 0) throw new TypeError(`the statement is finalized: ${this.sql}`);
    return this.#pointer;
  }

  #atRest(): void {
    if (this.#running) throw new TypeError(`bind while a row is being read: ${this.sql}`);
  }

  #check(code: number): void {
    if (code !== SQLITE_OK) throw this.#owner.error(code, this.sql);
  }

  /** Memory for at least `bytes` bytes that is this parameter's until it is bound anew. */
  #slot(index1: number, bytes: number): number {
    const at = index1 - 1;
    const room = this.#slotBytes[at];
    if (room === undefined) {
      throw new RangeError(`parameter ${index1} of 1..${this.parameterCount}: ${this.sql}`);
    }
    if (room > 0 && bytes <= room) return this.#slots[at] as number;
    let grown = slotBytesMin;
    while (grown < bytes) grown *= 2;
    const pointer = this.#module.allocate(grown);
    // The parameter still points into the old slot until it is bound, which is the next thing done.
    if (room > 0) this.#module.free(this.#slots[at] as number);
    this.#slots[at] = pointer;
    this.#slotBytes[at] = grown;
    this.#slotBytesSum += grown - room;
    return pointer;
  }
}
