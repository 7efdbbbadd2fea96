/**
 * The fingerprint tree: what a set of rows looks like from outside, in constant memory.
 *
 * The space of row ids is cut into 65,536 *ranges* by the first two bytes of the id. A range has a count
 * and a *fingerprint*, the sum of its rows' digests mod 2^128; the sums of sixteen neighbours make their
 * parent, up to one root. Addition is commutative and has an inverse, so the tree is a function of
 * the set alone. A changed row costs one addition to its range and one to the root, which is told often; the
 * sums between follow when they are asked for. (An XOR would be cheaper and weaker: a row counted twice would
 * vanish. Digests are keyed, `row/digest.ts`.)
 *
 * | level | nodes  | a node covers  |
 * | ----- | ------ | -------------- |
 * | 0     | 1      | every range    |
 * | 1     | 16     | 4,096 ranges   |
 * | 2     | 256    | 256 ranges     |
 * | 3     | 4,096  | 16 ranges      |
 * | 4     | 65,536 | one range      |
 *
 * In memory 69,905 nodes × 20 bytes: four lanes of the sum, lowest first, and the count. 1.4 MB.
 *
 * @module
 */

import { assert } from "../assert.ts";
import type { FingerprintHex } from "../change/frame.ts";
import type { Digest } from "../row/digest.ts";

export const rangeCount = 65_536;
export const treeFanOut = 16;
/** Level of the ranges; the root's is 0. */
export const rangeLevel = 4;

/** Lanes of a sum: a, b, c, d of the digests' sum, then the count. All wrap, so differences fit too. */
export const sumLanes = 5;

const nodeCount = 1 + 16 + 256 + 4096 + 65536;
/** Index of the first node of each level. */
const levelStart: readonly number[] = [0, 1, 17, 273, 4369];
const rangesStart = 4369;
/** Nodes of the level above the ranges. */
const parentCount = rangeCount / treeFanOut;

/** Nodes at `level` (0 … 4). */
function nodesAtLevel(level: number): number {
  return treeFanOut ** level;
}

/** The node at `level` that covers `range`. */
export function nodeOfRange(range: number, level: number): number {
  return range >>> (4 * (rangeLevel - level));
}

/** The ranges below a node: lower bound in, upper bound out. */
export function rangesOfNode(
  level: number,
  node: number,
): { readonly lower: number; readonly upper: number } {
  const width = treeFanOut ** (rangeLevel - level);
  return { lower: node * width, upper: (node + 1) * width };
}

export class FingerprintTree {
  /** Those of the ranges and of the root are always right, those between once {@link #sumUp} has run. */
  readonly #lanes = new Int32Array(nodeCount * sumLanes);
  /** By node of the level above the ranges: a range below it was changed since. */
  readonly #isStale = new Uint8Array(parentCount);
  readonly #stale: number[] = [];
  readonly #difference = new Int32Array(sumLanes);

  /** Reads a little of a range's sum, so that it is at hand. The number means nothing. */
  lookAhead(range: number): number {
    return this.#lanes[(rangesStart + range) * sumLanes] as number;
  }

  /** Counts a row in. @param range As of `rangeOfRow`. */
  add(range: number, digest: Digest): void {
    this.replace(range, undefined, digest);
  }

  /** Counts a row out that was counted in with this digest. */
  subtract(range: number, digest: Digest): void {
    this.replace(range, digest, undefined);
  }

  /** A row of `range` had digest `before` (undefined: wasn't there) and now has `after`. */
  replace(range: number, before: Digest | undefined, after: Digest | undefined): void {
    const difference = this.#difference;
    differenceOf(before, after, difference);
    this.addDifference(range, difference);
  }

