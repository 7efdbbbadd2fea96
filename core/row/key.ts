/**
 * Primary keys as bytes: the same bytes on every node for keys that SQLite holds equal.
 *
 * SQLite compares numbers across types (1 = 1.0), so a REAL that is a 64-bit integer is written as
 * that INTEGER, and -0.0 as 0. Text and numbers are never equal: '5' and 5 are two keys. NULL is not
 * a key.
 *
 * Bytes: varint column count (1..64), then the values of `value.ts`, in the order of the primary key's
 * definition.
 *
 * @module
 */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { Real, readValue, type SqlValue, valueTags, writeValue } from "./value.ts";

export const keyColumnsMax = 64;
export const keyBytesMax: number = 64 * 1024;

const writer = new ByteWriter(64);

/** The bytes of a key; undefined when a part is NULL, or the whole is over {@link keyBytesMax}. */
export function encodeKey(values: readonly SqlValue[]): Uint8Array | undefined {
  writer.clear();
  writer.varint(values.length);
  for (const value of values) {
    if (value === null) return undefined;
    writeValue(writer, canonicalKeyValue(value));
  }
  return writer.length <= keyBytesMax ? writer.finish() : undefined;
}

/** The values of a key; undefined unless the bytes are what {@link encodeKey} writes. */
export function decodeKey(bytes: Uint8Array): SqlValue[] | undefined {
  const reader = new ByteReader(bytes);
  const count = reader.varint("key columns", keyColumnsMax);
  const values: SqlValue[] = [];
  for (let i = 0; i < count && reader.ok; i++) {
    const value = readValue(reader, "key");
    if (value === null || canonicalKeyValue(value) !== value) return undefined;
    values.push(value);
  }
  reader.end("key");
  return reader.ok && count > 0 ? values : undefined;
}

/** Whether bytes are a key. */
export function isKeyBytes(bytes: Uint8Array): boolean {
  return isPlainKey(bytes) || decodeKey(bytes) !== undefined;
}

/** A key of short texts and blobs, as nearly all are: no value needs to be made for that. */
function isPlainKey(bytes: Uint8Array): boolean {
  const { length } = bytes;
  let left = length === 0 ? 0 : (bytes[0] as number);
  if (left === 0 || left > keyColumnsMax) return false;
  let at = 1;
  for (; left > 0 && at + 1 < length; left--) {
    const tag = bytes[at] as number;
    const valueBytes = bytes[at + 1] as number;
    if ((tag !== valueTags.text && tag !== valueTags.blob) || valueBytes >= 0x80) return false;
    at += 2 + valueBytes;
  }
  return left === 0 && at === length;
}

/** The representative of all values that SQLite holds equal to this one. */
export function canonicalKeyValue(value: SqlValue): SqlValue {
  if (!(value instanceof Real) || !Number.isInteger(value.real)) return value;
  const { real } = value;
  if (Number.isSafeInteger(real)) return real === 0 ? 0 : real;
  // 2**63 itself is above the largest INTEGER; -2**63 is the smallest.
  return real >= -(2 ** 63) && real < 2 ** 63 ? BigInt(real) : value;
}
