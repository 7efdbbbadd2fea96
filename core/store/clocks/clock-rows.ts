/**
 * Rows of one clock table that are written together: one statement takes many.
 *
 * To begin a statement, find the table's root and come to rest again costs SQLite as much as writing a row of clocks; and
 * rows that follow each other are put behind the last one without a search only while the statement stands there.
 *
 * @module
 */

import type { Rowid, SqlDatabase, SqlStatement } from "../../database.ts";
import { clockTableName } from "../../schema/schema-plan.ts";
import { quoteName } from "../../schema/sql-token.ts";

/** Rows a statement, the most first. */
const statementRows = [64, 16, 4, 1] as const;

export interface ClockRow {
  readonly rowid: Rowid;
  readonly clock: Uint8Array;
}

export class ClockRows implements Disposable {
  readonly #database: SqlDatabase;
  readonly #table: string;
  readonly #statements: (SqlStatement | undefined)[] = [];
  #update: SqlStatement | undefined;

  /** @param name The table's, whose rows have rowids. */
  constructor(database: SqlDatabase, name: string) {
    this.#database = database;
    this.#table = quoteName(clockTableName(name));
  }

  /** Writes `rows[from..to)`, whose values are all shown, over whatever is there at their rowids. */
  put(rows: readonly ClockRow[], from: number, to: number): void {
    let at = from;
    for (const count of statementRows) {
      for (; to - at >= count; at += count) this.#put(rows, at, count);
    }
  }

  /** Writes the clocks of one row, whose values are all shown, over those that it has. */
  replace(rowid: Rowid, clock: Uint8Array): void {
    this.#update ??= this.#database.prepare(
      `UPDATE ${this.#table} SET clock = ?, held = NULL WHERE id = ?`,
    );
    this.#update.bind(1, clock);
    this.#update.bind(2, rowid);
    this.#update.step();
  }

  #put(rows: readonly ClockRow[], from: number, count: number): void {
    const statement = this.#statementOf(count);
    for (let i = 0; i < count; i++) {
      const { rowid, clock } = rows[from + i] as ClockRow;
      statement.bind(2 * i + 1, rowid);
      statement.bind(2 * i + 2, clock);
    }
    statement.step();
  }

  #statementOf(rows: number): SqlStatement {
    let statement = this.#statements[rows];
    if (statement === undefined) {
      const values = new Array(rows).fill("(?, ?)").join(", ");
      // Clocks without a row may be in the way, where SQLite uses a rowid again.
      statement = this.#database.prepare(
        `INSERT OR REPLACE INTO ${this.#table} (id, clock) VALUES ${values}`,
      );
      this.#statements[rows] = statement;
    }
    return statement;
  }

  [Symbol.dispose](): void {
    for (const statement of this.#statements) statement?.[Symbol.dispose]();
    this.#statements.length = 0;
    this.#update?.[Symbol.dispose]();
    this.#update = undefined;
  }
}
