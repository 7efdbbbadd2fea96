/**
 * All live queries of this node. A commit tells it what changed, in the same turn and with no timer
 * between, and everyone who listens hears of it at once; events of one transaction arrive together.
 *
 * What costs more than a millisecond to find out (a large query that has to be run again) is found out
 * in the next turns, one query a turn: whoever is told quickly isn't kept waiting by it, and commits
 * that come meanwhile are told with it, as their net difference.
 *
 * Who asks the same shares one {@link Subscription}: the same text after parameters have been put in.
 * A subscription without listeners is kept for ten minutes, so that its readers can come back; it is
 * brought up to date when one does, and costs a commit nothing until then.
 *
 * @module
 */

import { Real, type SqlValue } from "../../core/row/value.ts";
import type { MergedRow } from "../../core/store/row-store.ts";
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
import { notReadonly } from "../sql/guard.ts";
import { bindOne, errorText, SqlRefused } from "../sql/prepared.ts";
import type { QueryRunner } from "../sql/query-runner.ts";
import { keyedQuery } from "./keyed-query.ts";
import { seaHashHex } from "./seahash.ts";
import { type Plan, Subscription } from "./subscription.ts";
import type { TableChanges } from "./table-changes.ts";

/** Key columns of a table in the order of its primary key; undefined for a table without one, and for views. */
export type KeyColumnsOf = (table: string) => readonly string[] | undefined;

const keptWithoutListenersMs = 10 * 60 * 1000;
/** What may be found out in the turn of the commit itself. */
const rerunMsMax = 1;

interface Entry {
  readonly subscription: Subscription;
  readonly listeners: Map<number, StreamListener>;
  /** Since when nobody listens; undefined while somebody does. */
  idleSinceMs: number | undefined;
  /** Its tables changed and it hasn't looked yet. */
  isStale: boolean;
  /** What running it took the last time. */
  rerunMs: number;
}

export class LiveQueries {
  readonly #runner: QueryRunner;
  readonly #keyColumnsOf: KeyColumnsOf;
  readonly #byId = new Map<string, Entry>();
  readonly #bySql = new Map<string, Entry>();
  readonly #byTable = new Map<string, Set<Entry>>();
  readonly #bySubscriber = new Map<number, Entry>();
  readonly #nextSubscriber: () => number;
  /** Stale, with listeners: one has its turn after another. */
  readonly #due = new Set<Entry>();
  #isTurnAsked = false;

  /** @param nextSubscriber numbers that are unique among all listeners of the store */
  constructor(runner: QueryRunner, keyColumnsOf: KeyColumnsOf, nextSubscriber: () => number) {
    this.#runner = runner;
    this.#keyColumnsOf = keyColumnsOf;
    this.#nextSubscriber = nextSubscriber;
  }

  get count(): number {
    return this.#byId.size;
  }

  get listenerCount(): number {
    return this.#bySubscriber.size;
  }

