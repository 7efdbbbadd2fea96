/**
 * The link: how the store thread holds the net thread.
 *
 * What passes is plain data (`messages.ts`); how, `net-carrier.ts` knows. A net thread that dies, by an error or a
 * `close` that nobody asked for, or hangs, is reported and started again on the same port and key. Nothing is lost by
 * that:
 *
 * - the new one is told the store's identity and last slot, whom the old one saw, and where it met its neighbours (a
 *   bootstrap may be down);
 * - replies to the dead one's tickets are dropped;
 * - a node machine begins with the recent rows, which hold the commits that were on their way.
 *
 * A thread that hangs without dying is found by a question that it doesn't answer. The wait is counted in
 * turns of this thread's own event loop: after a long statement the answer may already lie there unread. One that was
 * started again and doesn't come to listen is ended, too.
 *
 * The order of messages is kept each way. They are gathered until the current task ends and posted
 * together. Only an urgent commit leaves at once and overtakes what waits, also what was posted and the net
 * thread hasn't taken up yet: while a host writes in bulk and its cores are busy that is ten messages and 20 ms. It
 * may, for its stamp is its own: peers apply changesets in any order, and no cut is told before what is in it.
 * The store's identity leaves at once, with what waits before it.
 *
 * @module
 */

import { assert, unreachable } from "../../core/assert.ts";
import type {
  MemberRow,
  PeerId,
  StoreReply,
  StoreRequest,
  Ticket,
} from "../../core/node/border.ts";
import type { NetAnswer, NetMessage, NetOptions, NetQuestion, NetReport } from "./messages.ts";
import {
  type NetCarrier,
  type NetCarrierHooks,
  type StartCarrier,
  startWorker,
} from "./net-carrier.ts";

export interface NetLink {
  /** Never throws; after `stop` nothing happens. What `reply` holds must not change later. */
  post(reply: StoreReply): void;
  onRequest(listener: (request: StoreRequest) => void): void;
  onReport(listener: (report: NetReport) => void): void;
  /** `unavailable` while the net thread is down, or if it doesn't answer in 2 s. */
  ask(question: NetQuestion): Promise<NetAnswer>;
  /**
   * Tells the peers that this node goes, until `untilMs` (0: not coming back soon), unannounces, closes.
   * Resolves in any case within 3 s.
   */
  stop(untilMs: number, reason: string): Promise<void>;
}

/** Waits before the net thread is started again: the first at once, while crashes follow each other. */
const restartsMs = [0, 250, 1000, 5000, 10_000] as const;
/** A net thread that lived so long was sound: the waits begin anew. */
const soundMs = 30_000;
const askMs = 2000;
/** Neighbours whose addresses the next net thread is told: as many as a node has. */
const rememberedMax = 12;

/** When a net thread is taken to hang: after `silentTurnsMax * turnMs` without an answer. */
export interface HangWatch {
  readonly turnMs: number;
  readonly silentTurnsMax: number;
  /** From a new start until it listens: loading may take long on a busy host. */
  readonly startMsMax: number;
}

/** Ten seconds: peers give a silent node up after some twelve. */
const hangWatchDefault: HangWatch = { turnMs: 2000, silentTurnsMax: 5, startMsMax: 60_000 };
const stopMs = 2500;

/** Starts the net thread and keeps it running until `stop`. The first report is `listening` or `failed`. */
export function startNet(
  options: NetOptions,
  startCarrier: StartCarrier = startWorker,
  hangWatch: HangWatch = hangWatchDefault,
): NetLink {
  return new RestartingLink(options, startCarrier, hangWatch);
}

/** A request that waits for its reply, of the net thread that is alive. */
interface Outstanding {
  readonly life: number;
  /** As the net thread numbered it. */
  readonly ticket: Ticket;
}

