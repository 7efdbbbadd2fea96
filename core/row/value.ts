/**
 * SQLite values as Patina keeps them: exactly as their origin stored them.
 *
 * JavaScript has one number type where SQLite has two, so a REAL is wrapped and an INTEGER is bare:
 *
 * | SQLite  | here                                                              |
 * | ------- | ----------------------------------------------------------------- |
 * | NULL    | `null`                                                            |
 * | INTEGER | `number` when it is a safe integer, `bigint` beyond                |
 * | REAL    | {@link Real}; never NaN, which SQLite stores as NULL               |
 * | TEXT    | `string`, or {@link RawText} for bytes that are not UTF-8          |
 * | BLOB    | `Uint8Array`                                                      |
 *
 * Bytes: one tag, then the payload. One value has one encoding.
 *
 * | tag | payload                                          |
 * | --- | ------------------------------------------------ |
 * | 0   | NULL: none                                       |
 * | 1   | INTEGER: zigzag varint, 1..10 bytes              |
 * | 2   | REAL: 8 bytes, IEEE 754, big-endian; not NaN     |
 * | 3   | TEXT: varint length in bytes, then the bytes     |
 * | 4   | BLOB: varint length in bytes, then the bytes     |
 *
 * @module
 */

import type { ByteReader } from "../bytes/reader.ts";
import { utf8Encode, utf8Length } from "../bytes/utf8.ts";
import type { ByteWriter } from "../bytes/writer.ts";

/** A REAL. `-0.0` and `0.0` are two values. */
export class Real {
  readonly real: number;
  constructor(real: number) {
    this.real = real;
  }
}

/** TEXT whose bytes are not UTF-8: SQLite stores what it is given, and so does a replica. */
export class RawText {
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

export type SqlValue = null | number | bigint | Real | string | RawText | Uint8Array;

/** Largest TEXT or BLOB, checked at the origin's commit and by every decoder. */
export const valueBytesMax: number = 8 * 1024 * 1024;

const tagNull = 0;
const tagInteger = 1;
const tagReal = 2;
/** Exported for keys that are bound without being decoded. */
export const valueTagText = 3;
const tagBlob = 4;

// The tags of values that are written by those who have them as SQLite has them.
export const valueTags: {
  readonly null: number;
  readonly integer: number;
  readonly real: number;
  readonly text: number;
  readonly blob: number;
} = {
  null: tagNull,
  integer: tagInteger,
  real: tagReal,
  text: valueTagText,
  blob: tagBlob,
};

/** Bytes that {@link writeShortValue} writes at most. */
export const shortValueBytesMax = 66;

/**
 * {@link writeValue} without a writer, for nearly all values: NULL, ASCII text of up to 64 characters, and
 * integers of up to 30 bits.
 *
 * @param at Where in `bytes`, which has room for {@link shortValueBytesMax}.
 * @returns Where it ends; 0 when this isn't one of them.
 */
export function writeShortValue(bytes: Uint8Array, at: number, value: SqlValue): number {
  if (typeof value === "string") {
    const { length } = value;
    if (length > shortValueBytesMax - 2) return 0;
    bytes[at] = valueTagText;
    bytes[at + 1] = length;
    let end = at + 2;
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return 0;
      bytes[end++] = code;
    }
    return end;
  }
  if (typeof value === "number") {
    if ((value << 1) >> 1 !== value) return 0;
    let rest = ((value << 1) ^ (value >> 31)) >>> 0;
    let end = at;
    bytes[end++] = tagInteger;
    for (; rest >= 0x80; rest >>>= 7) bytes[end++] = (rest & 0x7f) | 0x80;
    bytes[end++] = rest;
    return end;
  }
  if (value !== null) return 0;
  bytes[at] = tagNull;
  return at + 1;
}