  /** For `patina status`. */
  describe(): {
    id: string;
    sql: string;
    how: "keyed" | "rerun";
    rows: number;
    listeners: number;
    change_id: number;
    rerun_ms: number;
  }[] {
    return [...this.#byId.values()].map(({ subscription, listeners, rerunMs }) => ({
      id: subscription.id,
      sql: subscription.sql,
      how: subscription.isKeyed ? "keyed" : "rerun",
      rows: subscription.rowCount,
      listeners: listeners.size,
      change_id: subscription.history.lastId,
      rerun_ms: rerunMs,
    }));
  }

  subscribe(text: SqlText, options: SubscribeOptions, listener: StreamListener): SubscribeOutcome {
    const { guard } = this.#runner;
    return guard.within("read", () => {
      const expanded = this.#expand(text);
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
    });
  }

  attach(id: string, options: SubscribeOptions, listener: StreamListener): SubscribeOutcome {
    const entry = this.#byId.get(id);
    if (entry === undefined) return refused(404, `could not find subscription with id ${id}`);
    return this.#attach(entry, options, listener);
  }

  /** Tables that the subscription reads; undefined when there is none of that id. */
  tablesOf(id: string): ReadonlySet<string> | undefined {
    return this.#byId.get(id)?.subscription.tables;
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

  /** To be called after each commit, before anything else happens. */
  changed(changes: TableChanges): void {
    if (this.#byTable.size === 0) return;
    const affected = new Map<Entry, Map<string, readonly MergedRow[] | "unknown">>();
    for (const [table, rows] of changes) {
      for (const entry of this.#byTable.get(table) ?? []) {
        const own = affected.get(entry);
        if (own === undefined) affected.set(entry, new Map([[table, rows]]));
        else own.set(table, rows);
      }
    }
    for (const [entry, own] of affected) {
      const { subscription, listeners } = entry;
      if (listeners.size === 0) entry.isStale = true;
      else if (entry.isStale) continue;
      else if (subscription.canLookUp(own)) this.#refresh(entry, own);
      else if (entry.rerunMs <= rerunMsMax) this.#refresh(entry, undefined);
      else {
        entry.isStale = true;
        this.#due.add(entry);
        this.#askTurn();
      }
    }
  }

  /**
   * The schema is another. A subscription whose columns or tables are others now ends, with a line that
   * says so: what it told doesn't lead to what it would tell. All others go on, and look again.
   */
  schemaChanged(): void {
    const why = "the schema changed, and with it this query's columns: subscribe again";
    for (const entry of [...this.#byId.values()]) {
      if (this.#isShapeKept(entry)) {
        entry.isStale = true;
        if (entry.listeners.size > 0) this.#due.add(entry);
        continue;
      }
      for (const listener of entry.listeners.values()) {
        listener({ kind: "lines", bytes: utf8(`${errorJson(why)}\n`), isSnapshot: true });
      }
      this.#drop(entry);
    }
    if (this.#due.size > 0) this.#askTurn();
  }

  #isShapeKept({ subscription }: Entry): boolean {
    const { guard, database } = this.#runner;
    return guard.within("read", () => {
      guard.beginNotes();
      try {
        using statement = database.prepare(subscription.sql);
        const { read } = guard.notes;
        return (
          JSON.stringify(statement.columnNames()) === subscription.columnsJson &&
          read.size === subscription.tables.size &&
          [...read].every((table) => subscription.tables.has(table))
        );
      } catch {
        return false;
      }
    });
  }

  #askTurn(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    setImmediate(() => {
      this.#isTurnAsked = false;
      const [entry] = this.#due;
      if (entry !== undefined) this.#freshen(entry);
      if (this.#due.size > 0) this.#askTurn();
    });
  }

  /** Brings a stale one up to date. */
  #freshen(entry: Entry): void {
    this.#due.delete(entry);
    if (entry.isStale && this.#byId.has(entry.subscription.id)) this.#refresh(entry, undefined);
  }

  /** Forgets what nobody has listened to for long. */
  sweep(nowMs: number): void {
    for (const entry of this.#byId.values()) {
      if (entry.idleSinceMs === undefined) continue;
      if (nowMs - entry.idleSinceMs > keptWithoutListenersMs) this.#drop(entry);
    }
  }

  /** Ends every stream. */
  endAll(): void {
    for (const entry of [...this.#byId.values()]) this.#drop(entry);
  }

  #attach(
    entry: Entry,
    options: SubscribeOptions,
    listener: StreamListener,
    tookMs = 0,
  ): SubscribeOutcome {
    this.#freshen(entry);
    const { subscription } = entry;
    if (!this.#byId.has(subscription.id)) {
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
      const eoq = `{"eoq":{"time":${secondsToJson(tookMs)},"change_id":${history.lastId}}}\n`;
      tell(`{"columns":${subscription.columnsJson}}\n${subscription.rowLines()}${eoq}`);
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
      const prepared = this.#runner.prepared.get(text.sql);
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
    const { guard, database, deadline, timeoutMs } = this.#runner;
    const statements: Statement[] = [];
    const prepare = (text: string): Statement => {
      const statement = database.prepare(text);
      statements.push(statement);
      return statement;
    };
    try {
      guard.beginNotes();
      const plain = prepare(sql);
      const tables = guard.notes.read;
      if (/^\s*pragma/i.test(sql)) return refused(400, "unsupported statement");
      if (tables.size === 0) {
        return refused(400, "at least 1 table is required in FROM / JOIN clause");
      }
      const columns = plain.columnNames();
      const subscription = new Subscription({
        id: crypto.randomUUID(),
        hash: seaHashHex(sql),
        sql,
        tables,
        columns,
        plan: this.#plan(sql, plain, tables, prepare),
      });
      const begunMs = performance.now();
      deadline.within(timeoutMs, () => subscription.start());
      const rerunMs = performance.now() - begunMs;
      const entry: Entry = {
        subscription,
        listeners: new Map(),
        idleSinceMs: undefined,
        isStale: false,
        rerunMs,
      };
      this.#byId.set(subscription.id, entry);
      this.#bySql.set(sql, entry);
      for (const table of tables) {
        const entries = this.#byTable.get(table);
        if (entries === undefined) this.#byTable.set(table, new Set([entry]));
        else entries.add(entry);
      }
      return entry;
    } catch (error) {
      for (const statement of statements) statement.finalize();
      if (error instanceof NotUtf8Error) return refused(400, error.message);
      return refused(400, errorText(error, guard));
    }
  }

  #plan(
    sql: string,
    plain: Statement,
    tables: ReadonlySet<string>,
    prepare: (sql: string) => Statement,
  ): Plan {
    const keyed = keyedQuery(sql, this.#keyColumnsOf);
    // What else SQLite saw it read (a view's tables, say) is beyond what its words tell.
    if (
      keyed?.tables.length === tables.size &&
      keyed.tables.every(({ table }) => tables.has(table))
    ) {
      try {
        const all = prepare(keyed.all);
        const sources = keyed.tables.map(({ table, keyColumns, one }) => ({
          table,
          keyColumns,
          one: one === undefined ? undefined : prepare(one),
        }));
        plain.finalize();
        return { kind: "keyed", all, sources };
      } catch {
        // SQLite reads the words otherwise: run it again and compare.
      }
    }
    return { kind: "rerun", all: plain, identity: this.#identityColumns(plain) };
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

  /** @param changes to be looked up; undefined: run it again */
  #refresh(entry: Entry, changes: TableChanges | undefined): void {
    const { subscription, listeners } = entry;
    const { guard, deadline, timeoutMs } = this.#runner;
    let lines: string;
    const begunMs = performance.now();
    entry.isStale = false;
    try {
      lines = guard.within("read", () =>
        deadline.within(timeoutMs, () => subscription.refresh(changes)),
      );
      if (changes === undefined) entry.rerunMs = performance.now() - begunMs;
    } catch (error) {
      // What was told before no longer leads to what is: the subscription ends, never lies.
      const why = error instanceof NotUtf8Error ? error.message : errorText(error, guard);
      const bytes = utf8(`${errorJson(why)}\n`);
      for (const listener of listeners.values()) {
        listener({ kind: "lines", bytes, isSnapshot: true });
      }
      this.#drop(entry);
      return;
    }
    if (lines === "" || listeners.size === 0) return;
    const bytes = utf8(lines);
    for (const listener of listeners.values())
      listener({ kind: "lines", bytes, isSnapshot: false });
  }

  #drop(entry: Entry): void {
    const { subscription, listeners } = entry;
    this.#due.delete(entry);
    this.#byId.delete(subscription.id);
    this.#bySql.delete(subscription.sql);
    for (const table of subscription.tables) {
      const entries = this.#byTable.get(table);
      entries?.delete(entry);
      if (entries?.size === 0) this.#byTable.delete(table);
    }
    for (const [subscriber, listener] of [...listeners]) {
      this.#bySubscriber.delete(subscriber);
      listener({ kind: "end" });
    }
    listeners.clear();
    subscription.dispose();
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
