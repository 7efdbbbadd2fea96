/**
 * The responder's side of repair: answers roots, walks, lists and fetches. It keeps no state between
 * two messages but the fetches that it is serving.
 *
 * @module
 */

import { type Frame, featureZstd } from "../../change/frame.ts";
import type { RowId } from "../../row/digest.ts";
import type { Moment, PeerId, TreeNodes, Unavailable } from "../border.ts";
import type { Peer } from "../peer.ts";
import { Fifo } from "../queues/fifo.ts";
import type { AnswerTaken, QuestionAsked } from "../queues/questions.ts";
import { entryChunks, type World } from "../world.ts";
import type { CatchingUp } from "./catching-up.ts";
import { unasked } from "./fetches.ts";
import type { Verdicts } from "./verdicts.ts";

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
/** Of rows that one question is meant to bring: they come without a pause, whether the peer takes them or not. */
const questionBytes = 8 * 1024 * 1024;
/** Of a row, until one was sent. */
const rowBytesFirst = 16 * 1024;
/** Rows that one list may be of. */
const listedMax = 200_000;
/** Questions of one peer that may wait. */
const questionsMax = 4;

export class Answers {
  readonly #world: World;
  readonly #verdicts: Verdicts;
  readonly #catchingUp: CatchingUp;
  readonly #serves = new Map<PeerId, Fifo<Serve>>();
  /** Peers for which a question is open. */
  readonly #serving = new Set<PeerId>();
  /** About how many a row has, as last seen. */
  #rowBytes = rowBytesFirst;

  constructor(world: World, verdicts: Verdicts, catchingUp: CatchingUp) {
    this.#world = world;
    this.#verdicts = verdicts;
    this.#catchingUp = catchingUp;
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
    if (this.#world.isStuck() || this.#serveCount(peer) >= this.#world.tuning.servesMax) {
      this.#busy(peer, exchange);
      return;
    }
    if (what.by === "id") this.#add(peer, { exchange, ids: what.ids, range: undefined });
    else this.#add(peer, { exchange, ids: [], range: this.#narrow(what) });
  }

  stream(peer: Peer, frame: FrameOf<"stream">): void {
    const { exchange, level, nodes, cursor, credit } = frame;
    if (this.#world.isStuck() || this.#serveCount(peer) >= this.#world.tuning.servesMax) {
      this.#busy(peer, exchange);
      return;
    }
    const stream: Stream = { level, nodes, cursor, credit };
    this.#add(peer, { exchange, ids: [], range: undefined, stream });
  }

  /** Sends rows that a comparison showed the peer to lack; none while it hasn't taken what it was sent before. */
  offer(peer: Peer, ids: readonly RowId[]): void {
    if (ids.length === 0 || this.#serveCount(peer) >= this.#world.tuning.servesMax) return;
    this.#world.counters.rowsOffered += ids.length;
    this.#add(peer, { exchange: unasked, ids, range: undefined });
  }

  #serveCount(peer: Peer): number {
    return this.#serves.get(peer.id)?.length ?? 0;
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
    const { question, rows, isLast } = this.#nextQuestion(serve);
    if (isLast) serves.shift();
    this.#serving.add(peer.id);
    let bytes = 0;
    let isOver = false;
    this.#world.ask(
      question,
      (answer) => {
        const isEnd = answer.kind !== "rows" || answer.last;
        if (isEnd) this.#serving.delete(peer.id);
        if (this.#isReplaced(peer)) return;
        if (answer.kind === "rows" && !isOver) {
          bytes += answer.block.length;
          if (answer.last) this.#noteRowBytes(bytes / Math.max(1, rows));
          // An empty block ends a fetch for which nothing is held.
          const isSent = this.#world.send(peer, {
            kind: "rows",
            exchange: serve.exchange,
            last: answer.last && isLast,
            horizon: this.#world.horizon,
            block: answer.block,
          });
          isOver = !isSent;
        } else if (answer.kind === "unavailable") isOver = true;
        if (isOver && isEnd) {
          if (!isLast && serves.first === serve) serves.shift();
          if (serve.exchange !== unasked) this.#busy(peer, serve.exchange);
        }
        if (isEnd) this.#serve(peer);
      },
      peer.id,
    );
  }

  /** Takes the next rows out of a fetch: as many as make some MB, as far as is known. */
  #nextQuestion(serve: Serve): {
    readonly question: QuestionAsked;
    readonly rows: number;
    readonly isLast: boolean;
  } {
    const { range } = serve;
    if (range === undefined) {
      const rows = Math.min(idsPerQuestion, this.#rowsPerQuestion());
      const ids = serve.ids.slice(0, rows);
      serve.ids = serve.ids.slice(rows);
      return { question: { kind: "rows", ids }, rows: ids.length, isLast: serve.ids.length === 0 };
    }
    const { level, nodes } = range;
    const rowsPerNode = this.#rowsPerNode(level);
    const count = Math.max(1, Math.floor(this.#rowsPerQuestion() / Math.max(1, rowsPerNode)));
    serve.range = { level, nodes: nodes.slice(count) };
    const question = { kind: "range-rows", level, nodes: nodes.slice(0, count) } as const;
    const rows = Math.min(count, nodes.length) * rowsPerNode;
    return { question, rows, isLast: nodes.length <= count };
  }

  #rowsPerQuestion(): number {
    const rows = Math.max(1, Math.floor(questionBytes / this.#rowBytes));
    return Math.min(rows, this.#world.tuning.rangeRowsMax);
  }

  /** More are believed at once; fewer only by and by, for one answer may have had no rows. */
  #noteRowBytes(bytes: number): void {
    this.#rowBytes = Math.max(bytes, this.#rowBytes / 4, 1);
  }

  /** The answer is for a stream that has closed. What the peer asked for on its next one may have waited for it. */
  #isReplaced(peer: Peer): boolean {
    const current = this.#world.readyPeer(peer.id);
    if (current === peer) return false;
    if (current !== undefined) this.#serve(current);
    return true;
  }

  /** One block; the stream leaves the queue with its credit used up or its last row. */
  #serveStream(peer: Peer, serve: Serve, stream: Stream): void {
    this.#serving.add(peer.id);
    const { level, nodes, cursor } = stream;
    this.#world.ask(
      { kind: "stream-rows", level, nodes, cursor },
      (answer) => {
        this.#serving.delete(peer.id);
        if (this.#isReplaced(peer)) return;
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
          const end = { last, paused };
          if (!this.#sendStreamed(peer, serve.exchange, cursorNext, answer.block, end)) {
            if (serves.first === serve) serves.shift();
            this.#busy(peer, serve.exchange);
          }
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
  ): boolean {
    const { zstd, horizon } = this.#world;
    const packed = peer.has(featureZstd) ? zstd?.compress(block) : undefined;
    const compressed = packed !== undefined && packed.length < block.length;
    return this.#world.send(peer, {
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
    let { level } = range;
    // Named a thousand times a node would become a thousand times its descendants.
    let nodes: readonly number[] = [...new Set(range.nodes)];
    while (level < 4 && this.#rowsPerNode(level) > this.#rowsPerQuestion()) {
      nodes = nodes.flatMap((node) => Array.from({ length: 16 }, (_, child) => node * 16 + child));
      level++;
    }
    return { level, nodes };
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
    const isHeldOff = this.#catchingUp.isHeldOff(this.#world.elapsedMs);
    return this.#world.isStuck() || isHeldOff || this.#world.waitingFor(peer.id) >= questionsMax;
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