export function writeValue(writer: ByteWriter, value: SqlValue): void {
  if (value === null) writer.u8(tagNull);
  else if (typeof value === "string") {
    writer.u8(valueTagText);
    writer.text(value);
  } else if (typeof value === "number" || typeof value === "bigint") {
    writer.u8(tagInteger);
    writer.zigzag(value);
  } else if (value instanceof Real) {
    writer.u8(tagReal);
    writer.f64(value.real);
  } else if (value instanceof RawText) {
    writer.u8(valueTagText);
    writer.blob(value.bytes);
  } else {
    writer.u8(tagBlob);
    writer.blob(value);
  }
}

/** TEXT and BLOB payloads are copied out of the input. A malformed value makes the reader fail. */
export function readValue(reader: ByteReader, what: string): SqlValue {
  const tag = reader.u8(what);
  switch (tag) {
    case tagNull:
      return null;
    case tagInteger:
      return reader.zigzag(what);
    case tagReal: {
      const real = reader.f64(what);
      if (Number.isNaN(real)) reader.fail(`${what}: NaN`);
      return new Real(real);
    }
    case valueTagText: {
      const text = reader.textOrBytes(what, valueBytesMax);
      return typeof text === "string" ? text : new RawText(text);
    }
    case tagBlob:
      return reader.copiedBlob(what, valueBytesMax);
    default:
      reader.fail(`${what}: value tag 0..4, got ${tag}`);
      return null;
  }
}

/** Where the value that begins at `at` ends. The bytes are of {@link writeValue}. */
export function endOfValue(bytes: Uint8Array, at: number): number {
  const tag = bytes[at] as number;
  if (tag === tagNull) return at + 1;
  if (tag === tagReal) return at + 9;
  let end = at + 1;
  let length = 0;
  for (let factor = 1; ; factor *= 0x80) {
    const byte = bytes[end++] as number;
    length += (byte & 0x7f) * factor;
    if (byte < 0x80) break;
  }
  return tag === tagInteger ? end : end + length;
}

/**
 * The order that decides between two values under one stamp (two writers under one identity), larger
 * wins. cr-sqlite's: INTEGER > REAL > TEXT > BLOB > NULL, then by value; TEXT and BLOB bytewise; REAL
 * by value, then by its eight bytes, so that -0.0 and 0.0 differ.
 */
export function compareValues(a: SqlValue, b: SqlValue): number {
  const rank = typeRank(a) - typeRank(b);
  if (rank !== 0) return rank;
  if (a === null) return 0;
  if (typeof a === "number" || typeof a === "bigint") {
    const other = b as number | bigint;
    return a < other ? -1 : a > other ? 1 : 0;
  }
  if (a instanceof Real) {
    const other = (b as Real).real;
    if (a.real !== other) return a.real < other ? -1 : 1;
    // As unsigned bytes -0.0 (0x80…) is the larger.
    return Number(Object.is(a.real, -0)) - Number(Object.is(other, -0));
  }
  if (typeof a === "string" || a instanceof RawText) {
    return compareBytes(textBytes(a), textBytes(b as string | RawText));
  }
  return compareBytes(a, b as Uint8Array);
}

/** Same type and same bytes. */
export function equalValues(a: SqlValue, b: SqlValue): boolean {
  if (typeof a === "string" && typeof b === "string") return a === b;
  return a === b || compareValues(a, b) === 0;
}

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** Bytes of a TEXT value. */
export function textBytes(value: string | RawText): Uint8Array {
  return typeof value === "string" ? utf8Encode(value) : value.bytes;
}

function typeRank(value: SqlValue): number {
  if (value === null) return 0;
  if (value instanceof Uint8Array) return 1;
  if (typeof value === "string" || value instanceof RawText) return 2;
  return value instanceof Real ? 3 : 4;
}

/** How large a value is, about. */
export function bytesOfValue(value: SqlValue): number {
  // Short text is counted by its units: near enough for sums, exact where a limit may be met.
  if (typeof value === "string") return value.length < 4096 ? value.length : utf8Length(value);
  if (value instanceof Uint8Array) return value.length;
  return value instanceof RawText ? value.bytes.length : 8;
}
