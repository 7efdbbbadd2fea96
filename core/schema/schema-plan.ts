/**
 * The statements that bring an open database to what the schema files say.
 *
 * A table grows: new tables, and new columns of tables that are there. Nothing that holds data is
 * dropped or changed. Indexes and views hold none and are dropped and made as the files say. Adding a
 * column changes no clock and no digest and sends nothing.
 *
 * @module
 */

import type { SqlDatabase } from "../database.ts";
import { lowerAscii } from "../row/row-state.ts";
import { parseTable } from "./definition.ts";
import type { PlannedSchema, PlannedTable, SchemaProblem } from "./schema.ts";
import { isWord, quoteName, type SqlToken, tokenize, tokensToText } from "./sql-token.ts";

export type SchemaPlan =
  | {
      readonly kind: "plan";
      /** To be run in this order, in one transaction. */
      readonly statements: readonly string[];
      /** Replicated tables that are new to replication; those that exist have rows to be taken in. */
      readonly adopted: readonly string[];
      /** Tables that have got columns. */
      readonly grown: readonly string[];
      /** Tables of which an index is made or dropped. */
      readonly reindexed: readonly string[];
      /** Where the database differs from the files and stays so. */
      readonly warnings: readonly SchemaProblem[];
    }
  | { readonly kind: "refused"; readonly problems: readonly SchemaProblem[] };

export function clockTableName(table: string): string {
  return `patina_clock_${table}`;
}

/** What the database has, by its name in ASCII lower case. */
type Existing = ReadonlyMap<
  string,
  {
    readonly type: string;
    /** Of an index or a trigger; in ASCII lower case. */
    readonly table: string;
    readonly sqlName: string;
    readonly sql: string;
  }
>;

/** Compares `database`, which is only read, with `schema`. */
export function planSchema(database: SqlDatabase, schema: PlannedSchema): SchemaPlan {
  const existing = readExisting(database);
  const problems: SchemaProblem[] = [];
  const { statements: tables, adopted, grown, warnings } = planTables(existing, schema, problems);
  checkLeftovers(existing, schema, problems);
  const { drops, objects, reindexed } = planObjects(existing, schema, problems);
  if (problems.length > 0) return { kind: "refused", problems };
  // Views go first: ALTER TABLE looks into them.
  const statements = [...drops, ...tables, ...objects];
  return { kind: "plan", statements, adopted, grown, reindexed, warnings };
}

function readExisting(database: SqlDatabase): Existing {
  const rows = database.all(
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql NOT NULL",
  );
  return new Map(
    rows.map(([type, name, table, sql]) => [
      lowerAscii(String(name)),
      {
        type: String(type),
        table: lowerAscii(String(table)),
        sqlName: String(name),
        sql: String(sql),
      },
    ]),
  );
}

/** Creates tables, and adds columns to those that are there. */
function planTables(
  existing: Existing,
  schema: PlannedSchema,
  problems: SchemaProblem[],
): { statements: string[]; adopted: string[]; grown: string[]; warnings: SchemaProblem[] } {
  const statements: string[] = [];
  const adopted: string[] = [];
  const grown: string[] = [];
  const warnings: SchemaProblem[] = [];
  for (const table of schema.tables.values()) {
    const said = (why: string): SchemaProblem => {
      return { file: table.file, line: table.line, why: `table ${table.name}: ${why}` };
    };
    const problem = (why: string): void => void problems.push(said(why));
    const there = existing.get(table.name);
    const hasClocks = existing.has(clockTableName(table.name));
    if (hasClocks && !table.replicated) {
      problem(
        "it is replicated in this database and can't become local: give the local table another name",
      );
    }
    if (table.replicated && !hasClocks) adopted.push(table.name);
    if (there === undefined) statements.push(table.sql);
    else if (there.type !== "table") problem(`the database has a ${there.type} of that name`);
    else {
      const { added, warning } = planColumns(table, there.sql, problem);
      if (added.length > 0) grown.push(table.name);
      statements.push(...added);
      if (warning !== undefined) warnings.push(said(warning));
    }
  }
  return { statements, adopted, grown, warnings };
}

