/**
 * `patina subs`: the live queries, which way each runs, and what it costs.
 *
 * @module
 */

import { ApiFailure } from "../../client/client.ts";
import type { SubscriptionReport } from "../../live/live-registry.ts";
import { clientOf, readyAnswerMsMax } from "../agent-client.ts";
import { formatFields } from "../fields.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";
import { formatTable } from "../table.ts";

/** One a line with --json. */
export async function subs(id: string | undefined, options: GlobalOptions): Promise<void> {
  const { report } = await clientOf(options).report("/v1/subs", readyAnswerMsMax);
  const subscriptions: readonly SubscriptionReport[] = report.subscriptions;
  if (id !== undefined) {
    const found = subscriptions.find((one) => one.id === id);
    if (found === undefined) {
      throw new ApiFailure(404, `could not find subscription with id ${id}`);
    }
    print(options.json ? JSON.stringify(found) : formatFields({ ...found }));
    return;
  }
  if (options.json) {
    for (const one of subscriptions) print(JSON.stringify(one));
    return;
  }
  const columns = ["id", "how", "found by", "runs in", "rows", "readers", "change", "looked"];
  const rows = subscriptions.map((one) => [
    one.id,
    one.how,
    one.found_by,
    one.runs_in,
    one.rows,
    one.listeners,
    one.change_id,
    one.looked,
    one.told,
    `${one.busy_ms.toFixed(1)} ms`,
    `${one.reader_ms.toFixed(1)} ms`,
    one.sql,
  ]);
  print(formatTable([...columns, "told", "store", "reader", "query"], rows));
}
