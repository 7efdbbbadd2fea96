/**
 * `patina exec`: runs statements that write, from the command line or from stdin, all of them or none.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
import { ApiFailure, type Transacted } from "../../client/client.ts";
import { clientOf, statementOf } from "../agent-client.ts";
import { UsageError } from "../failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print, printDone } from "../output.ts";
import { heard } from "../silence.ts";

const wanted = 'a JSON list of statements: ["DELETE FROM t", ["INSERT INTO t VALUES (?)", [1]]]';
/** No agent takes as much; what has no end would fill the memory. */
const stdinBytesMax = 1024 ** 3;
/** Of JSON. */
const whiteSpace: ReadonlySet<number> = new Set([...Buffer.from(" \t\n\r")]);
const openingBracket = 0x5b;

export async function exec(
  sql: string | undefined,
  parameters: readonly string[],
  options: GlobalOptions,
): Promise<void> {
  const client = clientOf(options);
  const { rowsAffected, version, actorId } =
    sql === undefined
      ? await transactStdin((body) => heard(client.transactJson(body)))
      : await heard(client.transact(statementOf(sql, parameters)));
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
  const body = await readStdin();
  try {
    return await transact(body);
  } catch (error) {
    // As text of HTTP's own: the body wasn't understood.
    if (!(error instanceof ApiFailure) || !/^Failed to /.test(error.message)) throw error;
    throw new UsageError(`stdin: ${error.message}\nWanted is ${wanted}`);
  }
}

/** @throws UsageError; also of bytes that are no UTF-8: repaired they would be other values, on every host */
async function readStdin(): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let isList = false;
  try {
    for await (const chunk of Bun.stdin.stream()) {
      // Soon, for what is no list may have no end.
      const first: number | undefined = isList
        ? undefined
        : chunk.find((byte) => !whiteSpace.has(byte));
      if (first !== undefined && first !== openingBracket) throw new Error(wanted);
      isList ||= first !== undefined;
      chunks.push(chunk);
      bytes += chunk.byteLength;
      if (bytes > stdinBytesMax) throw new Error(`more than ${stdinBytesMax} bytes`);
    }
  } catch (error) {
    throw new UsageError(`stdin: ${(error as Error).message}`);
  }
  if (!isList) throw new UsageError(`stdin: ${wanted}`);
  const whole = Buffer.concat(chunks);
  if (!isUtf8(whole)) throw new UsageError("stdin: it is not UTF-8");
  return whole.toString();
}
