/**
 * Carries the handlers over TCP: HTTP/1.1, and HTTP/2 without TLS for clients that begin with it (h2c by
 * prior knowledge), on the same port.
 *
 * An HTTP/2 client's first 24 bytes are `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n` (RFC 9113 §3.4), which no
 * HTTP/1.1 request begins with. They are looked at, put back, and the socket is handed to `node:http2` or
 * `node:http`. Lines go out as they come: headers at once, no delay by Nagle, one `write` for each piece.
 *
 * @module
 */

import * as http from "node:http";
import * as http2 from "node:http2";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { StreamCut } from "./event-stream.ts";
import type { Front, Incoming } from "./front.ts";
import { type ApiRequest, type ApiResponse, internalError } from "./http.ts";
import { type ListenAddress, listenAddressToText } from "./listen-address.ts";

export interface TcpServerOptions {
  readonly address: ListenAddress;
  readonly front: Front;
  readonly bodyBytesMax: number;
  /** A handler threw: our fault, answered with 500. */
  readonly onFault: (error: unknown) => void;
}

export interface TcpServer {
  /** With the port that was taken. */
  readonly address: ListenAddress;
  /** Takes no new requests; what was said last is still sent, for a moment; then connections are cut. */
  stop(): Promise<void>;
}

export type TcpServing =
  | { readonly kind: "serving"; readonly server: TcpServer }
  | { readonly kind: "refused"; readonly why: string };

/** Within which a new connection must say something; half-open ones hold a descriptor each. */
const firstBytesMs = 30_000;
/** Within which a request's body must have come. */
const bodyMs = 30_000;
/** Of one HTTP/2 connection. A client may hold all of its subscriptions on one. */
const streamsMax = 1000;
/** What clients that keep connections for later count on: theirs end first. */
const keepAliveMs = 120_000;
const lastWordsMs = 200;

export async function serveTcp(options: TcpServerOptions): Promise<TcpServing> {
  const carrier = new TcpCarrier(options);
  const why = await carrier.listen();
  return why === undefined ? { kind: "serving", server: carrier } : { kind: "refused", why };
}

type NodeRequest = http.IncomingMessage | http2.Http2ServerRequest;
type NodeResponse = http.ServerResponse | http2.Http2ServerResponse;

class TcpCarrier implements TcpServer {
  readonly #options: TcpServerOptions;
  readonly #listener: Server;
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  #running = 0;
  #isStopping = false;
  #allDone: () => void = () => {};

