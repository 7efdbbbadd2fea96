/**
 * Who is sent a changeset of lanes 1 and 2 and who only its id, so that it comes to each node about once: Plumtree, with a
 * tree for each site. Urgent ones are sent to everybody.
 *
 * - At first a site's changesets go to all peers. A node to which one comes again says so to whoever sent it (*prune*), and
 *   from then on hears only ids from there (*ihave*), a batch every `tellMs`. So each site has the tree along which its
 *   changesets come first: they come as soon as by a flood. What a peer sent before it heard of the prune counts for nothing,
 *   or in a burst the way by which the next changeset came first would be pruned, too.
 * - If one is told of and doesn't come, it is asked for (*graft*; `missing-pushes.ts`), and its site's changesets come from there
 *   from then on. If then the other way is the better one after all, that is told in the next *prune*.
 * - Large ones (lane 2) have no trees: a site makes few, and each copy is dear. They are sent to nobody who hasn't asked for
 *   them, except that a node sends its own to two peers at once: it may be about to stop.
 *
 * What goes over each stream is as sure to get everywhere as by a flood, because the id or the payload goes over every one.
 * A node with few peers asks nobody to prune: there is little to save, and each copy more is one that may come sooner.
 *
 * Differences from the paper: it has one tree for all; there what many nodes say at a time goes round by its root, and their
 * prunes work against each other.
 *
 * Source: Leitão, Pereira and Rodrigues, "Epidemic Broadcast Trees", SRDS 2007.
 *
 * @module
 */

import { type ChangesetId, changesetId, type Lane } from "../../change/changeset.ts";
import {
  changesetIdsMax,
  encodeFrame,
  type Frame,
  featurePlumtree,
  prunedSitesMax,
} from "../../change/frame.ts";
import type { Site } from "../../clock/stamp.ts";
import type { Sha256 } from "../../hash.ts";
import type { PeerId } from "../border.ts";
import type { PlumtreeLimits } from "../options.ts";
import type { Peer } from "../peer.ts";
import type { World } from "../world.ts";
import { type KeptPush, KeptPushes } from "./kept-pushes.ts";
import { MissingPushes } from "./missing-pushes.ts";
import type { Outgoing, PushedBy } from "./outgoing.ts";
import { SeenIds } from "./seen.ts";

/** A node sends its own large ones to so many peers at once. */
const ownLargePeers = 2;

/** A peer that speaks of ids. */
interface Link {
  readonly peer: Peer;
  /** It wants only ids of what these make. */
  readonly lazySites: Set<Site>;
  /** To be told with the next tick. */
  readonly ids: Set<ChangesetId>;
  readonly prunes: Set<Site>;
  /** Told lately, and when: what it sent before it heard that is still on its way. The latest last. */
  readonly prunedMs: Map<Site, number>;
  /** It asked for these and got them: once over one stream is enough. */
  readonly grafted: WeakSet<KeptPush>;
}

export interface Push {
  readonly lane: Lane;
  readonly changeset: Uint8Array;
  /** The changeset in its frame. */
  readonly frame: Uint8Array;
  readonly by: PushedBy;
  /** Who sent it here; this node itself, if it made it. */
  readonly from: PeerId;
}

export class Plumtree {
  readonly #key: PeerId;
  readonly #world: World;
  readonly #outgoing: Outgoing;
  readonly #sha256: Sha256 | undefined;
  readonly #limits: PlumtreeLimits;
  readonly #links = new Map<PeerId, Link>();
  readonly #known: SeenIds<ChangesetId>;
  readonly #kept: KeptPushes;
  readonly #missing: MissingPushes;
  #tickMs = Number.POSITIVE_INFINITY;

