/**
 * Queries that are run again and see only rows with one value, or one of some (`constant-filter.ts`), by table, column and
 * value: a changed row is read once, and concerns those whose value it has.
 *
 * A row concerns those who saw it before its change, too (`changed-cells.ts`). Where it isn't known what it had,
 * everyone who filters by the column is concerned.
 *
 * @module
 */

import { isLive } from "../../core/clock/row-clock.ts";
import type { Cell, ChangedCells } from "./changed-cells.ts";
import type { ConstantFilter } from "./plan/constant-filter.ts";
import type { ChangedRow } from "./table-changes.ts";

/** Of one column: who filters by a value of it. */
type ByValue<M> = Map<string | number, Set<M>>;

/** @typeParam M who filters */
export class FilterIndex<M> {
  readonly #cells: ChangedCells;
  readonly #byTable = new Map<string, Map<string, ByValue<M>>>();

  /** @param cells watches the columns that somebody filters by */
  constructor(cells: ChangedCells) {
    this.#cells = cells;
  }

  add(member: M, { table, column, values }: ConstantFilter): void {
    let columns = this.#byTable.get(table);
    if (columns === undefined) {
      columns = new Map();
      this.#byTable.set(table, columns);
    }
    let byValue = columns.get(column);
    if (byValue === undefined) {
      this.#cells.watch(table, column);
      byValue = new Map();
      columns.set(column, byValue);
    }
    for (const value of values) {
      const members = byValue.get(value);
      if (members === undefined) byValue.set(value, new Set([member]));
      else members.add(member);
    }
  }

  remove(member: M, { table, column, values }: ConstantFilter): void {
    const columns = this.#byTable.get(table);
    const byValue = columns?.get(column);
    if (columns === undefined || byValue === undefined) return;
    for (const value of values) {
      const members = byValue.get(value);
      members?.delete(member);
      if (members?.size === 0) byValue.delete(value);
    }
    if (byValue.size > 0) return;
    this.#cells.unwatch(table, column);
    columns.delete(column);
    if (columns.size === 0) this.#byTable.delete(table);
  }

  /** @param use called for everyone whom the row may concern, as far as this column tells; maybe twice */
  forRow(row: ChangedRow, use: (member: M) => void): void {
    for (const [column, byValue] of this.#byTable.get(row.table) ?? []) {
      const before = this.#cells.before(row, column);
      const isThere = row.merged === undefined || isLive(row.merged.after.clock);
      const after = isThere ? this.#cells.now(row, column) : undefined;
      if (before === "unknown" || after === "absent") forEach(byValue, use);
      else {
        for (const cell of [before, after]) {
          const value = cell === "same" ? undefined : comparable(cell);
          if (value === undefined) continue;
          for (const member of byValue.get(value) ?? []) use(member);
        }
      }
    }
  }

  /** Everyone who filters by some column of the table. */
  forAll(table: string, use: (member: M) => void): void {
    for (const byValue of this.#byTable.get(table)?.values() ?? []) forEach(byValue, use);
  }
}

function forEach<M>(byValue: ByValue<M>, use: (member: M) => void): void {
  for (const members of byValue.values()) for (const member of members) use(member);
}

/** What a filter is compared with. No filter is an integer that a number can't hold, or a REAL. */
function comparable(cell: Cell | undefined): string | number | undefined {
  if (cell === undefined || cell === "absent") return undefined;
  const { value } = cell;
  return typeof value === "string" || typeof value === "number" ? value : undefined;
}
