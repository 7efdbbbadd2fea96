/**
 * The exchange of recent rows on every new connection: both sides name everything younger
 * than 10 s, urgent rows first, and fetch what they lack. After a start a node also names the rows that
 * its own sites stamped in the last 30 s, which may have died with its last connection.
 *
 * So a node that was away isn't blind for a settle time, and its verdicts may begin.
 *
 * Its peers name mostly the same rows. The store is asked about a row once, and names its own for all peers that
 * wait at once. What is being fetched from one isn't asked of the next at once; when it has come, or hasn't for
 * {@link awaitedMs}, that is looked at again.
 *
 * @module
 */

import type { Entry, Frame } from "../../change/frame.ts";
import type { PeerId } from "../border.ts";
import type { Peer } from "../peer.ts";
import { entryChunks, type World } from "../world.ts";
import type { Fetches } from "./fetches.ts";
import type { Verdicts } from "./verdicts.ts";

interface Exchange {
  /** The own entries are still to be named: the store had no index yet. */
  wantsToSend: boolean;
  /** What the peer named and isn't compared yet. */
  held: Entry[];
  /** The peer has named all of its own. */
  peerNamedAll: boolean;
  /** The store is being asked about some of it. */
  comparing: boolean;
  /** What is still to be fetched, urgent first. */
  wanted: Entry[];
  /** What is being fetched; nothing while nothing is. */
  fetching: readonly Entry[];
  /** What is being fetched from others. */
  awaited: Entry[];
  awaitedUntilMs: number;
  retryMs: number;
  /** A fetch failed: some of what is wanted may have come, and the store is asked again. */
  isDoubtful: boolean;
  isComplete: boolean;
}

/** Row ids in one fetch. Fetches of one peer follow each other, so that urgent rows come first. */
const idsPerFetch = 2048;
/** How long a row that is fetched from one peer isn't fetched from another: that may be slow, or gone. */
const awaitedMs = 300;
/** Entries of a peer that are kept until their rows are here. Beyond that repair brings them. */
const entriesMax = 100_000;
/** Rows of which it is remembered that the store has them, until no exchange is under way. */
const presentMax = 20_000;

export class RecentExchange {
  readonly #world: World;
  readonly #fetches: Fetches;
  readonly #verdicts: Verdicts;
  readonly #exchanges = new Map<PeerId, Exchange>();
  /** Rows, as they were named, that are wanted or fetched, and from whom. */
  readonly #underWay = new Map<string, Exchange>();
  /** Rows, as they were named, that the store has. */
  readonly #present = new Set<string>();
  /** The store is being asked which rows are recent. */
  #isNaming = false;
  /** It is being asked which of a peer's rows it lacks. */
  #isComparing = false;
  #retryMs = Number.POSITIVE_INFINITY;

  constructor(world: World, fetches: Fetches, verdicts: Verdicts) {
    this.#world = world;
    this.#fetches = fetches;
    this.#verdicts = verdicts;
  }

  /** When a fetch that failed is tried again, or what is awaited has been for long enough. */
  deadlineMs(): number {
    return this.#retryMs;
  }

