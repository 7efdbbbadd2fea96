/**
 * The statements on one replicated table and its clock table, each compiled once, when it is first wanted.
 *
 * @module
 */

import type { SqlDatabase, SqlStatement } from "../../database.ts";
import type { PlannedTable } from "../../schema/schema.ts";
import { clockTableName } from "../../schema/schema-plan.ts";
import { quoteName } from "../../schema/sql-token.ts";
import { ClockRows } from "../clocks/clock-rows.ts";

/** UPDATE statements kept a table, one for each set of columns. */
const updatesKeptMax = 64;

export class TableStatements {
  /** The base table and the clock table, quoted. */
  readonly base: string;
  readonly clocks: string;
  /** The clock table's column of the place. */
  readonly clockId: string;
  /** The condition that a base row is the one at a place; as many parameters as the place has values. */
  readonly placeIs: string;
  readonly #database: SqlDatabase;
  readonly #plan: PlannedTable;
  readonly #kept = new Map<string, SqlStatement>();
  /** By the set of columns, one bit each; of tables with more columns than bits by their indexes. */
  readonly #updates = new Map<number | string, SqlStatement>();
  // Those of a merge, which looking up by name would cost as much as they take.
  #find: SqlStatement | undefined;
  #insert: SqlStatement | undefined;
  #insertNew: SqlStatement | undefined;
  #insertClocks: SqlStatement | undefined;
  #updateClocks: SqlStatement | undefined;
  #updateClocksAlone: SqlStatement | undefined;
  #clockRows: ClockRows | undefined;

  constructor(database: SqlDatabase, plan: PlannedTable) {
    this.#database = database;
    this.#plan = plan;
    this.base = quoteName(plan.sqlName);
    this.clocks = quoteName(clockTableName(plan.name));
    this.clockId = plan.withoutRowid ? "key" : "id";
    this.placeIs = plan.withoutRowid ? this.keyIs("") : `${plan.rowidName} = ?`;
  }

  /** A statement by name, compiled from `sql` when it is first asked for. */
  kept(name: string, sql: () => string): SqlStatement {
    let statement = this.#kept.get(name);
    if (statement === undefined) {
      statement = this.#database.prepare(sql());
      this.#kept.set(name, statement);
    }
    return statement;
  }

  /**
   * The condition that the key is the one bound.
   *
   * @param from Number of the first parameter; undefined: they are as they come.
   */
  keyIs(prefix: string, from?: number): string {
    return this.#plan.keyColumns
      .map(
        (column, i) =>
          `${prefix}${quoteName(column.sqlName)} = ?${from === undefined ? "" : from + i}`,
      )
      .join(" AND ");
  }

  /**
   * A row and its clocks by key: rowid, clock, held. Without rowid the key's bytes are bound after the key's
   * values.
   */
  get find(): SqlStatement {
    this.#find ??= this.#database.prepare(this.#findSql());
    return this.#find;
  }

