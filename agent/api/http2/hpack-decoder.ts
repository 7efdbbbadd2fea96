/**
 * Reads header blocks: HPACK (RFC 7541). One for each connection, for each block may change what the next ones mean.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { decodeHuffman } from "./huffman.ts";
import { type HeaderField, staticTable } from "./static-table.ts";

/** Of the dynamic table: what a client may count on unless it is told otherwise (§4.2). It never is. */
export const tableBytesMax = 4096;
/** What a field counts beside its name and value (§4.1). */
const fieldBytes = 32;

/** For what Huffman's code stands for: of one string at a time. */
let unpacked = Buffer.alloc(4096);

export class HpackDecoder {
  /** The oldest first. */
  readonly #table: HeaderField[] = [];
  #tableBytes = 0;
  /** As the client has last set it. */
  #bytesMax = tableBytesMax;
  #changes = 0;
  #at = 0;

  /** Grows with each block that changes what the table has: the same bytes mean the same until then. */
  get changes(): number {
    return this.#changes;
  }

  /**
   * Reads a whole block.
   *
   * @param take is called for each field in turn; it returns false to end it
   * @returns false for what is no such block, or was ended: none that follows can be read, either
   */
  decode(
    bytes: Buffer,
    from: number,
    to: number,
    take: (name: string, value: string) => boolean,
  ): boolean {
    this.#at = from;
    let isFirst = true;
    while (this.#at < to) {
      const byte = bytes[this.#at] as number;
      if ((byte & 0xe0) === 0x20) {
        // A new size of the table, which only comes first (§4.2, §6.3).
        const size = this.#integer(bytes, to, 5);
        if (size === undefined || size > tableBytesMax || !isFirst) return false;
        this.#resize(size);
        continue;
      }
      isFirst = false;
      if (byte >= 0x80) {
        const index = this.#integer(bytes, to, 7);
        const field = index === undefined ? undefined : this.#field(index);
        if (field === undefined) return false;
        if (!take(field.name, field.value)) return false;
        continue;
      }
      const isKept = byte >= 0x40;
      const index = this.#integer(bytes, to, isKept ? 6 : 4);
      if (index === undefined) return false;
      const name = index === 0 ? this.#string(bytes, to) : this.#field(index)?.name;
      const value = name === undefined ? undefined : this.#string(bytes, to);
      if (name === undefined || value === undefined) return false;
      if (isKept) this.#keep({ name, value });
      if (!take(name, value)) return false;
    }
    return true;
  }

  /** §2.3.3. Undefined: there is none. */
  #field(index: number): HeaderField | undefined {
    if (index <= staticTable.length) return staticTable[index - 1];
    return this.#table[this.#table.length - (index - staticTable.length)];
  }

  #keep(field: HeaderField): void {
    this.#changes++;
    const bytes = sizeOf(field);
    this.#shrink(this.#bytesMax - bytes);
    // One that is larger than the table empties it, and that is all (§4.4).
    if (bytes > this.#bytesMax) return;
    this.#table.push(field);
    this.#tableBytes += bytes;
  }

  #resize(bytesMax: number): void {
    this.#changes++;
    this.#bytesMax = bytesMax;
    this.#shrink(bytesMax);
  }

  #shrink(bytesMax: number): void {
    while (this.#tableBytes > bytesMax && this.#table.length > 0) {
      this.#tableBytes -= sizeOf(this.#table.shift() as HeaderField);
    }
  }

  /**
   * §5.1. What is over 2^28 is of no use here, and bytes of zeros without end aren't, either.
   *
   * @returns undefined when its end is missing, or it is too large
   */
  #integer(bytes: Buffer, to: number, prefixBits: number): number | undefined {
    const most = (1 << prefixBits) - 1;
    let value = (bytes[this.#at++] as number) & most;
    if (value < most) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= to) return undefined;
      const byte = bytes[this.#at++] as number;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return undefined;
  }

  /** §5.2. */
  #string(bytes: Buffer, to: number): string | undefined {
    if (this.#at >= to) return undefined;
    const isPacked = (bytes[this.#at] as number) >= 0x80;
    const length = this.#integer(bytes, to, 7);
    if (length === undefined || length > to - this.#at) return undefined;
    const from = this.#at;
    this.#at += length;
    if (!isPacked) return bytes.toString("latin1", from, this.#at);
    if (unpacked.length < 2 * length) unpacked = Buffer.alloc(2 * length);
    const unpackedBytes = decodeHuffman(bytes, from, this.#at, unpacked);
    return unpackedBytes === undefined ? undefined : unpacked.toString("latin1", 0, unpackedBytes);
  }
}

function sizeOf({ name, value }: HeaderField): number {
  return name.length + value.length + fieldBytes;
}
