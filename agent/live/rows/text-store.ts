/**
 * Pairs of texts as UTF-8 bytes, packed one behind the other. What was written stays as it is; where half of a chunk is
 * out of use, what isn't is written anew. So whoever holds chunks may go on reading what was there.
 *
 * | bytes | what                                                                     |
 * | ----- | ------------------------------------------------------------------------ |
 * | 4     | number of the owner                                                      |
 * | 4     | length of the first text in bytes; 0xffffffff: the second is the first, too |
 * | 4     | length of the second                                                     |
 * |       | the first, the second                                                    |
 *
 * @module
 */

/** Two texts. */
export interface TextPair {
  readonly first: string;
  readonly second: string;
}

/** Where a pair stands. Both are 31 bits. */
export interface TextPlace {
  readonly chunk: number;
  readonly at: number;
}

interface Chunk {
  readonly buffer: Buffer;
  end: number;
  /** Of pairs that are in use. */
  usedBytes: number;
}

export type TextChunks = readonly (Buffer | undefined)[];

const headBytes = 12;
const isSame = 0xffff_ffff;
const chunkBytesMin = 128;
const chunkBytesMax = 128 * 1024;

export class TextStore {
  /** Where a pair stands now, and that it does somewhere else. */
  readonly #placeOf: (owner: number) => TextPlace;
  readonly #moved: (owner: number, chunk: number, at: number) => void;
  /** Undefined: nothing in it was in use any more. */
  readonly #chunks: (Chunk | undefined)[] = [];
  readonly #free: number[] = [];
  /** Pairs are written at its end. */
  #current = -1;
  #bytes = 0;

  /** @param moved told of every pair where it stands, when it is written first, too */
  constructor(
    placeOf: (owner: number) => TextPlace,
    moved: (owner: number, chunk: number, at: number) => void,
  ) {
    this.#placeOf = placeOf;
    this.#moved = moved;
  }

  get bytes(): number {
    return this.#bytes;
  }

  write(owner: number, first: string, second: string): void {
    const isOne = first === second;
    const firstBytes = isOne ? 0 : Buffer.byteLength(first);
    const secondBytes = Buffer.byteLength(second);
    const bytes = headBytes + firstBytes + secondBytes;
    const chunk = this.#roomFor(bytes);
    const { buffer, end: at } = chunk;
    buffer.writeUInt32LE(owner, at);
    buffer.writeUInt32LE(isOne ? isSame : firstBytes, at + 4);
    buffer.writeUInt32LE(secondBytes, at + 8);
    if (!isOne) buffer.write(first, at + headBytes);
    buffer.write(second, at + headBytes + firstBytes);
    this.#took(chunk, owner, bytes);
  }

  read({ chunk, at }: TextPlace): TextPair {
    return readPair((this.#chunks[chunk] as Chunk).buffer, at);
  }

  /** The first of the two. */
  readFirst({ chunk, at }: TextPlace): string {
    const { buffer } = this.#chunks[chunk] as Chunk;
    const firstBytes = buffer.readUInt32LE(at + 4);
    const bytes = firstBytes === isSame ? buffer.readUInt32LE(at + 8) : firstBytes;
    return buffer.toString("utf8", at + headBytes, at + headBytes + bytes);
  }

  /** To be called when its owner has no place any more, or another. */
  drop({ chunk: number, at }: TextPlace): void {
    const chunk = this.#chunks[number] as Chunk;
    chunk.usedBytes -= pairBytes(chunk.buffer, at);
    if (chunk.usedBytes === 0) this.#letGo(number, chunk);
    else if (number !== this.#current && chunk.usedBytes * 2 <= chunk.buffer.length) {
      this.#moveOut(number, chunk);
    }
  }

  /** For {@link readPair}, for good. */
  chunks(): TextChunks {
    return this.#chunks.map((chunk) => chunk?.buffer);
  }

  #took(chunk: Chunk, owner: number, bytes: number): void {
    const at = chunk.end;
    chunk.end += bytes;
    chunk.usedBytes += bytes;
    this.#moved(owner, this.#current, at);
  }

  /** The current chunk, with room at its end. */
  #roomFor(bytes: number): Chunk {
    const number = this.#current;
    const chunk = this.#chunks[number];
    if (chunk === undefined) return this.#begin(Math.max(bytes, chunkBytesMin));
    const { buffer, end, usedBytes } = chunk;
    if (end + bytes <= buffer.length) return chunk;
    if (buffer.length >= chunkBytesMax && usedBytes * 2 > buffer.length) {
      return this.#begin(Math.max(bytes, chunkBytesMax));
    }
    const wanted = usedBytes + bytes;
    const begun = this.#begin(Math.max(wanted, Math.min(wanted * 2, chunkBytesMax)));
    this.#moveOut(number, chunk);
    return begun;
  }

  #begin(bytes: number): Chunk {
    const chunk: Chunk = { buffer: Buffer.allocUnsafeSlow(bytes), end: 0, usedBytes: 0 };
    this.#bytes += bytes;
    this.#current = this.#free.pop() ?? this.#chunks.length;
    this.#chunks[this.#current] = chunk;
    return chunk;
  }

  /** What is in use of a chunk is written anew, and the chunk let go. */
  #moveOut(number: number, chunk: Chunk): void {
    const { buffer, end } = chunk;
    let at = 0;
    while (at < end) {
      const bytes = pairBytes(buffer, at);
      const owner = buffer.readUInt32LE(at);
      const place = this.#placeOf(owner);
      if (place.chunk === number && place.at === at) {
        const into = this.#roomFor(bytes);
        buffer.copy(into.buffer, into.end, at, at + bytes);
        this.#took(into, owner, bytes);
      }
      at += bytes;
    }
    this.#letGo(number, chunk);
  }

  #letGo(number: number, { buffer }: Chunk): void {
    if (number === this.#current) this.#current = -1;
    this.#chunks[number] = undefined;
    this.#free.push(number);
    this.#bytes -= buffer.length;
  }
}

function pairBytes(buffer: Buffer, at: number): number {
  const first = buffer.readUInt32LE(at + 4);
  return headBytes + (first === isSame ? 0 : first) + buffer.readUInt32LE(at + 8);
}

export function readPair(buffer: Buffer, at: number): TextPair {
  const firstBytes = buffer.readUInt32LE(at + 4);
  const begin = at + headBytes;
  const middle = firstBytes === isSame ? begin : begin + firstBytes;
  const second = buffer.toString("utf8", middle, middle + buffer.readUInt32LE(at + 8));
  const first = firstBytes === isSame ? second : buffer.toString("utf8", begin, middle);
  return { first, second };
}
