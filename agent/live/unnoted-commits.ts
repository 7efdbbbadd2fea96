/**
 * Commits of which it hasn't been found out yet whom they concern, in their order.
 *
 * Finding out costs in proportion to changed rows and to shapes of queries, and a merge may bring rows faster than that.
 * When the oldest has waited for long all of them become one, of which only the tables are known: everyone who
 * reads these looks by themselves. So neither what waits here grows without bound, nor the time until an urgent change
 * is told.
 *
 * @module
 */

import type { MergedRow } from "../../core/row-store.ts";
import type { TableChanges } from "./table-changes.ts";

/** A transaction of which only the COMMIT has been seen to. */
export interface Commit {
  /** Asked for when somebody may be concerned. */
  readonly changes: () => TableChanges;
  /** Of these changes, the tables: asked for in place of them where many wait. */
  readonly tables?: () => Iterable<string>;
  /** All that it merged or wrote. */
  readonly rows: readonly MergedRow[] | undefined;
}

export interface Unnoted {
  readonly commit: Commit;
  readonly isUrgent: boolean;
}

interface Waiting {
  readonly commit: Commit;
  readonly sinceMs: number;
  isUrgent: boolean;
}

export class UnnotedCommits {
  readonly #waitMsMax: number;
  #waiting: Waiting[] = [];

  /** @param waitMsMax until those that wait become one */
  constructor(waitMsMax: number) {
    this.#waitMsMax = waitMsMax;
  }

  get size(): number {
    return this.#waiting.length;
  }

  add(commit: Commit): void {
    this.#waiting.push({ commit, sinceMs: performance.now(), isUrgent: false });
  }

  /** All that wait are urgent. */
  hurry(): void {
    for (const one of this.#waiting) one.isUrgent = true;
  }

  /** The oldest, or all in one. */
  take(): Unnoted | undefined {
    const [oldest] = this.#waiting;
    if (oldest === undefined) return undefined;
    const isLate = performance.now() - oldest.sinceMs > this.#waitMsMax;
    if (isLate && this.#waiting.length > 1) return joined(this.#waiting.splice(0));
    this.#waiting.shift();
    return oldest;
  }
}

function joined(waiting: readonly Waiting[]): Unnoted {
  const tables: [string, "unknown"][] = [];
  for (const { commit } of waiting) {
    const changed = commit.tables?.() ?? commit.changes().keys();
    for (const table of changed) tables.push([table, "unknown"]);
  }
  const changes: TableChanges = new Map(tables);
  const isUrgent = waiting.some((one) => one.isUrgent);
  return { commit: { changes: () => changes, rows: undefined }, isUrgent };
}
