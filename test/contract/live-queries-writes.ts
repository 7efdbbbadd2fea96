/**
 * Random writes for live queries.
 *
 * @module
 */

import { type Draw, oddKeys, oddWrite } from "./live-queries-odd.ts";
import type { WorldTable } from "./live-queries-tables.ts";
import type { Terms } from "./live-queries-terms.ts";

/** One writing statement. @param isLocal it may write local tables */
export function drawWrite(
  draw: Draw,
  terms: Terms,
  tables: readonly WorldTable[],
  isLocal: boolean,
): string {
  const { chance, int, pick } = draw;
  if (isLocal && chance(0.15)) return oddWrite(draw);
  const table = pick(isLocal ? tables : tables.filter((one) => !one.isLocal));
  const plain = table.columns.filter((name) => name !== "g" && !table.generated?.includes(name));
  const settable = plain.filter((name) => !table.keys.includes(name));
  const where = chance(0.8) ? ` WHERE ${terms.condition([[table.name, table]])}` : "";
  switch (int(6)) {
    case 0:
    case 1: {
      const values = settable.map((name) => terms.columnValue(name));
      const keyed = table.keys.length > 0 ? `${drawKey(table, draw)}, ` : "";
      return `INSERT OR REPLACE INTO ${table.name} (${plain.join(", ")}) VALUES (${keyed}${values.join(", ")})`;
    }
    case 2:
      return `DELETE FROM ${table.name}${where}`;
    case 3:
      return table.keys.length === 0
        ? `UPDATE ${table.name} SET n = n + 1`
        : `UPDATE OR IGNORE ${table.name} SET ${table.keys[0]} = ${pick(["0", "1", "2", "4"])}${where}`;
    case 4: {
      const name = pick(settable);
      return `UPDATE ${table.name} SET ${name} = ${terms.value()}, n = ${pick(["n", "1", "n + 1"])}${where}`.replace(
        /n = [^,]*, n = /,
        "n = ",
      );
    }
    default: {
      const name = pick(settable);
      return `UPDATE ${table.name} SET ${name} = ${terms.columnValue(name)}${where}`;
    }
  }
}

/** The values of a key, one that comes back. */
function drawKey(table: WorldTable, { chance, pick }: Draw): string {
  return table.name === "loose" && chance(0.5)
    ? "NULL"
    : table.keys
        .map((name) => {
          if (name === "part") return pick(["0", "1"]);
          const odd = oddKeys[table.keyType ?? ""];
          if (odd !== undefined && chance(0.15)) return pick(odd);
          // Of what no other key is like: a blob as text, a real number where there may be one.
          if (chance(0.1) && table.keyType === "TEXT") return "x'61'";
          return table.keyType === "REAL"
            ? pick(["0", "1.0", "1.5", "2"])
            : pick(["0", "1", "2", "3"]);
        })
        .join(", ");
}
