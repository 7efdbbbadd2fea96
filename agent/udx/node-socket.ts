/**
 * UDP by `node:dgram`. A `lookup` that answers at once makes `bind` synchronous under Node; under Bun
 * it isn't, which is why there are two adapters.
 *
 * @module
 */

import type { Socket } from "node:dgram";
import { createSocket } from "node:dgram";
import type {
  DatagramHandler,
  DatagramSocket,
  DatagramSocketOptions,
  DatagramSockets,
} from "./datagram-socket.ts";
import { RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES, TTL_DEFAULT } from "./datagram-socket.ts";

class NodeDatagramSocket implements DatagramSocket {
  readonly port: number;
  readonly #raw: Socket;
  readonly #family: 4 | 6;
  #ttl = TTL_DEFAULT;
  #closed = false;

  constructor(options: DatagramSocketOptions, handler: DatagramHandler) {
    this.#family = options.family;
    this.#raw = createSocket({
      type: options.family === 6 ? "udp6" : "udp4",
      ipv6Only: options.ipv6Only,
      reuseAddr: options.reuseAddress,
      lookup: (host: string, _options: unknown, callback: unknown) => {
        (callback as (error: null, address: string, family: number) => void)(
          null,
          host,
          options.family,
        );
      },
    });
    let failure: Error | null = null;
    let listening = false;
    this.#raw.on("error", (error) => {
      failure = error;
    });
    this.#raw.on("listening", () => {
      listening = true;
    });
    this.#raw.on("message", (bytes, from) => {
      if (!this.#closed) handler.onDatagram(bytes, from.port, from.address);
    });
    this.#raw.bind({ port: options.port, address: options.host });
    if (failure !== null) throw failure;
    if (!listening) {
      this.#raw.close();
      throw new Error("node:dgram didn't bind synchronously");
    }
    this.port = this.#raw.address().port;
    this.setBufferSize("receive", RECEIVE_BUFFER_BYTES);
    this.setBufferSize("send", SEND_BUFFER_BYTES);
  }

  #address(host: string): string {
    return this.#family === 6 && !host.includes(":") ? `::ffff:${host}` : host;
  }

  queue(bytes: Uint8Array, port: number, host: string): void {
    if (this.#closed) return;
    // libuv sends at once when nothing waits, so there is nothing to gather.
    this.#raw.send(bytes, port, this.#address(host), ignore);
  }

  flush(): void {}

  send(bytes: Uint8Array, port: number, host: string, ttl: number): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((resolve) => {
      const special = ttl !== 0 && ttl !== this.#ttl;
      if (special) this.#raw.setTTL(ttl);
      this.#raw.send(bytes, port, this.#address(host), (error) => resolve(error === null));
      if (special) this.#raw.setTTL(this.#ttl);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
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
    return direction === "receive" ? this.#raw.getRecvBufferSize() : this.#raw.getSendBufferSize();
  }

  setBufferSize(direction: "receive" | "send", bytes: number): void {
    // macOS refuses sizes above its limit.
    for (let size = bytes; size >= 65_536; size >>>= 1) {
      try {
        if (direction === "receive") this.#raw.setRecvBufferSize(size);
        else this.#raw.setSendBufferSize(size);
        return;
      } catch {
        // The next smaller one; in the end the default stays.
      }
    }
  }
}

function ignore(): void {}

export const nodeSockets: DatagramSockets = {
  // libuv keeps a buffer that the system had no room for.
  copies: false,
  bind: (options, handler) => new NodeDatagramSocket(options, handler),
};
