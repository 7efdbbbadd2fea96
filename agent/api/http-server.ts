/**
 * What the servers of the Unix socket (`unix-server.ts`) and of TCP (`tcp-server.ts`) have in common: sockets of
 * `Bun.listen`, each with a connection that reads and answers, and how they end.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { Socket, SocketHandler } from "bun";
import type { ConnectionLimit } from "./connection-limit.ts";
import type { Front } from "./front.ts";
import { LateRequests } from "./late-requests.ts";
import type { ConnectionOptions, ServedConnection } from "./served-connection.ts";

export interface HttpServerOptions {
  readonly front: Front;
  readonly bodyBytesMax: number;
  /** Within which a request must have come, from its first byte to its last. */
  readonly requestMs?: number;
  /** Of all servers together; none by default. */
  readonly limit?: ConnectionLimit;
  /** A handler threw: our fault, answered with 500. */
  readonly onFault: (error: unknown) => void;
}

/** Of one server, since its start but for those that are open. */
export interface ConnectionCounts {
  readonly open: number;
  /** Closed as they came: too many were open, and none could be closed for them. */
  readonly refused: number;
  /** Closed for others, without a request. */
  readonly closedForOthers: number;
}

export interface HttpServer {
  readonly connections: ConnectionCounts;
  /** Takes no new requests; what was said last is still sent, for a moment; then connections are cut. */
  stop(): Promise<void>;
}

const defaultRequestMs = 30_000;
/** For what was said last, when a server stops. */
const lastWordsMs = 200;

/** Of a socket that isn't served: undefined. */
export type SocketData = ServedConnection | undefined;

/** Those of one server that are open. */
export class OpenConnections implements Iterable<ServedConnection> {
  readonly shared: ConnectionOptions;
  readonly #options: HttpServerOptions;
  readonly #open = new Set<ServedConnection>();
  #refused = 0;
  #closedForOthers = 0;
  #onEmpty = (): void => {};

  constructor(options: HttpServerOptions, own: Partial<ConnectionOptions> = {}) {
    const { front, bodyBytesMax, onFault, requestMs = defaultRequestMs } = options;
    this.#options = options;
    this.shared = {
      front,
      bodyBytesMax,
      onFault,
      lateRequests: new LateRequests(requestMs),
      ...own,
    };
  }

  get size(): number {
    return this.#open.size;
  }

  get counts(): ConnectionCounts {
    const closedForOthers = this.#closedForOthers;
    return { open: this.#open.size, refused: this.#refused, closedForOthers };
  }

  /** There is no room for it: it isn't served. */
  refuse(socket: Socket<SocketData>): void {
    this.#refused++;
    socket.terminate();
  }

  /** Makes room. */
  cutForOthers(connection: ServedConnection): void {
    this.#closedForOthers++;
    connection.cut();
  }

  [Symbol.iterator](): Iterator<ServedConnection> {
    return this.#open.values();
  }

  /** From now on the socket is served by `connection`, whatever was before. */
  serve(socket: Socket<SocketData>, connection: ServedConnection): void {
    if (socket.data !== undefined) this.#open.delete(socket.data);
    socket.data = connection;
    this.#open.add(connection);
  }

  /** For `Bun.listen`, beside `open`. */
  get handlers(): SocketHandler<SocketData> & Pick<Required<SocketHandler<SocketData>>, "data"> {
    const { limit, onFault } = this.#options;
    return {
      data(socket: Socket<SocketData>, bytes: Buffer) {
        socket.data?.received(bytes);
      },
      drain(socket: Socket<SocketData>) {
        socket.data?.drained();
      },
      end(socket: Socket<SocketData>) {
        socket.data?.ended();
      },
      close: (socket: Socket<SocketData>) => {
        const connection = socket.data;
        if (connection === undefined) return;
        this.#open.delete(connection);
        limit?.left();
        connection.closed();
        if (this.#open.size === 0) this.#onEmpty();
      },
      error(socket: Socket<SocketData>, error: Error) {
        // The kernel's are clients that are gone.
        if ((error as NodeJS.ErrnoException).errno === undefined) onFault(error);
        socket.terminate();
      },
    };
  }

  /** As {@link HttpServer.stop}. */
  async stop(listener: { stop(closes?: boolean): void }): Promise<void> {
    listener.stop();
    for (const connection of this.#open) connection.stop();
    if (this.#open.size > 0) {
      const empty = new Promise<void>((resolve) => {
        this.#onEmpty = resolve;
      });
      await Promise.race([empty, Bun.sleep(lastWordsMs)]);
    }
    for (const connection of this.#open) connection.cut();
    listener.stop(true);
    this.shared.lateRequests.stop();
  }
}
