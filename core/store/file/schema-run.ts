/**
 * Runs a schema's plan in the transaction that is open.
 *
 * @module
 */

import { isTooBig, type SqlDatabase } from "../../database.ts";
import type { PlannedObject, PlannedSchema, SchemaProblem } from "../../schema/schema.ts";
import { clockTableName, type SchemaPlan } from "../../schema/schema-plan.ts";
import { quoteName } from "../../schema/sql-token.ts";

/**
 * The statements of a plan, and the clock tables.
 *
 * @param tooLarge Indexes are appended that some row is too large for: they are still to be made (`large-rows.ts`).
 * @returns what is wrong with a statement; undefined: nothing
 */
export function runPlan(
  database: SqlDatabase,
  schema: PlannedSchema,
  plan: SchemaPlan & { readonly kind: "plan" },
  tooLarge: PlannedObject[],
): SchemaProblem | undefined {
  const indexBySql = new Map(schema.indexes.map((index) => [index.sql, index]));
  for (const statement of plan.statements) {
    try {
      const problem = problemOfStatement(database, statement);
      if (problem !== undefined) return problem;
    } catch (error) {
      const index = indexBySql.get(statement);
      if (!isTooBig(error) || index === undefined) throw error;
      tooLarge.push(index);
    }
  }
  for (const name of plan.adopted) {
    const columns = schema.tables.get(name)?.withoutRowid
      ? "(key BLOB PRIMARY KEY NOT NULL, clock BLOB NOT NULL, held BLOB) WITHOUT ROWID"
      : "(id INTEGER PRIMARY KEY, clock BLOB NOT NULL, held BLOB)";
    database.exec(`CREATE TABLE ${quoteName(clockTableName(name))} ${columns}`);
  }
  return undefined;
}

/** Runs a statement of a schema; what SQLite has against it, undefined when nothing. */
function problemOfStatement(database: SqlDatabase, sql: string): SchemaProblem | undefined {
  try {
    database.exec(sql);
    return undefined;
  } catch (error) {
    const { code, message } = error as { readonly code?: unknown; readonly message: string };
    // SQLITE_ERROR and SQLITE_CONSTRAINT are about the statement, all others about the file.
    if (code !== 1 && code !== 19) throw error;
    return { file: "", line: 0, why: `${sql}: ${message}` };
  }
}
