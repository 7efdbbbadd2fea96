/**
 * One connection to a database file. The store has two kinds on the same thread: one that writes and
 * others that read, which see the last commit while the first is in the middle of the next.
 *
 * Callbacks given to it may throw: the statement that was running then fails with
 * {@link SqliteError}, whose `cause` is what was thrown. After a preupdate listener threw the
 * transaction can only be rolled back.
 *
 * @module
 */

import type { PreupdateListener, SqlDatabase } from "../core/database.ts";
import type { SqlValue } from "../core/row/value.ts";
import { type Authorizer, ConnectionHooks } from "./connection-hooks.ts";
import {
  SQLITE_ABORT,
  SQLITE_DETERMINISTIC,
  SQLITE_DIRECTONLY,
  SQLITE_ERROR,
  SQLITE_INNOCUOUS,
  SQLITE_LIMIT_LENGTH,
  SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
  SQLITE_OK,
  SQLITE_OPEN_CREATE,
  SQLITE_OPEN_EXRESCODE,
  SQLITE_OPEN_NOMUTEX,
  SQLITE_OPEN_READONLY,
  SQLITE_OPEN_READWRITE,
  SQLITE_PREPARE_PERSISTENT,
  SQLITE_READ,
  SQLITE_RESULT_SUBTYPE,
  SQLITE_UTF8,
} from "./constants.ts";
import { errorOf, SqliteError } from "./error.ts";
import { InsertRun, insertRunBytes } from "./insert-runs.ts";
import { loadSqlite, type SqliteModule } from "./module.ts";
import { Statement, type StatementOwner } from "./statement.ts";
import { readValueAt, writeResult, writeResultError } from "./value.ts";
import type { Vfs } from "./vfs/vfs.ts";
import type { VirtualTable } from "./virtual-table.ts";

export type { Authorizer } from "./connection-hooks.ts";

export interface OpenOptions {
  readonly vfs: Vfs;
  /** Never changes the file, and fails where there is none. */
  readonly readonly?: boolean;
  /** Whether a file that isn't there is made. Default: true, unless `readonly`. */
  readonly create?: boolean;
  /** Default: this thread's. */
  readonly module?: SqliteModule;
}

export interface FunctionOptions {
  /** Same arguments, same result: may stand in an index or a generated column. */
  readonly deterministic?: boolean;
  /** Not from triggers, views or the schema. */
  readonly directOnly?: boolean;
  /** No side effects and tells no secrets: may be used by an untrusted schema. */
  readonly innocuous?: boolean;
  /** Of what it returns, unless that is NULL: functions of SQLite's may ask for it. */
  readonly subtype?: number | undefined;
}

export interface CheckpointResult {
  /** A reader or writer was in the way: not all of what was asked for was done. */
  readonly busy: boolean;
  /** Frames in the WAL and how many of them are in the database file; -1 without WAL. */
  readonly walFrames: number;
  readonly checkpointedFrames: number;
}

/** Statements of `run` and `all` that are kept for the next time. */
const cachedStatementsMax = 64;

/**
 * LIKE and GLOB call themselves for each wildcard, and at SQLite's own limit of 50,000 bytes run out
 * of the JavaScript engine's stack, which no C program can survive. They also take the product of pattern and
 * text, and nothing interrupts them: with this bound some seconds, where the text is the largest value that is kept.
 */
const likePatternBytesMax = 500;

/** Opens a connection. Throws {@link SqliteError}: SQLITE_BUSY when another process has the file. */
export function openDatabase(path: string, options: OpenOptions): Database {
  const module = options.module ?? loadSqlite();
  if (module.trap !== null) throw module.trap;
  module.vfs.acquire(options.vfs);
  const create = options.create ?? true;
  const access = options.readonly
    ? SQLITE_OPEN_READONLY
    : SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
  const flags = access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const zPath = module.allocateCString(path);
  const zVfs = module.allocateCString(options.vfs.name);
  const code = module.exports.sqlite3_open_v2(zPath, module.scratch, flags, zVfs);
  module.free(zPath);
  module.free(zVfs);
  const pointer = module.heap.i32[module.scratch >> 2] as number;
  if (code !== SQLITE_OK) {
    const error = errorOf(module, pointer, code, undefined, `${path}: `);
    module.exports.sqlite3_close_v2(pointer);
    module.vfs.release(options.vfs);
    throw error;
  }
  module.exports.sqlite3_limit(pointer, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, likePatternBytesMax);
  return new Database(module, pointer, path, options.vfs);
}

