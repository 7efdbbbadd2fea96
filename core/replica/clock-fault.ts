/**
 * How far ahead this host's clock is, as long as it is beyond what can be right: so that once it is set, what was said
 * meanwhile gets the time at which it was really said (`restamp.ts`).
 *
 * @module
 */

import type { Hlc } from "../clock/stamp.ts";

/** What is known of a clock that was far ahead. */
export interface KnownFault {
  /** How far it was ahead, all the time. */
  readonly aheadMs: number;
  /** The last reading of the HLC that was surely taken meanwhile: after it the clock may have been right already. */
  readonly until: Hlc;
}

/** Clocks run apart by some ms a minute, and a round trip is measured no better than that. */
export const clocksSameMs = 2000;

export class ClockFault {
  readonly #aheadMsMin: number;
  #known: KnownFault | undefined;
  #isOneFault = true;

  /** @param aheadMsMin A clock that is ahead by less is none of this one's business. */
  constructor(aheadMsMin: number) {
    this.#aheadMsMin = aheadMsMin;
  }

  /** Undefined when the clock wasn't far ahead, was by several amounts, or nobody has said by how much. */
  get known(): KnownFault | undefined {
    return this.#isOneFault ? this.#known : undefined;
  }

  /**
   * @param offsetsMs Of the peers' clocks against the own.
   * @param hlc The largest stamp so far.
   */
  note(offsetsMs: readonly number[], hlc: Hlc, nowMs: number): void {
    // Stamps are whole milliseconds.
    const aheadMs = offsetsMs.map((offsetMs) => -Math.round(offsetMs));
    const [first] = aheadMs;
    if (first === undefined || first <= this.#aheadMsMin) return;
    // Peers that don't agree can't be told apart.
    if (aheadMs.some((ms) => Math.abs(ms - first) > clocksSameMs)) return;
    // The clock was set just now, and the peers were heard before.
    if (hlc.ms > nowMs + this.#aheadMsMin) return;
    const known = this.#known?.aheadMs ?? first;
    if (Math.abs(known - first) > clocksSameMs) this.#isOneFault = false;
    this.#known = { aheadMs: known, until: hlc };
  }

  /** What it stamped has been stamped anew. */
  end(): void {
    this.#known = undefined;
    this.#isOneFault = true;
  }
}
