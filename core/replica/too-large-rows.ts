/**
 * Rows that came and that the store can't hold, for they are too large: this host differs from others in them, and who runs it is
 * to know. Other rows are merged meanwhile, so the store's last error says nothing of them.
 *
 * @module
 */

import { RowTooLarge } from "../row-store.ts";

/** Repair brings such a row again and again, while there is a difference. */
const keptMs = 60_000;

export class TooLargeRows {
  /** The one that came last. */
  #last: { readonly why: string; readonly atMs: number } | undefined;

  /** @param why As it is told. */
  note(error: unknown, why: string, nowMs: number): void {
    if (error instanceof RowTooLarge) this.#last = { why, atMs: nowMs };
  }

  /** What is wrong; undefined: none came lately. */
  why(nowMs: number): string | undefined {
    if (this.#last === undefined || Math.abs(nowMs - this.#last.atMs) > keptMs) return undefined;
    return this.#last.why;
  }
}