  constructor(options: TcpServerOptions) {
    this.#options = options;
    this.#listener = createServer({ noDelay: true }, (socket) => this.#connected(socket));
    const listener = (request: NodeRequest, response: NodeResponse): void => {
      void this.#serve(request, response);
    };
    this.#http1 = http.createServer({ keepAliveTimeout: keepAliveMs }, listener);
    // A subscription may be silent for ever.
    this.#http1.requestTimeout = 0;
    this.#http1.on("clientError", (_error, socket) => socket.destroy());
    this.#http2 = http2.createServer(
      { settings: { maxConcurrentStreams: streamsMax } },
      listener as (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => void,
    );
    this.#http2.on("session", (session) => {
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
      session.on("error", () => session.destroy());
    });
    this.#http2.on("sessionError", () => {});
  }

  get address(): ListenAddress {
    const { address, port } = this.#listener.address() as AddressInfo;
    return { host: address, port };
  }

  /** Why it can't; undefined when it does. */
  listen(): Promise<string | undefined> {
    const { host, port } = this.#options.address;
    return new Promise((resolve) => {
      this.#listener.once("error", (error: NodeJS.ErrnoException) => {
        const why = listenFailures[error.code ?? ""] ?? error.message;
        resolve(`${listenAddressToText(this.#options.address)}: ${why}`);
      });
      this.#listener.listen({ host, port }, () => resolve(undefined));
    });
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#listener.close();
    for (const session of this.#sessions) session.close();
    if (this.#running > 0) {
      const done = new Promise<void>((resolve) => {
        this.#allDone = resolve;
      });
      await Promise.race([done, new Promise((resolve) => setTimeout(resolve, lastWordsMs))]);
    }
    for (const socket of this.#sockets) socket.destroySoon();
    await new Promise((resolve) => setTimeout(resolve, this.#sockets.size === 0 ? 0 : 20));
    for (const socket of this.#sockets) socket.destroy();
  }

  #connected(socket: Socket): void {
    if (this.#isStopping) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    let seen: Buffer = Buffer.alloc(0);
    const timer = setTimeout(() => socket.destroy(), firstBytesMs);
    socket.on("close", () => {
      clearTimeout(timer);
      this.#sockets.delete(socket);
    });
    // The client's ends are told by the request's signal; nothing else is to be done about them.
    socket.on("error", () => socket.destroy());
    const onData = (bytes: Buffer): void => {
      seen = seen.length === 0 ? bytes : Buffer.concat([seen, bytes]);
      const found = versionOf(seen);
      if (found === undefined) return;
      clearTimeout(timer);
      socket.off("data", onData);
      socket.pause();
      socket.unshift(seen);
      (found === 2 ? this.#http2 : this.#http1).emit("connection", socket);
      socket.resume();
    };
    socket.on("data", onData);
  }

  async #serve(request: NodeRequest, response: NodeResponse): Promise<void> {
    this.#running++;
    // Both may end by an error of the connection, which is no fault of ours.
    request.on("error", () => {});
    response.on("error", () => {});
    const isHead = request.method === "HEAD";
    try {
      await send(response, await this.#answer(request, response), isHead);
    } catch (error) {
      if (error instanceof ClientGone || error instanceof StreamCut) {
        cut(response);
        return;
      }
      this.#options.onFault(error);
      if (response.headersSent) cut(response);
      else await send(response, internalError(), isHead);
    } finally {
      if (--this.#running === 0) this.#allDone();
    }
  }

  async #answer(request: NodeRequest, response: NodeResponse): Promise<ApiResponse> {
    const { front, bodyBytesMax } = this.#options;
    const incoming = new TcpRequest(request, response, bodyBytesMax);
    const answer = await front.answer(incoming);
    if (!incoming.isTaken) request.resume();
    // The rest of a body that nobody wants, or the end of this carrier: no more requests here.
    const isLast = !incoming.isTaken || this.#isStopping;
    if (isLast && request.httpVersionMajor === 1) response.setHeader("connection", "close");
    return answer;
  }
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Undefined while it can't be told yet. */
export function versionOf(seen: Uint8Array): 1 | 2 | undefined {
  const length = Math.min(seen.length, preface.length);
  if (Buffer.compare(seen.subarray(0, length), preface.subarray(0, length)) !== 0) return 1;
  return length === preface.length ? 2 : undefined;
}

class TcpRequest implements ApiRequest, Incoming {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  body: Uint8Array | "too-large" = noBytes;
  /** Whether the whole body was read. */
  isTaken = false;
  readonly #request: NodeRequest;
  readonly #bodyBytesMax: number;
  /** Made when it is asked for: short answers never do. */
  #ended: AbortController | undefined;
  #isEnded = false;

  constructor(request: NodeRequest, response: NodeResponse, bodyBytesMax: number) {
    // Absolute form (RFC 9112 §3.2.2) is what proxies send.
    const url = (request.url ?? "/").replace(/^https?:\/\/[^/?#]*/i, "");
    const queryAt = url.indexOf("?");
    this.method = request.method ?? "GET";
    this.path = queryAt < 0 ? url : url.slice(0, queryAt);
    this.query = queryAt < 0 ? "" : url.slice(queryAt + 1);
    this.#request = request;
    response.on("close", () => {
      this.#isEnded = true;
      this.#ended?.abort();
    });
    this.#bodyBytesMax = bodyBytesMax;
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  get signal(): AbortSignal {
    if (this.#ended === undefined) {
      this.#ended = new AbortController();
      if (this.#isEnded) this.#ended.abort();
    }
    return this.#ended.signal;
  }

  async readBody(): Promise<Uint8Array | "too-large"> {
    const body = await readBody(this.#request, this.#bodyBytesMax);
    this.isTaken = body !== "too-large";
    return body;
  }

  withBody(body: Uint8Array | "too-large"): ApiRequest {
    this.body = body;
    return this;
  }
}

const noBytes = new Uint8Array(0);

/** In the middle of its body: nothing is done, and nobody reads an answer. */
class ClientGone extends Error {}

/** At the limit it stops looking at what comes. */
function readBody(request: NodeRequest, bytesMax: number): Promise<Uint8Array | "too-large"> {
  if (Number(request.headers["content-length"] ?? 0) > bytesMax) {
    return Promise.resolve("too-large");
  }
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const chunks: Uint8Array[] = [];
    // A body holds one of the route's places while it comes.
    const timer = setTimeout(() => request.destroy(), bodyMs);
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes <= bytesMax) {
        chunks.push(chunk);
        return;
      }
      request.off("data", onData);
      clearTimeout(timer);
      resolve("too-large");
    };
    request.on("data", onData);
    const onEnd = (): void => {
      clearTimeout(timer);
      if (chunks.length === 1) resolve(chunks[0] as Uint8Array);
      else resolve(chunks.length === 0 ? noBytes : Buffer.concat(chunks));
    };
    request.on("end", onEnd);
    request.on("close", () => {
      clearTimeout(timer);
      reject(new ClientGone());
    });
  });
}

/**
 * The client is to see that the answer is unfinished. With an error the stream is reset by INTERNAL_ERROR: without one,
 * or by `close` with a code, Bun ends it as if it were whole, and some clients take CANCEL for that, too.
 */
function cut(response: NodeResponse): void {
  if (response instanceof http2.Http2ServerResponse) response.stream.destroy(new Error("cut"));
  else response.destroy();
}

async function send(
  response: NodeResponse,
  { status, headers, body }: ApiResponse,
  isHead: boolean,
): Promise<void> {
  const out = response as http.ServerResponse;
  for (const [name, value] of Object.entries(headers)) out.setHeader(name, value);
  if (body instanceof Uint8Array) {
    out.setHeader("content-length", body.length);
    out.writeHead(status);
    await new Promise<void>((resolve) => {
      out.once("close", resolve);
      if (isHead || body.length === 0) out.end(resolve);
      else out.end(body, resolve);
    });
    return;
  }
  let isGone = false;
  out.on("close", () => {
    isGone = true;
  });
  out.writeHead(status);
  out.flushHeaders();
  for await (const chunk of body) {
    if (isGone) break;
    // The next piece isn't asked for before this one is taken: what waits meanwhile is bounded where it waits.
    if (!out.write(chunk)) await drained(out);
    if (isGone) break;
  }
  if (!isGone) out.end();
}

function drained(response: http.ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
  });
}

const listenFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there",
  EADDRNOTAVAIL: "it is no address of this host",
  EACCES: "ports below 1024 need a privilege",
};
