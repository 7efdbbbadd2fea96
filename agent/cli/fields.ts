/**
 * An object as indented lines, for people.
 *
 * @module
 */

import { escapeControls } from "./table.ts";

export function formatFields(value: unknown): string {
  return lines(value, "").join("\n");
}

function lines(value: unknown, indent: string): string[] {
  const entries = Object.entries(value as Record<string, unknown>);
  const width = Math.max(0, ...entries.map(([key]) => key.length));
  return entries.flatMap(([key, item]) => {
    if (isSimple(item)) return [`${indent}${key.padEnd(width)}  ${simple(item)}`];
    if (Array.isArray(item)) {
      if (item.length === 0) return [`${indent}${key.padEnd(width)}  none`];
      if (item.every(isSimple))
        return [`${indent}${key.padEnd(width)}  ${item.map(simple).join(", ")}`];
      return item.flatMap((one, i) => [`${indent}${key} ${i + 1}`, ...lines(one, `${indent}  `)]);
    }
    return [`${indent}${key}`, ...lines(item, `${indent}  `)];
  });
}

function isSimple(value: unknown): boolean {
  return typeof value !== "object" || value === null;
}

function simple(value: unknown): string {
  return value === null || value === undefined ? "none" : escapeControls(String(value));
}
