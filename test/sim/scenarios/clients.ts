/**
 * What clients write: instances that are registered, updated, taken down and removed.
 *
 * @module
 */

import type { Cluster } from "../cluster.ts";
import type { SimNode } from "../sim-node.ts";

/** Clients all over the cluster that register, update, take down and remove instances. */
export function startClients(
  cluster: Cluster,
  options: {
    readonly rows: number;
    readonly commitsPerSecond: number;
    readonly untilMs: number;
    readonly bulkChance?: number;
    readonly deleteChance?: number;
    readonly nodes?: readonly SimNode[];
    /** A restarted node's clients come back after this. */
    readonly returnMs?: number;
  },
): void {
  const random = cluster.random("clients");
  const { rows, commitsPerSecond, untilMs, bulkChance = 0, deleteChance = 0.1 } = options;
  const { returnMs = 0 } = options;
  const nodes = options.nodes ?? cluster.nodes;
  const act = () => {
    const { timeline } = cluster;
    if (timeline.nowMs >= untilMs) return;
    timeline.after((2000 * random.next()) / commitsPerSecond, act);
    const node = random.pick(nodes);
    if (node.incarnation > 1 && timeline.nowMs < node.startedMs + returnMs) return;
    const row = `i${random.integer(0, rows)}`;
    const weight = random.integer(0, 100);
    if (random.chance(bulkChance)) {
      const commands = Array.from({ length: random.integer(20, 200) }, (_, i) => ({
        kind: "put" as const,
        row: `i${(random.integer(0, rows) + i) % rows}`,
        values: new Map(instance("up", weight)),
      }));
      node.write(commands, 2);
    } else if (random.chance(deleteChance)) cluster.delete(node, row);
    else if (random.chance(0.4)) cluster.put(node, row, { weight });
    else if (random.chance(0.5)) cluster.put(node, row, Object.fromEntries(instance("up", weight)));
    else cluster.put(node, row, { status: "down" }, 0);
  };
  cluster.timeline.after(0, act);
}

/** Rows `first`..`first + count` written on one node, in transactions of 500. */
export function load(node: SimNode, first: number, count: number): void {
  for (let at = 0; at < count; at += 500) {
    const commands = Array.from({ length: Math.min(500, count - at) }, (_, i) => ({
      kind: "put" as const,
      row: `i${first + at + i}`,
      values: new Map(instance("up", (first + at + i) % 100)),
    }));
    node.write(commands, 2);
  }
}

/** The columns of an instance, with their values. */
export function instance(status: string, weight: number): [string, string | number][] {
  return [
    ["status", status],
    ["address", `10.0.${weight}.1:8080`],
    ["weight", weight],
  ];
}
