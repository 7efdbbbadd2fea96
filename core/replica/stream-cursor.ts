/**
 * Where a stream of rows goes on, as bytes that travel to the peer and come back (`frame.ts`, kind 32).
 *
 * | field | bytes                                                                       |
 * | ----- | --------------------------------------------------------------------------- |
 * | life  | varint: a cursor is good only in the life of the store that made it         |
 * | part  | varint: of the scan position                                                |
 * | after | a value as of `row/value.ts`: NULL, INTEGER or BLOB                         |
 *
 * @module
 */

import { ByteReader } from "../bytes/reader.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { RawText, Real, readValue, writeValue } from "../row/value.ts";
import type { ScanPosition } from "../row-store.ts";

export function encodeCursor({ part, after }: ScanPosition, life: number): Uint8Array {
  const writer = new ByteWriter(64);
  writer.varint(life);
  writer.varint(part);
  writeValue(writer, after);
  return writer.finish();
}

/** Undefined for another life's, and for bytes that are no cursor. Never throws. */
export function decodeCursor(bytes: Uint8Array, life: number): ScanPosition | undefined {
  const reader = new ByteReader(bytes);
  const lifeOf = reader.varint("life");
  const part = reader.varint("part");
  const after = readValue(reader, "after");
  reader.end("cursor");
  if (!reader.ok || lifeOf !== life) return undefined;
  if (typeof after === "string" || after instanceof RawText || after instanceof Real)
    return undefined;
  return { part, after };
}
