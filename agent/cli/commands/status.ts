/**
 * `patina status`: the agent's state, as its API tells it.
 *
 * @module
 */

import { clientOf, readyAnswerMsMax } from "../agent-client.ts";
import { formatFields } from "../fields.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";

export async function status(options: GlobalOptions): Promise<void> {
  const { text, report } = await clientOf(options).report("/v1/status", readyAnswerMsMax);
  print(options.json ? text : formatFields(report));
}