interface Question {
  readonly resolve: (answer: NetAnswer) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

class RestartingLink implements NetLink {
  readonly #startCarrier: StartCarrier;
  #options: NetOptions;
  #carrier: NetCarrier | undefined;
  /** Counts the net threads. */
  #life = 0;
  /** By the monotonic clock. */
  #startedMs = 0;
  /** Crashes in a row. */
  #crashes = 0;
  #restarts = 0;
  #restartTimer: ReturnType<typeof setTimeout> | undefined;
  #hasListened = false;
  #isEnded = false;
  #stopped: (() => void) | undefined;
  #stopping: Promise<void> | undefined;
  readonly #requestListeners: ((request: StoreRequest) => void)[] = [];
  readonly #reportListeners: ((report: NetReport) => void)[] = [];
  /** What came before anybody listened. */
  #early: NetMessage[] = [];
  readonly #outstanding = new Map<Ticket, Outstanding>();
  #nextTicket: Ticket = 1;
  /** Told to each new net thread, in this order. */
  #identity: StoreReply | undefined;
  #slot: StoreReply | undefined;
  /** As the store was told, by node: the next net thread answers for these rows. */
  readonly #members = new Map<string, MemberRow>();
  /** Where neighbours were met, the latest last. */
  readonly #met = new Map<PeerId, string>();
  #replies: StoreReply[] = [];
  readonly #questions = new Map<number, Question>();
  #nextQuestion = 1;
  readonly #hangWatch: HangWatch;
  #watchTimer: ReturnType<typeof setTimeout> | undefined;
  /** Turns since a ping that wasn't answered yet; undefined: none is open. */
  #silentTurns: number | undefined;

  constructor(options: NetOptions, startCarrier: StartCarrier, hangWatch: HangWatch) {
    this.#options = options;
    this.#startCarrier = startCarrier;
    this.#hangWatch = hangWatch;
    this.#start();
  }

  post(reply: StoreReply): void {
    if (this.#isEnded) return;
    if (reply.kind === "identity") this.#identity = reply;
    else if (reply.kind === "slot") this.#slot = reply;
    const renumbered = this.#renumber(reply);
    // Without a net thread there is nobody to push a commit: the next one's recent exchange brings it.
    if (renumbered === undefined || this.#carrier === undefined) return;
    if (reply.kind === "commit" && reply.lane === 0) {
      const transfer: ArrayBuffer[] = [];
      const replies = [detached(renumbered, transfer)];
      this.#carrier.postUrgent({ kind: "replies", replies }, transfer);
      return;
    }
    this.#replies.push(renumbered);
    // Peers can be greeted while the store begins its work.
    if (reply.kind === "identity") this.#postReplies();
    else if (this.#replies.length === 1) queueMicrotask(() => this.#postReplies());
  }

  onRequest(listener: (request: StoreRequest) => void): void {
    this.#requestListeners.push(listener);
    this.#deliverEarly();
  }

  onReport(listener: (report: NetReport) => void): void {
    this.#reportListeners.push(listener);
    this.#deliverEarly();
  }

  ask(question: NetQuestion): Promise<NetAnswer> {
    const carrier = this.#carrier;
    if (carrier === undefined) {
      return Promise.resolve({ kind: "unavailable", why: "the net thread is down" });
    }
    const id = this.#nextQuestion++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#questions.delete(id);
        resolve({ kind: "unavailable", why: "the net thread doesn't answer" });
      }, askMs);
      this.#questions.set(id, { resolve, timer });
      carrier.post({ kind: "ask", id, question }, []);
    });
  }

  stop(untilMs: number, reason: string): Promise<void> {
    this.#stopping ??= this.#stop(untilMs, reason);
    return this.#stopping;
  }

