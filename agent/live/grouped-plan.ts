/**
 * A query that is maintained group by group (`grouped-query.ts`), compiled: which groups a changed row was in and is
 * in, and what each comes to now.
 *
 * @module
 */

import type { SqlValue } from "../../core/row/value.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { ChangedCells } from "./changed-cells.ts";
import type { GroupedQuery } from "./plan/grouped-query.ts";
import type { ChangedRow } from "./table-changes.ts";

export class GroupedPlan {
  readonly table: string;
  readonly columns: readonly string[];
  /** Of the whole query. */
  readonly text: string;
  /** The result of one group, whose values are its parameters. */
  readonly one: Statement;
  readonly #cells: ChangedCells;

  /** @param one is its own from then on */
  constructor({ table, columns, all }: GroupedQuery, one: Statement, cells: ChangedCells) {
    this.table = table;
    this.columns = columns;
    this.text = all;
    this.one = one;
    this.#cells = cells;
    for (const column of columns) cells.watch(table, column);
  }

  /** Whether it is known which group the row was in before its change. */
  isKnown(row: ChangedRow): boolean {
    return this.#before(row) !== undefined;
  }

  /**
   * The groups that the row was in before its change, and is in now. Between its changes it was in no others, if each of
   * them is asked for.
   *
   * @returns undefined: it isn't known
   */
  groupsOf(row: ChangedRow): SqlValue[][] | undefined {
    const before = this.#before(row);
    if (before === undefined) return undefined;
    const groups = before === "none" ? [] : [before];
    const now: SqlValue[] = [];
    for (const column of this.columns) {
      const cell = this.#cells.now(row, column);
      if (cell === "absent") return groups;
      now.push(cell.value);
    }
    groups.push(now);
    return groups;
  }

  dispose(): void {
    this.one.finalize();
    for (const column of this.columns) this.#cells.unwatch(this.table, column);
  }

  /** `"none"`: no other than after it. */
  #before(row: ChangedRow): SqlValue[] | "none" | undefined {
    const cells = this.columns.map((column) => this.#cells.before(row, column));
    if (cells.every((cell) => cell === "same") || cells.includes("absent")) return "none";
    const values: SqlValue[] = [];
    for (const cell of cells) {
      // Where one of two columns stayed as it was, what it was then isn't known any more when others have followed.
      if (cell === "unknown" || cell === "same" || cell === "absent") return undefined;
      values.push(cell.value);
    }
    return values;
  }
}
