/**
 * A replica: a row store with the clock, the index and the cut around it. It is the store side of the
 * border (`node/border.ts`): it takes the net side's requests and appends replies.
 *
 * Sans-IO like the node machine: `handle` and `tick` are given the wall clock, and `pollTimeout` says when the
 * next `tick` is wanted. The agent's store thread and the simulator run the same one.
 *
 * What it does of its own accord, in slices, one a tick:
 * - *Rebuild* of the index at start. Until it is done every question is answered `starting`; merges and
 *   local writes go on.
 * - One *scan* for all questions that recent rows can't answer: complete lists, rows by range, and row ids
 *   whose place isn't known.
 * - The *cut*: it follows the store's HLC at {@link settleMs}, but not past a stamp that waits in a queue.
 *
 * Drift: a remote stamp is refused when it is too far ahead of the fleet's time, which is the own wall clock
 * plus the median offset of at least three peers; with fewer, of the own wall clock with a wide limit.
 * Refusing delays and never loses: repair brings the row again.
 *
 * @module
 */

import { unreachable } from "../assert.ts";
import {
  type Changeset,
  decodeChangeset,
  encodeChangeset,
  type Lane,
} from "../change/changeset.ts";
import type { Entry } from "../change/frame.ts";
import type { TableShape } from "../change/hello.ts";
import { decodeRowBlock, encodeRowBlock } from "../change/row-block.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import { type Hlc, hlcZero, type Stamp } from "../clock/stamp.ts";
import { slotMs, slotOfStamp } from "../index/clock-part.ts";
import { nodeOfRange } from "../index/fingerprint-tree.ts";
import { entryOf, type RecentRowsOptions, recentRowsDefaults } from "../index/recent-rows.ts";
import { RowIndex } from "../index/row-index.ts";
import { cutAt, type ImageRoot, settleMs } from "../index/settled-image.ts";
import type {
  MemberRow,
  Moment,
  PeerId,
  SlotReport,
  StoreReply,
  StoreRequest,
  Ticket,
  TreeNodes,
  Unavailable,
} from "../node/border.ts";
import { type Digester, type RowId, rangeOfRow } from "../row/digest.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import { RawText } from "../row/value.ts";
import type { MergedRow, RowRef, RowStore, ScannedRow, ScanPosition } from "./row-store.ts";

export interface ReplicaOptions {
  /** Rows of one slice of the rebuild, some 2 µs each. A slice delays an urgent frame that comes meanwhile. */
  readonly rebuildRowsPerTick: number;
  /** Rows of one slice of a scan. */
  readonly scanRowsPerTick: number;
  /** Between slices of a scan: with 500 rows in 1 ms, a pause of 9 leaves nine tenths to others. */
  readonly scanPauseMs: number;
  /** Questions that may wait for a scan; further ones are answered `busy`. */
  readonly scanQuestionsMax: number;
  /** A remote stamp further ahead of the fleet's time is refused. */
  readonly driftMsMax: number;
  /** The same while fewer than {@link driftPeersMin} peers' clocks are known. */
  readonly driftFewPeersMsMax: number;
  readonly driftPeersMin: number;
  /** A remote stamp further ahead is counted as a warning. */
  readonly driftWarnMs: number;
  /** A queue that doesn't say again what waits in it holds the cut no longer than this. */
  readonly holdMsMax: number;
  readonly recentRows: RecentRowsOptions;
}

export const replicaDefaults: ReplicaOptions = {
  rebuildRowsPerTick: 2000,
  scanRowsPerTick: 500,
  scanPauseMs: 9,
  scanQuestionsMax: 16,
  driftMsMax: 5000,
  driftFewPeersMsMax: 60_000,
  driftPeersMin: 3,
  driftWarnMs: 500,
  holdMsMax: 30_000,
  recentRows: recentRowsDefaults,
};

export interface ReplicaParts {
  readonly store: RowStore;
  /** The store thread's one clock: it issues the stamps of local commits, and what is applied enters it. */
  readonly clock: HlcClock;
  readonly digester: Digester;
  readonly schema: readonly TableShape[];
  /** Takes rows of `patina_members`, which is a local table and none of the index's business. */
  readonly onMembers?: (rows: readonly MemberRow[]) => void;
  readonly options?: Partial<ReplicaOptions>;
}