  /** @param key The node's own. @param sha256 Undefined: everything goes to everybody. */
  constructor(key: PeerId, world: World, outgoing: Outgoing, sha256: Sha256 | undefined) {
    const { plumtree, seenMs, seenMax } = world.tuning;
    this.#key = key;
    this.#world = world;
    this.#outgoing = outgoing;
    this.#sha256 = sha256;
    this.#limits = plumtree;
    this.#known = new SeenIds(seenMs, seenMax);
    this.#kept = new KeptPushes(plumtree.keptMs, plumtree.keptBytesMax);
    this.#missing = new MissingPushes(plumtree, {
      partMs: (peer) => this.#links.get(peer)?.peer.partMs,
      inVain: () => world.counters.graftsInVain++,
    });
  }

  peerReady(peer: Peer): void {
    if (this.#sha256 === undefined || !peer.has(featurePlumtree)) return;
    this.#links.set(peer.id, {
      ...{ peer, lazySites: new Set(), ids: new Set() },
      ...{ prunes: new Set(), prunedMs: new Map(), grafted: new WeakSet() },
    });
  }

  peerGone(id: PeerId): void {
    this.#links.delete(id);
    this.#missing.peerGone(id);
  }

  /** One that is new here came, or was made here. @param others Who has to hear of it; nobody, if it is too old */
  came(push: Push, others: readonly Peer[]): void {
    const { lane, changeset, by, from } = push;
    const { elapsedMs } = this.#world;
    if (this.#sha256 === undefined) {
      for (const peer of others) this.#outgoing.sendBytes(peer, push.frame, "push", lane, by);
      return;
    }
    const id = changesetId(this.#sha256, changeset);
    this.#known.add(id, elapsedMs);
    this.#missing.came(id);
    // It is the way that it comes first: whatever was to be said of that.
    this.#links.get(from)?.prunes.delete(by.origin);
    if (others.length === 0) return;
    const kept = this.#kept.add({ ...{ id, lane, by, from }, frame: push.frame, atMs: elapsedMs });
    this.#tickAt(elapsedMs + this.#limits.keptMs);
    if (lane === 2) this.#spreadLarge(id, kept.frame, push, others);
    else this.#spread(id, kept.frame, push, others);
  }

  /** One came that had come before. */
  repeated(peer: Peer, { lane, changeset }: Extract<Frame, { kind: "push" }>, origin: Site): void {
    const link = this.#links.get(peer.id);
    if (this.#sha256 === undefined || link === undefined) return;
    if (lane !== 1 || this.#hasFewPeers()) return;
    const id = changesetId(this.#sha256, changeset);
    link.ids.delete(id);
    // Twice over one stream, as no peer says it.
    const from = this.#kept.of(id)?.from;
    if (from === peer.id || this.#isPruning(link, origin)) return;
    // It came first from a peer that sends no more of them: this one is the one that goes on.
    const first = from === undefined ? undefined : this.#links.get(from);
    if (first !== undefined && this.#isPruning(first, origin)) return;
    // Sites may be made up, a thousand at a time.
    if (link.prunes.size < prunedSitesMax) link.prunes.add(origin);
    this.#tickAt(this.#world.elapsedMs + this.#limits.tellMs);
  }

  ihaveCame(peer: Peer, { isForAsking, ids }: Extract<Frame, { kind: "ihave" }>): void {
    const link = this.#links.get(peer.id);
    if (link === undefined) return;
    const { elapsedMs } = this.#world;
    const asked: ChangesetId[] = [];
    for (const id of ids) {
      // It needn't be told of it any more.
      link.ids.delete(id);
      if (this.#known.has(id)) continue;
      if (this.#missing.heard(id, peer.id, isForAsking, elapsedMs)) asked.push(id);
    }
    this.#graft(peer, asked);
    if (this.#missing.size > 0) this.#tickAt(elapsedMs + this.#limits.tellMs);
  }

  graftCame(peer: Peer, { ids }: Extract<Frame, { kind: "graft" }>): void {
    const link = this.#links.get(peer.id);
    if (link === undefined) return;
    for (const id of ids) {
      const kept = this.#kept.of(id);
      if (kept === undefined || link.grafted.has(kept)) continue;
      const { lane, frame, by } = kept;
      if (lane === 1) link.lazySites.delete(by.origin);
      if (this.#outgoing.sendBytes(peer, frame, "push", lane, by)) link.grafted.add(kept);
    }
  }

  pruneCame(peer: Peer, { sites }: Extract<Frame, { kind: "prune" }>): void {
    const link = this.#links.get(peer.id);
    if (link === undefined) return;
    const { lazySites } = link;
    for (const site of sites) {
      lazySites.delete(site);
      lazySites.add(site);
    }
    for (const site of lazySites) {
      if (lazySites.size <= this.#limits.sitesPerPeerMax) break;
      lazySites.delete(site);
    }
  }

  deadlineMs(): number {
    return this.#tickMs;
  }

  check(): void {
    const { elapsedMs } = this.#world;
    if (elapsedMs < this.#tickMs) return;
    this.#tickMs = Number.POSITIVE_INFINITY;
    this.#kept.forget(elapsedMs);
    for (const link of this.#links.values()) this.#tell(link);
    for (const [id, ids] of this.#missing.due(elapsedMs)) {
      const link = this.#links.get(id);
      if (link !== undefined) this.#graft(link.peer, ids);
    }
    if (this.#missing.size > 0) this.#tickAt(elapsedMs + this.#limits.tellMs);
    else if (this.#kept.bytes > 0) this.#tickAt(elapsedMs + this.#limits.keptMs);
  }

  #spread(id: ChangesetId, frame: Uint8Array, { lane, by }: Push, others: readonly Peer[]): void {
    for (const peer of others) {
      const link = this.#links.get(peer.id);
      if (link === undefined || !link.lazySites.has(by.origin)) {
        this.#outgoing.sendBytes(peer, frame, "push", lane, by);
      } else this.#tellOf(link, id);
    }
  }

  #spreadLarge(
    id: ChangesetId,
    frame: Uint8Array,
    { by, from, lane }: Push,
    others: readonly Peer[],
  ): void {
    let sent = from === this.#key ? 0 : ownLargePeers;
    const first = Math.floor(this.#world.random() * others.length);
    const ihave = encodeFrame({ kind: "ihave", isForAsking: true, ids: [id] });
    for (let i = 0; i < others.length; i++) {
      const peer = others[(first + i) % others.length] as Peer;
      if (!this.#links.has(peer.id) || this.#hasFewPeers() || sent++ < ownLargePeers) {
        this.#outgoing.sendBytes(peer, frame, "push", lane, by);
      } else this.#outgoing.sendBytes(peer, ihave, "ihave", 1);
    }
  }

  #tellOf(link: Link, id: ChangesetId): void {
    link.ids.add(id);
    this.#tickAt(this.#world.elapsedMs + this.#limits.tellMs);
  }

  #isPruning({ prunedMs }: Link, origin: Site): boolean {
    const { elapsedMs } = this.#world;
    return elapsedMs - (prunedMs.get(origin) ?? Number.NEGATIVE_INFINITY) < this.#limits.graftMs;
  }

  #tell({ peer, ids, prunes, prunedMs }: Link): void {
    const { elapsedMs } = this.#world;
    for (const [site, ms] of prunedMs) {
      if (elapsedMs - ms < this.#limits.graftMs) break;
      prunedMs.delete(site);
    }
    for (const site of prunes) {
      // Also where it is there already: to the end.
      prunedMs.delete(site);
      prunedMs.set(site, elapsedMs);
    }
    for (const some of chunks([...ids], changesetIdsMax)) {
      this.#world.send(peer, { kind: "ihave", isForAsking: false, ids: some });
    }
    if (prunes.size > 0) this.#world.send(peer, { kind: "prune", sites: [...prunes] });
    ids.clear();
    prunes.clear();
  }

  #graft(peer: Peer, ids: readonly ChangesetId[]): void {
    this.#world.counters.grafts += ids.length;
    for (const some of chunks(ids, changesetIdsMax)) {
      this.#world.send(peer, { kind: "graft", ids: some });
    }
  }

  #hasFewPeers(): boolean {
    return this.#world.readyPeers().length <= this.#limits.floodPeersMax;
  }

  #tickAt(ms: number): void {
    this.#tickMs = Math.min(this.#tickMs, ms);
  }
}

function* chunks<T>(items: readonly T[], countMax: number): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += countMax) yield items.slice(at, at + countMax);
}
