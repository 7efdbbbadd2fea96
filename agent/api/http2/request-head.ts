/**
 * The head of an HTTP/2 request (RFC 9113 §8.2, §8.3): what its fields say, and whether they may.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { RequestHead } from "../http.ts";
import { isTokenByte, isValueByte } from "../http1/field-bytes.ts";
import { HpackDecoder } from "./hpack-decoder.ts";

/** Of names and values together. */
export const headBytesMax: number = 16 * 1024;
const fieldsMax = 256;
/** What is unpacked of one block before its connection ends: short blocks may stand for very much. */
export const unpackedBytesMax: number = 4 * headBytesMax;

/** Why there is no head: the first two end the connection, for what follows can't be read. */
export type HeadFault =
  /** It is no HPACK. */
  | "unreadable"
  /** It unpacks to more than anybody needs. */
  | "bomb"
  /** It breaks a rule (§8.1.1). */
  | "malformed"
  /** Its fields are too many, or too long. */
  | "too-large";

/** Doesn't change: requests with the same fields share it. */
export class Http2Head implements RequestHead {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Of the body; undefined when it isn't told. */
  readonly contentLength: number | undefined;
  /** The client waits for a "100" before it sends the body. */
  readonly expectsContinue: boolean;
  readonly #fields: ReadonlyMap<string, string>;

  constructor(method: string, target: string, fields: ReadonlyMap<string, string>) {
    const queryAt = target.indexOf("?");
    this.method = method;
    this.path = queryAt < 0 ? target : target.slice(0, queryAt);
    this.query = queryAt < 0 ? "" : target.slice(queryAt + 1);
    const length = fields.get("content-length");
    this.contentLength = length === undefined ? undefined : Number(length);
    this.expectsContinue = fields.get("expect")?.toLowerCase() === "100-continue";
    this.#fields = fields;
  }

  header(name: string): string | undefined {
    return this.#fields.get(name);
  }
}

/** Of a request that wasn't read, or whose head isn't needed any more. */
export const noHead: Http2Head = new Http2Head("GET", "/", new Map());

/** Means nothing but in HTTP/1.1 (§8.2.2). */
const connectionFields: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
const pseudoFields: ReadonlySet<string> = new Set([":method", ":scheme", ":path", ":authority"]);

/** Blocks that are kept with what they meant. Clients ask the same again and again. */
const keptBlocks = 4;
const keptBlockBytesMax = 512;

interface KeptBlock {
  readonly bytes: Buffer;
  readonly head: Http2Head;
}

/** Of one connection. */
export class HeadReader {
  readonly #decoder = new HpackDecoder();
  readonly #kept: KeptBlock[] = [];
  #keptAt = 0;
  /** The state of the table in which they mean that. */
  #keptChanges = 0;
  // Of the block that is being read:
  #fields = new Map<string, string>();
  #pseudo = new Map<string, string>();
  #fieldCount = 0;
  #fieldBytes = 0;
  #isMalformed = false;

  /** Of a request. */
  read(bytes: Buffer, from: number, to: number): Http2Head | HeadFault {
    const kept = this.#keptHead(bytes, from, to);
    if (kept !== undefined) return kept;
    const { changes } = this.#decoder;
    const fault = this.#decode(bytes, from, to);
    if (fault !== undefined) return fault;
    const head = this.#isMalformed ? undefined : headOf(this.#pseudo, this.#fields);
    if (head === undefined) return "malformed";
    // What a block means depends on the table alone, as long as it doesn't change it by itself.
    if (this.#decoder.changes === changes) this.#keep(bytes, from, to, head);
    return head;
  }

  /** Of fields after a body (§8.1), which mean nothing here. */
  readTrailers(bytes: Buffer, from: number, to: number): HeadFault | undefined {
    const fault = this.#decode(bytes, from, to);
    if (fault !== undefined) return fault;
    return this.#isMalformed || this.#pseudo.size > 0 ? "malformed" : undefined;
  }

  /** Also of a block that nobody wants: the next ones depend on it. */
  #decode(bytes: Buffer, from: number, to: number): HeadFault | undefined {
    this.#fields = new Map();
    this.#pseudo = new Map();
    this.#fieldCount = 0;
    this.#fieldBytes = 0;
    this.#isMalformed = false;
    if (!this.#decoder.decode(bytes, from, to, this.#take)) {
      return this.#fieldBytes > unpackedBytesMax ? "bomb" : "unreadable";
    }
    if (this.#fieldBytes > headBytesMax || this.#fieldCount > fieldsMax) return "too-large";
    return undefined;
  }

  /** @returns false when there have been too many */
  readonly #take = (name: string, value: string): boolean => {
    this.#fieldBytes += name.length + value.length;
    this.#fieldCount++;
    if (this.#fieldBytes > unpackedBytesMax) return false;
    if (this.#fieldBytes > headBytesMax || this.#fieldCount > fieldsMax) return true;
    if (name.charCodeAt(0) === 0x3a) this.#takePseudo(name, value);
    else this.#takeField(name, value);
    return true;
  };

  #takePseudo(name: string, value: string): void {
    const isAllowed =
      pseudoFields.has(name) &&
      !this.#pseudo.has(name) &&
      this.#fields.size === 0 &&
      isValue(value);
    if (isAllowed) this.#pseudo.set(name, value);
    else this.#isMalformed = true;
  }

  #takeField(name: string, value: string): void {
    const isAllowed =
      isName(name) &&
      isValue(value) &&
      !connectionFields.has(name) &&
      (name !== "te" || value.toLowerCase() === "trailers");
    if (!isAllowed) {
      this.#isMalformed = true;
      return;
    }
    const before = this.#fields.get(name);
    this.#fields.set(name, before === undefined ? value : `${before}, ${value}`);
  }

