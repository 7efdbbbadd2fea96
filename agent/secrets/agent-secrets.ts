/**
 * The files of secrets that a configuration names: the cluster's and that of the API's tokens.
 *
 * @module
 */

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
