/**
 * The responder's side of repair: answers roots, walks, lists and fetches. It keeps no state between
 * two messages but the fetches that it is serving.
 *
 * @module
 */

import { type Frame, featureZstd } from "../change/frame.ts";
import type { RowId } from "../row/digest.ts";
import type { Moment, PeerId, TreeNodes, Unavailable } from "./border.ts";
import { unasked } from "./fetches.ts";
import { Fifo } from "./fifo.ts";
import type { Peer } from "./peer.ts";
import type { AnswerTaken, QuestionAsked } from "./questions.ts";
import type { Verdicts } from "./verdicts.ts";
import { entryChunks, type World } from "./world.ts";

type FrameOf<K extends Frame["kind"]> = Extract<Frame, { kind: K }>;

interface Serve {
  readonly exchange: number;
  /** Row ids that are left, in order, or nodes, or a stream. */
  ids: readonly RowId[];
  range: TreeNodes | undefined;
  readonly stream?: Stream;
}

interface Stream extends TreeNodes {
  cursor: Uint8Array;
  /** Bytes of blocks that may still be sent. */
  credit: number;
}

/** Row ids in one question to the store. */
const idsPerQuestion = 256;
/** Rows that one list may be of. */
const listedMax = 200_000;
/** Questions of one peer that may wait. */
const questionsMax = 4;

export class Answers {
  readonly #world: World;
  readonly #verdicts: Verdicts;
  readonly #serves = new Map<PeerId, Fifo<Serve>>();
  /** Peers for which a question is open. */
  readonly #serving = new Set<PeerId>();
  /** Set by the repair part while this node fetches most of what it should have. */
  isCatchingUp = false;

  constructor(world: World, verdicts: Verdicts) {
    this.#world = world;
    this.#verdicts = verdicts;
  }

  peerGone(peer: PeerId): void {
    this.#serves.delete(peer);
  }

  /** The peer's stream has room again. */
  drained(peer: Peer): void {
    this.#serve(peer);
  }

