/**
 * `patina watch`: a query's rows, then every change of them, until Ctrl-C.
 *
 * @module
 */

import { sqlValuesToJson } from "../../api/json-writer.ts";
import type { LiveEvent } from "../../client/client.ts";
import { clientOf, statementOf } from "../agent-client.ts";
import { UsageError } from "../failure.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";
import { untilSignal } from "../signals.ts";
import { Silence } from "../silence.ts";
import { cellText } from "../table.ts";

export async function watch(
  sql: string,
  parameters: readonly string[],
  options: GlobalOptions & {
    readonly skipRows?: boolean;
    readonly id?: string;
    readonly from?: string;
  },
): Promise<void> {
  const from = options.from === undefined ? undefined : Number(options.from);
  if (from !== undefined && !(Number.isSafeInteger(from) && from >= 0)) {
    throw new UsageError(`--from: a change id, got ${options.from}`);
  }
  if ((from === undefined) !== (options.id === undefined)) {
    throw new UsageError("--id and --from go together");
  }
  const client = clientOf(options);
  const ended = new AbortController();
  void untilSignal().then(() => ended.abort());
  const events = client.subscribe(statementOf(sql, parameters), {
    skipRows: options.skipRows ?? false,
    signal: ended.signal,
    ...(options.id === undefined ? {} : { id: options.id }),
    ...(from === undefined ? {} : { from }),
  });
  const toLine = options.json ? toJson : toText;
  using silence = new Silence();
  for await (const event of events) {
    silence.end();
    const line = toLine(event);
    if (line !== undefined) print(line);
  }
  process.exit(0);
}

const signs = { insert: "+", update: "~", delete: "-" } as const;

function toText(event: LiveEvent): string | undefined {
  switch (event.kind) {
    case "columns":
      return `  ${event.columns.join("  ")}`;
    case "row":
      return `  ${event.cells.map(cellText).join("  ")}`;
    case "end-of-rows":
      return "── changes from here on (+ insert, ~ update, - delete)";
    case "change":
      return `${signs[event.type]} ${event.cells.map(cellText).join("  ")}`;
    case "resumed":
      return event.isComplete
        ? "── the agent is back; nothing was missed"
        : "── the agent is back, and begins anew";
  }
}

/** As the API writes it, and one line of our own. */
function toJson(event: LiveEvent): string {
  switch (event.kind) {
    case "columns":
      return JSON.stringify({ columns: event.columns });
    case "row":
      return `{"row":[${event.rowId},${sqlValuesToJson(event.cells)}]}`;
    case "end-of-rows":
      return JSON.stringify({ eoq: { change_id: event.changeId } });
    case "change":
      return `{"change":["${event.type}",${event.rowId},${sqlValuesToJson(event.cells)},${event.changeId}]}`;
    case "resumed":
      return JSON.stringify({ resumed: { complete: event.isComplete } });
  }
}
