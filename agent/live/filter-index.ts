/**
 * Queries that are run again and see only rows with one value, or one of some (`constant-filter.ts`), by table, column and
 * value: a changed row is read once, and concerns those whose value it has.
 *
 * A row concerns those who saw it before, too. When another column changed these are the same, and when the
 * row came there are none. Otherwise the value that it had is read before the COMMIT, on a connection that
 * doesn't see the transaction; where it wasn't, everyone who filters by the column is concerned.
 *
 * @module
 */

import { isLive } from "../../core/clock/row-clock.ts";
import { decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";
import { quoteName } from "../../core/schema/sql-token.ts";
import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { ConstantFilter } from "./plan/constant-filter.ts";
import type { ChangedRow, TableChanges } from "./table-changes.ts";

/** What a column holds. */
interface Value {
  readonly is: string | number;
}

/** Of one column. */
interface Column<M> {
  /** As it is, and as it was before a transaction that is open. */
  readonly read: Statement;
  readonly readBefore: Statement;
  readonly byValue: Map<string | number, Set<M>>;
}

export interface FilterIndexOptions {
  /** The one that writes, and one that doesn't see what isn't committed. */
  readonly writer: Database;
  readonly reader: Database;
  readonly keyColumnsOf: (table: string) => readonly string[] | undefined;
  /** Rows may have been there that the store has never heard of. */
  readonly isAdopting: (table: string) => boolean;
}

/** Of more rows the values that they had aren't read. */
const beforeMax = 64;

/** @typeParam M who filters */
export class FilterIndex<M> {
  readonly #options: FilterIndexOptions;
  readonly #byTable = new Map<string, Map<string, Column<M>>>();
  /** Values that rows had, by column. */
  readonly #before = new WeakMap<ChangedRow, Map<string, Value | null>>();

  constructor(options: FilterIndexOptions) {
    this.#options = options;
  }

  add(member: M, { table, column, values }: ConstantFilter): void {
    let columns = this.#byTable.get(table);
    if (columns === undefined) {
      columns = new Map();
      this.#byTable.set(table, columns);
    }
    let found = columns.get(column);
    if (found === undefined) {
      const { writer, reader } = this.#options;
      const sql = this.#selectOf(table, column);
      found = { read: writer.prepare(sql), readBefore: reader.prepare(sql), byValue: new Map() };
      columns.set(column, found);
    }
    for (const value of values) {
      const members = found.byValue.get(value);
      if (members === undefined) found.byValue.set(value, new Set([member]));
      else members.add(member);
    }
  }

  remove(member: M, { table, column, values }: ConstantFilter): void {
    const columns = this.#byTable.get(table);
    const found = columns?.get(column);
    if (columns === undefined || found === undefined) return;
    for (const value of values) {
      const members = found.byValue.get(value);
      members?.delete(member);
      if (members?.size === 0) found.byValue.delete(value);
    }
    if (found.byValue.size > 0) return;
    found.read.finalize();
    found.readBefore.finalize();
    columns.delete(column);
    if (columns.size === 0) this.#byTable.delete(table);
  }

  get isEmpty(): boolean {
    return this.#byTable.size === 0;
  }

  /** Of the transaction that is open only COMMIT is left. */
  committing(changes: TableChanges): void {
    for (const [table, columns] of this.#byTable) {
      const rows = changes.get(table) ?? [];
      if (rows === "unknown" || rows.length > beforeMax) continue;
      for (const row of rows) {
        for (const [column, { readBefore }] of columns) {
          if (this.#beforeOf(row, column) !== "unknown") continue;
          let values = this.#before.get(row);
          if (values === undefined) {
            values = new Map();
            this.#before.set(row, values);
          }
          values.set(column, read(readBefore, row) ?? null);
        }
      }
    }
  }

  /** @param use called for everyone whom the row may concern, as far as this column tells; maybe twice */
  forRow(row: ChangedRow, use: (member: M) => void): void {
    for (const [column, found] of this.#byTable.get(row.table) ?? []) {
      const before = this.#beforeOf(row, column);
      const isThere = row.merged === undefined || isLive(row.merged.after.clock);
      const after = isThere ? read(found.read, row) : null;
      if (before === "unknown" || after === undefined) forEach(found, use);
      else {
        for (const value of [before, after]) {
          if (value === "same" || value === null) continue;
          for (const member of found.byValue.get(value.is) ?? []) use(member);
        }
      }
    }
  }

  /** Everyone who filters by some column of the table. */
  forAll(table: string, use: (member: M) => void): void {
    for (const found of this.#byTable.get(table)?.values() ?? []) forEach(found, use);
  }

  /** What the column was; null for nothing that a filter is. */
  #beforeOf(row: ChangedRow, column: string): Value | null | "same" | "unknown" {
    const { table, columns, merged } = row;
    const known = this.#before.get(row)?.get(column);
    if (known !== undefined) return known;
    if (merged === undefined || this.#options.isAdopting(table)) return "unknown";
    const { before, after } = merged;
    if (before === undefined || !isLive(before.clock)) return null;
    const isSame = isLive(after.clock) && columns !== undefined && !columns.has(column);
    return isSame ? "same" : "unknown";
  }

  #selectOf(table: string, column: string): string {
    const key = this.#options.keyColumnsOf(table) ?? [];
    const isKey = key.map((name, i) => `${quoteName(name)} = ?${i + 1}`).join(" AND ");
    return `SELECT ${quoteName(column)} FROM ${quoteName(table)} WHERE ${isKey}`;
  }
}

function forEach<M>({ byValue }: Column<M>, use: (member: M) => void): void {
  for (const members of byValue.values()) for (const member of members) use(member);
}

/** What a filter is compared with; null for what no filter is; undefined when the row isn't found. */
function read(statement: Statement, { key }: ChangedRow): Value | null | undefined {
  const values = decodeKey(key);
  if (values === undefined) return undefined;
  for (const [i, value] of values.entries()) statement.bind(i + 1, value);
  try {
    if (!statement.step()) return undefined;
    return comparable(statement.column(0));
  } finally {
    statement.reset();
  }
}

function comparable(value: SqlValue): Value | null {
  if (typeof value === "string" || typeof value === "number") return { is: value };
  // No filter is an integer that a number can't hold, or a REAL.
  return null;
}
