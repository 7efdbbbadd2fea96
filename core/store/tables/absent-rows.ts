/**
 * Rows that are held and stand in no table: tombstones, rows of tables that this schema lacks, and rows whose key a
 * column would change. They share one table, `patina_absent`, and all their values are held.
 *
 * A scan comes to them after the last table, in the order of their tables' names and of their keys. The place of one is:
 * text table name, then the key's bytes to the end.
 *
 * @module
 */

import { ByteReader } from "../../bytes/reader.ts";
import { utf8Decode } from "../../bytes/utf8.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import type { SqlDatabase, SqlStatement } from "../../database.ts";
import { compareBytes } from "../../row/value.ts";
import type { Ordinals } from "../clocks/clock-blob.ts";
import { decodeHeldRow, encodeClocks, encodeHeld, type HeldRow } from "./held-row.ts";

/** What {@link AbsentRows.each} has in the columns of its statement. */
export const absentColumns = { table: 0, key: 1, clock: 2, held: 3 } as const;

export class AbsentRows implements Disposable {
  readonly #database: SqlDatabase;
  readonly #ordinals: Ordinals;
  /** Tables that may have rows here. */
  readonly #tables: Set<string>;
  readonly #find: SqlStatement;
  readonly #put: SqlStatement;
  readonly #remove: SqlStatement;
  readonly #scan: SqlStatement;

  constructor(database: SqlDatabase, ordinals: Ordinals) {
    this.#database = database;
    this.#ordinals = ordinals;
    this.#tables = readTables(database);
    this.#find = database.prepare(
      "SELECT clock, held FROM patina_absent WHERE tbl = ? AND key = ?",
    );
    this.#put = database.prepare(
      "INSERT OR REPLACE INTO patina_absent (tbl, key, clock, held) VALUES (?, ?, ?, ?)",
    );
    this.#remove = database.prepare("DELETE FROM patina_absent WHERE tbl = ? AND key = ?");
    this.#scan = database.prepare(
      "SELECT tbl, key, clock, held FROM patina_absent WHERE (tbl, key) > (?1, ?2) ORDER BY tbl, key LIMIT ?3",
    );
  }

  [Symbol.dispose](): void {
    this.#find[Symbol.dispose]();
    this.#put[Symbol.dispose]();
    this.#remove[Symbol.dispose]();
    this.#scan[Symbol.dispose]();
  }

  /** Undefined: there is none. `held` undefined: its clocks are damaged. */
  find(table: string, key: Uint8Array): { readonly held: HeldRow | undefined } | undefined {
    if (!this.#stepTo(table, key)) return undefined;
    const clock = this.#find.column(0) as Uint8Array;
    const held = this.#find.column(1) as Uint8Array | null;
    this.#find.reset();
    return { held: decodeHeldRow(clock, held, this.#ordinals) };
  }

  has(table: string, key: Uint8Array): boolean {
    const has = this.#stepTo(table, key);
    if (has) this.#find.reset();
    return has;
  }

  #stepTo(table: string, key: Uint8Array): boolean {
    if (!this.#tables.has(table)) return false;
    this.#find.bind(1, table);
    this.#find.bind(2, key);
    return this.#find.step();
  }

  /** All keys that a table has here. */
  keysOf(table: string): Uint8Array[] {
    return this.#database
      .all("SELECT key FROM patina_absent WHERE tbl = ?", table)
      .map(([key]) => key as Uint8Array);
  }

  /** All cells of `row` must be held. */
  put(table: string, key: Uint8Array, row: HeldRow): void {
    const statement = this.#put;
    statement.bind(1, table);
    statement.bind(2, key);
    statement.bind(3, encodeClocks(row, this.#ordinals));
    statement.bind(4, encodeHeld(row));
    statement.step();
    statement.reset();
    // Stays where the transaction is rolled back: then look-ups find nothing.
    this.#tables.add(table);
  }

  remove(table: string, key: Uint8Array): void {
    this.#remove.bind(1, table);
    this.#remove.bind(2, key);
    this.#remove.step();
    this.#remove.reset();
  }

  /**
   * Goes through up to `rowsMax` rows behind a place.
   *
   * @param visit The statement stands on a row, as {@link absentColumns} say.
   * @returns `after` of the last row, if there may be more
   */
  each(
    after: Uint8Array | null,
    rowsMax: number,
    visit: (statement: SqlStatement) => void,
  ): { readonly after: Uint8Array | null; readonly count: number } {
    const statement = this.#scan;
    // Before every name and key: no table is called "".
    const from = after === null ? { table: "", key: new Uint8Array(0) } : decodeAbsentPlace(after);
    statement.bind(1, from.table);
    statement.bind(2, from.key);
    statement.bind(3, rowsMax);
    let last = after;
    let count = 0;
    try {
      while (statement.step()) {
        visit(statement);
        if (++count === rowsMax) last = absentPlaceAt(statement);
      }
    } finally {
      statement.reset();
    }
    return { after: last, count };
  }
}

/** Of the row on which the statement of {@link AbsentRows.each} stands. */
export function absentPlaceAt(statement: SqlStatement): Uint8Array {
  const { table, key } = absentColumns;
  return encodeAbsentPlace(statement.column(table) as string, statement.column(key) as Uint8Array);
}

export function encodeAbsentPlace(table: string, key: Uint8Array): Uint8Array {
  const writer = new ByteWriter(64);
  writer.text(table);
  writer.bytes(key);
  return writer.finish();
}

export function decodeAbsentPlace(place: Uint8Array): {
  readonly table: string;
  readonly key: Uint8Array;
} {
  const { name, key } = splitPlace(place);
  return { table: utf8Decode(name) ?? "", key };
}

/** As SQLite orders them. */
export function compareAbsentPlaces(a: Uint8Array, b: Uint8Array): number {
  const left = splitPlace(a);
  const right = splitPlace(b);
  return compareBytes(left.name, right.name) || compareBytes(left.key, right.key);
}

function splitPlace(place: Uint8Array): { readonly name: Uint8Array; readonly key: Uint8Array } {
  const reader = new ByteReader(place);
  const name = reader.blob("table", place.length);
  return { name, key: reader.bytes(reader.left, "key") };
}

/** Each name costs one look-up, however many tombstones there are. */
function readTables(database: SqlDatabase): Set<string> {
  const names = new Set<string>();
  let name = database.all("SELECT min(tbl) FROM patina_absent")[0]?.[0];
  while (typeof name === "string") {
    names.add(name);
    name = database.all("SELECT min(tbl) FROM patina_absent WHERE tbl > ?", name)[0]?.[0];
  }
  return names;
}
