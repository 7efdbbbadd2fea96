/**
 * The node machine: peers, lanes, members and repair of one node, without clock, socket or database.
 *
 * It is handed events with the time they happened and appends what is to be done to `effects`; both are
 * plain data, so a run can be logged and replayed. The agent puts a net thread around it and the
 * simulator a virtual network; behind the border (`border.ts`) stands a store, which it asks and never
 * waits for. A change is forwarded before and independent of its being applied, unless it is of a flood.
 *
 * - A new peer is greeted (`hello`); only a hello is taken before the peer's own. Then both name
 *   their recent rows (`recent-exchange.ts`), and may begin exchanges (`repair.ts`, `answers.ts`).
 * - A changeset goes once to every other peer, or its id does (`pushes.ts`, `plumtree.ts`), in its lane (`outgoing.ts`, `lanes.ts`), and to the store with
 *   credit: urgent at once, otherwise one slice at a time (`applies.ts`).
 * - What is malformed drops the peer; what is unknown is skipped; both are counted.
 *
 * Sources: the shape is quinn-proto's `Connection` (one `handle`, one timeout); the members follow
 * SWIM (Das et al., DSN 2002) and Lifeguard (Dadgar et al., DSN 2018) in a much reduced form.
 *
 * @module
 */

import { unreachable } from "../assert.ts";
import { decodeFrame, encodeFrame, type Frame, farewellNeighbours } from "../change/frame.ts";
import { decodeHello, encodeHello, type Hello } from "../change/hello.ts";
import { type Hlc, hlcZero } from "../clock/stamp.ts";
import type { MemberRow, PeerId, SlotReport, StoreReply, StoreRequest, Ticket } from "./border.ts";
import { type BytesByKind, createCounters } from "./counters.ts";
import { type Identity, incompatibilityOf, ownHello, shapesTold } from "./hello/greeting.ts";
import { HelloJudge, isSameSchema } from "./hello/hello-judge.ts";
import { PeerClocks } from "./hello/peer-clocks.ts";
import { AlarmLimit } from "./members/alarms.ts";
import { type MemberIdentity, Members } from "./members/members.ts";
import type { Alarm, NodeEffect, NodeEvent, NodeSnapshot, PeerSnapshot } from "./node-events.ts";
import { type NodeOptions, type NodeTuning, nodeDefaults } from "./options.ts";
import { type Agreement, Peer } from "./peer.ts";
import { Applies } from "./push/applies.ts";
import { Outgoing } from "./push/outgoing.ts";
import { Plumtree } from "./push/plumtree.ts";
import { Pushes } from "./push/pushes.ts";
import { type AnswerTaken, type QuestionAsked, Questions } from "./queues/questions.ts";
import { Answers } from "./repair/answers.ts";
import { CatchingUp } from "./repair/catching-up.ts";
import { Fetches } from "./repair/fetches.ts";
import { RecentExchange } from "./repair/recent-exchange.ts";
import { Repair } from "./repair/repair.ts";
import { Verdicts } from "./repair/verdicts.ts";
import type { World } from "./world.ts";

/** The store's lag in steps, as heartbeats and `patina_members` carry it. */
const lagStepsMs = [1000, 10_000, 60_000] as const;

