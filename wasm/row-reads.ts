/**
 * A WebAssembly module made at start-up: many values of a row by one call.
 *
 * A value takes up to four calls of SQLite (its type, where it is, how long it is), and a call from JavaScript costs more than what it
 * does: 20 to 60 ns against 5. Here they are made from WebAssembly, which leaves for each value 16 bytes in the heap:
 *
 * | offset | bytes | what                                                             |
 * | ------ | ----- | ---------------------------------------------------------------- |
 * | 0      | 4     | its type: `SQLITE_INTEGER` to `SQLITE_NULL`                       |
 * | 4      | 4     | of {@link RowReads.oldValues} its `sqlite3_value`, else unused    |
 * | 8      | 8     | INTEGER and FLOAT: as a double                                   |
 * | 8      | 4     | TEXT and BLOB: the address of its bytes, good until the next call |
 * | 12     | 4     | TEXT and BLOB: how many                                          |
 *
 * @module
 */

import type { ByteWriter } from "../core/bytes/writer.ts";
import { Real, type SqlValue, valueTags } from "../core/row/value.ts";
import { readColumnsMax } from "../core/store/database.ts";
import { SQLITE_BLOB, SQLITE_FLOAT, SQLITE_INTEGER, SQLITE_TEXT } from "./constants.ts";
import type { Heap } from "./heap.ts";
import { F64, I32, section, text, unsigned } from "./trampoline.ts";

/** Bytes left for a value. */
export const readValueBytes = 16;
/** Values that are read at once at most. */
export const readValuesMax: number = readColumnsMax;
/** Of heap that is kept for them: their numbers, then what is left of them. */
export const rowReadsBytes: number = readValuesMax * (4 + readValueBytes);

export interface RowReads {
  /** Columns `from` to `from + count` of the row that a statement stands on, to `out`. */
  columns(statement: number, from: number, count: number, out: number): void;
  /**
   * Columns before the change, in a preupdate hook: those whose numbers are the `count` words at `numbers`.
   *
   * @returns SQLite's code; if it isn't `SQLITE_OK` nothing is to be read.
   */
  oldValues(database: number, numbers: number, count: number, out: number): number;
}

/** What of SQLite's exports it calls. */
type Call =
  | `sqlite3_${"column" | "value"}_${"type" | "double" | "blob" | "bytes"}`
  | "sqlite3_preupdate_old";

const calls: Readonly<Record<Call, { readonly params: number; readonly result: number }>> = {
  sqlite3_column_type: { params: 2, result: I32 },
  sqlite3_column_double: { params: 2, result: F64 },
  sqlite3_column_blob: { params: 2, result: I32 },
  sqlite3_column_bytes: { params: 2, result: I32 },
  sqlite3_preupdate_old: { params: 3, result: I32 },
  sqlite3_value_type: { params: 1, result: I32 },
  sqlite3_value_double: { params: 1, result: F64 },
  sqlite3_value_blob: { params: 1, result: I32 },
  sqlite3_value_bytes: { params: 1, result: I32 },
};
const names = Object.keys(calls) as Call[];

// Instructions.
const none = 0x40;
const end = 0x0b;
const eqz = 0x45;
const lessThan = 0x49;
const add = 0x6a;
const subtract = 0x6b;
const otherwise = 0x05;
const returns = 0x0f;
const block = [0x02, none];
const loop = [0x03, none];
const when = [0x04, none];
const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const tee = (local: number): number[] => [0x22, local];
const number = (value: number): number[] => [0x41, value];
const load = [0x28, 2, 0];
const store = (offset: number): number[] => [0x36, 2, offset];
const storeDouble = (offset: number): number[] => [0x39, 3, offset];
const call = (name: Call): number[] => [0x10, names.indexOf(name)];
const advance = (local: number, by: number): number[] => [
  ...get(local),
  ...number(by),
  add,
  ...set(local),
];

/** Repeats `body` until the local `count` is 0. */
function repeat(count: number, body: readonly number[]): number[] {
  return [
    ...block,
    ...loop,
    ...[...get(count), eqz, 0x0d, 1],
    ...body,
    ...[...get(count), ...number(1), subtract, ...set(count)],
    ...[0x0c, 0, end, end],
  ];
}

/** Leaves what is to be known of a value whose type is in the local `type`. @param value Pushes what the calls want. */
function leave(
  kind: "column" | "value",
  value: readonly number[],
  type: number,
  out: number,
): number[] {
  const of = (what: "double" | "blob" | "bytes") => [...value, ...call(`sqlite3_${kind}_${what}`)];
  return [
    ...[...get(type), ...number(3), lessThan, ...when],
    ...[...get(out), ...of("double"), ...storeDouble(8)],
    otherwise,
    ...[...get(type), ...number(5), lessThan, ...when],
    ...[...get(out), ...of("blob"), ...store(8)],
    ...[...get(out), ...of("bytes"), ...store(12)],
    ...[end, end],
  ];
}

