/**
 * Bodies of requests that are on their way, and how long they may be: one that comes a byte a second would hold one of
 * its route's places for days.
 *
 * Nearly all are there before the event loop turns, so one clock ticks for all of them, and only while there are any.
 *
 * @module
 */

/** One body that is waited for. */
export interface AwaitedBody {
  readonly giveUp: () => void;
  readonly sinceTick: number;
}

const ticksMax = 6;

export class LateBodies {
  readonly #tickMs: number;
  readonly #awaited = new Set<AwaitedBody>();
  #tick = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param bodyMs that a body may take; it is given up within a sixth more */
  constructor(bodyMs: number) {
    this.#tickMs = bodyMs / ticksMax;
  }

  /** @param giveUp called once, unless {@link came} was before */
  await(giveUp: () => void): AwaitedBody {
    const body = { giveUp, sinceTick: this.#tick };
    this.#awaited.add(body);
    this.#timer ??= setInterval(() => this.#look(), this.#tickMs);
    return body;
  }

  /** It is there, or never will be. False: it was given up. */
  came(body: AwaitedBody): boolean {
    return this.#awaited.delete(body);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    this.#tick++;
    for (const body of this.#awaited) {
      // In the order in which they were begun.
      if (this.#tick - body.sinceTick <= ticksMax) break;
      this.#awaited.delete(body);
      body.giveUp();
    }
    if (this.#awaited.size === 0) this.stop();
  }
}
