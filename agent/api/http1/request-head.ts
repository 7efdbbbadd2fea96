/**
 * The head of an HTTP/1.1 request (RFC 9112 §2 to §6): its line, its fields, and how long its body is.
 *
 * Strict where leniency lets two readers see two different requests: lines end with CRLF, no space before a colon, no
 * folded lines, no control characters, one Host at most, one Content-Length of digits only, no other transfer coding than
 * `chunked`, and never both.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { noBytes } from "../http.ts";
import { bytesWhere, isTokenByte, isValueByte } from "./field-bytes.ts";

/** Of a request's line and fields together. */
export const headBytesMax: number = 16 * 1024;

/** What is answered to a head that can't be read; nothing that follows it can be, either. */
export type HeadRefusal = 400 | 431 | 501 | 505;

const blankLine = Buffer.from("\r\n\r\n");
const http11 = Buffer.from("HTTP/1.1\r\n");
const http10 = Buffer.from("HTTP/1.0\r\n");
const otherVersion = /^HTTP\/[0-9]\.[0-9]\r\n$/;
/** With the host before the path, or of no path at all (§3.2.2 to §3.2.4). */
const otherTarget = /^(?:https?:\/\/[^/?]|\*$)/i;
const [tab, lf, cr, space, slash, colon] = [0x09, 0x0a, 0x0d, 0x20, 0x2f, 0x3a];

const isTargetByte = bytesWhere((byte) => byte > 0x20 && byte !== 0x7f);

export class Http1Head {
  readonly method: string;
  /** As `RequestHead` of `../http.ts` has them. */
  readonly path: string;
  readonly query: string;
  /** Where in the bytes that it was read from its body begins. */
  readonly end: number;
  /** Of the body; 0 when there is none, and when it is chunked. */
  contentLength = 0;
  isChunked = false;
  /** The connection stays when this request is answered. */
  keepsAlive: boolean;
  /** The client waits for "100 Continue" before it sends the body. */
  expectsContinue = false;
  readonly isHttp10: boolean;
  #bytes: Buffer;
  /** Of each field: where its name begins and ends, and its value. */
  #fields: readonly number[];

  /** Made by {@link readHead}. */
  constructor(
    bytes: Buffer,
    line: { readonly method: string; readonly target: string; readonly isHttp10: boolean },
    fields: readonly number[],
    end: number,
  ) {
    const { method, target, isHttp10 } = line;
    const pathAt = target.charCodeAt(0) === 0x2f ? 0 : pathOfAbsolute(target);
    const queryAt = target.indexOf("?", pathAt);
    this.method = method;
    this.path =
      queryAt < 0 ? (pathAt === 0 ? target : target.slice(pathAt)) : target.slice(pathAt, queryAt);
    this.query = queryAt < 0 ? "" : target.slice(queryAt + 1);
    this.isHttp10 = isHttp10;
    this.keepsAlive = !isHttp10;
    this.end = end;
    this.#bytes = bytes;
    this.#fields = fields;
  }

  /** @param name in lower case. Several of one name are joined with commas. */
  header(name: string): string | undefined {
    const bytes = this.#bytes;
    const fields = this.#fields;
    let found: string | undefined;
    for (let i = 0; i < fields.length; i += 4) {
      const from = fields[i] as number;
      if ((fields[i + 1] as number) - from !== name.length) continue;
      if (!isName(bytes, from, name)) continue;
      const value = bytes.toString("latin1", fields[i + 2], fields[i + 3]);
      found = found === undefined ? value : `${found}, ${value}`;
    }
    return found;
  }

  /** With the bytes in which they are, and all that came together with them. */
  forgetFields(): void {
    this.#bytes = noBytes;
    this.#fields = [];
  }
}

/**
 * Reads the head that begins at `from`.
 *
 * @param bytes are kept: they don't change
 * @returns `"more"` while its end hasn't come
 */
