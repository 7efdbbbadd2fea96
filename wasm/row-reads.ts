/**
 * A WebAssembly module made at start-up: many values of a row by one call, each as `core/row/value.ts` writes it.
 *
 * A value takes up to four calls of SQLite (its type, where it is, how long it is), and a call from JavaScript costs more than what it
 * does: 20 to 60 ns against 5. Here they are made from WebAssembly, which writes the values one behind the other into the heap, so
 * that whoever wants them as bytes has no more to do for a value than to know where it ends.
 *
 * @module
 */

import { readColumnsMax } from "../core/database.ts";
import { valueTags } from "../core/row/value.ts";
import { SQLITE_FLOAT, SQLITE_INTEGER, SQLITE_NULL } from "./constants.ts";
import { F64, I32, I64, section, text, unsigned } from "./trampoline.ts";

/** Values that are read at once at most. */
export const readValuesMax: number = readColumnsMax;
/** Room for their encodings: longer rows are read value by value. */
const encodedBytesMax = 64 * 1024;
/** Of heap that is kept for them: their numbers, where each ends, and the values themselves. */
export const rowReadsBytes: number = 2 * 4 * readValuesMax + encodedBytesMax;

/** Where in that heap what is. */
export interface RowReadsPlaces {
  readonly numbers: number;
  readonly ends: number;
  readonly values: number;
  /** Where the room for values ends. */
  readonly limit: number;
}

export function placesAt(heap: number): RowReadsPlaces {
  const ends = heap + 4 * readValuesMax;
  const values = ends + 4 * readValuesMax;
  return { numbers: heap, ends, values, limit: values + encodedBytesMax };
}

export interface RowReads {
  /**
   * Writes columns `from` to `from + count` of the row that a statement stands on to `out`, and where each ends to the words at `ends`.
   *
   * @returns where the last one ends; 0: they don't fit before `limit`.
   */
  columns(
    statement: number,
    from: number,
    count: number,
    out: number,
    limit: number,
    ends: number,
  ): number;
  /**
   * Columns before the change, in a preupdate hook: those whose numbers are the `count` words at `numbers`.
   *
   * @param pointer A word of the heap that it may write to.
   * @returns as {@link columns}; below 0: SQLite's code, negated.
   */
  oldValues(
    database: number,
    numbers: number,
    count: number,
    out: number,
    limit: number,
    pointer: number,
  ): number;
}

/** What of SQLite's exports it calls. */
type Call =
  | `sqlite3_value_${"type" | "int64" | "double" | "blob" | "bytes"}`
  | `sqlite3_${"column_value" | "preupdate_old"}`;

const calls: Readonly<Record<Call, { readonly params: number; readonly result: number }>> = {
  sqlite3_column_value: { params: 2, result: I32 },
  sqlite3_preupdate_old: { params: 3, result: I32 },
  sqlite3_value_type: { params: 1, result: I32 },
  sqlite3_value_int64: { params: 1, result: I64 },
  sqlite3_value_double: { params: 1, result: F64 },
  sqlite3_value_blob: { params: 1, result: I32 },
  sqlite3_value_bytes: { params: 1, result: I32 },
};
const names = Object.keys(calls) as Call[];

