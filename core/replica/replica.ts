/**
 * A replica: a row store with the clock, the index and the cut around it. It is the store side of the
 * border (`node/border.ts`): it takes the net side's requests and appends replies.
 *
 * Sans-IO like the node machine: `handle` and `tick` are given the wall clock, and `pollTimeout` says when the
 * next `tick` is wanted. The agent's store thread and the simulator run the same one.
 *
 * What it does of its own accord, in slices, one a tick:
 * - What peers sent is applied (`apply-work.ts`).
 * - The index is built after a start (`index-rebuild.ts`).
 * - Questions are answered that take rows, or a scan for them (`store-answers.ts`).
 * - The *cut* follows the time (`cut-aim.ts`). Making one takes slices too, after a second of many changes.
 *
 * Remote stamps too far ahead of the fleet's time are refused (`drift.ts`). What this host stamped while its
 * own clock was far ahead is never sent, and stamped anew once the clock is right (`stamps-ahead.ts`).
 *
 * @module
 */

import { type Changeset, encodeChangeset, type Lane, withLane } from "../change/changeset.ts";
import type { TableShape } from "../change/hello.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import { type Hlc, hlcZero, type Site } from "../clock/stamp.ts";
import { slotMs } from "../index/clock-part.ts";
import { type RecentRowsOptions, recentRowsDefaults } from "../index/recent-rows.ts";
import { RowIndex } from "../index/row-index.ts";
import { cutAt } from "../index/settled-image.ts";
import {
  isAppliedAtOnce,
  type MemberRow,
  type PeerId,
  type SlotReport,
  type StoreReply,
  type StoreRequest,
} from "../node/border.ts";
import type { Digester } from "../row/digest.ts";
import type { MergedRow, RowRef, RowStore } from "../row-store.ts";
import { type ApplyHost, ApplyWork } from "./apply-work.ts";
import { cutToAimAt, nextCutMs } from "./cut-aim.ts";
import { DeferredRequests, isWrite } from "./deferred-requests.ts";
import { Drift, type LocalWrites } from "./drift.ts";
import { IndexRebuild, type IndexRebuildOptions, indexRebuildDefaults } from "./index-rebuild.ts";
import { type Pace, RowPace } from "./pace.ts";
import { LagSamples, type ReplicaStatus } from "./replica-status.ts";
import { restampMs } from "./restamp.ts";
import { type RowAnswersOptions, rowAnswersDefaults } from "./row-answers.ts";
import { StampsAhead } from "./stamps-ahead.ts";
import { StoreAnswers } from "./store-answers.ts";
import { TooLargeRows } from "./too-large-rows.ts";

export interface ReplicaOptions extends RowAnswersOptions, IndexRebuildOptions {
  /** These two as of {@link Drift}. */
  readonly clockFloorMs: number;
  readonly standsAlone: boolean;
  /** Rows of one slice of a merge, where nothing else says how long one is. */
  readonly sliceRows: number;
  /** A changeset from this size on is worked on before its transaction begins (`prepared-merge.ts`). */
  readonly preparedBytesMin: number;
  readonly recentRows: RecentRowsOptions;
}

export const replicaDefaults: ReplicaOptions = {
  clockFloorMs: 0,
  standsAlone: false,
  ...rowAnswersDefaults,
  ...indexRebuildDefaults,
  sliceRows: 1000,
  preparedBytesMin: 256 * 1024,
  recentRows: recentRowsDefaults,
};

export interface ReplicaParts {
  readonly store: RowStore;
  /** The store thread's one clock: it issues the stamps of local commits, and what is applied enters it. */
  readonly clock: HlcClock;
  readonly digester: Digester;
  readonly schema: readonly TableShape[];
  /** Takes rows of `patina_members`, which is a local table and none of the index's business. */
  readonly onMembers?: (rows: readonly MemberRow[], parted: readonly PeerId[]) => void;
  /** What stands among the replies may leave before this turn goes on: a local commit before the index takes note of it. */
  readonly onPush?: () => void;
  /** News are being told, and no transaction may be open for that: a large one begins a little later. */
  readonly isTelling?: () => boolean;
  /** Sites that this file wrote as, the clock's own among them; that one alone unless told. */
  readonly isOwnSite?: (site: Site) => boolean;
  /** How long a slice of a merge is, or of making a cut; by rows unless told. */
  readonly pace?: Pace;
  readonly options?: Partial<ReplicaOptions>;
}

