/**
 * How often a person is told of one thing. A member that is misnamed, or that wants to fill a log, may connect
 * again every moment: the same alarm of the same peer is told once a minute, and ten of all in that time. The
 * next one that is told says how many were not.
 *
 * @module
 */

import type { PeerId } from "../border.ts";

const windowMs = 60_000;
const toldMax = 10;

export class AlarmLimit {
  #windowEndsMs = Number.NEGATIVE_INFINITY;
  readonly #told = new Set<string>();
  /** In this window. */
  #toldCount = 0;
  #untold = 0;

  /**
   * The text to tell, or undefined if this one is not told.
   *
   * @param elapsedMs Time that never goes back.
   */
  text(alarm: string, peer: PeerId, text: string, elapsedMs: number): string | undefined {
    if (elapsedMs >= this.#windowEndsMs) {
      this.#windowEndsMs = elapsedMs + windowMs;
      this.#told.clear();
      this.#toldCount = 0;
    }
    const key = `${alarm} ${peer}`;
    if (this.#told.has(key) || this.#toldCount >= toldMax) {
      this.#untold++;
      return undefined;
    }
    this.#told.add(key);
    this.#toldCount++;
    const untold = this.#untold;
    this.#untold = 0;
    return untold === 0 ? text : `${text} (and ${untold} alarms before it that were not told)`;
  }

  /** What was told isn't so any more: should it be so again, that is news. */
  isOver(alarm: string, peer: PeerId): void {
    this.#told.delete(`${alarm} ${peer}`);
  }
}
