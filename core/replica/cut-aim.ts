/**
 * Which cut the settled image is to be at: the one that is {@link settleMs} behind the store's HLC, but none past a stamp
 * that is here and not applied yet. (What still waits in the net thread is that one's business: `node/push/pending-cut.ts`.)
 *
 * @module
 */

import { slotMs, slotOfMs } from "../index/clock-part.ts";
import { cutAt, settleMs } from "../index/settled-image.ts";

/**
 * @param hlcMs The store's clock.
 * @param made The newest cut that was made, or is being made. A stamp that it covers already is late, and holds nothing.
 * @param oldestMs The smallest stamp that is here and not applied yet; infinite: there is none.
 */
export function cutToAimAt(hlcMs: number, made: number, oldestMs: number): number {
  const slot = slotOfMs(oldestMs);
  return slot > made ? Math.min(cutAt(hlcMs), slot - 1) : cutAt(hlcMs);
}

/** Wall clock in ms at which the next cut after `made` is due. */
export function nextCutMs(made: number): number {
  return (made + 1) * slotMs + settleMs;
}
