/**
 * All live queries of this node. A commit tells it what changed, in the same turn and with no timer
 * between, and everyone who listens hears of it at once; events of one transaction arrive together.
 *
 * A commit goes three steps:
 *
 * 1. {@link LiveQueries.prepare}, in the transaction, when only COMMIT is left: whom does it concern,
 *    and what becomes of their rows? The answer is written in the same transaction (`live-store.ts`), so
 *    that a crash loses both or neither. Queries run on the writer's connection, which sees it all.
 * 2. {@link LiveQueries.storeCommitted}: it is so.
 * 3. {@link LiveQueries.tell}: rows are taken in, and listeners hear of it.
 *
 * Whom it concerns is found by table, by column, and for keyed queries by value (`keyed-group.ts`), so
 * that nobody else costs a commit anything.
 *
 * What costs more than a millisecond to find out (a large query that has to be run again) is found out
 * in the next turns, one query a turn: whoever is told quickly isn't kept waiting by it, and commits
 * that come meanwhile are told with it, as their net difference. Those that an urgent change concerns
 * come first.
 *
 * Who asks the same shares one {@link Subscription}: the same text after parameters have been put in.
 * A subscription without listeners is kept for ten minutes, so that its readers can come back. If it is
 * run again at every change, it isn't until one does.
 *
 * @module
 */

import { decodeKey } from "../../core/row/key.ts";
import { Real, type SqlValue } from "../../core/row/value.ts";
import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import { errorJson, utf8 } from "../api/http.ts";
import { NotUtf8Error, secondsToJson } from "../api/json-writer.ts";
import type { SqlText } from "../api/statement.ts";
import type {
  Refused,
  StreamListener,
  SubscribeOptions,
  SubscribeOutcome,
} from "../api/store-service.ts";
import type { Deadline } from "../sql/deadline.ts";
import { notReadonly, type SqlGuard } from "../sql/guard.ts";
import { bindOne, errorText, SqlRefused } from "../sql/prepared.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import { ChangeHistory, type HistoryLimits, historyLimits } from "./change-history.ts";
import { type Dependencies, dependenciesOf, isPlainlyCompared } from "./dependencies.ts";
import { keyText } from "./key-text.ts";
import { KeyedGroup, type KeyedSource, ParameterTable } from "./keyed-group.ts";
import { type KeyedQuery, keyedQuery } from "./keyed-query.ts";
import { hashOf, type LiveStore, type LogRecord, type StoredSubscription } from "./live-store.ts";
import { seaHashHex } from "./seahash.ts";
import { type Before, type Change, type Plan, type Row, Subscription } from "./subscription.ts";
import { type ChangedRow, concerns, type TableChanges } from "./table-changes.ts";

/** Key columns of a table in the order of its primary key; undefined for a table without one, and for views. */
export type KeyColumnsOf = (table: string) => readonly string[] | undefined;

/** The connection that live queries run on: the writer's, which sees a transaction before its COMMIT. */
export interface LiveConnection {
  readonly database: Database;
  readonly guard: SqlGuard;
  readonly deadline: Deadline;
}

export interface LiveQueriesOptions {
  /** Compiles what clients send, and bounds how long a query may run. */
  readonly reader: QueryRunner;
  readonly writer: LiveConnection;
  readonly keyColumnsOf: KeyColumnsOf;
  /** Numbers that are unique among all listeners of the store. */
  readonly nextSubscriber: () => number;
  /** Without one nothing outlives the process. */
  readonly store?: LiveStore | undefined;
  readonly limits?: LiveLimits | undefined;
}

export interface LiveLimits extends HistoryLimits {
  /** Changes of all subscriptions together, characters: in memory and in the database. */
  readonly logCharsMax: number;
}

export const liveLimits: LiveLimits = { ...historyLimits, logCharsMax: 32 * 1024 * 1024 };

const keptWithoutListenersMs = 10 * 60 * 1000;
/** What may be found out in the turn of the commit itself: one query run again, and all of them. */
const rerunMsMax = 1;
const rerunsMsMax = 5;
/** Rows of one commit that are looked at one by one. */
const rowsMax = 2000;
/** Subscriptions that are written, or records that are dropped, in one turn. */
const upkeepMax = 100;
/** At a start, for all that are taken up again; those beyond are unknown afterwards. */
const restoreMsMax = 2000;

interface Entry {
  subscription: Subscription;
  readonly listeners: Map<number, StreamListener>;
  /** In the store. */
  readonly ord: number;
  /** Since when nobody listens; undefined while somebody does. */
  idleSinceMs: number | undefined;
  /** Its tables changed and it hasn't looked yet. */
  isStale: boolean;
  /** What running it took the last time. */
  rerunMs: number;
  /** It is in the store, with its rows as of this change; undefined: not yet. */
  savedChangeId: number | undefined;
  isDropped: boolean;
  /** Commits that it was looked at for, those that told something, and what looking took. */
  looked: number;
  told: number;
  busyMs: number;
}

