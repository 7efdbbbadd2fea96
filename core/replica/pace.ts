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

/**
 * When something is due that waits for a pause.
 *
 * @param dueMs As it was reckoned by the wall clock; infinite: nothing waits.
 * @param pauseMs How long it may wait. Where it seems to be longer the clock was set back, and it waits no more.
 */
export function dueAfterPause(dueMs: number, pauseMs: number, nowMs: number): number {
  const isSetBack = dueMs - nowMs > pauseMs && dueMs < Number.POSITIVE_INFINITY;
  return isSetBack ? nowMs : dueMs;
}

export const untilTheEnd: Pace = { begin: () => {}, isOver: () => false };
