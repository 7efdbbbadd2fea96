/**
 * Compiled statements of clients, kept by their text.
 *
 * @module
 */

import type { SqlValue } from "../../core/row/value.ts";
import type { NamedColumns } from "../../core/store/local/capture.ts";
import { SQLITE_ABORT, SQLITE_ERROR } from "../../wasm/constants.ts";
import type { Database } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { SqlGuard } from "./guard.ts";
import { joinsTooManyColumns } from "./join-columns.ts";

/** A refusal of a statement, with the text that the client gets. */
export class SqlRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = "SqlRefused";
  }
}

/** SQLite's answer to running nothing at all, which is what clients of the contract know. */
export const misuseText = "bad parameter or other API misuse";

export interface Prepared {
  readonly statement: Statement;
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
  /** Tables whose rows it may give another rowid. */
  readonly moves: ReadonlySet<string>;
  /** What it sets by name; undefined: nothing. */
  readonly names: NamedColumns | undefined;
  /** It calls a function whose time is the product of two values' sizes. */
  readonly isSteep: boolean;
  /** That function is LIKE or GLOB. */
  readonly isMatching: boolean;
  /** What the functions that it calls weigh, by their places in the text. */
  readonly calls: number;
  /** `{"columns":["id","name"]}` and a newline; made when it is first asked for. */
  columnsLine: Uint8Array | undefined;
  /** As SQLite says. */
  readonly isReadonly: boolean;
  /** About what it keeps in memory, as last looked at. */
  keptBytes: number;
}

export type Lookup = Prepared | "empty";

/**
 * Of all statements of a connection together, with their texts: a client may send texts of 16 MB, and SQLite's memory
 * is everybody's.
 */
const keptBytesMax = 16 * 1024 * 1024;
/**
 * Of a statement's text. Compiling can't be interrupted and takes memory that SQLite never gives back: a list of
 * values of 1 MB takes 100 MB and a third of a second, and 77,000 terms of a WHERE, which are 1 MB too, 10 to 25 s, for that is the
 * square of their number.
 */
export const sqlCharsMax = 250_000;
/** A character of the text, and what SQLite makes of it. */
const bytesPerChar = 8;

/** Least recently used go first. A statement from here is at rest between calls. */
export class PreparedStatements {
  readonly #database: Database;
  readonly #guard: SqlGuard;
  readonly #countMax: number;
  readonly #bySql = new Map<string, Prepared>();
  #lastSql: string | undefined;
  #last: Prepared | undefined;
  #keptBytes = 0;

  constructor(database: Database, guard: SqlGuard, countMax = 256) {
    this.#database = database;
    this.#guard = guard;
    this.#countMax = countMax;
  }

  /**
   * The one statement of `sql`, bound to nothing; `"empty"` when there is none. Valid until the next
   * call. To be called within the guard's mode for such statements.
   *
   * @throws SqlRefused
   */
  get(sql: string): Lookup {
    // Often the same text comes again and again; it is the youngest already.
    if (sql === this.#lastSql) return this.#last as Prepared;
    if (sql.length > sqlCharsMax) {
      const why = `a statement's text may have ${sqlCharsMax} characters, and has ${sql.length}`;
      throw new SqlRefused(`${why}: give values as parameters`);
    }
    this.#weighLast();
    const known = this.#bySql.get(sql);
    if (known !== undefined) {
      this.#lastSql = sql;
      this.#last = known;
      this.#bySql.delete(sql);
      this.#bySql.set(sql, known);
      return known;
    }
    if (joinsTooManyColumns(sql)) throw new SqlRefused("USING with more than 1000 columns");
    this.#guard.beginNotes();
    let statement: Statement;
    try {
      statement = this.#database.prepare(sql);
    } catch (error) {
      if (isEmptyStatement(error)) return "empty";
      throw new SqlRefused(errorText(error, this.#guard));
    }
    if (statement.tail !== "") {
      statement.finalize();
      throw new SqlRefused("Multiple statements provided");
    }
    const { read, written, moved, names, isSteep, isMatching, calls } = this.#guard.notes;
    const prepared: Prepared = {
      statement,
      reads: read,
      writes: written,
      moves: moved,
      names,
      isSteep,
      isMatching,
      calls,
      columnsLine: undefined,
      isReadonly: statement.readonly,
      keptBytes: 0,
    };
    this.#bySql.set(sql, prepared);
    this.#lastSql = sql;
    this.#last = prepared;
    for (const [oldSql, old] of this.#bySql) {
      const isFull = this.#bySql.size > this.#countMax || this.#keptBytes > keptBytesMax;
      if (!isFull || old === prepared) break;
      this.#bySql.delete(oldSql);
      this.#keptBytes -= old.keptBytes;
      old.statement.finalize();
    }
    return prepared;
  }

  /** The one that was used last has come to rest with what it was given. */
  #weighLast(): void {
    if (this.#last === undefined) return;
    const { statement, keptBytes } = this.#last;
    if (statement.hasLargeValue) statement.clearBindings();
    this.#last.keptBytes = statement.sql.length * bytesPerChar + statement.slotBytes;
    this.#keptBytes += this.#last.keptBytes - keptBytes;
  }

  /** Lets go of all: the schema is another, and what was noted of them may be. */
  clear(): void {
    for (const { statement } of this.#bySql.values()) statement.finalize();
    this.#bySql.clear();
    this.#keptBytes = 0;
    this.#lastSql = undefined;
    this.#last = undefined;
  }
}

function isEmptyStatement(error: unknown): boolean {
  return (
    error instanceof SqliteError &&
    error.code === SQLITE_ERROR &&
    error.message === "there is no statement in this text"
  );
}

/** Binds what the client sent. @throws SqlRefused */
export function bindParameters(
  statement: Statement,
  parameters: readonly SqlValue[] | ReadonlyMap<string, SqlValue> | undefined,
): void {
  const needed = statement.parameterCount;
  if (parameters instanceof Map) {
    if (needed > 0) statement.clearBindings();
    for (const [name, value] of parameters as ReadonlyMap<string, SqlValue>) {
      const index = statement.parameterIndex(name);
      if (index === 0) throw new SqlRefused(`Invalid parameter name: ${name}`);
      bindOne(statement, index, value);
    }
    return;
  }
  const values = (parameters ?? []) as readonly SqlValue[];
  if (values.length !== needed) {
    const counts = `Got ${values.length}, needed ${needed}`;
    throw new SqlRefused(`Wrong number of parameters passed to query. ${counts}`);
  }
  for (let i = 0; i < needed; i++) bindOne(statement, i + 1, values[i] as SqlValue);
}

/** @throws SqlRefused for a value over SQLite's limit */
export function bindOne(statement: Statement, index: number, value: SqlValue): void {
  try {
    statement.bind(index, value);
  } catch (error) {
    throw new SqlRefused(errorText(error, undefined));
  }
}

/** What a client is told of an error: our reason where we refused, SQLite's message otherwise. */
export function errorText(error: unknown, guard: SqlGuard | undefined): string {
  if (error instanceof SqlRefused) return error.message;
  const why = guard?.why;
  if (why !== undefined) return why;
  if (!(error instanceof SqliteError)) throw error;
  // A limit of capture's, which SQLite only passes on.
  if (error.code === SQLITE_ABORT && error.cause instanceof Error) return error.cause.message;
  if (error.offset >= 0 && error.sql !== undefined) {
    return `${error.message} in ${error.sql} at offset ${error.offset}`;
  }
  return error.message;
}
