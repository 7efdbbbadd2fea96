/**
 * Sees to it that some neighbours are near and some far (`neighbourhood.ts`): looks them over every few seconds, and
 * dials one at a time. Who goes for it goes when it is there.
 *
 * @module
 */

import type Hyperswarm from "hyperswarm";
import { bytesToHex } from "../../core/bytes/hex.ts";
import type { PeerId } from "../../core/node/border.ts";
import { jittered } from "./jitter.ts";
import {
  type KnownMember,
  type Neighbour,
  type NeighbourhoodOptions,
  nextDial,
  spareNeighbour,
} from "./neighbourhood.ts";

/** Neighbours are looked over so often, give or take a quarter; a dial that this led to has so long. */
const balanceMs = 10_000;
const dialMs = 8000;
/**
 * A dial for the sake of near and far is followed by another after `balanceMs` at the soonest, and after twice
 * the time before as long as one of the two is short: in a fleet where one region is small, not everybody can
 * have neighbours there.
 */
const seekMsMax = 3_600_000;
/** Regions remembered of peers that were once neighbours. */
const regionsMax = 4096;
/** Failures in a row, after which a peer has most likely gone. */
const attemptsMax = 3;

export interface BalancerOptions {
  readonly swarm: Hyperswarm;
  /** The own key. */
  readonly key: PeerId;
  readonly neighbourhood: NeighbourhoodOptions;
  /** These are called for ever anyway. */
  readonly configured: ReadonlySet<string>;
  /** Members that are known to be alive, as gossip tells. */
  readonly knownMembers: () => readonly KnownMember[];
  /** Those that are admitted and stay. */
  readonly neighbours: () => readonly Omit<Neighbour, "region">[];
  readonly isConnected: (peer: PeerId) => boolean;
  /** The number of peers that Hyperswarm was told of has changed. */
  readonly onChange: () => void;
}

export class Balancer {
  readonly #options: BalancerOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Dialled, and not yet admitted. */
  #asked: PeerId | undefined;
  #askTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #regions = new Map<PeerId, string>();
  /** When near and far ones may be sought again, and how long the wait is then. */
  #seekAtMs = 0;
  #seekMs = balanceMs;

  constructor(options: BalancerOptions) {
    this.#options = options;
  }

  /** From now on until {@link close}. */
  start(): void {
    this.#timer = setTimeout(() => {
      this.#balance();
      this.start();
    }, jittered(balanceMs));
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#askTimer);
  }

  /** It was dialled from here, and is awaited. */
  has(peer: PeerId): boolean {
    return peer === this.#asked;
  }

  arrived(peer: PeerId): void {
    if (this.has(peer)) this.#askNobody();
  }

  /** Who can be done without now; undefined for nobody. */
  spare(): PeerId | undefined {
    return spareNeighbour(this.#options.neighbourhood, this.#neighbours(), Math.random);
  }

  #balance(): void {
    if (this.#asked !== undefined) return;
    const { swarm, neighbourhood, isConnected, onChange } = this.#options;
    const neighbours = this.#neighbours();
    const nowMs = performance.now();
    const maySeek = nowMs >= this.#seekAtMs;
    const dial = nextDial(neighbourhood, neighbours, this.#known(), maySeek, Math.random);
    if (dial === undefined) {
      if (maySeek) this.#seekMs = balanceMs;
      return;
    }
    const { peer } = dial;
    if (isConnected(peer)) return;
    if (neighbours.length >= neighbourhood.peersMin) {
      this.#seekAtMs = nowMs + this.#seekMs;
      this.#seekMs = Math.min(this.#seekMs * 2, seekMsMax);
    }
    this.#asked = peer;
    this.#askTimer = setTimeout(() => this.#askNobody(), dialMs);
    // Hyperswarm dials who is joined by key whatever its limit is.
    swarm.joinPeer(Buffer.from(peer, "hex"));
    onChange();
    // One that waits in its queue it would otherwise dial at the next connection that comes or goes.
    swarm._attemptClientConnections();
  }

  #askNobody(): void {
    clearTimeout(this.#askTimer);
    const asked = this.#asked;
    if (asked === undefined) return;
    this.#asked = undefined;
    const { swarm, configured, onChange } = this.#options;
    if (!configured.has(asked)) swarm.leavePeer(Buffer.from(asked, "hex"));
    onChange();
  }

  #neighbours(): Neighbour[] {
    const { knownMembers, neighbours } = this.#options;
    for (const { peer, region } of knownMembers()) {
      if (this.#regions.size >= regionsMax) this.#regions.clear();
      if (region !== undefined) this.#regions.set(peer, region);
    }
    return neighbours().map((one) => ({ ...one, region: this.#regions.get(one.peer) }));
  }

  /** Alive members that gossip tells of, and the topic's peers. */
  #known(): KnownMember[] {
    const { swarm, knownMembers, key } = this.#options;
    const known = new Map<PeerId, KnownMember>();
    for (const { publicKey, attempts } of swarm.peers.values()) {
      const peer = bytesToHex(publicKey) as PeerId;
      if (attempts < attemptsMax) known.set(peer, { peer, region: this.#regions.get(peer) });
    }
    for (const member of knownMembers()) known.set(member.peer, member);
    known.delete(key);
    return [...known.values()];
  }
}
