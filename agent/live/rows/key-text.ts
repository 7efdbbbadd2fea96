/**
 * Keys as text: what names a row in memory. One text for all values that SQLite holds equal.
 *
 * @module
 */

import { canonicalKeyValue } from "../../../core/row/key.ts";
import { Real, type SqlValue } from "../../../core/row/value.ts";
import { sqlValueToJson } from "../../api/json-writer.ts";

/** Between the keys of a join's rows. Stands in no key's text: JSON escapes it. */
export const keySeparator = "\n";

/** @throws NotUtf8Error */
export function keyText(values: readonly SqlValue[]): string {
  let text = "";
  for (const value of values) text += `${valueText(canonicalKeyValue(value))},`;
  return text;
}

/** The values of a key's text; undefined for others than strings and integers that a number holds. */
export function parseKeyText(text: string): (string | number)[] | undefined {
  let values: unknown[];
  try {
    values = JSON.parse(`[${text.slice(0, -1)}]`) as unknown[];
  } catch {
    return undefined;
  }
  const isPlain = (value: unknown): value is string | number =>
    typeof value === "string" || Number.isSafeInteger(value);
  return values.every(isPlain) ? values : undefined;
}

/** Drawn at each start, so that nobody can choose keys that collide. */
const seed = (crypto.getRandomValues(new BigUint64Array(1)) as BigUint64Array)[0] as bigint;

/** 32 bits, signed. */
export function textHash(text: string): number {
  return Number(BigInt.asIntN(32, Bun.hash.wyhash(text, seed)));
}

function valueText(value: SqlValue): string {
  // JSON has no infinity, and NULL has its word.
  if (value instanceof Real && !Number.isFinite(value.real)) return String(value.real);
  return sqlValueToJson(value);
}
