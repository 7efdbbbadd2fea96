/**
 * Whose turn it is on the store thread. Everything ends within its turn of the event loop, but for one thing:
 * a changeset too large for one turn is a transaction that stays open over some (`core/replica/apply-work.ts`).
 * Nobody else may use the connection that writes meanwhile: see {@link StoreTurns.whenFree}.
 *
 * What comes from the net side is done in this order:
 *
 * 1. urgent changesets at once, in the turn in which they arrive, unless they are really large;
 * 2. everything else one request, or one slice of it, a turn, so that HTTP and urgent ones come between; every other
 *    turn is the replica's, while it makes a cut or stamps rows anew;
 * 3. checkpoints, a slice of the rebuild or of a scan, when nothing else waits.
 *
 * There is one timer, for whatever is due next.
 *
 * @module
 */

import { isAppliedAtOnce, type StoreReply, type StoreRequest } from "../../core/node/border.ts";
import type { Replica } from "../../core/replica/replica.ts";
import type { Chores } from "../chores/chores.ts";
import type { WallClock } from "../host/wall-clock.ts";
import type { WalUpkeep } from "../wal/wal-upkeep.ts";
import type { TurnKind, TurnMeter } from "./turn-meter.ts";
import type { TurnPace } from "./turn-pace.ts";

/** What the store thread needs of the link to the net thread. */
export interface StoreLink {
  post(reply: StoreReply): void;
}

export interface StoreTurnsParts {
  readonly replica: Replica;
  readonly clock: WallClock;
  readonly meter: TurnMeter;
  readonly pace: TurnPace;
  /** Collects young garbage. */
  readonly collect: () => void;
  readonly wal: WalUpkeep;
  readonly chores: Chores;
  /** Ends live queries that nobody wants any more. Not called during a merge. */
  readonly sweep: () => void;
}

/** Bulk that doesn't go on for so long has ended. */
const bulkPauseMs = 200;
/** setTimeout fires at once above this. */
const timeoutMsMax = 2 ** 31 - 1;

export class StoreTurns {
  readonly #replica: Replica;
  readonly #clock: WallClock;
  readonly #meter: TurnMeter;
  readonly #pace: TurnPace;
  readonly #collect: () => void;
  readonly #wal: WalUpkeep;
  readonly #chores: Chores;
  readonly #sweep: () => void;
  #link: StoreLink | undefined;
  readonly #waiting: StoreRequest[] = [];
  /** While the WAL begins anew. */
  readonly #urgentHeld: StoreRequest[] = [];
  readonly #replies: StoreReply[] = [];
  #isTurnAsked = false;
  /** The replica's own work has this turn. */
  #isOwnTurn = false;
  #bulkAtMs = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #isStopped = false;
  /** Those who wait for the connection that writes. */
  #waitingForStore: (() => void)[] = [];

  constructor({ replica, clock, meter, pace, collect, wal, chores, sweep }: StoreTurnsParts) {
    this.#replica = replica;
    this.#clock = clock;
    this.#meter = meter;
    this.#pace = pace;
    this.#collect = collect;
    this.#wal = wal;
    this.#chores = chores;
    this.#sweep = sweep;
  }

