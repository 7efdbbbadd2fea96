/**
 * What is said to a client beside its answers: acknowledgements, windows, resets, and goodbye (RFC 9113 §6.4 to §6.9).
 *
 * All of it answers frames of the client's, and so a client that reads nothing must not make us say ever more of it: what it
 * leaves untaken is counted.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { corked, type Output } from "../output.ts";
import {
  defaultWindowBytes,
  type ErrorCode,
  flags,
  frameHeadBytes,
  frameTypes,
  putFrameHead,
  putU32,
  settingIds,
} from "./frames.ts";
import { headBytesMax } from "./request-head.ts";
import { goOn } from "./response-head.ts";
import { streamWindowBytes } from "./stream.ts";

/** At once, of one connection. */
export const concurrentStreamsMax = 256;
/** That all requests of a connection may send before they are told of more. What has come is taken at once. */
export const connectionWindowBytes: number = 1024 * 1024;
/** (CVE-2019-9512, CVE-2019-9515). */
const unreadBytesMax = 64 * 1024;
const pingBytes = 8;

/** Our settings, and the connection's window. */
const firstWords = firstWordsOf([
  [settingIds.concurrentStreamsMax, concurrentStreamsMax],
  [settingIds.initialWindowSize, streamWindowBytes],
  [settingIds.headerListSizeMax, headBytesMax],
]);

function firstWordsOf(settings: readonly (readonly [number, number])[]): Buffer {
  const bytes = Buffer.alloc(2 * frameHeadBytes + settings.length * 6 + 4);
  let at = putFrameHead(bytes, 0, settings.length * 6, frameTypes.settings, 0, 0);
  for (const [id, value] of settings) {
    bytes.writeUInt16BE(id, at);
    putU32(bytes, at + 2, value);
    at += 6;
  }
  at = putFrameHead(bytes, at, 4, frameTypes.windowUpdate, 0, 0);
  putU32(bytes, at, connectionWindowBytes - defaultWindowBytes);
  return bytes;
}

/** Its output is corked whenever something is said. */
export class ControlFrames {
  readonly #output: Output;
  readonly #onUnread: () => void;
  #unreadBytes = 0;

  /** @param onUnread the client leaves too much untaken */
  constructor(output: Output, onUnread: () => void) {
    this.#output = output;
    this.#onUnread = onUnread;
  }

  /** The client has taken all. */
  drained(): void {
    this.#unreadBytes = 0;
  }

  /** What a server says first (§3.4). */
  begin(): void {
    this.#output.write(firstWords);
  }

  acknowledgeSettings(): void {
    this.#put(frameTypes.settings, flags.acknowledged, 0, 0);
  }

  /** @param from where the ping's payload is */
  acknowledgePing(bytes: Buffer, from: number): void {
    const at = this.#put(frameTypes.ping, flags.acknowledged, 0, pingBytes);
    bytes.copy(corked, at, from, from + pingBytes);
  }

  /** Whether the client is there. */
  ping(): void {
    const at = this.#put(frameTypes.ping, 0, 0, pingBytes);
    corked.fill(0, at, at + pingBytes);
  }

  /** @param stream 0 is the whole connection */
  openWindow(stream: number, bytes: number): void {
    putU32(corked, this.#put(frameTypes.windowUpdate, 0, stream, 4), bytes);
  }

  reset(stream: number, code: ErrorCode): void {
    putU32(corked, this.#put(frameTypes.reset, 0, stream, 4), code);
  }

  /** To a client that asks before it sends a body. @param table what its header block begins with */
  goOn(stream: number, table: Buffer): void {
    const length = table.length + goOn.length;
    const at = this.#put(frameTypes.headers, flags.endHeaders, stream, length);
    corked.set(table, at);
    corked.set(goOn, at + table.length);
  }

  /** @param lastStream the highest that was looked at */
  goAway(lastStream: number, code: ErrorCode): void {
    const at = this.#put(frameTypes.goAway, 0, 0, 8);
    putU32(corked, at, lastStream);
    putU32(corked, at + 4, code);
  }

  /** @returns where the payload goes, in {@link corked} */
  #put(type: number, flagBits: number, stream: number, length: number): number {
    if (this.#output.isFull) {
      this.#unreadBytes += frameHeadBytes + length;
      if (this.#unreadBytes > unreadBytesMax) this.#onUnread();
    }
    const at = this.#output.reserve(frameHeadBytes + length);
    return putFrameHead(corked, at, length, type, flagBits, stream);
  }
}
