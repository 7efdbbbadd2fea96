/**
 * What the HTTP side asks of the schema, which may become another.
 *
 * @module
 */

import type { PlannedSchema, PlannedTable } from "../../core/schema/schema.ts";

export class SchemaNames {
  #keys = new Map<string, readonly string[]>();
  #replicated = new Set<string>();
  #urgent = new Map<string, readonly string[]>();

  constructor(schema: PlannedSchema) {
    this.use(schema);
  }

  use(schema: PlannedSchema): void {
    this.#keys = new Map([["patina_members", ["node"]]]);
    this.#replicated = new Set();
    this.#urgent = new Map();
    for (const table of schema.tables.values()) {
      const { name, keyColumns, replicated } = table;
      const columns = keyColumns.map((column) => column.name);
      if (namesRows(table)) this.#keys.set(name, columns);
      if (replicated) this.#replicated.add(name);
      if (table.urgent !== null) this.#urgent.set(name, table.urgentColumns);
    }
  }

  /** In the order of the primary key; undefined for a table that has none, or one that several rows may share. */
  readonly keyColumnsOf = (table: string): readonly string[] | undefined => this.#keys.get(table);

  /** That the table's rule of what is urgent reads; undefined where there is no rule. */
  readonly urgentColumnsOf = (table: string): readonly string[] | undefined =>
    this.#urgent.get(table);

  readonly isReplicated = (table: string): boolean => this.#replicated.has(table);
}

/** A key that may be NULL (of local tables alone) may be so in several rows. */
function namesRows({ keyColumns, rowidAlias, withoutRowid }: PlannedTable): boolean {
  return rowidAlias || withoutRowid || keyColumns.every(({ notNull }) => notNull);
}
