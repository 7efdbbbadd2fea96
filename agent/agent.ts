/**
 * One agent, put together: data directory, keys, store thread, HTTP on a Unix socket, net thread.
 *
 * Everything that can be refused is refused before anything is served, in this order: the cluster's
 * file, the schema, the data directory and the key, the socket's path, the database. Only the network
 * comes up beside: reads are answered at once, also while the node is alone.
 *
 * @module
 */

import { chmodSync, chownSync } from "node:fs";
import { loadSqlite } from "../wasm/module.ts";
import { FileVfs } from "../wasm/vfs/file.ts";
import { Front, RouteRoom } from "./api/front.ts";
import { createGate } from "./api/gate.ts";
import { apiLimits, createApi } from "./api/handlers.ts";
import { type HttpServer, serveTcp, serveUnix, type TcpServer } from "./api/http-server.ts";
import { listenAddressToText } from "./api/listen-address.ts";
import { idOf } from "./api/socket-owner.ts";
import { claimSocketPath } from "./api/socket-path.ts";
import { TokenSet, type TokensChange } from "./api/token-set.ts";
import type { Config } from "./config/config.ts";
import { changedKeys } from "./config/config-changes.ts";
import { readSchemaFiles } from "./config/schema-files.ts";
import { DataDirectory } from "./data/data-directory.ts";
import { Neighbours } from "./data/neighbours.ts";
import { askForSlice, storeSliceMs } from "./host/time-slice.ts";
import { liveLimits } from "./live/live-queries.ts";
import type { Log } from "./log.ts";
import { Agreements } from "./net/agreements.ts";
import type { NetLink } from "./net/link.ts";
import type { NetOptions, NetReport } from "./net/messages.ts";
import type { OperationLine } from "./operations/operations.ts";
import { openCluster, readTokens } from "./secrets/agent-secrets.ts";
import { type Cluster, topicOf } from "./secrets/cluster-file.ts";
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
  /** Reads the schema files again and does what they say; the log tells what came of it. */
  reload(): Promise<void>;
  /** Tells the peers, ends subscriptions, copies the WAL, closes. */
  stop(reason: string): Promise<void>;
  /** Settles when the network ended for good although nobody asked. */
  readonly failed: Promise<StartFailure>;
}

