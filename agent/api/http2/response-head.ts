/**
 * The head of an answer, as a header block (RFC 9113 §8.3.2).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { ApiResponse } from "../http.ts";
import { encodeField } from "./header-fields.ts";

/** Before the first block, where the client wants no table (RFC 7541 §6.3): ours has had nothing in it anyway. */
export const emptyTable: Buffer = Buffer.of(0x20);
/** For a client that asks before it sends a body. */
export const goOn: Buffer = encodeField(":status", "100");

/** All fields but the length. Short reads have the same ones one after another. */
export function answerFields({ status, headers }: ApiResponse): Buffer {
  const second = Math.floor(Date.now() / 1000);
  if (headers === lastHeaders && status === lastStatus && second === lastSecond) return lastFields;
  const fields = [encodeField(":status", String(status))];
  for (const [name, value] of Object.entries(headers)) {
    fields.push(encodeField(name.toLowerCase(), value));
  }
  fields.push(encodeField("date", new Date(second * 1000).toUTCString()));
  lastHeaders = headers;
  lastStatus = status;
  lastSecond = second;
  lastFields = Buffer.concat(fields);
  return lastFields;
}

let lastHeaders: ApiResponse["headers"] | undefined;
let lastStatus = 0;
let lastSecond = 0;
let lastFields: Buffer = Buffer.alloc(0);

/** `content-length` is 28th in the static table. */
const [lengthName, lengthNameRest] = [0x0f, 28 - 0x0f];

/** Of a body so long. */
export function lengthFieldBytes(length: number): number {
  return 3 + digitsOf(length);
}

/** @returns where it ends */
export function putLengthField(into: Uint8Array, at: number, length: number): number {
  const digits = digitsOf(length);
  into[at] = lengthName;
  into[at + 1] = lengthNameRest;
  into[at + 2] = digits;
  let rest = length;
  for (let i = at + 2 + digits; i > at + 2; i--) {
    into[i] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  return at + 3 + digits;
}

function digitsOf(length: number): number {
  let digits = 1;
  for (let most = 10; length >= most; most *= 10) digits++;
  return digits;
}
