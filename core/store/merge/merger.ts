/**
 * The merge of a SQLite store: remote rows in, joined with what is held, inside a transaction that the
 * store has opened.
 *
 * | step                      | nearly every row | any row         |
 * | ------------------------- | ---------------- | --------------- |
 * | find row and clocks       | `quick-merge.ts` | `row-writer.ts` |
 * | join                      | `quick-merge.ts` | `held-row.ts`   |
 * | write base row and clocks | `quick-merge.ts` | `row-writer.ts` |
 *
 * @module
 */

import { assert } from "../../assert.ts";
import { isLive } from "../../clock/row-clock.ts";
import { isTooBig } from "../../database.ts";
import type { Cell, RowState } from "../../row/row-state.ts";
import type { SqlValue } from "../../row/value.ts";
import type {
  MergedRow,
  MergePreparation,
  MergeTransaction,
  ReclockedRow,
} from "../../row-store.ts";
import type { Intake } from "../local/intake.ts";
import { noteDamaged } from "../scrub/damaged-cells.ts";
import { clocksOfHeld, type HeldRow, heldRowOf, joinHeld } from "../tables/held-row.ts";
import type { Slot } from "../tables/row-writer.ts";
import { PlacedRow, positionOfSlot, putClocks, type StoreParts } from "../tables/store-parts.ts";
import type { DecidedRow } from "./decided-row.ts";
import type { PreparedMerge } from "./prepared-merge.ts";
import { QuickMerge } from "./quick-merge.ts";

export class Merger {
  readonly #parts: StoreParts;
  readonly #intake: Intake;
  readonly #quick: QuickMerge;
  /** Of no meaning: it keeps {@link touch} from being left out. */
  touched = 0;

  constructor(parts: StoreParts, intake: Intake) {
    this.#parts = parts;
    this.#intake = intake;
    this.#quick = new QuickMerge(parts);
  }

