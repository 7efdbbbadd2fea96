/**
 * Carries the handlers over a Unix socket: HTTP/1.1 by `Bun.serve`.
 *
 * Three things of Bun's are put right here. It gives bytes a content type where the contract has none. It holds back a response's headers until the first byte of
 * its body: a stream that has nothing to say yet begins with one space, which JSON allows before a
 * line. And it answers a body over its own limit by itself: that limit is lifted, ours is looked at
 * first.
 *
 * @module
 */

import type { Front, Incoming } from "./front.ts";
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
    async fetch(request) {
      return toResponse(await front(new UnixRequest(request, bodyBytesMax)));
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
class UnixRequest implements ApiRequest, Incoming {
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

  readBody(): Promise<Uint8Array | "too-large"> | Uint8Array {
    return readBody(this.#request, this.#bodyBytesMax);
  }

  withBody(body: Uint8Array | "too-large"): ApiRequest {
    this.body = body;
    return this;
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  get signal(): AbortSignal {
    return this.#request.signal;
  }
}

const noBytes = new Uint8Array(0);

function readBody(
  request: Request,
  bytesMax: number,
): Promise<Uint8Array | "too-large"> | Uint8Array {
  // `request.body` makes a stream as soon as it is looked at, so that comes last.
  if (request.method === "GET") return noBytes;
  const length = request.headers.get("content-length");
  if (length !== null) {
    return Number(length) > bytesMax ? Promise.resolve("too-large") : request.bytes();
  }
  return request.body === null ? noBytes : readChunks(request, bytesMax);
}

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
  const { status, headers, body } = response;
  if (body instanceof Uint8Array) {
    const bytes = body as Uint8Array<ArrayBuffer>;
    if (bytes.length === 0) return new Response(null, { status, headers });
    if ("content-type" in headers) return new Response(bytes, { status, headers });
    return new Response(untyped(bytes), { status, headers });
  }
  return new Response(toReadable(body), { status, headers });
}

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