/** What a transaction comes to, for one of them. */
type Finding = { readonly entry: Entry } & (
  | { readonly kind: "changes"; readonly changes: readonly Change[] }
  | { readonly kind: "later" }
  | { readonly kind: "failed"; readonly why: string }
);

export interface SubscriptionReport {
  readonly id: string;
  readonly sql: string;
  /** By key: changed rows are looked up; rerun: it is run again and compared. */
  readonly how: "keyed" | "rerun";
  /** How a commit finds it: by value, by table and column, or by table. */
  readonly found_by: "value" | "column" | "table";
  readonly tables: readonly string[];
  readonly rows: number;
  readonly listeners: number;
  readonly change_id: number;
  readonly oldest_change_id: number;
  readonly looked: number;
  readonly told: number;
  readonly busy_ms: number;
  readonly rerun_ms: number;
  readonly shares_statements_with: number;
}

export class LiveQueries {
  readonly #reader: QueryRunner;
  readonly #writer: LiveConnection;
  readonly #keyColumnsOf: KeyColumnsOf;
  readonly #nextSubscriber: () => number;
  readonly #store: LiveStore | undefined;
  readonly #limits: LiveLimits;
  readonly #parameters: ParameterTable;
  readonly #byId = new Map<string, Entry>();
  readonly #bySql = new Map<string, Entry>();
  readonly #byOrd = new Map<number, Entry>();
  readonly #bySubscriber = new Map<number, Entry>();
  readonly #groups = new Map<string, KeyedGroup<Subscription>>();
  readonly #groupsByTable = new Map<string, Set<KeyedGroup<Subscription>>>();
  readonly #rerunsByTable = new Map<string, Set<Entry>>();
  /** Stale, with listeners: one has its turn after another. */
  readonly #due = new Set<Entry>();
  readonly #dueUrgent = new Set<Entry>();
  /** Not in the store yet, and in it still. */
  readonly #unsaved = new Set<Entry>();
  readonly #unremoved = new Set<number>();
  /** Commits that are in the store, oldest first. */
  #log: LogRecord[] = [];
  #logChars = 0;
  #pending: Finding[] = [];
  #pendingRecord: LogRecord | undefined;
  /** Saved by the transaction that is pending. */
  #pendingSaved: Entry[] = [];
  #isPendingCommitted = false;
  #isTurnAsked = false;
  #isClosed = false;
  #lastGroup = 0;

  constructor(options: LiveQueriesOptions) {
    this.#reader = options.reader;
    this.#writer = options.writer;
    this.#keyColumnsOf = options.keyColumnsOf;
    this.#nextSubscriber = options.nextSubscriber;
    this.#store = options.store;
    this.#limits = options.limits ?? liveLimits;
    this.#parameters = new ParameterTable(options.writer.database);
  }

  get count(): number {
    return this.#byId.size;
  }

  get listenerCount(): number {
    return this.#bySubscriber.size;
  }

