/**
 * What a change of schema does to rows: takes in those that stood in a table when it became replicated,
 * shows what was held for want of a table or column, and checks that rows and clocks belong together.
 *
 * Many rows, or large ones, are taken in later, slice by slice (`adoption.ts`).
 *
 * @module
 */

import { canonicalKeyValue, decodeKey, encodeKey } from "../../row/key.ts";
import type { SqlValue } from "../../row/value.ts";
import type { MergedRow, TablePlace } from "../../row-store.ts";
import type { SchemaPlan } from "../../schema/schema-plan.ts";
import type { AdoptingTables } from "../file/adopting-tables.ts";
import type { OpenReport } from "../store-outcomes.ts";
import { decodeHeldRow } from "../tables/held-row.ts";
import type { Slot } from "../tables/row-writer.ts";
import type { StoreParts } from "../tables/store-parts.ts";
import type { BaseRow, StoredTable } from "../tables/stored-table.ts";
import { adoptedAtOnceBytesMax, adoptedAtOnceMax, adoptionStamp } from "./adoption.ts";
import { type LocalChange, problemOfSize, problemOfText, stampChanges } from "./local-commit.ts";
import type { LocalWriter } from "./local-writer.ts";

export class Intake {
  readonly #parts: StoreParts;
  readonly #localWriter: LocalWriter;

  constructor(parts: StoreParts, localWriter: LocalWriter) {
    this.#parts = parts;
    this.#localWriter = localWriter;
  }

  /**
   * After a plan was run: takes in what was there, or notes that it is to be, and shows what was held.
   *
   * @param tables Those under adoption; some may be added.
   */
  takeIn(
    plan: SchemaPlan & { readonly kind: "plan" },
    tables: AdoptingTables,
  ): Pick<OpenReport, "adoptedRows" | "surfacedRows"> {
    const isLater = (name: string): boolean => {
      const table = this.#parts.tables.get(name) as StoredTable;
      return table.countRows() > adoptedAtOnceMax || table.countBytes() > adoptedAtOnceBytesMax;
    };
    const later = plan.adopted.filter(isLater);
    const known = tables.read();
    const adopting = [...known, ...later].filter((name) => this.#parts.tables.has(name));
    if (adopting.length > 0 || known.length > 0) tables.set(adopting);
    const atOnce = plan.adopted.filter((name) => !later.includes(name));
    this.#removeKnown(plan.adopted);
    const adoptedRows = this.#adopt(atOnce);
    const surfacedRows =
      this.#surfaceRows(plan.adopted) +
      this.#surfaceCells([...new Set([...plan.grown, ...plan.reindexed])]);
    return { adoptedRows, surfacedRows };
  }

  /** Takes in the rows of tables that are new to replication. */
  #adopt(names: readonly string[]): number {
    let count = 0;
    for (const name of names) {
      const table = this.#parts.tables.get(name) as StoredTable;
      for (const row of table.baseRows()) {
        if (this.#adoptRow(table, row) !== undefined) count++;
      }
    }
    return count;
  }

  /** Rows whose key is held already make room: peers have said something of them, and all of that is later. */
  #removeKnown(names: readonly string[]): void {
    for (const name of names) {
      const table = this.#parts.tables.get(name) as StoredTable;
      for (const keyBytes of this.#parts.absent.keysOf(name)) {
        const key = decodeKey(keyBytes) ?? [];
        const row = table.isKey(key) ? table.readByKey(key) : undefined;
        const isHeld = this.#parts.absent.find(name, keyBytes)?.held !== undefined;
        if (row !== undefined && isHeld) table.remove({ rowid: row.rowid, key, keyBytes });
      }
    }
  }

