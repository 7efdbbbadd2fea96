/**
 * Rows of one table as a merge finds and writes them that makes no objects (`quick-merge.ts`): what was found
 * last stands in the fields.
 *
 * A key that is undefined is a text key, bound from its bytes: see `StoredTable.isTextKeyBytes`.
 *
 * @module
 */

import type { Rowid, SqlDatabase, SqlStatement } from "../../database.ts";
import type { SqlValue } from "../../row/value.ts";
import type { PlannedTable } from "../../schema/schema.ts";
import { quoteName } from "../../schema/sql-token.ts";
import type { ClockRow } from "../clocks/clock-rows.ts";
import type { LateTable } from "../clocks/late-table.ts";
import { runBound, type TableStatements } from "./table-statements.ts";

/** Rows that are looked up together, the most first. */
export const togetherCounts = [32, 4] as const;
export const fewestTogether = 4;

export class QuickRows {
  readonly #database: SqlDatabase;
  readonly #plan: PlannedTable;
  readonly #late: LateTable;
  readonly #statements: TableStatements;
  /** Indexes in `valueColumns`, ascending by name. */
  readonly #valuesByName: readonly number[];
  #byPlace: SqlStatement | undefined;
  /** By count. */
  readonly #together: (SqlStatement | undefined)[] = [];
  #run: SqlStatement | undefined;
  /** The row found last. Undefined for WITHOUT ROWID. */
  foundRowid: Rowid | undefined;
  /** Its clocks; null when it has none. */
  foundClock: Uint8Array | null = null;

  constructor(
    database: SqlDatabase,
    plan: PlannedTable,
    statements: TableStatements,
    valuesByName: readonly number[],
    late: LateTable,
  ) {
    this.#late = late;
    this.#valuesByName = valuesByName;
    this.#database = database;
    this.#plan = plan;
    this.#statements = statements;
  }

