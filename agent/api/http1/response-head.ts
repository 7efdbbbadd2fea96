/**
 * The head of an answer, and the frame of a chunk (RFC 9112 §4, §6, §7.1).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { STATUS_CODES } from "node:http";
import { type ApiResponse, noBytes } from "../http.ts";

/** How an answer's body ends. */
export type BodyFrame = number | "chunked" | "close";

/** What becomes of the connection: another request may follow, which HTTP/1.0 wants to be told; or it ends. */
export type Persistence = "stays" | "stays-1.0" | "ends";

/** @param frame the body's length, or in chunks, or with the connection */
export function responseHead(
  response: ApiResponse,
  frame: BodyFrame,
  persistence: Persistence,
): Buffer {
  let text = commonHead(response);
  if (typeof frame === "number") text += `content-length: ${frame}\r\n`;
  else if (frame === "chunked") text += "transfer-encoding: chunked\r\n";
  if (persistence === "stays-1.0") text += "connection: keep-alive\r\n";
  else if (persistence === "ends") text += "connection: close\r\n";
  return Buffer.from(`${text}\r\n`, "latin1");
}

/** Short reads have the same headers one after another. */
function commonHead({ status, headers }: ApiResponse): string {
  const second = Math.floor(Date.now() / 1000);
  if (headers === lastHeaders && status === lastStatus && second === lastSecond) return lastText;
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`];
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
  lines.push(`date: ${new Date(second * 1000).toUTCString()}`);
  lastHeaders = headers;
  lastStatus = status;
  lastSecond = second;
  lastText = `${lines.join("\r\n")}\r\n`;
  return lastText;
}

let lastHeaders: ApiResponse["headers"] | undefined;
let lastStatus = 0;
let lastSecond = 0;
let lastText = "";

/** Ends a body. */
export const lastChunk: Buffer = Buffer.from("0\r\n\r\n");

/**
 * Subscribers of one query get the same bytes one after another.
 *
 * @param bytes they don't change any more
 * @returns nothing for nothing: an empty chunk is the last one
 */
export function chunkOf(bytes: Uint8Array): Buffer {
  if (bytes === lastFramed) return lastFrame;
  if (bytes.length === 0) return noBytes;
  const size = bytes.length.toString(16);
  const bodyAt = size.length + 2;
  const chunk = Buffer.allocUnsafe(bodyAt + bytes.length + 2);
  chunk.write(`${size}\r\n`, 0, "latin1");
  chunk.set(bytes, bodyAt);
  chunk.write("\r\n", bodyAt + bytes.length, "latin1");
  if (bytes.length <= keptFrameBytesMax) {
    lastFramed = bytes;
    lastFrame = chunk;
  }
  return chunk;
}

const keptFrameBytesMax = 64 * 1024;
let lastFramed: Uint8Array | undefined;
let lastFrame: Buffer = lastChunk;