  /** {@link replace} by what {@link differenceOf} says. */
  addDifference(range: number, difference: Int32Array): void {
    addSum(this.#lanes, (rangesStart + range) * sumLanes, difference, 0);
    addSum(this.#lanes, 0, difference, 0);
    const parent = range >>> 4;
    if (this.#isStale[parent] === 1) return;
    this.#isStale[parent] = 1;
    this.#stale.push(parent);
  }

  /** Brings the sums between ranges and root up to date: sixteen additions a node that has changed. */
  #sumUp(): void {
    let nodes = this.#stale;
    if (nodes.length === 0) return;
    for (const node of nodes) this.#isStale[node] = 0;
    for (let level = rangeLevel - 1; level > 0; level--) {
      const above: number[] = [];
      let last = -1;
      // In order, so that a node is added up once for all that changed below it.
      for (const node of nodes.sort((a, b) => a - b)) {
        if (node === last) continue;
        last = node;
        const at = ((levelStart[level] as number) + node) * sumLanes;
        const from = ((levelStart[level + 1] as number) + node * treeFanOut) * sumLanes;
        this.#lanes.fill(0, at, at + sumLanes);
        for (let child = 0; child < treeFanOut; child++) {
          addSum(this.#lanes, at, this.#lanes, from + child * sumLanes);
        }
        above.push(node >>> 4);
      }
      nodes = above;
    }
    this.#stale.length = 0;
  }

  /** Rows under a node. */
  rows(level: number, node: number): number {
    return (this.#lanes[this.#at(level, node) + 4] as number) >>> 0;
  }

  /** The sum of a node, its {@link sumLanes} lanes, written to `into`. */
  readSum(level: number, node: number, into: Int32Array): void {
    const at = this.#at(level, node);
    for (let lane = 0; lane < sumLanes; lane++) into[lane] = this.#lanes[at + lane] as number;
  }

  /** The whole fingerprint of a node, 32 hex digits. */
  fingerprint(level: number, node: number): FingerprintHex {
    return sumToHex(this.#lanes, this.#at(level, node));
  }

  /** The last 8 bytes of the fingerprints of a node's sixteen children, 16 hex digits each. */
  childFingerprints(level: number, node: number): FingerprintHex[] {
    assert(level < rangeLevel, `walk: a node above the ranges, got level ${level}`);
    const at = this.#at(level + 1, node * treeFanOut);
    const fingerprints: FingerprintHex[] = [];
    for (let child = 0; child < treeFanOut; child++) {
      fingerprints.push(sumToShortHex(this.#lanes, at + child * sumLanes));
    }
    return fingerprints;
  }

  #at(level: number, node: number): number {
    if (level > 0 && level < rangeLevel) this.#sumUp();
    const start = levelStart[level];
    assert(
      start !== undefined && node >= 0 && node < nodesAtLevel(level),
      `tree node: inside its level, got ${node} at level ${level}`,
    );
    return (start + node) * sumLanes;
  }
}

/** `after - before` into `into`: what a change of one row adds to every sum above it. */
export function differenceOf(
  before: Digest | undefined,
  after: Digest | undefined,
  into: Int32Array,
): void {
  const is = after ?? nothing;
  const was = before ?? nothing;
  into[0] = is.a - was.a;
  let borrow = is.a >>> 0 < was.a >>> 0 ? 1 : 0;
  let rest = (is.b - was.b) | 0;
  into[1] = rest - borrow;
  borrow = is.b >>> 0 < was.b >>> 0 || rest >>> 0 < borrow ? 1 : 0;
  rest = (is.c - was.c) | 0;
  into[2] = rest - borrow;
  borrow = is.c >>> 0 < was.c >>> 0 || rest >>> 0 < borrow ? 1 : 0;
  into[3] = is.d - was.d - borrow;
  into[4] = (after === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
}

/** What a row that isn't there adds to a sum. */
const nothing: Digest = { a: 0, b: 0, c: 0, d: 0 };

// Lanes are unsigned and stand in arrays of signed numbers, which the engine adds as integers. A sum that is less than
// what was added to it has overflowed; `>>> 0` in a comparison makes it an unsigned one and costs nothing.

/** `target[at…] += sum[from…]`, mod 2^128, and the count mod 2^32. Lane by lane: a loop takes twice as long. */
export function addSum(target: Int32Array, at: number, sum: Int32Array, from: number): void {
  const a = sum[from] as number;
  const b = sum[from + 1] as number;
  const c = sum[from + 2] as number;
  const d = sum[from + 3] as number;
  let added = ((target[at] as number) + a) | 0;
  target[at] = added;
  let carry = added >>> 0 < a >>> 0 ? 1 : 0;
  added = ((target[at + 1] as number) + b) | 0;
  let lane = (added + carry) | 0;
  target[at + 1] = lane;
  carry = added >>> 0 < b >>> 0 || lane >>> 0 < added >>> 0 ? 1 : 0;
  added = ((target[at + 2] as number) + c) | 0;
  lane = (added + carry) | 0;
  target[at + 2] = lane;
  carry = added >>> 0 < c >>> 0 || lane >>> 0 < added >>> 0 ? 1 : 0;
  target[at + 3] = (target[at + 3] as number) + d + carry;
  target[at + 4] = (target[at + 4] as number) + (sum[from + 4] as number);
}

/** `target[at…] -= sum[from…]`, mod 2^128, and the count mod 2^32. */
export function subtractSum(target: Int32Array, at: number, sum: Int32Array, from: number): void {
  let minuend = target[at] as number;
  let rest = (minuend - (sum[from] as number)) | 0;
  target[at] = rest;
  let borrow = rest >>> 0 > minuend >>> 0 ? 1 : 0;
  minuend = target[at + 1] as number;
  rest = (minuend - (sum[from + 1] as number)) | 0;
  target[at + 1] = rest - borrow;
  borrow = rest >>> 0 > minuend >>> 0 || rest >>> 0 < borrow ? 1 : 0;
  minuend = target[at + 2] as number;
  rest = (minuend - (sum[from + 2] as number)) | 0;
  target[at + 2] = rest - borrow;
  borrow = rest >>> 0 > minuend >>> 0 || rest >>> 0 < borrow ? 1 : 0;
  target[at + 3] = (target[at + 3] as number) - (sum[from + 3] as number) - borrow;
  target[at + 4] = (target[at + 4] as number) - (sum[from + 4] as number);
}

/** A sum as 32 hex digits, highest lane first. */
export function sumToHex(lanes: Int32Array, at: number): FingerprintHex {
  return (
    laneToHex(lanes[at + 3] as number) +
    laneToHex(lanes[at + 2] as number) +
    sumToShortHex(lanes, at)
  );
}

/** The last 8 bytes of a sum, 16 hex digits. */
export function sumToShortHex(lanes: Int32Array, at: number): FingerprintHex {
  return laneToHex(lanes[at + 1] as number) + laneToHex(lanes[at] as number);
}

/** A lane, signed or not, as 8 hex digits. */
export function laneToHex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, "0");
}
