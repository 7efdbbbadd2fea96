/**
 * What SQL from outside may do, decided by SQLite's own authorizer while it compiles a statement, never
 * by looking at the text.
 *
 * | mode     | who                | may                                                               |
 * | -------- | ------------------ | ----------------------------------------------------------------- |
 * | `own`    | Patina             | everything                                                        |
 * | `write`  | /v1/transactions   | read everything; INSERT, UPDATE, DELETE in tables of the user     |
 * | `read`   | /v1/queries        | read everything; PRAGMAs that only tell something                 |
 *
 * Refused in both of the latter: DDL, transactions and savepoints (the list of statements is the
 * transaction), ATTACH, DETACH, VACUUM (which attaches), ANALYZE, REINDEX, virtual tables, and for
 * writers PRAGMA in any form and writes to tables that begin with `patina_` or `sqlite_`.
 *
 * The guard also notes which tables a statement reads and writes: dependencies of live queries come
 * from here. SQLite compiles a statement again after a change of the schema, also in the middle of
 * `step`, so the mode stays set while a statement runs.
 *
 * @module
 */

import { lowerAscii } from "../../core/row/row-state.ts";
import type { NamedColumns } from "../../core/store/local/capture.ts";
import {
  SQLITE_ANALYZE,
  SQLITE_ATTACH,
  SQLITE_CREATE_VTABLE,
  SQLITE_DELETE,
  SQLITE_DENY,
  SQLITE_DETACH,
  SQLITE_DROP_VTABLE,
  SQLITE_FUNCTION,
  SQLITE_INSERT,
  SQLITE_OK,
  SQLITE_PRAGMA,
  SQLITE_READ,
  SQLITE_RECURSIVE,
  SQLITE_REINDEX,
  SQLITE_SAVEPOINT,
  SQLITE_SELECT,
  SQLITE_TRANSACTION,
  SQLITE_UPDATE,
} from "../../wasm/constants.ts";
import type { Authorizer, Database } from "../../wasm/database.ts";
import { callWeight, isMatchingFunction, isSteepFunction, withValueBound } from "./value-bound.ts";

export type GuardMode = "own" | "write" | "read";

/** PRAGMAs that tell something about the file and change nothing, with or without an argument. */
const tellingPragmas = new Set([
  "collation_list",
  "compile_options",
  "database_list",
  "foreign_key_list",
  "function_list",
  "index_info",
  "index_list",
  "index_xinfo",
  "integrity_check",
  "quick_check",
  "table_info",
  "table_list",
  "table_xinfo",
]);

/** These tell something without an argument and change it with one. */
const settingPragmas = new Set([
  "application_id",
  "auto_vacuum",
  "encoding",
  "freelist_count",
  "page_count",
  "page_size",
  "synchronous",
  "user_version",
]);

/**
 * Their time isn't bounded: they sort by a quicksort in one step, and there are values that take it the square of
 * their number (250,000 of them 70 s).
 */
const unboundedFunctions = new Set(["median", "percentile", "percentile_cont", "percentile_disc"]);

/** They run SQL of their own, on whatever table they are given the name of, when no token is asked any more. */
const runningFunctions = new Set(["rtreecheck"]);

/** They compile the text that they are given, of any length. */
const compilingTables = new Set(["bytecode", "tables_used"]);

/**
 * Nothing interrupts the compiler, but it asks here for each name, each time that it looks at it: 2,000 window functions in
 * 70 KB of text take 30 s and 900,000 questions. So one that asks much for long is refused the next answer.
 */
const compilerAsksMin = 20_000;
const compilerMsMax = 500;

export class SqlGuard {
  #mode: GuardMode = "own";
  #why: string | undefined;
  #read = new Set<string>();
  #written = new Set<string>();
  #moved = new Set<string>();
  /** There are no triggers, so a statement writes to one table. */
  #names: { readonly table: string; readonly columns: Set<string> } | undefined;
  #columns = new Map<string, Set<string>>();
  #functions = new Set<string>();
  #calls = 0;
  /** Of the compiler, since the mode was entered, and when the first of them came. */
  #asks = 0;
  #askedMs = 0;

