/**
 * Affinity: what a column of SQLite makes of a value that is stored in it.
 *
 * Merge must know beforehand whether a column gives a value back unchanged, type and bytes, because
 * a value that it would change is *held* and not shown. The rules are those of SQLite 3.54's
 * `applyAffinity` (vdbe.c), and a test compares them with SQLite itself, value by value.
 *
 * | affinity         | changes                                                                     |
 * | ---------------- | --------------------------------------------------------------------------- |
 * | BLOB             | nothing                                                                     |
 * | TEXT             | INTEGER and REAL become text                                                |
 * | NUMERIC, INTEGER | text that reads as a number becomes it; a REAL that is an integer between -2**63 and 2**63 becomes INTEGER |
 * | REAL             | text that reads as a number and INTEGER become REAL; -0.0 becomes 0.0        |
 *
 * Source: "Datatypes In SQLite", section 3, https://sqlite.org/datatype3.html
 *
 * @module
 */

import { utf8Decode } from "../bytes/utf8.ts";
import { canonicalKeyValue } from "../row/key.ts";
import { lowerAscii } from "../row/row-state.ts";
import { equalValues, type RawText, Real, type SqlValue } from "../row/value.ts";

export type Affinity = "BLOB" | "TEXT" | "NUMERIC" | "INTEGER" | "REAL";

/** Affinity of a declared type, by the substrings that SQLite looks for, in its order. */
export function affinityOfType(declared: string): Affinity {
  const type = lowerAscii(declared);
  if (type.includes("int")) return "INTEGER";
  if (type.includes("char") || type.includes("clob") || type.includes("text")) return "TEXT";
  if (type.includes("blob") || type === "") return "BLOB";
  if (type.includes("real") || type.includes("floa") || type.includes("doub")) return "REAL";
  return "NUMERIC";
}

/** Whether a column of this affinity gives `value` back as the same type and bytes. */
export function isKeptByAffinity(affinity: Affinity, value: SqlValue): boolean {
  if (value === null || value instanceof Uint8Array || affinity === "BLOB") return true;
  if (typeof value === "number" || typeof value === "bigint") {
    return affinity === "INTEGER" || affinity === "NUMERIC";
  }
  if (value instanceof Real) {
    if (affinity === "REAL") return !Object.is(value.real, -0);
    return affinity !== "TEXT" && !isSameAsInteger(value.real);
  }
  return affinity === "TEXT" || !readsAsNumber(value);
}

/**
 * Whether a key column gives a canonical key value back as a value that SQLite holds equal and that has
 * the same canonical form. A key with a part that it doesn't is no key of that table.
 *
 * @param isRowid An INTEGER PRIMARY KEY, which takes nothing but integers.
 */
export function isKeyKept(affinity: Affinity, isRowid: boolean, value: SqlValue): boolean {
  if (isRowid) return typeof value === "number" || typeof value === "bigint";
  if (affinity === "REAL" && (typeof value === "number" || typeof value === "bigint")) {
    return equalValues(canonicalKeyValue(new Real(Number(value))), value);
  }
  return isKeptByAffinity(affinity, value);
}

/** What a key column shows for a canonical key value that it keeps. */
export function shownKeyValue(affinity: Affinity, value: SqlValue): SqlValue {
  const isInteger = typeof value === "number" || typeof value === "bigint";
  return affinity === "REAL" && isInteger ? new Real(Number(value)) : value;
}

/** The REALs that an INTEGER column turns into INTEGER. -2**63 itself stays. */
function isSameAsInteger(real: number): boolean {
  return Number.isInteger(real) && real > -(2 ** 63) && real < 2 ** 63;
}

/**
 * Text that `sqlite3AtoF` reads to its end. A zero byte is an end, whatever follows. Digits can be read in one way only: a text
 * has up to 8 MB, and every host that merges it comes by here.
 */
const numberText =
  /^[ \t\n\v\f\r]*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[ \t\n\v\f\r]*(?:\0|$)/;

function readsAsNumber(value: string | RawText): boolean {
  if (typeof value === "string") return numberText.test(value);
  // What is not UTF-8 may still stand behind a zero byte.
  const end = value.bytes.indexOf(0);
  const text = end < 0 ? undefined : utf8Decode(value.bytes, 0, end);
  return text !== undefined && numberText.test(text);
}
