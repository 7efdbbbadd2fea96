/**
 * The Huffman code of HPACK (RFC 7541 §5.2 and Appendix B). It is canonical: the lengths of its codes, in the order of
 * the symbols, say what they are.
 *
 * @module
 */

import { Buffer } from "node:buffer";

// biome-ignore format: sixteen symbols a line
const codeBits: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
  // The end of the string, which is never sent whole.
  30,
];
const endSymbol = 256;

/** Of each symbol, right-aligned. */
const codes: Uint32Array = canonicalCodes();

function canonicalCodes(): Uint32Array {
  const made = new Uint32Array(codeBits.length);
  let next = 0;
  for (let bits = 5; bits <= 30; bits++) {
    for (let symbol = 0; symbol < codeBits.length; symbol++) {
      if (codeBits[symbol] === bits) made[symbol] = next++;
    }
    next *= 2;
  }
  return made;
}

/**
 * The code's tree, to be walked by four bits at a time. A state is an inner node. At `state * 16 + bits` there is where
 * they lead, and the symbol that was completed on the way: one at most, for none is shorter than five bits.
 */
const none = 0xffff;
const { nextStates, symbols, mayEnd } = walkingTables();

function walkingTables() {
  /** Of each inner node: its children by bit. Below zero is a leaf: -1 - symbol. */
  const children: [number, number][] = [[0, 0]];
  for (let symbol = 0; symbol < codeBits.length; symbol++) {
    let node = 0;
    for (let shift = (codeBits[symbol] as number) - 1; shift >= 0; shift--) {
      const bit = ((codes[symbol] as number) >>> shift) & 1;
      const pair = children[node] as [number, number];
      if (shift === 0) {
        pair[bit] = -1 - symbol;
      } else {
        if (pair[bit] === 0) {
          pair[bit] = children.length;
          children.push([0, 0]);
        }
        node = pair[bit] as number;
      }
    }
  }
  const nextStates = new Uint16Array(children.length * 16);
  const symbols = new Uint16Array(children.length * 16).fill(none);
  for (let state = 0; state < children.length; state++) {
    for (let bits = 0; bits < 16; bits++) {
      let node = state;
      for (let shift = 3; shift >= 0; shift--) {
        const to = (children[node] as [number, number])[(bits >> shift) & 1] as number;
        if (to < 0) symbols[state * 16 + bits] = -1 - to;
        node = Math.max(to, 0);
      }
      nextStates[state * 16 + bits] = node;
    }
  }
  // The padding is the beginning of the end's code, all ones, and shorter than a byte.
  const mayEnd = new Uint8Array(children.length);
  for (let node = 0, bits = 0; bits < 8; bits++) {
    mayEnd[node] = 1;
    node = (children[node] as [number, number])[1];
  }
  return { nextStates, symbols, mayEnd };
}

/**
 * Decodes `from` up to `to` into `into`, which has room: twice as many bytes suffice, since no code is shorter than five bits.
 *
 * @returns how many bytes it came to; undefined for what is no such string (§5.2)
 */
export function decodeHuffman(
  bytes: Uint8Array,
  from: number,
  to: number,
  into: Uint8Array,
): number | undefined {
  let state = 0;
  let length = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at] as number;
    let step = state * 16 + (byte >> 4);
    let symbol = symbols[step] as number;
    if (symbol < endSymbol) into[length++] = symbol;
    else if (symbol === endSymbol) return undefined;
    step = (nextStates[step] as number) * 16 + (byte & 0xf);
    symbol = symbols[step] as number;
    if (symbol < endSymbol) into[length++] = symbol;
    else if (symbol === endSymbol) return undefined;
    state = nextStates[step] as number;
  }
  return mayEnd[state] === 1 ? length : undefined;
}

export function encodeHuffman(bytes: Uint8Array): Buffer {
  let bitCount = 0;
  for (const byte of bytes) bitCount += codeBits[byte] as number;
  const made = Buffer.alloc(Math.ceil(bitCount / 8));
  let at = 0;
  /** Not yet written, in the lowest bits; fewer than eight between symbols. */
  let rest = 0;
  let restBits = 0;
  const put = (code: number, bits: number): void => {
    // At most 7 and 30: more than the 32 that shifts have.
    rest = rest * 2 ** bits + code;
    restBits += bits;
    while (restBits >= 8) {
      restBits -= 8;
      const byte = Math.floor(rest / 2 ** restBits);
      made[at++] = byte;
      rest -= byte * 2 ** restBits;
    }
  };
  for (const byte of bytes) put(codes[byte] as number, codeBits[byte] as number);
  if (restBits > 0) put(2 ** (8 - restBits) - 1, 8 - restBits);
  return made;
}
