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

import { valueBytesMax as largeBytesMax } from "../../core/row/value.ts";
import {
  SQLITE_IOERR_NOMEM,
  SQLITE_LIMIT_LENGTH,
  SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
  SQLITE_NOMEM,
  SQLITE_TOOBIG,
} from "../../wasm/constants.ts";
import type { Database } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";

/** What is done with a value takes time in proportion: some 0.1 ms. As much as a whole answer may have. */
const plainBytesMax = 64 * 1024;
/** With the product of two of its values: some milliseconds. */
const steepBytesMax = 4 * 1024;

/** Up to so many the bounds hold for each. */
const callsUndivided = 8;

const steepFunctions: ReadonlySet<string> = new Set([
  "glob",
  "instr",
  "json_patch",
  "jsonb_patch",
  "like",
  "ltrim",
  "replace",
  "rtrim",
  "trim",
  "unhex",
]);

/** @param name in ASCII lower case */
export function isSteepFunction(name: string): boolean {
  return steepFunctions.has(name);
}

/**
 * SQLite looks at a deadline where it jumps, and so never between calls that stand in one row of a result: of a hundred,
 * each gets less.
 *
 * @param isSteep the statement calls a function that {@link isSteepFunction}
 * @param calls what all that it calls weighs
 */
export function valueBytesMax(isSteep: boolean, calls = 0): number {
  const bytes = isSteep ? steepBytesMax : plainBytesMax;
  return Math.floor(bytes / Math.max(1, calls / callsUndivided));
}

/** Of any value they take next to no time. */
const plainFunctions: ReadonlySet<string> = new Set(["avg", "count", "max", "min", "sum", "total"]);

/** They read a document once for each of their paths. @param name in ASCII lower case */
export function callWeight(name: string): number {
  if (plainFunctions.has(name)) return 0;
  return name.startsWith("json") ? 4 : 1;
}

/** @param name in ASCII lower case */
export function isMatchingFunction(name: string): boolean {
  return name === "glob" || name === "like";
}

/**
 * What LIKE and GLOB compare in a client's write, where nothing ends one call: its time is the product of both sizes, and
 * patterns of 500 bytes on values of 8 MiB take minutes. Nearly always values are small, and patterns may be as long as
 * anywhere. Beside larger ones they are short, as for a word that is looked for in a text.
 */
export const matchBounds = {
  small: { valueBytesMax: plainBytesMax, patternBytesMax: Number.POSITIVE_INFINITY },
  large: { valueBytesMax: largeBytesMax, patternBytesMax: 50 },
} as const;

/**
 * As {@link withValueBound}, and patterns of LIKE and GLOB have at most so many bytes, or as many as elsewhere.
 *
 * @param calls as of {@link valueBytesMax}: large values are shared among them
 */
export function withMatchBound<T>(
  database: Database,
  { valueBytesMax, patternBytesMax }: (typeof matchBounds)["small" | "large"],
  calls: number,
  use: () => T,
): T {
  const before = database.limit(SQLITE_LIMIT_LIKE_PATTERN_LENGTH, -1);
  database.limit(SQLITE_LIMIT_LIKE_PATTERN_LENGTH, Math.min(before, patternBytesMax));
  try {
    const bytesMax = Math.max(plainBytesMax, Math.floor(valueBytesMax / Math.max(1, calls)));
    return withValueBound(database, bytesMax, use);
  } finally {
    database.limit(SQLITE_LIMIT_LIKE_PATTERN_LENGTH, before);
  }
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

/**
 * That the heap of the store thread may grow to for a statement that another thread can run. One call builds any size of
 * text before it is found too big (`json_pretty` of 2 KB, indented by 1 KB: 500 MB), and the heap never shrinks.
 */
const triedHeapBytesMax = 128 * 1024 * 1024;
/** The same for one that writes, which runs there in any case: several of the largest values, and the cache. */
export const writerHeapBytesMax: number = 512 * 1024 * 1024;

/** The heap doesn't grow over that in `use`: then it {@link isOutOfMemory}. */
export function withHeapBound<T>(
  { module: { heap } }: Database,
  use: () => T,
  bytesMax: number = triedHeapBytesMax,
): T {
  const before = heap.bytesMax;
  heap.bytesMax = Math.min(before, bytesMax);
  try {
    return use();
  } finally {
    heap.bytesMax = before;
  }
}

export function isOutOfMemory(error: unknown): boolean {
  if (!(error instanceof SqliteError)) return false;
  return error.code === SQLITE_NOMEM || error.extendedCode === SQLITE_IOERR_NOMEM;
}

export function isTooBig(error: unknown): boolean {
  return error instanceof SqliteError && error.code === SQLITE_TOOBIG;
}
