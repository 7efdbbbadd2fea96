/**
 * Goes through all rows again and again, slowly, and holds values against their hashes
 * (`core/store/scrub/scrub.ts`).
 *
 * The first pass begins once the index is built: what was changed while the agent was down is found soon
 * after its start.
 *
 * @module
 */

import type { Replica } from "../../core/replica/replica.ts";
import type { MergedRow, ScanPosition } from "../../core/row-store.ts";
import type { ScrubSlice } from "../../core/store/scrub/scrub.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { Chore } from "./chores.ts";

export interface ScrubHost {
  /** Rows whose clocks were taken away: for the index, and for peers to repair. */
  readonly onDamaged: (merged: readonly MergedRow[], cells: number) => void;
}

/** Some 10 µs each. */
const sliceRows = 100;
const whileStartingMs = 200;
/** Between the beginnings of two passes. */
const passMsMin = 10 * 60 * 1000;
/** Rows that were too young are looked at so much later. */
const youngMs = 15_000;

export class ScrubChore implements Chore {
  readonly name = "scrub";
  readonly #store: Pick<SqliteStore, "scrub" | "damaged">;
  readonly #replica: Pick<Replica, "settledMs">;
  readonly #rowsPerSecond: number;
  readonly #host: ScrubHost;
  #dueMs = 0;
  #begunMs = 0;
  #position: ScanPosition | undefined;
  #postponed = 0;
  #rows = 0;
  #passes = 0;
  #found = 0;

  /** @param rowsPerSecond 0 for no scrub */
  constructor(
    store: Pick<SqliteStore, "scrub" | "damaged">,
    replica: Pick<Replica, "settledMs">,
    rowsPerSecond: number,
    host: ScrubHost,
  ) {
    this.#store = store;
    this.#replica = replica;
    this.#rowsPerSecond = rowsPerSecond;
    this.#host = host;
    if (rowsPerSecond === 0) this.#dueMs = Number.POSITIVE_INFINITY;
  }

  get dueMs(): number {
    return this.#dueMs;
  }

  /** For `patina status`. */
  describe(): {
    passes: number;
    rows_in_pass: number;
    cells_found_damaged: number;
    damaged_now: { table: string; column: string; cells: number }[];
  } {
    const counts = new Map<string, { table: string; column: string; cells: number }>();
    for (const { table, column } of this.#store.damaged()) {
      const name = JSON.stringify([table, column]);
      const count = counts.get(name) ?? { table, column, cells: 0 };
      count.cells++;
      counts.set(name, count);
    }
    return {
      passes: this.#passes,
      rows_in_pass: this.#rows,
      cells_found_damaged: this.#found,
      damaged_now: [...counts.values()],
    };
  }

  run(nowMs: number): void {
    const { settledMs } = this.#replica;
    if (settledMs === Number.NEGATIVE_INFINITY) {
      this.#dueMs = nowMs + whileStartingMs;
      return;
    }
    if (this.#position === undefined) this.#begin(nowMs);
    const slice = this.#store.scrub(this.#position, sliceRows, settledMs, nowMs);
    this.#take(slice, nowMs);
    if (slice.damaged > 0) this.#host.onDamaged(slice.merged, slice.damaged);
  }

  /** The schema is another: places are, too. The pass begins anew. */
  schemaChanged(): void {
    this.#position = undefined;
  }

  #begin(nowMs: number): void {
    this.#begunMs = nowMs;
    this.#rows = 0;
    this.#postponed = 0;
  }

  #take({ rows, postponed, damaged, next }: ScrubSlice, nowMs: number): void {
    this.#rows += rows;
    this.#postponed += postponed;
    this.#found += damaged;
    this.#position = next;
    if (next !== undefined) {
      this.#dueMs = nowMs + (1000 * Math.max(1, rows)) / this.#rowsPerSecond;
      return;
    }
    this.#passes++;
    // The clock may have been set back since it began.
    const nextPassMs = Math.min(this.#begunMs, nowMs) + passMsMin;
    this.#dueMs = nowMs + youngMs;
    if (this.#postponed === 0) this.#dueMs = Math.max(this.#dueMs, nextPassMs);
  }
}
