/**
 * Writes of this host's clients that the disk refused. What others send is tried again for as long as it takes, so the replica knows of a
 * disk that is full for as long as it is; a client may give up, and on a host where nobody else writes nothing would tell of the disk.
 *
 * @module
 */

import { SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR } from "../../wasm/constants.ts";
import { SqliteError } from "../../wasm/error.ts";
import { isOutOfMemory } from "../sql/value-bound.ts";

/** That nobody has written since says nothing of the disk. */
const keptMs = 60_000;
const ofTheDisk: ReadonlySet<number> = new Set([SQLITE_FULL, SQLITE_IOERR, SQLITE_CORRUPT]);

export class WriteFailures {
  #last: { readonly why: string; readonly atMs: number } | undefined;

  /** @param elapsedMs on a clock that nobody sets */
  failed(error: unknown, elapsedMs: number): void {
    if (!(error instanceof SqliteError) || !ofTheDisk.has(error.code) || isOutOfMemory(error))
      return;
    this.#last = { why: `store: ${error.message}`, atMs: elapsedMs };
  }

  committed(): void {
    this.#last = undefined;
  }

  /** Why the last write failed; undefined: it didn't, or it was long ago. */
  why(elapsedMs: number): string | undefined {
    if (this.#last === undefined || elapsedMs - this.#last.atMs > keptMs) return undefined;
    return this.#last.why;
  }
}
