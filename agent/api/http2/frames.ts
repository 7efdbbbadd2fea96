/**
 * What frames of HTTP/2 are made of (RFC 9113 §4.1, §6, §7).
 *
 * | offset | bytes | of a frame                                  |
 * | ------ | ----- | ------------------------------------------- |
 * | 0      | 3     | length of the payload, big-endian           |
 * | 3      | 1     | type                                        |
 * | 4      | 1     | flags                                       |
 * | 5      | 4     | stream; the first bit is ignored            |
 * | 9      |       | payload                                     |
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** What a client says first (§3.4). */
export const preface: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

export const frameHeadBytes = 9;
/** Of a payload that either side takes unless it says otherwise (§6.5.2). We never do. */
export const payloadBytesMax = 16_384;
/** Of a stream and of a connection until they are told otherwise (§6.9.2). */
export const defaultWindowBytes = 65_535;
/** Windows can't be larger (§6.9.1). */
export const windowBytesMax: number = 2 ** 31 - 1;

export const frameTypes = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flags = {
  /** DATA, HEADERS: nothing of this stream follows from this side. */
  endStream: 0x1,
  /** SETTINGS, PING. */
  acknowledged: 0x1,
  /** HEADERS, CONTINUATION. */
  endHeaders: 0x4,
  /** DATA, HEADERS. */
  padded: 0x8,
  /** HEADERS: five bytes of priority come first. */
  priority: 0x20,
} as const;

export const settingIds = {
  headerTableSize: 1,
  enablePush: 2,
  concurrentStreamsMax: 3,
  initialWindowSize: 4,
  frameSizeMax: 5,
  headerListSizeMax: 6,
} as const;

/** §7. */
export const errorCodes = {
  none: 0x0,
  protocol: 0x1,
  internal: 0x2,
  flowControl: 0x3,
  streamClosed: 0x5,
  frameSize: 0x6,
  refusedStream: 0x7,
  cancel: 0x8,
  compression: 0x9,
  enhanceYourCalm: 0xb,
} as const;

export type ErrorCode = (typeof errorCodes)[keyof typeof errorCodes];

export function u24At(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)
  );
}

export function u32At(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) * 0x1000000 + u24At(bytes, at + 1);
}

/** Streams and window increments have 31 bits. */
export function u31At(bytes: Uint8Array, at: number): number {
  return (((bytes[at] as number) & 0x7f) << 24) | u24At(bytes, at + 1);
}

/** @returns where the payload goes */
export function putFrameHead(
  into: Uint8Array,
  at: number,
  length: number,
  type: number,
  flagBits: number,
  stream: number,
): number {
  into[at] = length >> 16;
  into[at + 1] = length >> 8;
  into[at + 2] = length;
  into[at + 3] = type;
  into[at + 4] = flagBits;
  putU32(into, at + 5, stream);
  return at + frameHeadBytes;
}

export function putU32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
