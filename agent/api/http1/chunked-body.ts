/**
 * A body in chunks (RFC 9112 §7.1): size in hexadecimal, extensions that are ignored, CRLF, that many bytes, CRLF; after
 * a chunk of size 0 trailers, which are ignored, and an empty line.
 *
 * Trailers have to be fields: where the empty line is left out, the next request would be taken for them, and its body for
 * a request.
 *
 * @module
 */

import { isTokenByte, isValueByte } from "./field-bytes.ts";

/** Of a chunk's first line, and of all trailers. */
const lineBytesMax = 4096;
/** Of a size: below 2**52. */
const sizeDigitsMax = 13;
const [tab, lf, cr, space, colon, semicolon] = [0x09, 0x0a, 0x0d, 0x20, 0x3a, 0x3b];

type Step =
  | "size"
  | "blank"
  | "extension"
  | "size-end"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailer"
  | "trailer-name"
  | "trailer-value"
  | "trailer-end"
  | "end";

export class ChunkedBody {
  readonly #take: (part: Uint8Array) => void;
  #bytesLeft: number;
  #step: Step = "size";
  #size = 0;
  #digits = 0;
  /** Of the line at hand; of all trailers. */
  #lineBytes = 0;

  /**
   * @param take gets the body's bytes, as views of what was fed
   * @param bytesMax of the body
   */
  constructor(take: (part: Uint8Array) => void, bytesMax: number) {
    this.#take = take;
    this.#bytesLeft = bytesMax;
  }

  /**
   * @returns where in `bytes` the body has ended; `"more"` when it hasn't. After `"too-large"` and `"malformed"` nothing
   *   more can be read
   */
  feed(bytes: Uint8Array, from: number): number | "more" | "too-large" | "malformed" {
    let at = from;
    while (at < bytes.length) {
      const byte = bytes[at++] as number;
      switch (this.#step) {
        case "size": {
          const digit = hexDigit(byte);
          if (digit >= 0) {
            if (++this.#digits > sizeDigitsMax) return "malformed";
            this.#size = this.#size * 16 + digit;
          } else if (this.#digits === 0) return "malformed";
          else if (byte === cr) this.#step = "size-end";
          else if (byte === semicolon) this.#step = "extension";
          else if (byte === space || byte === tab) this.#step = "blank";
          else return "malformed";
          break;
        }
        case "blank":
          if (byte === semicolon) this.#step = "extension";
          else if (byte !== space && byte !== tab) return "malformed";
          else if (++this.#lineBytes > lineBytesMax) return "malformed";
          break;
        case "extension":
          if (byte === cr) this.#step = "size-end";
          else if (++this.#lineBytes > lineBytesMax || isValueByte[byte] !== 1) return "malformed";
          break;
        case "size-end":
          if (byte !== lf) return "malformed";
          if (this.#size > this.#bytesLeft) return "too-large";
          this.#bytesLeft -= this.#size;
          this.#step = this.#size === 0 ? "trailer" : "data";
          this.#digits = 0;
          this.#lineBytes = 0;
          break;
        case "data": {
          const end = Math.min(bytes.length, --at + this.#size);
          this.#take(bytes.subarray(at, end));
          this.#size -= end - at;
          at = end;
          if (this.#size === 0) this.#step = "data-cr";
          break;
        }
        case "data-cr":
          if (byte !== cr) return "malformed";
          this.#step = "data-lf";
          break;
        case "data-lf":
          if (byte !== lf) return "malformed";
          this.#step = "size";
          break;
        case "trailer":
          if (byte === cr) this.#step = "end";
          else if (isTokenByte[byte] === 1) this.#step = "trailer-name";
          else return "malformed";
          break;
        case "trailer-name":
          if (byte === colon) this.#step = "trailer-value";
          else if (isTokenByte[byte] !== 1) return "malformed";
          if (++this.#lineBytes > lineBytesMax) return "malformed";
          break;
        case "trailer-value":
          if (byte === cr) this.#step = "trailer-end";
          else if (++this.#lineBytes > lineBytesMax || isValueByte[byte] !== 1) return "malformed";
          break;
        case "trailer-end":
          if (byte !== lf) return "malformed";
          this.#step = "trailer";
          break;
        case "end":
          if (byte !== lf) return "malformed";
          return at;
      }
    }
    return "more";
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
