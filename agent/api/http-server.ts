/**
 * Carries the handlers over TCP, by `Bun.serve`: a connection that begins with the HTTP/2 preface (RFC 9113 §3.4) speaks
 * h2c, any other one HTTP/1.1. On the Unix socket they have a server of ours (`http1/unix-server.ts`).
 *
 * What floods and malformed frames do is Bun's to bound, and `test/contract/hostile-h2.test.ts` holds it to that. Put right here: a
 * body that takes too long gives up its place, a connection without a request in it is closed after two minutes, one
 * with a stream never, however silent; and Bun answers bodies over its own limit by itself: that limit is lifted,
 * ours is looked at first.
 *
 * An answer that is there before the event loop turns leaves in the same turn: Bun cuts a connection of HTTP/1.1 whose next
 * request comes (pipelined) while the one before waits for anything but microtasks.
 *
 * @module
 */

import type { Server } from "bun";
import { CarriedRequest, type ReadBody } from "./carried-request.ts";
import { toResponse } from "./carried-response.ts";
import { CutRequests } from "./cut-requests.ts";
import type { Entry, Front } from "./front.ts";
import { type ApiResponse, internalError, noRoomForBody, requestTooLate } from "./http.ts";
import { LateBodies } from "./late-bodies.ts";
import { type ListenAddress, listenAddressToText } from "./listen-address.ts";

export interface HttpServerOptions {
  readonly front: Front;
  readonly bodyBytesMax: number;
  /** Within which a request's body must have come: until then it holds one of its route's places. */
  readonly bodyMs?: number;
  /** After which a TCP connection without a request is closed; at most 255. */
  readonly idleSeconds?: number;
  /** Of requests that ended before their body had come. */
  readonly cutRequests?: Pick<CutRequests, "note">;
  /** A handler threw: our fault, answered with 500. */
  readonly onFault: (error: unknown) => void;
}

export interface HttpServer {
  /** Takes no new requests; what was said last is still sent, for a moment; then connections are cut. */
  stop(): Promise<void>;
}

export interface TcpServer extends HttpServer {
  /** Closes connections that have no request. @returns how many */
  closeIdle(): number;
  /** With the port that was taken. */
  readonly address: ListenAddress;
}

export type TcpServing =
  | { readonly kind: "serving"; readonly server: TcpServer }
  | { readonly kind: "refused"; readonly why: string };

export const defaultBodyMs = 30_000;
/** What clients that keep connections for later count on: theirs end first. */
const defaultIdleSeconds = 120;
/** For what was said last, when a server stops. */
export const lastWordsMs = 200;

export function serveTcp(
  options: HttpServerOptions & { readonly address: ListenAddress },
): TcpServing {
  const { address, idleSeconds = defaultIdleSeconds } = options;
  const carrier = new Carrier(options, idleSeconds);
  let server: Server<undefined>;
  try {
    server = Bun.serve({
      hostname: address.host,
      port: address.port,
      http2: true,
      idleTimeout: idleSeconds,
      ...carrier.handlers,
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = listenFailures[code ?? ""] ?? message;
    return { kind: "refused", why: `${listenAddressToText(address)}: ${why}` };
  }
  const taken = { host: address.host, port: server.port as number };
  const closeIdle = () => server.closeIdleConnections();
  return { kind: "serving", server: { address: taken, closeIdle, ...carrier.serving(server) } };
}

const listenFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there",
  EADDRNOTAVAIL: "it is no address of this host",
  EACCES: "ports below 1024 need a privilege",
};

type Entered = Entry & { readonly kind: "entered" };

class Carrier {
  readonly #options: HttpServerOptions;
  readonly #idleSeconds: number;
  readonly #lateBodies: LateBodies;
  readonly #cutRequests: Pick<CutRequests, "note">;

  constructor(options: HttpServerOptions, idleSeconds: number) {
    this.#options = options;
    this.#idleSeconds = idleSeconds;
    this.#lateBodies = new LateBodies(options.bodyMs ?? defaultBodyMs);
    this.#cutRequests = options.cutRequests ?? new CutRequests();
  }

  /** What `Bun.serve` calls, and what is the same everywhere. */
  get handlers() {
    return {
      development: false,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request: Request, server: Server<undefined>) => this.#fetch(request, server),
      error: (error: Error) => {
        this.#options.onFault(error);
        return toResponse(internalError());
      },
    };
  }

  serving(server: Server<undefined>): HttpServer {
    return {
      stop: async () => {
        await Promise.race([server.stop(), Bun.sleep(lastWordsMs)]);
        await server.stop(true);
        this.#lateBodies.stop();
      },
    };
  }

  /** No more promises than there is to wait for: each costs a good part of a microsecond. */
  #fetch(request: Request, server: Server<undefined>): Response | Promise<Response> {
    const { front, bodyBytesMax } = this.#options;
    const incoming = new CarriedRequest(request, bodyBytesMax);
    const entry = front.enter(incoming);
    if (entry.kind === "refused") return toResponse(entry.response);
    const body = incoming.readBody(entry.body);
    if (!(body instanceof Promise)) return this.#handle(incoming, body, entry, server);
    return new Promise((resolve, reject) => {
      const awaited = this.#lateBodies.await(() => {
        front.leave(entry);
        resolve(toResponse(bodyTooLate));
      });
      body.then(
        (bytes) => {
          if (!this.#lateBodies.came(awaited)) return;
          try {
            resolve(this.#handle(incoming, bytes, entry, server));
          } catch (error) {
            reject(error);
          }
        },
        (error) => {
          if (!this.#lateBodies.came(awaited)) return;
          front.leave(entry);
          this.#cutRequests.note();
          reject(error);
        },
      );
    });
  }

  #handle(
    incoming: CarriedRequest,
    body: ReadBody,
    entry: Entered,
    server: Server<undefined>,
  ): Response | Promise<Response> {
    const { front } = this.#options;
    if (body === "no-room") {
      front.leave(entry);
      return toResponse(noRoomForBody);
    }
    incoming.body = body;
    let answer: ApiResponse | Promise<ApiResponse>;
    try {
      answer = front.handle(incoming, entry);
    } catch (error) {
      front.leave(entry);
      throw error;
    }
    if (!(answer instanceof Promise)) {
      front.leave(entry);
      return this.#respond(answer, incoming, server);
    }
    const answered = this.#unhurried(incoming, server);
    return answer.then(
      (one) => {
        answered();
        front.leave(entry);
        return this.#respond(one, incoming, server);
      },
      (error) => {
        answered();
        front.leave(entry);
        throw error;
      },
    );
  }

  /** However long the answer is in coming, its connection isn't idle: a query may wait behind many long ones. */
  #unhurried({ request }: CarriedRequest, server: Server<undefined>): () => void {
    const timer = setTimeout(() => server.timeout(request, 0), (this.#idleSeconds * 1000) / 4);
    return () => {
      clearTimeout(timer);
      server.timeout(request, this.#idleSeconds);
    };
  }

  /** A stream may be silent for ever; once it has ended its connection may not. */
  #respond(answer: ApiResponse, { request }: CarriedRequest, server: Server<undefined>): Response {
    const idleSeconds = this.#idleSeconds;
    if (answer.body instanceof Uint8Array) return toResponse(answer);
    server.timeout(request, 0);
    return toResponse(answer, () => server.timeout(request, idleSeconds));
  }
}

const bodyTooLate: ApiResponse = { ...requestTooLate, headers: { connection: "close" } };
