/**
 * How far the cut may go while changes wait to be applied.
 *
 * The store's cut follows its clock and doesn't know what still waits in the net thread's queues, or
 * on the way to it. A node doesn't speak of a cut beyond a stamp that it has received and that isn't
 * applied yet: it would differ from peers that did apply it. A change that came when the cut had
 * already passed it is merely late, and holds nothing up.
 *
 * @module
 */

export class PendingCut {
  /** How many changes wait, by the whole second of their stamp: few seconds at a time. */
  readonly #bySecond = new Map<number, number>();

  /** Takes note of a change that came. Returns what to give to `done`, or undefined when it is late. */
  add(stampMs: number, cut: number): number | undefined {
    const second = Math.floor(stampMs / 1000);
    if (second < cut) return undefined;
    this.#bySecond.set(second, (this.#bySecond.get(second) ?? 0) + 1);
    return second;
  }

  done(second: number | undefined): void {
    if (second === undefined) return;
    const left = (this.#bySecond.get(second) ?? 0) - 1;
    if (left > 0) this.#bySecond.set(second, left);
    else this.#bySecond.delete(second);
  }

  /** The largest cut up to `cut` that covers no change still waiting. */
  limit(cut: number): number {
    let limit = cut;
    // Cut c covers stamps below 1000 c ms, so a stamp in second s allows cuts up to s.
    for (const second of this.#bySecond.keys()) if (second < limit) limit = second;
    return limit;
  }
}
