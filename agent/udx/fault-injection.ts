/**
 * Loss on demand, for tests and demonstrations: drops a share of the datagrams of this process (or
 * Worker), DHT traffic included, by a seeded generator.
 *
 * @module
 */

import { SeededRandom } from "./seeded-random.ts";

export interface LossOptions {
  /** Share of datagrams dropped when sent, 0 to 1. */
  readonly outgoing: number;
  /** Share of datagrams dropped when received, 0 to 1. */
  readonly incoming?: number;
  readonly seed?: number;
}

let outgoing = 0;
let incoming = 0;
let random: SeededRandom | null = null;
let dropped = 0;

/**
 * Drops datagrams from now on, in every UDX instance of this thread. A number is the share of
 * outgoing ones. `simulateLoss(0)` stops it.
 */
export function simulateLoss(loss: number | LossOptions, seed = 1): void {
  const options: LossOptions = typeof loss === "number" ? { outgoing: loss, seed } : loss;
  outgoing = options.outgoing;
  incoming = options.incoming ?? 0;
  dropped = 0;
  random = outgoing > 0 || incoming > 0 ? new SeededRandom(options.seed ?? seed) : null;
}

/** Datagrams dropped since `simulateLoss`. */
export function simulatedLossCount(): number {
  return dropped;
}

export function dropsOutgoing(): boolean {
  if (random === null || outgoing === 0 || random.next() >= outgoing) return false;
  dropped++;
  return true;
}

export function dropsIncoming(): boolean {
  if (random === null || incoming === 0 || random.next() >= incoming) return false;
  dropped++;
  return true;
}
