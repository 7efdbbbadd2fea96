/**
 * A UDP socket shared by streams and plain datagrams: what belongs to a stream goes there, the rest
 * is a `message`.
 *
 * @module
 */

import { EventEmitter } from "node:events";
import { isIP } from "node:net";
import type { DatagramHandler, DatagramSocket, DatagramSockets } from "./datagram-socket.ts";
import { dropsIncoming, dropsOutgoing } from "./fault-injection.ts";
import { isUdxPacket } from "./packet.ts";
import type { Path } from "./path.ts";

export interface UDXSocketOptions {
  ipv6Only?: boolean;
  reuseAddress?: boolean;
}

export interface UDXAddress {
  host: string;
  family: 4 | 6;
  port: number;
}

/** A stream's remote, with the socket that leads there. */
export interface SocketPath extends Path {
  readonly socket: UDXSocket;
}

/** What a socket asks of the `UDX` that it belongs to. */
export interface SocketOwner {
  readonly sockets: DatagramSockets;
  bytesTransmitted: number;
  packetsTransmitted: number;
  bytesReceived: number;
  packetsReceived: number;
  /** Gives a packet to the stream that it names. False: to none, so it is a message of the socket. */
  onPacket(socket: UDXSocket, bytes: Uint8Array, port: number, from: string): boolean;
}

const MAPPED_PREFIX = "::ffff:";

/** An IPv4 address that came mapped to IPv6, as IPv4. */
export function unmapAddress(host: string): string {
  return host.startsWith(MAPPED_PREFIX) && host.includes(".")
    ? host.slice(MAPPED_PREFIX.length)
    : host;
}

/** Throws for what isn't an address: names have to be looked up first. */
export function addressFamily(host: string): 4 | 6 {
  const family = isIP(host);
  if (family === 0) throw new Error(`${host} is not a valid IP address`);
  return family as 4 | 6;
}

/**
 * Events: `message` (bytes, from), `listening`, `close`, `busy` (the first stream is connected),
 * `idle` (the last is gone).
 */
export class UDXSocket extends EventEmitter implements DatagramHandler {
  /** The `UDX` that made it. */
  readonly udx: object;
  /** The streams that are connected through it. */
  readonly streams: Set<object> = new Set();
  userData: unknown = null;

  bytesTransmitted = 0;
  packetsTransmitted = 0;
  bytesReceived = 0;
  packetsReceived = 0;

  readonly #owner: SocketOwner;
  readonly #ipv6Only: boolean;
  readonly #reuseAddress: boolean;
  #raw: DatagramSocket | null = null;
  #host = "";
  #family: 4 | 6 = 4;
  #port = 0;
  #closing: Promise<void> | null = null;
  #closed = false;
  #queued = false;

  constructor(udx: object, owner: SocketOwner, options: UDXSocketOptions = {}) {
    super();
    this.udx = udx;
    this.#owner = owner;
    this.#ipv6Only = options.ipv6Only === true;
    this.#reuseAddress = options.reuseAddress === true;
  }

  get bound(): boolean {
    return this.#port !== 0;
  }
  get closing(): boolean {
    return this.#closing !== null;
  }
  get idle(): boolean {
    return this.streams.size === 0;
  }
  get busy(): boolean {
    return this.streams.size > 0;
  }
  /** Bun and Node don't tell: -1, as the native one says where its system doesn't. */
  get packetsDroppedByKernel(): number {
    return this.#raw === null ? 0 : -1;
  }

