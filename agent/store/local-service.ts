/**
 * The store service of the thread that owns the database: runs what the handlers ask for, and tells
 * live queries of every commit, local or merged, in the same turn.
 *
 * @module
 */

import { encodeKey } from "../../core/row/key.ts";
import { lowerAscii } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { MergedRow } from "../../core/row-store.ts";
import { quoteName } from "../../core/schema/sql-token.ts";
import { type Access, foreignTable, fullAccess } from "../api/access.ts";
import type { Metric } from "../api/exposition.ts";
import { errorJson, utf8 } from "../api/http.ts";
import type { SqlText } from "../api/statement.ts";
import type {
  HealthReport,
  Operation,
  OperationOutcome,
  QueryOutcome,
  Refused,
  StoreService,
  StreamListener,
  SubscribeOptions,
  SubscribeOutcome,
  TableStats,
  TransactOutcome,
} from "../api/store-service.ts";
import { snakeCased } from "../config/snake-case.ts";
import type { InitialRowsSource } from "../live/initial-rows.ts";
import { type LiveLimits, LiveQueries } from "../live/live-queries.ts";
import type { RerunSource } from "../live/live-reruns.ts";
import type { LiveStore } from "../live/live-store.ts";
import type { KeyColumnsOf } from "../live/query-planner.ts";
import {
  type ChangedRow,
  changedTables,
  type TableChanges,
  tableChanges,
} from "../live/table-changes.ts";
import { TableUpdates } from "../live/table-updates.ts";
import type { Commit } from "../live/unnoted-commits.ts";
import type { ReadJob } from "../readers/read-job.ts";
import { budget, type ReaderPool, tooManyText } from "../readers/reader-pool.ts";
import { notReadonly } from "../sql/guard.ts";
import { columnsLine, type QueryRunner } from "../sql/query-runner.ts";
import { TokenRights } from "../sql/token-rights.ts";
import type { LocalWrites, TransactionRunner, WriteCommit } from "../sql/transaction-runner.ts";
import { AllowedListener } from "./allowed-listener.ts";
import { withTransactionLines } from "./transaction-lines.ts";

/** What the thread around it knows better. */
export interface LocalServiceHost<C extends WriteCommit> {
  readonly actorId: string;
  readonly nowMs: () => number;
  /** Key columns of any table that has a key. */
  readonly keyColumnsOf: KeyColumnsOf;
  /** @param table in ASCII lower case */
  readonly isReplicated: (table: string) => boolean;
  /** The table may have rows that the store has never heard of. */
  readonly mayBeUnheard?: (table: string) => boolean;
  /** Why local writes are refused now; undefined when they aren't. */
  readonly writesRefused: () => string | undefined;
  /** Waits, not for long, until what others have is here; false when it isn't. */
  readonly heard?: () => Promise<boolean>;
  /** A local transaction was committed; called before live queries and the client hear of it. */
  readonly onCommitted: (commit: C) => void;
  /** Resolves when what was committed before the call is as durable as an answer promises. Undefined: it is. */
  readonly durable?: (() => Promise<void>) | undefined;
  /**
   * Undefined when the connection that writes is free; otherwise to be asked again once the promise is kept.
   * Left out where it always is.
   */
  readonly whenFree?: () => Promise<void> | undefined;
  /** What a client asked for, begun then (`performance.now`), has just ended. */
  readonly took?: (kind: "query" | "write", begunMs: number) => void;
  /** A client was served. */
  readonly served?: () => void;
  /** Milliseconds since this node was last identical with a peer; undefined for never. */
  readonly agreedMs?: () => number | undefined;
  readonly health: () => Promise<HealthReport>;
  readonly status: () => unknown;
  readonly swarm: () => Promise<unknown>;
  readonly metrics?: () => Promise<readonly Metric[]>;
  /** Where new subscriptions get their rows; undefined: from the writer's connection, in one turn. */
  readonly initialRows?: InitialRowsSource;
  /** Where live queries are run again that take long; undefined: on the writer's connection, in one turn. */
  readonly reruns?: RerunSource;
  /** Where live queries outlive the process; undefined: they don't. */
  readonly liveStore?: LiveStore;
  readonly liveLimits?: LiveLimits;
  /** Why CREATE statements aren't accepted; undefined when they change nothing. */
  readonly migrationProblem?: (statements: readonly string[]) => string | undefined;
  /** Runs what is long in another thread; undefined: it is run here. */
  readonly readers?: ReaderPool | undefined;
  /** What an operator may ask for; undefined where nothing can be asked. */
  readonly operate?: (operation: Operation) => Promise<OperationOutcome>;
}

/** Counting tables, before others have their turn: one may be named thousands of times. */
const countMsMax = 2;