/** How long peers hold a place for an agent that was stopped in an orderly way: it may be restarting. */
const restartMs = 10_000;
/** A start without any peer for so long is worth a line. */
const lonelyMs = 15_000;
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
  const cluster = openCluster(config);
  if (cluster !== undefined) {
    const { name, id } = cluster;
    log.info("cluster", { name, id, admission_secret: "***", digest_key: "***" });
  }
  const standsAlone = cluster === undefined || !config.swarm.enabled;
  const schema = readSchemaFiles(config.schema.paths, config.tables);
  for (const { file, line, why } of schema.warnings) log.warn("schema", { file, line, why });
  const directory = new DataDirectory(config.node.dataDir);
  const key = openKey(config.node.keyFile, log);
  const tokens = config.api.token ? new TokenSet(readTokens(config)) : undefined;
  const socketIds = socketIdsOf(config);

  const claim = await claimSocketPath(config.api.socket);
  if (claim.kind === "refused") throw new StartFailure(exitCodes.socket, claim.why);
  let link: NetLink | undefined;
  let store: StoreThread | undefined;
  let server: HttpServer | undefined;
  const tcpServers: TcpServer[] = [];
  const agreements = new Agreements();
  const vfs = new FileVfs();
  const storeFailed = onlyARestartHelps(vfs, directory.databasePath);
  try {
    store = new StoreThread({
      vfs,
      databasePath: directory.databasePath,
      publicKey: key.publicKey,
      node: config.node,
      digestKey: cluster?.digestKey ?? directory.ownDigestKey(),
      schema,
      readSchema: () => {
        const now = readConfig();
        const read = readSchemaFiles(now.schema.paths, now.tables);
        const changed = changedKeys(config, now);
        if (changed.length === 0) return read;
        const why = `${changed.join(", ")}: changed, and taken up at the next start`;
        return { ...read, warnings: [...read.warnings, { file: "", line: 0, why }] };
      },
      readTokens:
        tokens &&
        (() => {
          const list = readTokens(readConfig());
          return () => tokens.replace(list);
        }),
      durability: config.store.durability,
      queryTimeoutMs: config.store.queryTimeoutMs,
      statementTimeoutMs: config.store.statementTimeoutMs,
      resultBytesMax: config.store.resultBytesMax,
      scrubRowsPerSecond: config.store.scrubRowsPerSecond,
      liveLimits: {
        ...liveLimits,
        changesMax: config.store.historyChanges,
        charsMax: config.store.historyBytes / 4,
        logCharsMax: config.store.historyBytes,
        heldBytesMax: config.store.subscribedBytes,
      },
      nonce: directory.readNonce() ?? "",
      renewNonce: () => directory.renewNonce(),
      standsAlone,
      agreements,
      log,
      swarm: async () => link?.ask({ kind: "swarm" }) ?? { kind: "stands-alone" },
      bodiesWaiting: async () => {
        const answer = await link?.ask({ kind: "swarm" });
        return answer !== undefined && "node" in answer ? answer.node.applyBodies : 0;
      },
    });
    logReport(store, log);
    const net = await startNetwork(
      config,
      standsAlone ? undefined : cluster,
      key,
      directory,
      store,
      agreements,
      log,
    );
    link = net?.link;
    const { service } = store;
    const { bodyBytesMax, subscriberBytesMax, endpointName } = config.api;
    const handle = createApi(service, { ...apiLimits, bodyBytesMax, subscriberBytesMax });
    const room = new RouteRoom();
    const onFault = (error: unknown): void =>
      log.error("a handler failed", { why: faultText(error) });
    server = serveUnix({
      path: config.api.socket,
      front: new Front({
        handle,
        room,
        gate: endpointName === "" ? undefined : createGate({ tokens: undefined, endpointName }),
      }),
      bodyBytesMax,
      onFault,
    });
    // Bound under umask 077: until here nobody else could connect.
    const { user, group } = socketIds;
    if (user !== undefined || group !== undefined) {
      changeOwner(config.api.socket, user ?? -1, group ?? -1);
    }
    chmodSync(config.api.socket, config.api.socketMode);
    const tcpFront = new Front({ handle, room, gate: createGate({ tokens, endpointName }) });
    for (const address of config.api.listen) {
      const served = serveTcp({ address, front: tcpFront, bodyBytesMax, onFault });
      if (served.kind === "refused") {
        throw new StartFailure(exitCodes.socket, `api.listen: ${served.why}`);
      }
      tcpServers.push(served.server);
    }
    const listen = tcpServers.map(({ address }) => listenAddressToText(address));
    if (listen.length > 0)
      log.info("serving", { listen: listen.join(","), token: tokens !== undefined });
    log.info("serving", { socket: config.api.socket, site: store.site, key: key.publicKey });
    const port = await net?.listening;
    if (port instanceof StartFailure) throw port;
    askForSlice(storeSliceMs);
    const running = { store, link, servers: [server, ...tcpServers] };
    const warming = new AbortController();
    if (!standsAlone) warmUpSoon(store, warming.signal, log);
    let stopping: Promise<void> | undefined;
    return {
      site: store.site,
      publicKey: key.publicKey,
      socket: config.api.socket,
      listen,
      port,
      failed: net === undefined ? storeFailed : Promise.race([net.failed, storeFailed]),
      reload: async () => {
        for await (const line of running.store.reload()) logReload(line, log);
      },
      stop: (reason) => {
        warming.abort();
        stopping ??= stop(running, claim.release, reason, log);
        return stopping;
      },
    };
  } catch (error) {
    await Promise.all([server?.stop(), ...tcpServers.map((one) => one.stop())]);
    await link?.stop(0, "the start failed");
    store?.stop();
    claim.release();
    throw error;
  }
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
    readonly servers: readonly HttpServer[];
  },
  release: () => void,
  reason: string,
  log: Log,
): Promise<void> {
  log.info("stopping", { reason });
  const { store, link, servers } = running;
  // Peers first: they are to know before anything here is slow.
  await link?.stop(Date.now() + restartMs, reason);
  store.service.endStreams();
  await Promise.all(servers.map((server) => server.stop()));
  store.stop();
  release();
  log.info("stopped");
}

