/**
 * A growing byte buffer. Every format of Patina is written through it.
 *
 * Multi-byte integers are big-endian, so that equal-length fields order as numbers do. A *varint* is
 * LEB128: seven bits a byte, lowest first, the high bit set on all but the last.
 *
 * @module
 */

import { assert } from "../assert.ts";
import { shortTextMax, utf8Encode, utf8Length, utf8Write } from "./utf8.ts";

/** Views on less than this are kept: making one costs as much as hashing what it shows. */
const keptViewBytesMax = 512;
const shortCopyMax = 32;
const keptRoomBytesMax = 1024 * 1024;
const firstKeptRoomBytes = 4096;

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;
  /** By length. */
  #keptViews: (Uint8Array | undefined)[] = [];

  constructor(capacityBytes = 256) {
    this.#bytes = new Uint8Array(capacityBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    const length = this.#length;
    const bytes = this.#bytes;
    // A call of `slice` takes twice as long as a key.
    if (length > shortCopyMax) return bytes.slice(0, length);
    const copy = new Uint8Array(length);
    for (let i = 0; i < length; i++) copy[i] = bytes[i] as number;
    return copy;
  }

  /** What was written, without a copy: valid until the next write or `clear`. */
  peek(): Uint8Array {
    const length = this.#length;
    if (length >= keptViewBytesMax) return this.#bytes.subarray(0, length);
    let view = this.#keptViews[length];
    if (view === undefined) {
      view = this.#bytes.subarray(0, length);
      this.#keptViews[length] = view;
    }
    return view;
  }

  /** Forgets what was written and keeps the room. */
  clear(): void {
    this.#length = 0;
  }

  /** As {@link clear}, but gives up room that a rare large use has left: for writers that are kept. */
  reuse(): void {
    if (this.#bytes.length > keptRoomBytesMax) {
      this.#bytes = new Uint8Array(firstKeptRoomBytes);
      this.#view = new DataView(this.#bytes.buffer);
      this.#keptViews = [];
    }
    this.#length = 0;
  }

  /** Forgets what was written from `length` on. */
  truncate(length: number): void {
    assert(length <= this.#length, "truncate: to no more than was written");
    this.#length = length;
  }

  /**
   * For those who write in place: makes room for `bytes` more from {@link length} on, and gives what they are written
   * to, until the next call. {@link advance} says how far they came.
   */
  reserve(bytes: number): Uint8Array {
    this.#room(bytes);
    return this.#bytes;
  }

  /** The same room for those who write whole words: as long good as that. */
  get view(): DataView {
    return this.#view;
  }

  /** What was written in place ends at `length`. */
  advance(length: number): void {
    assert(
      length >= this.#length && length <= this.#bytes.length,
      "advance: inside what was reserved",
    );
    this.#length = length;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  u16(value: number): void {
    this.#room(2);
    const bytes = this.#bytes;
    const at = this.#length;
    bytes[at] = value >>> 8;
    bytes[at + 1] = value;
    this.#length = at + 2;
  }

  u32(value: number): void {
    this.#room(4);
    // Byte by byte: of what is no signed integer a view's `setUint32` takes three times as long.
    const bytes = this.#bytes;
    const at = this.#length;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    this.#length = at + 4;
  }

  /** An unsigned integer below 2**48. */
  u48(value: number): void {
    this.u16(Math.floor(value / 2 ** 32));
    this.u32(value);
  }

  f64(value: number): void {
    this.#room(8);
    this.#view.setFloat64(this.#length, value);
    this.#length += 8;
  }

  /** A count or length: an integer in 0..2**53. */
  varint(value: number): void {
    this.#room(8);
    // Most are small, and the message of an assertion is made even if it holds.
    if ((value & 0x7f) === value) {
      this.#bytes[this.#length++] = value;
      return;
    }
    let rest = value;
    if (value >>> 0 === value) {
      while (rest >= 0x80) {
        this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
        rest >>>= 7;
      }
      this.#bytes[this.#length++] = rest;
      return;
    }
    assert(value >= 0 && Number.isSafeInteger(value), `varint: a safe count, got ${value}`);
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** A signed 64-bit integer, zigzag (0, -1, 1, -2, …) and then as a varint of up to ten bytes. */
  zigzag(value: number | bigint): void {
    if (typeof value === "number" && value >= -(2 ** 51) && value < 2 ** 51) {
      this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
      return;
    }
    const wide = BigInt(value);
    let rest = BigInt.asUintN(64, (wide << 1n) ^ (wide >> 63n));
    this.#room(10);
    while (rest >= 0x80n) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  bytes(value: Uint8Array): void {
    this.#room(value.length);
    if (value.length <= 32) {
      // Keys, sites and hashes: a call of `set` costs more than it copies.
      const bytes = this.#bytes;
      const at = this.#length;
      for (let i = 0; i < value.length; i++) bytes[at + i] = value[i] as number;
    } else this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** `source[from..to)`, without a view on it. */
  copy(source: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.#room(length);
    const bytes = this.#bytes;
    let at = this.#length;
    // As in `bytes`: a view costs more than copying little.
    if (length > 64) bytes.set(source.subarray(from, to), at);
    else for (let i = from; i < to; i++) bytes[at++] = source[i] as number;
    this.#length += length;
  }

  /** A varint length, then the bytes. */
  blob(value: Uint8Array): void {
    this.varint(value.length);
    this.bytes(value);
  }

  /** A varint length in bytes, then UTF-8. */
  text(value: string): void {
    // At most 126 bytes, whose length is one: written first and counted then.
    if (value.length <= 42) {
      this.#room(1 + 3 * value.length);
      const start = this.#length + 1;
      const end = utf8Write(this.#bytes, start, value);
      this.#bytes[start - 1] = end - start;
      this.#length = end;
      return;
    }
    if (value.length > shortTextMax) {
      this.blob(utf8Encode(value));
      return;
    }
    const length = utf8Length(value);
    this.varint(length);
    this.#room(length);
    this.#length = utf8Write(this.#bytes, this.#length, value);
  }

  /** The bytes of lower-case hex digits, an even number of them. */
  hex(digits: string): void {
    // A commit names its site two or three times.
    if (digits === lastHex) {
      this.bytes(lastHexBytes);
      return;
    }
    const length = digits.length / 2;
    this.#room(length);
    const bytes = this.#bytes;
    const start = this.#length;
    let at = start;
    for (let i = 0; i < digits.length; i += 2) {
      bytes[at++] = (hexDigit(digits.charCodeAt(i)) << 4) | hexDigit(digits.charCodeAt(i + 1));
    }
    this.#length = at;
    if (length !== lastHexBytes.length) return;
    for (let i = 0; i < length; i++) lastHexBytes[i] = bytes[start + i] as number;
    lastHex = digits;
  }

  #room(bytes: number): void {
    if (this.#length + bytes > this.#bytes.length) this.#grow(bytes);
  }

  /** Apart, for what every field's writer has a copy of is better small. */
  #grow(bytes: number): void {
    const wanted = this.#length + bytes;
    const grown = new Uint8Array(Math.max(wanted, this.#bytes.length * 2));
    grown.set(this.peek());
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
    this.#keptViews = [];
  }
}

/** The site that was written last. */
let lastHex = "";
const lastHexBytes = new Uint8Array(16);

/** Of a lower-case digit: "0" is 48, "a" is 97. */
function hexDigit(code: number): number {
  return code < 58 ? code - 48 : code - 87;
}
