/**
 * All live queries of this node. A commit tells it what changed, in the same turn and with no timer
 * between, and everyone who listens hears of it at once; events of one transaction arrive together
 * (`live-teller.ts`).
 *
 * A subscription without listeners is kept for ten minutes, so that its readers can come back. If it is
 * run again at every change, it isn't until one does. Times are on a monotonic clock, in ms: the host's may be set meanwhile.
 *
 * @module
 */

import type { MergedRow } from "../../core/row-store.ts";
import { errorJson } from "../api/http.ts";
import type { SqlText } from "../api/statement.ts";
import type { StreamListener, SubscribeOptions, SubscribeOutcome } from "../api/store-service.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import { historyLimits } from "./change-history.ts";
import { ChangedCells } from "./changed-cells.ts";
import { Evaluation, type LiveConnection, type LookBudget } from "./evaluation.ts";
import { FilterIndex } from "./filter-index.ts";
import { HeldLimit } from "./held-limit.ts";
import type { InitialRowsSource } from "./initial-rows.ts";
import { LiveJournal } from "./live-journal.ts";
import { LiveReaders, linesTo } from "./live-readers.ts";
import { type Entry, LiveRegistry, type SubscriptionReport } from "./live-registry.ts";
import { LiveRenewals } from "./live-renewals.ts";
import type { RerunSource } from "./live-reruns.ts";
import { LiveRestorer, type OnLost, type RestoreLimits } from "./live-restorer.ts";
import type { LiveStore } from "./live-store.ts";
import { LiveTeller } from "./live-teller.ts";
import { TableShapes } from "./plan/table-shapes.ts";
import { type KeyColumnsOf, QueryPlanner } from "./query-planner.ts";
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

/** Of one {@link LiveQueries.sweep}: a microsecond each, for what they keep is in no cache. */
const sweptMax = 200;

/** At a stop, for finding out what subscriptions missed. */
const closeMsMax = 2000;

export class LiveQueries {
  readonly #cells: ChangedCells;
  readonly #registry: LiveRegistry;
  readonly #planner: QueryPlanner;
  readonly #journal: LiveJournal | undefined;
  readonly #teller: LiveTeller;
  readonly #restorer: LiveRestorer | undefined;
  readonly #renewals: LiveRenewals;
  readonly #heldLimit: HeldLimit;
  readonly #readers: LiveReaders;
  /** Where {@link sweep} goes on. */
  #sweeping: Iterator<Entry, undefined> | undefined;

  constructor(options: LiveQueriesOptions) {
    const { reader, writer, keyColumnsOf, store, limits = liveLimits } = options;
    const { database, guard } = writer;
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
    const evaluation = new Evaluation(
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
      evaluation,
    });
    this.#teller = new LiveTeller({
      writer,
      registry: this.#registry,
      planner: this.#planner,
      evaluation,
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
            evaluation,
            teller: this.#teller,
            initialRows: options.initialRows,
            limits,
          });
    this.#readers = new LiveReaders({
      reader,
      initialRows: options.initialRows,
      nextSubscriber: options.nextSubscriber,
      registry: this.#registry,
      planner: this.#planner,
      evaluation,
      journal: this.#journal,
      teller: this.#teller,
      restorer: this.#restorer,
      heldLimit: this.#heldLimit,
      end: (entry, why) => this.#end(entry, why),
      drop: (entry) => this.#drop(entry),
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
    return this.#readers.subscribe(text, options, listener);
  }

  /** The same for one that is there. */
  attach(
    id: string,
    options: SubscribeOptions,
    listener: StreamListener,
  ): SubscribeOutcome | Promise<SubscribeOutcome> {
    return this.#readers.attach(id, options, listener);
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
    const fresh = this.#teller.freshen(entry);
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

  /** Forgets what nobody has listened to for long. Goes through all of them in some calls, where they are many. */
  sweep(nowMs: number): void {
    this.#sweeping ??= this.#registry.entries();
    for (let left = sweptMax; left > 0; left--) {
      const { done, value: entry } = this.#sweeping.next();
      if (done === true) {
        this.#sweeping = undefined;
        this.#heldLimit.allCounted();
        return;
      }
      const { idleSinceMs } = entry;
      if (idleSinceMs !== undefined && nowMs - idleSinceMs > keptWithoutListenersMs) {
        this.#drop(entry);
      } else this.#heldLimit.count(entry);
    }
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
      if (entry.starting !== undefined) {
        this.#drop(entry);
        continue;
      }
      if (this.#journal === undefined) continue;
      const leftMs = untilMs - performance.now();
      if (leftMs > 0) this.#teller.freshenAtEnd(entry, leftMs);
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
