/**
 * Finds and writes the rows of all tables, wherever they stand.
 *
 * | a row that is                                            | stands in                              |
 * | -------------------------------------------------------- | -------------------------------------- |
 * | live, of a known table, with a key that its columns keep | its base table, clocks beside it       |
 * | anything else that was heard of                          | `patina_absent` (`absent-rows.ts`)      |
 *
 * The base row is a function of what is held and of the schema: a column shows the value of its cell
 * if it gives it back unchanged, and otherwise its default.
 *
 * A row may be larger than SQLite takes: generated columns and indexes repeat columns that others fill who don't have them, and
 * hosts that don't know of each other fill different columns. Then the largest values aren't shown (`row-fit.ts`).
 * With each later write of the row it is tried anew from the start: what it shows doesn't depend on what it was before.
 *
 * @module
 */

import { assert } from "../../assert.ts";
import { compareRowClocks, isLive } from "../../clock/row-clock.ts";
import { isTooBig, type Rowid, type SqlDatabase, type SqlStatement } from "../../database.ts";
import { decodeKey } from "../../row/key.ts";
import type { SqlValue } from "../../row/value.ts";
import { RowTooLarge } from "../../row-store.ts";
import type { Ordinals } from "../clocks/clock-blob.ts";
import type { AbsentRows } from "./absent-rows.ts";
import { decodeHeldRow, encodeClocks, encodeHeld, type HeldRow } from "./held-row.ts";
import { cellsToLeaveOut } from "./row-fit.ts";
import type { Place, StoredTable } from "./stored-table.ts";

/** One row as a transaction found it. */
export interface Slot extends Place {
  readonly name: string;
  /** Where it stands if it is live; undefined when no table can show it. */
  readonly table: StoredTable | undefined;
  rowid: Rowid | undefined;
  hasBase: boolean;
  hasClocks: boolean;
  isAbsent: boolean;
  held: HeldRow | undefined;
}

export class RowWriter implements Disposable {
  readonly #database: SqlDatabase;
  readonly #tables: ReadonlyMap<string, StoredTable>;
  readonly #absent: AbsentRows;
  readonly #ordinals: Ordinals;
  readonly #addUnshown: SqlStatement;
  /** Changes of `patina_unshown` in the transaction that is open: table, then column. */
  readonly #unshown = new Map<string, Map<string, number>>();

