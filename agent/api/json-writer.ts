/**
 * SQLite values as JSON text, exactly: 64-bit integers in full, REAL always with a point or an
 * exponent, BLOB as an array of byte numbers.
 *
 * Written as the other side of the contract (serde_json) writes them, so that bytes can be compared: a
 * REAL below 1e-5 or from 1e16 on takes an exponent, and one that JSON can't say (an infinity) is
 * `null`.
 *
 * @module
 */

import { RawText, Real, type SqlValue } from "../../core/row/value.ts";

/** TEXT whose bytes are not UTF-8 has no form in JSON. */
export class NotUtf8Error extends Error {
  constructor() {
    super("invalid utf-8 sequence in a TEXT value: read it as a BLOB with CAST(… AS BLOB)");
    this.name = "NotUtf8Error";
  }
}

/** @throws NotUtf8Error */
export function sqlValueToJson(value: SqlValue): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (value === null) return "null";
  if (value instanceof Real) return realToJson(value.real);
  if (value instanceof RawText) throw new NotUtf8Error();
  return `[${value.join(",")}]`;
}

/** `[1,"a"]`. @throws NotUtf8Error */
export function sqlValuesToJson(values: readonly SqlValue[]): string {
  let text = "[";
  for (let i = 0; i < values.length; i++) {
    if (i > 0) text += ",";
    text += sqlValueToJson(values[i] as SqlValue);
  }
  return `${text}]`;
}

/** A double: shortest digits that read back the same, `1.0`, `-0.0`, `1e16`, `2.7e-6`. */
export function realToJson(real: number): string {
  if (!Number.isFinite(real)) return "null";
  if (real === 0) return Object.is(real, -0) ? "-0.0" : "0.0";
  const size = Math.abs(real);
  if (size < 1e-5 || size >= 1e16) return real.toExponential().replace("e+", "e");
  return Number.isInteger(real) ? `${real}.0` : String(real);
}

/** A duration in seconds, to the nanosecond. */
export function secondsToJson(ms: number): string {
  const ns = Math.round(ms * 1e6);
  if (ns < 1 || ns >= 1e9) return realToJson(ns / 1e9);
  // As realToJson has it, at a third of its cost: every answer tells a time.
  const digits = String(ns);
  let end = digits.length;
  while (digits.charCodeAt(end - 1) === 0x30) end--;
  if (ns >= 10_000) return `0.${"0".repeat(9 - digits.length)}${digits.slice(0, end)}`;
  const fraction = end > 1 ? `.${digits.slice(1, end)}` : "";
  return `${digits.charAt(0)}${fraction}e-${10 - digits.length}`;
}
