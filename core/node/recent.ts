/**
 * The exchange of recent rows on every new connection (DESIGN §5): both sides name everything younger
 * than 10 s, urgent rows first, and fetch what they lack. After a start a node also names the rows that
 * its own sites stamped in the last 30 s, which may have died with its last connection.
 *
 * So a node that was away isn't blind for a settle time, and its verdicts may begin.
 *
 * @module
 */

import type { Entry, Frame } from "../change/frame.ts";
import type { RowId } from "../row/digest.ts";
import type { PeerId } from "./border.ts";
import type { Fetches } from "./fetches.ts";
import type { Peer } from "./peer.ts";
import type { Verdicts } from "./verdicts.ts";
import { entryChunks, type World } from "./world.ts";

interface Exchange {
  /** The own entries are still to be named: the store had no index yet. */
  wantsToSend: boolean;
  /** What the peer named and isn't compared yet. */
  held: Entry[];
  /** The peer has named all of its own. */
  peerNamedAll: boolean;
  comparing: boolean;
  /** What is still to be fetched, urgent first. */
  ids: RowId[];
  fetching: boolean;
  retryMs: number;
  isComplete: boolean;
}

/** Row ids in one fetch. Fetches of one peer follow each other, so that urgent rows come first. */
const idsPerFetch = 2048;
/** Entries of a peer that are kept while the store starts. Beyond that repair brings the rows. */
const heldMax = 100_000;

export class RecentRows {
  readonly #world: World;
  readonly #fetches: Fetches;
  readonly #verdicts: Verdicts;
  readonly #exchanges = new Map<PeerId, Exchange>();
  #retryMs = Number.POSITIVE_INFINITY;

  constructor(world: World, fetches: Fetches, verdicts: Verdicts) {
    this.#world = world;
    this.#fetches = fetches;
    this.#verdicts = verdicts;
  }

  /** When a fetch that failed is tried again. */
  deadlineMs(): number {
    return this.#retryMs;
  }

  peerReady(peer: Peer): void {
    this.#exchanges.set(peer.id, {
      wantsToSend: true,
      held: [],
      peerNamedAll: false,
      comparing: false,
      ids: [],
      fetching: false,
      retryMs: 0,
      isComplete: false,
    });
    this.#name(peer);
  }

  peerGone(peer: PeerId): void {
    this.#exchanges.delete(peer);
  }

  /** The store has an index now, or has moved on. */
  storeReported(): void {
    for (const [id, exchange] of this.#exchanges) {
      const peer = this.#world.readyPeer(id);
      if (peer === undefined) continue;
      if (exchange.wantsToSend) this.#name(peer);
      this.#compare(peer, exchange);
    }
  }

  check(): void {
    if (this.#world.elapsedMs < this.#retryMs) return;
    this.#retryMs = Number.POSITIVE_INFINITY;
    for (const [id, exchange] of this.#exchanges) {
      const peer = this.#world.readyPeer(id);
      if (peer !== undefined) this.#fetch(peer, exchange);
    }
  }

  cameFrom(peer: Peer, frame: Extract<Frame, { kind: "recent" }>): void {
    const exchange = this.#exchanges.get(peer.id);
    if (exchange === undefined) return;
    if (!frame.more) exchange.peerNamedAll = true;
    this.#hold(exchange, frame.entries);
    this.#compare(peer, exchange);
    this.#completeIfDone(exchange);
  }

  /** Names the own recent rows to the peer. */
  #name(peer: Peer): void {
    const exchange = this.#exchanges.get(peer.id);
    if (exchange === undefined || this.#world.slot === undefined) return;
    exchange.wantsToSend = false;
    const { recentMs, recentOwnMs } = this.#world.tuning;
    const now = this.#world.nowMs;
    const startMs = now - this.#world.elapsedMs;
    const isEarly = this.#world.elapsedMs < 2 * recentOwnMs;
    const sinceMs = Math.max(0, Math.floor(now - recentMs));
    const ownSinceMs = isEarly ? Math.max(0, Math.floor(startMs - recentOwnMs)) : sinceMs;
    // Urgent ones first, then the newest: of a flood the rest is left to repair.
    const rowsMax = this.#world.tuning.recentRowsMax;
    this.#world.ask({ kind: "recent", sinceMs, ownSinceMs, rowsMax }, (answer) => {
      if (this.#exchanges.get(peer.id) !== exchange) return;
      if (answer.kind !== "recent") {
        exchange.wantsToSend = true;
        return;
      }
      const { horizon } = this.#world;
      const { entries } = answer;
      for (const chunk of entryChunks(entries)) {
        this.#world.send(peer, { kind: "recent", horizon, ...chunk });
      }
    });
  }

  #hold(exchange: Exchange, entries: readonly Entry[]): void {
    if (exchange.held.length + entries.length > heldMax) return;
    for (const entry of entries) exchange.held.push(entry);
  }

  /** Asks the store about what the peer named; one question at a time. */
  #compare(peer: Peer, exchange: Exchange): void {
    if (exchange.comparing || exchange.held.length === 0) return;
    const entries = exchange.held;
    exchange.held = [];
    exchange.comparing = true;
    this.#world.ask({ kind: "missing", entries }, (answer) => {
      exchange.comparing = false;
      if (this.#exchanges.get(peer.id) !== exchange) return;
      if (answer.kind === "missing") {
        for (const id of answer.ids) exchange.ids.push(id);
        this.#compare(peer, exchange);
      } else this.#hold(exchange, entries);
      this.#fetch(peer, exchange);
      this.#completeIfDone(exchange);
    });
  }

  #fetch(peer: Peer, exchange: Exchange): void {
    if (exchange.fetching || exchange.ids.length === 0) return;
    if (this.#world.elapsedMs < exchange.retryMs) {
      this.#retryMs = Math.min(this.#retryMs, exchange.retryMs);
      return;
    }
    const ids = exchange.ids.slice(0, idsPerFetch);
    exchange.ids = exchange.ids.slice(idsPerFetch);
    exchange.fetching = true;
    this.#fetches.start(peer, { by: "id", ids }, 1, (applied) => {
      exchange.fetching = false;
      if (this.#exchanges.get(peer.id) !== exchange) return;
      if (applied === undefined) {
        exchange.ids = ids.concat(exchange.ids);
        exchange.retryMs = this.#world.elapsedMs + this.#world.tuning.busyMs;
      }
      this.#fetch(peer, exchange);
      this.#completeIfDone(exchange);
    });
  }

  #completeIfDone(exchange: Exchange): void {
    const { peerNamedAll, comparing, ids, fetching, held, isComplete } = exchange;
    if (isComplete || !peerNamedAll || comparing || fetching) return;
    if (ids.length > 0 || held.length > 0) return;
    exchange.isComplete = true;
    this.#verdicts.recentComplete();
  }
}
