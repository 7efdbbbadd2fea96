/**
 * Gathers frames of a byte stream, so that what decrypts them gets each in one piece: complete frames
 * at the start of a chunk go out at once, without a copy, an incomplete one waits for its rest.
 *
 * A frame begins with its length, 3 bytes in little-endian, which don't count themselves.
 *
 * @module
 */

import { copyBytes } from "./copy-bytes.ts";
import type { Chunk } from "./receiver.ts";

const HEADER_BYTES = 3;
/** A longer frame comes out in parts of this. */
const PART_BYTES_MAX = 65_536;

export class FrameGatherer {
  readonly #push: (bytes: Uint8Array) => void;
  #frame: Uint8Array | null = null;
  #filled = 0;
  /** Bytes of the current frame still to come; 0 between frames. */
  #left = 0;
  /** Not even the current frame's length is complete. */
  #headerCut = false;

  constructor(push: (bytes: Uint8Array) => void) {
    this.#push = push;
  }

  /** Takes the next bytes of the stream. */
  take(chunk: Chunk): void {
    let { start } = chunk;
    const { bytes, end } = chunk;
    if (this.#frame !== null) start = this.#gather(bytes, start, end);
    // Whole frames need no copy.
    let boundary = start;
    while (boundary < end) {
      const length = frameLength(bytes, boundary, end);
      if (length < 0 || boundary + length > end) break;
      boundary += length;
    }
    if (boundary > start) this.#push(bytes.subarray(start, boundary));
    if (boundary < end) this.#gather(bytes, boundary, end);
  }

  /**
   * Adds to the frame that is being gathered, or begins one, until it is complete. Returns where in
   * `bytes` it ended.
   */
  #gather(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (this.#frame === null) this.#beginFrame(frameLength(bytes, at, end));
    while (at < end && this.#frame !== null) {
      const frame: Uint8Array = this.#frame;
      const take = Math.min(end - at, frame.length - this.#filled, this.#left);
      copyBytes(bytes, at, at + take, frame, this.#filled);
      at += take;
      this.#filled += take;
      this.#left -= take;
      if (this.#left === 0) this.#completeFrame(frame);
      else if (this.#filled === frame.length) {
        // A long frame: this part of it, and then the next.
        this.#push(frame);
        this.#frame = Buffer.allocUnsafe(Math.min(this.#left, PART_BYTES_MAX));
        this.#filled = 0;
      }
    }
    return at;
  }

  /** @param length - With the header; -1 while not even that is complete. */
  #beginFrame(length: number): void {
    this.#headerCut = length < 0;
    this.#left = length < 0 ? HEADER_BYTES : length;
    this.#frame = Buffer.allocUnsafe(Math.min(this.#left, PART_BYTES_MAX));
    this.#filled = 0;
  }

  #completeFrame(frame: Uint8Array): void {
    if (!this.#headerCut) {
      this.flush();
      return;
    }
    // Its header was cut between two packets: now it says how long the frame is.
    const length = frameLength(frame, 0, HEADER_BYTES);
    if (length === HEADER_BYTES) {
      this.flush();
      return;
    }
    this.#beginFrame(length);
    this.#frame?.set(frame);
    this.#filled = HEADER_BYTES;
    this.#left -= HEADER_BYTES;
  }

  /** Gives out what there is of a frame: the stream ends. */
  flush(): void {
    const frame = this.#frame;
    if (frame === null) return;
    this.#frame = null;
    if (this.#filled === frame.length) this.#push(frame);
    else if (this.#filled > 0) this.#push(frame.subarray(0, this.#filled));
    this.#filled = 0;
    this.#left = 0;
  }
}

/** Bytes of the frame that starts at `at`, its header included, or -1 where `end` cuts the header. */
function frameLength(bytes: Uint8Array, at: number, end: number): number {
  if (at + HEADER_BYTES > end) return -1;
  const low = bytes[at] ?? 0;
  const middle = bytes[at + 1] ?? 0;
  const high = bytes[at + 2] ?? 0;
  return HEADER_BYTES + (low | (middle << 8) | (high << 16));
}