/** Whose rows were merged. */
export type MergeOrigin = PeerId | "local";

export type MergedListener = (
  rows: readonly MergedRow[],
  lane: Lane,
  origin: MergeOrigin,
  nowMs: number,
) => void;

export type LocalWrites =
  | { readonly kind: "allowed" }
  /** The host's clock is wrong by the judgement of its peers: what it stamped would win or lose wrongly. */
  | { readonly kind: "refused"; readonly why: string };

/** What `/v1/health` and `patina status` say of the store. */
export interface ReplicaStatus {
  /** The index is being rebuilt: no peer gets an answer yet. */
  readonly starting: boolean;
  /** Rows held, tombstones too; what the rebuild has counted so far while starting. */
  readonly rows: number;
  /** 0 while starting. */
  readonly cut: number;
  readonly roots: readonly ImageRoot[];
  readonly hlc: Hlc;
  /** Of the last 1,000 changesets of others: from their stamp to here, ms, by the two wall clocks. */
  readonly lagMs: { readonly samples: number; readonly p50: number; readonly p99: number };
  readonly refused: {
    /** Bodies that didn't decode. */
    readonly malformed: number;
    /** Changesets, and rows of repair, stamped too far ahead. */
    readonly ahead: number;
    /** Bodies lost to a failed write. */
    readonly storeFailed: number;
  };
  /** Stamps taken that were more than a warning's worth ahead. */
  readonly driftWarnings: number;
  /** Rows in which two writers under one identity were seen: an alarm. */
  readonly conflicts: number;
  /** The last such row. */
  readonly lastConflict: RowRef | undefined;
  readonly clock: {
    /** Peers whose clocks are known. */
    readonly peers: number;
    /** Fleet's time less the own wall clock; undefined with too few peers. */
    readonly medianOffsetMs: number | undefined;
    readonly outlier: boolean;
  };
  /** The last failed write, until one succeeds. */
  readonly storeError: string | undefined;
  readonly recentRows: number;
  /** Rows with clocks that no askable cut covers yet. */
  readonly touchedRows: number;
  /** Questions that wait for a scan, or are in one. */
  readonly scanQuestions: number;
  /** The cut waits for a stamp in a queue. */
  readonly held: boolean;
}

type Asked<Kind extends StoreRequest["kind"]> = Extract<StoreRequest, { kind: Kind }>;

/** A question in a scan. */
type ScanQuestion = {
  readonly wants: (row: ScannedRow) => boolean;
  /** Takes a row it wants, as the scan meets it. */
  readonly meet: (row: ScannedRow, replies: StoreReply[]) => void;
  /** Every row has been met. */
  readonly finish: (replies: StoreReply[]) => void;
};

/** Rows in a block of an answer. */
const blockRowsMax = 1000;
/** A block is ended early once its values take about this much. */
const blockBytesMax = 1024 * 1024;
/** Places of rows that scans have told peers about, for the fetches that follow. */
const placesMax = 50_000;
const lagSamplesMax = 1000;

export class Replica {
  readonly #store: RowStore;
  readonly #clock: HlcClock;
  readonly #digester: Digester;
  readonly #onMembers: ((rows: readonly MemberRow[]) => void) | undefined;
  readonly #options: ReplicaOptions;
  readonly #listeners: MergedListener[] = [];
  #schema: readonly TableShape[];

  #index: RowIndex | undefined;
  #rebuildAt: ScanPosition | undefined;
  #started = false;

  /** Questions of the running scan, and of the next. */
  #scan: { at: ScanPosition | undefined; readonly questions: ScanQuestion[] } | undefined;
  #waiting: ScanQuestion[] = [];
  #scanDueMs = 0;
  readonly #places = new Map<RowId, RowRef>();

  #hold: { readonly slot: number; readonly untilMs: number } | undefined;
  #nowMs = 0;

  #peersKnown = 0;
  #medianOffsetMs: number | undefined;

