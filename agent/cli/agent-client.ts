/**
 * The agent that a command talks to.
 *
 * @module
 */

import { PatinaClient } from "../client/client.ts";
import { loadConfig } from "./config-source.ts";
import type { GlobalOptions } from "./program.ts";

/** @throws StartFailure */
export function clientOf(options: GlobalOptions): PatinaClient {
  const { socket = process.env.PATINA_API_SOCKET, config } = options;
  return new PatinaClient(socket ?? loadConfig(config).api.socket);
}
