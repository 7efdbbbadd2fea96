/**
 * The files of secrets that a configuration names: the cluster's and that of the API's tokens.
 *
 * @module
 */

import { lowerAscii } from "../../core/row/row-state.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import type { Token } from "../api/access.ts";
import { readTokensFile } from "../api/tokens.ts";
import type { Config } from "../config/config.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";
import { type Cluster, readClusterFile } from "./cluster-file.ts";

/** Undefined when the agent is to stand alone. @throws StartFailure */
export function openCluster(config: Config): Cluster | undefined {
  if (config.cluster.file === "") return undefined;
  const read = readClusterFile(config.cluster.file);
  if (read.kind === "refused") throw new StartFailure(exitCodes.usage, `cluster.file: ${read.why}`);
  return read.cluster;
}

/** All that a TCP client may show. @throws StartFailure */
export function readTokens(config: Config): readonly Token[] {
  const { tokens, tokensFile } = config.api;
  if (tokensFile === "") return tokens;
  const read = readTokensFile(tokensFile);
  if (read.kind === "refused") {
    throw new StartFailure(exitCodes.usage, `api.tokens_file: ${read.problems.join("\n")}`);
  }
  const all = [...tokens, ...read.tokens];
  if (all.length === 0) {
    throw new StartFailure(exitCodes.usage, `api.tokens_file: ${tokensFile}: it holds no token`);
  }
  return all;
}

/** What is there without a schema file. */
const ownPrefixes = ["patina_", "sqlite_", "pragma_"];

/** Tables of tokens that no schema file has: a slip, or tables to come. The token is valid all the same. */
export function tokenWarnings(tokens: readonly Token[], schema: PlannedSchema): string[] {
  const views = new Set(schema.views.map(({ name }) => lowerAscii(name)));
  const isThere = (name: string): boolean =>
    schema.tables.has(name) || views.has(name) || ownPrefixes.some((one) => name.startsWith(one));
  return tokens.flatMap(({ name, access }) =>
    [...(access.tables ?? [])]
      .filter((table) => !isThere(table))
      .map(
        (table) =>
          `token ${name}: tables: no schema file has ${table}; it is reached once one has it`,
      ),
  );
}
