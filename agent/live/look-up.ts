/**
 * Finds what became of a live query's results by the rows that changed, without running the whole query.
 *
 * Of a *keyed* query (`keyed-query.ts`), the results of each changed row are asked for, beside those that are held of
 * it. A row on the right of a LEFT JOIN says little by itself: there the keys of the first table are found in
 * whose results it stands, or stood, and the results of these are asked for. Of a *grouped* query
 * (`grouped-plan.ts`), the groups that the row was in and is in.
 *
 * @module
 */

import { decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { Statement } from "../../wasm/statement.ts";
import type { GroupedPlan } from "./grouped-plan.ts";
import { stepUnclocked } from "./plan/changing-functions.ts";
import type { KeyedSource } from "./plan/keyed-group.ts";
import { bindValues, forEachRow, type RowShape } from "./read-row.ts";
import { keySeparator, keyText, parseKeyText } from "./rows/key-text.ts";
import type { PackedRows } from "./rows/packed-rows.ts";
import type { ChangedRow, TableChanges } from "./table-changes.ts";

/** Cells of the results that there are now, by identity. Empty: none any more. */
export type FreshResults = ReadonlyMap<string, readonly string[]>;

/** Above this many changed rows, or a quarter of those held, running the whole query is cheaper. */
const lookupsMax = 1000;
const lookupsAlways = 8;

/** @param rows that changed @param held of the query's results */
export function areFew(rows: number, held: number): boolean {
  return rows <= lookupsAlways || (rows <= lookupsMax && rows * 4 < held);
}

/** One run of it. */
export class KeyedLookUp {
  readonly #sources: readonly KeyedSource[];
  readonly #values: readonly (string | number)[];
  readonly #shape: RowShape;
  readonly #held: PackedRows;
  readonly #fresh = new Map<string, string[]>();

  /** @param values of the sources' first parameters; the last ones are a key */
  constructor(
    sources: readonly KeyedSource[],
    values: readonly (string | number)[],
    shape: RowShape,
    held: PackedRows,
  ) {
    this.#sources = sources;
    this.#values = values;
    this.#shape = shape;
    this.#held = held;
  }

  /**
   * @param changes with their rows
   * @returns undefined: that can't be told so, or not cheaply
   * @throws SqliteError, NotUtf8Error
   */
  resultsOf(changes: TableChanges): FreshResults | undefined {
    /** Of the first table, by their text. */
    const leftKeys = new Map<string, readonly SqlValue[]>();
    for (const [place, source] of this.#sources.entries()) {
      for (const { key } of (changes.get(source.table) ?? []) as readonly ChangedRow[]) {
        const parts = decodeKey(key);
        if (parts === undefined || parts.length !== source.keyColumns) continue;
        if (source.one !== undefined) this.#lookUpKey(place, parts);
        else if (!this.#findLeftKeys(place, parts, leftKeys)) return undefined;
      }
    }
    if (!areFew(leftKeys.size, this.#held.count)) return undefined;
    for (const parts of leftKeys.values()) this.#lookUpKey(0, parts);
    return this.#fresh;
  }

  /** All results of one row, those that are held and those that there are. */
  #lookUpKey(place: number, parts: readonly SqlValue[]): void {
    const { one } = this.#sources[place] as KeyedSource;
    if (one === undefined) return;
    for (const identity of this.#held.identitiesOf(place, keyText(parts))) {
      if (!this.#fresh.has(identity)) this.#fresh.set(identity, []);
    }
    this.#bind(one, parts);
    // A key that its column's affinity would change finds another row, which is what it is.
    forEachRow(one, this.#shape, ({ identity, cells }) => this.#fresh.set(identity, [cells]));
  }

  /**
   * Keys of the first table in whose results a row on the right of a LEFT JOIN stands, or stood.
   *
   * @returns false when they can't be named
   */
  #findLeftKeys(
    place: number,
    parts: readonly SqlValue[],
    keys: Map<string, readonly SqlValue[]>,
  ): boolean {
    const { left } = this.#sources[place] as KeyedSource;
    if (left === undefined) return false;
    for (const identity of this.#held.identitiesOf(place, keyText(parts))) {
      const [text] = identity.split(keySeparator) as [string];
      if (keys.has(text)) continue;
      const key = parseKeyText(text);
      if (key === undefined) return false;
      keys.set(text, key);
    }
    this.#bind(left, parts);
    try {
      while (stepUnclocked(left)) {
        const key = Array.from({ length: left.columnCount }, (_, n) => left.column(n));
        keys.set(keyText(key), key);
      }
    } finally {
      left.reset();
    }
    return true;
  }

  #bind(statement: Statement, key: readonly SqlValue[]): void {
    bindValues(statement, this.#values);
    for (const [n, part] of key.entries()) statement.bind(this.#values.length + n + 1, part);
  }
}

/**
 * @param changes with their rows
 * @returns undefined: it isn't known which groups one of them was in
 * @throws SqliteError, NotUtf8Error
 */
export function groupResults(
  grouped: GroupedPlan,
  shape: RowShape,
  changes: TableChanges,
): FreshResults | undefined {
  const { one, table } = grouped;
  const fresh = new Map<string, string[]>();
  for (const row of (changes.get(table) ?? []) as readonly ChangedRow[]) {
    const groups = grouped.groupsOf(row);
    if (groups === undefined) return undefined;
    for (const values of groups) {
      const group = keyText(values);
      if (fresh.has(group)) continue;
      fresh.set(group, []);
      for (const [i, value] of values.entries()) one.bind(i + 1, value);
      forEachRow(one, shape, ({ identity, cells }) => fresh.set(identity, [cells]));
    }
  }
  return fresh;
}
