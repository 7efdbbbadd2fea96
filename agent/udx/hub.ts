/**
 * What the sockets and streams of one `UDX` share: which stream a packet is for, the end of the event
 * loop's turn, the clock, and the counters of all.
 *
 * @module
 */

import type { DatagramSockets } from "./datagram-socket.ts";
import {
  createPacket,
  decodePacket,
  streamIdOf,
  TYPE_DATA,
  TYPE_END,
  TYPE_HEARTBEAT,
} from "./packet.ts";
import type { PacketBuffers } from "./packet-buffers.ts";
import { packetBuffers } from "./packet-buffers.ts";
import type { SocketOwner, UDXSocket } from "./socket.ts";
import { throwLater } from "./throw-later.ts";

/** A stream as packets and turns find it. */
export interface HubStream {
  readonly id: number;
  /** Set while it waits for the end of the turn. */
  _scheduled: boolean;
  /** The end of the event loop's turn: sends what was left for it. */
  _onTurnEnd(): void;
  /** Returns false for what isn't this stream's after all. */
  _onPacket(socket: UDXSocket, bytes: Uint8Array, port: number, from: string): boolean;
}

/** How long a stream that ended still answers: a peer that missed the last packet retransmits. */
const LATE_MS = 15_000;
const LATE_STREAMS_MAX = 4096;

interface LateAnswer {
  readonly ack: Uint8Array;
  readonly until: number;
}

const latePacket = createPacket();

export class Hub implements SocketOwner {
  readonly sockets: DatagramSockets;
  /** How streams get buffers for packets. */
  readonly packetBuffers: PacketBuffers | Record<string, never>;

  bytesTransmitted = 0;
  packetsTransmitted = 0;
  bytesReceived = 0;
  packetsReceived = 0;

  /** Streams that aren't closed, by their own id. */
  readonly #streams: Map<number, HubStream> = new Map();
  readonly #late: Map<number, LateAnswer> = new Map();
  #scheduled: HubStream[] = [];
  #turnEnding = false;

  constructor(sockets: DatagramSockets) {
    this.sockets = sockets;
    this.packetBuffers = sockets.copies ? packetBuffers : {};
  }

  /** Milliseconds of a monotonic clock, with a fraction. */
  now(): number {
    return performance.now();
  }

  addStream(stream: HubStream): void {
    this.#streams.set(stream.id, stream);
    this.#late.delete(stream.id);
  }

  removeStream(stream: HubStream): void {
    if (this.#streams.get(stream.id) === stream) this.#streams.delete(stream.id);
  }

  /**
   * Has `_onTurnEnd` called once the packets that have arrived are handled: acknowledgements are
   * sent for many at once, and small writes share a packet.
   */
  schedule(stream: HubStream): void {
    stream._scheduled = true;
    this.#scheduled.push(stream);
    if (this.#turnEnding) return;
    this.#turnEnding = true;
    setImmediate(this.#onTurnEnd);
  }

  readonly #onTurnEnd = (): void => {
    this.#turnEnding = false;
    const scheduled = this.#scheduled;
    this.#scheduled = [];
    for (const stream of scheduled) {
      stream._scheduled = false;
      try {
        stream._onTurnEnd();
      } catch (error) {
        throwLater(error);
      }
    }
  };

  onPacket(socket: UDXSocket, bytes: Uint8Array, port: number, from: string): boolean {
    const stream = this.#streams.get(streamIdOf(bytes));
    return stream === undefined
      ? this.#answerLate(socket, bytes, port, from)
      : stream._onPacket(socket, bytes, port, from);
  }

  /** TIME-WAIT of RFC 9293: a stream that ended well still says so when asked. */
  rememberLate(id: number, ack: Uint8Array): void {
    const now = this.now();
    for (const [old, answer] of this.#late) {
      if (answer.until > now && this.#late.size < LATE_STREAMS_MAX) break;
      this.#late.delete(old);
    }
    this.#late.set(id, { ack, until: now + LATE_MS });
  }

  /** Answers a packet for a stream that has ended. False if there was none. */
  #answerLate(socket: UDXSocket, bytes: Uint8Array, port: number, host: string): boolean {
    const answer = this.#late.get(streamIdOf(bytes));
    if (answer === undefined || answer.until < this.now()) return false;
    if (!decodePacket(bytes, latePacket)) return false;
    // Never an acknowledgement for an acknowledgement: two ended streams would talk for ever.
    if ((latePacket.type & (TYPE_DATA | TYPE_END | TYPE_HEARTBEAT)) !== 0) {
      socket._queue(answer.ack, port, host);
      socket._flush();
    }
    return true;
  }
}
