/**
 * What UDX needs of a UDP socket. `bun-socket.ts` and `node-socket.ts` implement it; one contract
 * test runs over both.
 *
 * @module
 */

export interface DatagramSocketOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly family: 4 | 6;
  /** An IPv6 socket takes no IPv4. */
  readonly ipv6Only: boolean;
  /** Others may bind the same port. */
  readonly reuseAddress: boolean;
}

export interface DatagramHandler {
  /** `bytes` belong to the receiver. `host` may be an IPv4 address mapped to IPv6. */
  onDatagram(bytes: Uint8Array, port: number, host: string): void;
}

/** A bound socket. */
export interface DatagramSocket {
  readonly port: number;

  /** Queues a datagram until `flush`, which may send many with one system call. */
  queue(bytes: Uint8Array, port: number, host: string): void;
  /** Hands the queue to the system. What doesn't fit its buffer goes when it has room, in order. */
  flush(): void;
  /**
   * Sends one datagram, after those that wait. Resolves when the system has taken it, with false when
   * it refused.
   */
  send(bytes: Uint8Array, port: number, host: string, ttl: number): Promise<boolean>;

  close(): void;
  setTtl(ttl: number): void;
  addMembership(group: string, interfaceAddress: string | undefined): void;
  dropMembership(group: string, interfaceAddress: string | undefined): void;
  /** Bytes as the system reports them: Linux doubles what was asked for. -1 where it can't be read. */
  getBufferSize(direction: "receive" | "send"): number;
  /** Best effort: systems cap it, and without bun:ffi nothing happens. */
  setBufferSize(direction: "receive" | "send", bytes: number): void;
}

export interface DatagramSockets {
  /** Whether a buffer may be reused once `flush` has returned. */
  readonly copies: boolean;
  /** Binds at once. Throws what the system says, with a `code` such as EADDRINUSE. */
  bind(options: DatagramSocketOptions, handler: DatagramHandler): DatagramSocket;
}

/**
 * Bytes of kernel buffer asked for: what a window lets a peer have in flight. Systems allow less, and
 * take memory for it only when it is used. Linux's default of 208 KiB holds about 90 full packets.
 */
export const RECEIVE_BUFFER_BYTES: number = 4 * 1024 * 1024;
export const SEND_BUFFER_BYTES = 212_992;
/** Datagrams that wait for a full system buffer; more are dropped, as a router would. */
export const QUEUE_MAX = 1024;
/** What sockets start with. */
export const TTL_DEFAULT = 64;
