/**
 * What a scenario is, how it ends, and what each of them reports.
 *
 * @module
 */

import type { Cluster } from "../cluster.ts";
import type { SimNode } from "../sim-node.ts";

export interface ScenarioOptions {
  readonly seed: number;
  readonly nodes: number;
}

export type Measured = Record<string, number | string | boolean | readonly string[]>;

export interface Scenario {
  readonly about: string;
  /** When the command line doesn't say. */
  readonly nodes: number;
  readonly run: (options: ScenarioOptions) => Measured;
}

/** What every run reports. */
export function measured(cluster: Cluster, more: Measured = {}): Measured {
  const { timeline, network, model, trace } = cluster;
  return {
    ...more,
    virtualMs: Math.round(timeline.nowMs),
    events: timeline.events,
    commits: model.commits,
    frames: network.frames,
    bytes: network.bytes,
    streamsBroken: network.breaks,
    trace,
  };
}

/** What repair cost, over all nodes. */
export function fetched(cluster: Cluster): Measured {
  const { rowsFetched, rowsNoise, scansAsked } = cluster.counters();
  return { repairBytes: cluster.repairBytes(), rowsFetched, rowsNoise, scansAsked };
}

/** All nodes agree, and still do a settle time later; every node sees every neighbour alive. */
export function finish(cluster: Cluster, deadlineMs: number): Measured {
  const convergedMs = cluster.converge(deadlineMs);
  cluster.run(7000);
  const difference = cluster.difference();
  if (difference !== undefined) cluster.fail(`was the same, and isn't any more: ${difference}`);
  for (const node of cluster.up) {
    for (const peer of cluster.network.neighbours(node)) {
      const state = cluster.stateSeen(node, peer as SimNode);
      if (state !== "ALIVE") cluster.fail(`${node.name} sees n${peer.index} as ${state}`);
      if (cluster.agreed(node, peer as SimNode) === undefined) continue;
    }
    const { isStuck, applyBytes } = node.machine.snapshot();
    if (isStuck || applyBytes.normal + applyBytes.bulk > 0) cluster.fail(`${node.name} isn't idle`);
  }
  return { convergedMs };
}

/** Fewer heartbeats, so that a run of many nodes is about what it is about. */
export const slowHeartbeats = {
  heartbeatMs: 1000,
  members: { suspectMs: 4000, downMs: 5000, flipMs: 2000 },
};