/** What the database has that no schema file could say. */
function checkLeftovers(
  existing: Existing,
  schema: PlannedSchema,
  problems: SchemaProblem[],
): void {
  const clockTablePrefix = clockTableName("");
  for (const [name, there] of existing) {
    if (name.startsWith(clockTablePrefix) && there.type === "table") {
      const table = name.slice(clockTablePrefix.length);
      if (!schema.tables.has(table)) {
        problems.push(
          ofDatabase(
            `table ${table}: no schema file has it any more, and a replicated table can't be dropped: put it back`,
          ),
        );
      }
    }
    if (there.type === "trigger" && schema.tables.get(there.table)?.replicated === true) {
      problems.push(
        ofDatabase(
          `table ${there.table}: the database has a trigger ${name} on it, which a merge would run: drop it`,
        ),
      );
    }
  }
}

/** Indexes and views: those that differ are dropped and made anew. */
function planObjects(
  existing: Existing,
  schema: PlannedSchema,
  problems: SchemaProblem[],
): { drops: string[]; objects: string[]; reindexed: string[] } {
  const drops: string[] = [];
  const reindexed = new Set<string>();
  // Indexes before views: a Map keeps the order in which it was filled.
  const wanted = new Map(
    [...schema.indexes, ...schema.views].map((object) => [object.name, object]),
  );
  for (const [name, there] of existing) {
    if (there.type !== "index" && there.type !== "view") continue;
    if (there.type === "index" && !schema.tables.has(there.table)) continue;
    const object = wanted.get(name);
    const isSame = object?.kind === there.type && normalText(object.sql) === normalText(there.sql);
    if (isSame) wanted.delete(name);
    else {
      drops.push(`DROP ${there.type.toUpperCase()} ${quoteName(there.sqlName)}`);
      if (there.type === "index") reindexed.add(there.table);
    }
  }
  for (const { kind, name, table } of wanted.values()) {
    if (kind === "index") reindexed.add(table);
    if (existing.get(name)?.type === "table") {
      problems.push(ofDatabase(`${kind} ${name}: the database has a table of that name`));
    }
  }
  const objects = [...wanted.values()].map(({ sql }) => sql);
  return { drops, objects, reindexed: [...reindexed] };
}

/** A problem that stands in no file. */
function ofDatabase(why: string): SchemaProblem {
  return { file: "", line: 0, why };
}

/** `added`: ALTER TABLE statements for the columns that `table` has and the database, by its `sql`, lacks. */
function planColumns(
  table: PlannedTable,
  sql: string,
  problem: (why: string) => void,
): { readonly added: readonly string[]; readonly warning?: string } {
  const there = parseTable(sql, tokenize(sql));
  const wanted = parseTable(table.sql, tokenize(table.sql));
  if (there === undefined || wanted === undefined) {
    problem("the database has it in a form that Patina doesn't know");
    return { added: [] };
  }
  if (there.rest !== wanted.rest) {
    problem(
      "its constraints or options are not those that the database has, and they can't be changed",
    );
  }
  const added: string[] = [];
  const order = there.columns.map(({ name }) => name);
  const before = new Map(there.columns.map((column) => [column.name, column]));
  for (const column of wanted.columns) {
    const old = before.get(column.name);
    before.delete(column.name);
    if (old === undefined) {
      if (isStored(column.tokens)) {
        problem(
          `column ${column.name}: SQLite can't add a STORED generated column: make it VIRTUAL`,
        );
      }
      added.push(`ALTER TABLE ${quoteName(table.sqlName)} ADD COLUMN ${column.sql}`);
      order.push(column.name);
    } else if (old.text !== column.text) {
      problem(
        `column ${column.name} can't be changed: the database has ${old.sql}, the file ${column.sql}`,
      );
    }
  }
  for (const column of before.keys()) {
    problem(`column ${column} can't be dropped: put it back, other nodes may still write it`);
  }
  const isSameOrder = wanted.columns.every(({ name }, at) => name === order[at]);
  return isSameOrder ? { added } : { added, warning: otherOrderText(order) };
}

/** SQLite adds columns at the end. A host that makes the table anew has the order of the file. */
function otherOrderText(order: readonly string[]): string {
  return `its columns are here in the order ${order.join(", ")}, and not in the file's as on a host that starts empty: name them in INSERT and SELECT, and write new ones last`;
}

function isStored(tokens: readonly SqlToken[]): boolean {
  return tokens.some(isWord("as")) && tokens.some(isWord("stored"));
}

/** IF NOT EXISTS is not kept by SQLite. */
function normalText(sql: string): string {
  return tokensToText(tokenize(sql)).replace(
    /^create (table|index|unique index|view) if not exists /,
    "create $1 ",
  );
}
