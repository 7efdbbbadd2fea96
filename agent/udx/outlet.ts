/**
 * Where a stream's packets leave: writes their headers, and counts them.
 *
 * @module
 */

import { encodeHeader, HEADER_BYTES, writeU32 } from "./packet.ts";
import type { Path, SendDatagram } from "./path.ts";
import type { Receiver } from "./receiver.ts";

export class Outlet<P extends Path> {
  /** The stream's id at the peer. */
  remoteId = 0;
  path: P | null = null;
  bytesSent = 0;
  packetsSent = 0;
  /** Every header tells what was received, and how much more there is room for. */
  readonly #receiver: Receiver;

  constructor(receiver: Receiver) {
    this.#receiver = receiver;
  }

  writeHeader(bytes: Uint8Array, type: number, seq: number): void {
    const windowBytes = this.#receiver.advertise();
    encodeHeader(bytes, type, this.remoteId, windowBytes, seq, this.#receiver.next);
  }

  /** Tells in a packet that is sent again what we know now of the other direction. */
  refreshHeader(bytes: Uint8Array): void {
    writeU32(bytes, 8, this.#receiver.advertise());
    writeU32(bytes, 16, this.#receiver.next);
  }

  /** A packet that is only a header. */
  headerOnly(type: number, seq: number): Uint8Array {
    const bytes = new Uint8Array(HEADER_BYTES);
    this.writeHeader(bytes, type, seq);
    return bytes;
  }

  count(bytes: Uint8Array): void {
    this.packetsSent++;
    this.bytesSent += bytes.length;
  }

  /** Sends a packet to the path of now. */
  emit(bytes: Uint8Array, send: SendDatagram<P>): void {
    if (this.path === null) return;
    this.count(bytes);
    send(bytes, this.path);
  }
}
