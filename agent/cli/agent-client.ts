/**
 * The agent that a command talks to.
 *
 * @module
 */

import { PatinaClient, parseParameter, type Statement } from "../client/client.ts";
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

/**
 * What stands on the command line. Nothing at all is a variable of the shell that wasn't set: SQLite's words for it, which the API
 * says as Corrosion's does, help nobody who types.
 *
 * @throws UsageError
 */
export function statementOf(sql: string, parameters: readonly string[]): Statement {
  if (sql.trim() === "") throw new UsageError("sql: a statement is wanted, got an empty text");
  return { sql, parameters: parameters.map(parseParameter) };
}