/** Locals: statement, from, count, out; type. */
const columnsBody = [
  ...repeat(2, [
    ...[...get(3), ...get(0), ...get(1), ...call("sqlite3_column_type"), ...tee(4), ...store(0)],
    ...leave("column", [...get(0), ...get(1)], 4, 3),
    ...advance(1, 1),
    ...advance(3, readValueBytes),
  ]),
  end,
];

/** Locals: database, numbers, count, out; type, value, code. */
const oldValuesBody = [
  ...repeat(2, [
    ...[...get(0), ...get(1), ...load, ...get(3), ...call("sqlite3_preupdate_old")],
    ...[...tee(6), ...when, ...get(6), returns, end],
    ...[...get(3), ...get(3), ...load, ...tee(5), ...store(4)],
    ...[...get(3), ...get(5), ...call("sqlite3_value_type"), ...tee(4), ...store(0)],
    ...leave("value", get(5), 4, 3),
    ...advance(1, 4),
    ...advance(3, readValueBytes),
  ]),
  ...number(0),
  end,
];

/** @param exports SQLite's. */
export function createRowReads(
  memory: WebAssembly.Memory,
  exports: Readonly<Record<Call, CallableFunction>>,
): RowReads {
  const typeOf = (params: number, result: readonly number[]) => [
    ...[0x60, ...unsigned(params), ...new Array(params).fill(I32)],
    ...[...unsigned(result.length), ...result],
  ];
  const types = names.map((name) => typeOf(calls[name].params, [calls[name].result]));
  types.push(typeOf(4, []), typeOf(4, [I32]));
  const imports = names.map((name, i) => [...text("s"), ...text(name), 0x00, ...unsigned(i)]);
  imports.push([...text("m"), ...text("memory"), 0x02, 0x00, 0x00]);
  const functions = [names.length, names.length + 1];
  const body = (locals: number, code: readonly number[]) => {
    const bytes = [0x01, ...unsigned(locals), I32, ...code];
    return [...unsigned(bytes.length), ...bytes];
  };
  const bytes = new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(2, imports),
    ...section(3, functions.map(unsigned)),
    ...section(7, [
      [...text("columns"), 0x00, ...unsigned(names.length)],
      [...text("oldValues"), 0x00, ...unsigned(names.length + 1)],
    ]),
    ...section(10, [body(1, columnsBody), body(3, oldValuesBody)]),
  ]);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
    m: { memory },
    s: exports as unknown as Bun.WebAssembly.ModuleImports,
  });
  return instance.exports as unknown as RowReads;
}

/** Appends the value that was left at `at` to `writer`, as `writeValue` of `core/row/value.ts` would. @param exact An INTEGER that is no safe one. */
export function writeReadValue(
  heap: Heap,
  at: number,
  writer: ByteWriter,
  exact: (at: number) => bigint,
): void {
  const word = at >> 2;
  switch (heap.i32[word]) {
    case SQLITE_INTEGER: {
      // An int64 converts to a double below 2**53 if and only if it is itself below, and then exactly.
      const value = heap.f64[(at >> 3) + 1] as number;
      writer.u8(valueTags.integer);
      writer.zigzag(Number.isSafeInteger(value) ? value : exact(at));
      return;
    }
    case SQLITE_FLOAT:
      writer.u8(valueTags.real);
      writer.f64(heap.f64[(at >> 3) + 1] as number);
      return;
    case SQLITE_TEXT:
    case SQLITE_BLOB: {
      const pointer = heap.i32[word + 2] as number;
      const bytes = heap.i32[word + 3] as number;
      writer.u8(heap.i32[word] === SQLITE_TEXT ? valueTags.text : valueTags.blob);
      writer.varint(bytes);
      writer.copy(heap.u8, pointer, pointer + bytes);
      return;
    }
    default:
      writer.u8(valueTags.null);
  }
}

/** The value that was left at `at`; TEXT and BLOB are copies. @param exact As of {@link writeReadValue}. */
export function leftValue(heap: Heap, at: number, exact: (at: number) => bigint): SqlValue {
  const word = at >> 2;
  switch (heap.i32[word]) {
    case SQLITE_INTEGER: {
      const value = heap.f64[(at >> 3) + 1] as number;
      return Number.isSafeInteger(value) ? value : exact(at);
    }
    case SQLITE_FLOAT:
      return new Real(heap.f64[(at >> 3) + 1] as number);
    case SQLITE_TEXT:
      return heap.text(heap.i32[word + 2] as number, heap.i32[word + 3] as number);
    case SQLITE_BLOB:
      return heap.bytes(heap.i32[word + 2] as number, heap.i32[word + 3] as number);
    default:
      return null;
  }
}