// Instructions.
const none = 0x40;
const end = 0x0b;
const eqz = 0x45;
const equal = 0x46;
const lessUnsigned = 0x49;
const add = 0x6a;
const subtract = 0x6b;
const returns = 0x0f;
const block = [0x02, none];
const loop = [0x03, none];
const when = [0x04, none];
const again = [0x0c, 0];
const leaveIf = [0x0d, 1];
const get = (local: number): number[] => [0x20, local];
const set = (local: number): number[] => [0x21, local];
const tee = (local: number): number[] => [0x22, local];
/** Of less than 64, as a signed LEB128 of one byte has it. */
const number = (value: number): number[] => [0x41, value];
const long = (value: number): number[] => [0x42, value];
const loadWord = [0x28, 2, 0];
const storeWord = [0x36, 2, 0];
const loadByte = [0x2d, 0, 0];
const storeByte = [0x3a, 0, 0];
const loadLong = [0x29, 0, 0];
const storeLong = [0x37, 0, 0];
/** The lowest byte of a long. */
const storeLongByte = [0x3c, 0, 0];
const copy = [0xfc, 0x0a, 0, 0];
const call = (name: Call): number[] => [0x10, names.indexOf(name)];
const varintFunction = names.length;
const valueFunction = names.length + 1;
const advance = (local: number, by: number): number[] => [
  ...get(local),
  ...number(by),
  add,
  ...set(local),
];
const giveUp = [...number(0), returns];

/** Repeats `body` until the local `count` is 0. */
function repeat(count: number, body: readonly number[]): number[] {
  return [
    ...block,
    ...loop,
    ...[...get(count), eqz, ...leaveIf],
    ...body,
    ...[...get(count), ...number(1), subtract, ...set(count)],
    ...[...again, end, end],
  ];
}

/** Locals: out, value (a long); leaves where the varint ends. */
const varintBody = [
  ...block,
  ...loop,
  // value < 128.
  ...[...get(1), ...[0x42, 0x80, 0x01], 0x54, ...leaveIf],
  ...[...get(0), ...get(1), ...[0x42, 0x80, 0x01], 0x84, ...storeLongByte],
  ...[...get(1), ...long(7), 0x88, ...set(1)],
  ...advance(0, 1),
  ...[...again, end, end],
  ...[...get(0), ...get(1), ...storeLongByte],
  ...[...get(0), ...number(1), add, end],
];

/** Locals: value, out, limit; type, pointer, length; bits (a long). Leaves where it ends, 0 if there is no room. */
const valueBody = [
  // Room for whatever isn't TEXT or BLOB, and for the length of those.
  ...[...get(2), ...get(1), subtract, ...number(16), lessUnsigned, ...when, ...giveUp, end],
  ...[...get(0), ...call("sqlite3_value_type"), ...tee(3)],
  ...[...number(SQLITE_INTEGER), equal, ...when],
  ...[...get(1), ...number(valueTags.integer), ...storeByte],
  ...[...get(1), ...number(1), add],
  // Zigzag: (bits << 1) ^ (bits >> 63).
  ...[...get(0), ...call("sqlite3_value_int64"), ...tee(6), ...long(1), 0x86],
  ...[...get(6), ...long(63), 0x87, 0x85],
  ...[0x10, varintFunction, returns, end],
  ...[...get(3), ...number(SQLITE_FLOAT), equal, ...when],
  ...[...get(1), ...number(valueTags.real), ...storeByte],
  ...[...get(0), ...call("sqlite3_value_double"), 0xbd, ...set(6)],
  // Its bytes, the highest first.
  ...[...number(8), ...set(5)],
  ...repeat(5, [
    ...advance(1, 1),
    ...[...get(1), ...get(6), ...long(56), 0x88, ...storeLongByte],
    ...[...get(6), ...long(8), 0x86, ...set(6)],
  ]),
  ...[...get(1), ...number(1), add, returns, end],
  ...[...get(3), ...number(SQLITE_NULL), equal, ...when],
  ...[...get(1), ...number(valueTags.null), ...storeByte],
  ...[...get(1), ...number(1), add, returns, end],
  // TEXT and BLOB, whose tags are SQLite's types.
  ...[...get(0), ...call("sqlite3_value_blob"), ...set(4)],
  ...[...get(0), ...call("sqlite3_value_bytes"), ...set(5)],
  ...[...get(2), ...get(1), subtract, ...number(16), subtract, ...get(5), lessUnsigned],
  ...[...when, ...giveUp, end],
  ...[...get(1), ...get(3), ...storeByte],
  ...[...get(1), ...number(1), add, ...get(5), 0xad, 0x10, varintFunction, ...set(1)],
  // A loop for the short ones: `memory.copy` is a call.
  ...[...number(63), ...get(5), lessUnsigned, ...when],
  ...[...get(1), ...get(4), ...get(5), ...copy],
  ...[...get(1), ...get(5), add, returns, end],
  ...block,
  ...loop,
  ...[...get(5), ...number(8), lessUnsigned, ...leaveIf],
  ...[...get(1), ...get(4), ...loadLong, ...storeLong],
  ...advance(1, 8),
  ...advance(4, 8),
  ...[...get(5), ...number(8), subtract, ...set(5)],
  ...[...again, end, end],
  ...repeat(5, [
    ...[...get(1), ...get(4), ...loadByte, ...storeByte],
    ...advance(1, 1),
    ...advance(4, 1),
  ]),
  ...[...get(1), end],
];

