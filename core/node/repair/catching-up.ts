/**
 * Whether this node is fetching most of what it should have, and from whom.
 *
 * What it would answer to others meanwhile is of no use to them, so they are told `busy`. But only once, and for a
 * while: a peer that only says that it has so much would keep all others from comparing with each other.
 *
 * @module
 */

import type { PeerId } from "../border.ts";

/** How long others are kept from comparing with a node that lacks nearly all. */
const heldOffMs = 30_000;

export class CatchingUp {
  /** Whose rows come. */
  readonly #from = new Set<PeerId>();
  /** Since it had no peer: it agreed with one, or has begun to fetch most of what it should have. */
  #hasBegun = false;
  /** Elapsed time. */
  #heldOffUntilMs = Number.NEGATIVE_INFINITY;

  get isUnderWay(): boolean {
    return this.#from.size > 0;
  }

  /** Nothing is compared for others now. */
  isHeldOff(elapsedMs: number): boolean {
    return this.isUnderWay && elapsedMs < this.#heldOffUntilMs;
  }

  /** Most rows are missing here, and come from this peer. */
  begin(peer: PeerId, elapsedMs: number): void {
    this.#from.add(peer);
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#heldOffUntilMs = elapsedMs + heldOffMs;
  }

  /** Nothing more comes from this peer. */
  end(peer: PeerId): void {
    this.#from.delete(peer);
  }

  /** A peer was found equal: what others still send is more than that one has, and nothing to be waited for. */
  agreed(): void {
    this.#from.clear();
    this.#hasBegun = true;
    this.#heldOffUntilMs = Number.NEGATIVE_INFINITY;
  }

  /** The node has no peer any more. */
  alone(): void {
    this.#hasBegun = false;
  }
}
