/**
 * `patina agent`: runs this host's agent until a signal ends it; `--check` reads its configuration and schema only.
 *
 * @module
 */

import { type RunningAgent, startAgent } from "../../agent.ts";
import { socketOwnerOf } from "../../agent-servers.ts";
import { problemOfSocketPath } from "../../api/socket-path.ts";
import { type Config, configToText, configWithoutSecrets } from "../../config/config.ts";
import { readSchemaFiles } from "../../config/schema-files.ts";
import { checkDataDirectory } from "../../data/data-directory.ts";
import { createLog } from "../../log.ts";
import { openCluster, readTokens, tokenWarnings } from "../../secrets/agent-secrets.ts";
import { readNodeKey } from "../../secrets/node-key.ts";
import { exitCodes, StartFailure } from "../../start-failure.ts";
import { version } from "../../version.ts";
import { loadConfig } from "../config-source.ts";
import type { GlobalOptions } from "../global-options.ts";
import { print } from "../output.ts";
import { serviceReports } from "../service-reports.ts";
import { untilSignal } from "../signals.ts";

export async function agent(
  options: GlobalOptions & Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const read = () => readAgentConfig(options);
  const config = read();
  // Before anything is made.
  const problem = problemOfSocketPath(config.api.socket);
  if (problem !== undefined) throw new StartFailure(exitCodes.socket, problem);
  if (options.check) {
    openCluster(config);
    const tokens = readTokens(config);
    socketOwnerOf(config);
    checkDataDirectory(config.node.dataDir);
    const key = readNodeKey(config.node.keyFile);
    if (key?.kind === "refused") {
      throw new StartFailure(exitCodes.data, `node.key_file: ${key.why}`);
    }
    const schema = readSchemaFiles(config.schema.paths, config.tables);
    const tables = [...schema.tables.keys()];
    for (const why of tokenWarnings(tokens, schema)) console.error(`warning: ${why}`);
    if (options.json) print(JSON.stringify({ config: configWithoutSecrets(config), tables }));
    else print(`configuration and schema are sound: ${tables.length} tables`);
    return;
  }
  const log = createLog(config.log);
  log.info(`patina ${version}`, { pid: process.pid });
  log.info("configuration", { config: configToText(config) });
  process.on("uncaughtException", (error) => {
    log.error("a fault of Patina's own: please report it", { why: error.stack ?? String(error) });
    process.exit(1);
  });
  // Before the start, so that a signal that comes early isn't lost.
  const signalled = untilSignal();
  const started = Promise.withResolvers<RunningAgent>();
  // Those that come while it starts count too: its files were read before.
  process.on("SIGHUP", () => void started.promise.then((running) => running.reload()));
  const running = await startAgent(config, log, read);
  started.resolve(running);
  if (options.json) {
    const { socket, listen, site, publicKey, port } = running;
    // Not `print`: an agent goes on when nobody reads this any more.
    console.log(JSON.stringify({ socket, listen, site, key: publicKey, port: port ?? null }));
  }
  const reports = serviceReports();
  reports.serving(() => running.isReady());
  const end = await Promise.race([signalled, running.failed]);
  const reason = typeof end === "string" ? end : end.message;
  reports.stopping(reason);
  await running.stop(reason);
  if (typeof end !== "string") throw end;
  // A socket that a library keeps must not hold up an orderly end.
  process.exit(0);
}

/** @throws StartFailure */
function readAgentConfig(
  options: GlobalOptions & Readonly<Record<string, string | undefined>>,
): Config {
  return loadConfig(options.config, {
    "node.name": options.name,
    "node.region": options.region,
    "node.zone": options.zone,
    "node.data_dir": options.dataDir,
    "cluster.file": options.cluster,
    "api.socket": options.socket,
    "api.listen": options.listen,
    "schema.paths": options.schema,
    "swarm.host": options.host,
    "swarm.port": options.port,
    "swarm.bootstrap": options.bootstrap,
    "swarm.only": options.only,
    "swarm.peers": options.peers,
    "log.level": options.logLevel,
  });
}
