/**
 * Brings a running agent to what its schema files and its file of tokens say now: `patina reload`, and SIGHUP.
 * All of it or nothing.
 *
 * @module
 */

import { type PlannedSchema, problemToText, type SchemaProblem } from "../../core/schema/schema.ts";
import type { SchemaPlan } from "../../core/schema/schema-plan.ts";
import type { AdoptionProgress } from "../../core/store/local/adoption.ts";
import type { SchemaChanged } from "../../core/store/store-outcomes.ts";
import type { TokensChange } from "../api/token-set.ts";
import type { Log } from "../log.ts";
import { StartFailure } from "../start-failure.ts";
import type { OperationLine } from "./operations.ts";

export interface TokensRead {
  /** Of tokens that are valid, and perhaps not what was meant. */
  readonly warnings: readonly string[];
  /** Makes them valid. */
  readonly take: () => TokensChange;
}

export interface ReloadHost {
  /** Reads configuration and schema files. @throws StartFailure */
  readonly read: () => PlannedSchema;
  /** Reads the API's tokens. Undefined: there are none. @throws StartFailure */
  readonly readTokens: ((schema: PlannedSchema) => TokensRead) | undefined;
  readonly plan: (schema: PlannedSchema) => SchemaPlan;
  /** @throws what SQLite throws; nothing was changed then */
  readonly change: (schema: PlannedSchema) => SchemaChanged;
  /** All who go by the schema hear that it was changed. @throws what one of them throws; it is another all the same then */
  readonly tell: (schema: PlannedSchema, changed: SchemaOfStore) => void;
  /** Of tables whose rows are being taken in; undefined when there are none. */
  readonly adoption: () => AdoptionProgress | undefined;
}

/** What became of the schema, where it wasn't refused. */
export type SchemaOfStore = Exclude<SchemaChanged, { readonly kind: "refused" }>;

const lookAgainMs = 100;

/** Ends once the rows of tables that became replicated are taken in; left early, that goes on by itself. */
export async function* reload(host: ReloadHost, dryRun: boolean): AsyncGenerator<OperationLine> {
  let schema: PlannedSchema;
  let read: TokensRead | undefined;
  try {
    schema = host.read();
    read = host.readTokens?.(schema);
  } catch (error) {
    if (!(error instanceof StartFailure)) throw error;
    yield { error: error.message };
    return;
  }
  const warningsOf = (plan: { readonly warnings: readonly SchemaProblem[] }) => [
    ...[...schema.warnings, ...plan.warnings].map(problemToText),
    ...(read?.warnings ?? []),
  ];
  if (dryRun) {
    const plan = host.plan(schema);
    yield plan.kind === "refused"
      ? refused(plan.problems)
      : {
          done: {
            dry_run: true,
            statements: plan.statements,
            newly_replicated: plan.adopted,
            warnings: warningsOf(plan),
          },
        };
    return;
  }
  let changed: SchemaChanged;
  try {
    changed = host.change(schema);
  } catch (error) {
    yield { error: `nothing was changed: ${(error as Error).message}` };
    return;
  }
  if (changed.kind === "refused") {
    yield refused(changed.problems);
    return;
  }
  // In the same turn: nobody meets the new schema who hasn't heard of it.
  const untold = failureOf(() => host.tell(schema, changed));
  const tokens = read?.take();
  for (;;) {
    const progress = host.adoption();
    if (progress === undefined) break;
    yield { progress: { ...progress } };
    await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
  }
  if (untold !== undefined) {
    const what = `but this agent fails to go by it (${untold}): reload again, or restart it`;
    yield { error: `the database is as the schema files say, ${what}` };
    return;
  }
  yield {
    done: {
      dry_run: false,
      statements: changed.statements,
      rows_taken_in: changed.adoptedRows,
      rows_shown: changed.surfacedRows,
      warnings: warningsOf(changed),
      ...(tokens === undefined ? {} : { tokens }),
    },
  };
}

function failureOf(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function refused(problems: readonly SchemaProblem[]): OperationLine {
  return {
    error: `the schema is refused, nothing was changed:\n${problems.map(problemToText).join("\n")}`,
  };
}

/** What came of a reload that was no dry run, whoever asked for it. */
export function logReload(line: OperationLine, log: Log): void {
  if ("error" in line) log.error("reload", { why: line.error });
  if (!("done" in line)) return;
  const { statements, warnings } = line.done as Record<string, readonly string[]>;
  log.info("reloaded", { statements: statements?.length });
  for (const why of warnings ?? []) log.warn("reload", { why });
  const { added, revoked } = (line.done.tokens ?? {}) as Partial<TokensChange>;
  for (const name of added ?? []) log.info("token added", { name });
  for (const name of revoked ?? []) log.info("token taken back", { name });
}