export class LocalService<C extends WriteCommit = WriteCommit> implements StoreService {
  readonly actorId: string;
  readonly live: LiveQueries;
  readonly #reader: QueryRunner;
  readonly #rights: TokenRights;
  readonly #writer: TransactionRunner<C>;
  readonly #updates: TableUpdates;
  readonly #host: LocalServiceHost<C>;
  #lastSubscriber = 0;
  /** Of the transaction whose COMMIT is next. */
  #committing: Committed | undefined;
  /** Committed, and the listeners of single tables aren't told. */
  #untold: Committed[] = [];

  constructor(reader: QueryRunner, writer: TransactionRunner<C>, host: LocalServiceHost<C>) {
    this.actorId = host.actorId;
    this.#reader = reader;
    this.#rights = new TokenRights(reader.database, reader.guard, reader.prepared, "read");
    this.#writer = writer;
    this.#host = host;
    const nextSubscriber = () => ++this.#lastSubscriber;
    this.live = new LiveQueries({
      reader,
      writer,
      keyColumnsOf: host.keyColumnsOf,
      nextSubscriber,
      isReplicated: host.isReplicated,
      mayBeUnheard: host.mayBeUnheard,
      initialRows: host.initialRows,
      reruns: host.reruns,
      store: host.liveStore,
      limits: host.liveLimits,
    });
    this.#updates = new TableUpdates(host.isReplicated, nextSubscriber);
  }

  async transact(
    statements: readonly SqlText[],
    timeoutMs: number | undefined,
    access: Access = fullAccess,
  ): Promise<TransactOutcome> {
    this.#host.served?.();
    let outcome = await this.#transact(statements, timeoutMs, access);
    // Nothing of it was applied, and most hosts have caught up in a second.
    if (outcome.kind === "refused" && outcome.isUnheard === true && (await this.#host.heard?.())) {
      outcome = await this.#transact(statements, timeoutMs, access);
    }
    const { durable } = this.#host;
    if (durable === undefined || outcome.kind === "refused") return outcome;
    try {
      await durable();
      return outcome;
    } catch (error) {
      const what = "committed, but it isn't known whether it is on the disk";
      return { kind: "refused", status: 500, why: `${what}: ${(error as Error).message}` };
    }
  }

  async #transact(
    statements: readonly SqlText[],
    timeoutMs: number | undefined,
    access: Access,
  ): Promise<TransactOutcome> {
    await this.#free();
    if (access.revoked?.aborted === true) {
      return { kind: "refused", status: 403, why: "this token is no longer valid" };
    }
    const why = this.#host.writesRefused();
    if (why !== undefined) return { kind: "refused", status: 500, why };
    const onCommit = (commit: C): void => this.#committed(commit);
    const begunMs = performance.now();
    try {
      return this.#writer.transact(statements, timeoutMs, this.#host.nowMs, onCommit, access);
    } finally {
      this.#host.took?.("write", begunMs);
    }
  }

  query(
    statement: SqlText,
    timeoutMs: number | undefined,
    access: Access = fullAccess,
  ): QueryOutcome {
    this.#host.served?.();
    const refusal = this.#mayNotRead(statement, access);
    if (refusal !== undefined) return refusal;
    const begunMs = performance.now();
    try {
      return this.#query(statement, timeoutMs);
    } finally {
      this.#host.took?.("query", begunMs);
    }
  }

  /** Here, if it is short; one that isn't is begun anew in the reader thread. */
  #query(text: SqlText, timeoutMs: number | undefined): QueryOutcome {
    const { readers } = this.#host;
    if (readers === undefined) return this.#reader.query(text, timeoutMs);
    if (readers.isToBeTried(text.sql)) {
      const outcome = this.#reader.query(text, timeoutMs, budget);
      if (outcome !== "long") {
        readers.known.delete(text.sql);
        return outcome;
      }
      readers.known.add(text.sql);
    }
    const checked = this.#reader.check(text);
    if (!("statement" in checked)) return checked;
    const head = columnsLine(checked);
    const job = readers.query(text, this.#reader.limitMs(timeoutMs));
    if (job === undefined) {
      return { kind: "refused", status: 500, why: tooManyText };
    }
    return {
      kind: "stream",
      chunks: linesOf(head, job),
      cancel: () => job.leave(),
      refuse: (why) => job.refuse(why),
    };
  }