  /** Undefined for what no commit may say (too large, or TEXT that isn't UTF-8): it stays as it is, and counts among rows without clocks. */
  #adoptRow(table: StoredTable, row: BaseRow): MergedRow | undefined {
    const key = row.key.map(canonicalKeyValue);
    const keyBytes = encodeKey(key);
    if (keyBytes === undefined) return undefined;
    const change: LocalChange = {
      kind: "insert",
      row,
      touched: {
        table,
        key,
        keyBytes,
        before: undefined,
        rowidBefore: undefined,
        row,
        source: undefined,
        named: undefined,
        clocks: undefined,
      },
    };
    if (problemOfText([change]) !== undefined) return undefined;
    const rows = stampChanges([change], adoptionStamp(this.#parts.clock.site), this.#parts);
    if (problemOfSize(rows) !== undefined) return undefined;
    return this.#localWriter.write([change], rows)[0];
  }

  /** A row of a table under adoption that a merge is about to meet is taken in first. */
  adoptBeforeMerge(
    { table, hasBase, hasClocks, key }: Slot,
    adopting: ReadonlySet<string>,
  ): MergedRow | undefined {
    if (table === undefined || !hasBase || hasClocks || !adopting.has(table.name)) return;
    const row = table.readByKey(key);
    return row && this.#adoptRow(table, row);
  }

  /** Puts held rows into tables that this database has only now. */
  #surfaceRows(names: readonly string[]): number {
    let count = 0;
    for (const name of names) {
      for (const key of this.#parts.absent.keysOf(name)) {
        const slot = this.#parts.rows.find(name, key);
        if (slot.table === undefined || slot.held === undefined || slot.hasBase) continue;
        this.#parts.rows.write(slot, slot.held);
        if (!slot.isAbsent) count++;
      }
    }
    return count;
  }

  /** Shows held cells in columns that their tables have only now, and those that an index which is gone was too much for. */
  #surfaceCells(names: readonly string[]): number {
    let count = 0;
    for (const name of names) {
      const table = this.#parts.tables.get(name);
      if (table === undefined || !this.#hasHeldCells(table)) continue;
      let after: TablePlace | null = null;
      for (;;) {
        const page = table.scan.page(after, 1000);
        for (const { after: id, key: stored, clock, held } of page) {
          after = id;
          if (held === null) continue;
          const row = decodeHeldRow(clock, held, this.#parts.ordinals);
          const keyBytes = stored === undefined ? (id as Uint8Array) : encodeKey(stored);
          if (row === undefined || keyBytes === undefined) continue;
          const shown = row.cells.filter(
            (cell) => cell.held && table.isShown(cell.column, cell.value as SqlValue),
          );
          if (shown.length === 0) continue;
          for (const cell of shown) cell.fresh = true;
          this.#parts.rows.write(this.#parts.rows.find(name, keyBytes), row);
          count++;
        }
        if (page.length < 1000) break;
      }
    }
    return count;
  }

  /** Whether something may be held for a column that the table has: else nobody need look for it. */
  #hasHeldCells(table: StoredTable): boolean {
    return this.#parts.database
      .all("SELECT col FROM patina_unshown WHERE tbl = ? AND cells > 0", table.name)
      .some(([column]) => table.valueIndex.has(String(column)));
  }

  /**
   * Counts rows and clocks that don't belong together. Clocks whose row is gone go too, unless nothing may be written:
   * they would be taken for those of the row that gets its rowid next.
   */
  check(
    adopting: ReadonlySet<string>,
    mayWrite = true,
  ): {
    readonly clocksWithoutRows: number;
    readonly rowsWithoutClocks: number;
  } {
    let clocksWithoutRows = 0;
    let rowsWithoutClocks = 0;
    for (const table of this.#parts.tables.values()) {
      const matched = table.countMatched();
      const clocks = table.countClocks();
      // A row that is to be taken in will get its clocks.
      if (!adopting.has(table.name)) rowsWithoutClocks += table.countRows() - matched;
      clocksWithoutRows += clocks - matched;
      if (clocks !== matched && mayWrite) table.removeStrayClocks();
    }
    return { clocksWithoutRows, rowsWithoutClocks };
  }
}