export class NodeMachine {
  readonly #options: NodeOptions;
  readonly #tuning: NodeTuning;
  readonly #peers = new Map<PeerId, Peer>();
  readonly #counters = createCounters();
  readonly #bytesReceived: BytesByKind = {};
  readonly #helloJudge: HelloJudge;
  readonly #clocks = new PeerClocks();
  readonly #members: Members;
  readonly #outgoing: Outgoing;
  readonly #applies: Applies;
  readonly #plumtree: Plumtree;
  readonly #pushes: Pushes;
  readonly #questions = new Questions();
  readonly #alarms = new AlarmLimit();
  readonly #catchingUp = new CatchingUp();
  readonly #answers: Answers;
  readonly #fetches: Fetches;
  readonly #verdicts: Verdicts;
  readonly #recent: RecentExchange;
  readonly #repair: Repair;
  /** The effects of the event at hand. */
  #effects: NodeEffect[] = [];
  /** With as much of the schema as a hello tells. */
  #identity: Identity | undefined;
  #selfSinceMs = 0;
  #slot: SlotReport | undefined;
  #slotAtMs = 0;
  #nextTicket: Ticket;
  #nextExchange: number;
  #heartbeat = 0;
  #nowMs = Number.NaN;
  /** Elapsed time: it stands still when the wall clock jumps back. */
  #elapsedMs = 0;
  #nextHeartbeatMs = 0;
  #isStopping = false;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#tuning = { ...nodeDefaults, ...options.tuning };
    const { members, apply } = this.#tuning;
    this.#helloJudge = new HelloJudge(options.name, {
      raise: (...alarm) => this.#alarm(...alarm),
      isOver: (alarm, peer) => this.#alarms.isOver(alarm, peer),
    });
    this.#members = new Members(members, options.name);
    const recalled = options.recalled ?? [];
    this.#members.recall(
      recalled.filter(({ key }) => key !== options.key),
      this.#elapsedMs,
    );
    this.#applies = new Applies(apply, this.#counters, (request) => {
      const ticket = this.#nextTicket++;
      this.#toStore({ ...request, ticket });
      return ticket;
    });
    // Answers to an earlier life of this machine must not look like answers to this one.
    this.#nextTicket = 1 + Math.floor(options.random() * 2 ** 48);
    this.#nextExchange = Math.floor(options.random() * 2 ** 32);
    this.#outgoing = new Outgoing(this.#counters, {
      isConnected: (peer) => this.#peers.get(peer.id) === peer,
      emit: (effect) => this.#effects.push(effect),
      close: (peer, why) => this.#close(peer, why),
    });
    const world = this.#world();
    this.#plumtree = new Plumtree(options.key, world, this.#outgoing, options.sha256);
    this.#pushes = new Pushes(world, {
      ...{ key: options.key, hash: options.hash, clocks: this.#clocks },
      ...{ applies: this.#applies, outgoing: this.#outgoing, plumtree: this.#plumtree },
    });
    this.#verdicts = new Verdicts(world);
    this.#fetches = new Fetches(world);
    this.#answers = new Answers(world, this.#verdicts, this.#catchingUp);
    this.#recent = new RecentExchange(world, this.#fetches, this.#verdicts);
    this.#repair = new Repair(world, {
      ...{ answers: this.#answers, fetches: this.#fetches },
      ...{ verdicts: this.#verdicts, catchingUp: this.#catchingUp },
    });
  }

  /**
   * Applies one event and appends what the caller is to do to `effects`. Never throws, whatever a
   * peer sent.
   *
   * @param nowMs The wall clock in milliseconds, fractions allowed. Timers go by its differences.
   */
  handle(event: NodeEvent, nowMs: number, effects: NodeEffect[]): void {
    this.#effects = effects;
    this.#advance(nowMs);
    switch (event.kind) {
      case "connected":
        this.#connected(event.peer);
        break;
      case "received": {
        const peer = this.#peers.get(event.peer);
        if (peer !== undefined) this.#received(peer, event.frame, false);
        break;
      }
      case "disconnected":
        this.#forget(event.peer);
        break;
      case "drained": {
        const peer = this.#peers.get(event.peer);
        if (peer === undefined) break;
        peer.lanes.drained(event.bytesLeft ?? 0);
        this.#outgoing.flush(peer);
        this.#answers.drained(peer);
        break;
      }
      case "store":
        this.#storeReplied(event.reply);
        break;
      case "stopping":
        this.#isStopping = true;
        for (const peer of this.#readyPeers()) {
          this.#outgoing.send(peer, { kind: "stop", untilMs: event.untilMs, reason: event.reason });
        }
        break;
      case "parting": {
        const peer = this.#peers.get(event.peer);
        if (peer === undefined) break;
        this.#outgoing.send(peer, { kind: "farewell", why: farewellNeighbours });
        this.#outgoing.flushLast(peer);
        this.#members.parted(peer.id);
        this.#forget(peer.id);
        break;
      }
      case "timeout":
        break;
      default:
        unreachable(event);
    }
    this.#runTimers();
    this.#pump();
  }

  /** When `handle` next wants a `timeout` event: on the wall clock, ms. At once before the first event. */
  pollTimeout(): number {
    if (Number.isNaN(this.#nowMs)) return 0;
    // Whole milliseconds: less than the precision of a wall clock would never pass.
    return this.#nowMs + Math.ceil(Math.max(0, this.#deadlineMs() - this.#elapsedMs));
  }

  /** When this peer's settled image was last found equal, on the wall clock; undefined if never. */
  agreedMs(peer: PeerId): number | undefined {
    return this.#peers.get(peer)?.agreement?.atMs;
  }

  /** Its store isn't built yet, or it fetches most of what it should have. */
  get isCatchingUp(): boolean {
    return this.#identity?.starting !== false || this.#catchingUp.isUnderWay;
  }

  /** The last time that any peer was found equal; a new object each time. */
  get latestAgreement(): (Agreement & { readonly peer: PeerId }) | undefined {
    return this.#verdicts.latest;
  }

  /** As of {@link NodeSnapshot}. */
  get applyBodies(): number {
    return this.#applies.count;
  }

  snapshot(): NodeSnapshot {
    const peers = [...this.#peers.values()].map(
      (peer): PeerSnapshot => ({
        peer: peer.id,
        name: peer.hello?.name,
        region: peer.hello?.region,
        connectedForMs: this.#elapsedMs - peer.connectedMs,
        rttMs: peer.rttMs,
        clockOffsetMs: peer.clockOffsetMs(),
        agreement: peer.agreement,
        bytesSent: peer.bytesSent,
        bytesReceived: peer.bytesReceived,
        inFlightBytes: peer.lanes.inFlightBytes,
        waitingBytes: [peer.lanes.bytes(0), peer.lanes.bytes(1), peer.lanes.bytes(2)],
      }),
    );
    const self = this.#selfRow();
    return {
      peers,
      members: self === undefined ? this.#members.rows() : [self, ...this.#members.rows()],
      counters: { ...this.#counters },
      bytesSent: { ...this.#outgoing.bytes },
      bytesReceived: { ...this.#bytesReceived },
      applyBodies: this.applyBodies,
      applyBytes: { normal: this.#applies.normalBytes, bulk: this.#applies.bulkBytes },
      questionsWaiting: this.#questions.waiting,
      storeLagMs: this.#storeLagMs(),
      isStuck: this.#isStuck(),
      newestCut: this.#newestCut(),
    };
  }

  // Time.

  #advance(nowMs: number): void {
    if (Number.isNaN(this.#nowMs)) {
      this.#nowMs = nowMs;
      return;
    }
    const deadlineMs = this.#deadlineMs();
    this.#elapsedMs += Math.max(0, nowMs - this.#nowMs);
    this.#nowMs = nowMs;
    const lateMs = this.#elapsedMs - deadlineMs;
    if (lateMs > this.#tuning.lateMs) this.#members.ranLate(this.#elapsedMs, lateMs);
  }

  #deadlineMs(): number {
    return Math.min(
      this.#nextHeartbeatMs,
      this.#members.deadlineMs,
      // A node that stops begins nothing any more.
      this.#isStopping ? Number.POSITIVE_INFINITY : this.#repair.deadlineMs(),
      this.#plumtree.deadlineMs(),
      this.#fetches.deadlineMs(),
      this.#recent.deadlineMs(),
    );
  }

  #runTimers(): void {
    if (this.#elapsedMs >= this.#nextHeartbeatMs) {
      this.#nextHeartbeatMs = this.#elapsedMs + this.#tuning.heartbeatMs;
      this.#closeMute();
      this.#hearWhatWaits();
      if (this.#pushes.isStoreSlow) this.#applies.tellHeldBack();
      this.#heartbeats();
      const clocks = this.#clocks.report(this.#readyPeers(), this.#elapsedMs);
      if (clocks !== undefined) this.#toStore(clocks);
    }
    this.#plumtree.check();
    this.#fetches.check();
    this.#recent.check();
    if (!this.#isStopping) this.#repair.check();
    const rows = this.#members.check(this.#elapsedMs, this.#nowMs);
    const parted = this.#members.takeParted();
    if (parted.length > 0) this.#toStore({ kind: "members", rows, parted });
    else if (rows.length > 0) this.#toStore({ kind: "members", rows });
  }

  /** Closes those who were admitted and say nothing: to this node they are no peers. */
  #closeMute(): void {
    for (const peer of [...this.#peers.values()]) {
      const isLate = this.#elapsedMs - peer.connectedMs >= this.#tuning.helloMs;
      if (peer.hello === undefined && isLate) this.#close(peer, "it says no hello");
    }
  }

  /** What ends in the store's tables is heard as often as this node speaks itself, however often a peer says it. */
  #hearWhatWaits(): void {
    for (const peer of this.#readyPeers()) {
      const hello = peer.takeHello();
      if (hello !== undefined) this.#helloCame(peer, hello);
      this.#members.lag(peer.id, peer.storeLag);
    }
  }

  #heartbeats(): void {
    if (this.#identity === undefined) return;
    const lagMs = this.#storeLagMs();
    const storeLag = lagStepsMs.filter((stepMs) => lagMs > stepMs).length as 0 | 1 | 2 | 3;
    const { incarnation } = this.#options;
    this.#heartbeat++;
    const hlc = this.#frameClock();
    const frame = {
      kind: "heartbeat",
      sequence: this.#heartbeat,
      hlc,
      incarnation,
      storeLag,
    } as const;
    const bytes = encodeFrame(frame);
    for (const peer of this.#readyPeers()) {
      // A stream that doesn't drain has enough to carry; what it carries shows that we live.
      if (!peer.lanes.isUrgentHeldUp) this.#outgoing.sendBytes(peer, bytes, "heartbeat", 0);
    }
  }

  /** The net side's clock for frames: the wall clock, so that peers can compare clocks. */
  #frameClock(): Hlc {
    return { ms: Math.max(0, Math.floor(this.#nowMs)), count: 0 };
  }

  // Peers.

  #connected(id: PeerId): void {
    // A second stream in place of the first: the first is gone, whatever the order of the news.
    if (this.#peers.has(id)) this.#forget(id);
    if (id === this.#options.key) {
      this.#effects.push({ kind: "close", peer: id, why: "this node itself" });
      return;
    }
    const peer = new Peer(id, this.#tuning.lanes, this.#elapsedMs);
    this.#peers.set(id, peer);
    this.#greet(peer);
  }

  #greet(peer: Peer): void {
    if (this.#identity === undefined) return;
    const wasReady = peer.isReady;
    const moment = { horizon: this.#slot?.horizon ?? hlcZero, now: this.#frameClock() };
    const hello = ownHello(this.#identity, this.#options, moment);
    peer.helloSent = true;
    this.#outgoing.send(peer, { kind: "hello", body: encodeHello(hello) });
    if (!wasReady && peer.isReady) this.#ready(peer);
  }

  #helloCame(peer: Peer, body: Uint8Array): void {
    const decoded = decodeHello(body);
    if (decoded.kind === "malformed") {
      this.#malformed(peer, decoded.why);
      return;
    }
    const { hello } = decoded;
    const incompatible = incompatibilityOf(hello);
    if (incompatible !== undefined) {
      const { why, isOfVersion } = incompatible;
      if (isOfVersion) this.#alarm("no-common-version", peer.id, `${hello.name} ${why}`);
      this.#close(peer, why);
      return;
    }
    const wasReady = peer.isReady;
    const before = peer.hello;
    peer.hello = hello;
    peer.clockSeen(hello.now.ms, this.#nowMs);
    this.#members.joined(identityOf(peer.id, hello), this.#elapsedMs, this.#nowMs);
    if (before === undefined) this.#helloJudge.came(peer, hello, this.#peers.values());
    if (before === undefined || !isSameSchema(before.schema, hello.schema)) {
      this.#compareSchemas(peer, hello);
    }
    if (!wasReady && peer.isReady) this.#ready(peer);
    // The peer's index is built now.
    else if (before?.starting === true && !hello.starting) this.#repair.peerReady();
  }

  #compareSchemas(peer: Peer, hello: Hello): void {
    const own = this.#identity?.schema;
    // Judged only once the own one is known.
    if (own !== undefined) this.#helloJudge.compareSchemas(peer.id, hello, own);
  }

  /** Both hellos are through. */
  #ready(peer: Peer): void {
    this.#plumtree.peerReady(peer);
    this.#pushes.peerReady(peer);
    this.#recent.peerReady(peer);
    this.#repair.peerReady();
  }

  #forget(id: PeerId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    this.#members.closed(id, this.#elapsedMs);
    this.#plumtree.peerGone(id);
    this.#answers.peerGone(id);
    this.#recent.peerGone(id);
    this.#fetches.peerGone(id);
    this.#repair.peerGone(id);
    if (this.#readyPeers().length === 0) {
      this.#verdicts.alone();
      this.#repair.alone();
    }
  }

  #close(peer: Peer, why: string): void {
    if (this.#peers.get(peer.id) !== peer) return;
    this.#effects.push({ kind: "close", peer: peer.id, why });
    this.#forget(peer.id);
  }

  #malformed(peer: Peer, why: string): void {
    this.#counters.framesMalformed++;
    this.#close(peer, why);
  }

  #alarm(alarm: Alarm, peer: PeerId, what: string): void {
    const text = this.#alarms.text(alarm, peer, what, this.#elapsedMs);
    if (text !== undefined) this.#effects.push({ kind: "alarm", alarm, peer, text });
  }

  #readyPeers(): Peer[] {
    const ready: Peer[] = [];
    for (const peer of this.#peers.values()) if (peer.isReady) ready.push(peer);
    return ready;
  }

  // Frames in.

  #received(peer: Peer, bytes: Uint8Array, isWhole: boolean): void {
    this.#members.heard(peer.id, this.#elapsedMs);
    if (!isWhole) peer.bytesReceived += bytes.length;
    const decoded = decodeFrame(bytes);
    switch (decoded.kind) {
      case "malformed":
        this.#malformed(peer, decoded.why);
        return;
      case "other-scope":
        this.#counters.framesOtherScope++;
        return;
      case "unknown":
        this.#counters.framesUnknown++;
        return;
      case "frame":
        break;
      default:
        unreachable(decoded);
        return;
    }
    const { frame } = decoded;
    if (frame.kind === "part") {
      if (isWhole) {
        this.#malformed(peer, "part: inside a part");
        return;
      }
      if (peer.hello === undefined) {
        this.#malformed(peer, "part before hello");
        return;
      }
      peer.partMs = this.#elapsedMs;
      const taken = peer.parts.take(frame);
      if (taken.kind === "malformed") this.#malformed(peer, taken.why);
      else if (taken.kind === "whole") this.#received(peer, taken.frame, true);
      return;
    }
    this.#bytesReceived[frame.kind] = (this.#bytesReceived[frame.kind] ?? 0) + bytes.length;
    if (peer.hello === undefined && frame.kind !== "hello") {
      this.#malformed(peer, `${frame.kind} before hello`);
      return;
    }
    this.#dispatch(peer, frame, bytes);
  }

  #dispatch(peer: Peer, frame: Exclude<Frame, { kind: "part" }>, bytes: Uint8Array): void {
    switch (frame.kind) {
      case "hello":
        if (peer.mayHearHello(frame.body)) this.#helloCame(peer, frame.body);
        return;
      case "push":
        this.#pushes.cameFrom(peer, frame, bytes);
        return;
      case "ihave":
        this.#plumtree.ihaveCame(peer, frame);
        return;
      case "graft":
        this.#plumtree.graftCame(peer, frame);
        return;
      case "prune":
        this.#plumtree.pruneCame(peer, frame);
        return;
      case "rows":
        this.#fetches.rowsCame(peer, frame);
        return;
      case "root":
        frame.answer ? this.#repair.root(peer, frame) : this.#answers.root(peer, frame);
        return;
      case "walk":
        frame.answer ? this.#repair.walk(peer, frame) : this.#answers.walk(peer, frame);
        return;
      case "list":
        frame.answer ? this.#repair.list(peer, frame) : this.#answers.list(peer, frame);
        return;
      case "fetch":
        this.#answers.fetch(peer, frame);
        return;
      case "stream":
        this.#answers.stream(peer, frame);
        return;
      case "streamed":
        this.#fetches.streamCame(peer, frame);
        return;
      case "recent":
        this.#recent.cameFrom(peer, frame);
        return;
      case "heartbeat":
        peer.clockSeen(frame.hlc.ms, this.#nowMs);
        peer.storeLag = frame.storeLag;
        return;
      case "busy":
        if (!this.#fetches.busyCame(peer, frame.exchange)) this.#repair.busy(peer, frame.exchange);
        return;
      case "behind":
        this.#repair.behind(peer, frame.exchange);
        return;
      case "farewell":
        this.#members.parted(peer.id);
        this.#close(peer, "it made room among its neighbours");
        return;
      case "stop": {
        // By the peer's clock, which may be years from the own.
        const untilMs = frame.untilMs - (peer.clockOffsetMs() ?? 0);
        const awayMs = frame.untilMs === 0 ? undefined : Math.max(0, untilMs - this.#nowMs);
        this.#members.stopped(peer.id, awayMs, this.#elapsedMs);
        return;
      }
      default:
        unreachable(frame);
        return;
    }
  }

  // The store.

  #storeReplied(reply: StoreReply): void {
    switch (reply.kind) {
      case "applied":
        this.#applies.applied(reply);
        return;
      case "commit":
        this.#pushes.committed(reply);
        return;
      case "slot":
        this.#slot = reply;
        this.#slotAtMs = this.#elapsedMs;
        this.#recent.storeReported();
        this.#repair.slotCame();
        return;
      case "identity":
        this.#identified(reply);
        return;
      case "walked":
      case "listed":
      case "compared":
      case "missing":
      case "rows":
      case "streamed":
      case "recent":
      case "unavailable":
        this.#questions.reply(reply);
        return;
      default:
        unreachable(reply);
        return;
    }
  }

  #identified(identity: Identity): void {
    const before = this.#identity;
    const schema = shapesTold(identity.schema);
    this.#identity = { ...identity, schema };
    if (before === undefined) {
      this.#selfSinceMs = Math.floor(this.#nowMs);
      this.#toStore({ kind: "members", rows: [this.#selfRow() as MemberRow] });
    }
    const isOtherSchema = before === undefined || !isSameSchema(before.schema, schema);
    for (const peer of this.#peers.values()) {
      if (peer.hello !== undefined && isOtherSchema) this.#compareSchemas(peer, peer.hello);
      this.#greet(peer);
    }
    this.#recent.storeReported();
    if (identity.starting) return;
    if (before?.starting === false) this.#repair.peerReady();
    else this.#repair.storeReady();
  }

  #selfRow(): MemberRow | undefined {
    if (this.#identity === undefined) return undefined;
    const { name, key, region, zone, incarnation } = this.#options;
    return {
      node: name,
      key,
      region,
      zone,
      incarnation,
      state: "ALIVE",
      sinceMs: this.#selfSinceMs,
      storeLag: "ok",
    };
  }

  /** Posts what the store has credit for: one slice, one question of each line. */
  #pump(): void {
    this.#applies.pump(this.#elapsedMs);
    for (;;) {
      const question = this.#questions.next(this.#nextTicket, this.#elapsedMs);
      if (question === undefined) return;
      this.#nextTicket++;
      this.#toStore(question);
    }
  }

  #toStore(request: StoreRequest): void {
    this.#effects.push({ kind: "store", request });
  }

  #isStuck(): boolean {
    const askedMs = this.#questions.openSinceMs ?? Number.POSITIVE_INFINITY;
    const oldestMs = Math.min(askedMs, this.#applies.openSinceMs);
    return this.#elapsedMs - oldestMs > this.#tuning.stuckMs;
  }

  #storeLagMs(): number {
    return Math.max(0, this.#elapsedMs - this.#applies.oldestMs);
  }

  #newestCut(): number {
    return this.#applies.newestCut(this.#slot?.cut ?? 0);
  }

  /** The view that the parts have of this machine. */
  #world(): World {
    const machine = this;
    return {
      tuning: this.#tuning,
      zstd: this.#options.zstd,
      counters: this.#counters,
      get elapsedMs() {
        return machine.#elapsedMs;
      },
      get nowMs() {
        return machine.#nowMs;
      },
      get slot() {
        return machine.#slot;
      },
      get hlcMs() {
        const slotMs = machine.#slot?.hlc.ms ?? 0;
        return Math.max(machine.#nowMs, slotMs + machine.#elapsedMs - machine.#slotAtMs);
      },
      get horizon() {
        return machine.#slot?.horizon ?? hlcZero;
      },
      get isStarting() {
        return machine.#identity?.starting !== false;
      },
      get site() {
        return machine.#identity?.site;
      },
      random: this.#options.random,
      nextExchange: () => {
        this.#nextExchange = (this.#nextExchange % 0xffff_ffff) + 1;
        return this.#nextExchange;
      },
      readyPeers: () => this.#readyPeers(),
      readyPeer: (id) => {
        const peer = this.#peers.get(id);
        return peer?.isReady ? peer : undefined;
      },
      newestCut: () => this.#newestCut(),
      waitingFor: (peer) => this.#questions.waitingFor(peer),
      isStuck: () => this.#isStuck(),
      send: (peer, frame) => this.#outgoing.send(peer, frame),
      malformed: (peer, why) => this.#malformed(peer, why),
      ask: (question: QuestionAsked, taken: AnswerTaken, forPeer?: PeerId) =>
        this.#questions.add(question, taken, forPeer),
      applyRows: (peer, body, lane, done) =>
        this.#applies.rowsCame({ peer: peer.id, lane, body }, this.#elapsedMs, done),
    };
  }
}

function identityOf(key: PeerId, hello: Hello): MemberIdentity {
  const { name, region, zone, incarnation, site } = hello;
  return { key, name, region, zone, incarnation, site };
}