  async subscribe(
    statement: SqlText,
    options: SubscribeOptions,
    listener: StreamListener,
    access: Access = fullAccess,
  ): Promise<SubscribeOutcome> {
    const refusal = this.#mayNotRead(statement, access);
    // As the contract has it for subscriptions.
    if (refusal?.why === notReadonly) return { ...refusal, why: "unsupported statement" };
    if (refusal !== undefined) return refusal;
    return this.#open(access, options, listener, (told) =>
      this.live.subscribe(statement, options, told),
    );
  }

  async attach(
    id: string,
    options: SubscribeOptions,
    listener: StreamListener,
    access: Access = fullAccess,
  ): Promise<SubscribeOutcome> {
    // Before that it isn't known which tables it reads.
    await this.live.whenKnown(id);
    // Another's subscription is as unknown as none: ids are no secrets, and tell nothing.
    const foreign = foreignTable(access.tables, this.live.tablesOf(id) ?? []);
    return foreign === undefined
      ? this.#open(access, options, listener, (told) => this.live.attach(id, options, told))
      : { kind: "refused", status: 404, why: `could not find subscription with id ${id}` };
  }

  async updates(
    table: string,
    listener: StreamListener,
    access: Access = fullAccess,
  ): Promise<SubscribeOutcome> {
    const foreign = foreignTable(access.tables, [lowerAscii(table)]);
    if (foreign !== undefined) return mayNotRead(foreign);
    return this.#updates.subscribe(table, listener);
  }

  unsubscribe(subscriber: number): void {
    if (!this.live.unsubscribe(subscriber, performance.now())) {
      this.#updates.unsubscribe(subscriber);
    }
  }

  /** @throws when a table that is there can't be counted */
  async tableStats(tables: readonly string[], access: Access = fullAccess): Promise<TableStats> {
    let totalRowCount = 0;
    const invalidTables: string[] = [];
    let untilMs = performance.now() + countMsMax;
    for (const table of tables) {
      if (performance.now() >= untilMs) {
        await new Promise((resolve) => setImmediate(resolve));
        untilMs = performance.now() + countMsMax;
      }
      const isForeign = foreignTable(access.tables, [lowerAscii(table)]) !== undefined;
      const count = isForeign ? undefined : await this.#countRows(table);
      if (count === undefined) invalidTables.push(table);
      else totalRowCount += count;
    }
    return { totalRowCount, invalidTables };
  }

  get hasSubscribers(): boolean {
    return this.live.listenerCount > 0 || this.#updates.hasListeners;
  }

  agreedMs(): number | undefined {
    return this.#host.agreedMs?.();
  }

  async migrate(statements: readonly string[]): Promise<{ readonly kind: "accepted" } | Refused> {
    const problem = this.#host.migrationProblem;
    const why = problem === undefined ? "no schema is accepted here" : problem(statements);
    return why === undefined ? { kind: "accepted" } : { kind: "refused", status: 400, why };
  }

  async health(): Promise<HealthReport> {
    return this.#host.health();
  }

  async status(): Promise<string> {
    return JSON.stringify(this.#host.status());
  }

  async subscriptions(): Promise<string> {
    return JSON.stringify({ ...this.live.summary(), subscriptions: this.live.describe() });
  }

  async swarm(): Promise<string> {
    return JSON.stringify(snakeCased(await this.#host.swarm()));
  }

  async metrics(): Promise<readonly Metric[]> {
    return this.#host.metrics?.() ?? [];
  }

  async operate(operation: Operation): Promise<OperationOutcome> {
    const why = `this agent offers no ${operation.kind}`;
    return this.#host.operate?.(operation) ?? { kind: "refused", status: 404, why };
  }

  /** A transaction of the store's wrote these rows, and only COMMIT is left. */
  committing(merged: readonly MergedRow[]): void {
    this.#committing = new Committed(merged, this.#writer.writes, this.#host.isReplicated);
    this.live.committing(this.#committing);
  }

  /** It was committed. Whoever committed it has others told, and then {@link tell} those here. */
  committed(): void {
    const committed = this.#committing;
    this.#committing = undefined;
    if (committed === undefined) return;
    this.live.committed(committed);
    if (this.#updates.hasListeners) this.#untold.push(committed);
  }

  /** Tells everybody of what was committed. @param isUrgent of what others wrote, it overtakes */
  tell(isUrgent: boolean): void {
    this.live.tell(isUrgent);
    if (this.#untold.length === 0) return;
    const untold = this.#untold;
    this.#untold = [];
    for (const committed of untold) this.#updates.changed(committed.changes());
  }

  /**
   * Writes a local, unreplicated table for the agent itself, in one transaction, and tells of it.
   *
   * @param keys of all rows that `write` touches
   */
  writeLocalTable(table: string, keys: readonly (readonly SqlValue[])[], write: () => void): void {
    const { database } = this.#writer;
    const rows: ChangedRow[] = [];
    for (const values of keys) {
      const key = encodeKey(values);
      if (key !== undefined) rows.push({ table, key, columns: undefined });
    }
    database.exec("BEGIN IMMEDIATE");
    try {
      write();
      database.exec("COMMIT");
    } catch (error) {
      if (!database.autocommit) database.exec("ROLLBACK");
      throw error;
    }
    this.live.committed({ changes: () => new Map([[table, rows]]), rows: undefined });
    this.live.tell(true);
  }

  /** The schema of the database is another, and held rows may be shown. */
  schemaChanged(): void {
    // A connection hears of it at the next step of a statement, and not when one is compiled.
    this.#reader.database.all("SELECT 1 FROM sqlite_schema LIMIT 1");
    this.#reader.prepared.clear();
    this.#rights.clear();
    this.#writer.schemaChanged();
    this.live.schemaChanged();
  }

  /** Ends all streams; nothing more is told. */
  endStreams(): void {
    this.live.endAll();
    this.#updates.endAll();
  }

  /** Returns at once, in most cases: `await` on nothing costs no turn of the event loop. */
  async #free(): Promise<void> {
    for (;;) {
      const busy = this.#host.whenFree?.();
      if (busy === undefined) return;
      await busy;
    }
  }

  #committed(commit: C): void {
    this.#host.onCommitted(commit);
    // Local writes are answered to whoever waits for them.
    this.tell(true);
  }

  async #open(
    access: Access,
    options: SubscribeOptions,
    listener: StreamListener,
    open: (listener: StreamListener) => SubscribeOutcome | Promise<SubscribeOutcome>,
  ): Promise<SubscribeOutcome> {
    if (access.tables === undefined) return this.#openTold(options, listener, open);
    const allowed = new AllowedListener({
      listener,
      access,
      tablesOf: (id) => this.live.tablesOf(id),
      refusal: `${errorJson(readsOthers)}\n`,
    });
    const outcome = await this.#openTold(options, allowed.take, open);
    if (outcome.kind === "subscribed") allowed.opened(outcome.id);
    return outcome;
  }

  #openTold(
    options: SubscribeOptions,
    listener: StreamListener,
    open: (listener: StreamListener) => SubscribeOutcome | Promise<SubscribeOutcome>,
  ): SubscribeOutcome | Promise<SubscribeOutcome> {
    if (options.transactions !== true) return open(listener);
    let id = "";
    const tables = (): ReadonlySet<string> | undefined => this.live.tablesOf(id);
    const opened = (outcome: SubscribeOutcome): SubscribeOutcome => {
      if (outcome.kind === "subscribed") id = outcome.id;
      return outcome;
    };
    const outcome = open(withTransactionLines(listener, () => this.live.toldRows, tables));
    return outcome instanceof Promise ? outcome.then(opened) : opened(outcome);
  }

  #mayNotRead({ sql }: SqlText, { tables }: Access): Refused | undefined {
    const problem = tables === undefined ? undefined : this.#rights.problem(tables, sql);
    if (problem?.kind === "foreign") return mayNotRead(problem.table);
    return problem && { kind: "refused", status: 400, why: problem.why };
  }

  /** Undefined: there is no such table. */
  async #countRows(table: string): Promise<number | undefined> {
    const isTable = this.#reader.database.all(
      "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE",
      table,
    );
    if (isTable.length === 0) return undefined;
    const sql = `SELECT count(*) FROM ${quoteName(table)}`;
    const outcome = this.#query({ sql, parameters: undefined }, undefined);
    if (outcome.kind === "refused") throw new Error(outcome.why);
    const lines = Buffer.concat(await Array.fromAsync(outcome.chunks)).toString();
    const row = /^\{"row":\[1,\[(\d+)\]\]\}$/m.exec(lines);
    if (row === null) throw new Error(lines);
    return Number(row[1]);
  }
}