/** Locals: statement, from, count, out, limit, ends. */
const columnsBody = [
  ...repeat(2, [
    ...[...get(0), ...get(1), ...call("sqlite3_column_value")],
    ...[...get(3), ...get(4), 0x10, valueFunction, ...tee(3), eqz, ...when, ...giveUp, end],
    ...[...get(5), ...get(3), ...storeWord],
    ...advance(1, 1),
    ...advance(5, 4),
  ]),
  ...[...get(3), end],
];

/** Locals: database, numbers, count, out, limit, pointer; code. */
const oldValuesBody = [
  ...repeat(2, [
    ...[...get(0), ...get(1), ...loadWord, ...get(5), ...call("sqlite3_preupdate_old")],
    ...[...tee(6), ...when, ...number(0), ...get(6), subtract, returns, end],
    ...[...get(5), ...loadWord, ...get(3), ...get(4), 0x10, valueFunction],
    ...[...tee(3), eqz, ...when, ...giveUp, end],
    ...advance(1, 4),
  ]),
  ...[...get(3), end],
];

interface Defined {
  readonly params: readonly number[];
  readonly locals: readonly number[];
  readonly body: readonly number[];
}

const defined: readonly Defined[] = [
  { params: [I32, I64], locals: [], body: varintBody },
  { params: [I32, I32, I32], locals: [I32, I32, I32, I64], body: valueBody },
  { params: new Array(6).fill(I32), locals: [], body: columnsBody },
  { params: new Array(6).fill(I32), locals: [I32], body: oldValuesBody },
];

/** @param exports SQLite's. */
export function createRowReads(
  memory: WebAssembly.Memory,
  exports: Readonly<Record<Call, CallableFunction>>,
): RowReads {
  const typeOf = (params: readonly number[], result: number) => [
    ...[0x60, ...unsigned(params.length), ...params],
    ...[1, result],
  ];
  const types = names.map((name) =>
    typeOf(new Array(calls[name].params).fill(I32), calls[name].result),
  );
  types.push(...defined.map(({ params }) => typeOf(params, I32)));
  const imports = names.map((name, i) => [...text("s"), ...text(name), 0x00, ...unsigned(i)]);
  imports.push([...text("m"), ...text("memory"), 0x02, 0x00, 0x00]);
  const bodies = defined.map(({ locals, body }) => {
    const groups = locals.flatMap((type) => [1, type]);
    const bytes = [...unsigned(locals.length), ...groups, ...body];
    return [...unsigned(bytes.length), ...bytes];
  });
  const bytes = new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(2, imports),
    ...section(
      3,
      defined.map((_, i) => unsigned(names.length + i)),
    ),
    ...section(7, [
      [...text("columns"), 0x00, ...unsigned(names.length + 2)],
      [...text("oldValues"), 0x00, ...unsigned(names.length + 3)],
    ]),
    ...section(10, bodies),
  ]);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
    m: { memory },
    s: exports as unknown as Bun.WebAssembly.ModuleImports,
  });
  return instance.exports as unknown as RowReads;
}
