/**
 * Row clock: when a row last came to life or died, and which of the two.
 *
 * The larger `(hlc, site)` wins. The *causal length* `cl` counts the row's inserts and deletes: odd is
 * live, even is deleted. It travels with the stamp and says what the winner did; it does not decide
 * between concurrent histories. (In Yu and Rostad's set it does: there an instance that left and came
 * back three times in a cut-off region would beat a newer deregistration.) Only at equal stamps,
 * two writers under one identity, does the larger `cl` win.
 *
 * Source: Yu and Rostad, "A low-cost set CRDT based on causal lengths", PaPoC 2020.
 *
 * @module
 */

import { compareStamps, type Stamp } from "./stamp.ts";

export interface RowClock extends Stamp {
  /** Causal length: at least 1; odd is live, even is deleted. */
  readonly cl: number;
}

/** Even. Bounds what a peer may send; no row is inserted and deleted two billion times. */
export const causalLengthMax: number = 2 ** 31;

export function isLive(clock: RowClock): boolean {
  return clock.cl % 2 === 1;
}

/**
 * The causal length after an insert: the next odd number. At the limit, which only a peer that makes numbers up can
 * have come to, the last odd one: the stamp is later, so nobody compares the lengths.
 */
export function lengthAfterInsert(cl: number): number {
  return Math.min(cl + (cl % 2 === 0 ? 1 : 2), causalLengthMax - 1);
}

/** The causal length after a delete of a live row: the next even number, the limit at most. */
export function lengthAfterDelete(cl: number): number {
  return Math.min(cl + (cl % 2 === 1 ? 1 : 2), causalLengthMax);
}

export function compareRowClocks(a: RowClock, b: RowClock): number {
  return compareStamps(a, b) || a.cl - b.cl;
}
