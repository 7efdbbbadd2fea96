/**
 * `patina exec`: runs statements that write, from the command line or from stdin, all of them or none.
 *
 * @module
 */

import { ApiFailure, parseParameter, type Transacted } from "../../client/client.ts";
import { clientOf } from "../agent-client.ts";
import { UsageError } from "../failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";

export async function exec(
  sql: string | undefined,
  parameters: readonly string[],
  options: GlobalOptions,
): Promise<void> {
  const client = clientOf(options);
  const { rowsAffected, version, actorId } =
    sql === undefined
      ? await transactStdin((body) => client.transactJson(body))
      : await client.transact({ sql, parameters: parameters.map(parseParameter) });
  const rows = rowsAffected.reduce((sum, count) => sum + count, 0);
  const counted = `${rows} ${rows === 1 ? "row" : "rows"}`;
  const text = `${counted}, ${version === null ? "nothing to replicate" : `version ${version}`}`;
  printDone(`but it was committed: ${text}`, () => {
    if (!options.json) print(text);
    else print(JSON.stringify({ rows_affected: rowsAffected, version, actor_id: actorId }));
  });
}

/** The agent reads the list itself: what it takes is what the API takes. */
async function transactStdin(transact: (body: string) => Promise<Transacted>): Promise<Transacted> {
  const body = await Bun.stdin.text();
  const wanted = 'a JSON list of statements: ["DELETE FROM t", ["INSERT INTO t VALUES (?)", [1]]]';
  if (!body.trimStart().startsWith("[")) throw new UsageError(`stdin: ${wanted}`);
  try {
    return await transact(body);
  } catch (error) {
    // As text of HTTP's own: the body wasn't understood.
    if (!(error instanceof ApiFailure) || !/^Failed to /.test(error.message)) throw error;
    throw new UsageError(`stdin: ${error.message}\nWanted is ${wanted}`);
  }
}
