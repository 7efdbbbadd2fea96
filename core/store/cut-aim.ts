/**
 * Which cut the settled image is to be at: the one at {@link settleMs} behind the store's HLC, but none past a stamp that
 * is on its way into the store.
 *
 * @module
 */

import { slotMs, slotOfStamp } from "../index/clock-part.ts";
import { cutAt, settleMs } from "../index/settled-image.ts";

export class CutAim {
  readonly #holdMsMax: number;
  /** Of a stamp that waits in a queue. */
  #held: { readonly slot: number; readonly untilMs: number } | undefined;

  /** @param holdMsMax A queue that doesn't say again what waits in it holds the cut no longer than this. */
  constructor(holdMsMax: number) {
    this.#holdMsMax = holdMsMax;
  }

  /** Keeps the cut below a stamp, until told otherwise or for `holdMsMax`. One below the newest cut holds nothing: it is late already. */
  hold(stamp: { readonly ms: number } | undefined, nowMs: number): void {
    if (stamp === undefined) this.#held = undefined;
    else this.#held = { slot: slotAt(stamp.ms), untilMs: nowMs + this.#holdMsMax };
  }

  /**
   * @param hlcMs The store's clock.
   * @param made The newest cut that was made, or is being made.
   * @param oldestMs The smallest stamp that is here and not applied yet.
   */
  cut(hlcMs: number, made: number, oldestMs: number, nowMs: number): number {
    if (this.#held !== undefined && nowMs >= this.#held.untilMs) this.#held = undefined;
    let cut = cutAt(hlcMs);
    if (this.#held !== undefined) cut = below(this.#held.slot, cut, made);
    if (oldestMs < Number.POSITIVE_INFINITY) cut = below(slotAt(oldestMs), cut, made);
    return cut;
  }

  /** Wall clock in ms at which the next cut after `made` is due. */
  dueMs(made: number): number {
    const dueMs = (made + 1) * slotMs + settleMs;
    return this.isHeld(made) ? Math.max(dueMs, this.#held?.untilMs ?? dueMs) : dueMs;
  }

  /** Whether the cut after `made` waits for a stamp in a queue. */
  isHeld(made: number): boolean {
    return this.#held?.slot === made + 1;
  }
}

function slotAt(ms: number): number {
  return slotOfStamp({ ms, count: 0 });
}

/** A cut that doesn't cover a slot, unless one that was made does already. */
function below(slot: number, cut: number, made: number): number {
  return slot > made ? Math.min(cut, slot - 1) : cut;
}
