/**
 * Faults, drawn by the seed: which kinds this run has, how strong, and when they strike.
 *
 * @module
 */

import type { Cluster } from "./cluster.ts";
import type { SimNode } from "./sim-node.ts";

export interface Faults {
  /** The kinds that this run has. */
  readonly names: readonly string[];
  /** Ends all of them: the network is whole, all nodes are up, clocks are right. */
  end(): void;
}

/** Faults of the network that are there all the time, with a chance for each frame. */
const steady = {
  loss: [0.01, 0.2],
  repeat: [0.005, 0.1],
  vanish: [0.01, 0.2],
  corrupt: [0.0001, 0.001],
  garbage: [0.0001, 0.001],
} as const;

const episodes = [
  "partition",
  "one-way",
  "break",
  "kill",
  "net-crash",
  "power-loss",
  "pause",
  "store-pause",
  "clock-jump",
] as const;

type Episode = (typeof episodes)[number];

/** Begins faults that strike until `untilMs`. */
export function startFaults(
  cluster: Cluster,
  untilMs: number,
  allow: { readonly powerLoss: boolean },
): Faults {
  const random = cluster.random("faults");
  const { network, timeline } = cluster;
  // Some runs are all loss, others all clock jumps.
  const share = random.pick([0.15, 0.4, 0.8]);
  const steadyKinds = random.some(Object.keys(steady) as (keyof typeof steady)[], share);
  const kinds = random.some(
    episodes.filter((kind) => allow.powerLoss || kind !== "power-loss"),
    share,
  );
  const chance = (kind: keyof typeof steady) =>
    steadyKinds.includes(kind) ? random.between(steady[kind][0], steady[kind][1]) : 0;
  network.settings.lossChance = chance("loss");
  network.settings.repeatChance = chance("repeat");
  network.settings.vanishChance = chance("vanish");
  network.settings.corruptChance = chance("corrupt");
  network.settings.garbageChance = chance("garbage");
  const isSkewed = random.chance(share);
  if (isSkewed) for (const node of cluster.nodes) node.setClock(random.between(-300, 300));
  if (kinds.includes("power-loss")) for (const node of cluster.nodes) syncNowAndThen(cluster, node);

  const strike = () => {
    if (timeline.nowMs >= untilMs) return;
    timeline.after(random.between(100, 2500), strike);
    begin(cluster, random.pick(kinds), untilMs);
  };
  if (kinds.length > 0) timeline.after(random.between(0, 2000), strike);

  return {
    names: [...steadyKinds, ...kinds, ...(isSkewed ? ["skew"] : [])],
    end() {
      const { settings } = network;
      settings.lossChance = 0;
      settings.repeatChance = 0;
      settings.vanishChance = 0;
      settings.corruptChance = 0;
      settings.garbageChance = 0;
      for (const node of cluster.nodes) {
        node.setClock(0);
        if (!node.isUp) node.start();
      }
      network.heal();
    },
  };
}

function begin(cluster: Cluster, kind: Episode, untilMs: number): void {
  const random = cluster.random(`episode ${cluster.timeline.nowMs}`);
  const { network, timeline, nodes } = cluster;
  const node = random.pick(nodes);
  switch (kind) {
    case "partition":
    case "one-way": {
      const left = random.some(nodes, random.next());
      const right = nodes.filter((other) => !left.includes(other));
      network.cut(left, right);
      if (kind === "partition") network.cut(right, left);
      timeline.after(random.between(200, 8000), () => network.heal());
      return;
    }
    case "break":
      network.breakOne();
      return;
    case "kill":
    case "power-loss": {
      if (!node.isUp) return;
      if (kind === "kill") node.kill();
      else node.losePower();
      const againMs = timeline.nowMs + random.between(50, 4000);
      timeline.at(Math.min(againMs, untilMs - 1), () => {
        if (!node.isUp) node.start();
      });
      return;
    }
    case "net-crash":
      node.crashNet(random.between(100, 4000));
      return;
    case "pause":
      node.pause(random.between(50, 3000), "both");
      return;
    case "store-pause":
      node.pause(random.between(50, 4000), "store");
      return;
    case "clock-jump":
      node.setClock(random.between(-8000, 8000));
      timeline.after(random.between(100, 4000), () => node.setClock(random.between(-200, 200)));
      return;
    default:
      kind satisfies never;
  }
}

function syncNowAndThen(cluster: Cluster, node: SimNode): void {
  const random = cluster.random(`sync ${node.index}`);
  const sync = () => {
    node.sync();
    cluster.timeline.after(random.between(100, 900), sync);
  };
  sync();
}
