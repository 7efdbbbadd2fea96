/**
 * `patina query`: one read-only statement, and its rows.
 *
 * @module
 */

import { sqlValuesToJson } from "../../api/json-writer.ts";
import { clientOf, statementOf } from "../agent-client.ts";
import { UsageError } from "../failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";
import { heard } from "../silence.ts";
import { formatTable } from "../table.ts";

export async function query(
  sql: string,
  parameters: readonly string[],
  options: GlobalOptions & { readonly timeout?: string },
): Promise<void> {
  const client = clientOf(options);
  const { timeout } = options;
  const timeoutMs = timeout === undefined ? {} : { timeoutMs: secondsToMs(timeout) };
  const statement = { ...statementOf(sql, parameters), ...timeoutMs };
  const { columns, rows } = await heard(client.query(statement));
  if (options.json) {
    const body = rows.map(sqlValuesToJson).join(",");
    print(`{"columns":${JSON.stringify(columns)},"rows":[${body}]}`);
    return;
  }
  print(formatTable(columns, rows));
  print(`${rows.length} ${rows.length === 1 ? "row" : "rows"}`);
}

function secondsToMs(text: string): number {
  const ms = Number(text) * 1000;
  if (/^[0-9.]+$/.test(text) && ms >= 1 && ms <= 86_400_000) return Math.round(ms);
  throw new UsageError(`--timeout: seconds, 0.001 to 86400, got ${text}`);
}
