/**
 * How large a value may be while a client's statement is tried in the store thread.
 *
 * A deadline is looked at between steps of SQLite's virtual machine, every few hundred of them. One step can call a
 * function, and nothing interrupts that: `instr` of 30 MB in 15 MB takes hours, `hex` of 30 MB a second. So
 * where another thread can run the statement, and be ended if need be, it meets small values only here; at a larger
 * one it is given up, as at the end of its time.
 *
 * @module
 */

import { SQLITE_LIMIT_LENGTH, SQLITE_TOOBIG } from "../../wasm/constants.ts";
import type { Database } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";

/** What is done with a value takes time in proportion: some 0.1 ms. As much as a whole answer may have. */
const plainBytesMax = 64 * 1024;
/** With the product of two of its values: some milliseconds. */
const steepBytesMax = 4 * 1024;

const steepFunctions: ReadonlySet<string> = new Set([
  "glob",
  "instr",
  "like",
  "ltrim",
  "replace",
  "rtrim",
  "trim",
]);

/** @param name in ASCII lower case */
export function isSteepFunction(name: string): boolean {
  return steepFunctions.has(name);
}

/** @param isSteep the statement calls a function that {@link isSteepFunction} */
export function valueBytesMax(isSteep: boolean): number {
  return isSteep ? steepBytesMax : plainBytesMax;
}

/** Values of more than `bytesMax` in `use` are {@link isTooBig}. */
export function withValueBound<T>(database: Database, bytesMax: number, use: () => T): T {
  const before = database.limit(SQLITE_LIMIT_LENGTH, bytesMax);
  try {
    return use();
  } finally {
    database.limit(SQLITE_LIMIT_LENGTH, before);
  }
}

export function isTooBig(error: unknown): boolean {
  return error instanceof SqliteError && error.code === SQLITE_TOOBIG;
}
