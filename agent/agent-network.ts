/**
 * An agent's network: starts the net thread, joins it to the store, and tells what happens there.
 *
 * @module
 */

import { unsetText } from "../core/replica/drift.ts";
import type { Config } from "./config/config.ts";
import type { DataDirectory } from "./data/data-directory.ts";
import { Neighbours } from "./data/neighbours.ts";
import type { Log } from "./log.ts";
import type { Agreements } from "./net/agreements.ts";
import type { NetLink } from "./net/link.ts";
import type { NetOptions, NetReport } from "./net/messages.ts";
import { type Cluster, topicOf } from "./secrets/cluster-file.ts";
import type { NodeKey } from "./secrets/node-key.ts";
import { exitCodes, StartFailure } from "./start-failure.ts";
import type { StoreThread } from "./store/store-thread.ts";
import { clockFloorMs } from "./version.ts";

/** A start without any peer for so long is worth a line. */
const lonelyMs = 15_000;

export interface StartedNetwork {
  readonly link: NetLink;
  /** The UDP port, once its sockets are bound. */
  readonly listening: Promise<number | StartFailure>;
  readonly failed: Promise<StartFailure>;
}

export interface NetworkOptions {
  readonly config: Config;
  /** Undefined: the agent stands alone. */
  readonly cluster: Cluster | undefined;
  readonly key: NodeKey;
  readonly directory: DataDirectory;
  readonly store: StoreThread;
  readonly agreements: Agreements;
  readonly log: Log;
}

/** Starts the net thread, and the store's side of it. Undefined for an agent that stands alone. */
export async function startNetwork(options: NetworkOptions): Promise<StartedNetwork | undefined> {
  const { config, cluster, directory, store, agreements, log } = options;
  const isUnset = Date.now() < clockFloorMs;
  if (cluster === undefined) {
    if (isUnset) {
      const meanwhile =
        "what is written is stamped so, and loses to all others if this host joins a cluster";
      log.warn("clock-unset", { why: `${unsetText(Date.now())}; ${meanwhile}` });
    }
    log.warn("standing alone: no cluster.file is configured, or swarm.enabled is false");
    await directory.nonceWritten();
    store.start(undefined);
    return undefined;
  }
  if (isUnset) {
    log.warn("clock-unset", { why: `${unsetText(Date.now())}; writes are refused until it is` });
  }
  // Only now: an agent that stands alone doesn't load it.
  const { startNet } = await import("./net/link.ts");
  const { swarm } = config;
  const neighbours = new Neighbours(directory);
  const link = startNet(netOptionsOf(options, cluster, neighbours));
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
        if (!swarm.actAsBootstrap) {
          void directory.writePort(report.port);
          // It goes on: who is here can read. But a firewall, and others' `swarm.peers`, may know the configured one only.
          if (swarm.port !== 0 && report.port !== swarm.port) {
            const { port } = report;
            log.warn("swarm.port is taken, and another port is used", { wanted: swarm.port, port });
          }
        }
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

function netOptionsOf(
  { config: { swarm, node }, key, directory, store }: NetworkOptions,
  cluster: Cluster,
  neighbours: Neighbours,
): NetOptions {
  return {
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
