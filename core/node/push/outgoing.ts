/**
 * Frames out: into the lanes of a peer, and from there to its stream as far as that takes them.
 *
 * @module
 */

import type { Lane } from "../../change/changeset.ts";
import { encodeFrame, type Frame, laneOfFrame } from "../../change/frame.ts";
import type { Site } from "../../clock/stamp.ts";
import type { PeerId } from "../border.ts";
import type { BytesByKind, Counters } from "../counters.ts";
import type { NodeEffect } from "../node-events.ts";
import type { Peer } from "../peer.ts";

/** Whence a changeset came, and the site that made it: they take turns in the urgent lane. */
export interface PushedBy {
  /** As of {@link sourceOf}; this node's key, if it made it. */
  readonly source: string;
  readonly origin: Site;
}

/**
 * What comes over one stream is of two sources: of the peer and of sites that are known (`known-sites.ts`), and of others, which
 * may be a flood that somebody made up and the peer only passes on.
 */
export function sourceOf(peer: PeerId, isKnown: boolean): string {
  return isKnown ? `${peer} known` : peer;
}

export interface OutgoingHooks {
  /** It hasn't gone. */
  readonly isConnected: (peer: Peer) => boolean;
  readonly emit: (effect: NodeEffect) => void;
  readonly close: (peer: Peer, why: string) => void;
}

export class Outgoing {
  readonly #counters: Counters;
  readonly #hooks: OutgoingHooks;
  readonly bytes: BytesByKind = {};

  constructor(counters: Counters, hooks: OutgoingHooks) {
    this.#counters = counters;
    this.#hooks = hooks;
  }

  /** False: the lane is full, or the peer has gone, and the frame is dropped. */
  send(peer: Peer, frame: Frame): boolean {
    return this.sendBytes(peer, encodeFrame(frame), frame.kind, laneOfFrame(frame));
  }

  /** A frame that is encoded already. Such bytes may go to many peers, and don't change any more. */
  sendBytes(
    peer: Peer,
    bytes: Uint8Array,
    kind: Frame["kind"],
    lane: Lane,
    by?: PushedBy,
  ): boolean {
    if (!this.#hooks.isConnected(peer)) return false;
    const isTaken = peer.lanes.push(bytes, lane, by?.source, by?.origin);
    if (isTaken) {
      this.bytes[kind] = (this.bytes[kind] ?? 0) + bytes.length;
      this.flush(peer);
    } else this.#counters.sendDropped++;
    if (peer.lanes.isTooSlow) this.#hooks.close(peer, "takes urgent frames too slowly");
    return isTaken;
  }

  /** Hands over what the stream has room for. */
  flush(peer: Peer): void {
    for (let piece = peer.lanes.next(); piece !== undefined; piece = peer.lanes.next()) {
      peer.bytesSent += piece.bytes.length;
      this.#hooks.emit({ kind: "send", peer: peer.id, ...piece });
    }
  }

  /** The stream is about to be closed: what is urgent goes whatever it has room for. */
  flushLast(peer: Peer): void {
    for (const piece of peer.lanes.lastWords()) {
      this.#hooks.emit({ kind: "send", peer: peer.id, ...piece });
    }
  }
}
