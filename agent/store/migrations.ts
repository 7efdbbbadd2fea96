/**
 * `/v1/migrations`, for clients of Corrosion's first version, which send their schema when they start.
 *
 * The schema belongs to the files of `schema.paths`, on every host: what is sent is held against it, and
 * accepted when the database already is as it says. Anything else is refused, with what would have to
 * be done.
 *
 * @module
 */

import { type PlannedSchema, problemToText, type TableRules } from "../../core/schema/schema.ts";
import type { SchemaPlan } from "../../core/schema/schema-plan.ts";
import { readSchema, type SchemaRead } from "../../core/schema/schema-reader.ts";
import { SQLITE_DENY, SQLITE_OK } from "../../wasm/constants.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { addPureFunctions } from "../sql/functions.ts";
import { joinsTooManyColumns } from "../sql/join-columns.ts";
import { sqlCharsMax } from "../sql/prepared.ts";

/**
 * For reading what is sent: as long as a client's write may take. Nothing interrupts SQLite's compiler, but it asks for each
 * name (`sql/guard.ts`): views of 250,000 characters that call window functions would take minutes.
 */
const readMsMax = 10_000;
const tooSlow = "the statements take too long to compile: write them shorter";

/** Why these statements aren't accepted; undefined when they change nothing. */
export function migrationProblem(
  statements: readonly string[],
  current: PlannedSchema,
  plan: (schema: PlannedSchema) => SchemaPlan,
  msMax: number = readMsMax,
): string | undefined {
  const text = statements.map((statement) => `${statement.replace(/;\s*$/, "")}\n;`).join("\n");
  if (text.length > sqlCharsMax || joinsTooManyColumns(text)) {
    return `more than SQLite's compiler should be given: ${sqlCharsMax} characters, or USING with 1000 columns`;
  }
  using scratch = openDatabase("/schema.db", { vfs: new MemoryVfs() });
  addPureFunctions(scratch);
  // What is local is so by the configuration; a rule for a table that isn't sent would be a problem.
  const local = [...current.tables.values()].filter(({ replicated }) => !replicated);
  const rules = local
    .filter(({ name }) => isCreated(text, name))
    .map(({ name }) => [name, { replicated: false }] as const);
  const read = readWithin(msMax, scratch, text, new Map(rules));
  if (read === "too-slow") return tooSlow;
  if (read.kind === "refused") return read.problems.map(problemToText).join("\n");
  const sent = read.schema;
  const names = new Set([...sent.indexes, ...sent.views].map(({ name }) => name));
  const planned = plan({
    ...current,
    tables: new Map([...current.tables, ...sent.tables]),
    indexes: [...current.indexes.filter(({ name }) => !names.has(name)), ...sent.indexes],
    views: [...current.views.filter(({ name }) => !names.has(name)), ...sent.views],
  });
  if (planned.kind === "refused") return planned.problems.map(problemToText).join("\n");
  if (planned.statements.length === 0 && planned.adopted.length === 0) return undefined;
  const change = planned.statements.join("; ");
  return `the schema comes from the files of schema.paths, and this would change it: ${change}`;
}

function readWithin(
  ms: number,
  scratch: Database,
  text: string,
  rules: ReadonlyMap<string, TableRules>,
): SchemaRead | "too-slow" {
  const untilMs = performance.now() + ms;
  let isLate = false;
  scratch.onAuthorize(() => {
    isLate ||= performance.now() > untilMs;
    return isLate ? SQLITE_DENY : SQLITE_OK;
  });
  try {
    const read = readSchema(scratch, [{ name: "request", text }], rules);
    return isLate ? "too-slow" : read;
  } catch (error) {
    if (isLate) return "too-slow";
    throw error;
  }
}

function isCreated(text: string, table: string): boolean {
  const name = table.replace(/[^a-z0-9_]/g, "\\$&");
  return new RegExp(`\\btable\\s+(if\\s+not\\s+exists\\s+)?["'\`[]?${name}\\b`, "i").test(text);
}
