/**
 * `patina reload`: has a running agent read its schema files and tokens again.
 *
 * @module
 */

import type { TokensChange } from "../../api/token-set.ts";
import { clientOf } from "../agent-client.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";
import { Progress } from "../progress.ts";
import { Silence } from "../silence.ts";

export async function reload(options: GlobalOptions & { dryRun?: boolean }): Promise<void> {
  const progress = new Progress(
    options.json ?? false,
    ({ table, rows, of }) => `${table}: ${rows} of ${of} rows taken in`,
  );
  const body = JSON.stringify({ dry_run: options.dryRun ?? false });
  using silence = new Silence();
  const done = await clientOf(options).operate("/v1/reload", body, (line) => {
    silence.end();
    progress.show(line);
  });
  progress.end();
  if (done.dry_run === true) printReload(done, options);
  else printDone("but it was reloaded", () => printReload(done, options));
}

function printReload(done: Readonly<Record<string, unknown>>, options: GlobalOptions): void {
  if (options.json) {
    print(JSON.stringify(done));
    return;
  }
  const statements = done.statements as readonly string[];
  for (const warning of done.warnings as readonly string[]) console.error(`warning: ${warning}`);
  for (const statement of statements) print(`${statement};`);
  const adopted = (done.newly_replicated ?? []) as readonly string[];
  for (const table of adopted) {
    print(`-- ${table} is replicated from now on, with the rows that it has`);
  }
  const { added, revoked } = (done.tokens ?? {}) as Partial<TokensChange>;
  for (const name of added ?? []) print(`-- token ${name}: valid from now on`);
  for (const name of revoked ?? []) print(`-- token ${name}: taken back`);
  if (statements.length + adopted.length === 0) print("the database is as the schema files say");
  else if (done.dry_run === true) print("-- nothing was done: this was a dry run");
}
