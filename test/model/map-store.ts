/**
 * A row store in a map: the core's joins and nothing else. The simulator runs on it, and it is the model
 * that the SQLite store is compared with.
 *
 * It knows no schema: every column of every row is held as it came.
 *
 * @module
 */

import { assert } from "../../core/assert.ts";
import type { Changeset, Lane } from "../../core/change/changeset.ts";
import { type RowBlockWriter, writeRow } from "../../core/change/row-block.ts";
import { isLive } from "../../core/clock/row-clock.ts";
import { compareStamps, type Stamp } from "../../core/clock/stamp.ts";
import {
  type CellClock,
  type ClockState,
  type Digester,
  type IdWords,
  type RowId,
  rangeOfRow,
  wordsToId,
} from "../../core/row/digest.ts";
import { deleteRow, insertRow, updateRow } from "../../core/row/local-write.ts";
import { RowColumns } from "../../core/row/row-columns.ts";
import { type Cell, joinRows, type RowState, stampOfRow } from "../../core/row/row-state.ts";
import { equalValues, type SqlValue } from "../../core/row/value.ts";
import type {
  MergedRow,
  MergePreparation,
  MergeTransaction,
  NewerRowVisitor,
  RangeFilter,
  ReclockedRow,
  RowRef,
  RowStore,
  ScannedRow,
  ScanPosition,
} from "../../core/row-store.ts";

const noColumns = new RowColumns(0);

/** What a local transaction did to one row. Later writes of one row win inside a transaction. */
export type LocalWrite =
  /** Inserts the row, or sets these columns of the live one. */
  | {
      readonly kind: "put";
      readonly table: string;
      /** As of `row/key.ts`. */
      readonly key: Uint8Array;
      /** By column, without the key's. */
      readonly values: ReadonlyMap<string, SqlValue>;
      /** Of these columns, those that count when they are said again (`capture.ts`). Default: none. */
      readonly renewed?: readonly string[];
    }
  /** Deletes the row; nothing when it isn't live. */
  | { readonly kind: "delete"; readonly table: string; readonly key: Uint8Array };

/** A commit's changeset, undefined when it changed nothing, and what it did to the rows. */
export interface LocalCommit {
  readonly changeset: Changeset | undefined;
  readonly merged: readonly MergedRow[];
}

interface HeldRow {
  readonly id: RowId;
  readonly words: IdWords;
  /** Its place in the order of a scan. */
  readonly ordinal: number;
  state: RowState;
  clocks: ClockState;
}

class PreparedRows implements MergePreparation {
  readonly rows: RowState[] = [];

  get length(): number {
    return this.rows.length;
  }

  add(rows: readonly RowState[]): void {
    for (const row of rows) this.rows.push(row);
  }

  finish(): void {}

  end(): void {
    this.rows.length = 0;
  }
}

export class MapStore implements RowStore {
  readonly #digester: Digester;
  readonly #rows = new Map<string, HeldRow>();
  /** Rows are never removed, only added at the end. */
  readonly #order: HeldRow[] = [];
  /** Takes back, last first, what the merge under way has done; undefined: none is. */
  #undo: (() => void)[] | undefined;

  constructor(digester: Digester) {
    this.#digester = digester;
  }

  /** Rows held, tombstones too. */
  get size(): number {
    return this.#order.length;
  }