  async #stop(untilMs: number, reason: string): Promise<void> {
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#watchTimer);
    this.#postReplies();
    this.#isEnded = true;
    const carrier = this.#carrier;
    if (carrier === undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, stopMs);
      this.#stopped = () => {
        clearTimeout(timer);
        resolve();
      };
      carrier.post({ kind: "stop", untilMs, reason }, []);
    });
    this.#carrier = undefined;
    this.#failQuestions("the net thread has stopped");
    await carrier.end();
  }

  #start(): void {
    const life = ++this.#life;
    this.#startedMs = performance.now();
    const isOld = () => life !== this.#life;
    const hooks: NetCarrierHooks = {
      onMessage: (message) => {
        if (!isOld()) this.#onMessage(message);
      },
      onEnd: (why) => {
        if (!isOld()) this.#onEnd(why);
      },
    };
    let carrier: NetCarrier;
    try {
      carrier = this.#startCarrier(hooks, this.#options);
    } catch (error) {
      // The system gives no thread (a limit on them, no memory): as if it had died at once.
      queueMicrotask(() => hooks.onEnd((error as Error).message));
      return;
    }
    this.#carrier = carrier;
    carrier.post({ kind: "start", options: this.#optionsNow() }, []);
    const replies = [this.#identity, this.#slot].filter((reply) => reply !== undefined);
    if (replies.length > 0) carrier.post({ kind: "replies", replies }, []);
    if (this.#hasListened) this.#watchStart();
  }

  /** The first start is watched by whoever waits for it. */
  #watchStart(): void {
    const { startMsMax } = this.#hangWatch;
    this.#watchTimer = setTimeout(
      () => this.#onEnd(`it didn't listen within ${startMsMax / 1000} s`),
      startMsMax,
    );
  }

  /** With what the net threads before this one have told. */
  #optionsNow(): NetOptions {
    const { remembered = [], ...options } = this.#options;
    const met = [...this.#met].reverse().map(([peer, address]) => `${peer}@${address}`);
    const others = remembered.filter((one) => !this.#met.has(one.split("@")[0] as PeerId));
    const known = [...met, ...others].slice(0, Math.max(rememberedMax, remembered.length));
    const recalled = [...this.#members.values()];
    return {
      ...options,
      ...(known.length > 0 ? { remembered: known } : {}),
      ...(recalled.length > 0 ? { recalled } : {}),
    };
  }

  #onMessage(message: NetMessage): void {
    switch (message.kind) {
      case "requests":
        if (this.#requestListeners.length === 0) this.#early.push(message);
        else for (const request of message.requests) this.#onRequest(request);
        return;
      case "report":
        this.#onReport(message.report);
        return;
      case "answer": {
        const question = this.#questions.get(message.id);
        if (question === undefined) return;
        this.#questions.delete(message.id);
        clearTimeout(question.timer);
        const { answer } = message;
        question.resolve("peers" in answer ? { ...answer, restarts: this.#restarts } : answer);
        return;
      }
      case "alive":
        this.#silentTurns = undefined;
        return;
      case "stopped":
        this.#stopped?.();
        return;
      default:
        unreachable(message);
    }
  }

  #onRequest(request: StoreRequest): void {
    // While it stops, the store may be closed already.
    if (this.#isEnded) return;
    if (request.kind === "members") this.#noteMembers(request);
    let renumbered = request;
    if ("ticket" in request) {
      const ticket = this.#nextTicket++;
      this.#outstanding.set(ticket, { life: this.#life, ticket: request.ticket });
      renumbered = { ...request, ticket };
    }
    for (const listener of this.#requestListeners) listener(renumbered);
  }

  #noteMembers({ rows, parted = [] }: Extract<StoreRequest, { kind: "members" }>): void {
    for (const [node, { key }] of this.#members) {
      if (parted.includes(key)) this.#members.delete(node);
    }
    for (const row of rows) this.#members.set(row.node, row);
  }

  /** As the net thread knows it; undefined for a reply to one that died. */
  #renumber(reply: StoreReply): StoreReply | undefined {
    if (!("ticket" in reply)) return reply;
    const outstanding = this.#outstanding.get(reply.ticket);
    assert(outstanding !== undefined, `a ticket that is open, got ${reply.ticket}`);
    const isLast = reply.kind !== "rows" || reply.last;
    if (isLast) this.#outstanding.delete(reply.ticket);
    if (outstanding.life !== this.#life) return undefined;
    return { ...reply, ticket: outstanding.ticket };
  }

  #postReplies(): void {
    const replies = this.#replies;
    this.#replies = [];
    if (replies.length === 0 || this.#carrier === undefined) return;
    const transfer: ArrayBuffer[] = [];
    this.#carrier.post(
      { kind: "replies", replies: replies.map((reply) => detached(reply, transfer)) },
      transfer,
    );
  }

  #onReport(report: NetReport): void {
    if (report.kind === "listening") {
      this.#hasListened = true;
      this.#watchLater();
      // The port of this run is kept, whatever was asked for. A bootstrap's is fixed anyway.
      if (!this.#options.isBootstrap) this.#options = { ...this.#options, port: report.port };
    }
    if (report.kind === "connected" && report.address !== "") {
      this.#met.delete(report.peer);
      this.#met.set(report.peer, report.address);
      const [eldest] = this.#met.keys();
      if (this.#met.size > rememberedMax) this.#met.delete(eldest as PeerId);
    }
    if (report.kind === "failed" && this.#hasListened) {
      // It has run before, so this may pass: a port that isn't free yet.
      this.#onEnd(report.why);
      return;
    }
    if (report.kind === "failed") this.#fail(report.why);
    else this.#report(report);
  }

  /** From `listening` on. */
  #watchLater(): void {
    if (this.#isEnded) return;
    const { turnMs, silentTurnsMax } = this.#hangWatch;
    clearTimeout(this.#watchTimer);
    this.#watchTimer = setTimeout(() => {
      if (this.#silentTurns === undefined) {
        this.#silentTurns = 0;
        this.#carrier?.post({ kind: "ping" }, []);
      } else if (++this.#silentTurns >= silentTurnsMax) {
        this.#onEnd(`it didn't answer for ${(turnMs * silentTurnsMax) / 1000} s`);
        return;
      }
      this.#watchLater();
    }, turnMs);
  }

  #fail(why: string): void {
    this.#isEnded = true;
    clearTimeout(this.#watchTimer);
    void this.#carrier?.end();
    this.#carrier = undefined;
    this.#failQuestions(why);
    this.#report({ kind: "failed", why });
  }

  #report(report: NetReport): void {
    if (this.#reportListeners.length === 0) this.#early.push({ kind: "report", report });
    for (const listener of this.#reportListeners) listener(report);
  }

  #deliverEarly(): void {
    const early = this.#early;
    this.#early = [];
    for (const message of early) {
      if (message.kind === "report") this.#report(message.report);
      else this.#onMessage(message);
    }
  }

  #onEnd(why: string): void {
    const carrier = this.#carrier;
    this.#carrier = undefined;
    this.#life++;
    this.#replies = [];
    clearTimeout(this.#watchTimer);
    this.#silentTurns = undefined;
    const ended = carrier?.end();
    this.#failQuestions("the net thread died");
    if (this.#isEnded) {
      this.#stopped?.();
      return;
    }
    // What never ran won't by being tried again.
    if (!this.#hasListened) {
      this.#fail(why);
      return;
    }
    if (performance.now() - this.#startedMs > soundMs) this.#crashes = 0;
    const restartMs = restartsMs[Math.min(this.#crashes, restartsMs.length - 1)] as number;
    this.#crashes++;
    this.#restarts++;
    this.#report({ kind: "crashed", why, restartMs });
    void Promise.resolve(ended).then(() => {
      if (!this.#isEnded) this.#restartTimer = setTimeout(() => this.#start(), restartMs);
    });
  }

  #failQuestions(why: string): void {
    for (const { resolve, timer } of this.#questions.values()) {
      clearTimeout(timer);
      resolve({ kind: "unavailable", why });
    }
    this.#questions.clear();
  }
}

/** The reply with buffers of its own, listed in `transfer`: a view would take its whole buffer along. */
function detached(reply: StoreReply, transfer: ArrayBuffer[]): StoreReply {
  switch (reply.kind) {
    case "commit": {
      const changeset = new Uint8Array(reply.changeset);
      transfer.push(changeset.buffer);
      return { ...reply, changeset };
    }
    case "rows": {
      const block = new Uint8Array(reply.block);
      transfer.push(block.buffer);
      return { ...reply, block };
    }
    default:
      return reply;
  }
}
