/**
 * Interrupts a statement that takes too long: SQLite asks every few hundred steps of its virtual
 * machine.
 *
 * There are two kinds of time. A client's is the clock's. A budget, of what a statement may take before it
 * is another thread's, is to be used up by the statement: that the machine stood still meanwhile (it was stopped,
 * or others had the processor) says nothing of it. So of the time between two looks, at most six tenths of a budget
 * count. A short statement is looked at once at most, and stays within its budget however long that one look
 * was in coming; one that is slow within few steps is over it at the second look.
 *
 * Some statements go through a whole table in one step, `SELECT count(*) FROM t` among them: 25 ms for a million rows. So while a
 * budget runs it is looked at after some reads of the file, too. What needs none comes from the page cache, which is small.
 *
 * (The thread's processor time would tell more, but Linux brings it up to date only every few milliseconds.)
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";

/**
 * About 6 µs of a scan; of large values, more. SQLite counts a compiled statement's steps through all its runs, so
 * the first look may come after any number of them.
 */
const stepsBetweenLooks = 500;
/**
 * Where one step can take long, as a function of a large value does: a twelfth of a microsecond for each look. (There is none
 * between steps that follow each other without a jump: `value-bound.ts`.)
 */
const steepStepsBetweenLooks = 8;

/** Of pages: a tenth of a millisecond or less, and more than a point read needs. */
const readsBetweenLooks = 32;

const never = Number.POSITIVE_INFINITY;

export interface DeadlineHooks {
  /** Asked as often: whether it is to end for another reason. */
  readonly isCancelled?: () => boolean;
  /** Default: the machine's clock. */
  readonly nowMs?: () => number;
}

export class Deadline {
  readonly #database: Database;
  readonly #nowMs: () => number;
  readonly #isCancelled: () => boolean;
  #isSteep = false;
  #atMs = never;
  /** What counts at most of the time between two looks. */
  #gapMsMax = never;
  /** Of the last look. */
  #lookedMs = 0;

  constructor(database: Database, hooks: DeadlineHooks = {}) {
    this.#database = database;
    this.#nowMs = hooks.nowMs ?? (() => performance.now());
    this.#isCancelled = hooks.isCancelled ?? (() => false);
    this.#lookEvery(stepsBetweenLooks);
  }

  #lookEvery(steps: number): void {
    this.#database.onProgress(steps, () => this.#isOver() || this.#isCancelled());
  }

  /** What runs next calls functions of which one call can take long; or it doesn't, as at first. */
  expect(isSteep: boolean): void {
    if (isSteep === this.#isSteep) return;
    this.#isSteep = isSteep;
    this.#lookEvery(isSteep ? steepStepsBetweenLooks : stepsBetweenLooks);
  }

  /** From now on, until {@link end}. */
  begin(durationMs: number, kind: "clock" | "budget" = "clock"): void {
    const nowMs = this.#nowMs();
    this.#lookedMs = nowMs;
    this.#atMs = nowMs + durationMs;
    this.#gapMsMax = kind === "budget" ? 0.6 * durationMs : never;
    if (kind !== "budget") return;
    let reads = 0;
    this.#database.module.vfs.isReadRefused = () =>
      ++reads % readsBetweenLooks === 0 && this.#isOver();
  }

  end(): void {
    this.#atMs = never;
    this.#database.module.vfs.isReadRefused = undefined;
  }

  /** To be asked by what takes long within one step. */
  get isOver(): boolean {
    return this.#nowMs() > this.#atMs;
  }

  /** Runs `use` for at most `durationMs`; then the statement in it fails with SQLITE_INTERRUPT. */
  within<T>(durationMs: number, use: () => T, kind: "clock" | "budget" = "clock"): T {
    this.begin(durationMs, kind);
    try {
      return use();
    } finally {
      this.end();
    }
  }

  #isOver(): boolean {
    const nowMs = this.#nowMs();
    this.#atMs += Math.max(0, nowMs - this.#lookedMs - this.#gapMsMax);
    this.#lookedMs = nowMs;
    return nowMs > this.#atMs;
  }
}
