/**
 * All live queries of this node. A commit tells it what changed, in the same turn and with no timer
 * between, and everyone who listens hears of it at once; events of one transaction arrive together
 * (`live-teller.ts`).
 *
 * A subscription without listeners is kept for ten minutes, so that its readers can come back. If it is
 * run again at every change, it isn't until one does.
 *
 * @module
 */

import type { MergedRow } from "../../core/store/row-store.ts";
import { errorJson, utf8 } from "../api/http.ts";
import type { SqlText } from "../api/statement.ts";
import type {
  Refused,
  StreamListener,
  SubscribeOptions,
  SubscribeOutcome,
} from "../api/store-service.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import { historyLimits } from "./change-history.ts";
import { ChangedCells } from "./changed-cells.ts";
import { Evaluation, type LiveConnection, type LookBudget } from "./evaluation.ts";
import { FilterIndex } from "./filter-index.ts";
import { HeldLimit } from "./held-limit.ts";
import { HeldListener } from "./held-listener.ts";
import {
  eoqLine,
  type InitialRowsSource,
  readInitialRows,
  snapshotLines,
  takeInitialRows,
} from "./initial-rows.ts";
import { LiveJournal } from "./live-journal.ts";
import { createEntry, type Entry, LiveRegistry, type SubscriptionReport } from "./live-registry.ts";
import { LiveRenewals } from "./live-renewals.ts";
import type { RerunSource } from "./live-reruns.ts";
import { LiveRestorer, type OnLost, type RestoreLimits } from "./live-restorer.ts";
import type { LiveStore } from "./live-store.ts";
import { LiveTeller } from "./live-teller.ts";
import { expandedText } from "./plan/expanded-text.ts";
import { TableShapes } from "./plan/table-shapes.ts";
import { type KeyColumnsOf, QueryPlanner } from "./query-planner.ts";
import type { ReadRow } from "./rows/row.ts";
import type { Commit } from "./unnoted-commits.ts";

export interface LiveQueriesOptions {
  /** Compiles what clients send, and bounds how long a query may run. */
  readonly reader: QueryRunner;
  readonly writer: LiveConnection;
  readonly keyColumnsOf: KeyColumnsOf;
  /** Undefined: none is. */
  readonly isReplicated?: ((table: string) => boolean) | undefined;
  /** The table may have rows that the store has never heard of. */
  readonly mayBeUnheard?: ((table: string) => boolean) | undefined;
  /** Where new subscriptions get their rows; undefined: from the writer's connection, in one turn. */
  readonly initialRows?: InitialRowsSource | undefined;
  /** Where those are run again that take long; undefined: on the writer's connection, in one turn. */
  readonly reruns?: RerunSource | undefined;
  /** Numbers that are unique among all listeners of the store. */
  readonly nextSubscriber: () => number;
  /** Without one nothing outlives the process. */
  readonly store?: LiveStore | undefined;
  readonly limits?: LiveLimits | undefined;
}

export interface LiveLimits extends RestoreLimits {
  /** Of the store thread, where another can run queries. */
  readonly lookBudget: LookBudget;
  /** Until a run in another thread that went wrong for no fault of its own is begun anew; longer each time. */
  readonly rerunPauseMs: number;
  /** How long a commit may wait until it is found out whom it concerns, before those that wait become one. */
  readonly noteMsMax: number;
  /** Of the store thread, in one turn, for finding out what commits come to and telling it. */
  readonly turnMsMax: number;
  /** Changes of all subscriptions together, characters: in memory and in the database. */
  readonly logCharsMax: number;
  /** Rows of all subscriptions together, as they are kept in memory. */
  readonly heldBytesMax: number;
}

export const liveLimits: LiveLimits = {
  ...historyLimits,
  lookBudget: { rerun: { ms: 2, bytes: 64 * 1024 }, lookUpMs: 10 },
  rerunPauseMs: 500,
  restoreMsMax: 2000,
  restoreOneMsMax: 50,
  noteMsMax: 1000,
  turnMsMax: 2,
  logCharsMax: 32 * 1024 * 1024,
  heldBytesMax: 2 ** 30,
};

const keptWithoutListenersMs = 10 * 60 * 1000;

/** More are handed to a reader in more than one turn. */
const rowsAtOnceMax = 2000;
/** At a stop, for finding out what subscriptions missed. */
const closeMsMax = 2000;

