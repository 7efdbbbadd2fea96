/**
 * Rows that were asked of peers: each fetch has a number of its own, and ends with the last of its rows
 * applied, with `busy`, or with silence.
 *
 * @module
 */

import type { Frame } from "../../change/frame.ts";
import type { PeerId, TreeNodes } from "../border.ts";
import type { Peer } from "../peer.ts";
import type { Applied, World } from "../world.ts";

export type FetchWhat = Extract<Frame, { kind: "fetch" }>["what"];

/** All rows under these nodes, in the order in which the peer keeps them. */
interface StreamWhat extends TreeNodes {
  /** Where the next request goes on; undefined while one is being answered, or nothing is left. */
  cursor: Uint8Array | undefined;
  readonly onPaused: (cursor: Uint8Array) => void;
  readonly onFruitless: () => void;
  /** Whether it goes on only if enough of what comes first is news: to be asked for that, or asked. */
  trial: "none" | "before" | "running";
}

/** Rows and how many changed something; undefined when the peer was busy, silent or gone. */
export type FetchDone = (applied: Applied | undefined, isBusy: boolean) => void;

export interface StreamHooks {
  /** All rows before `cursor` have come: there a stream that breaks off may go on. */
  readonly onPaused: (cursor: Uint8Array) => void;
  /** One that was tried brought little that isn't here, and is given up. `onDone` follows. */
  readonly onFruitless: () => void;
  readonly onDone: FetchDone;
}

interface Fetch {
  readonly peer: PeerId;
  readonly lane: 1 | 2;
  readonly done: FetchDone;
  readonly stream: StreamWhat | undefined;
  /** Elapsed time of the last sign of life. */
  heardMs: number;
  /** The same of the last row that changed something here. */
  changedMs: number;
  /** Blocks handed to the store and not applied yet. */
  applying: number;
  applyingBytes: number;
  isLast: boolean;
  isLossy: boolean;
  rows: number;
  changed: number;
}

/** What a stream that is tried brings first, and the share of its rows that has to be news. */
const triedCreditBytes = 256 * 1024;
const newsShareMin = 0.1;

/** The number of rows that nobody asked for: a comparison showed that this side lacks them. */
export const unasked = 0;

export class Fetches {
  readonly #world: World;
  readonly #open = new Map<number, Fetch>();

  constructor(world: World) {
    this.#world = world;
  }

  get size(): number {
    return this.#open.size;
  }

  /** When the next fetch may have to be given up. */
  deadlineMs(): number {
    let deadline = Number.POSITIVE_INFINITY;
    for (const fetch of this.#open.values()) {
      if (!fetch.isLast) deadline = Math.min(deadline, this.#givenUpAtMs(fetch));
    }
    return deadline;
  }

  start(peer: Peer, what: FetchWhat, lane: 1 | 2, done: FetchDone): void {
    const exchange = this.#world.nextExchange();
    this.#begin(exchange, peer, lane, done, undefined);
    this.#world.send(peer, { kind: "fetch", exchange, horizon: this.#world.horizon, what });
  }

  /**
   * Of a peer that has the feature `stream`. Asks for more as long as little waits to be applied.
   *
   * @param what From `cursor` on; empty: from the beginning. `isTried`: others stream already, and if it brings the
   * same it is given up.
   */
  startStream(
    peer: Peer,
    {
      level,
      nodes,
      cursor,
      isTried,
    }: TreeNodes & { readonly cursor: Uint8Array; readonly isTried: boolean },
    { onPaused, onFruitless, onDone }: StreamHooks,
  ): void {
    const exchange = this.#world.nextExchange();
    const stream: StreamWhat = {
      level,
      nodes,
      cursor,
      onPaused,
      onFruitless,
      trial: isTried ? "before" : "none",
    };
    this.#goOn(exchange, this.#begin(exchange, peer, 2, onDone, stream));
  }

  #begin(
    exchange: number,
    peer: Peer,
    lane: 1 | 2,
    done: FetchDone,
    stream: StreamWhat | undefined,
  ): Fetch {
    const fetch: Fetch = {
      peer: peer.id,
      lane,
      done,
      stream,
      heardMs: this.#world.elapsedMs,
      changedMs: this.#world.elapsedMs,
      applying: 0,
      applyingBytes: 0,
      isLast: false,
      isLossy: false,
      rows: 0,
      changed: 0,
    };
    this.#open.set(exchange, fetch);
    return fetch;
  }

