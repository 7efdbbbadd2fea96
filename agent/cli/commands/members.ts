/**
 * `patina members`: the members of the cluster as this agent sees them.
 *
 * @module
 */

import type { SqlValue } from "../../../core/row/value.ts";
import { clientOf, readyAnswerMsMax } from "../agent-client.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";
import { formatTable } from "../table.ts";

const sql =
  "SELECT node, state, region, zone, incarnation, since_ms, store_lag, key FROM patina_members ORDER BY node";

export async function members(options: GlobalOptions): Promise<void> {
  const { columns, rows } = await clientOf(options).query({ sql, timeoutMs: readyAnswerMsMax });
  if (options.json) {
    for (const row of rows) {
      print(JSON.stringify(Object.fromEntries(columns.map((column, i) => [column, row[i]]))));
    }
    return;
  }
  const since = columns.indexOf("since_ms");
  const shown = rows.map((row) =>
    row.map((value, i): SqlValue => (i === since ? ago(Number(value)) : value)),
  );
  print(formatTable(columns.with(since, "since"), shown));
}

function ago(ms: number): string {
  const seconds = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800
    ? `${Math.round(seconds / 3600)} h`
    : `${Math.round(seconds / 86_400)} d`;
}
