/**
 * UDP by `Bun.udpSocket`. It binds synchronously, although it returns a promise: the promise is
 * already resolved, and a bind error is thrown.
 *
 * @module
 */

import type {
  DatagramHandler,
  DatagramSocket,
  DatagramSocketOptions,
  DatagramSockets,
} from "./datagram-socket.ts";
import {
  QUEUE_MAX,
  RECEIVE_BUFFER_BYTES,
  SEND_BUFFER_BYTES,
  TTL_DEFAULT,
} from "./datagram-socket.ts";
import { SegmentationOffload } from "./segmentation-offload.ts";
import { getSocketBuffer, ignoreIcmpErrors, setSocketBuffer } from "./socket-buffer.ts";
import { throwLater } from "./throw-later.ts";

/** LIBUS_SOCKET flags that `Bun.udpSocket` passes on; its types don't list them. */
const FLAG_IPV6_ONLY = 8;
const FLAG_REUSE_ADDRESS = 16;

/** With fewer datagrams of a size the copy isn't worth it. */
const OFFLOAD_MIN = 3;

type RawSocket = import("bun").udp.Socket<"buffer"> & { readonly fd?: number };

interface Waiting {
  readonly bytes: Uint8Array;
  readonly port: number;
  readonly host: string;
  readonly ttl: number;
  readonly resolve: ((sent: boolean) => void) | null;
}

class BunDatagramSocket implements DatagramSocket {
  readonly port: number;
  readonly #raw: RawSocket;
  #ttl = TTL_DEFAULT;
  #closed = false;
  /** Datagrams since the last flush: bytes, port, host, bytes, ... as `sendMany` takes them. */
  #batch: (Uint8Array | number | string)[] = [];
  readonly #offload: SegmentationOffload;
  /** Datagrams that the system had no room for. */
  #waiting: Waiting[] = [];

