/**
 * Peers that are dialled at an address where they were met before: the neighbours of this node's last life, and
 * a neighbour whose process has begun anew. No DHT is asked, so that this works without any, and at once.
 *
 * For a while Hyperswarm is told to keep a connection to such a peer; then it is one like the others, and the
 * address, which may have become somebody else's, is forgotten. Whoever answers there has to prove the key.
 *
 * @module
 */

import type Hyperswarm from "hyperswarm";
import type { PeerId } from "../../core/node/border.ts";
import type { ClusterDht } from "./cluster-dht.ts";

/** A peer is called for so long; that is some four dials. */
const recallMs = 8000;

export class Recall {
  readonly #swarm: Hyperswarm;
  readonly #dht: ClusterDht;
  readonly #configured: ReadonlySet<string>;
  readonly #onChange: () => void;
  readonly #called = new Map<PeerId, ReturnType<typeof setTimeout>>();

  /**
   * @param configured These are called for ever anyway, where the configuration says.
   * @param onChange The number of peers that Hyperswarm was told of has changed.
   */
  constructor(
    swarm: Hyperswarm,
    dht: ClusterDht,
    configured: ReadonlySet<string>,
    onChange: () => void,
  ) {
    this.#swarm = swarm;
    this.#dht = dht;
    this.#configured = configured;
    this.#onChange = onChange;
  }

  has(peer: PeerId): boolean {
    return this.#called.has(peer);
  }

  /** Dials the peer now, and again while it doesn't answer. */
  call(peer: PeerId, address: HyperAddress): void {
    if (!this.#configured.has(peer)) {
      this.#end(peer);
      this.#dht.addresses.set(peer, address);
      this.#called.set(
        peer,
        setTimeout(() => this.arrived(peer), recallMs),
      );
    }
    // Its last connection ended just now: Hyperswarm would wait.
    const known = this.#swarm.peers.get(peer);
    if (known !== undefined) known.attempts = 0;
    this.#swarm.joinPeer(Buffer.from(peer, "hex"));
    this.#onChange();
    this.#swarm._attemptClientConnections();
  }

  /** It is there, by whatever way, or isn't expected any more. */
  arrived(peer: PeerId): void {
    if (!this.#end(peer)) return;
    this.#swarm.leavePeer(Buffer.from(peer, "hex"));
    this.#onChange();
  }

  close(): void {
    for (const timer of this.#called.values()) clearTimeout(timer);
    this.#called.clear();
  }

  #end(peer: PeerId): boolean {
    const timer = this.#called.get(peer);
    if (timer === undefined) return false;
    clearTimeout(timer);
    this.#called.delete(peer);
    this.#dht.addresses.delete(peer);
    return true;
  }
}
