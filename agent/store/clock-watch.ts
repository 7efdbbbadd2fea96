/**
 * Says in the log when the peers find this host's clock wrong, and when it is right again. While it is wrong each write is
 * refused, and its client hears of it; whoever looks at the host itself finds it here.
 *
 * @module
 */

import type { LocalWrites } from "../../core/replica/drift.ts";
import type { Log } from "../log.ts";

/** One that is as far off as may be is now right, now wrong. */
const toldMsMin = 60_000;

export class ClockWatch {
  readonly #log: Pick<Log, "warn" | "info">;
  #isWrong = false;
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(log: Pick<Log, "warn" | "info">) {
    this.#log = log;
  }

  /** @param elapsedMs on a clock that nobody sets */
  look(writes: LocalWrites, elapsedMs: number): void {
    const isWrong = writes.kind === "refused";
    if (isWrong === this.#isWrong || elapsedMs - this.#toldMs < toldMsMin) return;
    this.#isWrong = isWrong;
    this.#toldMs = elapsedMs;
    if (isWrong) this.#log.warn("clock-outlier", { why: writes.why });
    else this.#log.info("the clock is right again: writes are accepted");
  }
}
