/** @module */

import { sqlValuesToJson } from "../../api/json-writer.ts";
import { parseParameter } from "../../client/client.ts";
import { clientOf } from "../agent-client.ts";
import type { GlobalOptions } from "../program.ts";
import { formatTable } from "../table.ts";

export async function query(
  sql: string,
  parameters: readonly string[],
  options: GlobalOptions,
): Promise<void> {
  const client = clientOf(options);
  const { columns, rows } = await client.query(sql, ...parameters.map(parseParameter));
  if (options.json) {
    const body = rows.map(sqlValuesToJson).join(",");
    console.log(`{"columns":${JSON.stringify(columns)},"rows":[${body}]}`);
    return;
  }
  console.log(formatTable(columns, rows));
  console.log(`${rows.length} ${rows.length === 1 ? "row" : "rows"}`);
}
