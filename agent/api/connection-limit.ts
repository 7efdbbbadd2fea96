/**
 * Keeps descriptors for the Unix socket, the database and the peers: above a number of connections TCP takes in no others
 * (`agent/host/descriptors.ts`), until some have ended. Idle ones are closed first.
 *
 * Without it whoever can reach the TCP port needs no token to shut everybody out: as many connections as the process may
 * have files open, with nothing said on them.
 *
 * @module
 */

import {
  countDescriptors,
  descriptorsMax,
  pauseListeners,
  tcpListeners,
} from "../host/descriptors.ts";

/** Kept for everything else: half of them where there are few. */
const reservedMax = 1024;
/** At this part of the limit TCP takes in others again. */
const resumeFraction = 0.9;
/** The kernel connects a few hundred in that time, or some thousands from the same host. */
const lookMs = 50;

export interface ConnectionLimitOptions {
  /** Of all descriptors that are open. What the process may have is a bound too. */
  readonly connectionsMax: number;
  /** Of TCP, without a request. @returns how many were closed */
  readonly closeIdle: () => number;
  readonly onPaused: (isPaused: boolean, connections: number, connectionsMax: number) => void;
  /** Default: this process's. */
  readonly descriptors?: {
    readonly count: () => number | undefined;
    readonly max: () => number | undefined;
    readonly pause: (isPaused: boolean) => void;
  };
}

function ownDescriptors(): NonNullable<ConnectionLimitOptions["descriptors"]> {
  const listeners = tcpListeners();
  return {
    count: countDescriptors,
    max: descriptorsMax,
    pause: (isPaused) => pauseListeners(listeners, isPaused),
  };
}

export class ConnectionLimit {
  readonly #options: ConnectionLimitOptions;
  readonly #descriptors: NonNullable<ConnectionLimitOptions["descriptors"]>;
  readonly #max: number;
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  #isPaused = false;

  /** To be made once all TCP sockets listen. */
  constructor(options: ConnectionLimitOptions) {
    this.#options = options;
    this.#descriptors = options.descriptors ?? ownDescriptors();
    const max = this.#descriptors.max() ?? Number.POSITIVE_INFINITY;
    this.#max = Math.min(options.connectionsMax, max - Math.min(reservedMax, Math.floor(max / 2)));
    if (this.#descriptors.count() !== undefined) {
      this.#timer = setInterval(() => this.look(), lookMs);
      this.#timer.unref();
    }
  }

  look(): void {
    // Who can't tell, for want of a descriptor, has too many.
    const count = this.#descriptors.count() ?? Number.POSITIVE_INFINITY;
    if (this.#isPaused) {
      if (count < this.#max * resumeFraction) this.#pause(false, count);
    } else if (count > this.#max) {
      const closed = this.#options.closeIdle();
      if (count - closed > this.#max * resumeFraction) this.#pause(true, count);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #pause(isPaused: boolean, count: number): void {
    this.#isPaused = isPaused;
    this.#descriptors.pause(isPaused);
    this.#options.onPaused(isPaused, count, this.#max);
  }
}
