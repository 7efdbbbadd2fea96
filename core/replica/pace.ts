/**
 * How long one slice of work is, before whoever else wants the store has a turn. Core has no clock to look at: it is
 * told.
 *
 * @module
 */

/** Says when a slice of work has been long enough. */
export interface Pace {
  /** A slice begins. */
  begin(): void;
  /** Whether it has been long enough, with `rows` more. */
  isOver(rows: number): boolean;
}

/** Slices of so many rows: for the simulator and tests, which have no clock either. */
export class RowPace implements Pace {
  readonly #rows: number;
  #done = 0;

  constructor(rows: number) {
    this.#rows = rows;
  }

  begin(): void {
    this.#done = 0;
  }

  isOver(rows: number): boolean {
    this.#done += rows;
    return this.#done >= this.#rows;
  }
}

export const untilTheEnd: Pace = { begin: () => {}, isOver: () => false };