export class Database implements SqlDatabase, StatementOwner, Disposable {
  readonly module: SqliteModule;
  readonly path: string;
  /** Whether a callback threw during the call that runs. For statements. */
  hasCallbackFailure = false;
  #callbackFailure: unknown = null;
  #pointer: number;
  readonly #vfs: Vfs;
  readonly #hooks: ConnectionHooks;
  readonly #hookId: number;
  readonly #statements = new Set<Statement>();
  /** By text, the least recently used first. One that is in use is not in it. */
  readonly #cache = new Map<string, Statement>();

  /** Made by {@link openDatabase}. */
  constructor(module: SqliteModule, pointer: number, path: string, vfs: Vfs) {
    this.module = module;
    this.path = path;
    this.#vfs = vfs;
    this.#pointer = pointer;
    this.#hooks = new ConnectionHooks(module, pointer, (thrown) => {
      this.hasCallbackFailure = true;
      this.#callbackFailure = thrown;
    });
    this.#hookId = module.hooks.add(this.#hooks);
  }

  /**
   * Compiles the first statement of `sql`; what follows it is in its `tail`.
   *
   * @param kept false for a statement that runs once: its memory comes from a faster pool
   */
  prepare(sql: string, kept = true): Statement {
    const pointer = this.#live();
    if (sql.includes("\0")) throw new SqliteError(SQLITE_ERROR, "SQL with a zero byte", { sql });
    const { module } = this;
    const zSql = module.allocateCString(sql);
    const bytes = module.heap.u8.indexOf(0, zSql) - zSql;
    const flags = kept ? SQLITE_PREPARE_PERSISTENT : 0;
    const out = module.scratch;
    try {
      const code = this.#guarded(() =>
        module.exports.sqlite3_prepare_v3(pointer, zSql, bytes + 1, flags, out, out + 4),
      );
      if (code !== SQLITE_OK) {
        const error = this.error(code, sql);
        this.throwCallbackFailure(sql);
        throw error;
      }
      const statement = module.heap.i32[out >> 2] as number;
      const zTail = module.heap.i32[(out + 4) >> 2] as number;
      if (statement === 0) {
        throw new SqliteError(SQLITE_ERROR, "there is no statement in this text", { sql });
      }
      const hasTail = zTail < zSql + bytes;
      const own = hasTail ? module.heap.lossyText(zSql, zTail - zSql) : sql;
      const tail = hasTail && this.#hasStatement(zTail, zSql + bytes) ? zTail : zSql + bytes;
      const tailText = module.heap.lossyText(tail, zSql + bytes - tail).trim();
      const prepared = new Statement(this, statement, own, tailText);
      this.#statements.add(prepared);
      return prepared;
    } finally {
      if (module.trap === null) module.free(zSql);
    }
  }

  /** A call that runs SQL: what leaves it by an exception leaves SQLite in an unknown state. */
  #guarded(call: () => number): number {
    try {
      return call();
    } catch (thrown) {
      throw this.module.trapped(thrown);
    }
  }

  /** Whether there is more than blanks, comments and semicolons; a syntax error is more. */
  #hasStatement(zFrom: number, zEnd: number): boolean {
    const out = this.module.scratch;
    let z = zFrom;
    while (z < zEnd) {
      const bytes = zEnd - z + 1;
      const code = this.module.exports.sqlite3_prepare_v3(this.#pointer, z, bytes, 0, out, out + 4);
      const statement = this.module.heap.i32[out >> 2] as number;
      if (code !== SQLITE_OK) return true;
      if (statement !== 0) {
        this.module.exports.sqlite3_finalize(statement);
        return true;
      }
      const next = this.module.heap.i32[(out + 4) >> 2] as number;
      if (next <= z) return false;
      z = next;
    }
    return false;
  }

  /** Runs any number of statements and drops their rows. What came before a failure is done. */
  exec(sql: string): void {
    const pointer = this.#live();
    if (sql.includes("\0")) throw new SqliteError(SQLITE_ERROR, "SQL with a zero byte", { sql });
    const zSql = this.module.allocateCString(sql);
    const code = this.#guarded(() => this.module.exports.sqlite3_exec(pointer, zSql, 0, 0, 0));
    this.module.free(zSql);
    if (code === SQLITE_OK && !this.hasCallbackFailure) return;
    const error = this.error(code, sql);
    this.throwCallbackFailure(sql);
    throw error;
  }

  /** Runs one statement to its end. Statements of `run` and `all` are kept, by their text. */
  run(sql: string, ...values: SqlValue[]): void {
    const statement = this.#take(sql);
    try {
      statement.run(...values);
    } finally {
      this.#giveBack(statement);
    }
  }

  /** All rows of one statement. */
  all(sql: string, ...values: SqlValue[]): SqlValue[][] {
    const statement = this.#take(sql);
    try {
      return statement.all(...values);
    } finally {
      this.#giveBack(statement);
    }
  }

  /** The first row of one statement. */
  get(sql: string, ...values: SqlValue[]): SqlValue[] | undefined {
    const statement = this.#take(sql);
    try {
      return statement.get(...values);
    } finally {
      this.#giveBack(statement);
    }
  }

  #take(sql: string): Statement {
    const cached = this.#cache.get(sql);
    if (cached !== undefined) {
      this.#cache.delete(sql);
      return cached;
    }
    const statement = this.prepare(sql);
    if (statement.tail !== "") {
      statement.finalize();
      throw new SqliteError(SQLITE_ERROR, "one statement wanted, there are more", { sql });
    }
    return statement;
  }

  #giveBack(statement: Statement): void {
    if (!this.#statements.has(statement) || this.module.trap !== null) return;
    statement.reset();
    // Another run of the same text from within a function of the first: one is enough.
    if (this.#cache.has(statement.sql)) {
      statement.finalize();
      return;
    }
    this.#cache.set(statement.sql, statement);
    if (this.#cache.size > cachedStatementsMax) {
      const [oldest] = this.#cache.values();
      this.#cache.delete(oldest?.sql as string);
      oldest?.finalize();
    }
  }

  #dropCache(): void {
    for (const statement of this.#cache.values()) statement.finalize();
    this.#cache.clear();
  }

  /** Value of a pragma, or the answer to setting it: first column of the first row. */
  pragma(name: string, value?: string | number): SqlValue | undefined {
    if (!/^[a-z_.]+$/i.test(name) || (typeof value === "string" && !/^[\w.-]+$/.test(value))) {
      throw new TypeError(`not a pragma: ${name} = ${value}`);
    }
    using statement = this.prepare(`PRAGMA ${name}${value === undefined ? "" : ` = ${value}`}`);
    if (!statement.step()) return undefined;
    const answer = statement.column(0);
    // To its end: `journal_mode` first says what it will be, and then commits that.
    while (statement.step());
    return answer;
  }

  /**
   * Copies the WAL into the database file. PASSIVE does what it can beside readers; TRUNCATE also
   * empties the WAL, for which no reader may stand on an older commit.
   */
  checkpoint(mode: "PASSIVE" | "FULL" | "RESTART" | "TRUNCATE"): CheckpointResult {
    using statement = this.prepare(`PRAGMA wal_checkpoint(${mode})`);
    statement.step();
    return {
      busy: statement.columnNumber(0) !== 0,
      walFrames: statement.columnNumber(1),
      checkpointedFrames: statement.columnNumber(2),
    };
  }

  /** True outside of any transaction. */
  get autocommit(): boolean {
    return this.module.exports.sqlite3_get_autocommit(this.#live()) !== 0;
  }

  /** `SQLITE_TXN_NONE`, `_READ` or `_WRITE`. */
  get transactionState(): number {
    return this.module.exports.sqlite3_txn_state(this.#live(), 0);
  }

  /** Rows changed by the last INSERT, UPDATE or DELETE, without those of triggers. */
  get changes(): number {
    return this.module.exports.sqlite3_changes(this.#live());
  }

  get lastInsertRowid(): number | bigint {
    const rowid = this.module.exports.sqlite3_last_insert_rowid(this.#live());
    const number = Number(rowid);
    return Number.isSafeInteger(number) ? number : rowid;
  }

  /** Sets an `SQLITE_DBCONFIG_` switch. */
  configure(option: number, on: boolean): void {
    const code = this.module.exports.sqlite3__wasm_db_config_ip(
      this.#live(),
      option,
      on ? 1 : 0,
      0,
    );
    if (code !== SQLITE_OK) throw this.error(code);
  }

  get lengthMax(): number {
    return this.limit(SQLITE_LIMIT_LENGTH, -1);
  }

  /** Sets an `SQLITE_LIMIT_`; returns what it was. A negative value only asks. */
  limit(id: number, value: number): number {
    return this.module.exports.sqlite3_limit(this.#live(), id, value);
  }

  /**
   * Listens to every change of a row of an ordinary table, before it happens; null ends it.
   *
   * To be called before the statements that it is to see are prepared: a DELETE without WHERE that
   * was prepared without a listener drops all rows at once and tells nobody. The object handed over
   * is the same each time and only valid during the call, in which no statement of this connection
   * may run.
   */
  onPreupdate(listener: PreupdateListener | null): void {
    const pointer = this.#live();
    this.#dropCache();
    this.takeFollowers();
    this.#hooks.onPreupdate = listener;
    if (listener !== null) {
      this.#hooks.run ??= new InsertRun(
        this.module.heap,
        this.module.allocate(insertRunBytes),
        this.#hookId,
      );
    }
    this.#setPreupdate(pointer, listener !== null);
    this.#updateEndHooks();
  }

  #setPreupdate(pointer: number, isHeard: boolean): void {
    const callback = isHeard ? this.module.pointer("preupdate") : 0;
    this.module.exports.sqlite3_preupdate_hook(pointer, callback, this.#hooks.run?.address ?? 0);
  }

  takeFollowers(): number {
    return this.#hooks.takeFollowers();
  }

  /**
   * Whether {@link onPreupdate}'s listener is told nothing for now: without a hook SQLite inserts faster. A
   * DELETE of all rows that is prepared meanwhile would never tell it.
   */
  mutePreupdate(isMuted: boolean): void {
    if (this.#hooks.onPreupdate === null) return;
    this.#setPreupdate(this.#live(), !isMuted);
  }

  /** Asked whether a transaction may commit; false rolls it back. */
  onCommit(listener: (() => boolean) | null): void {
    this.#live();
    this.#hooks.onCommit = listener;
    this.#updateEndHooks();
  }

  /** Told of every rollback, but not of one by closing. */
  onRollback(listener: (() => void) | null): void {
    this.#live();
    this.#hooks.onRollback = listener;
    this.#updateEndHooks();
  }

  /** Both ends of a transaction are also needed by {@link onPreupdate}, for a listener that throws. */
  #updateEndHooks(): void {
    const { module } = this;
    const { onPreupdate, onCommit, onRollback } = this.#hooks;
    const commit = (onPreupdate ?? onCommit) ? module.pointer("commit") : 0;
    const rollback = (onPreupdate ?? onRollback) ? module.pointer("rollback") : 0;
    module.exports.sqlite3_commit_hook(this.#pointer, commit, this.#hookId);
    module.exports.sqlite3_rollback_hook(this.#pointer, rollback, this.#hookId);
  }

  /** Asked while a statement is compiled. Statements that exist are compiled again. */
  onAuthorize(listener: Authorizer | null): void {
    const pointer = this.#live();
    this.#hooks.onAuthorize = listener;
    const callback = listener === null ? 0 : this.module.pointer("authorizer");
    this.module.exports.sqlite3_set_authorizer(pointer, callback, this.#hookId);
  }

  /** What one statement reads; "" for a table of which it reads no column. Statements that exist are compiled again. */
  columnsRead(sql: string): { readonly table: string; readonly column: string }[] {
    const columns: { table: string; column: string }[] = [];
    const before = this.#hooks.onAuthorize;
    this.onAuthorize((action, table, column) => {
      if (action === SQLITE_READ) columns.push({ table: table ?? "", column: column ?? "" });
      return SQLITE_OK;
    });
    try {
      this.prepare(sql, false).finalize();
    } finally {
      this.onAuthorize(before);
    }
    return columns;
  }

  /** Asked about every `everyOps` steps of SQLite's virtual machine; true interrupts. */
  onProgress(everyOps: number, listener: (() => boolean) | null): void {
    const pointer = this.#live();
    this.#hooks.onProgress = listener;
    const callback = listener === null ? 0 : this.module.pointer("progress");
    this.module.exports.sqlite3_progress_handler(pointer, everyOps, callback, this.#hookId);
  }

  /**
   * Makes a scalar function of SQL. What it throws becomes the statement's error message.
   *
   * @param argc how many arguments; -1 for any number
   */
  createFunction(
    name: string,
    argc: number,
    options: FunctionOptions,
    body: (...values: SqlValue[]) => SqlValue,
  ): void {
    const { module } = this;
    const { subtype } = options;
    this.createRawFunction(name, argc, options, (context, count, argv) => {
      try {
        const values: SqlValue[] = [];
        for (let at = 0; at < count; at++) {
          values.push(readValueAt(module, module.heap.i32[(argv >> 2) + at] as number));
        }
        const result = body(...values);
        writeResult(module, context, result);
        if (subtype !== undefined && result !== null) {
          module.exports.sqlite3_result_subtype(context, subtype);
        }
      } catch (thrown) {
        // Not an error of the function: it has to get out, over all frames.
        if (module.trap !== null) throw module.trap;
        const message = thrown instanceof Error ? thrown.message : String(thrown);
        writeResultError(module, context, message);
      }
    });
  }

  /** As SQLite calls it: `argv` is the address of `argc` addresses of values. It must not throw. */
  createRawFunction(
    name: string,
    argc: number,
    options: FunctionOptions,
    body: (context: number, argc: number, argv: number) => void,
  ): void {
    const pointer = this.#live();
    const { module } = this;
    const flags =
      SQLITE_UTF8 |
      (options.deterministic ? SQLITE_DETERMINISTIC : 0) |
      (options.directOnly ? SQLITE_DIRECTONLY : 0) |
      (options.innocuous ? SQLITE_INNOCUOUS : 0) |
      (options.subtype === undefined ? 0 : SQLITE_RESULT_SUBTYPE);
    const zName = module.allocateCString(name);
    const code = module.exports.sqlite3_create_function_v2(
      pointer,
      zName,
      argc,
      flags,
      module.hooks.addFunction(body),
      module.pointer("scalar"),
      0,
      0,
      module.pointer("functionDestroy"),
    );
    module.free(zName);
    if (code !== SQLITE_OK) throw this.error(code);
  }

  /** Makes a table that is computed: read-only, there without being created, and fit for views. */
  createVirtualTable(name: string, table: VirtualTable): void {
    const code = this.module.tables.add(this.#live(), name, table);
    if (code !== SQLITE_OK) throw this.error(code);
  }

  /** Finalizes all statements and closes; an open transaction is rolled back. Once more does nothing. */
  close(): void {
    if (this.#pointer === 0) return;
    for (const statement of [...this.#statements]) statement.finalize();
    this.#cache.clear();
    const pointer = this.#pointer;
    this.#pointer = 0;
    if (this.module.trap !== null) return;
    this.module.exports.sqlite3_rollback_hook(pointer, 0, 0);
    this.module.exports.sqlite3_close_v2(pointer);
    this.module.hooks.remove(this.#hookId);
    if (this.#hooks.run !== undefined) this.module.free(this.#hooks.run.address);
    this.module.vfs.release(this.#vfs);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Address of the connection. For what works on two of them (backup.ts). */
  get handle(): number {
    return this.#live();
  }

  /** The error for a result code of this connection. For statements. */
  error(code: number, sql?: string): SqliteError {
    return errorOf(this.module, this.#pointer, code, sql);
  }

  /** For statements. */
  throwCallbackFailure(sql: string): void {
    if (!this.hasCallbackFailure) return;
    const cause = this.#callbackFailure;
    this.hasCallbackFailure = false;
    this.#callbackFailure = null;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new SqliteError(SQLITE_ABORT, `a callback threw: ${message}`, { sql, cause });
  }

  /** For statements, when they end. */
  forget(statement: Statement): void {
    this.#statements.delete(statement);
  }

  #live(): number {
    if (this.#pointer === 0) throw new TypeError(`the database is closed: ${this.path}`);
    if (this.module.trap !== null) throw this.module.trap;
    return this.#pointer;
  }
}
