/**
 * One agent, put together: data directory, keys, store thread, HTTP on a Unix socket, net thread.
 *
 * Everything that can be refused is refused before anything is served, in this order: the cluster's
 * file, the schema, the data directory and the key, the socket's path, the database. Only the network
 * comes up beside: reads are answered at once, also while the node is alone.
 *
 * @module
 */

import { availableParallelism } from "node:os";
import { FileVfs } from "../wasm/vfs/file.ts";
import { startNetwork } from "./agent-network.ts";
import { type AgentServers, socketOwnerOf, startServers } from "./agent-servers.ts";
import {
  type DatabaseWatch,
  logReport,
  onlyARestartHelps,
  reloadOptionsOf,
  storeOptionsOf,
  watchDatabase,
} from "./agent-store.ts";
import { claimSocketPath } from "./api/socket-path.ts";
import { TokenSet } from "./api/token-set.ts";
import type { Config } from "./config/config.ts";
import { readSchemaFiles } from "./config/schema-files.ts";
import { DataDirectory } from "./data/data-directory.ts";
import { descriptorsMax, descriptorsMin } from "./host/descriptors.ts";
import { HelperThreads } from "./host/helper-threads.ts";
import { tightestTaskLimit, tooFewTasksText } from "./host/task-limit.ts";
import { askForSlice, storeSliceMs } from "./host/time-slice.ts";
import { faultText, type Log } from "./log.ts";
import { Agreements } from "./net/agreements.ts";
import type { NetLink } from "./net/link.ts";
import { openCluster, readTokens, tokenWarnings } from "./secrets/agent-secrets.ts";
import { type NodeKey, openNodeKey } from "./secrets/node-key.ts";
import { exitCodes, StartFailure } from "./start-failure.ts";
import { StoreThread } from "./store/store-thread.ts";
import { warmUp } from "./store/warm-up.ts";

export interface RunningAgent {
  readonly site: string;
  readonly publicKey: string;
  readonly socket: string;
  /** TCP addresses of the API, with the ports that were taken. */
  readonly listen: readonly string[];
  /** UDP port; undefined when it stands alone. */
  readonly port: number | undefined;
  /** It has caught up with the others. */
  isReady(): boolean;
  /** Reads the schema files again and does what they say; the log tells what came of it. */
  reload(): Promise<void>;
  /** Tells the peers, ends subscriptions, copies the WAL, closes. */
  stop(reason: string): Promise<void>;
  /** Settles when the network ended for good although nobody asked. */
  readonly failed: Promise<StartFailure>;
}

/** How long peers hold a place for an agent that was stopped in an orderly way: it may be restarting. */
const restartMs = 10_000;
/** What comes with the start goes first. */
const warmUpAfterMs = 1000;

/**
 * @param readConfig Reads it again, for a reload; what it says of the schema and of tokens is taken up.
 * @throws StartFailure
 */
