/**
 * Which members a node keeps streams to: some near, in its own region, and some far, in others.
 *
 * Near ones make news cheap, far ones keep the graph of streams in one piece: a node that had near
 * neighbours only would, with its region, be cut off. Two decisions are taken here, from what is known
 * now and nothing kept:
 *
 * - `nextDial`: whom to dial besides those whom Hyperswarm dials. A class (near, far) that is short comes
 *   first, then anybody while there are fewer than `peersMin` neighbours. The topic tells keys only, so where
 *   nobody of a short class is known a peer of unknown region is dialled, which then tells its own.
 * - `spareNeighbour`: who goes when a member knocks at a full node. Refusing would leave it outside in a
 *   fleet that grew until every node was full. What goes is the more plentiful class's; of near ones
 *   the one with the longest round trip, of far ones one whose region is there most often.
 *
 * One neighbour at a time, and seldom: the caller waits between two (`balancer.ts`).
 *
 * After: Leitão, Pereira, Rodrigues, "HyParView", DSN 2007 (a full view makes room for who joins).
 *
 * @module
 */

import type { PeerId } from "../../core/node/border.ts";

/** Somebody who can be dialled. */
export interface KnownMember {
  readonly peer: PeerId;
  /** Undefined if only the key is known. */
  readonly region: string | undefined;
}

export interface Neighbour {
  readonly peer: PeerId;
  /** Undefined until the member is known. */
  readonly region: string | undefined;
  /** Configured: never given up. */
  readonly isPinned: boolean;
  readonly rttMs: number;
  readonly ageMs: number;
}

export interface NeighbourhoodOptions {
  readonly ownRegion: string;
  /** With fewer neighbours any known member is dialled. At most two thirds of the limit is a good start. */
  readonly peersMin: number;
  /** Near ones kept, if so many are known. */
  readonly nearMin: number;
  /** Far ones kept, if so many are known. */
  readonly farMin: number;
}

/** A neighbour that has just come isn't sent away: who is new needs it most. */
const youngMs = 3000;

/**
 * Whom to dial now; undefined for nobody. `known`: all who can be dialled, neighbours among them.
 * `maySeek`: whether it may be for a class that is short; where a region is
 * small not everybody can have neighbours there, and trying forever would keep the fleet in motion.
 */
export function nextDial(
  options: NeighbourhoodOptions,
  neighbours: readonly Neighbour[],
  known: readonly KnownMember[],
  maySeek: boolean,
  random: () => number,
): KnownMember | undefined {
  const { ownRegion } = options;
  const connected = new Set(neighbours.map(({ peer }) => peer));
  const candidates = known.filter(({ peer }) => !connected.has(peer));
  const unknown = candidates.filter(({ region }) => region === undefined);
  const near = candidates.filter(({ region }) => region === ownRegion);
  const far = candidates.filter(({ region }) => region !== undefined && region !== ownRegion);
  const { nearCount, farCount } = countClasses(ownRegion, neighbours);
  const isFarShort = maySeek && farCount < options.farMin;
  const isNearShort = maySeek && nearCount < options.nearMin;
  if (isFarShort && far.length > 0) {
    const seldom = fewest(far, ({ region }) => countRegion(neighbours, region));
    return pick(seldom, random);
  }
  if (isNearShort && near.length > 0) return pick(near, random);
  if ((isFarShort || isNearShort) && unknown.length > 0) return pick(unknown, random);
  return neighbours.length < options.peersMin ? pick(candidates, random) : undefined;
}

/** Who can be done without; undefined if every one is needed, pinned or too new. */
export function spareNeighbour(
  options: NeighbourhoodOptions,
  neighbours: readonly Neighbour[],
  random: () => number,
): PeerId | undefined {
  const { ownRegion, nearMin, farMin } = options;
  const { nearCount, farCount } = countClasses(ownRegion, neighbours);
  const free = neighbours.filter(({ isPinned, ageMs }) => !isPinned && ageMs >= youngMs);
  const near = free.filter(({ region }) => region === ownRegion);
  const far = free.filter(({ region }) => region !== undefined && region !== ownRegion);
  const nearSurplus = near.length === 0 ? 0 : nearCount - nearMin;
  const farSurplus = far.length === 0 ? 0 : farCount - farMin;
  if (nearSurplus <= 0 && farSurplus <= 0) return undefined;
  if (nearSurplus >= farSurplus) return fewest(near, ({ rttMs }) => -rttMs)[0]?.peer;
  const frequent = fewest(far, ({ region }) => -countRegion(neighbours, region));
  return pick(frequent, random)?.peer;
}

function countClasses(ownRegion: string, neighbours: readonly Neighbour[]) {
  const nearCount = countRegion(neighbours, ownRegion);
  return {
    nearCount,
    farCount: neighbours.length - nearCount - countRegion(neighbours, undefined),
  };
}

function countRegion(neighbours: readonly Neighbour[], wanted: string | undefined): number {
  let count = 0;
  for (const { region } of neighbours) if (region === wanted) count++;
  return count;
}

/** Those for which `weigh` is the least. */
function fewest<T>(items: readonly T[], weigh: (item: T) => number): T[] {
  const least = Math.min(...items.map(weigh));
  return items.filter((item) => weigh(item) === least);
}

function pick<T>(items: readonly T[], random: () => number): T | undefined {
  return items[Math.floor(random() * items.length)];
}