  readonly #lagsMs: number[] = [];
  #lagNext = 0;
  #malformed = 0;
  #ahead = 0;
  #storeFailed = 0;
  #driftWarnings = 0;
  #conflicts = 0;
  #lastConflict: RowRef | undefined;
  #storeError: string | undefined;

  constructor(parts: ReplicaParts) {
    this.#store = parts.store;
    this.#clock = parts.clock;
    this.#digester = parts.digester;
    this.#schema = parts.schema;
    this.#onMembers = parts.onMembers;
    this.#options = { ...replicaDefaults, ...parts.options };
  }

  /** Calls `listener` after each transaction that merged or committed rows, in order. */
  onMerged(listener: MergedListener): void {
    this.#listeners.push(listener);
  }

  /** Begins: announces the store, and rebuilds the first slice of the index. */
  start(nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    this.#started = true;
    this.#index = new RowIndex(
      this.#digester,
      cutAt(this.#clock.read(nowMs).ms),
      this.#options.recentRows,
    );
    this.announce(replies);
    this.#rebuildSlice(nowMs, replies);
  }

  /** Tells the net side what it has to know, also a net thread that was started again. */
  announce(replies: StoreReply[]): void {
    replies.push({
      kind: "identity",
      site: this.#clock.site,
      schema: this.#schema,
      starting: !this.#isBuilt(),
    });
    replies.push(this.#slotReport());
  }

  /** The schema became another. */
  changeSchema(schema: readonly TableShape[], replies: StoreReply[]): void {
    this.#schema = schema;
    this.announce(replies);
  }

  /** The stamp for a local commit. */
  nextStamp(nowMs: number): Stamp {
    return this.#clock.next(nowMs);
  }

  /** Whether this host's clock may stamp writes. */
  localWrites(): LocalWrites {
    const offsetMs = this.#medianOffsetMs;
    if (offsetMs === undefined || Math.abs(offsetMs) <= this.#options.driftMsMax) {
      return { kind: "allowed" };
    }
    const seconds = (Math.abs(offsetMs) / 1000).toFixed(1);
    const side = offsetMs < 0 ? "ahead of" : "behind";
    return {
      kind: "refused",
      why:
        `clock: this host is ${seconds} s ${side} the median of ${this.#peersKnown} peers ` +
        `(at most ${this.#options.driftMsMax / 1000} s); writes are refused until it is set right`,
    };
  }

  /**
   * Keeps the cut below a stamp that waits in a queue to be applied, until told otherwise or for
   * `holdMsMax`. A stamp below the newest cut holds nothing: it is late already.
   */
  hold(stamp: { readonly ms: number } | undefined, nowMs: number): void {
    this.#hold =
      stamp === undefined
        ? undefined
        : {
            slot: slotOfStamp({ ms: stamp.ms, count: 0 }),
            untilMs: nowMs + this.#options.holdMsMax,
          };
  }

  /** Takes one request. Never throws on what a peer sent; a failed write of the store is reported. */
  handle(request: StoreRequest, nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    switch (request.kind) {
      case "members":
        this.#onMembers?.(request.rows);
        return;
      case "peers":
        this.#judgeClock(request.offsetsMs);
        return;
      case "apply":
        this.#apply(request, nowMs, replies);
        this.#advance(nowMs, replies);
        return;
      default:
        this.#answer(request, nowMs, replies);
    }
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
      /** The changeset's own unless told otherwise. */
      readonly lane?: Lane;
    },
    nowMs: number,
    replies: StoreReply[],
  ): void {
    this.#nowMs = nowMs;
    const { merged, changeset } = commit;
    if (changeset === undefined) return;
    const lane = commit.lane ?? changeset.lane;
    this.#clock.observe(changeset.stamp);
    const passed = this.#isBuilt() ? undefined : merged.map((row) => this.#isScanned(row));
    this.#take(merged, passed, lane, "local", nowMs);
    replies.push({
      kind: "commit",
      stamp: changeset.stamp,
      lane,
      changeset: encodeChangeset(lane === changeset.lane ? changeset : { ...changeset, lane }),
    });
    this.#advance(nowMs, replies);
  }

