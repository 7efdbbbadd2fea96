/**
 * Requests that are on their way, and how long they may be: one that comes a byte a second would hold one of its
 * route's places for days.
 *
 * Nearly all are there before the event loop turns, so one clock ticks for all of them, and only while there are any.
 *
 * @module
 */

/** One that is waited for. */
export interface AwaitedRequest {
  readonly giveUp: () => void;
  readonly sinceTick: number;
}

const ticksMax = 6;

export class LateRequests {
  readonly #tickMs: number;
  readonly #awaited = new Set<AwaitedRequest>();
  #tick = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param requestMs that a request may take; it is given up within a sixth more */
  constructor(requestMs: number) {
    this.#tickMs = requestMs / ticksMax;
  }

  /** @param giveUp called once, unless {@link came} was before */
  await(giveUp: () => void): AwaitedRequest {
    const request = { giveUp, sinceTick: this.#tick };
    this.#awaited.add(request);
    this.#timer ??= setInterval(() => this.#look(), this.#tickMs);
    return request;
  }

  /** It is there, or never will be. False: it was given up. */
  came(request: AwaitedRequest): boolean {
    return this.#awaited.delete(request);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    this.#tick++;
    for (const request of this.#awaited) {
      // In the order in which they were begun.
      if (this.#tick - request.sinceTick <= ticksMax) break;
      this.#awaited.delete(request);
      request.giveUp();
    }
    if (this.#awaited.size === 0) this.stop();
  }
}