/**
 * Resolves when the store can't go on in this process: a sync of the WAL failed, so that nobody knows
 * what is on the disk until it is read anew, or SQLite broke off. The agent ends, in order and with a
 * code, and whoever watches it starts it again.
 */
function onlyARestartHelps(vfs: FileVfs, databasePath: string): Promise<StartFailure> {
  return new Promise((resolve) => {
    const fail = (why: string) =>
      resolve(new StartFailure(exitCodes.data, `database ${databasePath}: ${why}`));
    vfs.onSyncFailed = (path, why) => fail(`${path} could not be synced (${why}): start again`);
    loadSqlite().onTrap = (trap) => fail(trap.message);
  });
}

/** @throws StartFailure */
function socketIdsOf(config: Config): { user: number | undefined; group: number | undefined } {
  const id = (kind: "user" | "group", name: string): number | undefined => {
    if (name === "") return undefined;
    const found = idOf(kind, name);
    if (found !== undefined) return found;
    const key = kind === "user" ? "api.socket_owner" : "api.socket_group";
    throw new StartFailure(exitCodes.usage, `${key}: there is no ${kind} ${name} on this host`);
  };
  const { socketOwner, socketGroup } = config.api;
  return { user: id("user", socketOwner), group: id("group", socketGroup) };
}

/** @throws StartFailure */
function changeOwner(path: string, user: number, group: number): void {
  try {
    chownSync(path, user, group);
  } catch (error) {
    const why = `${(error as Error).message}: only root may give it to another user, or to a group that isn't its own`;
    throw new StartFailure(exitCodes.socket, `socket ${path}: ${why}`);
  }
}

function openKey(path: string, log: Log): NodeKey {
  const read = openNodeKey(path);
  if (read.kind === "refused") throw new StartFailure(exitCodes.data, `node.key_file: ${read.why}`);
  if (read.isNew) log.info("new node key", { file: path, key: read.key.publicKey });
  return read.key;
}

interface StartedNetwork {
  readonly link: NetLink;
  /** The UDP port, once its sockets are bound. */
  readonly listening: Promise<number | StartFailure>;
  readonly failed: Promise<StartFailure>;
}

