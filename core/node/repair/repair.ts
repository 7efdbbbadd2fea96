/**
 * The initiator's side of repair: finds where two replicas differ and mends it both ways.
 *
 * Once a second, with one peer at random: compare roots; where they differ *walk* down the fingerprint
 * tree; *list* the rows of nodes that hold few; *fetch* what the peer has differently and *offer* what
 * it lacks. Rows go through the ordinary merge, so it doesn't matter who was right.
 *
 * Lists name first only rows that changed lately, which explain nearly every difference. Nodes in which
 * these explain nothing are listed in full at the end, which costs both stores a scan. A node of the
 * tree whose difference they did explain is looked at again in a later exchange.
 *
 * One exchange at a time, and none may keep others from theirs: beside those that have taken {@link NodeTuning.turnMs}
 * already one with another peer begins. So a peer that is slow, or answers without an end, holds up nobody else. Only
 * two streams of everything run at once, and the second is given up soon where it brings what is here.
 *
 * All of one exchange speaks of one cut, the smaller of both sides'. Before verdicts are possible (after
 * a start, after having been alone) the first exchanges walk the live states instead: what is in flight
 * shows up as noise there, but a late node doesn't wait for the cut.
 *
 * @module
 */

import { type Frame, featureStream } from "../../change/frame.ts";
import type { RowId } from "../../row/digest.ts";
import type { Moment, PeerId, TreeNodes } from "../border.ts";
import type { Peer } from "../peer.ts";
import type { Applied, World } from "../world.ts";
import type { Answers } from "./answers.ts";
import { BrokenOffStreams } from "./broken-off.ts";
import type { CatchingUp } from "./catching-up.ts";
import { type Exchange, openExchange } from "./exchange.ts";
import type { Fetches } from "./fetches.ts";
import { RepairPeers } from "./repair-peers.ts";
import { actOnRoots, actOnWalk, planRoots, planWalked, scanOf } from "./repair-plan.ts";
import { equalNodes, nodeOfRow, type Task } from "./repair-task.ts";
import type { Verdicts } from "./verdicts.ts";

type FrameOf<K extends Frame["kind"]> = Extract<Frame, { kind: K }>;

const idsPerFetch = 512;
/** Entries of one list that are kept: twice what a peer lists at most, for rows come while it does. */
const entriesMax = 400_000;
/** Streams of everything at once: one goes on, and another may have what that doesn't bring. */
const streamsMax = 2;
/** How long the store is waited for to tell what it holds, after much came: it does so every second. */
const slotWaitMs = 1500;

export interface RepairParts {
  readonly answers: Answers;
  readonly fetches: Fetches;
  readonly verdicts: Verdicts;
  readonly catchingUp: CatchingUp;
}

export class Repair {
  readonly #world: World;
  readonly #answers: Answers;
  readonly #fetches: Fetches;
  readonly #verdicts: Verdicts;
  readonly #catchingUp: CatchingUp;
  /** Open ones, the eldest first: one with a peer. */
  readonly #exchanges = new Map<PeerId, Exchange>();
  #nextMs: number;
  /**
   * Whole ranges came. By what the store told before, their rows would be missing still, and be fetched again: the next
   * exchange begins once it has told what it holds.
   */
  #awaitsSlot = false;
  #liveWalksLeft: number;
  readonly #peers = new RepairPeers();
  readonly #brokenOff = new BrokenOffStreams();

  constructor(world: World, { answers, fetches, verdicts, catchingUp }: RepairParts) {
    this.#world = world;
    this.#answers = answers;
    this.#fetches = fetches;
    this.#verdicts = verdicts;
    this.#catchingUp = catchingUp;
    this.#nextMs = world.tuning.exchangeMs;
    this.#liveWalksLeft = world.tuning.liveWalks;
  }

  deadlineMs(): number {
    let deadlineMs = this.#nextMs;
    for (const { fetches, silentAtMs } of this.#exchanges.values()) {
      if (fetches === 0) deadlineMs = Math.min(deadlineMs, silentAtMs);
    }
    return deadlineMs;
  }

