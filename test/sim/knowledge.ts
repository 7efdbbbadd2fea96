/**
 * All clocks that one node has learned in its present life, and the settled image that follows from them.
 *
 * The law: the image at a cut is a function of what is known, never of the order or moment
 * in which it came. So two nodes that know the same clocks have the same root. Here it is worked
 * out the plain way, from every clock ever heard: the largest row clock, and of each column the largest
 * cell clock that isn't below it.
 *
 * @module
 */

import { compareRowClocks, type RowClock } from "../../core/clock/row-clock.ts";
import { compareStamps } from "../../core/clock/stamp.ts";
import type { CellClock, ClockState, Digester, RowId } from "../../core/row/digest.ts";
import { textOfStamp } from "./model.ts";

interface KnownRow {
  readonly clocks: Map<string, RowClock>;
  readonly cells: Map<string, Map<string, CellClock>>;
}

export class Knowledge {
  readonly #rows = new Map<RowId, KnownRow>();

  learn(id: RowId, state: ClockState): void {
    let row = this.#rows.get(id);
    if (row === undefined) {
      row = { clocks: new Map(), cells: new Map() };
      this.#rows.set(id, row);
    }
    row.clocks.set(textOfStamp(state.clock), state.clock);
    for (const cell of state.cells) {
      let ofColumn = row.cells.get(cell.column);
      if (ofColumn === undefined) {
        ofColumn = new Map();
        row.cells.set(cell.column, ofColumn);
      }
      ofColumn.set(textOfStamp(cell.stamp), cell);
    }
  }

  /** Rows and fingerprint of the image at `cut`. */
  imageAt(
    cut: number,
    digester: Digester,
  ): { readonly rows: number; readonly fingerprint: string } {
    const endMs = 1000 * cut;
    let rows = 0;
    let sum = 0n;
    for (const [id, row] of this.#rows) {
      let clock: RowClock | undefined;
      for (const candidate of row.clocks.values()) {
        if (candidate.ms >= endMs) continue;
        if (clock === undefined || compareRowClocks(candidate, clock) > 0) clock = candidate;
      }
      if (clock === undefined) continue;
      const cells: CellClock[] = [];
      for (const ofColumn of row.cells.values()) {
        let cell: CellClock | undefined;
        for (const candidate of ofColumn.values()) {
          if (candidate.stamp.ms >= endMs) continue;
          if (cell === undefined || compareStamps(candidate.stamp, cell.stamp) > 0)
            cell = candidate;
        }
        if (cell !== undefined && compareStamps(cell.stamp, clock) >= 0) cells.push(cell);
      }
      cells.sort((a, b) => (a.column < b.column ? -1 : 1));
      const { a, b, c, d } = digester.rowDigest(id, { clock, cells });
      rows++;
      sum += [d, c, b, a].reduce((high, lane) => (high << 32n) | BigInt(lane >>> 0), 0n);
    }
    const fingerprint = (sum % 2n ** 128n).toString(16).padStart(32, "0");
    return { rows, fingerprint };
  }
}
