/**
 * What SQLite understood of the schema files: asked of a scratch database in which it has run them.
 *
 * @module
 */

import { assert } from "../assert.ts";
import type { SqlDatabase } from "../database.ts";
import { lowerAscii } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import type { Affinity } from "./affinity.ts";
import { isLiteral } from "./expression.ts";
import { quoteName, tokenize } from "./sql-token.ts";

/** Row of `pragma table_list`. */
export interface TableOptions {
  readonly sqlName: string;
  readonly withoutRowid: boolean;
  readonly isStrict: boolean;
}

/** Column of `pragma table_xinfo`. */
export interface ColumnInfo {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
  readonly default: string | null;
  /** Position in the primary key from 1, or 0. */
  readonly key: number;
  readonly generated: boolean;
}

/** Row of `pragma index_list`. */
export interface IndexInfo {
  readonly name: string;
  readonly isUnique: boolean;
  /** What made it: the PRIMARY KEY, a UNIQUE of the table, or CREATE INDEX. */
  readonly origin: "pk" | "u" | "c";
}

export class ScratchTables {
  readonly #scratch: SqlDatabase;
  /** By table name: asked for once, for SQLite goes through all tables. */
  readonly #options: ReadonlyMap<string, TableOptions>;
  /** What columns show by default, by affinity and text: most have one of a few. */
  readonly #defaults = new Map<string, SqlValue>();

  /** @param scratch in which all statements have run */
  constructor(scratch: SqlDatabase) {
    this.#scratch = scratch;
    const rows = scratch.all(
      "SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main'",
    );
    this.#options = new Map(
      rows.map(([name, withoutRowid, strict]) => [
        lowerAscii(String(name)),
        { sqlName: String(name), withoutRowid: withoutRowid === 1, isStrict: strict === 1 },
      ]),
    );
  }

  /** @param table that SQLite has made, in ASCII lower case */
  options(table: string): TableOptions {
    const options = this.#options.get(table);
    assert(options !== undefined, `a table that SQLite has made, got ${table}`);
    return options;
  }

  columns(sqlName: string): ColumnInfo[] {
    const rows = this.#scratch.all(
      'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)',
      sqlName,
    );
    return rows.map(([name, type, notNull, fallback, key, hidden]) => ({
      name: String(name),
      type: String(type),
      notNull: notNull === 1,
      default: fallback === null || fallback === undefined ? null : String(fallback),
      key: Number(key),
      // 2: VIRTUAL, 3: STORED.
      generated: hidden === 2 || hidden === 3,
    }));
  }

  indexes(sqlName: string): IndexInfo[] {
    const rows = this.#scratch.all(
      'SELECT name, "unique", origin FROM pragma_index_list(?)',
      sqlName,
    );
    return rows.map(([name, unique, origin]) => ({
      name: String(name),
      isUnique: unique === 1,
      origin: String(origin) as IndexInfo["origin"],
    }));
  }

  /** Of an index: its columns, in ASCII lower case, and their collations. */
  collationsOf(index: string): [column: string, collation: string][] {
    const rows = this.#scratch.all(
      "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1",
      index,
    );
    return rows.map(([name, collation]) => [lowerAscii(String(name)), String(collation)]);
  }

  /** What a column compares by where nothing else is said. */
  collationOf(sqlName: string, column: string): string {
    const probe = "patina_probe";
    this.#scratch.exec(`CREATE INDEX ${probe} ON ${quoteName(sqlName)} (${quoteName(column)})`);
    const [found] = this.collationsOf(probe);
    this.#scratch.exec(`DROP INDEX ${probe}`);
    return found?.[1] ?? "BINARY";
  }

  foreignKeyCount(sqlName: string): number {
    const [row] = this.#scratch.all("SELECT count(*) FROM pragma_foreign_key_list(?)", sqlName);
    return Number(row?.[0]);
  }

  /** The table of each index, both in ASCII lower case. */
  tableByIndex(): Map<string, string> {
    const rows = this.#scratch.all("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'");
    return new Map(
      rows.map(([name, table]) => [lowerAscii(String(name)), lowerAscii(String(table))]),
    );
  }

  /** What a column of this affinity shows when a row is inserted without it. NULL for a `text` that is no literal. */
  defaultValue(affinity: Affinity, text: string | null): SqlValue {
    if (text === null || !isLiteral(tokenize(text))) return null;
    const name = `${affinity} ${text}`;
    const known = this.#defaults.get(name);
    if (known !== undefined) return known;
    const probe = "patina_probe";
    this.#scratch.exec(`CREATE TABLE ${probe} (value ${affinity} DEFAULT ${text})`);
    this.#scratch.exec(`INSERT INTO ${probe} DEFAULT VALUES`);
    const [row] = this.#scratch.all(`SELECT value FROM ${probe}`);
    this.#scratch.exec(`DROP TABLE ${probe}`);
    const value = row?.[0] ?? null;
    this.#defaults.set(name, value);
    return value;
  }
}