/** A transaction of the store's, for those who are told of it. */
class Committed implements Commit {
  readonly rows: readonly MergedRow[];
  readonly #writes: LocalWrites | undefined;
  readonly #isReplicated: (table: string) => boolean;
  #changes: TableChanges | undefined;

  constructor(
    rows: readonly MergedRow[],
    writes: LocalWrites | undefined,
    isReplicated: (table: string) => boolean,
  ) {
    this.rows = rows;
    this.#writes = writes;
    this.#isReplicated = isReplicated;
  }

  readonly changes = (): TableChanges => {
    this.#changes ??= tableChanges(this.rows, this.#writes, this.#isReplicated);
    return this.#changes;
  };

  readonly tables = (): Iterable<string> =>
    changedTables(this.rows, this.#writes, this.#isReplicated);
}

async function* linesOf(head: Uint8Array, job: ReadJob): AsyncGenerator<Uint8Array> {
  try {
    yield head;
    for await (const piece of job) yield piece as Uint8Array;
  } catch (error) {
    yield utf8(`${errorJson((error as Error).message)}\n`);
  } finally {
    job.leave();
  }
}

/** Of a stream that was begun when it didn't. */
const readsOthers = "this token may not read what this query reads now";

function mayNotRead(table: string): Refused {
  return { kind: "refused", status: 403, why: `this token may not read ${table}` };
}
