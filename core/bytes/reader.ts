/**
 * Reads what {@link ByteWriter} wrote, from bytes that nobody vouches for.
 *
 * A reader never throws and never reads outside its range. The first malformed field makes it
 * *failed*: `ok` turns false, `why` says what was wrong and where, and every later read gives an
 * empty value. A decoder reads straight through and asks `ok` once before it allocates by a length it
 * read, and once at the end.
 *
 * @module
 */

import { utf8Decode } from "./utf8.ts";

const empty = new Uint8Array(0);

export class ByteReader {
  readonly #bytes: Uint8Array;
  /** Made when it is first needed: few inputs have a double, and making one costs as much as ten fields. */
  #view: DataView | undefined;
  readonly #end: number;
  #at: number;
  #why = "";

  /** Reads `bytes[start..end)`. The bytes are not copied and must not change while it is in use. */
  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get ok(): boolean {
    return this.#why === "";
  }

  /** What made the reader fail: the field, what was wanted and where. Empty while `ok`. */
  get why(): string {
    return this.#why;
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.#end - this.#at;
  }

  /** Offset of the next byte in the underlying array. */
  get offset(): number {
    return this.#at;
  }

  /** Marks the input malformed; the first reason stays. */
  fail(why: string): void {
    if (this.#why === "") this.#why = `${why} at byte ${this.#at}`;
    this.#at = this.#end;
  }

  /** Fails unless everything was read. */
  end(what: string): void {
    if (this.ok && this.left > 0) this.fail(`${what}: ${this.left} bytes too many`);
  }

  u8(what: string): number {
    return this.#take(1, what) ? (this.#bytes[this.#at++] as number) : 0;
  }

  u16(what: string): number {
    if (!this.#take(2, what)) return 0;
    const value = this.#u16At(this.#at);
    this.#at += 2;
    return value;
  }

  u32(what: string): number {
    if (!this.#take(4, what)) return 0;
    const value = this.#u32At(this.#at);
    this.#at += 4;
    return value;
  }

  u48(what: string): number {
    if (!this.#take(6, what)) return 0;
    const value = this.#u16At(this.#at) * 2 ** 32 + this.#u32At(this.#at + 2);
    this.#at += 6;
    return value;
  }

  f64(what: string): number {
    if (!this.#take(8, what)) return 0;
    const bytes = this.#bytes;
    this.#view ??= new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const value = this.#view.getFloat64(this.#at);
    this.#at += 8;
    return value;
  }

  /** A count in 0..max. Non-shortest forms are refused: one value has one encoding. */
  varint(what: string, max: number = Number.MAX_SAFE_INTEGER): number {
    const short = this.#shortVarint(max);
    if (short >= 0) return short;
    let value = 0;
    let factor = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.u8(what);
      if (!this.ok) return 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) this.fail(`${what}: varint is not in its shortest form`);
        else if (value > max) this.fail(`${what}: at most ${max}, got ${value}`);
        else return value;
        return 0;
      }
      factor *= 0x80;
    }
    this.fail(`${what}: varint above 2**53`);
    return 0;
  }

  /** {@link varint} of a part of a field. Its name is put together only for a reason. */
  varintOf(what: string, part: string, max: number): number {
    const short = this.#shortVarint(max);
    return short >= 0 ? short : this.varint(`${what} ${part}`, max);
  }

  /** A varint of one byte; -1 where none stands that is allowed, and nothing was read. */
  #shortVarint(max: number): number {
    if (this.#at >= this.#end) return -1;
    const byte = this.#bytes[this.#at] as number;
    if (byte >= 0x80 || byte > max) return -1;
    this.#at++;
    return byte;
  }

  /** A signed 64-bit integer: a number when it is safe, a bigint beyond. */
  zigzag(what: string): number | bigint {
    let value = 0n;
    let small = 0;
    for (let i = 0; i < 10; i++) {
      const byte = this.u8(what);
      if (!this.ok) return 0;
      if (i < 7) small += (byte & 0x7f) * 0x80 ** i;
      if (i === 7) value = BigInt(small);
      if (i >= 7) value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) {
        if (byte === 0 && i > 0) {
          this.fail(`${what}: varint is not in its shortest form`);
          return 0;
        }
        // Below 2**49: exact as a double, and so is its half.
        if (i < 7) return small % 2 === 0 ? small / 2 : -(small + 1) / 2;
        if (value >= 2n ** 64n) {
          this.fail(`${what}: integer of more than 64 bits`);
          return 0;
        }
        const wide = BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
        const narrow = Number(wide);
        return Number.isSafeInteger(narrow) ? narrow : wide;
      }
    }
    this.fail(`${what}: integer of more than 64 bits`);
    return 0;
  }

  /** The next `length` bytes, as a view on the input. */
  bytes(length: number, what: string): Uint8Array {
    if (!this.#take(length, what)) return empty;
    const value = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  /** A varint length of at most `bytesMax`, then that many bytes, as a view on the input. */
  blob(what: string, bytesMax: number): Uint8Array {
    return this.bytes(this.varintOf(what, "length", bytesMax), what);
  }

  /** {@link blob}, copied. */
  copiedBlob(what: string, bytesMax: number): Uint8Array {
    const length = this.varintOf(what, "length", bytesMax);
    if (!this.#take(length, what)) return empty;
    const at = this.#at;
    this.#at += length;
    return this.#bytes.slice(at, at + length);
  }

  /** A varint length of at most `bytesMax`, then text; where that isn't UTF-8, its bytes, copied. */
  textOrBytes(what: string, bytesMax: number): string | Uint8Array {
    const length = this.varintOf(what, "length", bytesMax);
    if (!this.#take(length, what)) return "";
    const at = this.#at;
    this.#at += length;
    return utf8Decode(this.#bytes, at, at + length) ?? this.#bytes.slice(at, at + length);
  }

  /** A varint length of at most `bytesMax`, then UTF-8. */
  text(what: string, bytesMax: number): string {
    const length = this.varintOf(what, "length", bytesMax);
    if (!this.#take(length, what)) return "";
    const text = utf8Decode(this.#bytes, this.#at, this.#at + length);
    if (text === undefined) {
      this.fail(`${what}: not UTF-8`);
      return "";
    }
    this.#at += length;
    return text;
  }

  #u16At(at: number): number {
    return ((this.#bytes[at] as number) << 8) | (this.#bytes[at + 1] as number);
  }

  #u32At(at: number): number {
    return this.#u16At(at) * 65536 + this.#u16At(at + 2);
  }

  #take(length: number, what: string): boolean {
    if (!this.ok) return false;
    if (length <= this.left) return true;
    this.fail(`${what}: ${length} bytes wanted, ${this.left} left`);
    return false;
  }
}
