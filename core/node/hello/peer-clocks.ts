/**
 * The peers' clocks against the own, for the store's drift rule (`replica/drift.ts`): told it about once a second.
 *
 * @module
 */

import type { StoreRequest } from "../border.ts";
import type { Peer } from "../peer.ts";

/** Between two reports. */
const reportMs = 1000;

export class PeerClocks {
  #nextMs = 0;
  /** Of so many peers; undefined: another life of this machine may have told of some. */
  #told: number | undefined;
  #fleetOffsetMs = 0;

  /** Of the fleet's clock against the own, as far as the peers tell. */
  get fleetOffsetMs(): number {
    return this.#fleetOffsetMs;
  }

  /** @param peers Ready ones. @returns what the store is to be told; undefined: nothing now */
  report(
    peers: readonly Peer[],
    elapsedMs: number,
  ): Extract<StoreRequest, { kind: "peers" }> | undefined {
    if (elapsedMs < this.#nextMs) return undefined;
    this.#nextMs = elapsedMs + reportMs;
    const offsetsMs: number[] = [];
    for (const peer of peers) {
      const offsetMs = peer.clockOffsetMs();
      if (offsetMs !== undefined) offsetsMs.push(offsetMs);
    }
    const clocks = [0, ...offsetsMs].sort((a, b) => a - b);
    this.#fleetOffsetMs = clocks[(clocks.length - 1) >> 1] as number;
    if (offsetsMs.length === 0 && this.#told === 0) return undefined;
    this.#told = offsetsMs.length;
    return { kind: "peers", offsetsMs, count: peers.length };
  }
}