  constructor(
    database: SqlDatabase,
    tables: ReadonlyMap<string, StoredTable>,
    absent: AbsentRows,
    ordinals: Ordinals,
  ) {
    this.#database = database;
    this.#tables = tables;
    this.#absent = absent;
    this.#ordinals = ordinals;
    this.#addUnshown = database.prepare(
      "INSERT INTO patina_unshown (tbl, col, cells) VALUES (?1, ?2, ?3) " +
        "ON CONFLICT (tbl, col) DO UPDATE SET cells = cells + ?3",
    );
  }

  find(name: string, keyBytes: Uint8Array): Slot {
    const known = this.#tables.get(name);
    const textKey = known?.textKey(keyBytes);
    const key = textKey ?? decodeKey(keyBytes) ?? [];
    const table = textKey !== undefined || known?.isKey(key) ? known : undefined;
    const slot: Slot = {
      name,
      table,
      key,
      keyBytes,
      rowid: undefined,
      hasBase: false,
      hasClocks: false,
      isAbsent: false,
      held: undefined,
    };
    const found = table?.find(key, keyBytes);
    if (found !== undefined) {
      slot.rowid = found.rowid;
      slot.hasBase = true;
      slot.hasClocks = found.clock !== null;
      if (found.clock !== null) slot.held = decodeHeldRow(found.clock, found.held, this.#ordinals);
      // A row of the table whose clocks are missing or damaged counts as one never heard of.
      return slot;
    }
    const absent = this.#absent.find(name, keyBytes);
    if (absent !== undefined) {
      slot.isAbsent = true;
      slot.held = absent.held;
    }
    return slot;
  }

  /** Reads the values of all cells of `row`, which are those that the slot's base row shows. */
  readValues(slot: Slot, row: HeldRow): void {
    if (row.cells.every(({ value }) => value !== undefined)) return;
    const { table } = slot;
    assert(table !== undefined && slot.hasBase, "shown values stand in a base row");
    const values = table.readValues(slot);
    for (const cell of row.cells) {
      // NULL is a value too.
      if (cell.value !== undefined) continue;
      cell.value = values[table.valueIndex.get(cell.column) as number] ?? null;
    }
  }

  /**
   * Writes the state of a row, base row and clocks. The slot is as the row is then. Throws what SQLite throws, and
   * {@link RowTooLarge}.
   *
   * @returns whether it is, or was, too large for all of it to be shown
   */
  write(slot: Slot, row: HeldRow): boolean {
    const wasCut = isCutToFit(slot);
    try {
      this.#write(slot, row);
      return wasCut || isCutToFit(slot);
    } catch (error) {
      throw isTooBig(error) ? new RowTooLarge({ table: slot.name, key: slot.keyBytes }) : error;
    }
  }

  #write(slot: Slot, row: HeldRow): void {
    if (slot.held !== undefined) this.countUnshown(slot.name, slot.held, slot.isAbsent, -1);
    if (slot.table !== undefined && isLive(row.clock)) this.#show(slot, slot.table, row);
    else this.#hide(slot, row);
    this.countUnshown(slot.name, row, slot.isAbsent, 1);
    for (const cell of row.cells) cell.fresh = false;
    slot.held = row;
  }

  #show(slot: Slot, table: StoredTable, row: HeldRow): void {
    for (const cell of row.cells) {
      // That the column would show: the row was too large for it.
      if (cell.held) cell.fresh ||= table.isShown(cell.column, cell.value as SqlValue);
      if (cell.fresh) cell.held = !table.isShown(cell.column, cell.value as SqlValue);
    }
    if (!this.#fitBase(slot, table, row)) {
      this.#hide(slot, row);
      return;
    }
    const hadHeld = slot.held === undefined || slot.held.mayHold;
    const clock = encodeClocks(row, this.#ordinals);
    table.putClocks(slot, clock, encodeHeld(row), !slot.hasClocks, hadHeld);
    slot.hasClocks = true;
    if (slot.isAbsent) this.#absent.remove(slot.name, slot.keyBytes);
    slot.isAbsent = false;
  }

  /** Writes the base row, without its largest values where it is too large. False: it is too large without any. */
  #fitBase(slot: Slot, table: StoredTable, row: HeldRow): boolean {
    if (this.#tryBase(slot, table, row)) return true;
    this.readValues(slot, row);
    const shown = row.cells.filter(({ held }) => !held);
    const largest = cellsToLeaveOut(this.#database, table.plan, slot.key, shown);
    return [largest, shown].some((cells) => {
      for (const cell of cells) {
        cell.held = true;
        // What it shows is to go.
        cell.fresh = true;
      }
      return this.#tryBase(slot, table, row);
    });
  }

  /** False: it is too large; nothing was done. */
  #tryBase(slot: Slot, table: StoredTable, row: HeldRow): boolean {
    try {
      this.#putBase(slot, table, row);
      return true;
    } catch (error) {
      if (isTooBig(error)) return false;
      throw error;
    }
  }

  #putBase(slot: Slot, table: StoredTable, row: HeldRow): void {
    const { valueColumns } = table.plan;
    if (!slot.hasBase) {
      const values: SqlValue[] = valueColumns.map((column) => column.defaultValue);
      for (const { column, value, held } of row.cells) {
        if (!held) values[table.valueIndex.get(column) as number] = value as SqlValue;
      }
      slot.rowid = table.insert(slot.key, values);
      slot.hasBase = true;
    } else {
      // Columns that don't show what they are to: those of cells that came, and in a new life those
      // without a cell.
      const isReplaced =
        slot.held === undefined || compareRowClocks(slot.held.clock, row.clock) !== 0;
      const values: (SqlValue | undefined)[] = isReplaced
        ? valueColumns.map((column) => column.defaultValue)
        : new Array(valueColumns.length).fill(undefined);
      for (const { column, value, held, fresh } of row.cells) {
        const index = table.valueIndex.get(column);
        if (index === undefined) continue;
        if (!fresh) {
          if (!held) values[index] = undefined;
        } else values[index] = held ? valueColumns[index]?.defaultValue : value;
      }
      const columns: number[] = [];
      const changed: SqlValue[] = [];
      for (let i = 0; i < values.length; i++) {
        const value = values[i];
        if (value === undefined) continue;
        columns.push(i);
        changed.push(value);
      }
      if (columns.length > 0) table.update(slot, columns, changed);
    }
  }

  /** Takes a row out of its table, until it is written again. */
  takeOut(slot: Slot, row: HeldRow): void {
    this.countUnshown(slot.name, row, slot.isAbsent, -1);
    this.#hide(slot, row);
    this.countUnshown(slot.name, row, slot.isAbsent, 1);
  }

  #hide(slot: Slot, row: HeldRow): void {
    this.readValues(slot, row);
    for (const cell of row.cells) cell.held = true;
    if (slot.hasClocks) slot.table?.removeClocks(slot);
    if (slot.hasBase) slot.table?.remove(slot);
    slot.hasBase = false;
    slot.hasClocks = false;
    slot.rowid = undefined;
    this.#absent.put(slot.name, slot.keyBytes, row);
    slot.isAbsent = true;
  }

  /** Counts what of a live row isn't shown: cells, or the whole row under the column "". */
  countUnshown(name: string, row: HeldRow, isAbsent: boolean, by: 1 | -1): void {
    if (isAbsent) {
      if (isLive(row.clock)) this.#count(name, "", by);
      return;
    }
    if (!row.mayHold) return;
    for (const cell of row.cells) if (cell.held) this.#count(name, cell.column, by);
  }

  #count(name: string, column: string, by: number): void {
    let columns = this.#unshown.get(name);
    if (columns === undefined) {
      columns = new Map();
      this.#unshown.set(name, columns);
    }
    columns.set(column, (columns.get(column) ?? 0) + by);
  }

  /** Writes the counts, before the transaction that is open commits. */
  flush(): void {
    if (this.#unshown.size === 0) return;
    for (const [name, columns] of this.#unshown) {
      for (const [column, by] of columns) {
        if (by === 0) continue;
        this.#addUnshown.bind(1, name);
        this.#addUnshown.bind(2, column);
        this.#addUnshown.bind(3, by);
        this.#addUnshown.step();
        this.#addUnshown.reset();
      }
    }
    this.#unshown.clear();
  }

  /** The transaction was rolled back. */
  forget(): void {
    this.#unshown.clear();
  }

  [Symbol.dispose](): void {
    this.#addUnshown[Symbol.dispose]();
  }
}

/** Whether something isn't shown of a row that its table would show, were it smaller. */
function isCutToFit({ table, held, isAbsent }: Slot): boolean {
  if (table === undefined || held === undefined || !isLive(held.clock)) return false;
  return isAbsent || (held.mayHold && leavesOut(table, held));
}

/** Whether some of its cells aren't shown that their columns would show. */
export function leavesOut(table: StoredTable, { cells }: HeldRow): boolean {
  return cells.some(({ column, value, held }) => held && table.isShown(column, value as SqlValue));
}
