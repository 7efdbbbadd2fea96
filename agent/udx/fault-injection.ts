/**
 * Loss on demand, for tests and demonstrations: drops a share of the datagrams of this process (or
 * Worker), DHT traffic included, by a seeded generator.
 *
 * @module
 */

export interface LossOptions {
  /** Share of datagrams dropped when sent, 0 to 1. */
  readonly outgoing: number;
  /** Share of datagrams dropped when received, 0 to 1. */
  readonly incoming?: number;
  readonly seed?: number;
}

/** mulberry32: small, and good enough to drop packets by. */
class Generator {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
}

let outgoing = 0;
let incoming = 0;
let generator: Generator | null = null;
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
  generator = outgoing > 0 || incoming > 0 ? new Generator(options.seed ?? seed) : null;
}

/** Datagrams dropped since `simulateLoss`. */
export function simulatedLossCount(): number {
  return dropped;
}

export function dropsOutgoing(): boolean {
  if (generator === null || outgoing === 0 || generator.next() >= outgoing) return false;
  dropped++;
  return true;
}

export function dropsIncoming(): boolean {
  if (generator === null || incoming === 0 || generator.next() >= incoming) return false;
  dropped++;
  return true;
}