  /** Asks for the next rows of a stream, if little of it waits here. */
  #goOn(exchange: number, fetch: Fetch): void {
    const { stream } = fetch;
    const peer = this.#world.readyPeer(fetch.peer);
    if (stream?.cursor === undefined || peer === undefined) return;
    const { tuning, horizon } = this.#world;
    if (fetch.applyingBytes >= tuning.streamBytesLow) return;
    if (stream.trial === "running") {
      if (fetch.applying > 0) return;
      if (fetch.changed <= newsShareMin * fetch.rows) {
        stream.onFruitless();
        this.#end(exchange, fetch);
        return;
      }
      stream.trial = "none";
    }
    const { level, nodes, cursor } = stream;
    stream.cursor = undefined;
    this.#world.send(peer, {
      kind: "stream",
      exchange,
      horizon,
      level,
      nodes,
      credit: stream.trial === "before" ? triedCreditBytes : tuning.streamCreditBytes,
      cursor,
    });
    if (stream.trial === "before") stream.trial = "running";
  }

  rowsCame(peer: Peer, frame: Extract<Frame, { kind: "rows" }>): void {
    const fetch = this.#open.get(frame.exchange);
    if (fetch === undefined || fetch.peer !== peer.id) {
      // Offered, or late: rows are welcome from any member, and the merge makes them harmless.
      this.#world.applyRows(peer, frame.block, 2);
      return;
    }
    fetch.isLast = frame.last;
    this.#apply(peer, frame.exchange, fetch, frame.block);
  }

  streamCame(peer: Peer, frame: Extract<Frame, { kind: "streamed" }>): void {
    const { exchange } = frame;
    const block = frame.compressed
      ? this.#world.zstd?.decompress(frame.block, frame.blockBytes)
      : frame.block;
    if (block === undefined) {
      this.#world.malformed(peer, "streamed: not the block that it says");
      return;
    }
    const fetch = this.#open.get(exchange);
    if (fetch?.stream === undefined || fetch.peer !== peer.id) {
      this.#world.applyRows(peer, block, 2);
      return;
    }
    fetch.isLast = frame.last;
    if (frame.paused && !frame.last) {
      // Of its own: the frame has a megabyte.
      fetch.stream.cursor = frame.cursor.slice();
      fetch.stream.onPaused(fetch.stream.cursor);
    }
    this.#apply(peer, exchange, fetch, block);
    this.#goOn(exchange, fetch);
  }

  #apply(peer: Peer, exchange: number, fetch: Fetch, block: Uint8Array): void {
    fetch.heardMs = this.#world.elapsedMs;
    fetch.applying++;
    fetch.applyingBytes += block.length;
    this.#world.applyRows(peer, block, fetch.lane, (applied) => {
      fetch.applying--;
      fetch.applyingBytes -= block.length;
      fetch.heardMs = this.#world.elapsedMs;
      if (applied === undefined) fetch.isLossy = true;
      else {
        fetch.rows += applied.rows;
        fetch.changed += applied.changed;
        if (applied.changed > 0) fetch.changedMs = this.#world.elapsedMs;
      }
      if (fetch.isLast && fetch.applying === 0) this.#end(exchange, fetch);
      else if (this.#open.get(exchange) === fetch) this.#goOn(exchange, fetch);
    });
  }

  /** True when `busy` was the answer to a fetch. */
  busyCame(peer: Peer, exchange: number): boolean {
    const fetch = this.#open.get(exchange);
    if (fetch === undefined || fetch.peer !== peer.id) return false;
    fetch.isLossy = true;
    this.#end(exchange, fetch, true);
    return true;
  }

  peerGone(peer: PeerId): void {
    for (const [exchange, fetch] of this.#open) {
      if (fetch.peer !== peer) continue;
      fetch.isLossy = true;
      this.#end(exchange, fetch);
    }
  }

  /** Gives up what is silent, or fruitless, for too long. */
  check(): void {
    for (const [exchange, fetch] of this.#open) {
      if (fetch.isLast || this.#world.elapsedMs < this.#givenUpAtMs(fetch)) continue;
      fetch.isLossy = true;
      this.#end(exchange, fetch);
    }
  }

  /** Silence ends it, and rows that come and come and change nothing. */
  #givenUpAtMs({ heardMs, changedMs }: Fetch): number {
    const { scanSilenceMs, fruitlessMs } = this.#world.tuning;
    return Math.min(heardMs + scanSilenceMs, changedMs + fruitlessMs);
  }

  #end(exchange: number, fetch: Fetch, isBusy = false): void {
    if (!this.#open.delete(exchange)) return;
    this.#world.counters.rowsFetched += fetch.rows;
    fetch.done(fetch.isLossy ? undefined : { rows: fetch.rows, changed: fetch.changed }, isBusy);
  }
}