  root(peer: Peer, frame: FrameOf<"root">): void {
    const { slot, horizon } = this.#world;
    const { exchange, live } = frame;
    if (this.#isBusy(peer) || slot === undefined) {
      this.#busy(peer, exchange);
      return;
    }
    if (live) {
      const { rows, fingerprint } = slot.live;
      this.#world.send(peer, {
        kind: "root",
        exchange,
        answer: true,
        live,
        cut: 0,
        horizon,
        rows,
        fingerprint,
      });
      return;
    }
    const newest = this.#world.newestCut();
    if (newest === 0) {
      this.#busy(peer, exchange);
      return;
    }
    const cut = Math.min(newest, frame.cut);
    const own = slot.roots.find((root) => root.cut === cut);
    if (Math.abs(newest - frame.cut) > this.#world.tuning.cutsApartMax || own === undefined) {
      this.#behind(peer, exchange);
      return;
    }
    // Too soon after the start, or after having been alone, to say anything about so old a cut.
    if (!this.#verdicts.mayJudge(cut)) {
      this.#busy(peer, exchange);
      return;
    }
    const { rows, fingerprint } = own;
    this.#world.send(peer, {
      kind: "root",
      exchange,
      answer: true,
      live,
      cut,
      horizon,
      rows,
      fingerprint,
    });
    if (cut === frame.cut) this.#verdicts.compared(peer, cut, fingerprint === frame.fingerprint);
  }

  walk(peer: Peer, frame: FrameOf<"walk">): void {
    const { exchange, level, nodes } = frame;
    if (this.#isBusy(peer)) {
      this.#busy(peer, exchange);
      return;
    }
    const moment = momentOf(frame);
    const question = { kind: "walk", ...moment, level: level - 1, nodes } as const;
    this.#ask(peer, exchange, question, (answer) => {
      if (answer.kind !== "walked") return;
      const { horizon } = this.#world;
      const { fingerprints } = answer;
      this.#world.send(peer, {
        kind: "walk",
        exchange,
        answer: true,
        ...moment,
        horizon,
        level,
        nodes,
        fingerprints,
      });
    });
  }

  list(peer: Peer, frame: FrameOf<"list">): void {
    const { exchange, level, nodes, recentOnly } = frame;
    // Nobody of ours asks for so much at once.
    const isTooMuch = nodes.length * this.#rowsPerNode(level) > listedMax;
    if (isTooMuch || this.#isBusy(peer)) {
      this.#busy(peer, exchange);
      return;
    }
    const moment = momentOf(frame);
    this.#ask(peer, exchange, { kind: "list", recentOnly, ...moment, level, nodes }, (answer) => {
      if (answer.kind !== "listed") return;
      const { horizon } = this.#world;
      let named = nodes;
      for (const { entries, more } of entryChunks(answer.entries)) {
        this.#world.send(peer, {
          kind: "list",
          exchange,
          answer: true,
          ...moment,
          horizon,
          recentOnly,
          more,
          level,
          nodes: named,
          entries,
        });
        named = [];
      }
    });
  }

  fetch(peer: Peer, frame: FrameOf<"fetch">): void {
    const { exchange, what } = frame;
    const waiting = this.#serves.get(peer.id)?.length ?? 0;
    if (this.#world.isStuck() || waiting >= this.#world.tuning.servesMax) {
      this.#busy(peer, exchange);
      return;
    }
    if (what.by === "id") this.#add(peer, { exchange, ids: what.ids, range: undefined });
    else this.#add(peer, { exchange, ids: [], range: this.#narrow(what) });
  }

  stream(peer: Peer, frame: FrameOf<"stream">): void {
    const { exchange, level, nodes, cursor, credit } = frame;
    const waiting = this.#serves.get(peer.id)?.length ?? 0;
    if (this.#world.isStuck() || waiting >= this.#world.tuning.servesMax) {
      this.#busy(peer, exchange);
      return;
    }
    const stream: Stream = { level, nodes, cursor, credit };
    this.#add(peer, { exchange, ids: [], range: undefined, stream });
  }

  /** Sends rows that a comparison showed the peer to lack. */
  offer(peer: Peer, ids: readonly RowId[]): void {
    if (ids.length === 0) return;
    this.#world.counters.rowsOffered += ids.length;
    this.#add(peer, { exchange: unasked, ids, range: undefined });
  }

  #add(peer: Peer, serve: Serve): void {
    let serves = this.#serves.get(peer.id);
    if (serves === undefined) {
      serves = new Fifo();
      this.#serves.set(peer.id, serves);
    }
    serves.push(serve);
    this.#serve(peer);
  }

  /** Asks the store for the next rows of the first fetch, unless enough waits to be sent already. */
  #serve(peer: Peer): void {
    const serves = this.#serves.get(peer.id);
    const serve = serves?.first;
    if (serves === undefined || serve === undefined || this.#serving.has(peer.id)) return;
    if (peer.lanes.bytes(2) > this.#world.tuning.serveBytesLow) return;
    if (serve.stream !== undefined) {
      this.#serveStream(peer, serve, serve.stream);
      return;
    }
    const { range } = serve;
    let isLast: boolean;
    let question: QuestionAsked;
    if (range === undefined) {
      const ids = serve.ids.slice(0, idsPerQuestion);
      serve.ids = serve.ids.slice(idsPerQuestion);
      isLast = serve.ids.length === 0;
      question = { kind: "rows", ids };
    } else {
      const { level, nodes } = range;
      const count = this.#nodesPerQuestion(level);
      serve.range = { level, nodes: nodes.slice(count) };
      isLast = nodes.length <= count;
      question = { kind: "range-rows", level, nodes: nodes.slice(0, count) };
    }
    if (isLast) serves.shift();
    this.#serving.add(peer.id);
    this.#world.ask(
      question,
      (answer) => {
        const isEnd = answer.kind !== "rows" || answer.last;
        if (isEnd) this.#serving.delete(peer.id);
        if (this.#world.readyPeer(peer.id) !== peer) return;
        if (answer.kind === "rows") {
          // An empty block ends a fetch for which nothing is held.
          this.#world.send(peer, {
            kind: "rows",
            exchange: serve.exchange,
            last: answer.last && isLast,
            horizon: this.#world.horizon,
            block: answer.block,
          });
        } else if (answer.kind === "unavailable") {
          if (!isLast && serves.first === serve) serves.shift();
          if (serve.exchange !== unasked) this.#busy(peer, serve.exchange);
        }
        if (isEnd) this.#serve(peer);
      },
      peer.id,
    );
  }

  /** One block; the stream leaves the queue with its credit used up or its last row. */
  #serveStream(peer: Peer, serve: Serve, stream: Stream): void {
    this.#serving.add(peer.id);
    const { level, nodes, cursor } = stream;
    this.#world.ask(
      { kind: "stream-rows", level, nodes, cursor },
      (answer) => {
        this.#serving.delete(peer.id);
        if (this.#world.readyPeer(peer.id) !== peer) return;
        const serves = this.#serves.get(peer.id);
        if (serves?.first !== serve) return;
        if (answer.kind !== "streamed") {
          serves.shift();
          this.#busy(peer, serve.exchange);
        } else {
          stream.cursor = answer.cursor ?? new Uint8Array(0);
          stream.credit -= answer.block.length;
          const last = answer.cursor === undefined;
          const paused = !last && stream.credit <= 0;
          if (last || paused) serves.shift();
          const cursorNext = paused ? stream.cursor : new Uint8Array(0);
          this.#sendStreamed(peer, serve.exchange, cursorNext, answer.block, { last, paused });
        }
        this.#serve(peer);
      },
      peer.id,
    );
  }

  #sendStreamed(
    peer: Peer,
    exchange: number,
    cursor: Uint8Array,
    block: Uint8Array,
    end: { readonly last: boolean; readonly paused: boolean },
  ): void {
    const { zstd, horizon } = this.#world;
    const packed = peer.has(featureZstd) ? zstd?.compress(block) : undefined;
    const compressed = packed !== undefined && packed.length < block.length;
    this.#world.send(peer, {
      kind: "streamed",
      exchange,
      ...end,
      compressed,
      horizon,
      cursor,
      blockBytes: block.length,
      block: compressed ? packed : block,
    });
  }

  /** A range may hold the whole database: its nodes are named one by one at a level with fewer rows. */
  #narrow(range: TreeNodes): TreeNodes {
    let { level, nodes } = range;
    while (level < 4 && this.#rowsPerNode(level) > this.#world.tuning.rangeRowsMax) {
      nodes = nodes.flatMap((node) => Array.from({ length: 16 }, (_, child) => node * 16 + child));
      level++;
    }
    return { level, nodes };
  }

  #nodesPerQuestion(level: number): number {
    const { rangeRowsMax } = this.#world.tuning;
    return Math.max(1, Math.floor(rangeRowsMax / Math.max(1, this.#rowsPerNode(level))));
  }

  #rowsPerNode(level: number): number {
    return (this.#world.slot?.live.rows ?? 0) / 16 ** level;
  }

  #ask(peer: Peer, exchange: number, question: QuestionAsked, taken: AnswerTaken): void {
    this.#world.ask(
      question,
      (answer) => {
        if (this.#world.readyPeer(peer.id) !== peer) return;
        if (answer.kind === "unavailable") this.#unavailable(peer, exchange, answer.why);
        else taken(answer);
      },
      peer.id,
    );
  }

  #isBusy(peer: Peer): boolean {
    return (
      this.#world.isStuck() || this.isCatchingUp || this.#world.waitingFor(peer.id) >= questionsMax
    );
  }

  #unavailable(peer: Peer, exchange: number, why: Unavailable): void {
    if (why === "cut") this.#behind(peer, exchange);
    else this.#busy(peer, exchange);
  }

  #busy(peer: Peer, exchange: number): void {
    this.#world.counters.busySent++;
    this.#world.send(peer, { kind: "busy", exchange });
  }

  #behind(peer: Peer, exchange: number): void {
    this.#world.send(peer, { kind: "behind", exchange, cut: this.#world.newestCut() });
  }
}

function momentOf(frame: { readonly live: boolean; readonly cut: number }): Moment {
  return { live: frame.live, cut: frame.live ? 0 : frame.cut };
}
