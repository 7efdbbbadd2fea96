/**
 * What was lost on the way is found and repaired, and at what cost.
 *
 * @module
 */

import { Cluster } from "../cluster.ts";
import type { SimNode } from "../sim-node.ts";
import { load } from "./clients.ts";
import { fetched, finish, measured, type Scenario, slowHeartbeats } from "./scenario.ts";

export const repairBytesScenario: Scenario = {
  about: "10 of 10,000 rows differ, by lost pushes or by 11 minutes apart: repaired in 20 KB",
  nodes: 2,
  run: ({ seed, nodes }) => {
    const isOld = seed % 2 === 1;
    // Scans of 5 s, as a large store's: nobody may take them for silence.
    const replica = isOld ? { scanRowsPerTick: 200, scanPauseMs: 100 } : {};
    using cluster = new Cluster({ seed, nodes, tuning: slowHeartbeats, replica, watched: 0 });
    cluster.startAll();
    load(cluster.node(0), 0, 10_000);
    cluster.run(20_000);
    const random = cluster.random("rows");
    const [a, b] = [[cluster.node(0)], cluster.nodes.slice(1)];
    const before = cluster.repairBytes();
    if (isOld) {
      // Apart for so long that neither the exchange of recent rows nor the recent lists know of it.
      cluster.network.cut(a, b);
      cluster.network.cut(b, a);
      cluster.run(1000);
    } else cluster.network.settings.vanishChance = 1;
    for (let i = 0; i < 10; i++) {
      const row = `i${1000 * i + random.integer(0, 1000)}`;
      cluster.put(cluster.node(i % 2), row, { weight: 1000 + i });
    }
    cluster.run(1000);
    cluster.network.settings.vanishChance = 0;
    if (isOld) {
      cluster.run(11 * 60_000);
      cluster.network.heal();
    }
    cluster.converge(isOld ? 60_000 : 20_000);
    const bytes = cluster.repairBytes() - before;
    if (bytes > 20_000) cluster.fail(`10 differing rows of 10,000 cost ${bytes} bytes`);
    return measured(cluster, {
      ...finish(cluster, 1000),
      repairBytesForTen: bytes,
      isOld,
      ...fetched(cluster),
    });
  },
};

export const hiddenDifference: Scenario = {
  about: "rows that one side alone keeps as recent don't hide those that differ beside them",
  nodes: 2,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      tuning: slowHeartbeats,
      watched: 0,
      replicaOf: (index) => ({
        recentRows: { keepMs: 600_000, rowsMax: index === seed % 2 ? 3000 : 300 },
      }),
    });
    cluster.startAll();
    load(cluster.node(0), 0, 6000);
    cluster.run(20_000);
    cluster.network.settings.vanishChance = 1;
    for (let i = 0; i < 20; i++) cluster.put(cluster.node(0), `i${i * 100}`, { weight: 1000 + i });
    cluster.run(500);
    cluster.network.settings.vanishChance = 0;
    // They are no longer among the recent rows of either, and share their ranges with some that are.
    for (let i = 3000; i < 6000; i++) cluster.put(cluster.node(0), `i${i}`, { weight: i });
    cluster.run(500);
    const atOne = cluster.node(1).store.shown();
    if (Number(atOne.get("i100")?.get("weight")) === 1001) cluster.fail("the writes weren't lost");
    cluster.converge(30_000);
    return measured(cluster, { ...finish(cluster, 1000), ...fetched(cluster) });
  },
};

export const twoWriters: Scenario = {
  about:
    "two writers change two columns of one row, one frame is lost: equal stamps, other digests",
  nodes: 3,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes });
    cluster.startAll();
    cluster.put(cluster.node(0), "i1", { status: "up", address: "10.0.0.1:80", weight: 1 });
    cluster.run(9000);
    // The first write reaches nobody, the second everybody.
    cluster.network.settings.vanishChance = 1;
    cluster.put(cluster.node(0), "i1", { address: "10.0.0.2:80" });
    cluster.run(10);
    cluster.network.settings.vanishChance = 0;
    cluster.put(cluster.node(1), "i1", { weight: 2 });
    cluster.run(400);
    // Everybody has the second write's stamp as the row's stamp; the first writer alone has both.
    const address = (node: SimNode) => node.store.shown().get("i1")?.get("address");
    if (address(cluster.node(1)) !== "10.0.0.1:80") cluster.fail("the first write wasn't lost");
    const finished = finish(cluster, 15_000);
    return measured(cluster, { ...finished, ...fetched(cluster) });
  },
};
