/**
 * Writes down that the agent has started: which site it writes as, the nonce, the boot (`agent/data/site-identity.ts`). Before
 * that no stamp may be given, for by it the next start tells a copy of the file from the file.
 *
 * A full disk has no room for it. Then the agent serves reads all the same, and hears what others write: the start is
 * written down before the first transaction, and until it can be, each of them is refused as on a full disk.
 * It is tried again by each that comes, and now and then.
 *
 * @module
 */

import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import { SQLITE_FULL } from "../../wasm/constants.ts";
import { SqliteError } from "../../wasm/error.ts";
import { NoRoomFailure } from "../start-failure.ts";

export interface StartRecordParts {
  readonly store: Pick<SqliteStore, "settle" | "holdBack">;
  /** The data directory's nonce before this start. */
  readonly nonce: string;
  /** Writes a new one; to be on the disk when it returns, if `isLate`. @throws StartFailure */
  readonly renewNonce: (isLate: boolean) => string;
  /** It was renewed, and the start isn't written down. */
  readonly putNonceBack: (nonce: string) => void;
  /** Writes down the start, in the transaction that is open. */
  readonly write: (nonce: string) => void;
}

export class StartRecord {
  readonly #parts: StartRecordParts;
  #isLate = false;
  #why: string | undefined;

  /** Writes it, or leaves it for later if the disk is full. @throws what else is in the way */
  constructor(parts: StartRecordParts) {
    this.#parts = parts;
    try {
      this.#write();
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#isLate = true;
      parts.store.holdBack(() => this.ensureWritten());
    }
  }

  /** Why it isn't written yet; undefined when it is. */
  get why(): string | undefined {
    return this.#why;
  }

  /** @throws what is in the way, a full disk above all; then it isn't written */
  ensureWritten(): void {
    if (this.#why !== undefined) this.#write();
  }

  #write(): void {
    const { store, nonce, renewNonce, putNonceBack, write } = this.#parts;
    let isRenewed = false;
    try {
      store.settle(() => {
        const renewed = renewNonce(this.#isLate);
        isRenewed = true;
        write(renewed);
      });
      this.#why = undefined;
    } catch (error) {
      this.#why = `the start isn't written down: ${(error as Error).message}`;
      // If this fails as well, or the process ends here, the next start takes a new site, which is harmless.
      if (isRenewed && nonce !== "") putNonceBack(nonce);
      throw error;
    }
  }
}

export function isFull(error: unknown): boolean {
  return (
    error instanceof NoRoomFailure || (error instanceof SqliteError && error.code === SQLITE_FULL)
  );
}
