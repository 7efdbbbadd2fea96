/**
 * Header blocks, as they come in HEADERS and CONTINUATION (RFC 9113 §6.2, §6.10): whole, without padding and priorities.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import { BodyBuffer } from "../body-buffer.ts";
import { type ErrorCode, errorCodes, flags, u31At } from "./frames.ts";
import { unpackedBytesMax } from "./request-head.ts";

/** Of one block, whose frames may say nothing (CVE-2024-27316). */
const framesMax = 64;
const priorityBytes = 5;

export interface HeaderBlock {
  readonly stream: number;
  /** Nothing of the stream follows. */
  readonly ends: boolean;
  /** The stream depends on itself (RFC 7540 §5.3.1). */
  readonly isMalformed: boolean;
  readonly bytes: Buffer;
  readonly from: number;
  readonly to: number;
}

/** Of one connection. */
export class HeaderBlocks {
  #open: (Omit<HeaderBlock, "bytes" | "from" | "to"> & { readonly bytes: BodyBuffer }) | undefined;
  #frames = 0;

  /** Only a CONTINUATION may follow. */
  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /**
   * HEADERS.
   *
   * @returns undefined while more is to come; or why the connection ends
   */
  begin(
    flagBits: number,
    stream: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): HeaderBlock | ErrorCode | undefined {
    if (stream % 2 === 0) return errorCodes.protocol;
    let at = from;
    let end = to;
    let isMalformed = false;
    if ((flagBits & flags.padded) !== 0) {
      if (at === to) return errorCodes.frameSize;
      end -= bytes[at++] as number;
    }
    if ((flagBits & flags.priority) !== 0) {
      if (to - at < priorityBytes) return errorCodes.frameSize;
      isMalformed = u31At(bytes, at) === stream;
      at += priorityBytes;
    }
    if (at > end) return errorCodes.protocol;
    const ends = (flagBits & flags.endStream) !== 0;
    if ((flagBits & flags.endHeaders) !== 0) {
      return { stream, ends, isMalformed, bytes, from: at, to: end };
    }
    const part = new BodyBuffer();
    part.add(bytes.subarray(at, end));
    this.#open = { stream, ends, isMalformed, bytes: part };
    this.#frames = 1;
    return undefined;
  }

  /** CONTINUATION. */
  goOn(
    flagBits: number,
    stream: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): HeaderBlock | ErrorCode | undefined {
    const open = this.#open;
    if (open?.stream !== stream) return errorCodes.protocol;
    open.bytes.add(bytes.subarray(from, to));
    const { length } = open.bytes;
    if (++this.#frames > framesMax || length > unpackedBytesMax) return errorCodes.enhanceYourCalm;
    if ((flagBits & flags.endHeaders) === 0) return undefined;
    this.#open = undefined;
    return { ...open, bytes: open.bytes.whole as Buffer, from: 0, to: length };
  }
}
