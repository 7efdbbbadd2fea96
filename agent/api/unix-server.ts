/**
 * Carries the handlers over a Unix socket, by HTTP/1.1.
 *
 * @module
 */

import { KeptFile } from "../host/kept-file.ts";
import {
  type HttpServer,
  type HttpServerOptions,
  OpenConnections,
  type SocketData,
} from "./http-server.ts";
import { Http1Connection } from "./http1/connection.ts";

export interface UnixServer extends HttpServer {
  /** Puts the socket at its path again; connections that are open stay. @throws what `Bun.listen` throws */
  renew(): void;
}

/** @throws what `Bun.listen` throws: the caller has made sure of the path (`socket-path.ts`). */
export function serveUnix(options: HttpServerOptions & { readonly path: string }): UnixServer {
  const { path, limit } = options;
  const connections = new OpenConnections(options);
  const listen = () =>
    Bun.listen<SocketData>({
      unix: path,
      // `nc -N` and `socat` say that they have sent all, and wait for the answer.
      allowHalfOpen: true,
      socket: {
        ...connections.handlers,
        open(socket) {
          if (limit?.admitsLocal() === false) {
            connections.refuse(socket);
            return;
          }
          connections.serve(socket, new Http1Connection(socket, connections.shared));
        },
      },
    });
  let listener = listen();
  const file = new KeptFile(path);
  return {
    get connections() {
      return connections.counts;
    },
    renew() {
      listener.stop();
      listener = listen();
      file.renew();
    },
    async stop() {
      // Bun removes whatever is at the path. What another program has put there isn't ours, nor does anybody reach us there.
      const isReplaced = (await file.look()) === "replaced";
      await connections.stop(isReplaced ? { stop: () => listener.unref() } : listener);
    },
  };
}
