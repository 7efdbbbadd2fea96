/**
 * Tries again what a full disk has left undone.
 *
 * @module
 */

import type { Chore } from "./chores.ts";

const everyMs = 1000;

export class RetryChore implements Chore {
  readonly name: string;
  readonly #isWaiting: () => boolean;
  readonly #tryAgain: () => boolean;
  #notBeforeMs = 0;

  /**
   * @param isWaiting there is something left undone
   * @param tryAgain doesn't throw; whether it is done
   */
  constructor(name: string, isWaiting: () => boolean, tryAgain: () => boolean) {
    this.name = name;
    this.#isWaiting = isWaiting;
    this.#tryAgain = tryAgain;
  }

  get dueMs(): number {
    return this.#isWaiting() ? this.#notBeforeMs : Number.POSITIVE_INFINITY;
  }

  run(nowMs: number): void {
    this.#notBeforeMs = this.#tryAgain() ? 0 : nowMs + everyMs;
  }
}
