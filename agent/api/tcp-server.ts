/**
 * Carries the handlers over TCP: HTTP/1.1 and h2c on the same port.
 *
 * A client that says nothing, or nothing any more, is closed after a while; one that waits for an answer or has a stream
 * never, unless its host is gone.
 *
 * @module
 */

import type { Socket } from "bun";
import { FirstBytes } from "./first-bytes.ts";
import {
  type HttpServer,
  type HttpServerOptions,
  OpenConnections,
  type SocketData,
} from "./http-server.ts";
import { Http1Connection } from "./http1/connection.ts";
import { Http2Connection } from "./http2/connection.ts";
import { type ListenAddress, listenAddressToText } from "./listen-address.ts";

export interface TcpServerOptions extends HttpServerOptions {
  readonly address: ListenAddress;
  /** After which a connection without a request is closed, or one whose client doesn't take its answer. */
  readonly idleMs?: number;
}

export interface TcpServer extends HttpServer {
  /** With the port that was taken. */
  readonly address: ListenAddress;
}

export type TcpServing =
  | { readonly kind: "serving"; readonly server: TcpServer }
  | { readonly kind: "refused"; readonly why: string };

/** What clients that keep connections for later count on: theirs end first. */
const defaultIdleMs = 120_000;
/** In each of them all are looked at so often. */
const looksPerIdleTime = 8;
/** A client that hasn't been idle for so long isn't closed for others: what it says may be on its way. */
const sparedMs = 100;
/** After which the kernel asks a silent client's host whether it is there: ten times in ten seconds. */
const keepAliveMs = 60_000;

export function serveTcp(options: TcpServerOptions): TcpServing {
  const { address } = options;
  const connections = new TcpConnections(options);
  let listener: Bun.TCPSocketListener<SocketData>;
  try {
    listener = Bun.listen<SocketData>({
      hostname: address.host,
      port: address.port,
      // As on the Unix socket, who has sent all may still read.
      allowHalfOpen: true,
      socket: { ...connections.open.handlers, open: (socket) => connections.opened(socket) },
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = listenFailures[code ?? ""] ?? message;
    return { kind: "refused", why: `${listenAddressToText(address)}: ${why}` };
  }
  const taken = { host: address.host, port: listener.port };
  const server: TcpServer = {
    address: taken,
    get connections() {
      return connections.open.counts;
    },
    stop: () => connections.stop(listener),
  };
  return { kind: "serving", server };
}

const listenFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there",
  EADDRNOTAVAIL: "it is no address of this host",
  EACCES: "ports below 1024 need a privilege",
};

class TcpConnections {
  readonly open: OpenConnections;
  readonly #limit: HttpServerOptions["limit"];
  readonly #idleMs: number;
  /** While there are any. */
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Those that haven't told what they speak, the oldest first. */
  readonly #untold = new Set<FirstBytes>();

  constructor(options: TcpServerOptions) {
    const { limit, idleMs = defaultIdleMs } = options;
    this.open = new OpenConnections(options, { asksWhoEnded: true });
    this.#limit = limit;
    this.#idleMs = idleMs;
    limit?.addServer(this);
  }

  opened(socket: Socket<SocketData>): void {
    if (this.#limit?.admits() === false) {
      this.open.refuse(socket);
      return;
    }
    socket.setKeepAlive(true, keepAliveMs);
    const { open } = this;
    const { lateRequests } = open.shared;
    const first = new FirstBytes(socket, {
      lateRequests,
      onTold: (protocol) => {
        const Connection = protocol === "http2" ? Http2Connection : Http1Connection;
        const connection = new Connection(socket, open.shared);
        open.serve(socket, connection);
        return connection;
      },
      onOver: () => this.#untold.delete(first),
    });
    this.#untold.add(first);
    open.serve(socket, first);
    this.#timer ??= setInterval(() => this.#endIdle(), this.#idleMs / looksPerIdleTime);
  }

  cutUntold(): void {
    for (const first of this.#untold) {
      if (first.idleSinceMs < performance.now() - sparedMs) this.open.cutForOthers(first);
      return;
    }
  }

  cutIdle(): void {
    const beforeMs = performance.now() - sparedMs;
    for (const connection of this.open) {
      const { idleSinceMs } = connection;
      if (idleSinceMs !== undefined && idleSinceMs < beforeMs) this.open.cutForOthers(connection);
    }
  }

  stop(listener: Bun.TCPSocketListener<SocketData>): Promise<void> {
    clearInterval(this.#timer);
    return this.open.stop(listener);
  }

  #endIdle(): void {
    if (this.open.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    const nowMs = performance.now();
    const lookMs = this.#idleMs / looksPerIdleTime;
    for (const connection of this.open) {
      const idleMs = nowMs - (connection.idleSinceMs ?? nowMs);
      if (idleMs < this.#idleMs) continue;
      // Once more: it hasn't ended.
      if (idleMs < this.#idleMs + lookMs) connection.stop();
      else connection.cut();
    }
  }
}