  #keptHead(bytes: Buffer, from: number, to: number): Http2Head | undefined {
    if (this.#decoder.changes !== this.#keptChanges) return undefined;
    const length = to - from;
    for (const { bytes: kept, head } of this.#kept) {
      if (kept.length !== length) continue;
      let i = 0;
      while (i < length && kept[i] === bytes[from + i]) i++;
      if (i === length) return head;
    }
    return undefined;
  }

  #keep(bytes: Buffer, from: number, to: number, head: Http2Head): void {
    const { changes } = this.#decoder;
    if (changes !== this.#keptChanges) {
      this.#keptChanges = changes;
      this.#kept.length = 0;
      this.#keptAt = 0;
    }
    if (to - from > keptBlockBytesMax) return;
    this.#kept[this.#keptAt] = { bytes: Buffer.from(bytes.subarray(from, to)), head };
    this.#keptAt = (this.#keptAt + 1) % keptBlocks;
  }
}

/** Undefined for what is no request, or none that is answered here: CONNECT has neither path nor scheme (§8.5). */
function headOf(
  pseudo: ReadonlyMap<string, string>,
  fields: Map<string, string>,
): Http2Head | undefined {
  const method = pseudo.get(":method");
  const target = pseudo.get(":path");
  if (method === undefined || target === undefined || !pseudo.get(":scheme")) return undefined;
  if (!isMethod(method) || method === "CONNECT" || !isTarget(target, method)) return undefined;
  const authority = pseudo.get(":authority");
  const host = fields.get("host");
  if (authority !== undefined) {
    // Two readers would see two requests (§8.3.1).
    if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) return undefined;
    fields.set("host", authority);
  }
  const length = fields.get("content-length");
  if (length !== undefined && !/^[0-9]{1,15}$/.test(length)) return undefined;
  return new Http2Head(method, utf8Of(target), fields);
}

function isMethod(method: string): boolean {
  return method !== "" && every(method, (code) => isTokenByte[code] === 1);
}

/** As `http1/request-head.ts` has it, always with a path. */
function isTarget(target: string, method: string): boolean {
  if (target === "*") return method === "OPTIONS";
  return target.charCodeAt(0) === 0x2f && every(target, (code) => code > 0x20 && code !== 0x7f);
}

/** In lower case (§8.2.1). */
function isName(name: string): boolean {
  return (
    name !== "" && every(name, (code) => isTokenByte[code] === 1 && (code < 0x41 || code > 0x5a))
  );
}

/** §8.2.1. */
function isValue(value: string): boolean {
  if (value === "") return true;
  if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(value.length - 1))) return false;
  return every(value, (code) => isValueByte[code] === 1);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function every(text: string, test: (code: number) => boolean): boolean {
  for (let i = 0; i < text.length; i++) if (!test(text.charCodeAt(i))) return false;
  return true;
}

/** Of a string whose code units are bytes. */
function utf8Of(text: string): string {
  return every(text, (code) => code < 0x80) ? text : Buffer.from(text, "latin1").toString("utf8");
}
