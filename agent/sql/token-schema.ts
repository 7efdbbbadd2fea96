/**
 * The schema as a token for some tables sees it: a database in memory that has these tables, and no rows.
 *
 * SQLite looks for a table before it asks whether it may be read. So what it says of a statement would tell the holder of
 * a token which other tables are there, and what columns they have. What such a token may not run, or what can't be
 * compiled, is therefore compiled here, where the tables of others aren't, and its client is told what SQLite says here: of
 * a table that isn't the token's the same, whether it is there or not.
 *
 * @module
 */

import { lowerAscii } from "../../core/row/row-state.ts";
import { quoteName } from "../../core/schema/sql-token.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { addClockFunctions, addPureFunctions } from "./functions.ts";
import { type GuardMode, SqlGuard } from "./guard.ts";
import { PreparedStatements, SqlRefused } from "./prepared.ts";

export type TokenProblem =
  /** In ASCII lower case: it isn't the token's, or reads what isn't. Whether it is there isn't told. */
  | { readonly kind: "foreign"; readonly table: string }
  | { readonly kind: "refused"; readonly why: string };

/** Of tokens whose clients make mistakes. */
const schemasMax = 8;

export class TokenSchemas {
  readonly #source: Database;
  /** By the tables of a token; the one that was made last is the last. */
  readonly #byTables = new Map<ReadonlySet<string>, TokenSchema>();

  /** @param source its schema is everybody's */
  constructor(source: Database) {
    this.#source = source;
  }

  /**
   * What is wrong with a statement where only these tables are. Undefined: nothing, but for what is in every database.
   * To be called outside of the guard's modes.
   */
  problem(tables: ReadonlySet<string>, sql: string, mode: GuardMode): TokenProblem | undefined {
    let schema = this.#byTables.get(tables);
    if (schema === undefined) {
      const [oldest] = this.#byTables.keys();
      if (oldest !== undefined && this.#byTables.size >= schemasMax) this.#drop(oldest);
      schema = new TokenSchema(this.#source, tables);
      this.#byTables.set(tables, schema);
    }
    return schema.problem(sql, mode);
  }

  /** The schema is another. */
  clear(): void {
    for (const tables of this.#byTables.keys()) this.#drop(tables);
  }

  #drop(tables: ReadonlySet<string>): void {
    this.#byTables.get(tables)?.close();
    this.#byTables.delete(tables);
  }
}

class TokenSchema {
  readonly #database = openDatabase("/token.db", { vfs: new MemoryVfs() });
  readonly #guard: SqlGuard;
  readonly #tables: ReadonlySet<string>;
  /** Its own, that read what isn't. */
  readonly #hidden = new Set<string>();

  constructor(source: Database, tables: ReadonlySet<string>) {
    this.#tables = tables;
    addPureFunctions(this.#database);
    addClockFunctions(this.#database, () => 0);
    const views: string[] = [];
    for (const [type, name, table, sql] of source.all(
      `SELECT type, name, tbl_name, sql FROM main.sqlite_schema
        WHERE sql IS NOT NULL AND type IN ('table', 'index', 'view')
        ORDER BY type = 'view', type = 'index', rowid`,
    )) {
      if (!tables.has(lowerAscii(String(table)))) continue;
      this.#create(String(sql));
      if (type === "view") views.push(String(name));
    }
    this.#hideViews(views);
    this.#guard = new SqlGuard(this.#database);
  }

  problem(sql: string, mode: GuardMode): TokenProblem | undefined {
    // Nothing is kept: each text comes once.
    const prepared = new PreparedStatements(this.#database, this.#guard);
    try {
      this.#guard.within(mode, () => prepared.get(sql));
      return undefined;
    } catch (error) {
      if (!(error instanceof SqlRefused)) throw error;
      const table = missingTableOf(error.message);
      return table === undefined || (this.#tables.has(table) && !this.#hidden.has(table))
        ? { kind: "refused", why: error.message }
        : { kind: "foreign", table };
    } finally {
      prepared.clear();
    }
  }

  close(): void {
    this.#database.close();
  }

  /** SQLite's own tables come by themselves. */
  #create(sql: string): void {
    try {
      this.#database.exec(sql);
    } catch {}
  }

  /** A view that reads what isn't the token's isn't there either, nor one that reads that one. */
  #hideViews(views: readonly string[]): void {
    const readable = views.filter((name) => {
      const quoted = quoteName(name);
      try {
        this.#database.prepare(`SELECT 1 FROM ${quoted}`).finalize();
        return true;
      } catch {
        this.#hidden.add(lowerAscii(name));
        this.#database.exec(`DROP VIEW IF EXISTS ${quoted}`);
        return false;
      }
    });
    if (readable.length < views.length) this.#hideViews(readable);
  }
}

const missing = "no such table: ";
const missingOfMain = "no such table: main.";

/** In ASCII lower case; undefined: it is something else that is wrong. */
function missingTableOf(why: string): string | undefined {
  if (!why.startsWith(missing)) return undefined;
  const from = (why.startsWith(missingOfMain) ? missingOfMain : missing).length;
  // Its text stands behind it where SQLite says at which place of it. A name may be as long as a text.
  const placeAt = why.search(/ at offset \d+$/);
  const textAt = why.indexOf(" in ", from);
  const hasText = textAt >= 0 && textAt < placeAt;
  return lowerAscii(why.slice(from, hasText ? textAt : undefined));
}
