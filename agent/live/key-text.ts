/**
 * Keys as text: what names a row in memory. One text for all values that SQLite holds equal.
 *
 * @module
 */

import { canonicalKeyValue } from "../../core/row/key.ts";
import { Real, type SqlValue } from "../../core/row/value.ts";
import { sqlValueToJson } from "../api/json-writer.ts";

/** Between the keys of a join's rows. Stands in no key's text: JSON escapes it. */
export const keySeparator = "\n";

/** @throws NotUtf8Error */
export function keyText(values: readonly SqlValue[]): string {
  let text = "";
  for (const value of values) text += `${valueText(canonicalKeyValue(value))},`;
  return text;
}

function valueText(value: SqlValue): string {
  // JSON has no infinity, and NULL has its word.
  if (value instanceof Real && !Number.isFinite(value.real)) return String(value.real);
  return sqlValueToJson(value);
}