/** A large transaction doesn't wait longer for others' news to be told. */
const tellingMsMax = 50;

/** Whose rows were merged. */
export type MergeOrigin = PeerId | "local";

export type MergedListener = (
  rows: readonly MergedRow[],
  lane: Lane,
  origin: MergeOrigin,
  nowMs: number,
) => void;

export class Replica {
  readonly #store: RowStore;
  readonly #clock: HlcClock;
  readonly #digester: Digester;
  readonly #onMembers: ReplicaParts["onMembers"];
  readonly #onPush: ReplicaParts["onPush"];
  readonly #isTelling: ReplicaParts["isTelling"];
  readonly #isOwnSite: (site: Site) => boolean;
  readonly #options: ReplicaOptions;
  readonly #listeners: MergedListener[] = [];
  #schema: readonly TableShape[];

  #index: RowIndex | undefined;
  #rebuild: IndexRebuild | undefined;
  #answers: StoreAnswers | undefined;
  /** Each start and each schema is a life of its own: positions in the store are good no longer. */
  #nextLife = 0;

  #nowMs = 0;

  readonly #drift: Drift;
  readonly #ahead: StampsAhead;
  readonly #lag = new LagSamples();
  readonly #pace: Pace;
  readonly #work: ApplyWork;
  #isWorkTurn = false;
  /** Since when a large transaction waits for that. */
  #tellingSinceMs: number | undefined;
  readonly #deferred = new DeferredRequests();
  #driftWarnings = 0;
  #conflicts = 0;
  #lastConflict: RowRef | undefined;
  #storeError: string | undefined;
  readonly #tooLarge = new TooLargeRows();