  /** Does what is due: one slice of the rebuild or of a scan, and the cut. */
  tick(nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    if (!this.#started) return;
    if (!this.#isBuilt()) this.#rebuildSlice(nowMs, replies);
    else if (this.#scan !== undefined && nowMs >= this.#scanDueMs) this.#scanSlice(nowMs, replies);
    this.#index?.recent.expire(nowMs);
    this.#advance(nowMs, replies);
  }

  /** Wall clock in ms at which `tick` is wanted; a time in the past means as soon as others had a turn. */
  pollTimeout(): number {
    if (!this.#started || this.#index === undefined) return Number.POSITIVE_INFINITY;
    if (!this.#isBuilt()) return this.#nowMs;
    let dueMs = (this.#index.image.cut + 1) * slotMs + settleMs;
    if (this.#hold !== undefined && this.#hold.slot === this.#index.image.cut + 1) {
      dueMs = Math.max(dueMs, this.#hold.untilMs);
    }
    if (this.#scan !== undefined) dueMs = Math.min(dueMs, this.#scanDueMs);
    return dueMs;
  }

  status(): ReplicaStatus {
    const index = this.#index;
    const lags = [...this.#lagsMs].sort((a, b) => a - b);
    return {
      starting: !this.#isBuilt(),
      rows: index?.live.rows(0, 0) ?? 0,
      cut: this.#isBuilt() ? (index?.image.cut ?? 0) : 0,
      roots: this.#isBuilt() ? (index?.image.roots() ?? []) : [],
      hlc: this.#clock.read(this.#nowMs),
      lagMs: {
        samples: lags.length,
        p50: lags[Math.floor(lags.length * 0.5)] ?? 0,
        p99: lags[Math.floor(lags.length * 0.99)] ?? 0,
      },
      refused: { malformed: this.#malformed, ahead: this.#ahead, storeFailed: this.#storeFailed },
      driftWarnings: this.#driftWarnings,
      conflicts: this.#conflicts,
      lastConflict: this.#lastConflict,
      clock: {
        peers: this.#peersKnown,
        medianOffsetMs: this.#medianOffsetMs,
        outlier: this.localWrites().kind === "refused",
      },
      storeError: this.#storeError,
      recentRows: index?.recent.size ?? 0,
      touchedRows: index?.image.touchedRows ?? 0,
      scanQuestions: (this.#scan?.questions.length ?? 0) + this.#waiting.length,
      held: this.#hold !== undefined && this.#hold.slot === (index?.image.cut ?? 0) + 1,
    };
  }

  // ---- Applying ---------------------------------------------------------------------------------

  #apply(request: Asked<"apply">, nowMs: number, replies: StoreReply[]): void {
    const refused: { body: number; why: string }[] = [];
    const taken: number[] = [];
    const rows: RowState[] = [];
    const stamps: Stamp[] = [];
    const limitMs = this.#limitMs(nowMs);
    request.bodies.forEach((body, i) => {
      const decoded = request.what === "changesets" ? decodeChangeset(body) : decodeRowBlock(body);
      if (decoded.kind === "malformed") {
        this.#malformed++;
        refused.push({ body: i, why: decoded.why });
        return;
      }
      if (decoded.kind === "changeset") {
        const { stamp, rows: changed } = decoded.changeset;
        const aheadMs = changed.reduce((ms, row) => Math.max(ms, stampOfRow(row).ms), stamp.ms);
        if (aheadMs > limitMs) {
          this.#ahead++;
          refused.push({ body: i, why: this.#aheadText(aheadMs, nowMs) });
          return;
        }
        stamps.push(stamp);
        taken.push(i);
        for (const row of changed) rows.push(row);
        return;
      }
      // Repair's rows stand each for itself: one that is ahead doesn't keep the others away.
      let ahead = 0;
      let worstMs = 0;
      for (const row of decoded.rows) {
        const { ms } = stampOfRow(row);
        if (ms <= limitMs) {
          rows.push(row);
          continue;
        }
        ahead++;
        worstMs = Math.max(worstMs, ms);
      }
      if (ahead > 0) {
        this.#ahead += ahead;
        const worst = this.#aheadText(worstMs, nowMs);
        refused.push({ body: i, why: `${ahead} of ${decoded.rows.length} rows: ${worst}` });
      }
      taken.push(i);
    });
    const merged = rows.length === 0 ? [] : this.#merge(rows, request, nowMs);
    if (typeof merged === "string") {
      for (const body of taken) refused.push({ body, why: merged });
      this.#storeFailed += taken.length;
      refused.sort((a, b) => a.body - b.body);
      replies.push({ kind: "applied", ticket: request.ticket, rows: 0, changed: 0, refused });
      return;
    }
    for (const stamp of stamps) this.#noteLag(nowMs - stamp.ms);
    const warnMs = this.#fleetMs(nowMs) + this.#options.driftWarnMs;
    for (const stamp of stamps) if (stamp.ms > warnMs) this.#driftWarnings++;
    let changed = 0;
    for (const row of merged) if (row.changed) changed++;
    replies.push({
      kind: "applied",
      ticket: request.ticket,
      rows: rows.length,
      changed,
      refused,
    });
  }

  /** One transaction. On a failed write nothing has changed, and the text says why. */
  #merge(
    rows: readonly RowState[],
    request: Asked<"apply">,
    nowMs: number,
  ): readonly MergedRow[] | string {
    // The place of a row before the merge has to be asked for before the merge.
    const passed = this.#isBuilt() ? undefined : rows.map((row) => this.#isScanned(row));
    let merged: MergedRow[];
    try {
      merged = this.#store.merge(rows);
    } catch (error) {
      const why = `store: ${error instanceof Error ? error.message : String(error)}`;
      this.#storeError = why;
      return why;
    }
    this.#storeError = undefined;
    for (const row of rows) this.#clock.observe(stampOfRow(row));
    this.#take(merged, passed, request.lane, request.peer, nowMs);
    return merged;
  }

  #take(
    merged: readonly MergedRow[],
    passed: readonly boolean[] | undefined,
    lane: Lane,
    origin: MergeOrigin,
    nowMs: number,
  ): void {
    merged.forEach((row, i) => {
      this.#index?.merged(row, lane === 0, passed?.[i] ?? false, nowMs);
      if (row.conflict) {
        this.#conflicts++;
        this.#lastConflict = { table: row.table, key: row.key };
      }
    });
    for (const listener of this.#listeners) listener(merged, lane, origin, nowMs);
  }

  // ---- Time -------------------------------------------------------------------------------------

  #judgeClock(offsetsMs: readonly number[]): void {
    this.#peersKnown = offsetsMs.length;
    this.#medianOffsetMs =
      offsetsMs.length < this.#options.driftPeersMin ? undefined : medianOf(offsetsMs);
  }

  #fleetMs(nowMs: number): number {
    return nowMs + (this.#medianOffsetMs ?? 0);
  }

  /** The latest stamp that is taken from others. */
  #limitMs(nowMs: number): number {
    const { driftMsMax, driftFewPeersMsMax } = this.#options;
    return (
      this.#fleetMs(nowMs) + (this.#medianOffsetMs === undefined ? driftFewPeersMsMax : driftMsMax)
    );
  }

  #aheadText(ms: number, nowMs: number): string {
    const aheadMs = Math.round(ms - this.#fleetMs(nowMs));
    return `clock: stamped ${aheadMs} ms ahead, at most ${Math.round(this.#limitMs(nowMs) - this.#fleetMs(nowMs))}`;
  }

  #advance(nowMs: number, replies: StoreReply[]): void {
    const index = this.#index;
    if (index === undefined) return;
    if (this.#hold !== undefined && nowMs >= this.#hold.untilMs) this.#hold = undefined;
    let cut = cutAt(this.#clock.read(nowMs).ms);
    if (this.#hold !== undefined && this.#hold.slot > index.image.cut) {
      cut = Math.min(cut, this.#hold.slot - 1);
    }
    index.image.advance(cut);
    if (index.isBuilt && index.image.takeChanged()) replies.push(this.#slotReport());
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

  #noteLag(lagMs: number): void {
    this.#lagsMs[this.#lagNext] = Math.max(0, lagMs);
    this.#lagNext = (this.#lagNext + 1) % lagSamplesMax;
  }

  // ---- Rebuild ----------------------------------------------------------------------------------

  #isBuilt(): boolean {
    return this.#index?.isBuilt === true;
  }

  #isScanned(row: RowRef): boolean {
    return this.#rebuildAt !== undefined && this.#store.isPassed(this.#rebuildAt, row);
  }

  #rebuildSlice(nowMs: number, replies: StoreReply[]): void {
    const index = this.#index;
    if (index === undefined) return;
    const { rows, next } = this.#store.scan(this.#rebuildAt, this.#options.rebuildRowsPerTick);
    const limitMs = this.#limitMs(nowMs);
    for (const row of rows) {
      index.scanned(row, nowMs);
      // What is kept was stamped before now, unless some clock was wrong; that one isn't followed.
      const stamp = stampOfRow(row.clocks);
      if (stamp.ms <= limitMs) this.#clock.observe(stamp);
    }
    this.#rebuildAt = next;
    if (next !== undefined) return;
    index.finishRebuild();
    index.image.advance(cutAt(this.#clock.read(nowMs).ms));
    index.image.takeChanged();
    this.announce(replies);
  }

  // ---- Questions --------------------------------------------------------------------------------

  #answer(
    request: Asked<"walk" | "list" | "compare" | "missing" | "rows" | "range-rows" | "recent">,
    nowMs: number,
    replies: StoreReply[],
  ): void {
    const index = this.#index;
    if (index === undefined || !index.isBuilt) {
      unavailable(request.ticket, "starting", replies);
      return;
    }
    switch (request.kind) {
      case "walk": {
        const fingerprints = request.live
          ? request.nodes.flatMap((node) => index.live.childFingerprints(request.level, node))
          : index.image.childFingerprints(request.cut, request.level, request.nodes);
        if (fingerprints === undefined) unavailable(request.ticket, "cut", replies);
        else replies.push({ kind: "walked", ticket: request.ticket, fingerprints });
        return;
      }
      case "list":
        if (request.recentOnly) {
          const entries = this.#recentEntries(index, request).filter(belowCut(request));
          replies.push({ kind: "listed", ticket: request.ticket, entries });
        } else this.#listByScan(request, nowMs, replies);
        return;
      case "compare":
        if (request.recentOnly) this.#compareRecent(index, request, replies);
        else this.#compareByScan(request, nowMs, replies);
        return;
      case "missing": {
        const ids = request.entries
          .filter(({ id, digest }) => {
            const known = index.recent.get(id);
            return known === undefined || entryOf(id, known.stamp, known.digest).digest !== digest;
          })
          .map(({ id }) => id);
        replies.push({ kind: "missing", ticket: request.ticket, ids });
        return;
      }
      case "recent": {
        const rows = index.recent.since(request.sinceMs, this.#options.driftFewPeersMsMax);
        const entries = rows.map(({ id, stamp, digest }) => entryOf(id, stamp, digest));
        replies.push({ kind: "recent", ticket: request.ticket, entries });
        return;
      }
      case "rows":
        this.#rowsById(index, request, nowMs, replies);
        return;
      case "range-rows":
        this.#rowsByRange(request, nowMs, replies);
        return;
      default:
        unreachable(request);
    }
  }

  /** Entries of all rows changed lately under the nodes, whatever their stamps. */
  #recentEntries(index: RowIndex, { level, nodes }: TreeNodes): Entry[] {
    const entries: Entry[] = [];
    for (const node of new Set(nodes)) {
      index.recent.forEachUnder(level, node, ({ id, stamp, digest }) => {
        entries.push(entryOf(id, stamp, digest));
      });
    }
    return entries;
  }

  #compareRecent(index: RowIndex, request: Asked<"compare">, replies: StoreReply[]): void {
    const own = new Map<RowId, Entry>();
    for (const entry of this.#recentEntries(index, request)) own.set(entry.id, entry);
    replies.push({ kind: "compared", ticket: request.ticket, ...compareEntries(own, request) });
  }

  #listByScan(request: Asked<"list">, nowMs: number, replies: StoreReply[]): void {
    const isBelow = belowCut(request);
    const entries = new Map<RowId, Entry>();
    this.#askScan(
      request.ticket,
      {
        wants: isUnder(request),
        meet: (row) => {
          const entry = this.#entryOf(row);
          if (!isBelow(entry)) return;
          entries.set(row.id, entry);
          this.#notePlace(row);
        },
        finish: (out) =>
          out.push({ kind: "listed", ticket: request.ticket, entries: [...entries.values()] }),
      },
      nowMs,
      replies,
    );
  }

  #compareByScan(request: Asked<"compare">, nowMs: number, replies: StoreReply[]): void {
    const own = new Map<RowId, Entry>();
    this.#askScan(
      request.ticket,
      {
        wants: isUnder(request),
        meet: (row) => {
          own.set(row.id, this.#entryOf(row));
          this.#notePlace(row);
        },
        finish: (out) =>
          out.push({
            kind: "compared",
            ticket: request.ticket,
            ...compareEntries(own, request),
          }),
      },
      nowMs,
      replies,
    );
  }

  #rowsById(index: RowIndex, request: Asked<"rows">, nowMs: number, replies: StoreReply[]): void {
    const known: RowRef[] = [];
    const unknown = new Set<RowId>();
    for (const id of new Set(request.ids)) {
      const ref = index.recent.get(id)?.ref ?? this.#places.get(id);
      if (ref === undefined) unknown.add(id);
      else known.push(ref);
    }
    if (unknown.size === 0) {
      this.#sendRows(request.ticket, known, true, replies);
      return;
    }
    const found: RowRef[] = [];
    const isAccepted = this.#askScan(
      request.ticket,
      {
        wants: (row) => unknown.has(row.id),
        meet: (row) => {
          unknown.delete(row.id);
          found.push({ table: row.table, key: row.key });
        },
        finish: (out) => this.#sendRows(request.ticket, found, true, out),
      },
      nowMs,
      replies,
    );
    if (isAccepted && known.length > 0) this.#sendRows(request.ticket, known, false, replies);
  }

  #rowsByRange(request: Asked<"range-rows">, nowMs: number, replies: StoreReply[]): void {
    const refs: RowRef[] = [];
    this.#askScan(
      request.ticket,
      {
        wants: isUnder(request),
        meet: (row, out) => {
          refs.push({ table: row.table, key: row.key });
          if (refs.length === blockRowsMax) {
            this.#sendRows(request.ticket, refs.splice(0), false, out);
          }
        },
        finish: (out) => this.#sendRows(request.ticket, refs, true, out),
      },
      nowMs,
      replies,
    );
  }

  /** Sends rows as held now, in blocks; `last` ends the ticket with the last of them. */
  #sendRows(ticket: Ticket, refs: readonly RowRef[], last: boolean, replies: StoreReply[]): void {
    let rows: RowState[] = [];
    let bytes = 0;
    const flush = (isLast: boolean) => {
      replies.push({ kind: "rows", ticket, block: encodeRowBlock(rows), last: isLast });
      rows = [];
      bytes = 0;
    };
    for (let i = 0; i < refs.length; i += blockRowsMax) {
      for (const row of this.#store.read(refs.slice(i, i + blockRowsMax))) {
        if (row === undefined) continue;
        if (rows.length === blockRowsMax || bytes >= blockBytesMax) flush(false);
        rows.push(row);
        bytes += valueBytesOf(row);
      }
    }
    if (last) flush(true);
    else if (rows.length > 0) flush(false);
  }

  // ---- Scan -------------------------------------------------------------------------------------

  /** Puts a question into the next scan; false when too many wait, and then it has been answered. */
  #askScan(ticket: Ticket, question: ScanQuestion, nowMs: number, replies: StoreReply[]): boolean {
    const count = this.#waiting.length + (this.#scan?.questions.length ?? 0);
    if (count >= this.#options.scanQuestionsMax) {
      unavailable(ticket, "busy", replies);
      return false;
    }
    if (this.#scan === undefined) {
      this.#scan = { at: undefined, questions: [question] };
      this.#scanDueMs = nowMs;
    } else if (this.#scan.at === undefined) this.#scan.questions.push(question);
    else this.#waiting.push(question);
    return true;
  }

  #scanSlice(nowMs: number, replies: StoreReply[]): void {
    const scan = this.#scan;
    if (scan === undefined) return;
    const { rows, next } = this.#store.scan(scan.at, this.#options.scanRowsPerTick);
    for (const row of rows) {
      for (const question of scan.questions) {
        if (question.wants(row)) question.meet(row, replies);
      }
    }
    scan.at = next;
    this.#scanDueMs = nowMs + this.#options.scanPauseMs;
    if (next !== undefined) return;
    this.#scan =
      this.#waiting.length === 0 ? undefined : { at: undefined, questions: this.#waiting };
    this.#waiting = [];
    for (const question of scan.questions) question.finish(replies);
  }

  #entryOf(row: ScannedRow): Entry {
    const known = this.#index?.recent.get(row.id);
    if (known !== undefined) return entryOf(row.id, known.stamp, known.digest);
    return entryOf(row.id, stampOfRow(row.clocks), this.#digester.rowDigest(row.id, row.clocks));
  }

  #notePlace(row: ScannedRow): void {
    this.#places.set(row.id, { table: row.table, key: row.key });
    if (this.#places.size <= placesMax) return;
    for (const id of this.#places.keys()) {
      this.#places.delete(id);
      return;
    }
  }
}

/**
 * What two lists of one part of the tree say. Rows above the cut on either side are no difference; but
 * a node of the tree that differs and in which nothing else does must have such a row to blame (one that
 * changes all the time, and lacks an older clock on one side), and then it is offered.
 */
function compareEntries(
  own: ReadonlyMap<RowId, Entry>,
  request: Asked<"compare">,
): { readonly want: RowId[]; readonly offer: RowId[] } {
  const isBelow = belowCut(request);
  const want: RowId[] = [];
  const offer: RowId[] = [];
  const theirs = new Set<RowId>();
  const explained = new Set<number>();
  const explain = (id: RowId) => explained.add(nodeOfRange(rangeOfRow(id), request.level));
  for (const entry of request.entries) {
    theirs.add(entry.id);
    const ours = own.get(entry.id);
    if (ours?.digest === entry.digest) continue;
    if (ours !== undefined && !isBelow(ours)) continue;
    explain(entry.id);
    want.push(entry.id);
    if (ours !== undefined) offer.push(entry.id);
  }
  const above: RowId[] = [];
  for (const entry of own.values()) {
    if (!isBelow(entry)) above.push(entry.id);
    else if (!theirs.has(entry.id)) {
      explain(entry.id);
      offer.push(entry.id);
    }
  }
  if (!request.recentOnly) {
    for (const id of above) {
      if (!explained.has(nodeOfRange(rangeOfRow(id), request.level))) offer.push(id);
    }
  }
  return { want, offer };
}

/** Whether an entry's stamp is covered by the moment that is asked for. */
function belowCut(moment: Moment): (entry: Entry) => boolean {
  return ({ stamp }) => moment.live || stamp.ms < moment.cut * slotMs;
}

function isUnder({ level, nodes }: TreeNodes): (row: ScannedRow) => boolean {
  const wanted = new Set(nodes);
  return (row) => wanted.has(nodeOfRange(rangeOfRow(row.id), level));
}

function unavailable(ticket: Ticket, why: Unavailable, replies: StoreReply[]): void {
  replies.push({ kind: "unavailable", ticket, why });
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] as number)) / 2;
}

/** About how many bytes a row's key and values take. */
function valueBytesOf(row: RowState): number {
  let bytes = row.key.length + 16;
  for (const { value } of row.cells) {
    if (typeof value === "string") bytes += value.length;
    else if (value instanceof Uint8Array) bytes += value.length;
    else if (value instanceof RawText) bytes += value.bytes.length;
    bytes += 8;
  }
  return bytes;
}
