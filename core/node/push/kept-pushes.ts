/**
 * Changesets of lanes 1 and 2 that came lately, for peers that were told of them and ask: the payloads of Plumtree.
 *
 * They are kept for a while, some times as long as it takes to ask for one, and up to a number of bytes: the latest, and the
 * last whatever its size. Who asks too late gets it by repair.
 *
 * @module
 */

import type { ChangesetId, Lane } from "../../change/changeset.ts";
import type { PeerId } from "../border.ts";
import type { Peer } from "../peer.ts";
import type { PushedBy } from "./outgoing.ts";

export interface KeptPush {
  readonly id: ChangesetId;
  readonly lane: Lane;
  readonly frame: Uint8Array;
  readonly by: PushedBy;
  /** Who sent it here first; this node itself, if it made it. */
  readonly from: PeerId;
  readonly atMs: number;
  /** Who asked for it and got it: once over one stream is enough. */
  readonly grafted: Set<Peer>;
}

export class KeptPushes {
  readonly #keptMs: number;
  readonly #bytesMax: number;
  /** In the order in which they came. */
  readonly #pushes = new Map<ChangesetId, KeptPush>();
  #bytes = 0;

  constructor(keptMs: number, bytesMax: number) {
    this.#keptMs = keptMs;
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  of(id: ChangesetId): KeptPush | undefined {
    return this.#pushes.get(id);
  }

  /** @returns what is kept; its frame is another one if that was a view of a larger buffer */
  add(push: Omit<KeptPush, "grafted">): KeptPush {
    const { frame } = push;
    const isView = frame.length * 2 < frame.buffer.byteLength;
    const kept = {
      ...push,
      frame: isView ? new Uint8Array(frame) : frame,
      grafted: new Set<Peer>(),
    };
    this.#pushes.set(push.id, kept);
    this.#bytes += frame.length;
    this.forget(push.atMs);
    return kept;
  }

  forget(elapsedMs: number): void {
    for (const { id, atMs, frame } of this.#pushes.values()) {
      const isOver = this.#bytes > this.#bytesMax && this.#pushes.size > 1;
      if (!isOver && elapsedMs - atMs < this.#keptMs) return;
      this.#pushes.delete(id);
      this.#bytes -= frame.length;
    }
  }
}
