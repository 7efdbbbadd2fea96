/**
 * The statements that bring an open database to what the schema files say.
 *
 * A table grows: new tables, and new columns of tables that are there. Nothing that holds data is
 * dropped or changed. Indexes and views hold none and are dropped and made as the files say. Adding a
 * column changes no clock and no digest and sends nothing.
 *
 * @module
 */

import { lowerAscii } from "../row/row-state.ts";
import type { SqlDatabase } from "../store/database.ts";
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
    }
  | { readonly kind: "refused"; readonly problems: readonly SchemaProblem[] };

export function clockTableName(table: string): string {
  return `patina_clock_${table}`;
}

/** Compares `database`, which is only read, with `schema`. */
export function planSchema(database: SqlDatabase, schema: PlannedSchema): SchemaPlan {
  const problems: SchemaProblem[] = [];
  const current = new Map<string, { type: string; table: string; sqlName: string; sql: string }>();
  const rows = database.all(
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql NOT NULL",
  );
  for (const [type, name, table, sql] of rows) {
    current.set(lowerAscii(String(name)), {
      type: String(type),
      table: lowerAscii(String(table)),
      sqlName: String(name),
      sql: String(sql),
    });
  }
  const drops: string[] = [];
  const tables: string[] = [];
  const objects: string[] = [];
  const adopted: string[] = [];
  const grown: string[] = [];

  for (const table of schema.tables.values()) {
    const problem = (why: string): void => {
      problems.push({ file: table.file, line: table.line, why: `table ${table.name}: ${why}` });
    };
    const there = current.get(table.name);
    const hasClocks = current.has(clockTableName(table.name));
    if (hasClocks && !table.replicated) {
      problem(
        "it is replicated in this database and can't become local: give the local table another name",
      );
    }
    if (table.replicated && !hasClocks) adopted.push(table.name);
    if (there === undefined) {
      tables.push(table.sql);
      continue;
    }
    if (there.type !== "table") {
      problem(`the database has a ${there.type} of that name`);
      continue;
    }
    const added = planColumns(table, there.sql, problem);
    if (added.length > 0) grown.push(table.name);
    tables.push(...added);
  }
  for (const [name, there] of current) {
    if (name.startsWith("patina_clock_") && there.type === "table") {
      const table = name.slice("patina_clock_".length);
      if (!schema.tables.has(table)) {
        problems.push({
          file: "",
          line: 0,
          why: `table ${table}: no schema file has it any more, and a replicated table can't be dropped: put it back`,
        });
      }
    }
    if (there.type === "trigger" && schema.tables.get(there.table)?.replicated === true) {
      problems.push({
        file: "",
        line: 0,
        why: `table ${there.table}: the database has a trigger ${name} on it, which a merge would run: drop it`,
      });
    }
  }

  const wanted = new Map(
    [...schema.indexes, ...schema.views].map((object) => [object.name, object]),
  );
  for (const [name, there] of current) {
    if (there.type !== "index" && there.type !== "view") continue;
    if (name.startsWith("patina_") || (there.type === "index" && !schema.tables.has(there.table)))
      continue;
    const object = wanted.get(name);
    if (object?.kind === there.type && normalText(object.sql) === normalText(there.sql)) {
      wanted.delete(name);
    } else drops.push(`DROP ${there.type.toUpperCase()} ${quoteName(there.sqlName)}`);
  }
  // Indexes before views: a Map keeps the order in which it was filled.
  for (const object of wanted.values()) {
    const there = current.get(object.name);
    if (there?.type === "table") {
      problems.push({
        file: "",
        line: 0,
        why: `${object.kind} ${object.name}: the database has a table of that name`,
      });
    }
    objects.push(object.sql);
  }
  if (problems.length > 0) return { kind: "refused", problems };
  // Views go first: ALTER TABLE looks into them.
  return { kind: "plan", statements: [...drops, ...tables, ...objects], adopted, grown };
}

/** ALTER TABLE statements for the columns that `table` has and the database, by its `sql`, lacks. */
function planColumns(table: PlannedTable, sql: string, problem: (why: string) => void): string[] {
  const there = parseTable(sql, tokenize(sql));
  const wanted = parseTable(table.sql, tokenize(table.sql));
  if (there === undefined || wanted === undefined) {
    problem("the database has it in a form that Patina doesn't know");
    return [];
  }
  if (there.rest !== wanted.rest) {
    problem(
      "its constraints or options are not those that the database has, and they can't be changed",
    );
  }
  const statements: string[] = [];
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
      statements.push(`ALTER TABLE ${quoteName(table.sqlName)} ADD COLUMN ${column.sql}`);
    } else if (old.text !== column.text) {
      problem(
        `column ${column.name} can't be changed: the database has ${old.sql}, the file ${column.sql}`,
      );
    }
  }
  for (const column of before.keys()) {
    problem(`column ${column} can't be dropped: put it back, other nodes may still write it`);
  }
  return statements;
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