  constructor(options: DatagramSocketOptions, handler: DatagramHandler) {
    let flags = 0;
    if (options.ipv6Only) flags |= FLAG_IPV6_ONLY;
    if (options.reuseAddress) flags |= FLAG_REUSE_ADDRESS;
    const opening = Bun.udpSocket({
      hostname: options.host,
      port: options.port,
      ...(flags === 0 ? {} : { flags }),
      binaryType: "buffer",
      socket: {
        data: (_socket, bytes, port, host) => {
          if (this.#closed) return;
          try {
            handler.onDatagram(bytes, port, host);
          } catch (error) {
            // Bun would give it to `error`, where it is silent.
            throwLater(error);
          }
        },
        drain: () => this.#onDrain(),
        // ICMP errors (port unreachable) arrive here where they can't be turned off. UDX finds dead peers by itself.
        error: () => {},
      },
    } as import("bun").udp.SocketOptions<"buffer">);
    const raw: unknown = Bun.peek(opening);
    if (raw instanceof Promise) throw new Error("Bun.udpSocket didn't bind synchronously");
    this.#raw = raw as RawSocket;
    this.port = this.#raw.port;
    this.#offload = new SegmentationOffload(this.#raw.fd ?? -1, options.family);
    this.setBufferSize("receive", RECEIVE_BUFFER_BYTES);
    this.setBufferSize("send", SEND_BUFFER_BYTES);
    ignoreIcmpErrors(this.#raw.fd ?? -1);
  }

  queue(bytes: Uint8Array, port: number, host: string): void {
    this.#batch.push(bytes, port, host);
  }

  flush(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    if (this.#closed) return;
    if (this.#waiting.length > 0) {
      this.#wait(batch, 0);
      return;
    }
    if (batch.length === 3) {
      if (
        this.#trySend(batch[0] as Uint8Array, batch[1] as number, batch[2] as string) === "full"
      ) {
        this.#wait(batch, 0);
      }
      return;
    }
    let from = 0;
    for (let at = 0; at < batch.length; ) {
      const count = this.#offload.run(batch, at);
      if (count < OFFLOAD_MIN) {
        at += count * 3;
        continue;
      }
      if (!this.#sendMany(batch, from, at)) return;
      // What isn't sent goes with those that follow, by a call of Bun's, which then says when a full
      // buffer has room again.
      from = this.#offload.send(batch, at, count) ? at + count * 3 : at;
      at += count * 3;
    }
    this.#sendMany(batch, from, batch.length);
  }

  /** Sends `[from, to)` of the batch. False when the rest of the batch has to wait. */
  #sendMany(batch: (Uint8Array | number | string)[], from: number, to: number): boolean {
    if (from === to) return true;
    const part = from === 0 && to === batch.length ? batch : batch.slice(from, to);
    let sent: number;
    try {
      sent = this.#raw.sendMany(part);
    } catch {
      // One bad address fails the call, and it isn't said which: one by one.
      for (let i = 0; i < part.length; i += 3) {
        this.#trySend(part[i] as Uint8Array, part[i + 1] as number, part[i + 2] as string);
      }
      return true;
    }
    // The system's buffer is full, or it told of an earlier datagram's error: then the rest can go.
    for (let i = sent * 3; i < part.length; i += 3) {
      const [bytes, port, host] = part.slice(i, i + 3) as [Uint8Array, number, string];
      if (this.#trySend(bytes, port, host) !== "full") continue;
      this.#wait(batch, from + i);
      return false;
    }
    return true;
  }

  send(bytes: Uint8Array, port: number, host: string, ttl: number): Promise<boolean> {
    this.flush();
    if (this.#closed) return Promise.resolve(false);
    if (this.#waiting.length === 0) {
      const result = this.#trySend(bytes, port, host, ttl);
      if (result !== "full") return Promise.resolve(result === "sent");
    }
    if (this.#waiting.length >= QUEUE_MAX) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#waiting.push({ bytes: copyOf(bytes), port, host, ttl, resolve });
    });
  }

  #trySend(bytes: Uint8Array, port: number, host: string, ttl = 0): "sent" | "full" | "refused" {
    const result = this.#tryOnce(bytes, port, host, ttl);
    // What the system tells may be the error of an earlier datagram, which it tells once.
    return result === "refused" ? this.#tryOnce(bytes, port, host, ttl) : result;
  }

  #tryOnce(
    bytes: Uint8Array,
    port: number,
    host: string,
    ttl: number,
  ): "sent" | "full" | "refused" {
    try {
      if (ttl === 0 || ttl === this.#ttl) {
        return this.#raw.send(bytes, port, host) ? "sent" : "full";
      }
      this.#raw.setTTL(ttl);
      try {
        return this.#raw.send(bytes, port, host) ? "sent" : "full";
      } finally {
        this.#raw.setTTL(this.#ttl);
      }
    } catch {
      return "refused";
    }
  }

  #wait(batch: readonly (Uint8Array | number | string)[], from: number): void {
    for (let i = from; i < batch.length && this.#waiting.length < QUEUE_MAX; i += 3) {
      this.#waiting.push({
        // The stream may reuse its buffer.
        bytes: copyOf(batch[i] as Uint8Array),
        port: batch[i + 1] as number,
        host: batch[i + 2] as string,
        ttl: 0,
        resolve: null,
      });
    }
  }

  #onDrain(): void {
    while (this.#waiting.length > 0 && !this.#closed) {
      const next = this.#waiting[0] as Waiting;
      const result = this.#trySend(next.bytes, next.port, next.host, next.ttl);
      if (result === "full") return;
      this.#waiting.shift();
      next.resolve?.(result === "sent");
    }
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    for (const waiting of this.#waiting) waiting.resolve?.(false);
    this.#waiting = [];
    this.#raw.close();
  }

  setTtl(ttl: number): void {
    this.#ttl = ttl;
    this.#raw.setTTL(ttl);
  }

  addMembership(group: string, interfaceAddress: string | undefined): void {
    this.#raw.addMembership(group, interfaceAddress);
  }

  dropMembership(group: string, interfaceAddress: string | undefined): void {
    this.#raw.dropMembership(group, interfaceAddress);
  }

  getBufferSize(direction: "receive" | "send"): number {
    return getSocketBuffer(this.#raw.fd ?? -1, direction);
  }

  setBufferSize(direction: "receive" | "send", bytes: number): void {
    setSocketBuffer(this.#raw.fd ?? -1, direction, bytes);
  }
}

/** Not `slice`, which of a Buffer is a view. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

export const bunSockets: DatagramSockets = {
  copies: true,
  bind: (options, handler) => new BunDatagramSocket(options, handler),
};