  address(): UDXAddress | null {
    if (!this.bound) return null;
    return { host: this.#host, family: this.#family, port: this.#port };
  }

  /**
   * Binds now. Without a host it takes IPv6 and IPv4, or IPv4 alone where there is no IPv6.
   * Throws EADDRINUSE and the like.
   */
  bind(port = 0, host?: string | null): void {
    if (this.bound) throw new Error("Already bound");
    if (this.closing) throw new Error("Socket is closed");
    if (host) {
      this.#bind(port || 0, host, addressFamily(host));
    } else {
      try {
        this.#bind(port || 0, "::", 6);
      } catch {
        this.#bind(port || 0, "0.0.0.0", 4);
      }
    }
    this.emit("listening");
  }

  #bind(port: number, host: string, family: 4 | 6): void {
    this.#raw = this.#owner.sockets.bind(
      {
        host,
        port,
        family,
        ipv6Only: this.#ipv6Only,
        reuseAddress: this.#reuseAddress,
      },
      this,
    );
    this.#port = this.#raw.port;
    this.#host = host;
    this.#family = family;
  }

  /** Resolves when closed, which waits for the streams on it. */
  async close(): Promise<void> {
    if (this.#closing === null) {
      this.#closing = new Promise((resolve) => this.once("close", resolve));
      this.#closeMaybe();
    }
    return this.#closing;
  }

  #closeMaybe(): boolean {
    if (this.#closed || this.#closing === null) return this.#closed;
    if (this.#raw === null) {
      this.#closed = true;
      this.emit("close");
    } else if (this.idle) {
      this.#closed = true;
      this.#raw.close();
      setImmediate(() => this.emit("close"));
    }
    return this.#closed;
  }

  /** Sends a datagram; true when the system has taken it. Binds if need be. */
  async send(bytes: Uint8Array, port: number, host?: string | null, ttl = 0): Promise<boolean> {
    return this.#send(bytes, port, host, ttl);
  }

  trySend(bytes: Uint8Array, port: number, host?: string | null, ttl = 0): void {
    void this.#send(bytes, port, host, ttl);
  }

  #send(
    bytes: Uint8Array,
    port: number,
    host: string | null | undefined,
    ttl: number,
  ): Promise<boolean> {
    if (this.closing) return Promise.resolve(false);
    const to = host || "127.0.0.1";
    addressFamily(to);
    const raw = this.#active(true);
    this.#count(bytes.length);
    if (dropsOutgoing()) return Promise.resolve(true);
    return raw.send(bytes, port, to, ttl || 0);
  }

  #active(bind: boolean): DatagramSocket {
    if (bind && !this.bound) this.bind(0);
    if (this.#raw === null) throw new Error("Socket not active");
    return this.#raw;
  }

  #count(bytes: number): void {
    this.bytesTransmitted += bytes;
    this.packetsTransmitted++;
    this.#owner.bytesTransmitted += bytes;
    this.#owner.packetsTransmitted++;
  }

  setTTL(ttl: number): void {
    if (!(ttl >= 1 && ttl <= 255)) throw new Error(`${ttl} is not a valid TTL`);
    this.#active(false).setTtl(ttl);
  }
  getRecvBufferSize(): number {
    return this.#active(false).getBufferSize("receive");
  }
  setRecvBufferSize(bytes: number): void {
    this.#active(false).setBufferSize("receive", bytes);
  }
  getSendBufferSize(): number {
    return this.#active(false).getBufferSize("send");
  }
  setSendBufferSize(bytes: number): void {
    this.#active(false).setBufferSize("send", bytes);
  }
  addMembership(group: string, interfaceAddress?: string): void {
    this.#active(false).addMembership(group, interfaceAddress || undefined);
  }
  dropMembership(group: string, interfaceAddress?: string): void {
    this.#active(false).dropMembership(group, interfaceAddress || undefined);
  }

  toJSON(): object {
    return {
      bound: this.bound,
      closing: this.closing,
      streams: this.streams.size,
      address: this.address(),
      ipv6Only: this.#ipv6Only,
      reuseAddress: this.#reuseAddress,
      idle: this.idle,
      busy: this.busy,
    };
  }

  // ---- For streams and the adapter

  onDatagram(bytes: Uint8Array, port: number, from: string): void {
    if (this.#closed || dropsIncoming()) return;
    this.bytesReceived += bytes.length;
    this.packetsReceived++;
    this.#owner.bytesReceived += bytes.length;
    this.#owner.packetsReceived++;
    if (isUdxPacket(bytes) && this.#owner.onPacket(this, bytes, port, from)) return;
    const host = unmapAddress(from);
    this.emit("message", bytes, { host, family: host.includes(":") ? 6 : 4, port });
  }

  /** Queues one packet of a stream until `_flush`. */
  _queue(bytes: Uint8Array, port: number, host: string): void {
    if (this.#closed || this.#raw === null) return;
    this.#count(bytes.length);
    if (dropsOutgoing()) return;
    this.#queued = true;
    this.#raw.queue(bytes, port, host);
  }

  _flush(): void {
    if (!this.#queued || this.#raw === null) return;
    this.#queued = false;
    this.#raw.flush();
  }

  _addStream(stream: object): void {
    if (this.streams.has(stream)) return;
    this.streams.add(stream);
    if (this.streams.size === 1) this.emit("busy");
  }

  _removeStream(stream: object): void {
    if (!this.streams.delete(stream)) return;
    const closed = this.#closeMaybe();
    if (this.idle && !closed) this.emit("idle");
  }
}
