/**
 * Issues the stamps of one site. A stamp is larger than every stamp the clock issued or observed
 * before, and close to the wall clock while that runs forward.
 *
 * Only the store thread owns one for commits, so that a remote stamp enters when its change is applied.
 *
 * It doesn't follow a stamp that is far ahead of the time (`replica/drift.ts`), as a host gave it whose clock was wrong for a
 * moment: what is written here from then on would be as far ahead, and peers would refuse it until its time has come.
 * Only what is written over such a row must come after it ({@link HlcClock.nextAfter}).
 *
 * ```ts
 * import { HlcClock } from "./hlc-clock.ts";
 *
 * const clock = new HlcClock("0".repeat(32) as never, { ms: 0, count: 0 });
 * expect(clock.next(1000)).toMatchObject({ ms: 1000, count: 0 });
 * // A change from a host whose clock is ahead was applied: what is written next comes after it.
 * clock.observe({ ms: 1500, count: 7 });
 * expect(clock.next(1001)).toMatchObject({ ms: 1500, count: 8 });
 * ```
 *
 * Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014, figure 5.
 *
 * @module
 */

import { assert } from "../assert.ts";
import { compareHlc, type Hlc, hlcCountMax, hlcMsMax, type Site, type Stamp } from "./stamp.ts";

/** No clock that is right is further ahead of another one, ms. */
export const clocksApartMsMax = 5000;

export class HlcClock {
  #last: Hlc;
  #site: Site;
  /** By ms, the last count of stamps that were issued far ahead: the clock skips these when it gets there. */
  readonly #ahead = new Map<number, number>();

  /** @param start Goes on after this reading: the largest of what the file stored and what its rows hold. */
  constructor(site: Site, start: Hlc) {
    this.#site = site;
    this.#last = start;
  }

  get last(): Hlc {
    return this.#last;
  }

  get site(): Site {
    return this.#site;
  }

  /** The next stamp. @param nowMs Wall clock in milliseconds; it may jump in either direction. */
  next(nowMs: number): Stamp {
    const stamp = this.peek(nowMs);
    this.#last = { ms: stamp.ms, count: stamp.count };
    if (this.#ahead.size > 0) for (const ms of this.#ahead.keys()) this.#dropPast(ms);
    return stamp;
  }

  /**
   * The next stamp after `before` too, which a row has that is written now. Where that is far ahead only this one is.
   * Of the same site no two are equal.
   */
  nextAfter(before: Hlc | undefined, nowMs: number): Stamp {
    if (before === undefined || compareHlc(before, this.peek(nowMs)) < 0) return this.next(nowMs);
    if (before.ms <= nowMs + clocksApartMsMax) {
      this.observe(before);
      return this.next(nowMs);
    }
    let { ms } = before;
    let count = Math.max(before.count, this.#ahead.get(ms) ?? 0) + 1;
    while (count > hlcCountMax) {
      ms++;
      count = (this.#ahead.get(ms) ?? -1) + 1;
    }
    this.#ahead.set(ms, count);
    return { ms, count, site: this.#site };
  }

  /** What {@link next} would be, which isn't issued. */
  peek(nowMs: number): Stamp {
    const wall = Math.floor(nowMs);
    let { ms, count } = this.#last;
    if (wall > ms) {
      ms = wall;
      count = 0;
    } else if (count < hlcCountMax) count++;
    else {
      ms++;
      count = 0;
    }
    while (this.#ahead.size > 0 && this.#ahead.has(ms)) {
      ms++;
      count = 0;
    }
    // The message of an assertion is made even if it holds.
    if (!(ms >= 0 && ms <= hlcMsMax)) assert(false, `hlc: milliseconds below 2**48, got ${ms}`);
    return { ms, count, site: this.#site };
  }

  /** Takes note of a stamp that was applied, so that what is written next comes after it. */
  observe(hlc: Hlc): void {
    if (compareHlc(hlc, this.#last) > 0) this.#last = { ms: hlc.ms, count: hlc.count };
  }

  /**
   * Goes back to an earlier reading: the clock had followed a wall clock that was far ahead, and nobody
   * took what it stamped then (`replica/restamp.ts`).
   */
  setBack(hlc: Hlc): void {
    assert(compareHlc(hlc, this.#last) <= 0, "hlc: set back to an earlier reading");
    this.#last = { ms: hlc.ms, count: hlc.count };
  }

  #dropPast(ms: number): void {
    if (ms < this.#last.ms) this.#ahead.delete(ms);
  }

  /** Now, without issuing anything: at least the wall clock and at least what was seen. */
  read(nowMs: number): Hlc {
    const wall: Hlc = { ms: Math.floor(nowMs), count: 0 };
    return compareHlc(wall, this.#last) > 0 ? wall : this.#last;
  }
}
