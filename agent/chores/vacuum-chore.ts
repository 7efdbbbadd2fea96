/**
 * Gives free pages back to the file system, a few at a time, when nobody waits
 * (`PRAGMA incremental_vacuum`): so the file doesn't stay as large as it once was.
 *
 * Some free pages are kept. Rows come and go all day, and a page that is given back in the morning and
 * asked for again at noon was moved for nothing.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";
import type { Chore } from "./chores.ts";

/** A moved page is two written ones: a millisecond or two a slice. */
const slicePages = 32;
const sliceMs = 50;
const lookMs = 10_000;
/** Begins above a twelfth of the file and ends at a fiftieth; small files are left alone. */
const beginFraction = 0.08;
const endFraction = 0.02;
const pagesMin = 32;

export class VacuumChore implements Chore {
  readonly name = "vacuum";
  readonly #writer: Pick<Database, "exec" | "pragma">;
  readonly #onWrote: () => void;
  #dueMs = 0;
  #isUnderWay = false;
  #pagesFreed = 0;

  /** @param onWrote The WAL has grown. */
  constructor(writer: Pick<Database, "exec" | "pragma">, onWrote: () => void) {
    this.#writer = writer;
    this.#onWrote = onWrote;
  }

  get dueMs(): number {
    return this.#dueMs;
  }

  /** Since the start. */
  get pagesFreed(): number {
    return this.#pagesFreed;
  }

  run(nowMs: number): void {
    const free = this.#count("freelist_count");
    const pages = this.#count("page_count");
    const fraction = this.#isUnderWay ? endFraction : beginFraction;
    this.#isUnderWay = free > Math.max(pagesMin, pages * fraction);
    if (this.#isUnderWay) {
      this.#writer.exec(`PRAGMA incremental_vacuum(${slicePages})`);
      this.#pagesFreed += Math.max(0, pages - this.#count("page_count"));
      this.#onWrote();
    }
    this.#dueMs = nowMs + (this.#isUnderWay ? sliceMs : lookMs);
  }

  #count(pragma: "freelist_count" | "page_count"): number {
    return Number(this.#writer.pragma(pragma));
  }
}
