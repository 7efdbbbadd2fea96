/**
 * Whether a token for some tables may run a statement: what SQLite's authorizer names, and what the compiled statement
 * opens, is held against its tables; and the statement has to make sense where only these are (`token-schema.ts`).
 * The latter comes first: what its client is told of a table that isn't the token's is the same, whether it is there or not.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";
import { foreignTable } from "../api/access.ts";
import type { GuardMode, SqlGuard } from "./guard.ts";
import { openedTables } from "./opened-tables.ts";
import { type Prepared, type PreparedStatements, SqlRefused } from "./prepared.ts";
import { type TokenProblem, TokenSchemas } from "./token-schema.ts";

export class TokenRights {
  readonly #database: Database;
  readonly #guard: SqlGuard;
  readonly #prepared: PreparedStatements;
  readonly #mode: GuardMode;
  readonly #schemas: TokenSchemas;
  /** For which tokens' tables it was found that they may. */
  #allowed = new WeakMap<Prepared, WeakSet<ReadonlySet<string>>>();

  /** @param mode in which such statements are compiled and run */
  constructor(database: Database, guard: SqlGuard, prepared: PreparedStatements, mode: GuardMode) {
    this.#database = database;
    this.#guard = guard;
    this.#prepared = prepared;
    this.#mode = mode;
    this.#schemas = new TokenSchemas(database);
  }

  /** What keeps a token for these tables from running it. Undefined: nothing, or running it says what is wrong. */
  problem(tables: ReadonlySet<string>, sql: string): TokenProblem | undefined {
    const found = this.#find(sql);
    if (found !== undefined && this.#allowed.get(found)?.has(tables) === true) return undefined;
    return this.#guard.within("own", () => {
      const problem = this.#schemas.problem(tables, sql, this.#mode);
      if (problem !== undefined || found === undefined) return problem;
      const table =
        foreignTable(tables, found.writes) ??
        foreignTable(tables, found.reads) ??
        foreignTable(tables, this.#opened(found, sql));
      if (table !== undefined) return { kind: "foreign", table };
      const allowed = this.#allowed.get(found) ?? new WeakSet();
      this.#allowed.set(found, allowed.add(tables));
      return undefined;
    });
  }

  /** The schema is another. */
  clear(): void {
    this.#schemas.clear();
    this.#allowed = new WeakMap();
  }

  /** Undefined where there is none, or it is refused. */
  #find(sql: string): Prepared | undefined {
    try {
      const found = this.#guard.within(this.#mode, () => this.#prepared.get(sql));
      return found === "empty" ? undefined : found;
    } catch (error) {
      if (error instanceof SqlRefused) return undefined;
      throw error;
    }
  }

  /** What is only explained opens nothing. */
  #opened({ statement }: Prepared, sql: string): Iterable<string> {
    return statement.explain === 0 ? openedTables(this.#database, sql) : [];
  }
}