export async function startAgent(
  config: Config,
  log: Log,
  readConfig: () => Config = () => config,
): Promise<RunningAgent> {
  process.umask(0o077);
  refuseFewFiles();
  refuseFewTasks();
  const cluster = openCluster(config);
  if (cluster !== undefined) {
    const { name, id } = cluster;
    log.info("cluster", { name, id, admission_secret: "***", digest_key: "***" });
  }
  const standsAlone = cluster === undefined || !config.swarm.enabled;
  const schema = readSchemaFiles(config.schema.paths, config.tables);
  for (const { file, line, why } of schema.warnings) log.warn("schema", { file, line, why });
  const directory = new DataDirectory(config.node.dataDir);
  if (directory.otherNames > 0) {
    log.warn(
      "the database's file has other names (hard links): opened by one of those, it lacks what is in the WAL, and may be damaged. Remove them",
      { database: directory.databasePath, other_names: directory.otherNames },
    );
  }
  const key = openKey(config.node.keyFile, log);
  const tokenList = config.api.token ? readTokens(config) : undefined;
  for (const why of tokenWarnings(tokenList ?? [], schema)) log.warn("tokens", { why });
  const tokens = tokenList && new TokenSet(tokenList);
  const owner = socketOwnerOf(config);

  const claim = await claimSocketPath(config.api.socket);
  if (claim.kind === "refused") throw new StartFailure(exitCodes.socket, claim.why);
  let link: NetLink | undefined;
  let store: StoreThread | undefined;
  let servers: AgentServers | undefined;
  let watch: DatabaseWatch | undefined;
  const agreements = new Agreements();
  const vfs = new FileVfs();
  const storeFailed = onlyARestartHelps(vfs, directory.databasePath);
  try {
    store = new StoreThread({
      ...storeOptionsOf(config),
      ...reloadOptionsOf(config, tokens, readConfig),
      vfs,
      databasePath: directory.databasePath,
      publicKey: key.publicKey,
      digestKey: () => cluster?.digestKey ?? directory.ownDigestKey(),
      schema,
      nonce: directory.readNonce() ?? "",
      renewNonce: (atOnce) => directory.renewNonce(atOnce),
      putNonceBack: (nonce) => directory.putNonceBack(nonce),
      standsAlone,
      agreements,
      log,
      swarm: async () => link?.ask({ kind: "swarm" }) ?? { kind: "stands-alone" },
      bodiesWaiting: async () => {
        const answer = await link?.ask({ kind: "backlog" });
        return answer !== undefined && "bodies" in answer ? answer.bodies : 0;
      },
    });
    logReport(store, log);
    watch = watchDatabase(directory.databasePath);
    const failures = [storeFailed, watch.lost];
    const joined = standsAlone ? undefined : cluster;
    const parts = { config, cluster: joined, key, directory, store, agreements, log };
    const net = await startNetwork(parts);
    link = net?.link;
    const { service } = store;
    servers = await startServers({ config, service, tokens, owner, log });
    log.info("serving", { socket: config.api.socket, site: store.site, key: key.publicKey });
    const port = await net?.listening;
    if (port instanceof StartFailure) throw port;
    askForSlice(storeSliceMs);
    const helpers = new HelperThreads({ withPool: config.store.durability !== "full" });
    helpers.start();
    const running = { store, link, servers };
    const warming = new AbortController();
    if (!standsAlone) warmUpSoon(store, warming.signal, log);
    let stopping: Promise<void> | undefined;
    return {
      site: store.site,
      publicKey: key.publicKey,
      socket: config.api.socket,
      listen: servers.listen,
      port,
      failed: Promise.race(net === undefined ? failures : [...failures, net.failed]),
      isReady: () => running.store.isReady,
      reload: async () => {
        for await (const _line of running.store.reload());
      },
      stop: (reason) => {
        warming.abort();
        helpers.stop();
        watch?.stop();
        stopping ??= stop(running, claim.release, reason, log);
        return stopping;
      },
    };
  } catch (error) {
    watch?.stop();
    await servers?.stop();
    await link?.stop(0, "the start failed");
    store?.stop();
    claim.release();
    throw error;
  }
}

/** @throws StartFailure */
function refuseFewFiles(): void {
  const max = descriptorsMax();
  if (max === undefined || max >= descriptorsMin) return;
  const why = `only ${max} files may be open at once (EMFILE), and an agent needs ${descriptorsMin} at least`;
  throw new StartFailure(exitCodes.data, `${why}: raise LimitNOFILE= (ulimit -n)`);
}

/** The engine would abort without a word, at the start or when it first needs one more. @throws StartFailure */
function refuseFewTasks(): void {
  const limit = tightestTaskLimit();
  if (limit === undefined) return;
  const why = tooFewTasksText(limit, availableParallelism());
  if (why !== undefined) throw new StartFailure(exitCodes.data, why);
}

/** Whoever stands alone tells nobody. */
function warmUpSoon(store: StoreThread, signal: AbortSignal, log: Log): void {
  const timer = setTimeout(() => {
    warmUp(signal, undefined, () => store.isCatchingUp).catch((error) =>
      log.warn("the warm-up failed", { why: faultText(error) }),
    );
  }, warmUpAfterMs);
  signal.addEventListener("abort", () => clearTimeout(timer));
}

async function stop(
  running: {
    readonly store: StoreThread;
    readonly link: NetLink | undefined;
    readonly servers: AgentServers;
  },
  release: () => void,
  reason: string,
  log: Log,
): Promise<void> {
  log.info("stopping", { reason });
  const { store, link, servers } = running;
  store.refuseWrites();
  // Peers first: they are to know before anything here is slow.
  await link?.stop(Date.now() + restartMs, reason);
  store.service.endStreams();
  await servers.stop();
  store.stop();
  release();
  log.info("stopped");
}

function openKey(path: string, log: Log): NodeKey {
  const read = openNodeKey(path);
  if (read.kind === "refused") throw new StartFailure(exitCodes.data, `node.key_file: ${read.why}`);
  if (read.isNew) log.info("new node key", { file: path, key: read.key.publicKey });
  return read.key;
}
