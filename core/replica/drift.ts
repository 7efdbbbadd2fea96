/**
 * Whose clock is wrong: judges stamps, and this host, by the fleet's time.
 *
 * The fleet's time is the own wall clock plus the median offset of the peers' clocks, once three are
 * known and most clocks agree with it: more than half of the peers' and the own together, and three of them.
 * Otherwise nobody can tell who is wrong, so only what is far out is refused. So half of the peers, or any number
 * that don't agree among each other, can't make a host refuse its own clients by telling a wrong time. Refusing
 * delays and never loses: repair brings the row again.
 *
 * A clock that shows a time long before this release has never been set: the machine has none of its own, booted in
 * 1970, and NTP hasn't answered yet. Several such clocks agree with each other (a rack that lost power), so they have no
 * vote. A host with one of them goes by the clocks that are set, even by a single one. It refuses local writes, for older
 * ones of others would win over them, and moves nothing back that seems to be ahead of it. Who stands alone has nobody whose writes his could win or lose over, and goes on writing: his HLC never goes back.
 *
 * @module
 */

import { clocksApartMsMax } from "../clock/hlc-clock.ts";

/** A remote stamp further ahead of the fleet's time is refused; so are local writes of a host this far off. */
const driftMsMax = clocksApartMsMax;
/** The same for remote stamps while the fleet's time isn't known. */
export const driftFewPeersMsMax = 60_000;
/** Peers whose clocks must be known, and clocks that must agree. */
const driftPeersMin = 3;
/** A remote stamp further ahead is counted as a warning. */
const driftWarnMs = 500;

export type LocalWrites =
  | { readonly kind: "allowed" }
  /** The host's clock is wrong by the judgement of its peers: what it stamped would win or lose wrongly. */
  | { readonly kind: "refused"; readonly why: string };

export class Drift {
  readonly #clockFloorMs: number;
  readonly #standsAlone: boolean;
  #peers = 0;
  #medianOffsetMs: number | undefined;
  /** Of the clock that is furthest ahead, the own among them. */
  #largestOffsetMs = 0;
  #agrees = false;
  #isUnset = false;

  /**
   * @param clockFloorMs A clock that shows less has never been set, ms since 1970. 0: whatever it shows.
   * @param standsAlone By configuration: there are no peers, and never will be.
   */
  constructor(clockFloorMs = 0, standsAlone = false) {
    this.#clockFloorMs = clockFloorMs;
    this.#standsAlone = standsAlone;
  }

  /**
   * @param offsetsMs Of the connected peers' clocks against the own, as far as they are known.
   * @param connected How many peers there are.
   * @param nowMs the own wall clock
   */
  setOffsets(
    offsetsMs: readonly number[],
    connected: number = offsetsMs.length,
    nowMs: number = Number.POSITIVE_INFINITY,
  ): void {
    const known = this.ofSetClocks(offsetsMs, nowMs);
    this.#peers = known.length;
    this.#isUnset = this.isUnset(nowMs);
    const agreeing = known.filter((offsetMs) => Math.abs(offsetMs) <= driftMsMax).length;
    const asked = connected - (offsetsMs.length - known.length);
    this.#agrees = agreeing > 0 && agreeing >= Math.min(driftPeersMin, asked);
    this.#medianOffsetMs = this.#isUnset ? anyMedian(known) : this.#agreedMedian(known);
    this.#largestOffsetMs = Math.max(0, ...known);
  }

  /** Whether the own clock shows a time long before this release. */
  isUnset(nowMs: number): boolean {
    return nowMs < this.#clockFloorMs;
  }

  /** Of these offsets against the own clock, those of clocks that have been set. */
  ofSetClocks(offsetsMs: readonly number[], nowMs: number): readonly number[] {
    return offsetsMs.filter((offsetMs) => nowMs + offsetMs >= this.#clockFloorMs);
  }

  #agreedMedian(offsetsMs: readonly number[]): number | undefined {
    if (offsetsMs.length < driftPeersMin) return undefined;
    const medianMs = medianOf(offsetsMs);
    const clocksMs = [...offsetsMs, 0];
    const near = clocksMs.filter((clockMs) => Math.abs(clockMs - medianMs) <= driftMsMax).length;
    return near >= driftPeersMin && near * 2 > clocksMs.length ? medianMs : undefined;
  }

  /**
   * Whether the own clock is right by all that can be known: three peers agree with it, or all there are,
   * and the median does. Nobody to ask: no.
   */
  get agrees(): boolean {
    return this.#agrees && !this.#isUnset && this.localWrites().kind === "allowed";
  }

  /** Peers whose clocks are known. */
  get peers(): number {
    return this.#peers;
  }

  /** Fleet's time less the own wall clock; undefined with too few peers, or when most clocks don't agree. */
  get medianOffsetMs(): number | undefined {
    return this.#medianOffsetMs;
  }

  fleetMs(nowMs: number): number {
    return nowMs + (this.#medianOffsetMs ?? 0);
  }

  /** The latest remote stamp that is taken. */
  limitMs(nowMs: number): number {
    return this.fleetMs(nowMs) + this.#aheadMsMax();
  }

  /**
   * The latest stamp that the HLC follows. While the fleet's time isn't known (after a start, above all) more is taken than
   * fits any clock that is known; but followed, it would put all that is written here as far ahead.
   */
  followedMsMax(nowMs: number): number {
    return nowMs + (this.#medianOffsetMs ?? this.#largestOffsetMs) + clocksApartMsMax;
  }

  isWarning(stampMs: number, nowMs: number): boolean {
    return stampMs > this.fleetMs(nowMs) + driftWarnMs;
  }

  /** What to say of a stamp beyond the limit. */
  aheadText(stampMs: number, nowMs: number): string {
    const aheadMs = Math.round(stampMs - this.fleetMs(nowMs));
    return `clock: stamped ${aheadMs} ms ahead, at most ${this.#aheadMsMax()}`;
  }

  /** @param nowMs the own wall clock */
  localWrites(nowMs: number = Number.POSITIVE_INFINITY): LocalWrites {
    if (this.isUnset(nowMs) && !this.#standsAlone) {
      return { kind: "refused", why: `${unsetText(nowMs)}; writes are refused until it is` };
    }
    const offsetMs = this.#medianOffsetMs;
    if (offsetMs === undefined || Math.abs(offsetMs) <= driftMsMax) return { kind: "allowed" };
    const seconds = (Math.abs(offsetMs) / 1000).toFixed(1);
    const side = offsetMs < 0 ? "ahead of" : "behind";
    return {
      kind: "refused",
      why:
        `clock: this host is ${seconds} s ${side} the median of ${this.#peers} peers ` +
        `(at most ${driftMsMax / 1000} s); writes are refused until it is set right`,
    };
  }

  #aheadMsMax(): number {
    return this.#medianOffsetMs === undefined ? driftFewPeersMsMax : driftMsMax;
  }
}

export function unsetText(nowMs: number): string {
  const shown = new Date(nowMs).toISOString();
  return `clock: this host's shows ${shown}, so it has never been set`;
}

function anyMedian(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : medianOf(values);
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] as number)) / 2;
}
