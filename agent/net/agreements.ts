/**
 * When this node last found itself identical with a peer: what the net thread tells of its comparisons, kept
 * beside the handlers that say it with every answer.
 *
 * Ages are on a monotonic clock, from the moment in which the verdict came here: a step of the wall clock
 * doesn't make an answer look fresh. A peer that has gone keeps its last verdict, which grows old.
 *
 * @module
 */

import type { PeerId } from "../../core/node/border.ts";

/** Two settled images were found equal. */
export interface Agreed {
  readonly peer: PeerId;
  /** Whole seconds since 1970: of everything stamped before. */
  readonly cut: number;
}

export interface PeerAgreement extends Agreed {
  readonly agoMs: number;
}

/** Peers that are remembered; the oldest verdicts go first. */
const peersMax = 256;

export class Agreements {
  readonly #nowMs: () => number;
  /** The latest last. */
  readonly #byPeer = new Map<PeerId, { readonly cut: number; readonly atMs: number }>();
  #lastMs: number | undefined;

  /** @param nowMs monotonic */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  noted({ peer, cut }: Agreed): void {
    this.#lastMs = this.#nowMs();
    this.#byPeer.delete(peer);
    this.#byPeer.set(peer, { cut, atMs: this.#lastMs });
    if (this.#byPeer.size > peersMax) {
      const [oldest] = this.#byPeer.keys();
      this.#byPeer.delete(oldest as PeerId);
    }
  }

  /** Whole milliseconds since the last verdict with any peer; undefined before the first. */
  agoMs(): number | undefined {
    return this.#lastMs === undefined ? undefined : Math.floor(this.#nowMs() - this.#lastMs);
  }

  /** The latest first. */
  byPeer(): PeerAgreement[] {
    const nowMs = this.#nowMs();
    return [...this.#byPeer]
      .reverse()
      .map(([peer, { cut, atMs }]) => ({ peer, cut, agoMs: Math.floor(nowMs - atMs) }));
  }
}
