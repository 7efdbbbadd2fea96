/**
 * The wall clock as the node machine wants it: milliseconds since 1970 with a fraction, that don't run
 * backwards when the system's clock is nudged.
 *
 * It runs on the monotonic clock of this thread and follows the system's: small differences are made up
 * at a tenth of the time that passes, a jump (over 500 ms: a host that was suspended, a clock that was
 * set) is taken over as it is, also backwards.
 *
 * @module
 */

const jumpMs = 500;
const slewFraction = 0.1;

export class WallClock {
  readonly #system: () => number;
  readonly #monotonic: () => number;
  #offsetMs: number;
  #lastMonotonicMs: number;

  /** The clocks are arguments for tests. */
  constructor(system: () => number = Date.now, monotonic: () => number = () => performance.now()) {
    this.#system = system;
    this.#monotonic = monotonic;
    this.#lastMonotonicMs = monotonic();
    this.#offsetMs = system() - this.#lastMonotonicMs;
  }

  nowMs(): number {
    const monotonicMs = this.#monotonic();
    const elapsedMs = monotonicMs - this.#lastMonotonicMs;
    this.#lastMonotonicMs = monotonicMs;
    const behindMs = this.#system() - (monotonicMs + this.#offsetMs);
    if (Math.abs(behindMs) > jumpMs) {
      this.#offsetMs += behindMs;
    } else if (behindMs < 0 || behindMs >= 1) {
      // Within 0 to 1 the two agree: the system's clock tells whole milliseconds.
      const mostMs = elapsedMs * slewFraction;
      this.#offsetMs += Math.max(-mostMs, Math.min(mostMs, behindMs));
    }
    return monotonicMs + this.#offsetMs;
  }
}
