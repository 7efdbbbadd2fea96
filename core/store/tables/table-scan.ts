/**
 * Scans of one table: its rows that have clocks, or the clocks alone, in the order of their places.
 *
 * @module
 */

import type { Rowid, SqlStatement } from "../../database.ts";
import type { SqlValue } from "../../row/value.ts";
import type { TablePlace } from "../../row-store.ts";
import type { PlannedTable } from "../../schema/schema.ts";
import { quoteName } from "../../schema/sql-token.ts";
import type { LateTable } from "../clocks/late-table.ts";
import type { TableStatements } from "./table-statements.ts";

export interface ClockedRow {
  /** The rowid, or the key's bytes: where a scan goes on. */
  readonly after: TablePlace;
  /** As stored. Undefined where `after` is the key. */
  readonly key: readonly SqlValue[] | undefined;
  readonly clock: Uint8Array;
  readonly held: Uint8Array | null;
}

/** Where a scan's statement has the key; WITHOUT ROWID its place, which is the key, is in the one before. */
export const scannedKeyColumn = 3;

export class TableScan {
  readonly #plan: PlannedTable;
  readonly #hasTextKey: boolean;
  readonly #statements: TableStatements;
  readonly #late: LateTable;

  /** As the file spells them, ascending by name. */
  readonly #valueNames: readonly string[];

  /** @param hasTextKey The key is one TEXT. @param valuesByName Indexes in `plan.valueColumns`, ascending by name. */
  constructor(
    plan: PlannedTable,
    hasTextKey: boolean,
    statements: TableStatements,
    valuesByName: readonly number[],
    late: LateTable,
  ) {
    this.#late = late;
    this.#valueNames = valuesByName.map((index) => plan.valueColumns[index]?.sqlName as string);
    this.#plan = plan;
    this.#hasTextKey = hasTextKey;
    this.#statements = statements;
  }

