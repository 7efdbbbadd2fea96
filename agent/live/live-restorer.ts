/**
 * Takes up at a start what the store has of live queries (`live-store.ts`): each query is run once and compared with what
 * readers were told.
 *
 * Before anything is served, for those that are quick, and for two seconds. The others come one after another while the
 * agent serves, in the reader thread where they take long; who asks for one of them waits for it. Those that can't
 * be taken up are unknown from then on.
 *
 * @module
 */

import { NotOfQueryError } from "../sql/not-of-query-error.ts";
import { ChangeHistory, type HistoryLimits } from "./change-history.ts";
import type { Evaluation, Finding } from "./evaluation.ts";
import type { InitialRowsSource } from "./initial-rows.ts";
import { isUntold, restoringStored, rowsFromStored } from "./known-rows.ts";
import type { LiveJournal } from "./live-journal.ts";
import { createEntry, type Entry, type LiveRegistry } from "./live-registry.ts";
import type { LiveStore, StoredSubscription } from "./live-store.ts";
import type { LiveTeller } from "./live-teller.ts";
import type { QueryPlanner } from "./query-planner.ts";

export interface LiveRestorerOptions {
  readonly store: LiveStore;
  readonly journal: LiveJournal;
  readonly registry: LiveRegistry;
  readonly planner: QueryPlanner;
  readonly evaluation: Evaluation;
  readonly teller: LiveTeller;
  /** Where those that take long get their rows; undefined: from the writer's connection, in one turn. */
  readonly initialRows: InitialRowsSource | undefined;
  readonly limits: RestoreLimits;
}

export interface RestoreLimits extends HistoryLimits {
  /** Before anything is served: for all, and for one where another thread could run it. */
  readonly restoreMsMax: number;
  readonly restoreOneMsMax: number;
}

/** The subscription's id, and why it is unknown now. */
export type OnLost = (lost: string) => void;

interface Waiting {
  readonly stored: StoredSubscription;
  /** It is there, or never will be. */
  readonly over: PromiseWithResolvers<void>;
  entry: Entry | undefined;
}

const attemptsMax = 5;
const pauseMs = 500;

export class LiveRestorer {
  readonly #options: LiveRestorerOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #idsBySql = new Map<string, string>();
  #isClosed = false;

  constructor(options: LiveRestorerOptions) {
    this.#options = options;
  }

  /** Resolves when it is there, or never will be; undefined when it isn't waited for. */
  whenOver(id: string): Promise<void> | undefined {
    return this.#waiting.get(id)?.over.promise;
  }

  whenSqlOver(sql: string): Promise<void> | undefined {
    const id = this.#idsBySql.get(sql);
    return id === undefined ? undefined : this.whenOver(id);
  }

  /** What the store has of it is all that there is: it stays there. */
  isRestoring(entry: Entry): boolean {
    return this.#waiting.get(entry.subscription.id)?.entry === entry;
  }

  /** @returns how many come while the agent serves */
  restore(nowMs: number, onLost: OnLost): number {
    const { store, journal, limits } = this.#options;
    const { stored, log } = store.load();
    journal.restored(log);
    const untilMs = performance.now() + limits.restoreMsMax;
    for (const one of stored) {
      const outcome = performance.now() > untilMs ? "later" : this.#tryNow(one, nowMs);
      if (outcome === "later") this.#wait(one);
      else if (outcome !== undefined) this.#lost(one, outcome.why, onLost);
    }
    const later = this.#waiting.size;
    if (later > 0) void this.#restoreLater(nowMs, onLost);
    return later;
  }

  /** The schema is another: it begins anew. */
  beginAnew(entry: Entry): void {
    const waiting = this.#waiting.get(entry.subscription.id);
    if (waiting?.entry !== entry) return;
    this.#forget(entry);
    waiting.entry = undefined;
  }

  close(): void {
    this.#isClosed = true;
  }

