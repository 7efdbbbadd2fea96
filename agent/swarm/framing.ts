/**
 * Framing: where one frame ends and the next begins on a stream.
 *
 * | offset | bytes | field                                                   |
 * | ------ | ----- | ------------------------------------------------------- |
 * | 0      | 4     | u32, big endian: bytes that follow, 3 to `frameBytesMax` |
 * | 4      |       | a frame from `kind` on (`core/change/frame.ts`)          |
 *
 * @module
 */

import { frameBytesMax } from "../../core/change/frame.ts";

export const lengthBytes = 4;
/** Kind, lane, and a scope of one byte. */
const frameBytesMin = 3;

export type Framing =
  | { readonly kind: "ok" }
  /** The stream can't be followed any further: destroy it. */
  | { readonly kind: "malformed"; readonly why: string };

const ok: Framing = { kind: "ok" };

/**
 * Cuts the bytes of one stream into frames, however they are split. Memory follows the bytes that have
 * come, not those that a length announces.
 */
export class FrameReader {
  readonly #header = new Uint8Array(lengthBytes);
  #headerLength = 0;
  /** Of the frame being read; 0 while its length isn't known. */
  #length = 0;
  #pieces: Uint8Array[] = [];
  #piecesLength = 0;
  #malformed: Framing | undefined;
  /** Of the last {@link push}: bytes that weren't read, for so many frames weren't wanted. */
  bytesLeft = 0;

  /**
   * Takes the next bytes of the stream and appends the frames that they complete. A frame within
   * `bytes` is a view of it, so the caller must not write there again. After `malformed` nothing more
   * is read. No more is read once there are `framesMax` frames either.
   */
  push(bytes: Uint8Array, frames: Uint8Array[], framesMax = Number.POSITIVE_INFINITY): Framing {
    this.bytesLeft = 0;
    if (this.#malformed !== undefined) return this.#malformed;
    let offset = 0;
    while (offset < bytes.length) {
      if (frames.length >= framesMax) {
        this.bytesLeft = bytes.length - offset;
        return ok;
      }
      if (this.#length === 0) {
        offset = this.#readLength(bytes, offset);
        if (this.#malformed !== undefined) return this.#malformed;
        continue;
      }
      const end = Math.min(bytes.length, offset + this.#length - this.#piecesLength);
      const piece = bytes.subarray(offset, end);
      offset = end;
      if (this.#piecesLength + piece.length < this.#length) {
        this.#pieces.push(piece);
        this.#piecesLength += piece.length;
        continue;
      }
      frames.push(this.#pieces.length === 0 ? piece : join([...this.#pieces, piece], this.#length));
      this.#pieces = [];
      this.#piecesLength = 0;
      this.#length = 0;
    }
    return ok;
  }

  #readLength(bytes: Uint8Array, start: number): number {
    let offset = start;
    while (this.#headerLength < lengthBytes && offset < bytes.length) {
      this.#header[this.#headerLength++] = bytes[offset++] as number;
    }
    if (this.#headerLength < lengthBytes) return offset;
    this.#headerLength = 0;
    const length = new DataView(this.#header.buffer).getUint32(0);
    if (length < frameBytesMin || length > frameBytesMax) {
      this.#malformed = {
        kind: "malformed",
        why: `frame length: ${frameBytesMin} to ${frameBytesMax}, got ${length}`,
      };
    }
    this.#length = length;
    return offset;
  }
}

/** Writes `length` at `offset`, as it stands before a frame. */
export function writeLength(bytes: Uint8Array, offset: number, length: number): void {
  bytes[offset] = length >>> 24;
  bytes[offset + 1] = length >>> 16;
  bytes[offset + 2] = length >>> 8;
  bytes[offset + 3] = length;
}

function join(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.length;
  }
  return whole;
}
