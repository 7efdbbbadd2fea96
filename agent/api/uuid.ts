/**
 * UUIDs in paths: with or without hyphens, in either case; with hyphens also behind `urn:uuid:`.
 *
 * @module
 */

import { textResponse } from "./http.ts";
import type { Parsed } from "./statement.ts";

const urn = "urn:uuid:";

/** The form with hyphens, in lower case; or a refusal that names the path parameter. */
export function parseUuid(text: string, parameter: string): Parsed<string> {
  const skipped = text.startsWith(urn) ? urn.length : 0;
  const hex = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text.slice(skipped))
    ? text.slice(skipped).replaceAll("-", "")
    : text;
  if (/^[0-9a-f]{32}$/i.test(hex)) {
    const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
    return { kind: "parsed", value: `${parts.join("-")}-${hex.slice(20)}`.toLowerCase() };
  }
  const why = `UUID parsing failed: ${fault(text, skipped)}`;
  const message = `Invalid URL: Cannot parse \`${parameter}\` with value \`${text}\`: ${why}`;
  return { kind: "refused", response: textResponse(400, message) };
}

function fault(text: string, skipped: number): string {
  const at = skipped + text.slice(skipped).search(/[^0-9a-f-]/i);
  if (at < skipped) {
    return `invalid length: expected length 32 for simple format, found ${text.length}`;
  }
  const wanted = `expected an optional prefix of \`${urn}\` followed by [0-9a-fA-F-]`;
  return `invalid character: ${wanted}, found \`${text[at]}\` at ${at + 1}`;
}
