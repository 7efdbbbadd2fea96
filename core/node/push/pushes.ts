/**
 * Changesets on their way: each goes once to every other peer (what isn't urgent often as an id: `plumtree.ts`), and to the
 * own store.
 *
 * It is sent on before it is applied, and whatever the store does, unless it is of a flood: what this host can't apply as
 * fast as it comes, others can't either. They would have to line it up as well, and behind it, where its sites are made
 * up, what this host says. A store that takes nothing holds up nobody else, though.
 *
 * @module
 */

import { decodeChangesetHeader } from "../../change/changeset.ts";
import { encodeFrame, type Frame } from "../../change/frame.ts";
import type { Hlc, Stamp } from "../../clock/stamp.ts";
import type { PeerId, StoreReply } from "../border.ts";
import type { PeerClocks } from "../hello/peer-clocks.ts";
import type { Peer } from "../peer.ts";
import type { World } from "../world.ts";
import type { Applies } from "./applies.ts";
import { KnownSites } from "./known-sites.ts";
import { type Outgoing, type PushedBy, sourceOf } from "./outgoing.ts";
import type { Plumtree } from "./plumtree.ts";
import { RecentUrgent } from "./recent-urgent.ts";
import { SeenIds } from "./seen.ts";

/** A store that doesn't answer for so long holds back no changes that others could have. */
const slowStoreMs = 250;

type Push = Extract<Frame, { kind: "push" }>;

export interface PushesParts {
  readonly key: PeerId;
  /** As of `options.ts`. */
  readonly hash: (bytes: Uint8Array) => bigint;
  readonly applies: Applies;
  readonly outgoing: Outgoing;
  readonly plumtree: Plumtree;
  readonly clocks: PeerClocks;
}

export class Pushes {
  readonly #world: World;
  readonly #parts: PushesParts;
  readonly #seen: SeenIds;
  readonly #knownSites = new KnownSites();
  readonly #recentUrgent = new RecentUrgent();

  constructor(world: World, parts: PushesParts) {
    this.#world = world;
    this.#parts = parts;
    this.#seen = new SeenIds(world.tuning.seenMs, world.tuning.seenMax);
  }

  /** It hasn't answered for much longer than a flood takes it: something else holds it up. */
  get isStoreSlow(): boolean {
    return this.#world.elapsedMs - this.#parts.applies.openSinceMs > slowStoreMs;
  }

  /** The own store has committed. */
  committed({ lane, changeset, stamp }: Extract<StoreReply, { kind: "commit" }>): void {
    const { key, hash } = this.#parts;
    this.#world.counters.commits++;
    this.#seen.add(hash(changeset), this.#world.elapsedMs);
    const frame: Push = { kind: "push", lane, changeset };
    const by = { source: key, origin: stamp.site };
    this.#send(this.#world.readyPeers(), frame, encodeFrame(frame), by, key);
  }

  /** Both hellos are through: it is pushed what was urgent lately. */
  peerReady(peer: Peer): void {
    for (const { frame, by, from } of this.#recentUrgent.since(this.#world.elapsedMs)) {
      if (from !== peer.id) this.#parts.outgoing.sendBytes(peer, frame, "push", 0, by);
    }
  }

  /** @param bytes The frame as it came, which is sent on. */
  cameFrom(peer: Peer, frame: Push, bytes: Uint8Array): void {
    const { applies, hash } = this.#parts;
    const { elapsedMs, counters, slot } = this.#world;
    const header = decodeChangesetHeader(frame.changeset);
    if (header === undefined) {
      this.#world.malformed(peer, "push: no changeset");
      return;
    }
    const { stamp, lane } = header;
    if (lane !== frame.lane) {
      this.#world.malformed(peer, `push: lane ${frame.lane}, not ${lane}`);
      return;
    }
    if (!this.#seen.add(hash(frame.changeset), elapsedMs)) {
      counters.pushesRepeated++;
      this.#parts.plumtree.repeated(peer, frame, stamp.site);
      return;
    }
    counters.pushesReceived++;
    const isKnown = this.#knownSites.heard(stamp.site, elapsedMs);
    const source = sourceOf(peer.id, isKnown || stamp.site === peer.hello?.site);
    const by = { source, origin: stamp.site };
    const forward = () => this.#forward(peer.id, frame, bytes, stamp, by);
    const isHeldBack = lane === 0 && applies.isFlooding(source) && !this.isStoreSlow;
    if (!isHeldBack) forward();
    const posted = isHeldBack ? forward : undefined;
    const { changeset: body } = frame;
    const pushed = { peer: peer.id, ...by, lane, stampMs: stamp.ms, body, posted };
    applies.changesetCame(pushed, slot?.cut ?? 0, elapsedMs);
  }

  #forward(from: PeerId, frame: Push, bytes: Uint8Array, stamp: Stamp, by: PushedBy): void {
    const isOld = this.#mayBeForgotten(stamp);
    if (isOld && frame.lane === 0) return;
    const others = isOld ? [] : this.#world.readyPeers().filter(({ id }) => id !== from);
    this.#send(others, frame, bytes, by, from);
  }

  #send(peers: readonly Peer[], push: Push, bytes: Uint8Array, by: PushedBy, from: PeerId): void {
    const { lane, changeset } = push;
    if (lane !== 0) {
      this.#parts.plumtree.came({ lane, changeset, frame: bytes, by, from }, peers);
      return;
    }
    this.#recentUrgent.add(bytes, by, from, this.#world.elapsedMs);
    for (const peer of peers) this.#parts.outgoing.sendBytes(peer, bytes, "push", lane, by);
  }

  /** It is older than what is remembered: it may have been here. Those who lack it get it by repair. */
  #mayBeForgotten({ ms }: Hlc): boolean {
    const { nowMs, elapsedMs } = this.#world;
    const ageMs = nowMs + this.#parts.clocks.fleetOffsetMs - ms;
    return elapsedMs - ageMs < this.#seen.sinceMs;
  }
}
