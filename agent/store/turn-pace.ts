/**
 * How long the store thread works on a merge, or copies pages, before others have a turn: by the clock, and shorter
 * while somebody reads or writes here. Much less so while this node isn't ready: then it says so to whoever asks
 * (503 from `/v1/health`), and what it lacks comes first.
 *
 * What a slice wrote is committed by the next, which can't be interrupted and takes about half as long. Longer
 * slices make fewer of them: with nobody to disturb a merge is up to twice as fast.
 *
 * While somebody reads or writes here the thread also *rests* between slices, once it has worked for about as long as a
 * rest takes. Who comes then finds it idle, and the net thread and this host's clients have the processor. And what can't
 * be cut into slices (collections, syncs) comes less often: longer rests help the slowest reads by that alone. And it collects
 * young garbage more often than the engine would, which stands still for 4 ms each time where these are 2. Not while the rows of a
 * huge changeset are kept: each of these was 8 ms then, and one that had to wait for a collection of everything, which the engine
 * makes beside the work, 150.
 *
 * @module
 */

import type { Pace } from "../../core/replica/pace.ts";

const servingMs = 0.5;
/** Each slice has its own COMMIT: an empty node takes 100,000 rows in a sixth less time than with half a millisecond. */
const catchingUpMs = 4;
/** Somebody listens, and nobody asks: nothing waits but news of what is urgent. */
const heardMs = 2;
const aloneMs = 8;
/** Whoever asked so recently will ask again. */
const servedMs = 1000;
/** Of work, after which the thread rests. */
const workedMsMax = 1;
/** How long rests are, in turns: a timer has whole ones. Half of the undisturbed speed is left, and some. */
export const restsMs = [1, 2] as const;
/** The engine's own are some 230 ms apart while rows are merged beside readers. */
const collectEveryMs = 60;
/** And so many times as far apart as one takes: where much of what is young is kept it takes long, and brings little. */
const collectEveryTimes = 27;

export interface TurnPaceHost {
  /** This node may be asked. */
  readonly isReady: () => boolean;
  /** Somebody has subscribed. */
  readonly isHeard: () => boolean;
}

export class TurnPace implements Pace {
  readonly #host: TurnPaceHost;
  readonly #nowMs: () => number;
  #begunMs = 0;
  #sliceMs = aloneMs;
  #servedMs = Number.NEGATIVE_INFINITY;
  #isWorking = false;
  /** Since the last rest. */
  #workedMs = 0;
  #workedUntilMs = Number.NEGATIVE_INFINITY;
  #collectedMs = Number.NEGATIVE_INFINITY;
  #rests = 0;

  constructor(host: TurnPaceHost, nowMs: () => number = () => performance.now()) {
    this.#host = host;
    this.#nowMs = nowMs;
  }

  /** A client was served. */
  served(): void {
    this.#servedMs = this.#nowMs();
  }

  begin(): void {
    this.#begunMs = this.#nowMs();
    this.#sliceMs = this.#nextSliceMs();
  }

  isOver(): boolean {
    return this.#nowMs() - this.#begunMs >= this.#sliceMs;
  }

  /** Runs a turn of what nobody waits for, or a part of one. */
  during(turn: () => void): void {
    if (this.#isWorking) {
      turn();
      return;
    }
    const begunMs = this.#nowMs();
    // To have had nothing to do is a rest, too.
    if (begunMs - this.#workedUntilMs >= restsMs[0]) this.#workedMs = 0;
    this.#isWorking = true;
    try {
      turn();
    } finally {
      this.#isWorking = false;
      this.#workedUntilMs = this.#nowMs();
      this.#workedMs += this.#workedUntilMs - begunMs;
    }
  }

  /** So much was done that the next turn had better wait for {@link takeRestMs}. */
  get wantsRest(): boolean {
    return this.#workedMs >= workedMsMax && this.#isServing && this.#host.isReady();
  }

  /** How long the rest is that begins now. */
  takeRestMs(): number {
    return restsMs[this.#rests++ % restsMs.length] as number;
  }

  /** After a rest: whether this turn is to collect garbage, and nothing else. Then it is taken to have been done. */
  takeCollection(): boolean {
    const nowMs = this.#nowMs();
    if (!this.#isServing || nowMs - this.#collectedMs < collectEveryMs) return false;
    this.#collectedMs = nowMs;
    return true;
  }

  /** The one that was taken last has just ended. */
  collected(): void {
    const tookMs = this.#nowMs() - this.#collectedMs;
    this.#collectedMs += Math.max(0, collectEveryTimes * tookMs - collectEveryMs);
  }

  #nextSliceMs(): number {
    const isReady = this.#host.isReady();
    if (this.#isServing) return isReady ? servingMs : catchingUpMs;
    return isReady && this.#host.isHeard() ? heardMs : aloneMs;
  }

  get #isServing(): boolean {
    return this.#nowMs() - this.#servedMs < servedMs;
  }
}
