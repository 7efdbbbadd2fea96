/**
 * What nodes believe of each other.
 *
 * @module
 */

import { Cluster } from "../cluster.ts";
import type { SimNode } from "../sim-node.ts";
import { finish, measured, type Scenario } from "./scenario.ts";

export const plannedStop: Scenario = {
  about: "a planned stop of 12 s is a suspicion and no death; a kill of 12 s is down after 5.8 s",
  nodes: 3,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes });
    cluster.startAll();
    cluster.run(3000);
    const [a, b, c] = [cluster.node(0), cluster.node(1), cluster.node(2)];
    const atMs = cluster.timeline.nowMs;
    b.stop(15_000);
    c.kill(100);
    cluster.run(12_000);
    const of = (node: SimNode) =>
      a.memberHistory.filter((change) => change.node === node.name && change.atMs > atMs);
    const text = (node: SimNode) =>
      of(node)
        .map(({ state }) => state)
        .join(" ");
    if (text(b) !== "SUSPECT") cluster.fail(`a planned stop was seen as: ${text(b)}`);
    if (text(c) !== "SUSPECT DOWN") cluster.fail(`a kill was seen as: ${text(c)}`);
    const downMs = (of(c)[1]?.atMs ?? 0) - atMs;
    if (downMs < 5600 || downMs > 6500) cluster.fail(`down after ${downMs} ms, not 5.8 s`);
    b.start();
    c.start();
    return measured(cluster, { downMs, ...finish(cluster, 20_000) });
  },
};