  /**
   * Joins rows in, and writes what that changed.
   *
   * @param adopting Tables whose rows don't all have clocks yet.
   * @param merged What it did to each is appended, in order, and before that what it took in first.
   */
  merge(rows: readonly RowState[], adopting: ReadonlySet<string>, merged: MergedRow[]): void {
    for (let at = 0; at < rows.length; at++) {
      if (at % rowsAhead === 0) {
        this.touched = touch(rows, at, at + rowsAhead, this.#quick.hasReadValues);
      }
      const row = rows[at] as RowState;
      const quick = adopting.size === 0 ? this.#mergeQuick(row) : undefined;
      merged.push(quick ?? this.#mergeRow(row, adopting, merged));
    }
  }

  /**
   * Looks rows up and joins them, and writes nothing but ordinals.
   *
   * @param adopting As for {@link merge}.
   */
  decide(rows: readonly RowState[], adopting: ReadonlySet<string>, prepared: PreparedMerge): void {
    for (const row of rows) {
      // Else rows may have to be taken in first.
      const decides = adopting.size === 0;
      prepared.keep(row, decides ? (this.#quick.decide(row) ?? this.#decide(row)) : undefined);
    }
  }

  /** Merges rows `from` up to `to` of a preparation. @param adopting, merged As for {@link merge}. */
  mergePrepared(
    prepared: PreparedMerge,
    from: number,
    to: number,
    adopting: ReadonlySet<string>,
    merged: MergedRow[],
  ): void {
    if (from === to) return;
    // What is written here they aren't told.
    if (from === 0) this.#parts.recentClocks.forgetAll();
    this.touched = touchPrepared(prepared, from, to);
    // Of one key two may be told then, the one that was taken in first.
    const isToldAsWritten = adopting.size > 0;
    if (from === 0 && !isToldAsWritten) {
      // In the order in which they came they lie in memory one after the other, for all who go through them.
      prepared.toldAt = merged.length;
      // By `length` it would become a sparse array.
      for (let at = 0; at < prepared.length; at++) merged.push(undefined as unknown as MergedRow);
    }
    for (let at = from; at < to; at++) {
      const number = prepared.numberAt(at);
      const decided = prepared.decided(number);
      if (isToldAsWritten) this.merge([prepared.row(number)], adopting, merged);
      else if (decided !== undefined && this.#write(decided)) {
        merged[prepared.toldAt + number] = decided.placed;
      } else {
        const told: MergedRow[] = [];
        this.merge([prepared.row(number)], adopting, told);
        assert(told.length === 1, "a row is told once");
        merged[prepared.toldAt + number] = told[0] as MergedRow;
      }
    }
  }

  /** Undefined: it isn't one of those that are merged so, or it is too large to be shown as it is; nothing was done. */
  #mergeQuick(row: RowState): MergedRow | undefined {
    try {
      return this.#quick.merge(row);
    } catch (error) {
      if (isTooBig(error)) return undefined;
      throw error;
    }
  }

  /** @returns false: it isn't as it was when that was decided, or it is too large to be shown as it is. */
  #write({ placed, write }: DecidedRow): boolean {
    if (write?.kind === "quick") {
      try {
        return this.#quick.writeDecided(write, placed);
      } catch (error) {
        if (isTooBig(error)) return false;
        throw error;
      }
    }
    if (write !== undefined) {
      placed.isCutToFit = this.#parts.rows.write({ ...write.slot }, write.row.copy());
    }
    return true;
  }

  #decide(row: RowState): DecidedRow {
    const slot = this.#parts.rows.find(row.table, row.key);
    const { placed, joined } = this.#join(slot, row);
    return { placed, write: placed.changed ? { kind: "any", slot, row: joined } : undefined };
  }

  #mergeRow(row: RowState, adopting: ReadonlySet<string>, merged: MergedRow[]): MergedRow {
    this.#parts.recentClocks.forget(row.table, row.key);
    let slot = this.#parts.rows.find(row.table, row.key);
    const adopted = adopting.size > 0 ? this.#intake.adoptBeforeMerge(slot, adopting) : undefined;
    if (adopted !== undefined) {
      merged.push(adopted);
      slot = this.#parts.rows.find(row.table, row.key);
    }
    const { placed, joined } = this.#join(slot, row);
    if (placed.changed) placed.isCutToFit = this.#parts.rows.write(slot, joined);
    return placed;
  }

  /** @returns what is to be told of the row, and what is to be written if it changed */
  #join(slot: Slot, row: RowState): { readonly placed: PlacedRow; readonly joined: HeldRow } {
    const { digester } = this.#parts;
    const { held } = slot;
    const position = positionOfSlot(this.#parts, slot);
    const words = digester.idWords(row.table, row.key);
    const incoming = digester.clocksOf(row);
    const join = joinHeld(held, row, incoming, (column) => readShown(slot, column));
    const before = held === undefined ? undefined : clocksOfHeld(held);
    const { changed, conflict } = join;
    const after = changed || before === undefined ? clocksOfHeld(join.row) : before;
    const placed = new PlacedRow(
      row,
      words,
      before,
      incoming,
      digester,
      after,
      changed,
      conflict,
      undefined,
      position,
    );
    return { placed, joined: join.row };
  }

