/**
 * Changesets that peers say they have and that haven't come: whom to ask, and when. Plumtree's missing messages.
 *
 * One that is pushed along a tree is waited for a little, because ids and payloads come different ways. Then the first that
 * told of it is asked, and after a time another one. A peer that let a request go by is asked last for a while: one that
 * tells of everything and sends nothing costs the others one such time, now and then.
 *
 * Of each peer as many are remembered as are needed where a link breaks under load; ids that a peer makes up cost no more.
 *
 * @module
 */

import type { ChangesetId } from "../../change/changeset.ts";
import type { PeerId } from "../border.ts";
import type { MissingLimits } from "../options.ts";

/** For so long a peer that didn't answer is asked last. */
const lateMs = 10_000;
/** So long a large one may take, even if parts of something come all the time. */
const largeGraftMsMax = 60_000;

interface Missing {
  readonly isForAsking: boolean;
  /** Who told of it first: it counts as theirs. */
  readonly by: PeerId;
  /** When to ask, if it hasn't been asked for. */
  dueMs: number;
  /** Not asked yet, in the order in which they told. */
  readonly holders: PeerId[];
  asked: PeerId | undefined;
  askedMs: number;
}

export interface MissingHooks {
  /** When a part of a large frame came last from a peer; undefined when it isn't connected. */
  readonly partMs: (peer: PeerId) => number | undefined;
  /** Somebody was asked and didn't answer in time. */
  readonly inVain: () => void;
}

export class MissingPushes {
  readonly #limits: MissingLimits;
  readonly #hooks: MissingHooks;
  readonly #missing = new Map<ChangesetId, Missing>();
  /** How many of these each peer was the first to tell of. */
  readonly #countBy = new Map<PeerId, number>();
  /** Who let a request go by, and until when that is remembered. */
  readonly #lateUntilMs = new Map<PeerId, number>();

  constructor(limits: MissingLimits, hooks: MissingHooks) {
    this.#limits = limits;
    this.#hooks = hooks;
  }

  get size(): number {
    return this.#missing.size;
  }

  /** A peer tells of one that isn't here. @returns whether it is to be asked for now, of that peer */
  heard(id: ChangesetId, peer: PeerId, isForAsking: boolean, elapsedMs: number): boolean {
    const missing = this.#missing.get(id);
    const isLate = this.#isLate(peer, elapsedMs);
    // Who tells of everything at once, and sends nothing, mustn't have the others asked too soon.
    const { graftAfterMs, graftMs } = this.#limits;
    const dueMs = elapsedMs + (isLate ? graftMs : graftAfterMs);
    if (missing !== undefined) {
      if (missing.asked === peer || missing.holders.includes(peer)) return false;
      missing.holders.push(peer);
      missing.dueMs = Math.min(missing.dueMs, dueMs);
      return false;
    }
    const count = this.#countBy.get(peer) ?? 0;
    if (count >= this.#limits.idsPerPeerMax) return false;
    this.#countBy.set(peer, count + 1);
    const isAsked = isForAsking && !isLate;
    this.#missing.set(id, {
      ...{ isForAsking, by: peer, dueMs, askedMs: elapsedMs },
      holders: isAsked ? [] : [peer],
      asked: isAsked ? peer : undefined,
    });
    return isAsked;
  }

  came(id: ChangesetId): void {
    const missing = this.#missing.get(id);
    if (missing === undefined) return;
    this.#missing.delete(id);
    const count = (this.#countBy.get(missing.by) ?? 0) - 1;
    if (count > 0) this.#countBy.set(missing.by, count);
    else this.#countBy.delete(missing.by);
  }

  peerGone(peer: PeerId): void {
    this.#lateUntilMs.delete(peer);
  }

  /** What is to be asked for now, and of whom. What nobody is left to ask for is forgotten. */
  due(elapsedMs: number): Map<PeerId, ChangesetId[]> {
    const idsByPeer = new Map<PeerId, ChangesetId[]>();
    for (const [id, missing] of this.#missing) {
      if (!this.#isDue(missing, elapsedMs)) continue;
      const peer = this.#next(missing, elapsedMs);
      if (peer === undefined) {
        this.came(id);
        continue;
      }
      missing.asked = peer;
      missing.askedMs = elapsedMs;
      const ids = idsByPeer.get(peer);
      if (ids === undefined) idsByPeer.set(peer, [id]);
      else ids.push(id);
    }
    return idsByPeer;
  }

  #isDue({ asked, askedMs, dueMs, isForAsking }: Missing, elapsedMs: number): boolean {
    const { graftMs } = this.#limits;
    if (asked === undefined) return elapsedMs >= dueMs;
    const partMs = this.#hooks.partMs(asked);
    if (partMs === undefined) return true;
    const sinceMs = isForAsking ? Math.max(askedMs, partMs) : askedMs;
    if (elapsedMs - sinceMs < graftMs && elapsedMs - askedMs < largeGraftMsMax) return false;
    this.#hooks.inVain();
    this.#lateUntilMs.set(asked, elapsedMs + lateMs);
    return true;
  }

  #next({ holders }: Missing, elapsedMs: number): PeerId | undefined {
    const here = holders.filter((peer) => this.#hooks.partMs(peer) !== undefined);
    const next = here.find((peer) => !this.#isLate(peer, elapsedMs)) ?? here[0];
    holders.splice(0, holders.length, ...here.filter((peer) => peer !== next));
    return next;
  }

  #isLate(peer: PeerId, elapsedMs: number): boolean {
    return elapsedMs < (this.#lateUntilMs.get(peer) ?? Number.NEGATIVE_INFINITY);
  }
}
