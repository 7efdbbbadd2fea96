/**
 * UDX without native code: a drop-in for `udx-native` under Bun and Node.
 *
 * The wire format is in `packet.ts`, the protocol in `stream-machine.ts` and `congestion.ts`, both
 * sans-IO; `socket.ts` and `stream.ts` are the surface, and `hub.ts` is what they share.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import { isIP, isIPv4, isIPv6 } from "node:net";
import { bunSockets } from "./bun-socket.ts";
import type { DatagramSockets } from "./datagram-socket.ts";
import type { LossOptions } from "./fault-injection.ts";
import { simulatedLossCount, simulateLoss } from "./fault-injection.ts";
import { Hub } from "./hub.ts";
import type { NetworkInterface } from "./interfaces.ts";
import { listInterfaces, NetworkInterfaces } from "./interfaces.ts";
import { nodeSockets } from "./node-socket.ts";
import type { UDXSocketOptions } from "./socket.ts";
import { UDXSocket } from "./socket.ts";
import type { UDXStreamOptions } from "./stream.ts";
import { UDXStream } from "./stream.ts";

export interface UDXOptions {
  /** Which UDP sockets to use; by default what suits the runtime. */
  sockets?: DatagramSockets;
}

/** Streams and sockets that know each other. A stream may use any socket of its instance. */
export class UDX {
  readonly #hub: Hub;
  readonly #watchers: Set<NetworkInterfaces> = new Set();

  constructor(options: UDXOptions = {}) {
    this.#hub = new Hub(options.sockets ?? (typeof Bun === "undefined" ? nodeSockets : bunSockets));
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

  get bytesTransmitted(): number {
    return this.#hub.bytesTransmitted;
  }
  get packetsTransmitted(): number {
    return this.#hub.packetsTransmitted;
  }
  get bytesReceived(): number {
    return this.#hub.bytesReceived;
  }
  get packetsReceived(): number {
    return this.#hub.packetsReceived;
  }
  get packetsDroppedByKernel(): number {
    return -1;
  }

  createSocket(options?: UDXSocketOptions): UDXSocket {
    return new UDXSocket(this, this.#hub, options);
  }

  /** The id has to be unique within this instance. The peer needs it to reach the stream. */
  createStream(id: number, options?: UDXStreamOptions): UDXStream {
    return new UDXStream(this, this.#hub, id >>> 0, options);
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
}
