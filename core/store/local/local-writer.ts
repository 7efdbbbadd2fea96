/**
 * Writes the clocks of what a local transaction changed; the base rows are as it left them.
 *
 * @module
 */

import type { ClockState } from "../../row/digest.ts";
import type { MergedRow, ScanPosition } from "../../row-store.ts";
import { clocksOfHeld, type HeldRow } from "../tables/held-row.ts";
import { leavesOut } from "../tables/row-writer.ts";
import { PlacedRow, putClocks, type StoreParts } from "../tables/store-parts.ts";
import type { BaseRow, Place } from "../tables/stored-table.ts";
import { clocksOfTouched, type LocalChange, type LocalRow } from "./local-commit.ts";
import type { QuickRow } from "./quick-commit.ts";
import type { Touched } from "./touched.ts";

export class LocalWriter {
  readonly #parts: StoreParts;

  constructor(parts: StoreParts) {
    this.#parts = parts;
  }

  write(changes: readonly LocalChange[], rows: readonly LocalRow[]): MergedRow[] {
    const merged: MergedRow[] = [];
    // All clocks leave before any are put: rowids may have been handed from row to row.
    for (const { touched, row, kind } of changes) {
      if (touched.before === undefined || touched.clocks === null) continue;
      if (kind !== "delete" && row?.rowid === touched.rowidBefore) continue;
      touched.table.removeClocks(placeBefore(touched));
    }
    for (const change of changes) {
      if (change.kind === "moved") merged.push(this.#writeMoved(change.touched, change.row));
    }
    for (const row of rows) merged.push(this.#writeChanged(row));
    return merged;
  }

  /** The same state: its clocks go where the row went, and its key is written as everywhere. */
  #writeMoved(touched: Touched, row: BaseRow): MergedRow {
    const { table, key, keyBytes } = touched;
    const place: Place = { rowid: row.rowid, key, keyBytes };
    const held = clocksOfTouched(touched, this.#parts) as HeldRow;
    if (row.rowid !== touched.rowidBefore) putClocks(this.#parts, place, table, held, true);
    if (!table.isKeyShown(key, row.key)) table.updateKey(place);
    const clocks = clocksOfHeld(held);
    return this.#mergedRow(touched, clocks, clocks, false);
  }

  #writeChanged(local: LocalRow): MergedRow {
    const { change, held } = local;
    const { touched, row, kind } = change;
    const { table, key, keyBytes } = touched;
    const clocks = clocksOfTouched(touched, this.#parts);
    const wasAbsent = touched.before === undefined;
    if (clocks !== null) this.#parts.rows.countUnshown(table.name, clocks, wasAbsent, -1);
    if (kind === "delete") this.#parts.absent.put(table.name, keyBytes, held);
    else {
      const place: Place = { rowid: row?.rowid, key, keyBytes };
      const isNew = wasAbsent || clocks === null || row?.rowid !== touched.rowidBefore;
      putClocks(this.#parts, place, table, held, isNew);
      if (wasAbsent && clocks !== null) this.#parts.absent.remove(table.name, keyBytes);
      if (!table.isKeyShown(key, row?.key ?? [])) table.updateKey(place);
    }
    this.#parts.rows.countUnshown(table.name, held, kind === "delete", 1);
    const isCut = isCutToFit(local) && this.#showAgain(touched);
    const before = clocks === null ? undefined : clocksOfHeld(clocks);
    const merged = this.#mergedRow(touched, before, clocksOfHeld(held), true);
    merged.isCutToFit = isCut;
    return merged;
  }

  /** It may be smaller now. */
  #showAgain({ table, keyBytes }: Touched): boolean {
    const slot = this.#parts.rows.find(table.name, keyBytes);
    return this.#parts.rows.write(slot, slot.held as HeldRow);
  }

  #mergedRow(
    touched: Touched,
    before: ClockState | undefined,
    after: ClockState,
    changed: boolean,
  ): PlacedRow {
    const { table, keyBytes } = touched;
    const { name } = table;
    let place: ScanPosition | undefined;
    if (before !== undefined) {
      place =
        touched.before === undefined
          ? this.#parts.places.ofAbsent(name, keyBytes)
          : this.#parts.places.ofRow(table, placeBefore(touched));
    }
    const { digester } = this.#parts;
    const words = digester.idWords(name, keyBytes);
    const ref = { table: name, key: keyBytes };
    return new PlacedRow(
      ref,
      words,
      before,
      after,
      digester,
      after,
      changed,
      false,
      undefined,
      place,
    );
  }

  /** The clocks of rows that came, or stayed in their place. */
  writeQuick(rows: readonly QuickRow[]): void {
    for (let at = 0; at < rows.length; ) {
      const { table, rowid, clock, isNew } = rows[at] as QuickRow;
      const from = at++;
      if (!isNew) {
        table.quick.putClocksAt(rowid, clock);
        continue;
      }
      while (rows[at]?.isNew === true && rows[at]?.table === table) at++;
      table.quick.insertClocksAt(rows, from, at);
    }
  }

  isUrgentQuick({ table, rowid, merged }: QuickRow): boolean {
    if (table.plan.urgent === null) return false;
    return table.isUrgent({ rowid, key: [], keyBytes: merged.key });
  }

  /** Whether the change is to go in the urgent lane. */
  isUrgent({ change }: LocalRow): boolean {
    const { touched, row, kind } = change;
    const { table, key, keyBytes } = touched;
    if (table.plan.urgent === null) return false;
    return kind === "delete" || table.isUrgent({ rowid: row?.rowid, key, keyBytes });
  }
}

/** Of the row, which was too large, some values aren't shown. */
export function isCutToFit({ change, held }: LocalRow): boolean {
  return change.kind !== "delete" && leavesOut(change.touched.table, held);
}

function placeBefore({ rowidBefore, key, keyBytes }: Touched): Place {
  return { rowid: rowidBefore, key, keyBytes };
}
