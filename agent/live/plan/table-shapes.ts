/**
 * What of a schema a query depends on: its tables with their indexes and keys, and all views. A query whose tables
 * are as they were means what it meant, and has the rows that it had.
 *
 * Rows that were held for want of a column or of a table's replication are shown while the schema changes, and
 * nobody is told of them. They are rows of tables that have become others in this sense.
 *
 * @module
 */

import { lowerAscii } from "../../../core/row/row-state.ts";
import type { Database } from "../../../wasm/database.ts";

export interface TableShapesOptions {
  readonly database: Database;
  readonly keyColumnsOf: (table: string) => readonly string[] | undefined;
  readonly isReplicated: (table: string) => boolean;
}

export class TableShapes {
  readonly #options: TableShapesOptions;
  /** By table, in ASCII lower case; all views are one. */
  #shapes: ReadonlyMap<string, string>;

  constructor(options: TableShapesOptions) {
    this.#options = options;
    this.#shapes = this.#read();
  }

  /**
   * The schema may be another.
   *
   * @returns tells which tables are others than when this was asked last, by name in ASCII lower case
   */
  changed(): (table: string) => boolean {
    const before = this.#shapes;
    const now = this.#read();
    this.#shapes = now;
    if (before.get(views) !== now.get(views)) return () => true;
    return (table) => before.get(table) !== now.get(table);
  }

  #read(): Map<string, string> {
    const { database, keyColumnsOf, isReplicated } = this.#options;
    const shapes = new Map<string, string>();
    const add = (name: string, part: readonly unknown[]): void => {
      const before = shapes.get(name) ?? JSON.stringify([keyColumnsOf(name), isReplicated(name)]);
      shapes.set(name, before + JSON.stringify(part));
    };
    const rows = database.all(
      "SELECT type, tbl_name, name, rootpage, sql FROM main.sqlite_schema ORDER BY type, name",
    );
    for (const [type, table, name, page, sql] of rows) {
      add(type === "view" ? views : lowerAscii(String(table)), [name, String(page), sql]);
    }
    return shapes;
  }
}

/** No table's name: SQLite refuses a name that begins so. */
const views = "sqlite_view";