export class LiveQueries {
  readonly #reader: QueryRunner;
  readonly #initialRows: InitialRowsSource | undefined;
  readonly #nextSubscriber: () => number;
  readonly #cells: ChangedCells;
  readonly #registry: LiveRegistry;
  readonly #planner: QueryPlanner;
  readonly #evaluation: Evaluation;
  readonly #journal: LiveJournal | undefined;
  readonly #teller: LiveTeller;
  readonly #restorer: LiveRestorer | undefined;
  readonly #renewals: LiveRenewals;
  readonly #heldLimit: HeldLimit;

  constructor(options: LiveQueriesOptions) {
    const { reader, writer, keyColumnsOf, store, limits = liveLimits } = options;
    const { database, guard } = writer;
    this.#reader = reader;
    this.#initialRows = options.initialRows;
    this.#nextSubscriber = options.nextSubscriber;
    const mayBeUnheard = options.mayBeUnheard ?? (() => false);
    this.#cells = new ChangedCells({
      writer: database,
      reader: reader.database,
      keyColumnsOf,
      mayBeUnheard,
    });
    this.#registry = new LiveRegistry(new FilterIndex(this.#cells));
    this.#heldLimit = new HeldLimit(this.#registry, limits.heldBytesMax, (entry) =>
      this.#drop(entry),
    );
    this.#planner = new QueryPlanner({ database, guard, keyColumnsOf, limits, cells: this.#cells });
    const { lookBudget } = limits;
    this.#evaluation = new Evaluation(
      writer,
      () => reader.timeoutMs,
      options.reruns === undefined ? undefined : lookBudget,
    );
    this.#journal =
      store === undefined ? undefined : new LiveJournal(store, this.#registry, limits.logCharsMax);
    const isReplicated = options.isReplicated ?? (() => false);
    this.#renewals = new LiveRenewals({
      shapes: new TableShapes({ database, keyColumnsOf, isReplicated }),
      cells: this.#cells,
      registry: this.#registry,
      planner: this.#planner,
      evaluation: this.#evaluation,
    });
    this.#teller = new LiveTeller({
      writer,
      registry: this.#registry,
      planner: this.#planner,
      evaluation: this.#evaluation,
      journal: this.#journal,
      noteMsMax: limits.noteMsMax,
      turnMsMax: limits.turnMsMax,
      reruns:
        options.reruns === undefined
          ? undefined
          : { source: options.reruns, budget: lookBudget.rerun, pauseMs: limits.rerunPauseMs },
      end: (entry, why) => this.#end(entry, why),
      renew: (entry) => this.#renewals.renew(entry),
    });
    this.#restorer =
      store === undefined || this.#journal === undefined
        ? undefined
        : new LiveRestorer({
            store,
            journal: this.#journal,
            registry: this.#registry,
            planner: this.#planner,
            evaluation: this.#evaluation,
            teller: this.#teller,
            initialRows: this.#initialRows,
            limits,
          });
  }

  get count(): number {
    return this.#registry.count;
  }

  get listenerCount(): number {
    return this.#registry.listenerCount;
  }

  /** Something was committed that somebody who listens isn't told of yet. */
  get isBehind(): boolean {
    return this.#teller.isBehind;
  }

  /** For `patina subs` and `patina status`. */
  describe(): SubscriptionReport[] {
    return this.#registry.describe();
  }

  /** For a status: {@link describe} without going through all of them. */
  summary(): { readonly count: number; readonly listeners: number; readonly log_chars: number } {
    const log_chars = this.#journal?.logChars ?? 0;
    return { count: this.count, listeners: this.listenerCount, log_chars };
  }

  // ---- Readers ----------------------------------------------------------------------------------

  /** Streams may begin while a promise of the outcome is pending. */
  subscribe(
    text: SqlText,
    options: SubscribeOptions,
    listener: StreamListener,
  ): SubscribeOutcome | Promise<SubscribeOutcome> {
    if (this.#teller.isOpen)
      return this.#teller.closed().then(() => this.subscribe(text, options, listener));
    const { guard, prepared } = this.#reader;
    const expanded = guard.within("read", () => expandedText(prepared, text));
    if (typeof expanded !== "string") return expanded;
    const restored = this.#restorer?.whenSqlOver(expanded);
    if (restored !== undefined) return restored.then(() => this.subscribe(text, options, listener));
    const known = this.#registry.bySql(expanded);
    if (known !== undefined) {
      return this.#attach(known, options, listener, () => this.subscribe(text, options, listener));
    }
    if (options.from !== undefined) {
      const why = "a `from` query param was supplied, but no existing subscription found";
      return refused(400, why);
    }
    return this.#create(expanded, options, listener);
  }

  attach(
    id: string,
    options: SubscribeOptions,
    listener: StreamListener,
  ): SubscribeOutcome | Promise<SubscribeOutcome> {
    if (this.#teller.isOpen)
      return this.#teller.closed().then(() => this.attach(id, options, listener));
    const restored = this.#restorer?.whenOver(id);
    if (restored !== undefined) return restored.then(() => this.attach(id, options, listener));
    const entry = this.#registry.byId(id);
    if (entry === undefined) return refused(404, `could not find subscription with id ${id}`);
    return this.#attach(entry, options, listener, () => this.attach(id, options, listener));
  }

  /**
   * Resolves when it is known which tables the subscription reads, or that there is none of that id; undefined: it is.
   * It isn't of one that isn't taken up yet from the last run, and of one from before a change of schema.
   */
  whenKnown(id: string): Promise<void> | undefined {
    const restored = this.#restorer?.whenOver(id);
    if (restored !== undefined) return restored;
    const entry = this.#registry.byId(id);
    if (entry === undefined || !entry.isStale) return undefined;
    const fresh = this.#teller.isOpen ? this.#teller.closed() : this.#teller.freshen(entry);
    return entry.isStale ? fresh?.then(() => this.whenKnown(id)) : undefined;
  }

  /** Tables that the subscription reads; undefined when there is none of that id. */
  tablesOf(id: string): ReadonlySet<string> | undefined {
    const entry = this.#registry.byId(id);
    return entry === undefined ? undefined : new Set(entry.subscription.dependencies.keys());
  }

  /** True when there was such a subscriber. */
  unsubscribe(subscriber: number, nowMs: number): boolean {
    return this.#registry.unlisten(subscriber, nowMs);
  }

  #create(
    sql: string,
    options: SubscribeOptions,
    listener: StreamListener,
  ): SubscribeOutcome | Promise<SubscribeOutcome> {
    if (/^\s*pragma/i.test(sql)) return refused(400, "unsupported statement");
    this.#teller.note();
    const begunMs = performance.now();
    const subscription = this.#planner.build(sql, crypto.randomUUID());
    if ("kind" in subscription) return subscription;
    const entry = createEntry(subscription, this.#journal?.nextOrd() ?? 0);
    const pieces = this.#initialRows?.read(subscription.initialQuery);
    if (pieces !== undefined) {
      entry.isLong = true;
      return this.#start(entry, pieces, begunMs, options, listener);
    }
    const why = readInitialRows(entry, this.#evaluation);
    if (why !== undefined) {
      this.#planner.dispose(subscription);
      return refused(400, why);
    }
    this.#registry.add(entry);
    const full = this.#heldLimit.grown(subscription.heldBytes);
    if (full !== undefined) {
      this.#drop(entry);
      return refused(400, full);
    }
    this.#created(entry);
    return this.#attachNow(entry, options, listener, performance.now() - begunMs);
  }

  #created(entry: Entry): void {
    if (this.#journal === undefined) return;
    this.#journal.created(entry);
    this.#teller.askTurn();
  }

  /**
   * Streams rows as they come; commits that come meanwhile are told after them. The outcome is there
   * with the first piece: what fails later ends the stream with a line that says so.
   */
  async #start(
    entry: Entry,
    source: AsyncIterable<readonly ReadRow[]>,
    begunMs: number,
    { skipRows, gone }: SubscribeOptions,
    listener: StreamListener,
  ): Promise<SubscribeOutcome> {
    const { subscription } = entry;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    this.#registry.add(entry);
    this.#registry.setStarting(entry, ended);
    const pieces = source[Symbol.asyncIterator]();
    const first = await this.#firstPiece(entry, pieces, gone);
    if (typeof first === "string") {
      entry.endedBecause = first;
      this.#drop(entry);
      resolve();
      return refused(400, first);
    }
    if (entry.isDropped) {
      resolve();
      await pieces.return?.();
      return refused(400, "the schema changed: subscribe again");
    }
    const head = this.#head(entry);
    let heldBytes = 0;
    const tell = (text: string): void => {
      const why = this.#heldLimit.grown(subscription.heldBytes - heldBytes);
      if (why !== undefined) throw new Error(why);
      heldBytes = subscription.heldBytes;
      if (!skipRows && !entry.isDropped) linesTo(listener, text);
    };
    this.#registry.listen(entry, head.subscriber, listener);
    takeInitialRows(entry, first, pieces, tell)
      .then(async (isWhole) => {
        if (this.#teller.isOpen) await this.#teller.closed();
        if (!isWhole || entry.isDropped) return;
        tell(eoqLine(subscription.history.lastId, performance.now() - begunMs));
        await this.#started(entry);
      })
      .catch((error) => this.#end(entry, (error as Error).message))
      .finally(() => {
        resolve();
        // Where it ended early the source needs its snapshot no more.
        void pieces.return?.();
      });
    return head;
  }

  /** It may be in line for long: where only one client waits, and goes, it leaves. @returns why there is none */
  async #firstPiece(
    entry: Entry,
    pieces: AsyncIterator<readonly ReadRow[]>,
    gone: AbortSignal | undefined,
  ): Promise<IteratorResult<readonly ReadRow[]> | string> {
    let isLeft = false;
    const onGone = (): void => {
      if (entry.startingWaits > 0) return;
      isLeft = true;
      void pieces.return?.();
    };
    gone?.addEventListener("abort", onGone);
    try {
      if (gone?.aborted === true) onGone();
      const first = await pieces.next();
      return isLeft ? "nobody waits for it any more" : first;
    } catch (error) {
      return (error as Error).message;
    } finally {
      gone?.removeEventListener("abort", onGone);
    }
  }

  /** All its rows are there: now for what was committed since they were asked for. */
  async #started(entry: Entry): Promise<void> {
    const { subscription } = entry;
    const isOver = (): boolean => entry.isDropped || entry.subscription !== subscription;
    await this.#journal?.createdLarge(entry, isOver, () => this.#teller.quiet());
    if (!isOver()) this.#teller.settled(entry);
    this.#teller.askTurn();
  }

  /** @param again asks anew: it has ended meanwhile, or its first rows are there */
  #attach(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    again: () => SubscribeOutcome | Promise<SubscribeOutcome>,
  ): SubscribeOutcome | Promise<SubscribeOutcome> {
    const { starting } = entry;
    if (starting !== undefined) {
      entry.startingWaits++;
      return starting.then(() => {
        const { isDropped, endedBecause } = entry;
        if (isDropped && endedBecause !== undefined) return refused(400, endedBecause);
        return again();
      });
    }
    this.#teller.note();
    const fresh = this.#teller.freshen(entry);
    if (fresh !== undefined) return this.#attachLater(entry, options, listener, fresh, again);
    return entry.isDropped ? again() : this.#attachNow(entry, options, listener, 0);
  }

  /**
   * Of a query that another thread runs: as it was when it was asked for, or later. Where that takes too long (or the
   * thread has no snapshot), as it was told last, and what has become of it is told when it is known.
   */
  async #attachLater(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    fresh: Promise<void>,
    again: () => SubscribeOutcome | Promise<SubscribeOutcome>,
  ): Promise<SubscribeOutcome> {
    const askedMs = performance.now();
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), this.#reader.timeoutMs);
    let next: Promise<void> | undefined = fresh;
    while (next !== undefined && entry.asOfMs < askedMs) {
      if ((await Promise.race([next, late.promise])) === "late") break;
      next = this.#teller.freshen(entry);
    }
    clearTimeout(timer);
    // Between two parts of one change nobody comes in.
    while ((entry.rerun?.untold.length ?? 0) > 0 || this.#teller.isOpen) {
      await (this.#teller.isOpen ? this.#teller.closed() : entry.rerun?.settled);
    }
    return entry.isDropped ? again() : this.#attachNow(entry, options, listener, 0);
  }

  /** @param tookMs what running it took */
  #attachNow(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    tookMs: number,
  ): SubscribeOutcome {
    const { subscription } = entry;
    const { history } = subscription;
    const head = this.#head(entry);
    if (options.from !== undefined && options.from > 0) {
      const replay = history.after(options.from);
      if (replay === undefined) {
        const why = `subscription already deleted older changes, min change id: ${history.firstId}`;
        linesTo(listener, `${errorJson(why)}\n`);
        listener({ kind: "end", isCut: false });
        return head;
      }
      if (replay !== "") linesTo(listener, replay);
    } else if (!options.skipRows) {
      if (subscription.rowCount > rowsAtOnceMax) return this.#attachSliced(entry, head, listener);
      for (const piece of snapshotLines(subscription, () => tookMs)) linesTo(listener, piece);
    }
    this.#registry.listen(entry, head.subscriber, listener);
    return head;
  }

  /** Many rows, of which a piece is handed on in each turn. */
  #attachSliced(
    entry: Entry,
    head: SubscribeOutcome & { kind: "subscribed" },
    listener: StreamListener,
  ): SubscribeOutcome {
    const held = new HeldListener({
      listener,
      toldRows: () => this.#teller.toldRows,
      tell: (...told) => this.#teller.tellLate(...told),
    });
    const { subscriber } = head;
    this.#registry.listen(entry, subscriber, held.take);
    const begunMs = performance.now();
    const lines = snapshotLines(entry.subscription, () => performance.now() - begunMs);
    const isWanted = (): boolean => entry.listeners.has(subscriber) || entry.isDropped;
    void held.hand(
      lines.map((text) => utf8(text)),
      isWanted,
    );
    return head;
  }

  #head({ subscription }: Entry): SubscribeOutcome & { kind: "subscribed" } {
    const { id, hash } = subscription;
    return { kind: "subscribed", subscriber: this.#nextSubscriber(), id, hash };
  }

  // ---- A commit ---------------------------------------------------------------------------------

  /** Of a transaction only COMMIT is left. Must be cheap: it waits. */
  committing({ changes }: Commit): void {
    if (this.#cells.isEmpty) return;
    try {
      this.#cells.committing(changes());
    } catch {
      // What wasn't read isn't known: then more of them look.
    }
  }

  /** A transaction was committed. Whoever committed tells soon; otherwise it is told in a turn of its own. */
  committed(commit: Commit): void {
    this.#teller.committed(commit);
  }

  /** Tells listeners what was committed. To be called between transactions. */
  tell(isUrgent: boolean): void {
    this.#teller.tell(isUrgent);
  }

  /** All rows of the commit that a listener is being told of; undefined when it was several. */
  get toldRows(): readonly MergedRow[] | undefined {
    return this.#teller.toldRows;
  }

  // ---- Begin and end ----------------------------------------------------------------------------

  /**
   * Takes up what the store has (`live-restorer.ts`): what is quick before anything is served.
   *
   * @param onLost called for each that can't be taken up, now or later
   * @returns how many were, and how many come while the agent serves
   */
  restore(nowMs: number, onLost: OnLost): { readonly restored: number; readonly later: number } {
    const later = this.#restorer?.restore(nowMs, onLost) ?? 0;
    this.#teller.askTurn();
    return { restored: this.count, later };
  }

  /**
   * The schema is another. Those of which that may make something else look at their rows in their turn
   * (`live-renewals.ts`), or end.
   */
  schemaChanged(): void {
    this.#teller.note();
    for (const [entry, missed] of this.#renewals.schemaChanged()) {
      if (this.#restorer?.isRestoring(entry) === true) this.#restorer.beginAnew(entry);
      else if (entry.starting !== undefined)
        this.#end(entry, "the schema changed: subscribe again");
      else this.#teller.stale(entry, missed);
    }
  }

  /** Forgets what nobody has listened to for long. */
  sweep(nowMs: number): void {
    for (const entry of this.#registry.entries()) {
      if (entry.idleSinceMs === undefined) continue;
      if (nowMs - entry.idleSinceMs > keptWithoutListenersMs) this.#drop(entry);
    }
    this.#heldLimit.sweep();
  }

  /** Cuts every stream. Who comes back after a restart finds its subscription again. */
  endAll(): void {
    for (const entry of this.#registry.entries()) this.#registry.endStreams(entry, true);
  }

  /** Writes down what isn't yet; nothing happens any more. To be called before the database is closed. */
  close(): void {
    this.#teller.note();
    this.#teller.close();
    this.#restorer?.close();
    const untilMs = performance.now() + closeMsMax;
    for (const entry of [...this.#registry.entries()]) {
      if (this.#restorer?.isRestoring(entry) === true) continue;
      // Whose first rows are still being read was told nothing that it could go on from.
      if (entry.starting !== undefined) this.#drop(entry);
      else if (this.#journal === undefined) continue;
      // What isn't found out now, the next start does.
      else if (performance.now() < untilMs) this.#teller.freshenAtEnd(entry);
    }
    this.#journal?.close();
  }

  #end(entry: Entry, why: string): void {
    entry.endedBecause = why;
    const line = `${errorJson(why)}\n`;
    for (const listener of entry.listeners.values()) linesTo(listener, line);
    this.#drop(entry);
  }

  #drop(entry: Entry): void {
    if (entry.isDropped) return;
    entry.isDropped = true;
    this.#registry.remove(entry);
    this.#journal?.dropped(entry);
    this.#registry.endStreams(entry, false);
    this.#planner.dispose(entry.subscription);
    this.#teller.forget(entry);
  }
}

/** What counts to no limit of the reader's. */
function linesTo(listener: StreamListener, lines: string): void {
  listener({ kind: "lines", bytes: utf8(lines), isSnapshot: true });
}

function refused(status: 400 | 404, why: string): Refused {
  return { kind: "refused", status, why };
}
