/**
 * The clock and the version as the file has them: none that this site stamped is above, so that after a
 * crash the next ones come after them. (But for what is written over a row that is stamped far ahead itself:
 * `HlcClock.nextAfter`. The row tells.)
 *
 * @module
 */

import { compareHlc, type Hlc } from "../../clock/stamp.ts";
import type { SqlDatabase, SqlStatement } from "../../database.ts";
import { hlcToBytes } from "./file-header.ts";

/** How far the stored HLC may fall behind the clock while only merges run. */
const hlcStoreStepMs = 1000;
/** How far it may be ahead while local commits follow each other: less than what peers warn of. */
const hlcReserveMs = 250;
/** How far the stored version may be ahead with it. */
export const versionsReserved = 256;

interface Kept {
  readonly hlc: Hlc;
  readonly version: number;
}

export class KeptClock {
  /** Commits of this site that changed something. */
  version: number;
  readonly #put: SqlStatement;
  /** HLC and version as the file has them: nothing above was ever stamped. */
  #kept: Kept;
  /** The same, with what the transaction at hand wrote. */
  #written: Kept;

  constructor(database: SqlDatabase, version: number, storedHlc: Hlc) {
    this.version = version;
    this.#kept = { hlc: storedHlc, version };
    this.#written = this.#kept;
    this.#put = database.prepare(
      "INSERT OR REPLACE INTO patina_state (name, value) VALUES ('hlc', ?), ('version', ?)",
    );
  }

  /** Writes the clock as it is, in the transaction that is open. */
  write(hlc: Hlc): void {
    this.#write(hlc, this.version);
  }

  /** The same for a merge, if the file has fallen behind: the rows themselves hold their stamps. */
  follow(hlc: Hlc): void {
    if (hlc.ms >= this.#kept.hlc.ms + hlcStoreStepMs) this.#write(hlc, this.#kept.version);
  }

  /**
   * Sees to it that the file names no HLC and no version below those of the commit at hand. While commits
   * follow each other it is told some that are still to come, so that most commits needn't write there;
   * after a crash the next ones come after them.
   *
   * @param hlc The clock as that commit left it.
   */
  reserve(hlc: Hlc): void {
    const version = this.version + 1;
    const kept = this.#kept;
    if (compareHlc(hlc, kept.hlc) <= 0 && version <= kept.version) return;
    const isOneOfMany = hlc.ms - kept.hlc.ms < hlcReserveMs;
    if (isOneOfMany) {
      this.#write({ ms: hlc.ms + hlcReserveMs, count: 0 }, version + versionsReserved);
    } else this.#write(hlc, version);
  }

  #write(hlc: Hlc, version: number): void {
    const statement = this.#put;
    statement.bind(1, hlcToBytes(hlc));
    statement.bind(2, version);
    statement.step();
    statement.reset();
    this.#written = { hlc, version };
  }

  /** The transaction was committed. */
  keep(): void {
    this.#kept = this.#written;
  }

  /** The transaction was rolled back. */
  forget(): void {
    this.#written = this.#kept;
  }
}