  /** For `patina subs` and `patina status`. */
  describe(): SubscriptionReport[] {
    return [...this.#byId.values()].map((entry) => {
      const { subscription, listeners, looked, told, busyMs, rerunMs } = entry;
      const { plan, history, dependencies } = subscription;
      const isByValue =
        plan.kind === "keyed" &&
        plan.values.length > 0 &&
        plan.group.sources.some(({ affected }) => affected !== undefined);
      const isByColumn = [...dependencies.values()].some(({ columns }) => columns !== undefined);
      return {
        id: subscription.id,
        sql: subscription.sql,
        how: plan.kind,
        found_by: isByValue ? "value" : isByColumn ? "column" : "table",
        tables: [...dependencies.keys()],
        rows: subscription.rowCount,
        listeners: listeners.size,
        change_id: history.lastId,
        oldest_change_id: history.firstId,
        looked,
        told,
        busy_ms: busyMs,
        rerun_ms: rerunMs,
        shares_statements_with: plan.kind === "keyed" ? plan.group.members.size - 1 : 0,
      };
    });
  }

  /** For a status: {@link describe} without going through all of them. */
  summary(): { readonly count: number; readonly listeners: number; readonly log_chars: number } {
    return { count: this.count, listeners: this.listenerCount, log_chars: this.#logChars };
  }

  subscribe(text: SqlText, options: SubscribeOptions, listener: StreamListener): SubscribeOutcome {
    const expanded = this.#reader.guard.within("read", () => this.#expand(text));
    if (typeof expanded !== "string") return expanded;
    const known = this.#bySql.get(expanded);
    if (known !== undefined) return this.#attach(known, options, listener);
    if (options.from !== undefined) {
      const why = "a `from` query param was supplied, but no existing subscription found";
      return refused(400, why);
    }
    const begunMs = performance.now();
    const entry = this.#create(expanded);
    if ("kind" in entry) return entry;
    return this.#attach(entry, options, listener, performance.now() - begunMs);
  }

  attach(id: string, options: SubscribeOptions, listener: StreamListener): SubscribeOutcome {
    const entry = this.#byId.get(id);
    if (entry === undefined) return refused(404, `could not find subscription with id ${id}`);
    return this.#attach(entry, options, listener);
  }

  /** Tables that the subscription reads; undefined when there is none of that id. */
  tablesOf(id: string): ReadonlySet<string> | undefined {
    const entry = this.#byId.get(id);
    return entry === undefined ? undefined : new Set(entry.subscription.dependencies.keys());
  }

  /** True when there was such a subscriber. */
  unsubscribe(subscriber: number, nowMs: number): boolean {
    const entry = this.#bySubscriber.get(subscriber);
    if (entry === undefined) return false;
    this.#bySubscriber.delete(subscriber);
    entry.listeners.delete(subscriber);
    if (entry.listeners.size === 0) entry.idleSinceMs = nowMs;
    return true;
  }

  /**
   * Finds out what a transaction comes to, and writes it down in the same transaction, of which only
   * COMMIT is left. Nobody is told yet. What it throws is the file's, and the transaction's end.
   */
  prepare(changes: TableChanges): void {
    if (this.#isPendingCommitted) this.tell(false);
    else this.#forgetPending();
    if (this.#byId.size === 0 || changes.size === 0) return;
    const { guard } = this.#writer;
    guard.within("read", () => this.#find(changes));
    this.#record(this.#pending);
  }

  /** The transaction of the last {@link prepare} was committed. */
  storeCommitted(): void {
    this.#isPendingCommitted = true;
    // Whoever committed may have nobody told: then it is done before anything else.
    if (this.#pending.length > 0) this.#askTurn();
  }

  /** Tells listeners what the last committed transaction came to. */
  tell(isUrgent: boolean): void {
    const pending = this.#pending;
    if (this.#pendingRecord !== undefined) this.#keepRecord(this.#pendingRecord);
    this.#pendingRecord = undefined;
    this.#pendingSaved = [];
    this.#pending = [];
    this.#isPendingCommitted = false;
    for (const finding of pending) {
      const { entry } = finding;
      if (entry.isDropped) continue;
      if (finding.kind === "changes") this.#take(entry, finding.changes);
      // What was told before no longer leads to what is: the subscription ends, never lies.
      else if (finding.kind === "failed") this.#end(entry, finding.why);
      else {
        entry.isStale = true;
        if (entry.listeners.size === 0) continue;
        (isUrgent ? this.#dueUrgent : this.#due).add(entry);
        this.#askTurn();
      }
    }
  }

  /**
   * The schema is another. A subscription whose columns are others now ends, with a line that says so:
   * what it told doesn't lead to what it would tell. All others are looked at anew and go on.
   */
  schemaChanged(): void {
    if (this.#isPendingCommitted) this.tell(false);
    const entries = [...this.#byId.values()];
    for (const entry of entries) {
      this.#unlist(entry);
      entry.subscription.dispose();
      this.#releaseGroup(entry.subscription.plan);
    }
    for (const entry of entries) this.#buildAgain(entry);
  }

  #buildAgain(entry: Entry): void {
    const before = entry.subscription;
    const built = this.#build(before.sql, before.id, before);
    const isKept = !("kind" in built) && built.columnsJson === before.columnsJson;
    if (!isKept) {
      if (!("kind" in built)) this.#dispose(built);
      const why = "the schema changed, and with it this query's columns: subscribe again";
      this.#end(entry, why);
      return;
    }
    const rows = new Map<string, { identity: string; row: Row }[]>();
    for (const held of before.rows()) {
      const same = rows.get(held.row.cells);
      if (same === undefined) rows.set(held.row.cells, [held]);
      else same.push(held);
    }
    entry.subscription = built;
    entry.isStale = false;
    this.#list(entry);
    this.#finding(entry, () =>
      built.restore(
        (_identity, cells) => rows.get(cells)?.pop()?.row.rowId,
        () => [...rows.values()].flat(),
      ),
    );
  }

  /** Forgets what nobody has listened to for long. */
  sweep(nowMs: number): void {
    for (const entry of this.#byId.values()) {
      if (entry.idleSinceMs === undefined) continue;
      if (nowMs - entry.idleSinceMs > keptWithoutListenersMs) this.#drop(entry);
    }
  }

  /** Ends every stream. Who comes back after a restart finds its subscription again. */
  endAll(): void {
    for (const entry of this.#byId.values()) this.#endStreams(entry);
  }

  /** Writes down what isn't yet; nothing happens any more. To be called before the database is closed. */
  close(): void {
    if (this.#isPendingCommitted) this.tell(false);
    this.#isClosed = true;
    const store = this.#store;
    if (store === undefined) return;
    for (const entry of [...this.#byId.values()]) if (entry.isStale) this.#freshen(entry);
    store.within(() => {
      for (const ord of this.#unremoved) store.remove(ord);
      for (const entry of this.#unsaved) this.#save(entry);
    });
    this.#unremoved.clear();
    this.#unsaved.clear();
  }

  /**
   * Takes up what the store has, before anything is served: each query is run once and compared with
   * what readers were told. Those that can't be taken up are unknown from now on.
   *
   * @returns how many were, and why others weren't
   */
  restore(nowMs: number): { readonly restored: number; readonly lost: readonly string[] } {
    const store = this.#store;
    if (store === undefined) return { restored: 0, lost: [] };
    const { stored, log } = store.load();
    const lost: string[] = [];
    const begunMs = performance.now();
    for (const one of stored) {
      const isLate = performance.now() - begunMs > restoreMsMax;
      const why = isLate ? "no time left" : this.#restore(one, nowMs);
      if (why === undefined) continue;
      lost.push(`${one.id}: ${why}`);
      this.#unremoved.add(one.ord);
    }
    for (const record of log) this.#keepRecord(record);
    // Findings of the restart were recorded after those.
    this.#log.sort((a, b) => a.seq - b.seq);
    if (this.#unremoved.size > 0) this.#askTurn();
    return { restored: this.count, lost };
  }

  // ---- Whom a transaction concerns --------------------------------------------------------------

  #find(changes: TableChanges): void {
    const affected = new Map<Entry, Map<string, ChangedRow[] | "unknown">>();
    const note = (entry: Entry | undefined, table: string, row: ChangedRow | "unknown"): void => {
      if (entry === undefined || entry.isDropped) return;
      let own = affected.get(entry);
      if (own === undefined) {
        own = new Map();
        affected.set(entry, own);
      }
      const rows = own.get(table);
      if (row === "unknown") own.set(table, row);
      else if (rows === undefined) own.set(table, [row]);
      else if (rows !== "unknown") rows.push(row);
    };
    for (const [table, rows] of changes) {
      for (const entry of this.#rerunsByTable.get(table) ?? []) {
        if (isConcerned(rows, table, entry.subscription.dependencies))
          note(entry, table, "unknown");
      }
      for (const group of this.#groupsByTable.get(table) ?? []) {
        if (isConcerned(rows, table, group.dependencies))
          this.#findMembers(group, table, rows, note);
      }
    }
    const begunMs = performance.now();
    for (const [entry, own] of affected) {
      if (entry.isStale) continue;
      entry.looked++;
      const { subscription } = entry;
      const canLookUp = subscription.canLookUp(own);
      const isIdleRerun = entry.listeners.size === 0 && subscription.plan.kind === "rerun";
      const isLong = entry.rerunMs > rerunMsMax || performance.now() - begunMs > rerunsMsMax;
      if (!canLookUp && (isIdleRerun || isLong)) this.#pending.push({ kind: "later", entry });
      else {
        const finding = this.#look(
          entry,
          () => subscription.find(canLookUp ? own : undefined),
          !canLookUp,
        );
        if (finding.kind === "failed" || finding.changes.length > 0) this.#pending.push(finding);
      }
    }
  }

  #findMembers(
    group: KeyedGroup<Subscription>,
    table: string,
    rows: readonly ChangedRow[] | "unknown",
    note: (entry: Entry | undefined, table: string, row: ChangedRow | "unknown") => void,
  ): void {
    const all = (row: ChangedRow | "unknown"): void => {
      for (const member of group.members.values()) note(this.#byId.get(member.id), table, row);
    };
    const source = group.sources.findIndex((one) => one.table === table);
    const dependency = group.dependencies.get(table);
    if (rows === "unknown" || rows.length > rowsMax || source < 0 || dependency === undefined) {
      all("unknown");
      return;
    }
    try {
      for (const row of rows) {
        if (!concerns(row, dependency)) continue;
        const values = decodeKey(row.key) ?? [];
        const members = group.affected(source, keyText(values), values);
        if (members === undefined) all(row);
        else for (const member of members) note(this.#byId.get(member.id), table, row);
      }
    } catch {
      // Interrupted, or a key that has no text: then everyone looks.
      all("unknown");
    }
  }

  /** Runs `find` for an entry. */
  #look(
    entry: Entry,
    find: () => readonly Change[],
    isRerun: boolean,
  ): Finding & { kind: "changes" | "failed" } {
    const { guard, deadline } = this.#writer;
    const begunMs = performance.now();
    try {
      const changes = guard.within("read", () => deadline.within(this.#reader.timeoutMs, find));
      return { kind: "changes", entry, changes };
    } catch (error) {
      const why = error instanceof NotUtf8Error ? error.message : errorText(error, guard);
      return { kind: "failed", entry, why };
    } finally {
      const tookMs = performance.now() - begunMs;
      entry.busyMs += tookMs;
      if (isRerun) entry.rerunMs = tookMs;
    }
  }

  /** Writes down what is going to be told, in the transaction that is open. */
  #record(findings: readonly Finding[]): void {
    const store = this.#store;
    if (store === undefined) return;
    const parts: { ord: number; changes: readonly Change[] }[] = [];
    for (const finding of findings) {
      const { entry } = finding;
      if (finding.kind === "failed") store.remove(entry.ord);
      if (finding.kind !== "changes") continue;
      if (entry.savedChangeId === undefined) {
        this.#save(entry);
        this.#pendingSaved.push(entry);
      }
      parts.push({ ord: entry.ord, changes: finding.changes });
    }
    if (parts.length > 0) this.#pendingRecord = store.append(parts);
  }

  /** The last transaction was rolled back. */
  #forgetPending(): void {
    for (const entry of this.#pendingSaved) {
      entry.savedChangeId = undefined;
      if (!entry.isDropped) this.#unsaved.add(entry);
    }
    this.#pendingSaved = [];
    this.#pendingRecord = undefined;
    this.#pending = [];
  }

  #take(entry: Entry, changes: readonly Change[]): void {
    entry.told++;
    entry.subscription.take(changes);
    const { listeners } = entry;
    if (listeners.size === 0) return;
    let lines = "";
    for (const { line } of changes) lines += line;
    const bytes = utf8(lines);
    for (const listener of listeners.values()) {
      listener({ kind: "lines", bytes, isSnapshot: false });
    }
  }

  #end(entry: Entry, why: string): void {
    const bytes = utf8(`${errorJson(why)}\n`);
    for (const listener of entry.listeners.values()) {
      listener({ kind: "lines", bytes, isSnapshot: true });
    }
    this.#drop(entry);
  }

  // ---- In turns of their own --------------------------------------------------------------------

  #askTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    setImmediate(() => {
      this.#isTurnAsked = false;
      this.#turn();
    });
  }

  #turn(): void {
    if (this.#isClosed) return;
    if (this.#isPendingCommitted) this.tell(false);
    const [urgent] = this.#dueUrgent;
    const [entry] = this.#due;
    const due = urgent ?? entry;
    if (due !== undefined) this.#freshen(due);
    else this.#keepUp();
    const isLeft =
      this.#due.size + this.#dueUrgent.size + this.#unsaved.size + this.#unremoved.size;
    if (isLeft > 0 || this.#logChars > this.#limits.logCharsMax) this.#askTurn();
  }

  /** Brings a stale one up to date. */
  #freshen(entry: Entry): void {
    this.#due.delete(entry);
    this.#dueUrgent.delete(entry);
    if (!entry.isStale || entry.isDropped) return;
    entry.isStale = false;
    this.#finding(entry, () => entry.subscription.find(undefined));
  }

  /** Finds out, writes down and tells, in a transaction of its own. */
  #finding(entry: Entry, find: () => readonly Change[]): void {
    const finding = this.#look(entry, find, true);
    if (finding.kind === "changes" && finding.changes.length === 0) return;
    if (this.#isPendingCommitted) this.tell(false);
    this.#forgetPending();
    this.#pending = [finding];
    try {
      this.#store?.within(() => this.#record(this.#pending));
      this.tell(false);
    } catch (error) {
      this.#forgetPending();
      this.#end(entry, (error as Error).message);
    }
  }

  /** A slice of what the store is to have, and of what it has too much. */
  #keepUp(): void {
    const store = this.#store;
    if (store === undefined) {
      this.#unsaved.clear();
      this.#unremoved.clear();
      return;
    }
    const removed = [...this.#unremoved].slice(0, upkeepMax);
    const saved = [...this.#unsaved].slice(0, upkeepMax);
    const { logCharsMax } = this.#limits;
    let dropped = 0;
    let droppedChars = 0;
    const again = new Set<Entry>();
    while (dropped < upkeepMax && this.#logChars - droppedChars > logCharsMax) {
      const record = this.#log[dropped] as LogRecord;
      droppedChars += record.chars;
      dropped++;
      for (const { ord, lastChangeId } of record.parts) {
        const entry = this.#byOrd.get(ord);
        // What the record says is to stand in the rows that are saved before it goes.
        if (entry !== undefined && (entry.savedChangeId ?? 0) < lastChangeId) again.add(entry);
      }
    }
    if (removed.length + saved.length + dropped === 0) return;
    const last = this.#log[dropped - 1];
    try {
      store.within(() => {
        for (const ord of removed) store.remove(ord);
        for (const entry of saved) this.#save(entry);
        for (const entry of again) this.#save(entry);
        if (last !== undefined) store.trim(last.seq);
      });
    } catch {
      // A full disk: then they are unknown after a crash. Later ones are tried again.
      for (const entry of saved) entry.savedChangeId = undefined;
    }
    for (const ord of removed) this.#unremoved.delete(ord);
    for (const entry of saved) this.#unsaved.delete(entry);
    for (const { parts } of this.#log.splice(0, dropped)) {
      for (const { ord, lastChangeId } of parts) {
        this.#byOrd.get(ord)?.subscription.history.dropThrough(lastChangeId);
      }
    }
    this.#logChars -= droppedChars;
  }

  #save(entry: Entry): void {
    (this.#store as LiveStore).save(entry.ord, entry.subscription);
    entry.savedChangeId = entry.subscription.history.lastId;
    this.#unsaved.delete(entry);
  }

  #keepRecord(record: LogRecord): void {
    this.#log.push(record);
    this.#logChars += record.chars;
    if (this.#logChars > this.#limits.logCharsMax) this.#askTurn();
  }

  // ---- One subscription -------------------------------------------------------------------------

  #attach(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    tookMs = 0,
  ): SubscribeOutcome {
    if (this.#isPendingCommitted) this.tell(false);
    this.#freshen(entry);
    const { subscription } = entry;
    if (entry.isDropped) {
      return refused(404, `could not find subscription with id ${subscription.id}`);
    }
    const { history } = subscription;
    const subscriber = this.#nextSubscriber();
    const tell = (text: string): void => {
      if (text !== "") listener({ kind: "lines", bytes: utf8(text), isSnapshot: true });
    };
    const head = {
      kind: "subscribed",
      subscriber,
      id: subscription.id,
      hash: subscription.hash,
    } as const;
    if (options.from !== undefined && options.from > 0) {
      const replay = history.after(options.from);
      if (replay === undefined) {
        const why = `subscription already deleted older changes, min change id: ${history.firstId}`;
        tell(`${errorJson(why)}\n`);
        listener({ kind: "end" });
        return head;
      }
      tell(replay);
    } else if (!options.skipRows) {
      let text = `{"columns":${subscription.columnsJson}}\n`;
      for (const { rowId, cells } of subscription.sortedRows()) {
        text += `{"row":[${rowId},${cells}]}\n`;
        if (text.length < chunkCharsMin) continue;
        tell(text);
        text = "";
      }
      const eoq = `{"eoq":{"time":${secondsToJson(tookMs)},"change_id":${history.lastId}}}\n`;
      tell(text + eoq);
    }
    entry.listeners.set(subscriber, listener);
    entry.idleSinceMs = undefined;
    this.#bySubscriber.set(subscriber, entry);
    return head;
  }

  /** The text with the values in it, which names the subscription. */
  #expand(text: SqlText): string | Refused {
    let statement: Statement;
    try {
      const prepared = this.#reader.prepared.get(text.sql);
      if (prepared === "empty") return refused(500, "could not expand sql statement");
      statement = prepared.statement;
      if (!statement.readonly || statement.columnCount === 0 || statement.explain !== 0) {
        return refused(400, "unsupported statement");
      }
      bindLoosely(statement, text.parameters);
    } catch (error) {
      if (!(error instanceof SqlRefused)) throw error;
      const isWrite = error.message === notReadonly;
      return refused(400, isWrite ? "unsupported statement" : error.message);
    }
    return statement.expandedSql;
  }

  #create(sql: string): Entry | Refused {
    if (/^\s*pragma/i.test(sql)) return refused(400, "unsupported statement");
    const subscription = this.#build(sql, crypto.randomUUID());
    if ("kind" in subscription) return subscription;
    const entry = this.#entry(subscription, this.#store?.nextOrd() ?? 0);
    const started = this.#look(
      entry,
      () => {
        subscription.start();
        return [];
      },
      true,
    );
    if (started.kind === "failed") {
      this.#dispose(subscription);
      return refused(400, started.why);
    }
    this.#list(entry);
    if (this.#store !== undefined) {
      this.#unsaved.add(entry);
      this.#askTurn();
    }
    return entry;
  }

  #entry(subscription: Subscription, ord: number): Entry {
    return {
      subscription,
      listeners: new Map(),
      ord,
      idleSinceMs: undefined,
      isStale: false,
      rerunMs: 0,
      savedChangeId: undefined,
      isDropped: false,
      looked: 0,
      told: 0,
      busyMs: 0,
    };
  }

  /** Why it can't be taken up; undefined when it is. */
  #restore(stored: StoredSubscription, nowMs: number): string | undefined {
    const { rows, lines, lastChangeId, lastRowId } = stored;
    const history = new ChangeHistory(this.#limits, lastChangeId - lines.length);
    for (const line of lines) history.add(line);
    const built = this.#build(stored.sql, stored.id, { lastRowId, history });
    if ("kind" in built) return built.why;
    const entry = this.#entry(built, stored.ord);
    const giveUp = (why: string): string => {
      this.#dispose(built);
      return why;
    };
    if (built.columnsJson !== stored.columnsJson) return giveUp("its columns are others");
    // By what readers see: rows that look the same are the same to them.
    const byCells = new Map<bigint, number[]>();
    for (const [rowId, { cellsHash }] of rows) {
      const same = byCells.get(cellsHash);
      if (same === undefined) byCells.set(cellsHash, [rowId]);
      else same.push(rowId);
    }
    const identities = new Map<bigint, string>();
    const found = this.#look(
      entry,
      () =>
        built.restore(
          (identity, cells) => {
            identities.set(hashOf(identity), identity);
            const same = byCells.get(hashOf(cells));
            if (same === undefined) return undefined;
            // The row's own id where it is among them.
            const at = same.findIndex((id) => rows.get(id)?.identity === hashOf(identity));
            return same.splice(Math.max(at, 0), 1)[0];
          },
          function* () {
            for (const rowId of [...byCells.values()].flat()) {
              const row = rows.get(rowId);
              if (row === undefined) continue;
              const identity = identities.get(row.identity) ?? `\n${row.identity}`;
              yield { identity, row: { rowId, cells: row.cells ?? unknownCells } };
            }
          },
        ),
      true,
    );
    if (found.kind === "failed") return giveUp(found.why);
    if (found.changes.some(({ type, cells }) => type === "delete" && cells === unknownCells)) {
      return giveUp("the database was changed without it");
    }
    entry.savedChangeId = lastChangeId;
    entry.idleSinceMs = nowMs;
    this.#list(entry);
    if (found.changes.length > 0) this.#finding(entry, () => found.changes);
    return undefined;
  }

  /** @param before what it goes on from */
  #build(sql: string, id: string, before?: Before): Subscription | Refused {
    const { guard, database } = this.#writer;
    let plain: Statement | undefined;
    try {
      guard.beginNotes();
      const statement = guard.within("read", () => database.prepare(sql));
      plain = statement;
      const { notes } = guard;
      const columns = statement.columnNames();
      const plan = this.#plan(sql, statement, notes);
      const hash = seaHashHex(sql);
      return new Subscription({ id, hash, sql, columns, plan, limits: this.#limits, before });
    } catch (error) {
      plain?.finalize();
      return refused(400, errorText(error, guard));
    }
  }

  #plan(sql: string, plain: Statement, notes: SqlGuard["notes"]): Plan {
    const { database } = this.#writer;
    for (const takeValues of [true, false]) {
      const query = keyedQuery(sql, this.#keyColumnsOf, takeValues);
      if (query === undefined) break;
      const group = this.#groups.get(query.all) ?? this.#createGroup(query, sql, notes);
      if (group === undefined) continue;
      plain.finalize();
      return { kind: "keyed", group, values: query.values };
    }
    const dependencies = dependenciesOf(database, sql, notes, true);
    if (dependencies.size === 0) {
      throw new SqlRefused("at least 1 table is required in FROM / JOIN clause");
    }
    return { kind: "rerun", all: plain, dependencies, identity: this.#identityColumns(plain) };
  }

  #createGroup(
    query: KeyedQuery,
    sql: string,
    notes: SqlGuard["notes"],
  ): KeyedGroup<Subscription> | undefined {
    const { guard, database } = this.#writer;
    const dependencies = dependenciesOf(database, sql, notes, false);
    // What else SQLite saw it read (a view's tables, say) is beyond what its words tell.
    const tables = new Set(query.tables.map(({ table }) => table));
    if (tables.size !== dependencies.size) return undefined;
    for (const table of tables) if (!dependencies.has(table)) return undefined;
    this.#parameters.make();
    const isPlain = [...tables].every((table) => isPlainlyCompared(database, table));
    const statements: Statement[] = [];
    const prepare = (text: string): Statement => {
      const statement = guard.within("read", () => database.prepare(text));
      statements.push(statement);
      return statement;
    };
    try {
      const all = prepare(query.all);
      const sources = query.tables.map(({ table, keyColumns, one, affected }): KeyedSource => {
        return {
          table,
          keyColumns,
          one: one === undefined ? undefined : prepare(one),
          affected:
            affected === undefined || !isPlain || query.values.length === 0
              ? undefined
              : tried(() => prepare(affected)),
        };
      });
      const number = ++this.#lastGroup;
      const parameters = this.#parameters;
      const group = new KeyedGroup<Subscription>({
        number,
        query,
        all,
        sources,
        dependencies,
        parameters,
      });
      this.#groups.set(query.all, group);
      for (const table of tables) addTo(this.#groupsByTable, table, group);
      return group;
    } catch {
      // SQLite reads the words otherwise: run it again and compare.
      for (const statement of statements) statement.finalize();
      return undefined;
    }
  }

  #releaseGroup(plan: Plan): void {
    if (plan.kind !== "keyed" || plan.group.members.size > 0) return;
    const { group } = plan;
    this.#groups.delete(group.text);
    for (const table of group.dependencies.keys()) removeFrom(this.#groupsByTable, table, group);
    group.dispose();
  }

  /** Columns of the result that are key columns, of tables whose whole key is there. */
  #identityColumns(statement: Statement): number[] {
    const found = new Map<string, Map<string, number>>();
    for (let i = 0; i < statement.columnCount; i++) {
      const origin = statement.columnOrigin(i);
      if (origin === null) continue;
      const table = origin.table.toLowerCase();
      const columns = found.get(table) ?? new Map<string, number>();
      if (!columns.has(origin.column.toLowerCase())) columns.set(origin.column.toLowerCase(), i);
      found.set(table, columns);
    }
    const identity: number[] = [];
    for (const [table, columns] of found) {
      const key = this.#keyColumnsOf(table);
      if (key?.every((column) => columns.has(column))) {
        identity.push(...key.map((column) => columns.get(column) as number));
      }
    }
    return identity;
  }

  #list(entry: Entry): void {
    const { subscription } = entry;
    this.#byId.set(subscription.id, entry);
    this.#bySql.set(subscription.sql, entry);
    this.#byOrd.set(entry.ord, entry);
    if (subscription.plan.kind === "keyed") return;
    for (const table of subscription.dependencies.keys()) {
      addTo(this.#rerunsByTable, table, entry);
    }
  }

  #unlist(entry: Entry): void {
    const { subscription } = entry;
    if (subscription.plan.kind === "keyed") return;
    for (const table of subscription.dependencies.keys()) {
      removeFrom(this.#rerunsByTable, table, entry);
    }
  }

  #endStreams(entry: Entry): void {
    for (const [subscriber, listener] of [...entry.listeners]) {
      this.#bySubscriber.delete(subscriber);
      listener({ kind: "end" });
    }
    entry.listeners.clear();
    entry.idleSinceMs ??= 0;
  }

  #drop(entry: Entry): void {
    if (entry.isDropped) return;
    entry.isDropped = true;
    const { subscription } = entry;
    this.#due.delete(entry);
    this.#dueUrgent.delete(entry);
    this.#unsaved.delete(entry);
    this.#byId.delete(subscription.id);
    this.#bySql.delete(subscription.sql);
    this.#byOrd.delete(entry.ord);
    this.#unlist(entry);
    if (this.#store !== undefined && entry.savedChangeId !== undefined) {
      this.#unremoved.add(entry.ord);
      this.#askTurn();
    }
    this.#endStreams(entry);
    this.#dispose(subscription);
  }

  #dispose(subscription: Subscription): void {
    subscription.dispose();
    this.#releaseGroup(subscription.plan);
  }
}

/** Rows of a snapshot are handed on in pieces of about this size. */
const chunkCharsMin = 64 * 1024;

/** Stands for cells of which only the hash is known. No cells are like it. */
const unknownCells = "";

function isConcerned(
  rows: readonly ChangedRow[] | "unknown",
  table: string,
  dependencies: Dependencies,
): boolean {
  const dependency = dependencies.get(table);
  if (rows === "unknown" || dependency === undefined) return true;
  return rows.some((row) => concerns(row, dependency));
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

function tried<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch {
    return undefined;
  }
}

/** As the contract has it for subscriptions: missing values are NULL, unknown names are skipped. */
function bindLoosely(
  statement: Statement,
  parameters: readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined,
): void {
  if (statement.parameterCount > 0) statement.clearBindings();
  if (parameters === undefined) return;
  for (const value of parameters.values()) {
    // SQLite writes values into the text with 15 digits.
    if (value instanceof Real && Number(value.real.toPrecision(15)) !== value.real) {
      throw new SqlRefused(
        `REAL parameters of subscriptions have at most 15 digits, got ${value.real}: write it into the text`,
      );
    }
  }
  if (parameters instanceof Map) {
    for (const [name, value] of parameters as ReadonlyMap<string, SqlValue>) {
      const index = statement.parameterIndex(name);
      if (index > 0) bindOne(statement, index, value);
    }
    return;
  }
  const values = parameters as readonly SqlValue[];
  if (values.length > statement.parameterCount) throw new SqlRefused("column index out of range");
  for (let i = 0; i < values.length; i++) bindOne(statement, i + 1, values[i] as SqlValue);
}

function refused(status: 400 | 404 | 500, why: string): Refused {
  return { kind: "refused", status, why };
}
