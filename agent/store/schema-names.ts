/**
 * What the HTTP side asks of the schema, which may become another.
 *
 * @module
 */

import type { PlannedSchema } from "../../core/schema/schema.ts";

export class SchemaNames {
  #keys = new Map<string, readonly string[]>();
  #replicated = new Set<string>();

  constructor(schema: PlannedSchema) {
    this.use(schema);
  }

  use(schema: PlannedSchema): void {
    this.#keys = new Map([["patina_members", ["node"]]]);
    this.#replicated = new Set();
    for (const { name, keyColumns, replicated } of schema.tables.values()) {
      this.#keys.set(
        name,
        keyColumns.map((column) => column.name),
      );
      if (replicated) this.#replicated.add(name);
    }
  }

  /** In the order of the primary key; undefined for a table that has none. */
  readonly keyColumnsOf = (table: string): readonly string[] | undefined => this.#keys.get(table);

  readonly isReplicated = (table: string): boolean => this.#replicated.has(table);
}