  /** Rows with clocks, after a place, in its order. */
  page(after: TablePlace | null, rowsMax: number): ClockedRow[] {
    const statement = this.#scanStatement(after);
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    const rows: ClockedRow[] = [];
    while (statement.step()) rows.push(this.#clockedRow(statement));
    statement.reset();
    return rows;
  }

  /**
   * The same, row by row: `visit` reads the columns that it needs (clock, held, place, key), or asks for the row. Its clocks
   * are `late`, or the statement's where that is undefined.
   *
   * @returns as {@link clocks}.
   */
  each(
    after: TablePlace | null,
    rowsMax: number,
    visit: (statement: SqlStatement, late: Uint8Array | undefined, row: () => ClockedRow) => void,
  ): { readonly after: TablePlace | null; readonly count: number } {
    const statement = this.#scanStatement(after);
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    const row = () => this.#clockedRow(statement);
    let last = after;
    let count = 0;
    try {
      while (statement.step()) {
        visit(statement, this.#lateAt(statement, 2), row);
        if (++count === rowsMax) last = row().after;
      }
    } finally {
      statement.reset();
    }
    return { after: last, count };
  }

  /**
   * As {@link each}, with the value columns, ascending by name, behind the key; not for WITHOUT ROWID.
   *
   * @param visit Says whether the row behind is wanted too.
   */
  eachWithValues(
    after: Rowid | null,
    rowsMax: number,
    visit: (
      statement: SqlStatement,
      late: Uint8Array | undefined,
      row: () => ClockedRow,
    ) => boolean,
  ): { readonly after: Rowid | null; readonly isEnd: boolean } {
    const isFirst = after === null;
    const statement = this.#statements.kept(isFirst ? "scanValues" : "scanValuesAfter", () =>
      this.#scanSql(isFirst ? "" : `WHERE c.${this.#statements.clockId} > ?2`, this.#valueNames),
    );
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    const row = () => this.#clockedRow(statement);
    let last = after;
    let count = 0;
    let isMoreWanted = true;
    try {
      while (isMoreWanted && statement.step()) {
        isMoreWanted = visit(statement, this.#lateAt(statement, 2), row);
        last = statement.column(2) as Rowid;
        count++;
      }
    } finally {
      statement.reset();
    }
    return { after: last, isEnd: isMoreWanted && count < rowsMax };
  }

  /** Whether a scan's row has its key as one TEXT in column {@link scannedKeyColumn}. */
  isTextKey(statement: SqlStatement): boolean {
    return this.#hasTextKey && !this.#plan.withoutRowid && statement.isText(scannedKeyColumn);
  }

  /** The row that stands at a place of {@link page}. */
  rowAt(place: TablePlace): ClockedRow | undefined {
    const { clockId } = this.#statements;
    const statement = this.#statements.kept("scanAt", () =>
      this.#scanSql(`WHERE c.${clockId} = ?2`),
    );
    statement.bind(1, 1);
    statement.bind(2, place);
    const row = statement.step() ? this.#clockedRow(statement) : undefined;
    statement.reset();
    return row;
  }

  #scanStatement(after: TablePlace | null): SqlStatement {
    const { clockId } = this.#statements;
    return this.#statements.kept(after === null ? "scan" : "scanAfter", () =>
      this.#scanSql(after === null ? "" : `WHERE c.${clockId} > ?2`),
    );
  }

  #scanSql(condition: string, valueNames: readonly string[] = []): string {
    const { withoutRowid, rowidName, keyColumns } = this.#plan;
    const { base, clocks, clockId } = this.#statements;
    const order = `${condition} ORDER BY c.${clockId} LIMIT ?1`;
    if (withoutRowid) return `SELECT c.clock, c.held, c.key FROM ${clocks} c ${order}`;
    const names = keyColumns.map(({ sqlName }) => sqlName).concat(valueNames);
    const columns = names.map((name) => `t.${quoteName(name)}`);
    return (
      `SELECT c.clock, c.held, c.id, ${columns.join(", ")} FROM ${clocks} c ` +
      `CROSS JOIN ${base} t ON t.${rowidName} = c.id ${order}`
    );
  }

  #clockedRow(statement: SqlStatement): ClockedRow {
    const { withoutRowid, keyColumns } = this.#plan;
    const key: SqlValue[] = [];
    if (!withoutRowid) {
      for (let i = 0; i < keyColumns.length; i++) key.push(statement.column(scannedKeyColumn + i));
    }
    return {
      clock: this.#lateAt(statement, 2) ?? (statement.column(0) as Uint8Array),
      held: statement.column(1) as Uint8Array | null,
      after: statement.column(2) as TablePlace,
      key: withoutRowid ? undefined : key,
    };
  }

  /** The late clocks of the row that a scan stands at, if it has some. @param column Of the place. */
  #lateAt(statement: SqlStatement, column: number): Uint8Array | undefined {
    // Keys are no places of late clocks, and reading one copies it.
    if (this.#late.isEmpty) return undefined;
    return this.#late.get(statement.column(column) as Rowid);
  }

  /**
   * Clocks alone, after a place, in its order: the clock blob is `late`, or in column 0 where that is undefined; the place is
   * in column 1.
   *
   * @returns where the scan stands, and how many there were.
   */
  clocks(
    after: TablePlace | null,
    rowsMax: number,
    visit: (statement: SqlStatement, late: Uint8Array | undefined) => void,
  ): { readonly after: TablePlace | null; readonly count: number } {
    const { clockId: id, clocks } = this.#statements;
    const statement = this.#statements.kept(
      after === null ? "scanClocks" : "scanClocksAfter",
      () => {
        const condition = after === null ? "" : `WHERE ${id} > ?2`;
        return `SELECT clock, ${id} FROM ${clocks} ${condition} ORDER BY ${id} LIMIT ?1`;
      },
    );
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    let last = after;
    let count = 0;
    try {
      while (statement.step()) {
        visit(statement, this.#lateAt(statement, 1));
        if (++count === rowsMax) last = statement.column(1) as TablePlace;
      }
    } finally {
      statement.reset();
    }
    return { after: last, count };
  }
}
