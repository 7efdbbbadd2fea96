/**
 * What the schema files say, checked: the tables that a node has, and how each is replicated.
 *
 * Names of tables and columns are in ASCII lower case, as they are stored and sent; `sqlName` is what
 * the file wrote, which SQLite shows.
 *
 * @module
 */

import type { TableShape } from "../change/hello.ts";
import type { SqlValue } from "../row/value.ts";
import type { Affinity } from "./affinity.ts";

/** A file of `[schema] paths`. */
export interface SchemaFile {
  /** As the user wrote it; stands in messages. */
  readonly name: string;
  readonly text: string;
}

/** `[tables.NAME]` of the config. */
export interface TableRules {
  /** False keeps the table on this node. Default true. */
  readonly replicated?: boolean;
  /** A predicate over the new row; rows for which it holds, and deletes, travel in the urgent lane. */
  readonly urgent?: string;
}

export interface PlannedColumn {
  readonly name: string;
  readonly sqlName: string;
  /** As declared, "" for none. */
  readonly type: string;
  readonly affinity: Affinity;
  readonly notNull: boolean;
  /** The default as SQL text; null for none. */
  readonly defaultText: string | null;
  /** What the column shows where nothing was written: the default as this column stores it. */
  readonly defaultValue: SqlValue;
  /** Position in the primary key from 1, or 0. */
  readonly key: number;
  /** Computed by SQLite and never replicated. */
  readonly generated: boolean;
}

export interface PlannedTable {
  readonly name: string;
  readonly sqlName: string;
  /** In the order of the file. */
  readonly columns: readonly PlannedColumn[];
  /** In the order of the primary key. */
  readonly keyColumns: readonly PlannedColumn[];
  /** Neither key nor generated: what has cell clocks. Ascending by name. */
  readonly valueColumns: readonly PlannedColumn[];
  readonly withoutRowid: boolean;
  /** The key is an INTEGER PRIMARY KEY, another name of the rowid. */
  readonly rowidAlias: boolean;
  /** A name of the rowid that no column has taken; "" for WITHOUT ROWID. */
  readonly rowidName: string;
  readonly replicated: boolean;
  /** Null without a rule. */
  readonly urgent: string | null;
  /** Value columns that the rule reads, itself or through a generated column. Ascending. */
  readonly urgentColumns: readonly string[];
  /** It has a CHECK constraint, which merge must be able to ignore. */
  readonly hasCheck: boolean;
  /** Its CREATE TABLE statement. */
  readonly sql: string;
  readonly file: string;
  readonly line: number;
}

export interface PlannedObject {
  readonly kind: "index" | "view";
  readonly name: string;
  /** Table of an index, in ASCII lower case; "" for a view. */
  readonly table: string;
  readonly sql: string;
}

export interface PlannedSchema {
  readonly tables: ReadonlyMap<string, PlannedTable>;
  readonly indexes: readonly PlannedObject[];
  readonly views: readonly PlannedObject[];
  /** The replicated tables as the hello tells them, ascending by name. */
  readonly shapes: readonly TableShape[];
  /** Allowed, but the user should know. */
  readonly warnings: readonly SchemaProblem[];
}

export interface SchemaProblem {
  /** "" when no file says it (a config rule, the open database). */
  readonly file: string;
  /** From 1; 0 when unknown. */
  readonly line: number;
  /** What is wrong and what to do. */
  readonly why: string;
}

/** `schema.sql:12: why` */
export function problemToText(problem: SchemaProblem): string {
  const { file, line, why } = problem;
  if (file === "") return why;
  return line === 0 ? `${file}: ${why}` : `${file}:${line}: ${why}`;
}