  #wait(stored: StoredSubscription): void {
    this.#waiting.set(stored.id, { stored, over: Promise.withResolvers(), entry: undefined });
    this.#idsBySql.set(stored.sql, stored.id);
    // What the log says of it is wanted until then.
    this.#options.journal.hold(stored.ord);
  }

  #lost({ id, ord }: StoredSubscription, why: string, onLost: OnLost): void {
    this.#options.journal.lost(ord);
    onLost(`${id}: ${why}`);
  }

  /** @returns undefined when it is taken up, or why it can't be */
  #tryNow(
    stored: StoredSubscription,
    nowMs: number,
  ): { readonly why: string } | "later" | undefined {
    const { evaluation, initialRows, limits } = this.#options;
    const entry = this.#build(stored, nowMs);
    if ("why" in entry) return entry;
    const { subscription } = entry;
    const ms = initialRows === undefined ? Number.POSITIVE_INFINITY : limits.restoreOneMsMax;
    const found = evaluation.within(entry, () => rowsFromStored(stored, subscription), ms);
    if (found.kind === "long") {
      this.#options.planner.dispose(subscription);
      return "later";
    }
    return this.#take(entry, found);
  }

  #build(stored: StoredSubscription, nowMs: number): Entry | { readonly why: string } {
    const { planner, limits } = this.#options;
    const { lines, savedChangeId, lastChangeId, lastRowId } = stored;
    const history = new ChangeHistory(limits, lastChangeId - lines.length);
    for (const line of lines) history.add(line);
    const built = planner.build(stored.sql, stored.id, { lastRowId, history });
    if ("kind" in built) return { why: built.why };
    if (built.columnsJson !== stored.columnsJson) {
      planner.dispose(built);
      return { why: "its columns are others" };
    }
    const entry = createEntry(built, stored.ord);
    entry.savedChangeId = savedChangeId;
    entry.idleSinceMs = nowMs;
    return entry;
  }

  /** Whether or not it is registered. */
  #take(entry: Entry, found: Finding): { readonly why: string } | undefined {
    const { planner, registry, teller } = this.#options;
    const isRegistered = registry.byOrd(entry.ord) === entry;
    const giveUp = (why: string): { readonly why: string } => {
      if (isRegistered) this.#forget(entry);
      else planner.dispose(entry.subscription);
      return { why };
    };
    if (found.kind === "failed") return giveUp(found.why);
    if (found.changes.some(isUntold)) return giveUp("the database was changed without it");
    if (!isRegistered) registry.add(entry);
    if (found.changes.length > 0) teller.take([found]);
    return undefined;
  }

  /** In the store it stays. */
  #forget(entry: Entry): void {
    const { planner, registry } = this.#options;
    entry.isDropped = true;
    registry.remove(entry);
    planner.dispose(entry.subscription);
  }

  // ---- While the agent serves -------------------------------------------------------------------

  async #restoreLater(nowMs: number, onLost: OnLost): Promise<void> {
    const { journal, teller } = this.#options;
    for (const [id, waiting] of this.#waiting) {
      const { stored, over } = waiting;
      const outcome = await this.#later(waiting, nowMs);
      if (this.#isClosed) return;
      this.#waiting.delete(id);
      this.#idsBySql.delete(stored.sql);
      journal.release(stored.ord);
      if (outcome !== undefined) this.#lost(stored, outcome.why, onLost);
      const { entry } = waiting;
      if (entry !== undefined && !entry.isDropped) teller.settled(entry);
      teller.askTurn();
      over.resolve();
    }
  }

  async #later(waiting: Waiting, nowMs: number): Promise<{ readonly why: string } | undefined> {
    const { registry, teller } = this.#options;
    for (let attempt = 1; await teller.quiet(); ) {
      const entry = this.#build(waiting.stored, nowMs);
      if ("why" in entry) return entry;
      waiting.entry = entry;
      registry.add(entry);
      registry.setStarting(entry, waiting.over.promise);
      const found = await this.#find(entry, waiting.stored);
      if (!(await teller.quiet())) return undefined;
      // The schema is another now; or nobody wants it any more.
      if (waiting.entry === undefined) continue;
      if (entry.isDropped) return undefined;
      if (found !== "again") return this.#take(entry, found);
      this.#forget(entry);
      if (++attempt > attemptsMax) return { why: "no snapshot of the database was to be had" };
      await Bun.sleep(pauseMs * attempt);
    }
    return undefined;
  }

  async #find(entry: Entry, stored: StoredSubscription): Promise<Finding | "again"> {
    const { evaluation, initialRows } = this.#options;
    const { subscription } = entry;
    const pieces = initialRows?.read(subscription.wholeQuery);
    if (pieces === undefined) {
      return evaluation.of(entry, () => rowsFromStored(stored, subscription), true);
    }
    entry.isLong = true;
    const restoring = restoringStored(stored, subscription);
    try {
      for await (const rows of pieces) {
        if (entry.isDropped) break;
        for (const row of rows) restoring.row(row);
      }
    } catch (error) {
      if (error instanceof NotOfQueryError) return "again";
      return { kind: "failed", entry, why: (error as Error).message };
    }
    return { kind: "changes", entry, changes: entry.isDropped ? [] : restoring.end() };
  }
}
