/**
 * What some columns of changed rows hold, and what they held before the transaction: so that it is known which
 * rows with one value a query had, and has.
 *
 * A column that didn't change held the same. Otherwise what it held is read before the COMMIT, on a connection that
 * doesn't see the transaction, also of rows that came: one may have been there of which the store hasn't heard. Of
 * thousands of rows nothing is read: those that came held nothing, and what the others held isn't known.
 *
 * @module
 */

import { isLive } from "../../core/clock/row-clock.ts";
import { decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";
import { quoteName } from "../../core/schema/sql-token.ts";
import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { ChangedRow, TableChanges } from "./table-changes.ts";

/** A value; or there is no such row. */
export type Cell = { readonly value: SqlValue } | "absent";

/** A column as it is, and as it was before a transaction that is open. */
interface Statements {
  readonly read: Statement;
  readonly readBefore: Statement;
}

interface Watched {
  statements: Statements;
  /** How many want it. */
  count: number;
}

export interface ChangedCellsOptions {
  /** The one that writes, and one that doesn't see what isn't committed. */
  readonly writer: Database;
  readonly reader: Database;
  readonly keyColumnsOf: (table: string) => readonly string[] | undefined;
  /** Rows may have been there that the store has never heard of. */
  readonly mayBeUnheard: (table: string) => boolean;
}

/** Of more rows the values that they had aren't read. */
const beforeMax = 64;

export class ChangedCells {
  readonly #options: ChangedCellsOptions;
  readonly #byTable = new Map<string, Map<string, Watched>>();
  /** What rows held, by column. */
  readonly #before = new WeakMap<ChangedRow, Map<string, Cell>>();

  constructor(options: ChangedCellsOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#byTable.size === 0;
  }

  /** Names are in ASCII lower case. The table has a key. */
  watch(table: string, column: string): void {
    let columns = this.#byTable.get(table);
    if (columns === undefined) {
      columns = new Map();
      this.#byTable.set(table, columns);
    }
    const watched = columns.get(column);
    if (watched !== undefined) watched.count++;
    else columns.set(column, { statements: this.#prepare(table, column), count: 1 });
  }

  /** As often as {@link watch}. */
  unwatch(table: string, column: string): void {
    const columns = this.#byTable.get(table);
    const watched = columns?.get(column);
    if (columns === undefined || watched === undefined || --watched.count > 0) return;
    finalize(watched.statements);
    columns.delete(column);
    if (columns.size === 0) this.#byTable.delete(table);
  }

  /** The schema is another, and so are these tables. */
  schemaChanged(isChanged: (table: string) => boolean): void {
    for (const [table, columns] of this.#byTable) {
      if (!isChanged(table)) continue;
      for (const [column, watched] of columns) {
        let prepared: Statements;
        try {
          prepared = this.#prepare(table, column);
        } catch {
          // Such a column there is no more: whoever reads it is about to end.
          continue;
        }
        finalize(watched.statements);
        watched.statements = prepared;
      }
    }
  }

  /** Of the transaction that is open only COMMIT is left. */
  committing(changes: TableChanges): void {
    for (const [table, columns] of this.#byTable) {
      const rows = changes.get(table) ?? [];
      if (rows === "unknown" || rows.length > beforeMax) continue;
      for (const row of rows) {
        for (const [column, { statements }] of columns) {
          if (this.#told(row, column) === "same") continue;
          let cells = this.#before.get(row);
          if (cells === undefined) {
            cells = new Map();
            this.#before.set(row, cells);
          }
          cells.set(column, read(statements.readBefore, row));
        }
      }
    }
  }

  /** What a column that is watched held before the row's change; `"same"`: what it held after it. */
  before(row: ChangedRow, column: string): Cell | "same" | "unknown" {
    return this.#before.get(row)?.get(column) ?? this.#told(row, column);
  }

  /** As far as the commit tells. */
  #told({ table, columns, merged }: ChangedRow, column: string): "absent" | "same" | "unknown" {
    if (merged === undefined || this.#options.mayBeUnheard(table)) return "unknown";
    const { before, after } = merged;
    if (before === undefined || !isLive(before.clock)) return "absent";
    const isSame = isLive(after.clock) && columns !== undefined && !columns.has(column);
    return isSame ? "same" : "unknown";
  }

  /** What a column that is watched holds now. */
  now(row: ChangedRow, column: string): Cell {
    const watched = this.#byTable.get(row.table)?.get(column);
    return watched === undefined ? "absent" : read(watched.statements.read, row);
  }

  #prepare(table: string, column: string): Statements {
    const { writer, reader, keyColumnsOf } = this.#options;
    const key = keyColumnsOf(table) ?? [];
    const isKey = key.map((name, i) => `${quoteName(name)} = ?${i + 1}`).join(" AND ");
    const sql = `SELECT ${quoteName(column)} FROM ${quoteName(table)} WHERE ${isKey}`;
    return { read: writer.prepare(sql), readBefore: reader.prepare(sql) };
  }
}

function finalize({ read, readBefore }: Statements): void {
  read.finalize();
  readBefore.finalize();
}

function read(statement: Statement, { key }: ChangedRow): Cell {
  const values = decodeKey(key);
  if (values === undefined) return "absent";
  for (const [i, value] of values.entries()) statement.bind(i + 1, value);
  try {
    return statement.step() ? { value: statement.column(0) } : "absent";
  } finally {
    statement.reset();
  }
}
