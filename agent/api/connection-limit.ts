/**
 * Keeps descriptors for the Unix socket, the database and the peers: above a number of connections TCP takes in another only
 * where one that is idle can be closed for it. The Unix socket goes on until only those are left that the agent itself needs.
 *
 * Without it whoever can reach the TCP port needs no token to shut everybody out: as many connections as the process may
 * have files open, with nothing said on them. And a client on the Unix socket that leaks connections would stop more than
 * itself: no checkpoint, no backup and no reload, and accepting in vain takes a processor.
 *
 * @module
 */

import { descriptorsMax, ownDescriptors } from "../host/descriptors.ts";

/** Kept for everything else: half of them where there are few. */
const reservedMax = 1024;
/** All connections are looked through for idle ones, which takes some nanoseconds for each. */
const lookMs = 100;
const reportMs = 10_000;

export interface ConnectionLimitOptions {
  /** Of TCP and the Unix socket. What files the process may have open is a bound too. */
  readonly connectionsMax: number;
  /** Told when the limit is reached, not more often than every ten seconds. */
  readonly onReached: (report: LimitReport) => void;
  /** Default: this process's. Undefined where nobody can tell. */
  readonly filesMax?: number | undefined;
  readonly nowMs?: () => number;
}

/** Since the last one. */
export interface LimitReport {
  readonly connectionsMax: number;
  readonly closedIdle: number;
  readonly refused: number;
}

/** A server of TCP. Those that it cuts it tells of by `left`, within the call. */
export interface LimitedServer {
  /** Closes the oldest connection that has said nothing, if there is one that isn't quite new. */
  cutUntold(): void;
  /** Closes all without a request that aren't quite new. */
  cutIdle(): void;
}

export class ConnectionLimit {
  readonly #options: ConnectionLimitOptions;
  readonly #nowMs: () => number;
  readonly #max: number;
  /** Of those on the Unix socket and on TCP, for the former. */
  readonly #localMax: number;
  readonly #servers: LimitedServer[] = [];
  #open = 0;
  #closedIdle = 0;
  #refused = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #reportedMs = Number.NEGATIVE_INFINITY;

  constructor(options: ConnectionLimitOptions) {
    const { connectionsMax, nowMs = () => performance.now() } = options;
    const filesMax = "filesMax" in options ? options.filesMax : descriptorsMax();
    const max = filesMax ?? Number.POSITIVE_INFINITY;
    this.#options = options;
    this.#nowMs = nowMs;
    this.#max = Math.min(connectionsMax, max - Math.min(reservedMax, Math.floor(max / 2)));
    this.#localMax = max - ownDescriptors;
  }

  /** Whose idle connections may be closed for others. */
  addServer(server: LimitedServer): void {
    this.#servers.push(server);
  }

  left(): void {
    this.#open--;
  }

  /** Whether another connection of TCP may stay; then it has entered. */
  admits(): boolean {
    return this.#admitsBelow(this.#max);
  }

  /** The same for the Unix socket, which `connectionsMax` doesn't bound. */
  admitsLocal(): boolean {
    return this.#admitsBelow(this.#localMax);
  }

  #admitsBelow(max: number): boolean {
    if (this.#open >= max && !this.#makeRoom(max)) {
      this.#refused++;
      this.#report();
      return false;
    }
    this.#open++;
    return true;
  }

  #makeRoom(max: number): boolean {
    const before = this.#open;
    for (const server of this.#servers) {
      if (this.#open >= max) server.cutUntold();
    }
    const nowMs = this.#nowMs();
    if (this.#open >= max && nowMs >= this.#lookedMs + lookMs) {
      this.#lookedMs = nowMs;
      for (const server of this.#servers) server.cutIdle();
    }
    const closed = before - this.#open;
    if (closed > 0) {
      this.#closedIdle += closed;
      this.#report();
    }
    return this.#open < max;
  }

  #report(): void {
    const nowMs = this.#nowMs();
    if (nowMs < this.#reportedMs + reportMs) return;
    const report = { closedIdle: this.#closedIdle, refused: this.#refused };
    this.#reportedMs = nowMs;
    this.#closedIdle = 0;
    this.#refused = 0;
    this.#options.onReached({ connectionsMax: this.#max, ...report });
  }
}