  merge(rows: readonly RowState[]): MergedRow[] {
    return rows.map((row) => this.#merge(row));
  }

  beginMerge(): MergeTransaction {
    assert(this.#undo === undefined, "no merge inside another");
    const undo: (() => void)[] = [];
    const merged: MergedRow[] = [];
    this.#undo = undo;
    const isOpen = () => this.#undo === undo;
    const add = (rows: readonly RowState[]) => {
      assert(isOpen(), "merge: add to a transaction that is open");
      for (const row of this.merge(rows)) merged.push(row);
    };
    return {
      add,
      addPrepared: (prepared, from, to) => add((prepared as PreparedRows).rows.slice(from, to)),
      commit: () => {
        assert(isOpen(), "merge: commit a transaction that is open");
        this.#undo = undefined;
        return merged;
      },
      rollback: () => {
        if (!isOpen()) return;
        this.#undo = undefined;
        for (const step of undo.reverse()) step();
      },
    };
  }

  /** Nothing is quicker here for being known before. */
  prepareMerge(): MergePreparation {
    return new PreparedRows();
  }

  read(refs: readonly RowRef[]): (RowState | undefined)[] {
    return refs.map((ref) => this.#rows.get(nameOf(ref))?.state);
  }

  scan(
    position: ScanPosition | undefined,
    rowsMax: number,
    isWanted: RangeFilter = () => true,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    const start = position === undefined ? 0 : (position.after as number) + 1;
    const end = Math.min(start + rowsMax, this.#order.length);
    const wanted = this.#order.slice(start, end).filter(({ id }) => isWanted(rangeOfRow(id)));
    const rows = wanted.map(scannedRowOf);
    return { rows, next: end < this.#order.length ? { part: 0, after: end - 1 } : undefined };
  }

  writeRows(
    position: ScanPosition | undefined,
    rowsMax: number,
    bytesMax: number,
    block: RowBlockWriter,
  ): ScanPosition | undefined {
    const start = position === undefined ? 0 : (position.after as number) + 1;
    const end = Math.min(start + rowsMax, this.#order.length);
    let at = start;
    while (at < end && block.body.length < bytesMax) {
      writeRow(block, (this.#order[at++] as HeldRow).state);
    }
    return at < this.#order.length ? { part: 0, after: at - 1 } : undefined;
  }

  scanNewer(
    position: ScanPosition | undefined,
    rowsMax: number,
    sinceMs: number,
    visit: NewerRowVisitor,
  ): ScanPosition | undefined {
    const start = position === undefined ? 0 : (position.after as number) + 1;
    const end = Math.min(start + rowsMax, this.#order.length);
    for (const { ordinal, clocks } of this.#order.slice(start, end)) {
      const { ms } = stampOfRow(clocks);
      if (ms >= sinceMs) visit(0, ordinal, ms);
    }
    return end < this.#order.length ? { part: 0, after: end - 1 } : undefined;
  }

  /** All whole: they are in memory as they are. */
  scanDigests(
    position: ScanPosition | undefined,
    rowsMax: number,
  ): ReturnType<RowStore["scanDigests"]> {
    const { rows, next } = this.scan(position, rowsMax);
    return { columns: noColumns, rows, next };
  }

  rowsAt(places: readonly ScanPosition[]): (ScannedRow | undefined)[] {
    return places.map(({ after }) => {
      const held = this.#order[after as number];
      return held && scannedRowOf(held);
    });
  }

  isPassed(position: ScanPosition, row: RowRef): boolean {
    const held = this.#rows.get(nameOf(row));
    return held !== undefined && held.ordinal <= (position.after as number);
  }

  /** It knows no urgent rule: only tombstones are urgent. */
  reclock(rows: readonly ReclockedRow[]): readonly boolean[] {
    return rows.map((row) => {
      const held = this.#rows.get(nameOf(row));
      assert(held !== undefined, "reclock: a row that is held");
      const { clock, cells } = row.clocks;
      held.clocks = row.clocks;
      held.state = {
        ...held.state,
        clock,
        cells: held.state.cells.flatMap((cell) => {
          const now = cells.find(({ column }) => column === cell.column);
          return now === undefined ? [] : [{ ...cell, stamp: now.stamp }];
        }),
      };
      return !isLive(clock);
    });
  }

  /**
   * Commits local writes under one stamp: one commit, one changeset.
   *
   * @param stamp Of the store's clock, issued for this commit.
   * @param lane 0 when a rule of the caller's calls any of these rows urgent.
   */
  commit(writes: readonly LocalWrite[], stamp: Stamp, lane: Lane = 1): LocalCommit {
    const netWrites = new Map<string, LocalWrite>();
    for (const write of writes) {
      const name = nameOf(write);
      const earlier = netWrites.get(name);
      if (write.kind === "put" && earlier?.kind === "put") {
        netWrites.set(name, joinPuts(earlier, write));
      } else netWrites.set(name, write);
    }
    const rows: RowState[] = [];
    for (const [name, write] of netWrites) {
      const held = this.#rows.get(name)?.state;
      const state = stateAfter(held, write, stamp);
      if (state !== undefined && state !== held) rows.push(state);
    }
    if (rows.length === 0) return { changeset: undefined, merged: [] };
    return { changeset: { stamp, lane, rows }, merged: this.merge(rows) };
  }

  /** The live row's values by column; undefined when it isn't live. */
  valuesOf(ref: RowRef): ReadonlyMap<string, SqlValue> | undefined {
    const state = this.#rows.get(nameOf(ref))?.state;
    if (state === undefined || !isLive(state.clock)) return undefined;
    return new Map(state.cells.map(({ column, value }) => [column, value]));
  }

  /** Every row held, tombstones too, in the order in which they were first heard of. */
  *states(): IterableIterator<RowState> {
    for (const held of this.#order) yield held.state;
  }

  /** An independent copy, at the cost of its maps: what a simulated disk keeps. */
  copy(): MapStore {
    const copy = new MapStore(this.#digester);
    for (const held of this.#order) copy.#add({ ...held });
    return copy;
  }

  #merge(incoming: RowState): MergedRow {
    const { table, key } = incoming;
    const name = nameOf(incoming);
    const held = this.#rows.get(name);
    const incomingClocks = this.#clocksOf(incoming, held);
    if (held === undefined) {
      const words = this.#digester.idWords(table, key);
      const id = wordsToId(words);
      this.#add({
        id,
        words,
        ordinal: this.#order.length,
        state: incoming,
        clocks: incomingClocks,
      });
      this.#undo?.push(() => {
        this.#rows.delete(name);
        this.#order.pop();
      });
      return {
        table,
        key,
        id,
        words,
        before: undefined,
        incoming: incomingClocks,
        after: incomingClocks,
        changed: true,
        conflict: false,
        quickNews: undefined,
      };
    }
    const before = held.clocks;
    const { state, conflict } = joinRows(held.state, incoming);
    const changed = !isSameState(held.state, state);
    if (changed) {
      const { state: stateBefore } = held;
      this.#undo?.push(() => {
        held.state = stateBefore;
        held.clocks = before;
      });
      const clocks = clocksOfJoin(state, held, incoming, incomingClocks);
      held.state = state;
      held.clocks = clocks;
    }
    return {
      table,
      key,
      id: held.id,
      words: held.words,
      before,
      incoming: incomingClocks,
      after: held.clocks,
      changed,
      conflict,
      quickNews: undefined,
    };
  }

  /** Clocks of what came. Hashing values is most of a merge's cost: those that are held already aren't. */
  #clocksOf(row: RowState, held: HeldRow | undefined): ClockState {
    const heldCells = held?.state.cells ?? [];
    const heldClocks = held?.clocks.cells ?? [];
    let at = 0;
    const cells = row.cells.map(({ column, stamp, value }): CellClock => {
      while (at < heldCells.length && (heldCells[at] as Cell).column < column) at++;
      const known = heldCells[at];
      const isHeld =
        known?.column === column &&
        compareStamps(known.stamp, stamp) === 0 &&
        equalValues(known.value, value);
      if (isHeld) return heldClocks[at] as CellClock;
      return { column, stamp, hash: this.#digester.valueHash(value) };
    });
    return { clock: row.clock, cells };
  }

  #add(held: HeldRow): void {
    this.#rows.set(nameOf(held.state), held);
    this.#order.push(held);
  }
}

function scannedRowOf({ id, state, clocks }: HeldRow): ScannedRow {
  return { id, table: state.table, key: state.key, clocks };
}

type Put = Extract<LocalWrite, { kind: "put" }>;

function joinPuts(earlier: Put, later: Put): Put {
  const values = new Map([...earlier.values, ...later.values]);
  const renewed = earlier.renewed?.filter((column) => !later.values.has(column)) ?? [];
  return { ...later, values, renewed: [...renewed, ...(later.renewed ?? [])] };
}

/** What a write makes of a row; `held` itself when it changes nothing. */
function stateAfter(
  held: RowState | undefined,
  write: LocalWrite,
  stamp: Stamp,
): RowState | undefined {
  const wasLive = held !== undefined && isLive(held.clock);
  if (write.kind === "delete") return wasLive ? deleteRow(held, stamp) : held;
  if (wasLive) return updateRow(held, write.values, stamp, write.renewed);
  return insertRow(held, write.table, write.key, write.values, stamp);
}

function clocksOfJoin(
  state: RowState,
  held: HeldRow,
  incoming: RowState,
  incomingClocks: ClockState,
): ClockState {
  // The join passes on the cells it was given, in the order of their columns.
  let i = 0;
  let j = 0;
  const cells = state.cells.map((cell) => {
    while (i < held.state.cells.length && held.state.cells[i] !== cell) {
      if ((held.state.cells[i] as Cell).column >= cell.column) break;
      i++;
    }
    if (held.state.cells[i] === cell) return held.clocks.cells[i] as CellClock;
    while (incoming.cells[j] !== cell) j++;
    return incomingClocks.cells[j] as CellClock;
  });
  return { clock: state.clock, cells };
}

function isSameState(a: RowState, b: RowState): boolean {
  return (
    a.clock.cl === b.clock.cl &&
    compareStamps(a.clock, b.clock) === 0 &&
    a.cells.length === b.cells.length &&
    a.cells.every((cell, i) => {
      const other = b.cells[i] as Cell;
      return (
        cell === other ||
        (cell.column === other.column &&
          compareStamps(cell.stamp, other.stamp) === 0 &&
          equalValues(cell.value, other.value))
      );
    })
  );
}

/** A map key for a row: its table and the bytes of its key, one UTF-16 unit each. */
function nameOf(ref: RowRef): string {
  let name = `${ref.table}\u0000`;
  for (const byte of ref.key) name += String.fromCharCode(byte);
  return name;
}
