/**
 * Carries the handlers over a Unix socket, by HTTP/1.1.
 *
 * `Bun.serve` would do it, as it does on TCP. But a point read took twice the CPU there: a request, a response and four
 * promises for each, and, because that makes the server slower than its client, a client to be woken for each answer. And it
 * cuts clients that send the next request while an answer is awaited. What is ours in its place is small, for the API needs
 * little of HTTP: no content codings, no ranges, no upgrades.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { Socket } from "bun";
import {
  defaultBodyMs,
  type HttpServer,
  type HttpServerOptions,
  lastWordsMs,
} from "../http-server.ts";
import { LateBodies } from "../late-bodies.ts";
import { Http1Connection } from "./connection.ts";

export interface UnixServer extends HttpServer {
  /** Puts the socket at its path again; connections that are open stay. @throws what `Bun.listen` throws */
  renew(): void;
}

/** @throws what `Bun.listen` throws: the caller has made sure of the path (`socket-path.ts`). */
export function serveUnix(options: HttpServerOptions & { readonly path: string }): UnixServer {
  const { path, front, bodyBytesMax, onFault } = options;
  const lateRequests = new LateBodies(options.bodyMs ?? defaultBodyMs);
  const shared = { front, bodyBytesMax, lateRequests, onFault };
  const connections = new Set<Http1Connection>();
  let onEmpty = (): void => {};
  const listen = () =>
    Bun.listen<Http1Connection>({
      unix: path,
      // `nc -N` and `socat` say that they have sent all, and wait for the answer.
      allowHalfOpen: true,
      socket: {
        open(socket: Socket<Http1Connection>) {
          const connection = new Http1Connection(socket, shared);
          socket.data = connection;
          connections.add(connection);
        },
        data(socket: Socket<Http1Connection>, bytes: Buffer) {
          socket.data.received(bytes);
        },
        drain(socket: Socket<Http1Connection>) {
          socket.data.drained();
        },
        end(socket: Socket<Http1Connection>) {
          socket.data.ended();
        },
        close(socket: Socket<Http1Connection>) {
          connections.delete(socket.data);
          socket.data.closed();
          if (connections.size === 0) onEmpty();
        },
        error(socket: Socket<Http1Connection>, error: Error) {
          // The kernel's are clients that are gone.
          if ((error as NodeJS.ErrnoException).errno === undefined) onFault(error);
          socket.terminate();
        },
      },
    });
  let listener = listen();
  return {
    renew: () => {
      listener.stop();
      listener = listen();
    },
    stop: async () => {
      listener.stop();
      for (const connection of connections) connection.stop();
      if (connections.size > 0) {
        const empty = new Promise<void>((resolve) => {
          onEmpty = resolve;
        });
        await Promise.race([empty, Bun.sleep(lastWordsMs)]);
      }
      for (const connection of connections) connection.cut();
      listener.stop(true);
      lateRequests.stop();
    },
  };
}
