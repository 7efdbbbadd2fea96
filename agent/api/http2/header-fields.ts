/**
 * Writes header fields as HPACK has them (RFC 7541 §6.2.2), without the dynamic table: so one block is right on every
 * connection, and is made once for all answers that have the same fields.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { encodeHuffman } from "./huffman.ts";
import { staticIndexes, staticTable } from "./static-table.ts";

/** @param name in lower case. Both are Latin-1. */
export function encodeField(name: string, value: string): Buffer {
  const index = staticIndexes.get(name);
  if (index === undefined) {
    return Buffer.concat([Buffer.of(0), encodeString(name), encodeString(value)]);
  }
  // Names that come with values are next to each other.
  for (let i = index; staticTable[i - 1]?.name === name; i++) {
    if (staticTable[i - 1]?.value === value) return encodeInteger(i, 7, 0x80);
  }
  return Buffer.concat([encodeInteger(index, 4, 0), encodeString(value)]);
}

/** §5.1. @param pattern in the first byte, before the integer's bits */
function encodeInteger(value: number, prefixBits: number, pattern: number): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.of(pattern | value);
  const bytes = [pattern | most];
  let rest = value - most;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** §5.2, whichever way is shorter. */
export function encodeString(text: string): Buffer {
  const plain = Buffer.from(text, "latin1");
  const packed = encodeHuffman(plain);
  return packed.length < plain.length
    ? Buffer.concat([encodeInteger(packed.length, 7, 0x80), packed])
    : Buffer.concat([encodeInteger(plain.length, 7, 0), plain]);
}