  peerReady(): void {
    if (this.#liveWalksLeft > 0) this.#soon();
  }

  /**
   * The store has gone through all of its rows anew: some may have lost to what peers hold, unheard (they were stamped anew
   * after a clock fault, or taken in). No cut that is made says so yet.
   */
  storeReady(): void {
    this.#walkLiveAnew();
    this.#soon();
  }

  /** The store told what it holds. */
  slotCame(): void {
    if (!this.#awaitsSlot) return;
    this.#awaitsSlot = false;
    this.#soon();
  }

  peerGone(peer: PeerId): void {
    this.#peers.gone(peer);
    this.#end(this.#exchanges.get(peer), true);
  }

  /** The node has no peer any more: whatever comes next may find it late. */
  alone(): void {
    this.#walkLiveAnew();
    this.#catchingUp.alone();
  }

  #walkLiveAnew(): void {
    this.#liveWalksLeft = this.#world.tuning.liveWalks;
    this.#peers.walkLiveAnew();
  }

  check(): void {
    const { elapsedMs, tuning, counters } = this.#world;
    for (const exchange of [...this.#exchanges.values()]) {
      if (exchange.fetches > 0 || elapsedMs < exchange.silentAtMs) continue;
      // While the own store is stuck the silence is ours, and the outcome the same.
      counters.exchangesSilent++;
      this.#leaveAlone(exchange.peer, tuning.busyMs);
      this.#end(exchange, true);
    }
    if (elapsedMs < this.#nextMs) return;
    this.#awaitsSlot = false;
    this.#nextMs = elapsedMs + tuning.exchangeMs * (0.75 + 0.5 * this.#world.random());
    for (const { startedMs } of this.#exchanges.values()) {
      if (elapsedMs - startedMs < tuning.turnMs) return;
    }
    this.#begin();
  }

  #leaveAlone(id: PeerId, ms: number): void {
    const peer = this.#world.readyPeer(id);
    if (peer === undefined) return;
    peer.busyUntilMs = Math.max(peer.busyUntilMs, this.#world.elapsedMs + ms);
  }

  root(peer: Peer, frame: FrameOf<"root">): void {
    const exchange = this.#answered(peer, frame, "root");
    if (exchange === undefined) return;
    peer.rttSeen(this.#world.elapsedMs - exchange.startedMs);
    const { moment } = exchange;
    const { slot } = this.#world;
    const own = moment.live ? slot?.live : slot?.roots.find(({ cut }) => cut === frame.cut);
    // The index is made anew meanwhile: what is known of it is a part.
    const isKnown = own !== undefined && !this.#world.isStarting;
    if (frame.live !== moment.live || frame.cut > moment.cut || !isKnown) {
      this.#behind(exchange);
      return;
    }
    exchange.moment = { live: moment.live, cut: frame.cut };
    exchange.step = undefined;
    const isEqual = frame.rows === own.rows && frame.fingerprint === own.fingerprint;
    if (!moment.live) this.#verdicts.compared(peer, frame.cut, isEqual);
    if (isEqual) {
      this.#peers.equal(peer.id);
      this.#brokenOff.forget(peer.id);
      this.#end(exchange, false);
      this.#catchingUp.agreed();
      return;
    }
    if (!moment.live) {
      exchange.differs = true;
      exchange.skipsRecent = this.#peers.differs(peer.id);
    }
    exchange.rowsOwn = own.rows;
    exchange.rowsPeer = frame.rows;
    this.#plan(exchange);
    this.#go(peer, exchange);
  }

  walk(peer: Peer, frame: FrameOf<"walk">): void {
    const exchange = this.#answered(peer, frame, "walk");
    if (exchange === undefined) return;
    const task = exchange.step as Task;
    if (frame.level !== task.level + 1 || !equalNodes(frame.nodes, task.nodes)) return;
    exchange.walkPeer = frame.fingerprints;
    this.#walked(peer, exchange);
  }

  list(peer: Peer, frame: FrameOf<"list">): void {
    const exchange = this.#answered(peer, frame, "list");
    if (exchange === undefined) return;
    const task = exchange.step as Task;
    if (frame.level !== task.level || frame.recentOnly !== task.recentOnly) return;
    const { entries, moment } = exchange;
    if (entries === undefined) return;
    const isEndless = frame.more && frame.entries.length === 0;
    if (isEndless || entries.length + frame.entries.length > entriesMax) {
      this.#world.malformed(peer, "list: it has no end");
      return;
    }
    for (const entry of frame.entries) entries.push(entry);
    if (frame.more) return;
    const { level, nodes, recentOnly } = task;
    exchange.entries = undefined;
    const question = { kind: "compare", recentOnly, entries, ...moment, level, nodes } as const;
    this.#world.ask(question, (answer) => {
      if (!this.#isOpen(exchange) || exchange.step !== task) return;
      if (answer.kind !== "compared") return this.#end(exchange, true);
      exchange.step = undefined;
      this.#compared(peer, exchange, task, answer.want, answer.offer);
      this.#go(peer, exchange);
    });
  }

  busy(peer: Peer, id: number): void {
    const exchange = this.#exchanges.get(peer.id);
    this.#leaveAlone(peer.id, this.#world.tuning.busyMs);
    if (exchange?.id !== id) return;
    this.#world.counters.exchangesBusy++;
    this.#end(exchange, true);
  }

  behind(peer: Peer, id: number): void {
    const exchange = this.#exchanges.get(peer.id);
    if (exchange?.id === id) this.#behind(exchange);
  }

  #isOpen(exchange: Exchange): boolean {
    return this.#exchanges.get(exchange.peer) === exchange;
  }

  #soon(): void {
    if (this.#awaitsSlot) return;
    this.#nextMs = Math.min(this.#nextMs, this.#world.elapsedMs);
  }

  /** Begins an exchange with one peer at random. */
  #begin(): void {
    const { slot, elapsedMs, counters, tuning } = this.#world;
    if (slot === undefined || this.#world.isStarting || this.#world.isStuck()) return;
    const newest = this.#world.newestCut();
    const root = slot.roots.find(({ cut }) => cut === newest);
    const mayJudge = root !== undefined && this.#verdicts.mayJudge(newest);
    if (mayJudge) this.#liveWalksLeft = 0;
    else if (this.#liveWalksLeft === 0) return;
    let peers = this.#world
      .readyPeers()
      .filter((peer) => peer.hello?.starting === false && elapsedMs >= peer.busyUntilMs)
      .filter(({ id }) => !this.#exchanges.has(id));
    const fresh = peers.filter((peer) => !this.#peers.hasWalkedLive(peer.id));
    if (!mayJudge && fresh.length > 0) peers = fresh;
    const brokenOff = peers.filter((peer) => this.#cursorOf(peer.id) !== undefined);
    if (brokenOff.length > 0) peers = brokenOff;
    const peer = peers[Math.floor(this.#world.random() * peers.length)];
    if (peer === undefined) return;
    const live = !mayJudge || this.#peers.takeBehind(peer.id);
    const { rows, fingerprint } = live || root === undefined ? slot.live : root;
    const moment: Moment = live ? { live, cut: 0 } : { live, cut: newest };
    const id = this.#world.nextExchange();
    counters.exchanges++;
    const exchange = openExchange({
      ...{ id, peer: peer.id, moment, rowsOwn: rows },
      ...{ startedMs: elapsedMs, silentAtMs: elapsedMs + tuning.silenceMs },
    });
    this.#exchanges.set(peer.id, exchange);
    const { horizon } = this.#world;
    this.#world.send(peer, {
      kind: "root",
      exchange: id,
      answer: false,
      ...moment,
      horizon,
      rows,
      fingerprint,
    });
  }

  /** The open exchange, if this frame answers its step. */
  #answered(
    peer: Peer,
    frame: { readonly exchange: number },
    act: "root" | "walk" | "list",
  ): Exchange | undefined {
    const exchange = this.#exchanges.get(peer.id);
    if (exchange?.id !== frame.exchange) return undefined;
    const { step } = exchange;
    if ((typeof step === "object" ? step.act : step) !== act) return undefined;
    this.#heard(exchange);
    return exchange;
  }

  /** The peer is given time again: long, if what it or the own store does next is a scan. */
  #heard(exchange: Exchange): void {
    const { silenceMs, scanSilenceMs, fruitlessMs } = this.#world.tuning;
    const { step } = exchange;
    const isScan = typeof step === "object" && step.act === "list" && !step.recentOnly;
    const { elapsedMs } = this.#world;
    const givenUpAtMs = exchange.changedMs + fruitlessMs;
    exchange.silentAtMs = Math.min(elapsedMs + (isScan ? scanSilenceMs : silenceMs), givenUpAtMs);
  }

  /** Roots differ: what to do first. */
  #plan(exchange: Exchange): void {
    const { peer } = exchange;
    const isBrokenOff = this.#cursorOf(peer) !== undefined;
    const act = actOnRoots(exchange, isBrokenOff, this.#mayStream(exchange));
    if (act !== "stream") this.#brokenOff.forget(peer);
    if (act === "stream" || act === "fetch") this.#catchUp(exchange);
    if (act !== undefined) planRoots(exchange, act, this.#world.tuning);
  }

  #catchUp({ peer }: Exchange): void {
    this.#catchingUp.begin(peer, this.#world.elapsedMs);
  }

  /** Begins tasks while it may: one walk or list at a time, a few fetches. */
  #go(peer: Peer, exchange: Exchange): void {
    const { tuning, counters } = this.#world;
    while (this.#isOpen(exchange) && exchange.step === undefined) {
      if (exchange.fetches >= tuning.fetchesMax) return;
      const task = exchange.tasks.pop();
      if (task !== undefined) {
        this.#do(peer, exchange, task);
        continue;
      }
      if (exchange.unexplained.length > 0 && !exchange.isScanned) {
        exchange.isScanned = true;
        counters.scansAsked++;
        this.#do(
          peer,
          exchange,
          scanOf(exchange, () => this.#world.random()),
        );
        continue;
      }
      if (exchange.fetches === 0) this.#end(exchange, false);
      return;
    }
  }

  #do(peer: Peer, exchange: Exchange, task: Task): void {
    const { horizon } = this.#world;
    const { level, nodes, recentOnly } = task;
    const { id, moment } = exchange;
    const head = { exchange: id, answer: false, ...moment, horizon } as const;
    if (task.act !== "fetch") exchange.step = task;
    this.#heard(exchange);
    switch (task.act) {
      case "walk":
        exchange.walkOwn = undefined;
        exchange.walkPeer = undefined;
        this.#world.send(peer, {
          kind: "walk",
          ...head,
          level: level + 1,
          nodes,
          fingerprints: [],
        });
        this.#world.ask({ kind: "walk", ...moment, level, nodes }, (answer) => {
          if (!this.#isOpen(exchange) || exchange.step !== task) return;
          if (answer.kind !== "walked") return this.#end(exchange, true);
          exchange.walkOwn = answer.fingerprints;
          this.#walked(peer, exchange);
        });
        return;
      case "list":
        exchange.hasListed = true;
        exchange.entries = [];
        this.#world.send(peer, {
          kind: "list",
          ...head,
          recentOnly,
          more: false,
          level,
          nodes,
          entries: [],
        });
        return;
      case "fetch":
        this.#fetch(peer, exchange, { by: "range", level, nodes });
        return;
      case "stream":
        this.#stream(peer, exchange, { level, nodes });
        return;
      default:
        task.act satisfies never;
    }
  }

  #walked(peer: Peer, exchange: Exchange): void {
    const { walkOwn, walkPeer } = exchange;
    if (walkOwn === undefined || walkPeer === undefined) return;
    const task = exchange.step as Task;
    exchange.step = undefined;
    const level = task.level + 1;
    const nodes: number[] = [];
    for (const [i, fingerprint] of walkOwn.entries()) {
      if (fingerprint === walkPeer[i]) continue;
      nodes.push((task.nodes[i >> 4] as number) * 16 + (i % 16));
    }
    const { tuning } = this.#world;
    const mayStream = this.#mayStream(exchange);
    const act = actOnWalk(exchange, task, nodes.length, mayStream, tuning.listRowsMax);
    if (act === "stream") this.#catchUp(exchange);
    planWalked(exchange, act, { level, nodes }, tuning);
    this.#go(peer, exchange);
  }

  #compared(
    peer: Peer,
    exchange: Exchange,
    task: Task,
    want: readonly RowId[],
    offer: readonly RowId[],
  ): void {
    if (task.recentOnly) {
      const explained = new Set<number>();
      for (const id of want) explained.add(nodeOfRow(id, task.level));
      for (const id of offer) explained.add(nodeOfRow(id, task.level));
      exchange.unexplainedLevel = task.level;
      for (const node of task.nodes) if (!explained.has(node)) exchange.unexplained.push(node);
    }
    this.#answers.offer(peer, offer);
    for (let at = 0; at < want.length; at += idsPerFetch) {
      this.#fetch(peer, exchange, { by: "id", ids: want.slice(at, at + idsPerFetch) });
    }
  }

  #fetch(peer: Peer, exchange: Exchange, what: FrameOf<"fetch">["what"]): void {
    exchange.fetches++;
    this.#fetches.start(peer, what, 2, (applied) => {
      this.#fetched(peer, exchange, applied, what.by === "range");
    });
  }

  /** Goes on where the last stream from this peer broke off, if it did lately. */
  #stream(peer: Peer, exchange: Exchange, nodes: TreeNodes): void {
    exchange.fetches++;
    const cursor = this.#cursorOf(peer.id) ?? new Uint8Array(0);
    let hasPaused = false;
    const isSecond = this.#streams() > 0;
    exchange.isStreaming = true;
    this.#fetches.startStream(
      peer,
      { ...nodes, cursor, isTried: isSecond },
      {
        onPaused: (reached) => {
          hasPaused = true;
          this.#brokenOff.reached(peer.id, reached, this.#world.elapsedMs);
        },
        onFruitless: () => {
          this.#leaveAlone(peer.id, this.#world.tuning.turnMs);
          // Another stream explains it.
          exchange.differs = false;
        },
        onDone: (applied, isBusy) => {
          exchange.isStreaming = false;
          exchange.step = undefined;
          // There is nothing left, the cursor is void, or it doesn't get on from there.
          if (applied !== undefined || isBusy || !hasPaused) this.#brokenOff.forget(peer.id);
          this.#fetched(peer, exchange, applied, true);
        },
      },
    );
  }

  #cursorOf(peer: PeerId): Uint8Array | undefined {
    return this.#brokenOff.cursor(peer, this.#world.elapsedMs);
  }

  #fetched(peer: Peer, exchange: Exchange, applied: Applied | undefined, isByRange: boolean): void {
    exchange.fetches--;
    if (!this.#isOpen(exchange)) return;
    this.#heard(exchange);
    if (applied === undefined) {
      this.#end(exchange, true);
      return;
    }
    exchange.changed += applied.changed;
    if (applied.changed > 0) exchange.changedMs = this.#world.elapsedMs;
    if (isByRange) {
      exchange.hasRanges = true;
      exchange.goOn ||= applied.changed > 0;
    } else if (!exchange.moment.live) {
      this.#world.counters.rowsNoise += applied.rows - applied.changed;
    }
    this.#go(peer, exchange);
  }

  #mayStream({ peer, rowsPeer }: Exchange): boolean {
    const isAble = this.#world.readyPeer(peer)?.has(featureStream) === true;
    return isAble && rowsPeer >= this.#world.tuning.streamRowsMin && this.#streams() < streamsMax;
  }

  #streams(): number {
    let count = 0;
    for (const { isStreaming } of this.#exchanges.values()) if (isStreaming) count++;
    return count;
  }

  #behind(exchange: Exchange): void {
    this.#world.counters.exchangesBehind++;
    this.#peers.behind(exchange.peer);
    this.#end(exchange, true);
  }

  #end(exchange: Exchange | undefined, isFailed: boolean): void {
    if (exchange === undefined) return;
    this.#exchanges.delete(exchange.peer);
    this.#catchingUp.end(exchange.peer);
    // One that scanned for everything and found nothing has been in vain for another reason.
    if (!isFailed && exchange.differs && exchange.changed === 0 && !exchange.skipsRecent) {
      this.#peers.unexplained(exchange.peer);
    }
    if (exchange.goOn) this.#soonAfter(exchange);
    else if (exchange.moment.live && !isFailed && this.#liveWalksLeft > 0) {
      this.#liveWalksLeft--;
      // The next peer at once, the same one again only after a while.
      this.#peers.walkedLive(exchange.peer);
      if (this.#world.readyPeers().some(({ id }) => !this.#peers.hasWalkedLive(id))) {
        this.#soonAfter(exchange);
      }
    }
  }

  #soonAfter({ hasRanges }: Exchange): void {
    this.#soon();
    if (!hasRanges) return;
    this.#awaitsSlot = true;
    this.#nextMs = this.#world.elapsedMs + slotWaitMs;
  }
}