  peerReady(peer: Peer): void {
    this.#exchanges.set(peer.id, {
      wantsToSend: true,
      held: [],
      peerNamedAll: false,
      comparing: false,
      wanted: [],
      fetching: [],
      awaited: [],
      awaitedUntilMs: Number.POSITIVE_INFINITY,
      retryMs: 0,
      isDoubtful: false,
      isComplete: false,
    });
    this.#name();
  }

  peerGone(peer: PeerId): void {
    const exchange = this.#exchanges.get(peer);
    if (exchange === undefined) return;
    this.#exchanges.delete(peer);
    this.#release(exchange, exchange.wanted);
    this.#release(exchange, exchange.fetching);
    this.#forgetPresentIfDone();
    this.#lookAgain();
  }

  /** The store has an index now, or has moved on. */
  storeReported(): void {
    this.#name();
    this.#compareNext();
  }

  check(): void {
    if (this.#world.elapsedMs < this.#retryMs) return;
    this.#retryMs = Number.POSITIVE_INFINITY;
    for (const [id, exchange] of this.#exchanges) {
      const peer = this.#world.readyPeer(id);
      if (peer === undefined) continue;
      if (this.#world.elapsedMs >= exchange.awaitedUntilMs) {
        exchange.awaitedUntilMs = Number.POSITIVE_INFINITY;
        this.#want(exchange, exchange.awaited.splice(0), false);
      } else this.#retryMs = Math.min(this.#retryMs, exchange.awaitedUntilMs);
      this.#fetch(peer, exchange);
    }
  }

  cameFrom(peer: Peer, frame: Extract<Frame, { kind: "recent" }>): void {
    const exchange = this.#exchanges.get(peer.id);
    if (exchange === undefined) return;
    if (!frame.more) exchange.peerNamedAll = true;
    this.#hold(exchange, frame.entries);
    this.#compareNext();
    this.#completeIfDone(exchange);
  }

  /** Names the own recent rows to all peers that wait for it. */
  #name(): void {
    if (this.#isNaming || this.#world.slot === undefined) return;
    const waiting = [...this.#exchanges].filter(([, { wantsToSend }]) => wantsToSend);
    if (waiting.length === 0) return;
    for (const [, exchange] of waiting) exchange.wantsToSend = false;
    this.#isNaming = true;
    const { recentMs, recentOwnMs } = this.#world.tuning;
    const now = this.#world.nowMs;
    const startMs = now - this.#world.elapsedMs;
    const isEarly = this.#world.elapsedMs < 2 * recentOwnMs;
    const sinceMs = Math.max(0, Math.floor(now - recentMs));
    const ownSinceMs = isEarly ? Math.max(0, Math.floor(startMs - recentOwnMs)) : sinceMs;
    // Urgent ones first, then the newest: of a flood the rest is left to repair.
    const rowsMax = this.#world.tuning.recentRowsMax;
    this.#world.ask({ kind: "recent", sinceMs, ownSinceMs, rowsMax }, (answer) => {
      this.#isNaming = false;
      const { horizon } = this.#world;
      for (const [id, exchange] of waiting) {
        const peer = this.#world.readyPeer(id);
        if (peer === undefined || this.#exchanges.get(id) !== exchange) continue;
        // The store's next report makes it be asked again.
        if (answer.kind !== "recent") exchange.wantsToSend = true;
        else {
          for (const chunk of entryChunks(answer.entries)) {
            this.#world.send(peer, { kind: "recent", horizon, ...chunk });
          }
        }
      }
      // Those that came meanwhile.
      if (answer.kind === "recent") this.#name();
    });
  }

  #hold(exchange: Exchange, entries: readonly Entry[]): void {
    const { held, wanted, fetching, awaited } = exchange;
    const kept = held.length + wanted.length + fetching.length + awaited.length;
    if (kept + entries.length > entriesMax) return;
    for (const entry of entries) exchange.held.push(entry);
  }

  /** Asks the store about what a peer named; one question at a time, for the next peer names mostly the same. */
  #compareNext(): void {
    for (const [id, exchange] of this.#exchanges) {
      const peer = this.#world.readyPeer(id);
      if (this.#isComparing) return;
      if (peer !== undefined && exchange.held.length > 0) this.#compare(peer, exchange);
    }
  }

  #compare(peer: Peer, exchange: Exchange): void {
    const entries = this.#unknown(exchange, exchange.held.splice(0));
    if (entries.length === 0) {
      this.#completeIfDone(exchange);
      return;
    }
    this.#isComparing = true;
    exchange.comparing = true;
    this.#world.ask({ kind: "missing", entries }, (answer) => {
      this.#isComparing = false;
      exchange.comparing = false;
      const isKnown = answer.kind === "missing";
      if (isKnown) this.#notePresent(entries, new Set(answer.ids));
      if (this.#exchanges.get(peer.id) === exchange) {
        if (isKnown) {
          const missing = new Set(answer.ids);
          const wanted = entries.filter(({ id }) => missing.has(id));
          this.#want(exchange, wanted, true);
        } else this.#hold(exchange, entries);
        this.#fetch(peer, exchange);
        this.#completeIfDone(exchange);
      }
      // Where the store doesn't know yet, its next report makes it be asked again.
      if (isKnown) this.#compareNext();
    });
  }

  /** Of these: those that the store has to be asked about. What others are asked for is noted. */
  #unknown(exchange: Exchange, entries: readonly Entry[]): Entry[] {
    const unknown: Entry[] = [];
    const underWay: Entry[] = [];
    for (const entry of entries) {
      const name = nameOf(entry);
      if (this.#present.has(name)) continue;
      const fetcher = this.#underWay.get(name);
      if (fetcher !== undefined && fetcher !== exchange) underWay.push(entry);
      else unknown.push(entry);
    }
    this.#want(exchange, underWay, true);
    return unknown;
  }

  #notePresent(entries: readonly Entry[], missing: ReadonlySet<string>): void {
    for (const entry of entries) {
      if (this.#present.size >= presentMax) return;
      if (!missing.has(entry.id)) this.#present.add(nameOf(entry));
    }
  }

  #forgetPresentIfDone(): void {
    for (const { isComplete } of this.#exchanges.values()) if (!isComplete) return;
    this.#present.clear();
  }

  /** What another peer is asked for already is only noted, if that `mayWait`. */
  #want(exchange: Exchange, entries: readonly Entry[], mayWait: boolean): void {
    for (const entry of entries) {
      const under = this.#underWay.get(nameOf(entry));
      if (mayWait && under !== undefined && under !== exchange) {
        exchange.awaited.push(entry);
        continue;
      }
      this.#underWay.set(nameOf(entry), exchange);
      exchange.wanted.push(entry);
    }
    if (exchange.awaited.length === 0) return;
    if (exchange.awaitedUntilMs === Number.POSITIVE_INFINITY) {
      exchange.awaitedUntilMs = this.#world.elapsedMs + awaitedMs;
    }
    this.#retryMs = Math.min(this.#retryMs, exchange.awaitedUntilMs);
  }

  #release(exchange: Exchange, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const name = nameOf(entry);
      if (this.#underWay.get(name) === exchange) this.#underWay.delete(name);
    }
  }

  /** What was awaited from others and isn't under way any more is compared again: it may have come. */
  #lookAgain(): void {
    for (const [id, exchange] of this.#exchanges) {
      const { awaited } = exchange;
      if (awaited.length === 0 || this.#world.readyPeer(id) === undefined) continue;
      exchange.awaited = awaited.filter((entry) => this.#underWay.has(nameOf(entry)));
      if (exchange.awaited.length === 0) exchange.awaitedUntilMs = Number.POSITIVE_INFINITY;
      if (exchange.awaited.length === awaited.length) continue;
      // Some of what it awaited has come just now: the rest may be given its time anew.
      else if (exchange.awaited.length > 0)
        exchange.awaitedUntilMs = this.#world.elapsedMs + awaitedMs;
      this.#hold(
        exchange,
        awaited.filter((entry) => !this.#underWay.has(nameOf(entry))),
      );
    }
    this.#compareNext();
  }

  #fetch(peer: Peer, exchange: Exchange): void {
    if (exchange.fetching.length > 0 || exchange.wanted.length === 0) return;
    if (this.#world.elapsedMs < exchange.retryMs) {
      this.#retryMs = Math.min(this.#retryMs, exchange.retryMs);
      return;
    }
    if (exchange.isDoubtful) {
      exchange.isDoubtful = false;
      const wanted = exchange.wanted.splice(0);
      this.#release(exchange, wanted);
      this.#hold(exchange, wanted);
      this.#compareNext();
      return;
    }
    const fetching = exchange.wanted.slice(0, idsPerFetch);
    exchange.wanted = exchange.wanted.slice(idsPerFetch);
    exchange.fetching = fetching;
    const ids = fetching.map(({ id }) => id);
    this.#fetches.start(peer, { by: "id", ids }, 1, (applied) => {
      if (this.#exchanges.get(peer.id) !== exchange) return;
      exchange.fetching = [];
      // One that failed is asked for again, but others needn't wait for that.
      this.#release(exchange, fetching);
      if (applied === undefined) {
        exchange.wanted = fetching.concat(exchange.wanted);
        exchange.isDoubtful = true;
        exchange.retryMs = this.#world.elapsedMs + this.#world.tuning.busyMs;
      }
      this.#fetch(peer, exchange);
      this.#completeIfDone(exchange);
      this.#lookAgain();
    });
  }

  #completeIfDone(exchange: Exchange): void {
    const { peerNamedAll, comparing, wanted, fetching, awaited, held, isComplete } = exchange;
    if (isComplete || !peerNamedAll || comparing || fetching.length > 0) return;
    if (wanted.length > 0 || held.length > 0 || awaited.length > 0) return;
    exchange.isComplete = true;
    this.#forgetPresentIfDone();
    this.#verdicts.recentComplete();
  }
}

/** A row as it is named: another version of it is something else. */
function nameOf({ id, digest }: Entry): string {
  return id + digest;
}
