/**
 * Carries the handlers over a Unix socket: HTTP/1.1 by `Bun.serve`.
 *
 * Three things of Bun's are put right here. It gives bytes a content type where the contract has none. It holds back a response's headers until the first byte of
 * its body: a stream that has nothing to say yet begins with one space, which JSON allows before a
 * line. And it answers a body over its own limit by itself: that limit is lifted, ours is looked at
 * first.
 *
 * An answer that is there before the event loop turns leaves in the same turn: Bun cuts a connection whose next request
 * comes (pipelined) while the one before waits for anything but microtasks.
 *
 * @module
 */

import type { Front } from "./front.ts";
import { type ApiRequest, type ApiResponse, errorJson, internalErrorText } from "./http.ts";

export interface UnixServerOptions {
  readonly path: string;
  readonly front: Front;
  readonly bodyBytesMax: number;
  /** A handler threw: our fault, answered with 500. */
  readonly onFault: (error: unknown) => void;
}

export interface UnixServer {
  /** Takes no new requests; ends those that run. */
  stop(): Promise<void>;
}

/** @throws what `Bun.serve` throws: the caller has made sure of the path (`socket-path.ts`). */
export function serveUnix(options: UnixServerOptions): UnixServer {
  const { front, bodyBytesMax, onFault } = options;
  const server = Bun.serve({
    unix: options.path,
    // A subscription may be silent for ever. (The types leave this out for sockets; Bun takes it.)
    ...({ idleTimeout: 0 } as object),
    development: false,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    // One function, and no more promises than there is to wait for: each costs a good part of a microsecond.
    async fetch(request) {
      const incoming = new UnixRequest(request, bodyBytesMax);
      const entry = front.enter(incoming);
      if (entry.kind === "refused") return toResponse(entry.response);
      let answer: ApiResponse | Promise<ApiResponse>;
      try {
        incoming.body = await incoming.readBody();
        answer = front.handle(incoming, entry);
        if (answer instanceof Promise) answer = await answer;
      } finally {
        front.leave(entry);
      }
      return toResponse(answer);
    },
    error(error) {
      onFault(error);
      return new Response(errorJson(internalErrorText), {
        status: 500,
        headers: { "content-type": "application/json" },
      });
    },
  });
  return {
    async stop() {
      // What was said last is still sent; then connections that stay open are cut.
      await Promise.race([server.stop(), Bun.sleep(lastWordsMs)]);
      await server.stop(true);
    },
  };
}

const lastWordsMs = 200;

/** Bun makes headers and the signal of a request when they are asked for, and that costs. */
class UnixRequest implements ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  body: Uint8Array | "too-large" = noBytes;
  readonly #request: Request;
  readonly #bodyBytesMax: number;

  constructor(request: Request, bodyBytesMax: number) {
    const { url, method } = request;
    const pathAt = url.indexOf("/", url.indexOf("://") + 3);
    const queryAt = url.indexOf("?", pathAt);
    this.#request = request;
    this.method = method;
    this.path = queryAt < 0 ? url.slice(pathAt) : url.slice(pathAt, queryAt);
    this.query = queryAt < 0 ? "" : url.slice(queryAt + 1);
    this.#bodyBytesMax = bodyBytesMax;
  }

  readBody(): Promise<Uint8Array | "too-large"> | Uint8Array | "too-large" {
    const request = this.#request;
    // `request.body` makes a stream as soon as it is looked at, so that comes last.
    if (this.method === "GET") return noBytes;
    const length = request.headers.get("content-length");
    if (length !== null) return Number(length) > this.#bodyBytesMax ? "too-large" : request.bytes();
    return request.body === null ? noBytes : readChunks(request, this.#bodyBytesMax);
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  get signal(): AbortSignal {
    return this.#request.signal;
  }
}

const noBytes = new Uint8Array(0);

async function readChunks(request: Request, bytesMax: number): Promise<Uint8Array | "too-large"> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > bytesMax) return "too-large";
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function toResponse(response: ApiResponse): Response {
  const { body } = response;
  const init = initOf(response);
  if (!(body instanceof Uint8Array)) return new Response(toReadable(body), init);
  const bytes = body as Uint8Array<ArrayBuffer>;
  if (bytes.length === 0) return new Response(null, init);
  return new Response("content-type" in response.headers ? bytes : untyped(bytes), init);
}

/** Short reads have the same one after another, and of ready-made `Headers` a response is made in half the time. */
function initOf({ status, headers }: ApiResponse): ResponseInit {
  if (status !== 200) return { status, headers };
  if (headers !== lastHeaders) {
    lastHeaders = headers;
    lastInit = { headers: new Headers(headers) };
  }
  return lastInit;
}

let lastHeaders: ApiResponse["headers"] = {};
let lastInit: ResponseInit = { headers: new Headers() };

/** Bun gives plain bytes a content type of its own; a stream that ends at once has none, for 1.4 µs. */
function untyped(bytes: Uint8Array<ArrayBuffer>): ReadableStream {
  return new ReadableStream({
    type: "direct",
    pull(controller) {
      controller.write(bytes);
      controller.close();
    },
  });
}

const oneSpace = new Uint8Array([0x20]);

function toReadable(body: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]();
  let isFirst = true;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (isFirst) {
          isFirst = false;
          const first = iterator.next();
          const head = await Promise.race([first, nextTurn()]);
          if (head === undefined) controller.enqueue(oneSpace);
          else if (!head.done) return controller.enqueue(head.value);
          else return controller.close();
          const { done, value } = await first;
          return done ? controller.close() : controller.enqueue(value);
        }
        const { done, value } = await iterator.next().catch(afterLastWords);
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** What was enqueued last goes out before an error throws it away. */
async function afterLastWords(error: unknown): Promise<never> {
  await Bun.sleep(flushMs);
  throw error;
}

const flushMs = 10;

function nextTurn(): Promise<undefined> {
  return new Promise((resolve) => setImmediate(() => resolve(undefined)));
}
