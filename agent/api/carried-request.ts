/**
 * A request as `Bun.serve` hands it over, for the handlers.
 *
 * @module
 */

import type { BodyPlace } from "./body-room.ts";
import type { ApiRequest } from "./http.ts";

/** Or why it wasn't read: over its own bound, or there is too much of others'. */
export type ReadBody = Uint8Array | "too-large" | "no-room";

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
  readBody(place: BodyPlace): Promise<ReadBody> | ReadBody {
    const { request } = this;
    // `request.body` makes a stream as soon as it is looked at, so that comes last.
    if (this.method === "GET") return noBytes;
    const length = request.headers.get("content-length");
    if (length !== null) {
      const bytes = Number(length);
      if (bytes > this.#bodyBytesMax) return "too-large";
      return place.hold(bytes) ? request.bytes() : "no-room";
    }
    return request.body === null ? noBytes : readChunks(request, this.#bodyBytesMax, place);
  }

  header(name: string): string | undefined {
    return this.request.headers.get(name) ?? undefined;
  }

  get signal(): AbortSignal {
    return this.request.signal;
  }
}

const noBytes = new Uint8Array(0);

async function readChunks(request: Request, bytesMax: number, place: BodyPlace): Promise<ReadBody> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > bytesMax) return "too-large";
    if (!place.hold(bytes)) return "no-room";
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
