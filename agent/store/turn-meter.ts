/**
 * The longest turns of the store thread, by what was done in them: whoever waits for this thread waits for
 * one of these at most, and in a status they tell which.
 *
 * @module
 */

export type TurnKind =
  | "urgent"
  | "apply"
  | "question"
  | "tick"
  | "chore"
  | "checkpoint"
  | "query"
  | "write";

/** A turn is remembered so long at least, and twice as long at most. */
const rememberedMs = 5000;

export class TurnMeter {
  #longest = new Map<TurnKind, number>();
  #before = new Map<TurnKind, number>();
  #begunMs = 0;

  /** Runs `work` and takes note of how long it took. */
  measure<T>(kind: TurnKind, work: () => T): T {
    const begunMs = performance.now();
    try {
      return work();
    } finally {
      this.took(kind, begunMs);
    }
  }

  /** Something that was begun then has just ended. */
  took(kind: TurnKind, begunMs: number): void {
    const nowMs = performance.now();
    if (nowMs - this.#begunMs > rememberedMs) this.#turnOver(nowMs);
    const ms = nowMs - begunMs;
    if (ms > (this.#longest.get(kind) ?? 0)) this.#longest.set(kind, ms);
  }

  /** Of the last 5 to 10 s with any, ms. */
  longest(): Record<string, number> {
    const longest = new Map(this.#before);
    for (const [kind, ms] of this.#longest) longest.set(kind, Math.max(ms, longest.get(kind) ?? 0));
    return Object.fromEntries([...longest].map(([kind, ms]) => [kind, Number(ms.toFixed(1))]));
  }

  #turnOver(nowMs: number): void {
    this.#before = this.#longest;
    this.#longest = new Map();
    this.#begunMs = nowMs;
  }
}
