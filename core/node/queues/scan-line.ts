/**
 * Questions that each take a scan of the store, in a fair order: this node's own first, and then one of the peer that
 * has waited longest since its last one, or since it came.
 *
 * A scan of a million rows takes some 20 s. In the order in which they were put, a few peers that always ask for
 * as many as they may would keep the others, who ask now and then, waiting for minutes.
 *
 * @module
 */

import type { PeerId } from "../border.ts";
import { Fifo } from "./fifo.ts";

/** Peers without a question whose turn is remembered. */
const restingMax = 64;

export class ScanLine<Asked extends { readonly forPeer: PeerId | undefined }> {
  readonly #own = new Fifo<Asked>();
  /** Whoever's turn is next comes first. */
  readonly #byPeer = new Map<PeerId, Fifo<Asked>>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(asked: Asked): void {
    this.#length++;
    const { forPeer } = asked;
    if (forPeer === undefined) {
      this.#own.push(asked);
      return;
    }
    let waiting = this.#byPeer.get(forPeer);
    if (waiting === undefined) {
      waiting = new Fifo();
      this.#byPeer.set(forPeer, waiting);
      this.#forgetResting();
    }
    waiting.push(asked);
  }

  shift(): Asked | undefined {
    const asked = this.#own.shift() ?? this.#nextPeers();
    if (asked !== undefined) this.#length--;
    return asked;
  }

  #nextPeers(): Asked | undefined {
    for (const [peer, waiting] of this.#byPeer) {
      const asked = waiting.shift();
      if (asked === undefined) continue;
      // Its turn is over, and it waits behind all others.
      this.#byPeer.delete(peer);
      this.#byPeer.set(peer, waiting);
      return asked;
    }
    return undefined;
  }

  #forgetResting(): void {
    let resting = 0;
    for (const { length } of this.#byPeer.values()) if (length === 0) resting++;
    for (const [peer, { length }] of this.#byPeer) {
      if (resting <= restingMax) return;
      if (length > 0) continue;
      this.#byPeer.delete(peer);
      resting--;
    }
  }
}
