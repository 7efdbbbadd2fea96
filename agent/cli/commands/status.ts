/** @module */

import { clientOf } from "../agent-client.ts";
import { formatFields } from "../fields.ts";
import type { GlobalOptions } from "../program.ts";

export async function status(options: GlobalOptions): Promise<void> {
  const text = await clientOf(options).get("/v1/status");
  console.log(options.json ? text.trim() : formatFields(JSON.parse(text)));
}