export function readHead(bytes: Buffer, from: number): Http1Head | "more" | HeadRefusal {
  let at = from;
  // Empty lines before a request are ignored (§2.2).
  while (bytes[at] === cr && bytes[at + 1] === lf) at += 2;
  const lastLineEnd = bytes.indexOf(blankLine, at);
  if (lastLineEnd < 0) return unfinished(bytes, from, at);
  if (lastLineEnd - at > headBytesMax) return 431;
  const end = lastLineEnd + blankLine.length;

  const methodAt = at;
  while (isTokenByte[bytes[at] as number] === 1) at++;
  if (at === methodAt || bytes[at] !== space) return 400;
  const method = methodOf(bytes, methodAt, at);
  const targetAt = ++at;
  while (isTargetByte[bytes[at] as number] === 1) at++;
  if (at === targetAt || bytes[at] !== space) return 400;
  const target = bytes.toString("utf8", targetAt, at);
  if (bytes[targetAt] !== slash && !otherTarget.test(target)) return 400;
  at++;
  const isHttp10 = isAt(bytes, at, http10);
  if (!isHttp10 && !isAt(bytes, at, http11)) {
    return otherVersion.test(bytes.toString("latin1", at, at + http11.length)) ? 505 : 400;
  }
  at += http11.length;

  const fields: number[] = [];
  while (at < lastLineEnd) {
    const nameAt = at;
    while (isTokenByte[bytes[at] as number] === 1) at++;
    const nameEnd = at;
    if (nameEnd === nameAt || bytes[at] !== colon) return 400;
    at++;
    while (bytes[at] === space || bytes[at] === tab) at++;
    const valueAt = at;
    while (isValueByte[bytes[at] as number] === 1) at++;
    if (bytes[at] !== cr || bytes[at + 1] !== lf) return 400;
    let valueEnd = at;
    while (valueEnd > valueAt && (bytes[valueEnd - 1] === space || bytes[valueEnd - 1] === tab)) {
      valueEnd--;
    }
    fields.push(nameAt, nameEnd, valueAt, valueEnd);
    at += 2;
  }
  const head = new Http1Head(bytes, { method, target, isHttp10 }, fields, end);
  return frame(head, bytes, fields) ?? head;
}

/**
 * What is no head is told at once, and not when no more of it comes.
 *
 * @param from where it begins: empty lines without end aren't kept, either
 * @param at where its first line begins
 */
function unfinished(bytes: Buffer, from: number, at: number): "more" | HeadRefusal {
  if (bytes.length - from > headBytesMax) return 431;
  if (at < bytes.length && isTokenByte[bytes[at] as number] === 0 && bytes[at] !== cr) return 400;
  const lineEnd = bytes.indexOf(lf, at);
  return lineEnd >= 0 && bytes[lineEnd - 1] !== cr ? 400 : "more";
}

/** What the fields say of the body and the connection. */
function frame(head: Http1Head, bytes: Buffer, fields: readonly number[]): HeadRefusal | undefined {
  let hasLength = false;
  let hasHost = false;
  for (let i = 0; i < fields.length; i += 4) {
    const from = fields[i] as number;
    const length = (fields[i + 1] as number) - from;
    // The names have different lengths.
    if (length === 14) {
      if (!isName(bytes, from, "content-length")) continue;
      const digits = bytes.toString("latin1", fields[i + 2], fields[i + 3]);
      if (hasLength || !/^[0-9]{1,15}$/.test(digits)) return 400;
      hasLength = true;
      head.contentLength = Number(digits);
    } else if (length === 17) {
      if (!isName(bytes, from, "transfer-encoding")) continue;
      const coding = bytes.toString("latin1", fields[i + 2], fields[i + 3]).toLowerCase();
      if (head.isChunked || head.isHttp10) return 400;
      if (coding !== "chunked") return 501;
      head.isChunked = true;
    } else if (length === 10) {
      if (!isName(bytes, from, "connection")) continue;
      const options = bytes.toString("latin1", fields[i + 2], fields[i + 3]).toLowerCase();
      if (/(^|[,\s])close($|[,\s])/.test(options)) head.keepsAlive = false;
      else if (head.isHttp10) head.keepsAlive = options.includes("keep-alive");
    } else if (length === 6) {
      if (!isName(bytes, from, "expect")) continue;
      const expected = bytes.toString("latin1", fields[i + 2], fields[i + 3]).toLowerCase();
      head.expectsContinue = expected === "100-continue" && !head.isHttp10;
    } else if (length === 4) {
      if (!isName(bytes, from, "host")) continue;
      // None is all right: nothing here depends on it, and a line typed by hand has none.
      if (hasHost) return 400;
      hasHost = true;
    }
  }
  return hasLength && head.isChunked ? 400 : undefined;
}

/** Where the path of `http://host/path` begins, which every server has to accept; at its end if there is none. */
function pathOfAbsolute(target: string): number {
  const hostAt = target.indexOf("://") + 3;
  const at = target.slice(hostAt).search(/[/?]/);
  return at < 0 ? target.length : hostAt + at;
}

function methodOf(bytes: Buffer, from: number, to: number): string {
  const length = to - from;
  if (length === 4 && bytes[from] === 0x50 && isAt(bytes, from, post)) return "POST";
  if (length === 3 && bytes[from] === 0x47 && isAt(bytes, from, get)) return "GET";
  return bytes.toString("latin1", from, to);
}

const post = Buffer.from("POST");
const get = Buffer.from("GET");

function isAt(bytes: Buffer, at: number, wanted: Buffer): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

/** @param name in lower case; of the same length, and a token there */
function isName(bytes: Buffer, from: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[from + i] as number;
    const lower = byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
    if (lower !== name.charCodeAt(i)) return false;
  }
  return true;
}