  /**
   * The row at a rowid: its value columns, ascending by name, its key columns unless that is the rowid, clock and
   * held. To be reset; undefined when there is none, or it has no clocks.
   */
  standAt(rowid: Rowid): SqlStatement | undefined {
    if (this.#byPlace === undefined) {
      const { base, clocks } = this.#statements;
      const id = `t.${this.#plan.rowidName}`;
      this.#byPlace = this.#statements.kept(
        "standAt",
        () =>
          `SELECT ${[...this.#columns("t."), "c.clock", "c.held"].join(", ")} FROM ${base} t ` +
          `CROSS JOIN ${clocks} c ON c.id = ${id} WHERE ${id} = ?`,
      );
    }
    const statement = this.#byPlace;
    statement.bind(1, rowid);
    return statement.step() ? statement : undefined;
  }

  /**
   * The rows at `rowids[from..]`, as many as there are parameters, to be stepped through in this order: columns as of
   * {@link standAt}, and the rowid. To begin a statement and come to rest costs as much as a look-up.
   *
   * @param count One of {@link togetherCounts}.
   */
  rowsAt(rowids: readonly Rowid[], from: number, count: number): SqlStatement {
    let statement = this.#together[count];
    if (statement === undefined) {
      const { base, clocks } = this.#statements;
      const id = `t.${this.#plan.rowidName}`;
      statement = this.#statements.kept(
        `rowsAt ${count}`,
        () =>
          `SELECT ${[...this.#columns("t."), "c.clock", "c.held", id].join(", ")} ` +
          `FROM (VALUES ${new Array(count).fill("(?)").join(", ")}) w ` +
          `CROSS JOIN ${base} t ON ${id} = w.column1 CROSS JOIN ${clocks} c ON c.id = ${id}`,
      );
      this.#together[count] = statement;
    }
    for (let i = 0; i < count; i++) statement.bind(i + 1, rowids[from + i] as Rowid);
    return statement;
  }

  /**
   * Clocks of the row whose columns a statement of {@link standAt} has encoded.
   *
   * @param column Where the statement has those of the clock table.
   */
  clockAt(rowid: Rowid, statement: SqlStatement, column: number): Uint8Array {
    return this.#late.get(rowid) ?? blobOf(statement, column);
  }

  /**
   * The rows from one rowid to another, both included, to be stepped through: columns as of {@link standAt} but without
   * clocks, and the rowid.
   */
  rowsFrom(first: Rowid, last: Rowid): SqlStatement {
    if (this.#run === undefined) {
      const { rowidName } = this.#plan;
      this.#run = this.#statements.kept(
        "rowsFrom",
        () =>
          `SELECT ${[...this.#columns(""), rowidName].join(", ")} FROM ${this.#statements.base} ` +
          `WHERE ${rowidName} BETWEEN ? AND ? ORDER BY ${rowidName}`,
      );
    }
    this.#run.bind(1, first);
    this.#run.bind(2, last);
    return this.#run;
  }

  #columns(prefix: string): string[] {
    const { keyColumns, rowidAlias, valueColumns } = this.#plan;
    const values = this.#valuesByName.map((index) => valueColumns[index]?.sqlName as string);
    const keys = rowidAlias ? [] : keyColumns.map(({ sqlName }) => sqlName);
    return [...values, ...keys].map((name) => prefix + quoteName(name));
  }

  /** Replaces the clocks of the row at a rowid, none of whose values are held. @param clock Not to be changed any more. */
  putClocksAt(rowid: Rowid, clock: Uint8Array): void {
    if (this.#late.put(rowid, clock)) return;
    const statement = this.#statements.updateClocksAlone;
    statement.bind(1, clock);
    statement.bind(2, rowid);
    runBound(statement);
  }

  /** Writes the clocks of new rows, `rows[from..to)`, none of whose values are held. */
  insertClocksAt(rows: readonly ClockRow[], from: number, to: number): void {
    if (!this.#late.isEmpty) {
      for (let i = from; i < to; i++) this.#late.forget(rows[i]?.rowid);
    }
    this.#statements.clockRows.put(rows, from, to);
  }

  /** A row is known to stand there, and none of its values to be held. @param rowid Undefined for WITHOUT ROWID. */
  foundAt(rowid: Rowid | undefined): void {
    this.foundRowid = rowid;
    this.foundClock = null;
  }

  /** Looks a row up, with its clocks; false when there is none. */
  find(key: readonly SqlValue[] | undefined, keyBytes: Uint8Array): boolean {
    const { withoutRowid } = this.#plan;
    const statement = this.#statements.find;
    const next = bindKey(statement, 1, key, keyBytes);
    if (withoutRowid) statement.bind(next, keyBytes);
    if (!statement.step()) return false;
    this.foundRowid = withoutRowid ? undefined : (statement.column(0) as Rowid);
    this.foundClock = this.#late.get(this.foundRowid) ?? (statement.column(1) as Uint8Array | null);
    statement.reset();
    return true;
  }

  /**
   * Inserts a row, and leaves its rowid in {@link foundRowid}; false when there is one of that key.
   *
   * @param values By index.
   */
  insert(
    key: readonly SqlValue[] | undefined,
    keyBytes: Uint8Array,
    values: readonly SqlValue[],
  ): boolean {
    const { withoutRowid, rowidAlias, valueColumns } = this.#plan;
    const statement = this.#statements.insertNew;
    const next = bindKey(statement, 1, key, keyBytes);
    for (let i = 0; i < valueColumns.length; i++) statement.bind(next + i, values[i] as SqlValue);
    runBound(statement);
    if (this.#database.changes === 0) return false;
    if (withoutRowid) this.foundRowid = undefined;
    else if (rowidAlias) this.foundRowid = key?.[0] as Rowid;
    else this.foundRowid = this.#database.lastInsertRowid;
    return true;
  }

  /** Writes columns of the row found last. @param columns A bit for each index. @param values By index. */
  update(
    columns: number,
    values: readonly SqlValue[],
    key: readonly SqlValue[] | undefined,
    keyBytes: Uint8Array,
  ): void {
    const statement = this.#statements.updateOfBits(columns);
    let at = 1;
    for (let i = 0; columns >>> i !== 0; i++) {
      if (((columns >>> i) & 1) === 1) statement.bind(at++, values[i] as SqlValue);
    }
    if (this.foundRowid !== undefined) statement.bind(at, this.foundRowid);
    else bindKey(statement, at, key, keyBytes);
    runBound(statement);
  }

  /** Replaces the clocks of the row found last, none of whose values are held. @param clock Not to be changed any more. */
  putClocks(clock: Uint8Array, keyBytes: Uint8Array): void {
    if (this.#late.put(this.foundRowid, clock)) return;
    const statement = this.#statements.updateClocksAlone;
    statement.bind(1, clock);
    statement.bind(2, this.foundRowid ?? keyBytes);
    runBound(statement);
  }

  /** Writes the clocks of the row inserted last. */
  insertClocks(clock: Uint8Array, keyBytes: Uint8Array): void {
    this.#late.forget(this.foundRowid);
    const statement = this.#statements.insertClocks;
    statement.bind(1, clock);
    statement.bind(2, null);
    statement.bind(3, this.foundRowid ?? keyBytes);
    runBound(statement);
  }
}

/** The BLOB that a statement has encoded as a column. */
function blobOf(statement: SqlStatement, column: number): Uint8Array {
  const { memory } = statement;
  let from = statement.encodedStart(column) + 1;
  // Its length.
  while ((memory[from++] as number) >= 0x80);
  return memory.slice(from, statement.encodedEnd(column));
}

/** @returns the next parameter */
function bindKey(
  statement: SqlStatement,
  from: number,
  key: readonly SqlValue[] | undefined,
  keyBytes: Uint8Array,
): number {
  if (key === undefined) {
    statement.bindTextFrom(from, keyBytes, 3);
    return from + 1;
  }
  for (let i = 0; i < key.length; i++) statement.bind(from + i, key[i] as SqlValue);
  return from + key.length;
}
