/**
 * Numbers that look random and come again from the same seed: for lost packets on demand.
 *
 * @module
 */

/** mulberry32: 32 bits of state, good enough to drop packets by. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** In [lower, upper), whole. */
  integer(lower: number, upper: number): number {
    return lower + Math.floor(this.next() * (upper - lower));
  }
}