  /** Begins to rebuild the index. Replies go to `link`; without one they are dropped. */
  start(link: StoreLink | undefined): void {
    this.#link = link;
    this.run((replies, nowMs) => this.#replica.start(nowMs, replies));
  }

  /** From the net thread. Never throws. */
  request(request: StoreRequest): void {
    if (this.#isStopped) return;
    if (isAppliedAtOnce(request) || request.kind === "members" || request.kind === "peers") {
      if (this.#wal.holdsBackUrgent && request.kind !== "peers") this.#urgentHeld.push(request);
      else this.#handle(request);
    } else {
      if (request.kind === "apply" && request.lane === 2) this.#bulkAtMs = performance.now();
      this.#waiting.push(request);
      this.askTurn();
    }
  }

  /** Runs what may append replies, posts them, and sees to it that what is due gets a turn. */
  run(work: (replies: StoreReply[], nowMs: number) => void): void {
    work(this.#replies, this.#clock.nowMs());
    this.afterWork();
  }

  /** Something was written, or may go on: posts what there is to post, and arms the timer. */
  afterWork(): void {
    this.#wal.noteWork();
    this.postReplies();
    this.#arm(this.#clock.nowMs());
  }

  /** At once, where a reply may leave before its turn ends. */
  postReplies(): void {
    if (this.#link !== undefined) for (const reply of this.#replies) this.#link.post(reply);
    this.#replies.length = 0;
  }

  /** A slice of whatever is due is worked in the next turn of the event loop, or after a rest. */
  askTurn(): void {
    if (this.#isTurnAsked || this.#isStopped) return;
    this.#isTurnAsked = true;
    const { wantsRest } = this.#pace;
    const turn = () => {
      this.#isTurnAsked = false;
      if (this.#isStopped) return;
      if (wantsRest && !this.#replica.keepsMany && this.#pace.takeCollection()) {
        this.#pace.during(this.#collect);
        this.#pace.collected();
        this.askTurn();
        return;
      }
      this.#pace.during(() => this.#turn());
    };
    // Others may wait for the end of a transaction.
    if (wantsRest && !this.#replica.isBusy) setTimeout(turn, this.#pace.takeRestMs());
    else setImmediate(turn);
  }

  /**
   * Undefined when the connection that writes is free, now and until the end of this turn; otherwise to be
   * asked again once the promise is kept. Whoever asks may make a merge begin again.
   */
  whenFree(): Promise<void> | undefined {
    if (this.#wal.holdsBackWrites) return this.#whenTold();
    return this.#replica.claim() ? undefined : this.whenNotBusy();
  }

  /** The same without disturbing a merge. */
  whenNotBusy(): Promise<void> | undefined {
    return this.#replica.isOpen ? this.#whenTold() : undefined;
  }

  #whenTold(): Promise<void> {
    return new Promise((resolve) => this.#waitingForStore.push(resolve));
  }

  /** Of a checkpoint, or of what it held back. */
  roundEnded(): void {
    if (!this.#wal.holdsBackUrgent) {
      for (const request of this.#urgentHeld.splice(0)) this.#handle(request);
    }
    this.#tellFree();
    this.askTurn();
  }

  /** The WAL can be copied further, and others may wait for that. */
  loanEnded(): void {
    this.#wal.noteLoanEnded();
    this.askTurn();
  }

  /** The index is being built, or rows come in bulk. */
  get isCatchingUp(): boolean {
    if (!this.#replica.isBuilt || performance.now() - this.#bulkAtMs < bulkPauseMs) return true;
    // What has come may wait, too: for the disk.
    const isBulk = (request: StoreRequest) => request.kind === "apply" && request.lane === 2;
    return this.#replica.writes || this.#waiting.some(isBulk);
  }

  /** Changesets of others that wait here to be applied. */
  get bodiesWaiting(): number {
    let count = 0;
    for (const request of this.#waiting)
      if (request.kind === "apply") count += request.bodies.length;
    return count;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** No turn follows, and requests are dropped. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #handle(request: StoreRequest): void {
    this.#meter.measure(turnKind(request), () =>
      this.#replica.handle(request, this.#clock.nowMs(), this.#replies),
    );
    // Peers' clocks come several times a second, and write nothing.
    if (request.kind !== "peers") this.#wal.noteWork();
    this.postReplies();
    this.#tellFree();
    this.#arm(this.#clock.nowMs());
  }

  /** One slice of whatever is due. */
  #turn(): void {
    // The end of the round asks for a turn.
    if (this.#wal.holdsBack) return;
    if (this.#replica.isBusy) {
      this.#tick();
      this.#wal.checkpointWhenDue();
      this.#arm(this.#clock.nowMs());
      return;
    }
    // A flood of changes keeps neither a cut from being made,
    this.#isOwnTurn = !this.#isOwnTurn && this.#replica.hasOwnWork;
    const request = this.#isOwnTurn ? undefined : this.#waiting.shift();
    if (request !== undefined) this.#handle(request);
    // nor the index from being built: without it nobody hears what is here.
    if (request === undefined || this.#isRebuildDue) this.#tickOrChore();
    this.#wal.checkpointWhenDue();
    this.#arm(this.#clock.nowMs());
  }

  get #isRebuildDue(): boolean {
    return !this.#replica.isBuilt && this.#replica.pollTimeout() <= this.#clock.nowMs();
  }

  #tickOrChore(): void {
    const nowMs = this.#clock.nowMs();
    if (this.#replica.pollTimeout() > nowMs) {
      this.#meter.measure("chore", () => this.#chores.run(nowMs));
      return;
    }
    this.#tick();
    if (!this.#replica.isBusy) this.#sweep();
  }

  #tick(): void {
    if (this.#replica.writes) this.#wal.noteWork();
    this.#meter.measure("tick", () => this.#replica.tick(this.#clock.nowMs(), this.#replies));
    this.postReplies();
    this.#tellFree();
  }

  #tellFree(): void {
    if (this.#waitingForStore.length === 0) return;
    if (this.#replica.isOpen || this.#wal.holdsBackWrites) return;
    const waiting = this.#waitingForStore;
    this.#waitingForStore = [];
    for (const resolve of waiting) resolve();
  }

  #arm(nowMs: number): void {
    if (this.#isStopped || this.#wal.holdsBack) return;
    const dueMs = Math.min(this.#replica.pollTimeout(), this.#chores.dueMs);
    if (this.#waiting.length > 0 || dueMs <= nowMs) {
      this.askTurn();
      return;
    }
    const atMs = Math.min(dueMs, this.#wal.idleAtMs);
    if (this.#timer !== undefined && this.#timerMs <= atMs) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.#timerMs = atMs;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        if (!this.#isStopped) this.#turn();
      },
      Math.min(timeoutMsMax, Math.max(1, Math.ceil(atMs - nowMs))),
    );
  }
}

function turnKind(request: StoreRequest): TurnKind {
  if (request.kind === "members" || request.kind === "peers") return "urgent";
  if (request.kind !== "apply") return "question";
  return isAppliedAtOnce(request) ? "urgent" : "apply";
}
