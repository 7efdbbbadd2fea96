/**
 * What was said of a row, and what everybody who heard the same has to hold: the law of small scopes, worked out apart
 * from the core.
 *
 * Whatever a host knows is a set of what was said. The row that follows from it has the clock of the latest insert or
 * delete among them; and of each column the latest value, unless that is older than the clock.
 *
 * @module
 */

import { compareStamps, type Stamp } from "../../core/clock/stamp.ts";
import type { RowState } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";

export type Column = "status" | "weight";
export const columns: readonly Column[] = ["status", "weight"];
/** A row as SQL shows it; undefined where there is none. */
export type Shown = Readonly<Record<Column, SqlValue>> | undefined;

/** What one commit said of one row. */
export interface Said {
  /** As the host gave it, or gave it anew. */
  stamp: Stamp;
  readonly row: number;
  /** Undefined: an update. */
  readonly life: "insert" | "delete" | undefined;
  /** After it. */
  readonly cl: number;
  readonly values: ReadonlyMap<Column, SqlValue>;
  /** The clock was right, and still stamped what it had stamped when it was far ahead. */
  readonly isLate: boolean;
}

/** Some of what was said, by its number. */
export type Known = ReadonlySet<number>;

/** The row state of those who know this; undefined: nothing was heard of the row. */
export function rowOf(
  row: number,
  known: Known,
  said: readonly Said[],
): Pick<RowState, "clock" | "cells"> | undefined {
  const ofRow = [...known].map((i) => said[i] as Said).filter((one) => one.row === row);
  let life: Said | undefined;
  for (const one of ofRow) {
    if (one.life !== undefined && (life === undefined || isLater(one, life))) life = one;
  }
  if (life === undefined) return undefined;
  const cells = columns.flatMap((column) => {
    let latest: Said | undefined;
    for (const one of ofRow) {
      if (!one.values.has(column)) continue;
      if (latest === undefined || isLater(one, latest)) latest = one;
    }
    if (latest === undefined || isLater(life, latest)) return [];
    return [{ column, stamp: latest.stamp, value: latest.values.get(column) as SqlValue }];
  });
  return { clock: { ...life.stamp, cl: life.cl }, cells };
}

export function shownOf(row: ReturnType<typeof rowOf>, of: readonly Column[]): Shown {
  if (row === undefined || row.clock.cl % 2 === 0) return undefined;
  const value = (column: Column): SqlValue =>
    of.includes(column) ? (row.cells.find((cell) => cell.column === column)?.value ?? null) : null;
  return { status: value("status"), weight: value("weight") };
}

function isLater(one: Said, other: Said): boolean {
  return compareStamps(one.stamp, other.stamp) > 0;
}
