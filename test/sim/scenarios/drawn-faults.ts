/**
 * Faults that the seed draws, over each of the two stores.
 *
 * @module
 */

import { Cluster } from "../cluster.ts";
import { startFaults } from "../faults.ts";
import { Random } from "../random.ts";
import { startClients } from "./clients.ts";
import { finish, measured, type Scenario, slowHeartbeats } from "./scenario.ts";

export const mixed: Scenario = {
  about: "clients everywhere and faults that the seed draws; then all must be as the model",
  nodes: 8,
  run: ({ seed, nodes }) => {
    const random = new Random(seed, "mixed");
    using cluster = new Cluster({
      seed,
      nodes,
      degree: nodes <= 8 ? nodes : random.integer(3, 6),
      network: { delayMsMin: 0.2, delayMsMax: random.pick([2, 40, 150]) },
      tuning: nodes > 12 ? slowHeartbeats : {},
    });
    cluster.startAll();
    cluster.run(random.between(0, 3000));
    const untilMs = cluster.timeline.nowMs + 8000;
    // A changeset is received some five times by each node.
    const commitsPerSecond = random.integer(5, nodes > 12 ? 25 : 60);
    startClients(cluster, {
      rows: random.integer(5, 120),
      commitsPerSecond,
      untilMs,
      bulkChance: random.pick([0, 0, 0.02]),
    });
    const faults = startFaults(cluster, untilMs, { powerLoss: true });
    cluster.timeline.runUntil(untilMs);
    faults.end();
    return measured(cluster, { ...finish(cluster, 60_000), faults: faults.names });
  },
};

export const sqlite: Scenario = {
  about: "as mixed, over the real SQLite store",
  nodes: 3,
  run: ({ seed, nodes }) => {
    const random = new Random(seed, "sqlite");
    using cluster = new Cluster({
      seed,
      nodes,
      store: "sqlite",
      network: { delayMsMin: 0.2, delayMsMax: 40 },
    });
    cluster.startAll();
    cluster.run(random.between(0, 2000));
    const untilMs = cluster.timeline.nowMs + 8000;
    startClients(cluster, {
      rows: random.integer(5, 60),
      commitsPerSecond: random.integer(5, 50),
      untilMs,
      bulkChance: random.pick([0, 0.02]),
    });
    const faults = startFaults(cluster, untilMs, { powerLoss: false });
    cluster.timeline.runUntil(untilMs);
    faults.end();
    return measured(cluster, { ...finish(cluster, 60_000), faults: faults.names });
  },
};