  /** All key columns, then all value columns. */
  get insert(): SqlStatement {
    // A row without clocks may be in the way, if somebody wrote to the file behind our back.
    this.#insert ??= this.#database.prepare(
      this.#insertSql(this.#plan.withoutRowid ? "INSERT OR REPLACE" : "INSERT"),
    );
    return this.#insert;
  }

  /** The same, where nothing is done when there is a row of that key. */
  get insertNew(): SqlStatement {
    this.#insertNew ??= this.#database.prepare(this.#insertSql("INSERT OR IGNORE"));
    return this.#insertNew;
  }

  /** Clock, held, place. */
  get insertClocks(): SqlStatement {
    // Clocks without a row may be in the way, where SQLite uses a rowid again.
    this.#insertClocks ??= this.#database.prepare(
      `INSERT OR REPLACE INTO ${this.clocks} (clock, held, ${this.clockId}) VALUES (?, ?, ?)`,
    );
    return this.#insertClocks;
  }

  /** Clock, held, place. */
  get updateClocks(): SqlStatement {
    this.#updateClocks ??= this.#database.prepare(
      `UPDATE ${this.clocks} SET clock = ?, held = ? WHERE ${this.clockId} = ?`,
    );
    return this.#updateClocks;
  }

  /** Clock, place. */
  get updateClocksAlone(): SqlStatement {
    this.#updateClocksAlone ??= this.#database.prepare(
      `UPDATE ${this.clocks} SET clock = ? WHERE ${this.clockId} = ?`,
    );
    return this.#updateClocksAlone;
  }

  /** Clocks of many rows, of a table whose rows have rowids. */
  get clockRows(): ClockRows {
    this.#clockRows ??= new ClockRows(this.#database, this.#plan.name);
    return this.#clockRows;
  }

  /** The values of some columns, then the place. @param columns Indexes in `valueColumns`, ascending. */
  updateOf(columns: readonly number[]): SqlStatement {
    const name = this.#plan.valueColumns.length <= 30 ? bitsOf(columns) : columns.join();
    return this.#updates.get(name) ?? this.#keepUpdate(name, columns);
  }

  /** The same by bits, of a table of 30 value columns or fewer. @param columns A bit for each index. */
  updateOfBits(columns: number): SqlStatement {
    return this.#updates.get(columns) ?? this.#prepareUpdate(columns);
  }

  #prepareUpdate(columns: number): SqlStatement {
    const indexes: number[] = [];
    for (let i = 0; columns >>> i !== 0; i++) if (((columns >>> i) & 1) === 1) indexes.push(i);
    return this.#keepUpdate(columns, indexes);
  }

  #keepUpdate(name: number | string, columns: readonly number[]): SqlStatement {
    if (this.#updates.size >= updatesKeptMax) this.#disposeUpdates();
    const sets = columns.map(
      (index) => `${quoteName(this.#plan.valueColumns[index]?.sqlName as string)} = ?`,
    );
    const statement = this.#database.prepare(
      `UPDATE ${this.base} SET ${sets.join(", ")} WHERE ${this.placeIs}`,
    );
    this.#updates.set(name, statement);
    return statement;
  }

  #findSql(): string {
    const { keyColumns, rowidName, withoutRowid } = this.#plan;
    const rowid = withoutRowid ? "NULL" : `t.${rowidName}`;
    const on = withoutRowid ? `c.key = ?${keyColumns.length + 1}` : `c.id = t.${rowidName}`;
    return (
      `SELECT ${rowid}, c.clock, c.held FROM ${this.base} t ` +
      `LEFT JOIN ${this.clocks} c ON ${on} WHERE ${this.keyIs("t.", 1)}`
    );
  }

  #insertSql(verb: string): string {
    const { keyColumns, valueColumns } = this.#plan;
    const columns = [...keyColumns, ...valueColumns].map((column) => quoteName(column.sqlName));
    const marks = columns.map(() => "?").join(", ");
    return `${verb} INTO ${this.base} (${columns.join(", ")}) VALUES (${marks})`;
  }

  dispose(): void {
    for (const statement of this.#kept.values()) statement[Symbol.dispose]();
    this.#kept.clear();
    this.#find?.[Symbol.dispose]();
    this.#insert?.[Symbol.dispose]();
    this.#insertNew?.[Symbol.dispose]();
    this.#insertClocks?.[Symbol.dispose]();
    this.#updateClocks?.[Symbol.dispose]();
    this.#updateClocksAlone?.[Symbol.dispose]();
    this.#clockRows?.[Symbol.dispose]();
    this.#disposeUpdates();
  }

  #disposeUpdates(): void {
    for (const statement of this.#updates.values()) statement[Symbol.dispose]();
    this.#updates.clear();
  }
}

function bitsOf(columns: readonly number[]): number {
  let bits = 0;
  for (const index of columns) bits |= 1 << index;
  return bits;
}

/** One that returns no rows: it is at rest again when its step has ended. */
export function runBound(statement: SqlStatement): void {
  statement.step();
}
