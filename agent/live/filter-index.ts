/**
 * Queries that see only rows with one value, or one of some (`constant-filter.ts`), by table, column and value: a changed
 * row is read once, and concerns those whose value it has. They are those that are run again, and of keyed ones those
 * whose values SQLite would go through one by one (`keyed-group.ts`).
 *
 * A row concerns those who saw it before its change, too (`changed-cells.ts`). Where it isn't known what it had,
 * everyone who filters by the column is concerned; but of keyed ones those whom their group names.
 *
 * @module
 */

import { isLive } from "../../core/clock/row-clock.ts";
import type { Cell, ChangedCells } from "./changed-cells.ts";
import type { ConstantFilter } from "./plan/constant-filter.ts";
import type { ChangedRow } from "./table-changes.ts";

/** Who filters by one column. */
interface Filtered<M> {
  readonly byValue: Map<string | number, Set<M>>;
  /** Those whom nothing else finds. */
  readonly others: Set<M>;
}

/** @typeParam M who filters */
export class FilterIndex<M> {
  readonly #cells: ChangedCells;
  readonly #byTable = new Map<string, Map<string, Filtered<M>>>();

  /** @param cells watches the columns that somebody filters by */
  constructor(cells: ChangedCells) {
    this.#cells = cells;
  }

  /** @param isFoundElse where it isn't known what a row had, whoever asks finds the member in another way */
  add(member: M, { table, column, values }: ConstantFilter, isFoundElse = false): void {
    let columns = this.#byTable.get(table);
    if (columns === undefined) {
      columns = new Map();
      this.#byTable.set(table, columns);
    }
    let filtered = columns.get(column);
    if (filtered === undefined) {
      this.#cells.watch(table, column);
      filtered = { byValue: new Map(), others: new Set() };
      columns.set(column, filtered);
    }
    if (!isFoundElse) filtered.others.add(member);
    for (const value of values) {
      const members = filtered.byValue.get(value);
      if (members === undefined) filtered.byValue.set(value, new Set([member]));
      else members.add(member);
    }
  }

  remove(member: M, { table, column, values }: ConstantFilter): void {
    const columns = this.#byTable.get(table);
    const filtered = columns?.get(column);
    if (columns === undefined || filtered === undefined) return;
    const { byValue, others } = filtered;
    others.delete(member);
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

  /**
   * @param use called for everyone whom the row may concern, as far as this column tells; maybe twice
   * @returns columns of which it is known what the row had and has: who filters by one of them, and isn't named, isn't concerned
   */
  forRow(row: ChangedRow, use: (member: M) => void): readonly string[] {
    const told: string[] = [];
    for (const [column, { byValue, others }] of this.#byTable.get(row.table) ?? []) {
      const before = this.#cells.before(row, column);
      const isThere = row.merged === undefined || isLive(row.merged.after.clock);
      const after = isThere ? this.#cells.now(row, column) : undefined;
      if (before === "unknown" || after === "absent") for (const member of others) use(member);
      else {
        told.push(column);
        for (const cell of [before, after]) {
          const value = cell === "same" ? undefined : comparable(cell);
          if (value === undefined) continue;
          for (const member of byValue.get(value) ?? []) use(member);
        }
      }
    }
    return told;
  }

  /** Everyone who filters by some column of the table, and isn't found in another way. */
  forAll(table: string, use: (member: M) => void): void {
    for (const { others } of this.#byTable.get(table)?.values() ?? []) {
      for (const member of others) use(member);
    }
  }
}

/** What a filter is compared with. No filter is an integer that a number can't hold, or a REAL. */
function comparable(cell: Cell | undefined): string | number | undefined {
  if (cell === undefined || cell === "absent") return undefined;
  const { value } = cell;
  return typeof value === "string" || typeof value === "number" ? value : undefined;
}