  /**
   * Gives a row other clocks. The base row is untouched, and so is what of it is shown: also by a cell that has none any
   * more, until a peer's takes its place; so it counts as damaged.
   */
  reclock({ table: name, key, clocks }: ReclockedRow, nowMs: number): boolean {
    const slot = this.#parts.rows.find(name, key);
    const { held, table } = slot;
    assert(held !== undefined, "reclock: a row that is held");
    const stamps = new Map(clocks.cells.map(({ column, stamp }) => [column, stamp]));
    const row = heldRowOf(
      clocks.clock,
      held.cells.flatMap((cell) => {
        const stamp = stamps.get(cell.column);
        return stamp === undefined ? [] : [{ ...cell, stamp }];
      }),
    );
    if (row.cells.length < held.cells.length) {
      this.#parts.rows.countUnshown(name, held, slot.isAbsent, -1);
      this.#parts.rows.countUnshown(name, row, slot.isAbsent, 1);
      for (const { column, held: isHeld } of held.cells) {
        if (!isHeld && !stamps.has(column)) noteDamaged(this.#parts, name, key, column, nowMs);
      }
    }
    if (slot.isAbsent || table === undefined) {
      this.#parts.absent.put(name, key, row);
      return !isLive(row.clock);
    }
    putClocks(this.#parts, slot, table, row, false);
    return table.isUrgent(slot);
  }
}

/** The value that a column of the base row shows, as it was before this merge. */
function readShown(slot: Slot, column: string): SqlValue {
  const { table } = slot;
  const index = table?.valueIndex.get(column);
  if (table === undefined || index === undefined) return null;
  return table.readValues(slot)[index] ?? null;
}

/** Looked at together before they are merged: some 30 KB, which the innermost cache holds. */
const rowsAhead = 32;

/**
 * Reads a little of every object of these rows. Those of a large transaction lie in memory and in no cache, and one
 * row's work waits for one after the other; here nothing depends on what is read, so the processor fetches many at
 * a time.
 *
 * @param withValues The values too: whether the row before had any looked at.
 */
function touch(rows: readonly RowState[], from: number, to: number, withValues: boolean): number {
  let sum = 0;
  for (let i = from; i < to && i < rows.length; i++) {
    const { key, clock, cells } = rows[i] as RowState;
    sum += clock.ms + (key[0] ?? 0);
    for (let j = 0; j < cells.length; j++) {
      const { stamp, value } = cells[j] as Cell;
      sum += stamp.ms;
      if (withValues && typeof value === "string" && value.length > 0) sum += value.charCodeAt(0);
    }
  }
  return sum;
}

/** The same of rows that are decided: in the order in which they are written they lie anywhere. */
function touchPrepared(prepared: PreparedMerge, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at++) {
    const decided = prepared.decided(prepared.numberAt(at));
    if (decided?.write?.kind !== "quick") continue;
    const { values, clock } = decided.write;
    sum += (clock[0] as number) + (decided.placed.key[0] ?? 0);
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (typeof value === "string" && value.length > 0) sum += value.charCodeAt(0);
    }
  }
  return sum;
}

/** What a transaction asks of the store that has begun it. */
export interface MergeHost {
  /** Joins and writes rows. Throws what SQLite throws. */
  mergePiece(rows: readonly RowState[], merged: MergedRow[]): void;
  mergePrepared(prepared: MergePreparation, from: number, to: number, merged: MergedRow[]): void;
  /** Ends the transaction. Throws what SQLite throws. */
  commitMerge(merged: readonly MergedRow[]): void;
  rollbackMerge(): void;
}

/** A merge that is worked in pieces. */
export class OpenMerge implements MergeTransaction {
  readonly #host: MergeHost;
  readonly #merged: MergedRow[] = [];
  #isOpen = true;

  /** The host has begun a transaction. */
  constructor(host: MergeHost) {
    this.#host = host;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  add(rows: readonly RowState[]): void {
    assert(this.#isOpen, "merge: add to a transaction that is open");
    this.#orRollback(() => this.#host.mergePiece(rows, this.#merged));
  }

  addPrepared(prepared: MergePreparation, from: number, to: number): void {
    assert(this.#isOpen, "merge: add to a transaction that is open");
    this.#orRollback(() => this.#host.mergePrepared(prepared, from, to, this.#merged));
  }

  commit(): MergedRow[] {
    assert(this.#isOpen, "merge: commit a transaction that is open");
    this.#orRollback(() => this.#host.commitMerge(this.#merged));
    this.#isOpen = false;
    return this.#merged;
  }

  rollback(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#host.rollbackMerge();
  }

  #orRollback(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.rollback();
      throw error;
    }
  }
}
