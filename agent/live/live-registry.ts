/**
 * Which live queries there are, and who listens to each. Who asks the same shares one: the same text
 * after parameters have been put in.
 *
 * @module
 */

import type { MergedRow } from "../../core/row-store.ts";
import type { StreamListener } from "../api/store-service.ts";
import type { FilterIndex } from "./filter-index.ts";
import type { KnownResult } from "./known-result.ts";
import type { Subscription } from "./subscription.ts";
import type { TableChanges } from "./table-changes.ts";

/** A subscription, and what is known of it beside its rows. */
export interface Entry {
  subscription: Subscription;
  readonly listeners: Map<number, StreamListener>;
  /** In the store. */
  readonly ord: number;
  /** Since when nobody listens; undefined while somebody does. */
  idleSinceMs: number | undefined;
  /** Its first rows are on their way; resolves when they are there, or never will be. */
  starting: Promise<void> | undefined;
  /** Others that wait for these. */
  startingWaits: number;
  /** It is being run in another thread. */
  rerun: Rerun | undefined;
  /** Which rows it has can't be told now: a keyed query whose rows are on their way. */
  isUnsettled: boolean;
  /** The schema is another since its plan was made (`live-renewals.ts`). */
  isStale: boolean;
  /** Running it takes longer than the store thread has time for. */
  isLong: boolean;
  /** How many times it isn't tried to look at single groups of it: that took too long. */
  looksWithoutGroups: number;
  /** What was committed and concerns it, and it hasn't looked at yet. */
  missed: Missed | undefined;
  /** What running it took the last time. */
  rerunMs: number;
  /** When the snapshot of its last run in another thread was lent, and that of the last one that was told. */
  lentMs: number;
  asOfMs: number;
  /** Kept for the next run in another thread. */
  known: KnownResult | undefined;
  /** It is in the store, with its rows as of this change; undefined: not yet. */
  savedChangeId: number | undefined;
  isDropped: boolean;
  /** What its readers were told when it ended. */
  endedBecause: string | undefined;
  /** How often it was looked at, how often that told something, and what it took of the store thread. */
  looked: number;
  told: number;
  busyMs: number;
  /** What it took of the reader thread, its first run not counted. */
  readerMs: number;
}

/** A run in another thread that is under way. */
export interface Rerun {
  /** Resolves when what it found is told, or it was given up. */
  readonly settled: Promise<void>;
  /** Lines of what it found that are written down and taken in: told together, and before anything else is. */
  readonly untold: Uint8Array[];
}

export interface Missed {
  readonly changes: TableChanges;
  /** All rows of the one commit that it was; undefined when it was several. */
  readonly rows: readonly MergedRow[] | undefined;
}

export function createEntry(subscription: Subscription, ord: number): Entry {
  return {
    subscription,
    listeners: new Map(),
    ord,
    idleSinceMs: undefined,
    starting: undefined,
    startingWaits: 0,
    rerun: undefined,
    isUnsettled: false,
    isStale: false,
    isLong: false,
    looksWithoutGroups: 0,
    missed: undefined,
    rerunMs: 0,
    lentMs: Number.NEGATIVE_INFINITY,
    asOfMs: Number.NEGATIVE_INFINITY,
    known: undefined,
    savedChangeId: undefined,
    isDropped: false,
    endedBecause: undefined,
    looked: 0,
    told: 0,
    busyMs: 0,
    readerMs: 0,
  };
}

/** For `patina subs`. */
export interface SubscriptionReport {
  readonly id: string;
  readonly sql: string;
  /**
   * By key: changed rows are looked up; grouped: the groups that they were in and are in are; rerun: it is run again
   * and compared.
   */
  readonly how: "keyed" | "grouped" | "rerun";
  /** How a commit finds it: by value, by table and column, or by table. */
  readonly found_by: "value" | "column" | "table";
  /** Where it is run again when it has to be. */
  readonly runs_in: "store thread" | "reader thread";
  /** In the reader thread, or it waits for its snapshot; or its first rows are on their way. */
  readonly runs_now: boolean;
  readonly tables: readonly string[];
  readonly rows: number;
  readonly listeners: number;
  readonly change_id: number;
  readonly oldest_change_id: number;
  readonly looked: number;
  readonly told: number;
  /** Of the store thread. */
  readonly busy_ms: number;
  readonly reader_ms: number;
  /** The last time. */
  readonly rerun_ms: number;
  readonly shares_statements_with: number;
}

export class LiveRegistry {
  readonly #byId = new Map<string, Entry>();
  readonly #bySql = new Map<string, Entry>();
  readonly #byOrd = new Map<number, Entry>();
  readonly #bySubscriber = new Map<number, Entry>();
  readonly #rerunsByTable = new Map<string, Set<Entry>>();
  /** Those of them that see only some rows of the table. */
  readonly filters: FilterIndex<Entry>;
  readonly #unsettled = new Set<Entry>();

  constructor(filters: FilterIndex<Entry>) {
    this.filters = filters;
  }

  get count(): number {
    return this.#byId.size;
  }

  get listenerCount(): number {
    return this.#bySubscriber.size;
  }

  entries(): MapIterator<Entry> {
    return this.#byId.values();
  }

  byId(id: string): Entry | undefined {
    return this.#byId.get(id);
  }

  bySql(sql: string): Entry | undefined {
    return this.#bySql.get(sql);
  }

