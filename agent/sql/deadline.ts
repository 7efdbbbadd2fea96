/**
 * Interrupts a statement that takes too long: SQLite asks every thousand steps of its virtual
 * machine.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";

/** About 12 µs of a scan; of large values, more. */
const stepsBetweenLooks = 1000;

export class Deadline {
  #atMs = Number.POSITIVE_INFINITY;

  /** @param isCancelled asked as often: whether it is to end for another reason */
  constructor(database: Database, isCancelled: () => boolean = () => false) {
    database.onProgress(stepsBetweenLooks, () => performance.now() > this.#atMs || isCancelled());
  }

  /** From now on, until {@link end}. */
  begin(durationMs: number): void {
    this.#atMs = performance.now() + durationMs;
  }

  end(): void {
    this.#atMs = Number.POSITIVE_INFINITY;
  }

  /** Runs `use` for at most `durationMs`; then the statement in it fails with SQLITE_INTERRUPT. */
  within<T>(durationMs: number, use: () => T): T {
    this.#atMs = performance.now() + durationMs;
    try {
      return use();
    } finally {
      this.#atMs = Number.POSITIVE_INFINITY;
    }
  }
}
