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
import type { PushedBy } from "./outgoing.ts";

export interface KeptPush {
  readonly id: ChangesetId;
  readonly lane: Lane;
  readonly frame: Uint8Array;
  readonly by: PushedBy;
  /** Who sent it here first; this node itself, if it made it. */
  readonly from: PeerId;
  readonly atMs: number;
}

/** What one takes beside its frame: small ones, as many as a member can make up, would else take ten times the bound. */
export const keptOverheadBytes = 1024;

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
  add(push: KeptPush): KeptPush {
    const { id, frame } = push;
    const isView = frame.length * 2 < frame.buffer.byteLength;
    const kept = { ...push, frame: isView ? new Uint8Array(frame) : frame };
    // Two may have one id, if somebody takes pains over it.
    this.#drop(this.#pushes.get(id));
    this.#pushes.set(id, kept);
    this.#bytes += bytesOf(kept);
    this.forget(push.atMs);
    return kept;
  }

  forget(elapsedMs: number): void {
    for (const push of this.#pushes.values()) {
      const isOver = this.#bytes > this.#bytesMax && this.#pushes.size > 1;
      if (!isOver && elapsedMs - push.atMs < this.#keptMs) return;
      this.#drop(push);
    }
  }

  #drop(push: KeptPush | undefined): void {
    if (push === undefined) return;
    this.#pushes.delete(push.id);
    this.#bytes -= bytesOf(push);
  }
}

function bytesOf({ frame }: KeptPush): number {
  return keptOverheadBytes + frame.length;
}
