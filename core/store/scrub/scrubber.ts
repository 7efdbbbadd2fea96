/**
 * The scrub of a SQLite store (`scrub.ts` says what it is for), and hashing all values anew.
 *
 * @module
 */

import { isLive } from "../../clock/row-clock.ts";
import type { Digester } from "../../row/digest.ts";
import type { SqlValue } from "../../row/value.ts";
import type { MergedRow, RowRef, ScannedRow, ScanPosition } from "../../row-store.ts";
import { readState, writeState } from "../file/file-header.ts";
import { clocksOfHeld, type HeldRow, heldRowOf } from "../tables/held-row.ts";
import { PlacedRow, positionOfSlot, putClocks, type StoreParts } from "../tables/store-parts.ts";
import { noteDamaged, readDamaged } from "./damaged-cells.ts";
import { type DamagedCell, isSound } from "./scrub.ts";

export class Scrubber {
  readonly #parts: StoreParts;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    readDamaged(parts);
  }

  /** Whether a value of the row isn't the one that was hashed. */
  isDamaged(row: RowRef): boolean {
    return this.#damagedColumns(row).length > 0;
  }

  /** Takes the clocks of damaged cells away. Inside a transaction. @returns also how many cells it were */
  dropDamaged(
    rows: readonly ScannedRow[],
    nowMs: number,
  ): { readonly damaged: number; readonly merged: readonly MergedRow[] } {
    let damaged = 0;
    const merged: MergedRow[] = [];
    for (const row of rows) {
      const columns = this.#damagedColumns(row);
      damaged += columns.length;
      merged.push(this.#dropClocks(row, columns, nowMs));
    }
    return { damaged, merged };
  }

  /** Cells that were found damaged and that nobody has brought or written since; at most 1,000. */
  damaged(): DamagedCell[] {
    const cells: DamagedCell[] = [];
    const rows = this.#parts.database.all(
      "SELECT tbl, key, col, found_ms FROM patina_damaged LIMIT 1000",
    );
    for (const [name, bytes, column, foundMs] of rows) {
      const [table, key] = [String(name), bytes as Uint8Array];
      const { held } = this.#parts.rows.find(table, key);
      const isHealed =
        held === undefined ||
        !isLive(held.clock) ||
        held.cells.some((cell) => cell.column === column);
      if (isHealed) this.#forgetDamaged(table, key, column ?? null);
      else cells.push({ table, key, column: String(column), foundMs: Number(foundMs) });
    }
    return cells;
  }

  #forgetDamaged(table: string, key: Uint8Array, column: SqlValue): void {
    const where = "tbl = ? AND key = ? AND col = ?";
    try {
      this.#parts.database.run(`DELETE FROM patina_damaged WHERE ${where}`, table, key, column);
    } catch {
      // A full disk: it is found again. Who asks wants to know what is damaged, also then.
    }
  }

  #damagedColumns({ table, key }: RowRef): string[] {
    const slot = this.#parts.rows.find(table, key);
    if (slot.held === undefined) return [];
    this.#parts.rows.readValues(slot, slot.held);
    return slot.held.cells
      .filter((cell) => !isSound(cell, this.#parts.digester))
      .map(({ column }) => column);
  }

  #dropClocks({ table: name, key }: RowRef, columns: readonly string[], nowMs: number): MergedRow {
    const slot = this.#parts.rows.find(name, key);
    const before = slot.held as HeldRow;
    const row = heldRowOf(
      before.clock,
      before.cells.filter(({ column }) => !columns.includes(column)),
    );
    this.#parts.rows.countUnshown(name, before, slot.isAbsent, -1);
    this.#parts.rows.countUnshown(name, row, slot.isAbsent, 1);
    if (slot.isAbsent || slot.table === undefined) this.#parts.absent.put(name, key, row);
    else putClocks(this.#parts, slot, slot.table, row, false);
    for (const column of columns) noteDamaged(this.#parts, name, key, column, nowMs);
    const after = clocksOfHeld(row);
    const { digester } = this.#parts;
    const words = digester.idWords(name, key);
    const ref = { table: name, key };
    const position = positionOfSlot(this.#parts, slot);
    const clocks = clocksOfHeld(before);
    return new PlacedRow(
      ref,
      words,
      clocks,
      after,
      digester,
      after,
      true,
      false,
      undefined,
      position,
    );
  }

  /** The file's hashes are of this digest key. */
  get isHashed(): boolean {
    return readState(this.#parts.database, "digest_key") === digestKeyName(this.#parts.digester);
  }

  /**
   * Hashes all values anew when the digest key is another than the one that the file's hashes are of.
   * Under the wrong key every cell would seem damaged, and no digest equal.
   */
  rehash(): number {
    if (this.isHashed) return 0;
    const known = readState(this.#parts.database, "digest_key");
    writeState(this.#parts.database, "digest_key", digestKeyName(this.#parts.digester));
    if (known === undefined) return 0;
    let count = 0;
    let position: ScanPosition | undefined;
    do {
      const slice = this.#parts.places.scan(position, 1000);
      for (const { table, key } of slice.rows) {
        const slot = this.#parts.rows.find(table, key);
        const held = slot.held as HeldRow;
        this.#parts.rows.readValues(slot, held);
        const cells = held.cells.map((cell) => ({
          ...cell,
          hash: this.#parts.digester.valueHash(cell.value as SqlValue),
        }));
        const row = heldRowOf(held.clock, cells);
        if (slot.isAbsent || slot.table === undefined) this.#parts.absent.put(table, key, row);
        else putClocks(this.#parts, slot, slot.table, row, false);
        count++;
      }
      position = slice.next;
    } while (position !== undefined);
    return count;
  }
}

/** What `digest_key` of `patina_state` says of a file whose hashes are of this one's key. */
export function digestKeyName(digester: Digester): string {
  const { high, low } = digester.valueHash("patina digest key");
  return `${high} ${low}`;
}
