/**
 * HTTP as plain data: what a carrier hands to the handlers, and what it gets back. Nothing here knows a
 * server.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** What is known of a request before its body. */
export interface RequestHead {
  /** In upper case. */
  readonly method: string;
  /** From the first `/` to before the `?`, still percent-encoded. */
  readonly path: string;
  /** After the `?`; "" when there is none. */
  readonly query: string;
  /** By name in lower case. */
  header(name: string): string | undefined;
}

/** Once it is answered only its signal is there: carriers keep nothing else for as long as an answer takes. */
export interface ApiRequest extends RequestHead {
  /** The whole body; `"too-large"` when the carrier stopped reading it at the limit. */
  readonly body: Uint8Array | "too-large";
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
}

export interface ApiResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Bytes, or a stream of them that ends by itself or when the request's signal aborts. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
  /** The stream doesn't end by itself, and may be silent for ever. */
  readonly isEndless?: boolean;
  /** The stream takes what cuts it off: called when its client has left a piece untaken for so long that it isn't kept for it. */
  readonly onCut?: (cut: () => void) => void;
}

export const noBytes: Buffer = Buffer.alloc(0);
const noHeaders: Readonly<Record<string, string>> = {};
const jsonHeaders = { "content-type": "application/json" };
const textHeaders = { "content-type": "text/plain; charset=utf-8" };

/** An answer without a body. */
export function emptyResponse(
  status: number,
  headers: Readonly<Record<string, string>> = noHeaders,
): ApiResponse {
  return { status, headers, body: noBytes };
}

export function textResponse(status: number, text: string): ApiResponse {
  return { status, headers: textHeaders, body: utf8(text) };
}

/** JSON with its content type. */
export function jsonResponse(status: number, json: string): ApiResponse {
  return { status, headers: jsonHeaders, body: utf8(json) };
}

/** `{"error": …}` without a content type, as queries, subscriptions and updates answer. */
export function errorResponse(status: number, error: string): ApiResponse {
  return { status, headers: noHeaders, body: utf8(errorJson(error)) };
}

export const noRoomForBody: ApiResponse = errorResponse(
  503,
  "the bodies of other requests take too much memory: try again",
);
/** What else comes of it is of no use: the connection is closed, over HTTP/2 the stream. */
export const requestTooLate: ApiResponse = errorResponse(408, "the request's body took too long");

/** For faults of ours. */
export function internalError(): ApiResponse {
  return jsonResponse(500, errorJson(internalErrorText));
}

const internalErrorText = "internal error: see the agent's log";

/** `{"error":"…"}`, without a newline. */
export function errorJson(error: string): string {
  return `{"error":${JSON.stringify(error)}}`;
}

export function utf8(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}
