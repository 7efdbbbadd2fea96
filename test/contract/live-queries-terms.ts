/**
 * Random values, literals and conditions for live queries. Values meet: few of them, of every type, so that keys come
 * back, joins match and rows are equal.
 *
 * @module
 */

import { type Draw, hugeValues, oddCondition, oddLiterals, oddValues } from "./live-queries-odd.ts";
import type { WorldTable } from "./live-queries-tables.ts";

/** Tables of a FROM, by what they are called there. */
export type Aliases = readonly (readonly [alias: string, table: WorldTable])[];

/** A FROM, and what its tables are called in it. */
export interface Join {
  readonly from: string;
  readonly aliases: Aliases;
}

export class Terms {
  readonly #draw: Draw;

  constructor(draw: Draw) {
    this.#draw = draw;
  }

  /** Beside `INSERT` or `SET`, of any column. */
  value(): string {
    const { chance, pick } = this.#draw;
    return chance(0.15)
      ? pick(oddValues)
      : pick(["0", "1", "2", "3", "1.0", "2.5", "'a'", "'b'", "'A'", "'1'", "''", "NULL", "x'61'"]);
  }

  columnValue(column: string): string {
    const { chance, pick } = this.#draw;
    if (column === "x" && chance(0.1)) return pick(hugeValues);
    if (chance(0.3)) return this.value();
    return column === "n"
      ? pick(["0", "1", "2"])
      : column === "s"
        ? pick(["'a'", "'b'"])
        : this.value();
  }

  #anyLiteral(): string {
    return this.#draw.pick(["1", "2", "'a'", "'b'", "'A'", "'1'", "1.0", "NULL", "x'61'"]);
  }

  /** Mostly one that the column may hold: otherwise most results are empty. */
  literal(operand = ""): string {
    const { chance, pick } = this.#draw;
    if (chance(0.1)) return pick(oddLiterals);
    if (chance(0.3)) return this.#anyLiteral();
    if (operand.endsWith(".n") || operand.endsWith(".part")) return pick(["0", "1", "1", "2"]);
    if (operand.endsWith(".k")) return pick(["1", "'1'", "2", "'2'", "1.5"]);
    if (operand.endsWith(".s")) return pick(["'a'", "'a'", "'b'", "1"]);
    return this.#anyLiteral();
  }

  #operator(): string {
    return this.#draw.pick(["=", "=", "=", "=", "==", "<", ">", "<>", "IS", "LIKE"]);
  }

  /** A column of a table. */
  operand(alias: string, table: WorldTable): string {
    return `${alias}.${this.#draw.pick(table.columns)}`;
  }

  condition(aliases: Aliases, depth = 0): string {
    const { chance, int, pick } = this.#draw;
    const [alias, table] = pick(aliases);
    const [otherAlias, otherTable] = pick(aliases);
    const left = this.operand(alias, table);
    if (depth < 2 && chance(0.25)) {
      const joiner = chance(0.5) ? "AND" : "OR";
      return `(${this.condition(aliases, depth + 1)} ${joiner} ${this.condition(aliases, depth + 1)})`;
    }
    switch (int(15)) {
      case 9:
      case 10:
        return `(${oddCondition(left, this.literal(left), this.#draw)})`;
      case 11:
        return oddCondition(left, this.literal(left), this.#draw);
      case 0:
        return `${left} IS NULL`;
      case 1:
        return `${left} IN (${this.literal(left)}, ${this.literal(left)})`;
      case 2:
        return `${left} BETWEEN ${this.literal()} AND ${this.literal()}`;
      case 3:
        return `NOT (${left} ${this.#operator()} ${this.literal(left)})`;
      case 4:
        return `${this.literal()} ${pick(["=", "<", ">"])} ${left}`;
      case 5:
        return `${left} ${this.#operator()} ${this.operand(otherAlias, otherTable)}`;
      case 6:
        return `coalesce(${left}, 'a') = ${this.literal()}`;
      case 7:
        return `${left} = ${this.literal()} COLLATE NOCASE`;
      case 8:
        return `CASE ${left} WHEN ${this.literal()} THEN 1 ELSE ${this.literal()} END`;
      default:
        return `${left} ${chance(0.8) ? "=" : "IS"} ${this.literal(left)}`;
    }
  }

  /** With its WHERE, or nothing. */
  conditions(aliases: Aliases): string {
    const { chance, int } = this.#draw;
    const count = int(3);
    if (count === 0) return "";
    const parts = Array.from({ length: count }, () => this.condition(aliases));
    return ` WHERE ${parts.join(chance(0.85) ? " AND " : " OR ")}`;
  }
}