  byOrd(ord: number): Entry | undefined {
    return this.#byOrd.get(ord);
  }

  /** Those of which it can't be told whether a row is theirs: any change of their tables may concern them. */
  get unsettled(): Iterable<Entry> {
    return this.#unsettled;
  }

  /** Of others than keyed queries nobody asks which rows they have. */
  setUnsettled(entry: Entry, isUnsettled: boolean): void {
    entry.isUnsettled = isUnsettled && entry.subscription.plan.kind === "keyed";
    if (entry.isUnsettled) this.#unsettled.add(entry);
    else this.#unsettled.delete(entry);
  }

  setStarting(entry: Entry, starting: Promise<void> | undefined): void {
    entry.starting = starting;
    this.setUnsettled(entry, starting !== undefined);
  }

  /** Those that read all of a table, and are run again when it changes. */
  rerunsOf(table: string): Iterable<Entry> {
    return this.#rerunsByTable.get(table) ?? [];
  }

  add(entry: Entry): void {
    const { subscription } = entry;
    this.#byId.set(subscription.id, entry);
    this.#bySql.set(subscription.sql, entry);
    this.#byOrd.set(entry.ord, entry);
    this.addTables(entry);
  }

  /** Its listeners stay until {@link endStreams}. */
  remove(entry: Entry): void {
    const { subscription } = entry;
    this.#byId.delete(subscription.id);
    if (this.#bySql.get(subscription.sql) === entry) this.#bySql.delete(subscription.sql);
    this.#byOrd.delete(entry.ord);
    this.#unsettled.delete(entry);
    this.removeTables(entry);
  }

  /** Its subscription is another one now, of the same id and text. */
  addTables(entry: Entry): void {
    const { plan, dependencies } = entry.subscription;
    if (plan.kind === "keyed") {
      for (const filter of plan.filters) {
        this.filters.add(entry, filter, true);
        plan.group.addFilter(filter);
      }
      return;
    }
    for (const table of dependencies.keys()) {
      const filter = plan.filters.find((one) => one.table === table);
      if (filter === undefined) addTo(this.#rerunsByTable, table, entry);
      else this.filters.add(entry, filter);
    }
  }

  removeTables(entry: Entry): void {
    const { plan, dependencies } = entry.subscription;
    if (plan.kind === "keyed") {
      for (const filter of plan.filters) {
        this.filters.remove(entry, filter);
        plan.group.removeFilter(filter);
      }
      return;
    }
    for (const table of dependencies.keys()) {
      const filter = plan.filters.find((one) => one.table === table);
      if (filter === undefined) removeFrom(this.#rerunsByTable, table, entry);
      else this.filters.remove(entry, filter);
    }
  }

  listen(entry: Entry, subscriber: number, listener: StreamListener): void {
    entry.listeners.set(subscriber, listener);
    entry.idleSinceMs = undefined;
    this.#bySubscriber.set(subscriber, entry);
  }

  /** True when there was such a subscriber. */
  unlisten(subscriber: number, nowMs: number): boolean {
    const entry = this.#bySubscriber.get(subscriber);
    if (entry === undefined) return false;
    this.#bySubscriber.delete(subscriber);
    entry.listeners.delete(subscriber);
    if (entry.listeners.size === 0) entry.idleSinceMs = nowMs;
    return true;
  }

  endStreams(entry: Entry, isCut: boolean): void {
    for (const [subscriber, listener] of [...entry.listeners]) {
      this.#bySubscriber.delete(subscriber);
      listener({ kind: "end", isCut });
    }
    entry.listeners.clear();
    // The agent is stopping, or the entry goes: no sweep may take it for one that nobody has wanted for long.
    entry.idleSinceMs ??= Number.POSITIVE_INFINITY;
  }

  describe(): SubscriptionReport[] {
    return [...this.#byId.values()].map(reportOf);
  }
}

function reportOf(entry: Entry): SubscriptionReport {
  const { subscription, listeners, looked, told, busyMs, readerMs, rerunMs, isLong } = entry;
  const { plan, history, dependencies } = subscription;
  const isByValue =
    plan.filters.length > 0 ||
    (plan.kind === "keyed" &&
      plan.values.length > 0 &&
      plan.group.sources.some(({ affected }) => affected !== undefined));
  const isByColumn = [...dependencies.values()].some(({ columns }) => columns !== undefined);
  return {
    id: subscription.id,
    sql: subscription.sql,
    how: plan.kind === "rerun" && plan.grouped !== undefined ? "grouped" : plan.kind,
    found_by: isByValue ? "value" : isByColumn ? "column" : "table",
    runs_in: isLong ? "reader thread" : "store thread",
    runs_now: entry.rerun !== undefined || entry.starting !== undefined,
    tables: [...dependencies.keys()],
    rows: subscription.rowCount,
    listeners: listeners.size,
    change_id: history.lastId,
    oldest_change_id: history.firstId,
    looked,
    told,
    busy_ms: busyMs,
    reader_ms: readerMs,
    rerun_ms: rerunMs,
    shares_statements_with: plan.kind === "keyed" ? plan.group.members.size - 1 : 0,
  };
}

function addTo<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, new Set([value]));
  else values.add(value);
}

function removeFrom<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const values = map.get(key);
  values?.delete(value);
  if (values?.size === 0) map.delete(key);
}