  /** Watches one connection for good: setting an authorizer makes SQLite compile everything again. */
  constructor(database: Database) {
    database.onAuthorize(this.#authorize);
    guards.set(database, this);
  }

  get mode(): GuardMode {
    return this.#mode;
  }

  /** Runs `use` with `mode`, and says what it found. */
  within<T>(mode: GuardMode, use: () => T): T {
    const before = this.enter(mode);
    try {
      return use();
    } finally {
      this.leave(before);
    }
  }

  /** @returns the mode before, to be given to {@link leave} */
  enter(mode: GuardMode): GuardMode {
    const before = this.#mode;
    this.#mode = mode;
    this.#asks = 0;
    if (mode !== "own") this.#why = undefined;
    return before;
  }

  leave(before: GuardMode): void {
    this.#mode = before;
  }

  /** Why the last refusal; undefined when there was none since the last {@link within} began. */
  get why(): string | undefined {
    return this.#why;
  }

  /** Starts to note tables anew. */
  beginNotes(): void {
    this.#read = new Set();
    this.#written = new Set();
    this.#moved = new Set();
    this.#names = undefined;
    this.#columns = new Map();
    this.#functions = new Set();
    this.#calls = 0;
  }

  /**
   * Tables in ASCII lower case that were named since {@link beginNotes}: read, written, and those of
   * them whose rows may get another rowid; the columns that are set by name; and the columns of those that are read, "" for a table of
   * which no column is. And the functions that are called, whether the time of one is the product of two values'
   * sizes, whether one is LIKE or GLOB, and what all calls in the text weigh.
   */
  get notes(): {
    readonly read: ReadonlySet<string>;
    readonly written: ReadonlySet<string>;
    readonly moved: ReadonlySet<string>;
    readonly names: NamedColumns | undefined;
    readonly columns: ReadonlyMap<string, ReadonlySet<string>>;
    readonly functions: ReadonlySet<string>;
    readonly isSteep: boolean;
    readonly isMatching: boolean;
    readonly calls: number;
  } {
    return {
      read: this.#read,
      written: this.#written,
      moved: this.#moved,
      names: this.#names,
      columns: this.#columns,
      functions: this.#functions,
      isSteep: this.#functions.values().some(isSteepFunction),
      isMatching: this.#functions.values().some(isMatchingFunction),
      calls: this.#calls,
    };
  }

  readonly #authorize: Authorizer = (action, first, second, _database, _trigger) => {
    if (this.#mode === "own") return SQLITE_OK;
    if (this.#asks++ === 0) this.#askedMs = performance.now();
    const why = this.#isSlow() ? tooSlow : this.#refuse(action, first, second);
    if (why === undefined) return SQLITE_OK;
    this.#why = why;
    return SQLITE_DENY;
  };

  #isSlow(): boolean {
    return this.#asks > compilerAsksMin && performance.now() - this.#askedMs > compilerMsMax;
  }

  #refuse(action: number, first: string | null, second: string | null): string | undefined {
    switch (action) {
      case SQLITE_SELECT:
      case SQLITE_RECURSIVE:
        return undefined;
      case SQLITE_READ: {
        const table = lowerAscii(first ?? "");
        this.#read.add(table);
        const columns = this.#columns.get(table);
        if (columns === undefined) this.#columns.set(table, new Set([lowerAscii(second ?? "")]));
        else columns.add(lowerAscii(second ?? ""));
        if (compilingTables.has(table)) return `${table}() is not accepted`;
        return this.#mode === "write" && table.startsWith("pragma_")
          ? "PRAGMA functions are not accepted in a transaction"
          : undefined;
      }
      case SQLITE_FUNCTION: {
        const name = lowerAscii(second ?? "");
        this.#functions.add(name);
        this.#calls += callWeight(name);
        const isRefused =
          name === "load_extension" || unboundedFunctions.has(name) || runningFunctions.has(name);
        return isRefused ? `${name}() is not accepted` : undefined;
      }
      case SQLITE_INSERT:
      case SQLITE_UPDATE:
      case SQLITE_DELETE: {
        const table = lowerAscii(first ?? "");
        if (action === SQLITE_INSERT) this.#moved.add(table);
        if (action === SQLITE_UPDATE) this.#noteSet(table, lowerAscii(second ?? ""));
        return this.#refuseWrite(table);
      }
      case SQLITE_PRAGMA:
        return this.#refusePragma(lowerAscii(first ?? ""), second);
      case SQLITE_TRANSACTION:
        return `${first} is not accepted: the list of statements is one transaction`;
      case SQLITE_SAVEPOINT:
        return "SAVEPOINT is not accepted: the list of statements is one transaction";
      case SQLITE_ATTACH:
        return "ATTACH and VACUUM are not accepted";
      case SQLITE_DETACH:
        return "DETACH is not accepted";
      case SQLITE_ANALYZE:
        return "ANALYZE is not accepted";
      case SQLITE_REINDEX:
        return "REINDEX is not accepted";
      case SQLITE_CREATE_VTABLE:
      case SQLITE_DROP_VTABLE:
        return "virtual tables are not accepted";
      default:
        return ddlRefused;
    }
  }

  #noteSet(table: string, column: string): void {
    if (column === "rowid") this.#moved.add(table);
    if (this.#names?.table !== table) this.#names = { table, columns: new Set() };
    this.#names.columns.add(column);
  }

  #refuseWrite(table: string): string | undefined {
    // CREATE TABLE and its like first ask to write here; this says what it was.
    if (table === "sqlite_master" || table === "sqlite_schema") return ddlRefused;
    if (table === "sqlite_temp_master" || table === "sqlite_temp_schema") return ddlRefused;
    if (this.#mode === "read") return notReadonly;
    if (table.startsWith("patina_")) return `${table} is Patina's own: it can be read only`;
    if (table.startsWith("sqlite_")) return `${table} is SQLite's own: it can be read only`;
    this.#written.add(table);
    return undefined;
  }

  #refusePragma(name: string, argument: string | null): string | undefined {
    if (this.#mode === "write") return "PRAGMA is not accepted in a transaction";
    // As the function of the same name would be noted: a token for some tables doesn't reach it.
    this.#read.add(`pragma_${name}`);
    if (tellingPragmas.has(name)) return undefined;
    if (settingPragmas.has(name) && argument === null) return undefined;
    return `PRAGMA ${name}${argument === null ? "" : " with an argument"} is not accepted`;
  }
}

const guards = new WeakMap<Database, SqlGuard>();

/** Runs SQL of Patina's own in the middle of a client's statement: it is neither judged nor noted, nor bound. */
export function withOwnRights<T>(database: Database, use: () => T): T {
  const guard = guards.get(database);
  if (guard === undefined) return use();
  return withValueBound(database, ownBytesMax, () => guard.within("own", use));
}

/** More than any value has. */
const ownBytesMax = 2 ** 30;

/** As the contract has it. */
export const notReadonly = "statement is not readonly";

const tooSlow = "the statement takes too long to compile: write it shorter";

const ddlRefused = "DDL is not accepted: tables and indexes come from the schema files";
