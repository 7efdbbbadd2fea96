/**
 * What may be said of whether two nodes agree, and when.
 *
 * After a start, or after having been without any peer, a node may lack changes that its peers have
 * had for long. It gives verdicts only at cuts above its HLC at the moment in which its first exchange of
 * recent rows was complete: everything stamped before that reaches it by that exchange or by repair.
 *
 * @module
 */

import type { PeerId } from "../border.ts";
import type { Agreement, Peer } from "../peer.ts";
import type { World } from "../world.ts";

/** As known here the HLC may waver by some ms. */
const setBackMsMin = 5000;

export class Verdicts {
  readonly #world: World;
  #fromMs = Number.POSITIVE_INFINITY;
  #latest: (Agreement & { readonly peer: PeerId }) | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** The last comparison that found a peer equal, also of one that has gone since; a new object each time. */
  get latest(): (Agreement & { readonly peer: PeerId }) | undefined {
    return this.#latest;
  }

  /** The node has no peer any more. */
  alone(): void {
    this.#fromMs = Number.POSITIVE_INFINITY;
  }

  /** An exchange of recent rows is complete; only the first counts. */
  recentComplete(): void {
    if (this.#fromMs === Number.POSITIVE_INFINITY) this.#fromMs = this.#world.hlcMs;
  }

  /** Whether a comparison at this cut says anything. */
  mayJudge(cut: number): boolean {
    // The HLC was far ahead and has been set back (`replica/restamp.ts`): no cut would lie above where it was, for years.
    const { hlcMs } = this.#world;
    const isSetBack =
      this.#fromMs < Number.POSITIVE_INFINITY && hlcMs < this.#fromMs - setBackMsMin;
    if (isSetBack) this.#fromMs = hlcMs;
    return cut * 1000 > this.#fromMs;
  }

  /** Two settled images were compared at a common cut. */
  compared(peer: Peer, cut: number, isEqual: boolean): void {
    if (!this.mayJudge(cut)) return;
    if (isEqual) {
      this.#world.counters.verdictsEqual++;
      peer.agreement = { cut, atMs: this.#world.nowMs };
      this.#latest = { ...peer.agreement, peer: peer.id };
    } else this.#world.counters.verdictsDifferent++;
  }
}
