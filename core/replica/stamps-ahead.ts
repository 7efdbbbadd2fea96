/**
 * What this host stamped while its clock was far ahead: it is kept back, since nobody would take it, and stamped anew
 * once the peers say that the clock is right (`restamp.ts`).
 *
 * @module
 */

import type { Changeset } from "../change/changeset.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import type { Hlc, Site } from "../clock/stamp.ts";
import type { Digester } from "../row/digest.ts";
import type { MergedRow, RowStore } from "../row-store.ts";
import { ClockFault } from "./clock-fault.ts";
import type { Drift } from "./drift.ts";
import type { Pace } from "./pace.ts";
import { Restamping, restampMs } from "./restamp.ts";

export interface StampsAheadParts {
  readonly store: RowStore;
  readonly clock: HlcClock;
  readonly digester: Digester;
  /** What the peers' clocks say of the own. */
  readonly drift: Drift;
  readonly pace: Pace;
  readonly isOwnSite: (site: Site) => boolean;
  /** Does something with the store; undefined when it failed. */
  readonly trying: <T>(work: () => T) => T | undefined;
}

/**
 * What a slice of stamping anew means for an index of the rows. `begins`: rows are about to get clocks that it doesn't
 * know. `ends`: they have got them. Otherwise nothing.
 */
export type RestampStep = "begins" | "ends" | "nothing";

export class StampsAhead {
  readonly #parts: StampsAheadParts;
  readonly #fault = new ClockFault(restampMs);
  /** The largest stamp of a row that is known, ms. */
  #largestMs = 0;
  #restamping: Restamping | undefined;
  #restamped = 0;

  constructor(parts: StampsAheadParts) {
    this.#parts = parts;
  }

  /** Nothing that is stamped later is sent, ms. */
  sentMsMax(nowMs: number): number {
    return this.#parts.drift.fleetMs(nowMs) + restampMs;
  }

  /** Nothing is held that must not be sent. */
  isNone(nowMs: number): boolean {
    return this.#newestMs <= this.sentMsMax(nowMs);
  }

  /** How far this host's clock is behind the newest stamp that is held; 0 while what is stamped so late is sent. */
  heldBackMs(nowMs: number): number {
    return this.isNone(nowMs) ? 0 : this.#newestMs - this.#parts.drift.fleetMs(nowMs);
  }

  /** A row that is held has such a stamp, ms. */
  met(ms: number): void {
    if (ms > this.#largestMs) this.#largestMs = ms;
  }

  /** All rows are about to be {@link met} again. What is stamped anew is given up: it begins again once it is due. */
  forget(): void {
    this.#largestMs = 0;
    this.giveUp();
  }

  /** Begins again once it is due: with the next word of the peers' clocks. */
  giveUp(): void {
    this.#restamping = undefined;
  }

  /** @param offsetsMs Of the peers' clocks against the own, of those that have been set. */
  heard(offsetsMs: readonly number[], nowMs: number): void {
    this.#fault.note(offsetsMs, this.#parts.clock.last, nowMs);
  }

  /** Begins to stamp anew, in slices. @param isBuilt All rows have been met. */
  beginWhenDue(isBuilt: boolean, nowMs: number): void {
    const { store, clock, digester, drift, isOwnSite } = this.#parts;
    if (this.#restamping !== undefined || this.#newestMs <= nowMs + restampMs) return;
    if (!drift.agrees || !isBuilt) return;
    const options = { nowMs, isOwn: isOwnSite, fault: this.#fault.known };
    this.#restamping = new Restamping(store, clock, digester, options);
  }

  /** Rows are being stamped anew. */
  get isRestamping(): boolean {
    return this.#restamping !== undefined;
  }

  /** Some of them have been: an index of the rows isn't right. */
  get isWriting(): boolean {
    return this.#restamping?.isWriting === true;
  }

  /** Rows that were stamped anew. */
  get restampedRows(): number {
    return this.#restamped;
  }

  /** A local transaction was committed. */
  committed(merged: readonly MergedRow[]): void {
    this.#restamping?.committed(merged);
  }

  /** Rows of others were merged, the last of them stamped so. */
  observe(latest: Hlc): void {
    this.#restamping?.observe(latest);
  }

  /** One slice, of rows being stamped anew. @param told Gets what is to be pushed. */
  slice(nowMs: number, told: Changeset[]): RestampStep {
    const { drift, pace, trying } = this.#parts;
    const restamping = this.#restamping;
    if (restamping === undefined) return "nothing";
    const wasWriting = restamping.isWriting;
    // The clock is wrong again, or the store fails: what is still ahead is found again.
    if (!drift.agrees) return this.#end(restamping);
    pace.begin();
    const isLast = trying(() => restamping.slice(nowMs, pace, told));
    if (isLast === true) this.#fault.end();
    if (isLast !== false) return this.#end(restamping);
    return restamping.isWriting && !wasWriting ? "begins" : "nothing";
  }

  #end(restamping: Restamping): RestampStep {
    this.#restamping = undefined;
    this.#restamped += restamping.rows;
    return restamping.isWriting ? "ends" : "nothing";
  }

  get #newestMs(): number {
    return Math.max(this.#largestMs, this.#parts.clock.last.ms);
  }
}
