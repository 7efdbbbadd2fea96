/**
 * UDX without native code: a drop-in for `udx-native` under Bun and Node.
 *
 * The wire format is in `packet.ts`, the protocol in `stream-machine.ts` and `congestion.ts`, both
 * sans-IO; `socket.ts` and `stream.ts` are the surface.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import { isIP, isIPv4, isIPv6 } from "node:net";
import { bunSockets } from "./bun-socket.ts";
import type { DatagramSockets } from "./datagram-socket.ts";
import type { LossOptions } from "./fault-injection.ts";
import { simulatedLossCount, simulateLoss } from "./fault-injection.ts";
import type { NetworkInterface } from "./interfaces.ts";
import { listInterfaces, NetworkInterfaces } from "./interfaces.ts";
import { nodeSockets } from "./node-socket.ts";
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
import type { UDXSocketOptions } from "./socket.ts";
import { UDXSocket } from "./socket.ts";
import type { UDXStreamOptions } from "./stream.ts";
import { UDXStream } from "./stream.ts";
import { throwLater } from "./throw-later.ts";

export interface UDXOptions {
  /** Which UDP sockets to use; by default what suits the runtime. */
  sockets?: DatagramSockets;
}

/** How long a stream that ended still answers: a peer that missed the last packet retransmits. */
const LATE_MS = 15_000;
const LATE_STREAMS_MAX = 4096;

interface LateAnswer {
  readonly ack: Uint8Array;
  readonly until: number;
}

const latePacket = createPacket();

/** Streams and sockets that know each other. A stream may use any socket of its instance. */
export class UDX {
  bytesTransmitted = 0;
  packetsTransmitted = 0;
  bytesReceived = 0;
  packetsReceived = 0;

  /** Streams that aren't closed, by their own id. */
  readonly _streams: Map<number, UDXStream> = new Map();
  readonly _sockets: DatagramSockets;
  /** How streams get buffers for packets. */
  readonly _packetBuffers: PacketBuffers | Record<string, never>;
  readonly #watchers: Set<NetworkInterfaces> = new Set();
  readonly #late: Map<number, LateAnswer> = new Map();
  #scheduled: UDXStream[] = [];
  #turnEnding = false;

  constructor(options: UDXOptions = {}) {
    this._sockets = options.sockets ?? (typeof Bun === "undefined" ? nodeSockets : bunSockets);
    this._packetBuffers = this._sockets.copies ? packetBuffers : {};
  }

  static isIPv4(host: string): boolean {
    return isIPv4(host);
  }
  static isIPv6(host: string): boolean {
    return isIPv6(host);
  }
  /** 4, 6, or 0 for what is no address. */
  static isIP(host: string): number {
    return isIP(host);
  }

  /**
   * Drops a share of the datagrams of this thread, by a seed: for tests and demonstrations. Not in
   * udx-native. `UDX.simulateLoss(0.02, 7)` drops one in fifty of those sent; 0 stops it.
   */
  static simulateLoss(loss: number | LossOptions, seed?: number): void {
    simulateLoss(loss, seed);
  }
  /** Datagrams dropped since `simulateLoss` was called. */
  static get simulatedLossCount(): number {
    return simulatedLossCount();
  }

  get packetsDroppedByKernel(): number {
    return -1;
  }

  createSocket(options?: UDXSocketOptions): UDXSocket {
    return new UDXSocket(this, options);
  }

  /** The id has to be unique within this instance. The peer needs it to reach the stream. */
  createStream(id: number, options?: UDXStreamOptions): UDXStream {
    return new UDXStream(this, id >>> 0, options);
  }

  networkInterfaces(): NetworkInterface[] {
    const [watcher] = this.#watchers;
    return watcher === undefined ? listInterfaces() : watcher.interfaces;
  }

  watchNetworkInterfaces(onChange?: (interfaces: NetworkInterface[]) => void): NetworkInterfaces {
    const watcher = new NetworkInterfaces();
    this.#watchers.add(watcher);
    watcher.on("close", () => this.#watchers.delete(watcher));
    if (onChange !== undefined) watcher.on("change", onChange);
    return watcher.watch();
  }

  /** One address of a host name. Rejects with a `code` such as ENOTFOUND. */
  async lookup(
    host: string,
    options: { family?: 0 | 4 | 6 } = {},
  ): Promise<{ host: string; family: 4 | 6 }> {
    const { address, family } = await lookup(host, { family: options.family ?? 0 });
    return { host: address, family: family === 6 ? 6 : 4 };
  }

  // ---- For sockets and streams

  /** Milliseconds of a monotonic clock, with a fraction. */
  _now(): number {
    return performance.now();
  }

  /**
   * Has `_onTurnEnd` called once the packets that have arrived are handled: acknowledgements are
   * sent for many at once, and small writes share a packet.
   */
  _schedule(stream: UDXStream): void {
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

  _removeStream(stream: UDXStream): void {
    if (this._streams.get(stream.id) === stream) this._streams.delete(stream.id);
  }

  /** TIME-WAIT of RFC 9293: a stream that ended well still says so when asked. */
  _rememberLate(id: number, ack: Uint8Array): void {
    const now = this._now();
    for (const [old, answer] of this.#late) {
      if (answer.until > now && this.#late.size < LATE_STREAMS_MAX) break;
      this.#late.delete(old);
    }
    this.#late.set(id, { ack, until: now + LATE_MS });
  }

  _forgetLate(id: number): void {
    this.#late.delete(id);
  }

  /** Answers a packet for a stream that has ended. False if there was none. */
  _answerLate(socket: UDXSocket, bytes: Uint8Array, port: number, host: string): boolean {
    const answer = this.#late.get(streamIdOf(bytes));
    if (answer === undefined || answer.until < this._now()) return false;
    if (!decodePacket(bytes, latePacket)) return false;
    // Never an acknowledgement for an acknowledgement: two ended streams would talk for ever.
    if ((latePacket.type & (TYPE_DATA | TYPE_END | TYPE_HEARTBEAT)) !== 0) {
      socket._queue(answer.ack, port, host);
      socket._flush();
    }
    return true;
  }
}
