/**
 * The statements of small scopes: what SQL they are, and what they do to a row by the meaning of SQL.
 *
 * @module
 */

import type { SqlValue } from "../../core/row/value.ts";
import { type Column, columns, type Shown } from "./said.ts";

/** A status that makes the row less eligible: the table's urgent rule, and what counts when it is said again. */
export const urgentRule = "status IS NOT 'up'";
export const ruleColumns: readonly Column[] = ["status"];

export function isUrgent(row: NonNullable<Shown>): boolean {
  return row.status !== "up";
}

/** One transaction on one row. */
export interface Statement {
  readonly name: string;
  /** `?` is the key. */
  readonly sql: readonly string[];
  /** What an UPDATE, or an upsert that updates, sets by name. */
  readonly names: readonly Column[];
  /** Columns that it can't do without. */
  readonly needs: readonly Column[];
  /** The row is taken away first, and so named as a whole if it stands there again. */
  readonly isWhole: boolean;
  readonly after: (before: Shown) => Shown;
}

function statement(
  name: string,
  sql: readonly string[],
  names: readonly Column[],
  after: (before: Shown) => Shown,
  isWhole = false,
): Statement {
  const needs = columns.filter((column) => sql.some((one) => one.includes(column)));
  return { name, sql, names, needs, isWhole, after };
}

const set =
  (values: Partial<Record<Column, SqlValue>>) =>
  (before: Shown): Shown =>
    before && { ...before, ...values };

/** Whatever a client says of an instance. */
export const statements: readonly Statement[] = [
  statement(
    "insert up if absent",
    ["INSERT OR IGNORE INTO t (k, status, weight) VALUES (?, 'up', 1)"],
    [],
    (before) => before ?? { status: "up", weight: 1 },
  ),
  statement("up", ["UPDATE t SET status = 'up' WHERE k = ?"], ["status"], set({ status: "up" })),
  statement(
    "down",
    ["UPDATE t SET status = 'down' WHERE k = ?"],
    ["status"],
    set({ status: "down" }),
  ),
  statement("weight", ["UPDATE t SET weight = 2 WHERE k = ?"], ["weight"], set({ weight: 2 })),
  statement("delete", ["DELETE FROM t WHERE k = ?"], [], () => undefined),
  statement(
    "replace by down",
    ["REPLACE INTO t (k, status) VALUES (?, 'down')"],
    [],
    () => ({ status: "down", weight: null }),
    true,
  ),
  statement(
    "upsert down",
    [
      "INSERT INTO t (k, status) VALUES (?, 'down') ON CONFLICT (k) DO UPDATE SET status = excluded.status",
    ],
    ["status"],
    (before) => ({ weight: null, ...before, status: "down" }),
  ),
  statement(
    "upsert weight, up if absent",
    [
      "INSERT INTO t (k, status, weight) VALUES (?, 'up', 3) ON CONFLICT (k) DO UPDATE SET weight = excluded.weight",
    ],
    ["weight"],
    (before) => ({ status: "up", ...before, weight: 3 }),
  ),
  statement(
    "delete and insert up",
    ["DELETE FROM t WHERE k = ?", "INSERT INTO t (k, status) VALUES (?, 'up')"],
    [],
    () => ({ status: "up", weight: null }),
    true,
  ),
];

/** What it says of the row; undefined: nothing. */
export function saidBy(
  { names, isWhole, after }: Pick<Statement, "names" | "isWhole" | "after">,
  before: Shown,
  known: readonly Column[],
):
  | {
      readonly life: "insert" | "delete" | undefined;
      readonly values: ReadonlyMap<Column, SqlValue>;
      readonly row: Shown;
      /** Columns that are said again. */
      readonly renewed: readonly Column[];
    }
  | undefined {
  const row = after(before);
  if (row === undefined) {
    return before && { life: "delete", values: new Map(), row, renewed: [] };
  }
  if (before === undefined) {
    const values = new Map(known.map((column) => [column, row[column]]));
    return { life: "insert", values, row, renewed: [] };
  }
  const named = isWhole ? columns : names;
  const renewed = named.filter((column) => ruleColumns.includes(column) && isUrgent(row));
  const said = known.filter((column) => row[column] !== before[column] || renewed.includes(column));
  if (said.length === 0) return undefined;
  return { life: undefined, values: new Map(said.map((c) => [c, row[c]])), row, renewed };
}
