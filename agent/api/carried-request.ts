/**
 * A request as `Bun.serve` hands it over, for the handlers.
 *
 * @module
 */

import type { ApiRequest } from "./http.ts";

export class CarriedRequest implements ApiRequest {
  readonly request: Request;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  body: Uint8Array | "too-large" = noBytes;
  readonly #bodyBytesMax: number;

  constructor(request: Request, bodyBytesMax: number) {
    const { url, method } = request;
    // `http://host/path`; of a request that names no host the path alone.
    const pathAt = url.charCodeAt(0) === 0x2f ? 0 : url.indexOf("/", "http://h".length);
    const queryAt = url.indexOf("?", pathAt);
    this.request = request;
    this.method = method;
    this.path = queryAt < 0 ? url.slice(pathAt) : url.slice(pathAt, queryAt);
    this.query = queryAt < 0 ? "" : url.slice(queryAt + 1);
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** To be called once or never. A promise where the body may still be on its way. */
  readBody(): Promise<Uint8Array | "too-large"> | Uint8Array | "too-large" {
    const { request } = this;
    // `request.body` makes a stream as soon as it is looked at, so that comes last.
    if (this.method === "GET") return noBytes;
    const length = request.headers.get("content-length");
    if (length !== null) return Number(length) > this.#bodyBytesMax ? "too-large" : request.bytes();
    return request.body === null ? noBytes : readChunks(request, this.#bodyBytesMax);
  }

  header(name: string): string | undefined {
    return this.request.headers.get(name) ?? undefined;
  }

  get signal(): AbortSignal {
    return this.request.signal;
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