async function startNetwork(
  config: Config,
  cluster: Cluster | undefined,
  key: NodeKey,
  directory: DataDirectory,
  store: StoreThread,
  agreements: Agreements,
  log: Log,
): Promise<StartedNetwork | undefined> {
  if (cluster === undefined) {
    log.warn("standing alone: no cluster.file is configured, or swarm.enabled is false");
    await directory.nonceWritten();
    store.start(undefined);
    return undefined;
  }
  // Only now: an agent that stands alone doesn't load it.
  const { startNet } = await import("./net/link.ts");
  const { swarm, node } = config;
  const neighbours = new Neighbours(directory);
  const options: NetOptions = {
    nodeSeed: key.seed,
    name: node.name,
    region: node.region,
    zone: node.zone,
    cluster: { topic: topicOf(cluster.id), admissionSecret: cluster.admissionSecret },
    host: swarm.host,
    port: swarm.port === 0 ? directory.readPort() : swarm.port,
    bootstrap: swarm.bootstrap,
    isBootstrap: swarm.actAsBootstrap,
    ...(swarm.only.length > 0 ? { only: swarm.only } : {}),
    peers: swarm.peers,
    remembered: neighbours.list,
    incarnation: store.incarnation,
    // For libsodium, where the temporary folder is not executable.
    addonFolder: node.dataDir,
    heartbeatMs: swarm.heartbeatMs,
    ...(swarm.lossFraction > 0 ? { lossFraction: swarm.lossFraction } : {}),
  };
  const link = startNet(options);
  const lonely = setTimeout(() => {
    log.warn("no peer yet: is this the first agent, or is swarm.bootstrap out of reach?", {
      bootstrap: swarm.bootstrap.join(" ") || "none",
    });
  }, lonelyMs);
  lonely.unref();
  let fail: (failure: StartFailure) => void = () => {};
  const failed = new Promise<StartFailure>((resolve) => {
    fail = resolve;
  });
  const listening = new Promise<number | StartFailure>((resolve) => {
    link.onReport((report) => {
      if (report.kind === "agreed") agreements.noted(report);
      if (report.kind === "connected") {
        clearTimeout(lonely);
        neighbours.met(report.peer, report.address);
      }
      logNetReport(report, log);
      if (report.kind === "listening") {
        if (!swarm.actAsBootstrap) void directory.writePort(report.port);
        resolve(report.port);
      } else if (report.kind === "failed") {
        const failure = new StartFailure(exitCodes.network, `network: ${report.why}`);
        resolve(failure);
        fail(failure);
      }
    });
  });
  link.onRequest((request) => store.request(request));
  try {
    await directory.nonceWritten();
  } catch (error) {
    await link.stop(0, "the start failed");
    throw error;
  }
  store.start(link);
  return { link, listening, failed };
}

function logReport(store: StoreThread, log: Log): void {
  const { report } = store;
  for (const statement of report.statements) log.info("schema applied", { statement });
  if (report.adoptedRows > 0) log.info("rows taken in", { rows: report.adoptedRows });
  if (report.rehashedRows > 0) {
    log.info("the database was another cluster's: hashes are made anew", {
      rows: report.rehashedRows,
    });
  }
  if (report.surfacedRows > 0) log.info("held rows are shown", { rows: report.surfacedRows });
  if (report.rowsWithoutClocks > 0) {
    log.warn(
      "rows were written without Patina: nobody else hears of them until they are written again",
      {
        rows: report.rowsWithoutClocks,
      },
    );
  }
  if (report.clocksWithoutRows > 0) {
    log.warn("rows were deleted without Patina: a merge may bring them back", {
      rows: report.clocksWithoutRows,
    });
  }
}

function logReload(line: OperationLine, log: Log): void {
  if ("error" in line) log.error("reload", { why: line.error });
  else if ("done" in line) {
    const { statements, warnings } = line.done as Record<string, readonly string[]>;
    log.info("reloaded", { statements: statements?.length });
    for (const why of warnings ?? []) log.warn("reload", { why });
    const { added, revoked } = (line.done.tokens ?? {}) as Partial<TokensChange>;
    for (const name of added ?? []) log.info("token added", { name });
    for (const name of revoked ?? []) log.info("token taken back", { name });
  }
}

function logNetReport(report: NetReport, log: Log): void {
  switch (report.kind) {
    case "listening":
      log.info("network", { host: report.host, port: report.port, key: report.key });
      return;
    case "connected":
      log.info("peer connected", { peer: report.peer, address: report.address });
      return;
    case "disconnected":
      log.info("peer gone", { peer: report.peer, why: report.why });
      return;
    case "refused":
      log.warn("peer refused", { peer: report.peer, why: report.why });
      return;
    case "crashed":
      log.error("the net thread died", { why: report.why, restart_ms: report.restartMs });
      return;
    case "failed":
      log.error("the network failed", { why: report.why });
      return;
    case "agreed":
      log.debug("identical with a peer", { peer: report.peer, cut: report.cut });
      return;
    case "alarm":
      log.warn("alarm", { alarm: report.alarm, peer: report.peer, what: report.text });
      return;
  }
}

function faultText(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
