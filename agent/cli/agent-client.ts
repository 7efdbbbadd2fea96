/**
 * The agent that a command talks to.
 *
 * @module
 */

import { PatinaClient } from "../client/client.ts";
import { loadConfig } from "./config-source.ts";
import { UsageError } from "./failure.ts";
import type { GlobalOptions } from "./global-options.ts";

/** How long an answer may take that an agent has ready: one that is stopped or stuck gives none. */
export const readyAnswerMsMax = 10_000;

/** @throws StartFailure, UsageError */
export function clientOf(options: GlobalOptions): PatinaClient {
  const { socket = process.env.PATINA_API_SOCKET, config } = options;
  if (socket === "") throw new UsageError("--socket: a path is wanted");
  return new PatinaClient(socket ?? loadConfig(config).api.socket);
}
