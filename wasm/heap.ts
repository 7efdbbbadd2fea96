/**
 * The wasm heap as JavaScript sees it: views, strings, and what happens to them when it grows.
 *
 * Growing detaches every view of the old memory. All growth goes through {@link Heap.grow}, which
 * makes the views anew, so that nobody has to check: read `heap.u8` when you use it, and don't keep
 * it over a call into SQLite.
 *
 * @module
 */

import { RawText } from "../core/row/value.ts";
import { type HeapAccess, heapBytesMax } from "./imports.ts";

const pageBytes = 65_536;
/** Up to this length a loop over the characters is faster than `utf8Write` (measured: 16 at par). */
const shortTextLength = 24;
const shortBlobBytes = 32;

/** Buffer's own conversions, which Bun has and its types leave out. They skip argument checks. */
interface HeapBuffer extends Buffer {
  utf8Slice(start: number, end: number): string;
  utf8Write(text: string, offset: number, bytesMax: number): number;
}

export class Heap implements HeapAccess {
  readonly memory: WebAssembly.Memory;
  u8: Uint8Array;
  i32: Int32Array;
  f64: Float64Array;
  /** It doesn't grow beyond, and never shrinks: for a while less, for what isn't to make it larger for good. */
  bytesMax: number = heapBytesMax;
  #buffer: HeapBuffer;
  /** Text by address, to be checked against the bytes there: see {@link cachedText}. */
  readonly #textCache = new Map<number, string>();

  constructor(initialBytes: number) {
    this.memory = new WebAssembly.Memory({
      initial: Math.ceil(initialBytes / pageBytes),
      maximum: heapBytesMax / pageBytes,
    });
    this.u8 = new Uint8Array(this.memory.buffer);
    this.i32 = new Int32Array(this.memory.buffer);
    this.f64 = new Float64Array(this.memory.buffer);
    this.#buffer = Buffer.from(this.memory.buffer) as HeapBuffer;
  }

  /**
   * Grows to at least `bytesMin`, by a fifth or 64 MiB if that is more than asked for but not more
   * than is left. The one place where views are replaced.
   */
  grow(bytesMin: number): boolean {
    const before = this.u8.length;
    const { bytesMax } = this;
    if (bytesMin > bytesMax) return false;
    const generous = before + Math.min(Math.floor(before / 5), 64 * 1024 * 1024);
    const grown =
      this.#growTo(Math.min(Math.max(bytesMin, generous), bytesMax)) || this.#growTo(bytesMin);
    if (!grown) return false;
    this.u8 = new Uint8Array(this.memory.buffer);
    this.i32 = new Int32Array(this.memory.buffer);
    this.f64 = new Float64Array(this.memory.buffer);
    this.#buffer = Buffer.from(this.memory.buffer) as HeapBuffer;
    return true;
  }

  #growTo(bytes: number): boolean {
    try {
      this.memory.grow(Math.ceil((bytes - this.u8.length) / pageBytes));
      return true;
    } catch {
      return false;
    }
  }

  /** TEXT of exactly these bytes: a string if it loses nothing, see core/row/value.ts. */
  text(pointer: number, bytes: number): string | RawText {
    if (bytes === 0) return "";
    const text = this.#buffer.utf8Slice(pointer, pointer + bytes);
    // Malformed UTF-8 decodes to U+FFFD; so does U+FFFD itself, which is well-formed.
    if (text.includes("\ufffd") && !this.#isTextOf(text, pointer, bytes)) {
      return new RawText(this.bytes(pointer, bytes));
    }
    return text;
  }

  #isTextOf(text: string, pointer: number, bytes: number): boolean {
    return Buffer.from(text, "utf8").equals(this.u8.subarray(pointer, pointer + bytes));
  }

  /** Text with malformed bytes replaced. */
  lossyText(pointer: number, bytes: number): string {
    return bytes === 0 ? "" : this.#buffer.utf8Slice(pointer, pointer + bytes);
  }

  /** A loop for the short ones: `set` costs 30 ns at any length. */
  writeBytes(bytes: Uint8Array, pointer: number): void {
    const length = bytes.length;
    const u8 = this.u8;
    if (length > shortBlobBytes) u8.set(bytes, pointer);
    else for (let at = 0; at < length; at++) u8[pointer + at] = bytes[at] as number;
  }

  /** A copy. */
  bytes(pointer: number, bytes: number): Uint8Array {
    return this.u8.slice(pointer, pointer + bytes);
  }

  /** Zero-terminated text, malformed bytes replaced. For names and messages; "" for a null pointer. */
  cString(pointer: number): string {
    if (pointer === 0) return "";
    return this.#buffer.utf8Slice(pointer, this.u8.indexOf(0, pointer));
  }

  /**
   * {@link cString} for ASCII names that come again and again at the same address, as table names
   * do in a hook: compares instead of decoding (10 ns against 40).
   */
  cachedText(pointer: number): string {
    const cached = this.#textCache.get(pointer);
    if (cached !== undefined && this.#isAsciiAt(cached, pointer)) return cached;
    const text = this.cString(pointer);
    if (this.#textCache.size > 1000) this.#textCache.clear();
    this.#textCache.set(pointer, text);
    return text;
  }

  #isAsciiAt(text: string, pointer: number): boolean {
    const u8 = this.u8;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      // A code above 127 is never equal: such a name is decoded every time.
      if (code > 127 || code !== u8[pointer + at]) return false;
    }
    return u8[pointer + text.length] === 0;
  }

  /**
   * Writes text as UTF-8; a lone surrogate becomes U+FFFD.
   *
   * @param bytesMax room at `pointer`; three bytes a UTF-16 unit are always enough.
   * @returns how many bytes were written; there is no terminator.
   */
  writeText(text: string, pointer: number, bytesMax: number): number {
    const length = text.length;
    if (length <= shortTextLength) {
      const u8 = this.u8;
      let at = 0;
      for (; at < length; at++) {
        const code = text.charCodeAt(at);
        if (code > 127) break;
        u8[pointer + at] = code;
      }
      if (at === length) return length;
    }
    return this.#buffer.utf8Write(text, pointer, bytesMax);
  }
}
