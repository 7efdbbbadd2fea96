/**
 * Clocks that are set again and again.
 *
 * @module
 */

import { Cluster } from "../cluster.ts";
import { Random } from "../random.ts";
import type { SimNode } from "../sim-node.ts";
import { startClients } from "./clients.ts";
import { finish, measured, type Scenario } from "./scenario.ts";

export const clockSteps: Scenario = {
  about:
    "clocks are set by seconds to hours, again and again, under clients; set right, all are as the model",
  nodes: 5,
  run: ({ seed, nodes }) => {
    const random = new Random(seed, "clock steps");
    using cluster = new Cluster({
      seed,
      nodes,
      store: random.chance(0.25) ? "sqlite" : "map",
      network: { delayMsMin: 0.2, delayMsMax: random.pick([2, 40, 150]) },
    });
    cluster.startAll();
    cluster.run(random.between(0, 3000));
    const untilMs = cluster.timeline.nowMs + 15_000;
    startClients(cluster, {
      rows: random.integer(5, 60),
      commitsPerSecond: random.integer(5, 40),
      untilMs,
    });
    // As far as peers would take, as far as nobody would, and what lies between.
    const stepMsMax = random.pick([8000, 50_000, 110_000, 180_000, 7_200_000]);
    const together = random.chance(0.3);
    const set = (node: SimNode, offsetMs: number) =>
      node.setClock(offsetMs + random.between(-200, 200));
    let steps = 0;
    const step = () => {
      if (cluster.timeline.nowMs >= untilMs) return;
      cluster.timeline.after(random.between(500, 5000), step);
      const offsetMs = random.between(-stepMsMax, stepMsMax);
      steps++;
      if (together) for (const node of cluster.nodes) set(node, offsetMs);
      else set(random.pick(cluster.nodes), random.chance(0.3) ? 0 : offsetMs);
      if (random.chance(0.15)) {
        const node = random.pick(cluster.nodes);
        if (!node.isUp) return;
        node.kill();
        cluster.timeline.after(random.between(200, 3000), () => {
          if (!node.isUp) node.start();
        });
      }
    };
    cluster.timeline.after(random.between(0, 3000), step);
    cluster.timeline.runUntil(untilMs);
    for (const node of cluster.nodes) {
      if (!node.isUp) node.start();
      node.setClock(0);
    }
    const finished = finish(cluster, 300_000);
    const restamped = cluster.nodes.map((node) => node.replica.status().clock.restampedRows);
    const restampedRows = restamped.reduce((sum, rows) => sum + rows, 0);
    return measured(cluster, { ...finished, steps, stepMsMax, together, restampedRows });
  },
};
