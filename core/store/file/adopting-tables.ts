/**
 * Which tables are under adoption (`adoption.ts`), as the file has it: their names, ascending, a line each.
 *
 * @module
 */

import type { SqlDatabase } from "../../database.ts";
import type { SqlValue } from "../../row/value.ts";
import { readState, writeState } from "./file-header.ts";

export class AdoptingTables {
  /** Tables whose rows don't all have clocks yet. */
  names: ReadonlySet<string> = new Set();
  readonly #database: SqlDatabase;

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  /** What the file names. */
  read(): string[] {
    return namesFromText(readState(this.#database, "adopting"));
  }

  /** Goes on with those that the file names and `isKnown`; nothing is written. */
  takeUp(isKnown: (name: string) => boolean): void {
    this.names = new Set(this.read().filter(isKnown));
  }

  /** Writes the names, in the transaction that is open or in one of its own. */
  set(names: readonly string[]): void {
    writeState(this.#database, "adopting", namesToText(names));
    this.names = new Set(names);
  }

  /** All rows of a table have been gone through. */
  remove(table: string): void {
    this.set([...this.names].filter((name) => name !== table));
  }
}

function namesToText(names: Iterable<string>): string {
  return [...names].sort().join("\n");
}

function namesFromText(text: SqlValue | undefined): string[] {
  return typeof text === "string" && text !== "" ? text.split("\n") : [];
}
