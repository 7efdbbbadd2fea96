/**
 * How far streams of rows have come that aren't at their end. Without this a node whose connections don't last would
 * begin anew each time, and never come to the rest.
 *
 * @module
 */

import type { PeerId } from "../border.ts";

/** A stream is gone on with for so long after it broke off, and so many are remembered. */
const keptMs = 300_000;
const peersMax = 16;

export class BrokenOffStreams {
  /** The one that came on last is the last. */
  readonly #byPeer = new Map<PeerId, { readonly cursor: Uint8Array; readonly atMs: number }>();

  /** All rows of a peer before `cursor` have come; only the peer can read it. @param elapsedMs The node's. */
  reached(peer: PeerId, cursor: Uint8Array, elapsedMs: number): void {
    this.#byPeer.delete(peer);
    this.#byPeer.set(peer, { cursor, atMs: elapsedMs });
    const [eldest] = this.#byPeer.keys();
    if (this.#byPeer.size > peersMax) this.#byPeer.delete(eldest as PeerId);
  }

  /** Where a stream from this peer goes on; undefined: at the beginning. */
  cursor(peer: PeerId, elapsedMs: number): Uint8Array | undefined {
    const brokenOff = this.#byPeer.get(peer);
    return brokenOff !== undefined && elapsedMs - brokenOff.atMs <= keptMs
      ? brokenOff.cursor
      : undefined;
  }

  /** The stream is at its end, or doesn't get on from there. */
  forget(peer: PeerId): void {
    this.#byPeer.delete(peer);
  }
}
