/**
 * How the client reaches an agent: over its Unix socket or a URL, in Bun by `fetch`, in Node by
 * `node:http` and `node:https` (whose `fetch` knows no Unix socket, and ends a stream that is silent for five minutes).
 * An agent has no TLS: `https:` is for one behind a proxy that has.
 *
 * @module
 */

import * as http from "node:http";

export interface ClientResponse {
  readonly status: number;
  /** By name in lower case. */
  header(name: string): string | undefined;
  text(): Promise<string>;
  chunks(): AsyncIterable<Uint8Array>;
}

export interface ClientRequest {
  readonly method: "GET" | "POST";
  /** With its query string. */
  readonly path: string;
  /** JSON; undefined for none. */
  readonly body: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Rejects when nobody answers. */
export type Send = (request: ClientRequest) => Promise<ClientResponse>;

/** @param at a Unix socket's path, or `http://host:port`, or `https://` and the same */
export function createSend(at: string, token: string | undefined): Send {
  const headers: Record<string, string> = {};
  if (token !== undefined) headers.authorization = `Bearer ${token}`;
  const isBun = process.versions.bun !== undefined;
  return isBun ? byFetch(at, headers) : byNodeHttp(at, headers);
}

const json = { "content-type": "application/json" };

function isAtUrl(at: string): boolean {
  return /^https?:\/\//i.test(at);
}

function byFetch(at: string, always: Readonly<Record<string, string>>): Send {
  const isUrl = isAtUrl(at);
  const base = isUrl ? at.replace(/\/+$/, "") : "http://patina";
  return async ({ method, path, body, signal }) => {
    const response = await fetch(base + path, {
      ...(isUrl ? {} : { unix: at }),
      method,
      // A stream may be silent for ever, and a slow query has the agent's deadline.
      timeout: false,
      headers: body === undefined ? always : { ...always, ...json },
      ...(signal === undefined ? {} : { signal }),
      ...(body === undefined ? {} : { body }),
    } as RequestInit);
    return {
      status: response.status,
      header: (name) => response.headers.get(name) ?? undefined,
      text: () => response.text(),
      chunks: () => (response.body ?? []) as unknown as AsyncIterable<Uint8Array>,
    };
  };
}

function byNodeHttp(at: string, always: Readonly<Record<string, string>>): Send {
  const url = isAtUrl(at) ? new URL(at) : undefined;
  const isSecure = url?.protocol === "https:";
  const base = url?.pathname.replace(/\/+$/, "") ?? "";
  const where =
    url === undefined
      ? { socketPath: at, host: "patina" }
      : {
          host: url.hostname.replace(/^\[|\]$/g, ""),
          port: url.port === "" ? (isSecure ? 443 : 80) : Number(url.port),
        };
  return async ({ method, path, body, signal }) => {
    const { request: ask } = isSecure ? await import("node:https") : http;
    return new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
      const request = ask(
        {
          ...where,
          method,
          path: base + path,
          headers: { ...always, ...(body === undefined ? {} : json), ...length },
          ...(signal === undefined ? {} : { signal }),
        },
        (response) => {
          resolve({
            status: response.statusCode ?? 0,
            header: (name) => {
              const value = response.headers[name];
              return Array.isArray(value) ? value.join(", ") : value;
            },
            async text() {
              const chunks: Uint8Array[] = [];
              for await (const chunk of chunksOf(response, signal)) chunks.push(chunk);
              return Buffer.concat(chunks).toString();
            },
            chunks: () => chunksOf(response, signal),
          });
        },
      );
      request.on("error", (error) => reject(causeOf(error, signal)));
      request.end(body);
    });
  };
}

async function* chunksOf(
  response: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    yield* response;
  } catch (error) {
    throw causeOf(error, signal);
  }
}

/** As `fetch` has it: Node says of a deadline what it says of a connection that broke. */
function causeOf(error: unknown, signal: AbortSignal | undefined): unknown {
  return signal?.aborted === true ? signal.reason : error;
}