  constructor(parts: ReplicaParts) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#digester = parts.digester;
    this.#schema = parts.schema;
    this.#onMembers = parts.onMembers;
    this.#onPush = parts.onPush;
    this.#isTelling = parts.isTelling;
    this.#isOwnSite = parts.isOwnSite ?? ((site) => site === parts.clock.site);
    this.#options = { ...replicaDefaults, ...parts.options };
    this.#drift = new Drift(this.#options.clockFloorMs, this.#options.standsAlone);
    this.#pace = parts.pace ?? new RowPace(this.#options.sliceRows);
    this.#ahead = new StampsAhead({
      ...{ store: this.#store, clock: this.#clock, digester: this.#digester },
      ...{ drift: this.#drift, pace: this.#pace, isOwnSite: this.#isOwnSite },
      trying: this.#trying,
    });
    const { preparedBytesMin } = this.#options;
    this.#work = new ApplyWork(this.#applyHost(), this.#pace, preparedBytesMin);
  }

  /** Calls `listener` after each transaction that merged or committed rows, in order. */
  onMerged(listener: MergedListener): void {
    this.#listeners.push(listener);
  }

  /**
   * Begins: announces the store, and does the first slice of what a start has to do. Again: what the store holds became
   * another without a merge. Questions under way are ended.
   */
  start(nowMs: number, replies: StoreReply[]): void {
    this.#ahead.forget();
    this.#beginIndex(nowMs, replies);
    // The peers can be greeted meanwhile.
    this.#onPush?.();
    this.#startSlice(nowMs, replies);
  }

  #beginIndex(nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    this.#work.abandon();
    this.#answers?.end(replies, this.#nextLife++);
    const [store, digester, trying] = [this.#store, this.#digester, this.#trying];
    const [cut, { recentRows }] = [cutAt(this.#clock.read(nowMs).ms), this.#options];
    const index = new RowIndex(digester, cut, recentRows);
    this.#index = index;
    const rebuild = new IndexRebuild({
      ...{ store, index, options: this.#options, pace: this.#pace, trying },
      sinceMs: nowMs - recentRows.keepMs,
      onStamp: (ms, count, metMs) => this.#met(ms, count, metMs),
    });
    this.#rebuild = rebuild;
    this.#answers = new StoreAnswers(
      {
        ...{ store, index, rebuild, digester, ahead: this.#ahead },
        indexOptions: { site: this.#clock.site, isOwnSite: this.#isOwnSite },
        ...{ rowOptions: this.#options, trying },
      },
      this.#nextLife++,
    );
    this.announce(replies);
  }

  /**
   * Tells the net side what it has to know, also a net thread that was started again.
   *
   * Never that the index is built while what it last heard is a part of the rows: it would compare that with a peer at once, and
   * have everything streamed that is here.
   */
  announce(replies: StoreReply[]): void {
    const { isBuilt } = this;
    if (isBuilt) replies.push(this.#slotReport());
    replies.push({
      kind: "identity",
      site: this.#clock.site,
      schema: this.#schema,
      starting: !isBuilt,
    });
    if (!isBuilt) replies.push(this.#slotReport());
  }

  /**
   * The schema became another. Positions of scans are good no more, so questions under way are ended; the
   * index stays, for no clock changed.
   *
   * @param clocksChanged Some did, without a merge: the index is rebuilt.
   */
  changeSchema(
    schema: readonly TableShape[],
    clocksChanged: boolean,
    nowMs: number,
    replies: StoreReply[],
  ): void {
    this.#work.abandon();
    this.#schema = schema;
    this.#ahead.giveUp();
    // It isn't while rows are stamped anew.
    if (clocksChanged || !this.isBuilt) {
      this.start(nowMs, replies);
      return;
    }
    this.#answers?.end(replies, this.#nextLife++);
    this.announce(replies);
  }

  /** Rows stamped before this, in ms, have one image at all cuts that can be asked for; none while starting. */
  get settledMs(): number {
    return this.isBuilt ? (this.#index?.image.oldestCut ?? 0) * slotMs : Number.NEGATIVE_INFINITY;
  }

  /** A scrub took clocks of settled rows away: peers will see that, and repair it. */
  scrubbed(merged: readonly MergedRow[], nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    this.#take(merged, 2, "local", nowMs);
    this.#advance(nowMs, replies);
  }

  /** Whether this host's clock may stamp writes. */
  localWrites(nowMs: number = this.#nowMs): LocalWrites {
    return this.#drift.localWrites(nowMs);
  }

  /**
   * Takes one request. Never throws on what a peer sent; a failed write of the store is reported. What isn't
   * urgent, or is really large, is applied in slices: the first at once, the others by {@link tick}.
   */
  handle(request: StoreRequest, nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    if (request.kind === "apply" && !isAppliedAtOnce(request)) {
      this.#work.push(request);
      if (!this.#work.isBusy) this.#workSlice(nowMs, replies);
      return;
    }
    if (request.kind !== "peers" && this.#work.isBusy) {
      // Whoever waits goes first.
      if (!isWrite(request) || this.#deferred.hasWrites || !this.#work.claim()) {
        this.#deferred.push(request);
        return;
      }
    }
    this.#handleNow(request, nowMs, replies);
  }

  #handleNow(request: StoreRequest, nowMs: number, replies: StoreReply[]): void {
    switch (request.kind) {
      case "members":
        this.#onMembers?.(request.rows, request.parted ?? []);
        return;
      case "peers":
        this.#drift.setOffsets(request.offsetsMs, request.count, nowMs);
        this.#ahead.heard(this.#drift.ofSetClocks(request.offsetsMs, nowMs), nowMs);
        this.#ahead.beginWhenDue(this.isBuilt, nowMs);
        if (this.#hasCutRunAhead(nowMs)) this.start(nowMs, replies);
        return;
      case "apply":
        this.#work.now(request, replies);
        this.#advance(nowMs, replies);
        return;
      default:
        if (this.#answers !== undefined) this.#answers.answer(request, nowMs, replies);
        else replies.push({ kind: "unavailable", ticket: request.ticket, why: "starting" });
    }
  }

  /** What peers sent is being applied: nothing may be asked of the store. See {@link claim} and {@link isOpen}. */
  get isBusy(): boolean {
    return this.#work.isBusy;
  }

  /** A transaction of it is open: nothing else may be written. */
  get isOpen(): boolean {
    return this.#work.isOpen;
  }

  /** Rows of a large changeset are kept in memory. */
  get keepsMany(): boolean {
    return this.#work.hasPrepared;
  }

  /** Makes the store free for a transaction of somebody else's, if that may be: see `apply-work.ts`. */
  claim(): boolean {
    return this.#work.claim();
  }

  /** Makes it free in any case; what was being applied begins again later. */
  abandon(): void {
    this.#work.abandon();
  }

  /**
   * A local transaction was committed by the store.
   *
   * @param commit As the store returned it. Its stamp is of this replica's clock.
   */
  committed(
    commit: {
      readonly merged: readonly MergedRow[];
      readonly changeset: Changeset | undefined;
      /** The changeset's bytes, if they were made already. */
      readonly encoded?: Uint8Array | undefined;
      /** The changeset's own unless told otherwise. */
      readonly lane?: Lane;
    },
    nowMs: number,
    replies: StoreReply[],
  ): void {
    this.#nowMs = nowMs;
    const { merged, changeset, encoded } = commit;
    if (changeset === undefined) return;
    const lane = commit.lane ?? changeset.lane;
    this.#ahead.committed(merged);
    if (changeset.stamp.ms <= this.#ahead.sentMsMax(nowMs)) {
      this.#push(changeset, lane, encoded ?? encodeChangeset(changeset), replies);
      this.#onPush?.();
    }
    this.#take(merged, lane, "local", nowMs);
    this.#advance(nowMs, replies);
  }

  /** Does one slice of what is due: of work on peers' changes, of the cut, of the rebuild or of a scan. */
  tick(nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    const index = this.#index;
    if (index === undefined) return;
    this.#aim(nowMs);
    index.recent.expire(nowMs);
    const { isBusy } = this.#work;
    // Work and the rest take turns, where there is any.
    this.#isWorkTurn = !this.#isWorkTurn || !this.#hasRest(index, nowMs);
    if (this.#hasWork && this.#isWorkTurn) {
      this.#workSlice(nowMs, replies);
      return;
    }
    if (this.#ahead.isRestamping && !isBusy) {
      this.#restampSlice(nowMs, replies);
    } else if (index.image.hasWork) {
      this.#pace.begin();
      index.image.work((rows) => this.#pace.isOver(rows));
      this.#reportChange(replies);
    } else if (!isBusy) {
      if (!this.isBuilt) this.#startSlice(nowMs, replies);
      if (this.isBuilt || this.#answers?.isSending) this.#answers?.tick(nowMs, replies);
      this.#reportChange(replies);
    }
  }

  /** Peers' changes, or what waited for them: an urgent change, or whoever had to have the store, may have ended the last of them. */
  get #hasWork(): boolean {
    return this.#work.hasWork || !this.#deferred.isEmpty;
  }

  /** Something other than work on peers' changes is due. Of that, only the cut does nothing with the store. */
  #hasRest({ image }: RowIndex, nowMs: number): boolean {
    if (image.hasWork) return true;
    if (this.#work.isBusy) return false;
    if (this.#ahead.isRestamping) return true;
    const waits = this.isBuilt ? this.#answers : this.#rebuild;
    const dueMs = waits?.dueMs(nowMs) ?? nowMs;
    return dueMs <= nowMs || this.#answers?.isSending === true;
  }

  /** Wall clock in ms at which `tick` is wanted; a time in the past means as soon as others had a turn. */
  pollTimeout(): number {
    if (this.#index === undefined) return Number.POSITIVE_INFINITY;
    if (this.#hasWork || this.hasOwnWork) return this.#nowMs;
    const nowMs = this.#nowMs;
    if (!this.isBuilt) return Math.max(nowMs, this.#rebuild?.dueMs(nowMs) ?? nowMs);
    const rowsDueMs = Math.max(nowMs, this.#answers?.dueMs(nowMs) ?? Number.POSITIVE_INFINITY);
    return Math.min(nextCutMs(this.#index.image.cut), rowsDueMs);
  }

  /**
   * A cut is being made, rows are stamped anew, or a large changeset is being prepared: that wants ticks even while one
   * request follows the other.
   */
  get hasOwnWork(): boolean {
    const { isPreparing } = this.#work;
    return isPreparing || this.#index?.image.hasWork === true || this.#ahead.isRestamping;
  }

  /** Ticks write into the store: what peers sent waits, or rows are stamped anew. */
  get writes(): boolean {
    return this.#work.hasWork || this.#ahead.isRestamping;
  }

  /** The index knows every row: questions are answered. */
  get isBuilt(): boolean {
    return this.#index?.isBuilt === true;
  }

  status(): ReplicaStatus {
    const index = this.#index;
    return {
      starting: !this.isBuilt,
      rows: index?.live.rows(0, 0) ?? 0,
      cut: this.isBuilt ? (index?.image.cut ?? 0) : 0,
      roots: this.isBuilt ? (index?.image.roots() ?? []) : [],
      hlc: this.#clock.read(this.#nowMs),
      lagMs: this.#lag.summary(),
      refused: {
        malformed: this.#work.malformed,
        ahead: this.#work.ahead,
        storeFailed: this.#work.storeFailed,
      },
      driftWarnings: this.#driftWarnings,
      conflicts: this.#conflicts,
      lastConflict: this.#lastConflict,
      clock: {
        peers: this.#drift.peers,
        medianOffsetMs: this.#drift.medianOffsetMs,
        outlier: this.localWrites().kind === "refused",
        unset: this.#drift.isUnset(this.#nowMs),
        restampedRows: this.#ahead.restampedRows,
        heldBackMs: Math.floor(this.#ahead.heldBackMs(this.#nowMs)),
      },
      storeError: this.#storeError ?? this.#tooLarge.why(this.#nowMs),
      recentRows: index?.recent.size ?? 0,
      touchedRows: index?.image.touchedRows ?? 0,
      rowQuestions: this.#answers?.open ?? 0,
    };
  }

  // ---- Applying ---------------------------------------------------------------------------------

  /** What the work on peers' changes has of this replica. */
  #applyHost(): ApplyHost {
    return {
      limitMs: () => this.#drift.limitMs(this.#nowMs),
      aheadText: (stampMs) => this.#drift.aheadText(stampMs, this.#nowMs),
      begin: () => this.#store.beginMerge(),
      prepare: () => this.#store.prepareMerge(),
      mayBegin: () => this.#mayBegin(),
      failed: (error) => this.#failed(error),
      committed: ({ request, merged, latest, stamps }) => {
        this.#storeError = undefined;
        this.#follow(latest, this.#nowMs);
        this.#ahead.observe(latest);
        for (const { ms } of stamps) {
          this.#lag.add(this.#nowMs - ms);
          if (this.#drift.isWarning(ms, this.#nowMs)) this.#driftWarnings++;
        }
        // Whoever waits for the news hears of it before the index does, which nobody waits for.
        this.#tell(merged, request.lane, request.peer, this.#nowMs);
      },
      take: (merged, from, to, lane) => this.#takeRows(merged, from, to, lane, this.#nowMs),
    };
  }

  #mayBegin(): boolean {
    if (this.#isTelling?.() === true) {
      this.#tellingSinceMs ??= this.#nowMs;
      if (Math.abs(this.#nowMs - this.#tellingSinceMs) < tellingMsMax) return false;
    }
    this.#tellingSinceMs = undefined;
    return true;
  }

  /** One slice of what waits to be applied, and then what waited for the store. */
  #workSlice(nowMs: number, replies: StoreReply[]): void {
    this.#work.slice(replies);
    this.#handleDeferred(nowMs, replies);
    this.#advance(nowMs, replies);
  }

  #handleDeferred(nowMs: number, replies: StoreReply[]): void {
    while (this.#deferred.hasWrites && this.#work.claim()) {
      this.#handleNow(this.#deferred.nextWrite() as StoreRequest, nowMs, replies);
    }
    while (!this.#work.isBusy) {
      const request = this.#deferred.nextQuestion();
      if (request === undefined) return;
      this.#handleNow(request, nowMs, replies);
    }
  }

  #take(merged: readonly MergedRow[], lane: Lane, origin: MergeOrigin, nowMs: number): void {
    // Whoever waits for the news hears of it before the index does, which nobody waits for.
    this.#tell(merged, lane, origin, nowMs);
    if (this.#work.isTaking) this.#work.takeLater(merged, lane, nowMs);
    else this.#takeRows(merged, 0, merged.length, lane, nowMs);
  }

  #tell(merged: readonly MergedRow[], lane: Lane, origin: MergeOrigin, nowMs: number): void {
    for (const listener of this.#listeners) listener(merged, lane, origin, nowMs);
  }

  #takeRows(
    merged: readonly MergedRow[],
    from: number,
    to: number,
    lane: Lane,
    nowMs: number,
  ): void {
    this.#index?.mergedAll(merged, from, to, lane === 0, this.#isScanned, nowMs);
    for (let at = from; at < to; at++) {
      const row = merged[at] as MergedRow;
      if (!row.conflict) continue;
      this.#conflicts++;
      this.#lastConflict = { table: row.table, key: row.key };
    }
  }

  #push({ stamp }: Changeset, lane: Lane, encoded: Uint8Array, replies: StoreReply[]): void {
    replies.push({ kind: "commit", stamp, lane, changeset: withLane(encoded, lane) });
  }

  #restampSlice(nowMs: number, replies: StoreReply[]): void {
    const told: Changeset[] = [];
    const step = this.#ahead.slice(nowMs, told);
    for (const changeset of told) {
      this.#push(changeset, changeset.lane, encodeChangeset(changeset), replies);
    }
    // Nothing is compared with peers until the index is built anew.
    if (step === "begins") this.#beginIndex(nowMs, replies);
    // The cut had run ahead with the clock.
    if (step === "ends") this.start(nowMs, replies);
  }

  // ---- Time -------------------------------------------------------------------------------------

  /** The cut follows the time, in slices ({@link tick}). What changed at cuts made already is told at once. */
  #advance(nowMs: number, replies: StoreReply[]): void {
    this.#aim(nowMs);
    this.#reportChange(replies);
  }

  #aim(nowMs: number): void {
    const index = this.#index;
    if (index === undefined) return;
    const oldestMs = Math.min(this.#work.oldestMs, this.#deferred.oldestMs);
    const hlcMs = this.#clock.read(nowMs).ms;
    index.image.aim(cutToAimAt(hlcMs, index.image.cut, oldestMs));
  }

  /**
   * This host's clock was far ahead and has been set, and nothing that is held is stamped so. A cut knows no way back, and until
   * the time had come to it this node would agree with nobody.
   */
  #hasCutRunAhead(nowMs: number): boolean {
    const index = this.#index;
    if (index === undefined || this.#ahead.isRestamping) return false;
    return index.image.cut > cutAt(this.#clock.read(nowMs).ms) + restampMs / slotMs;
  }

  #reportChange(replies: StoreReply[]): void {
    const index = this.#index;
    if (index?.isBuilt === true && index.image.takeChanged()) replies.push(this.#slotReport());
  }

  #slotReport(): { readonly kind: "slot" } & SlotReport {
    const index = this.#index;
    const built = index?.isBuilt === true;
    return {
      kind: "slot",
      cut: built ? index.image.cut : 0,
      roots: built ? index.image.roots() : [],
      live: {
        rows: index?.live.rows(0, 0) ?? 0,
        fingerprint: index?.live.fingerprint(0, 0) ?? "0".repeat(32),
      },
      horizon: hlcZero,
      hlc: this.#clock.read(this.#nowMs),
    };
  }

  // ---- Rebuild ----------------------------------------------------------------------------------

  /** While rebuilding: the scan had passed the row's place before it changed. */
  readonly #isScanned = (row: MergedRow): boolean => this.#rebuild?.isScanned(row) === true;

  /** What is recent first, for others wait for it; then the index. */
  #startSlice(nowMs: number, replies: StoreReply[]): void {
    if (this.#ahead.isWriting) return;
    if (this.#rebuild?.slice(nowMs) === true) this.announce(replies);
  }

  /** A stamp that is kept. It was given before now, unless some clock was wrong; that one isn't followed. */
  #met(ms: number, count: number, nowMs: number): void {
    this.#ahead.met(ms);
    const { last } = this.#clock;
    if (ms < last.ms || (ms === last.ms && count <= last.count)) return;
    this.#follow({ ms, count }, nowMs);
  }

  #follow(hlc: Hlc, nowMs: number): void {
    if (hlc.ms <= this.#drift.followedMsMax(nowMs)) this.#clock.observe(hlc);
  }

  // ---- Failures -----------------------------------------------------------------------------------

  /** Does something with the store; undefined when it failed, and then `storeError` says why. */
  readonly #trying = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  };

  #failed(error: unknown): string {
    const why = `store: ${error instanceof Error ? error.message : String(error)}`;
    this.#storeError = why;
    this.#tooLarge.note(error, why, this.#nowMs);
    return why;
  }
}
