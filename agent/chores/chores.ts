/**
 * What the store thread does when nobody waits for it: small slices, one a turn, each when it is due.
 *
 * @module
 */

export interface Chore {
  /** For the log. */
  readonly name: string;
  /** Wall clock in ms at which the next slice is wanted; in the past for at once, infinite for never. */
  readonly dueMs: number;
  /** One slice, of some milliseconds at most. Throws what SQLite throws. */
  run(nowMs: number): void;
}

/** A chore that failed (a full disk, say) is left alone so long. */
const afterFailureMs = 10_000;

export class Chores {
  readonly #chores: readonly Chore[];
  readonly #onFailure: (name: string, error: Error) => void;
  readonly #pausedUntilMs = new Map<Chore, number>();
  /** When it was last looked for one that is due. */
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** What they say of when they are due, a clock has said that was ahead and has been set: years, maybe. They are due now. */
  readonly #dueNow = new Set<Chore>();

  /** @param chores The ones that matter more first. */
  constructor(chores: readonly Chore[], onFailure: (name: string, error: Error) => void) {
    this.#chores = chores;
    this.#onFailure = onFailure;
  }

  get dueMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#chores.map((chore) => this.#dueMsOf(chore)));
  }

  /** One slice of the first that is due. */
  run(nowMs: number): void {
    if (nowMs < this.#lookedMs) this.#clockWasSet();
    this.#lookedMs = nowMs;
    const chore = this.#chores.find((one) => this.#dueMsOf(one) <= nowMs);
    if (chore === undefined) return;
    this.#dueNow.delete(chore);
    try {
      chore.run(nowMs);
    } catch (error) {
      this.#pausedUntilMs.set(chore, nowMs + afterFailureMs);
      this.#onFailure(chore.name, error as Error);
    }
  }

  #clockWasSet(): void {
    this.#pausedUntilMs.clear();
    for (const chore of this.#chores) {
      if (chore.dueMs < Number.POSITIVE_INFINITY) this.#dueNow.add(chore);
    }
  }

  #dueMsOf(chore: Chore): number {
    if (this.#dueNow.has(chore)) return Number.NEGATIVE_INFINITY;
    return Math.max(chore.dueMs, this.#pausedUntilMs.get(chore) ?? Number.NEGATIVE_INFINITY);
  }
}
