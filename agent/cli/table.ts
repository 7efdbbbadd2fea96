/**
 * Tables for people: columns aligned, numbers to the right, nothing cut off.
 *
 * @module
 */

import { RawText, Real, type SqlValue } from "../../core/row/value.ts";

export function formatTable(
  names: readonly string[],
  rows: readonly (readonly SqlValue[])[],
): string {
  const columns = names.map(escapeControls);
  const cells = rows.map((row) => row.map(cellText));
  const widths = columns.map((column, i) =>
    cells.reduce(
      (width, row) => Math.max(width, Bun.stringWidth(row[i] ?? "")),
      Bun.stringWidth(column),
    ),
  );
  const isNumber = columns.map((_, i) => rows.every((row) => isNumeric(row[i] ?? null)));
  const line = (texts: readonly string[], pad: string): string =>
    texts
      .map((text, i) => {
        const space = pad.repeat((widths[i] as number) - Bun.stringWidth(text));
        return isNumber[i] ? space + text : text + space;
      })
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  const lines = [line(columns, " "), rule, ...cells.map((row) => line(row, " "))];
  return lines.join("\n");
}

/** One value; line breaks and other control characters are escaped. */
export function cellText(value: SqlValue): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return escapeControls(value);
  if (value instanceof Real)
    return Number.isInteger(value.real) ? `${value.real}.0` : `${value.real}`;
  if (value instanceof RawText) return `CAST(x'${hex(value.bytes)}' AS TEXT)`;
  if (value instanceof Uint8Array) return `x'${hex(value)}'`;
  return String(value);
}

function isNumeric(value: SqlValue): boolean {
  return (
    value === null ||
    typeof value === "number" ||
    typeof value === "bigint" ||
    value instanceof Real
  );
}

/** So that a value can't move the cursor of who looks at it. */
export function escapeControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (one) =>
    one === "\n"
      ? "\\n"
      : one === "\t"
        ? "\\t"
        : `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
