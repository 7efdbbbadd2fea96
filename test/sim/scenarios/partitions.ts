/**
 * Links that are cut, both ways or one.
 *
 * @module
 */

import { Cluster } from "../cluster.ts";
import { load, startClients } from "./clients.ts";
import { fetched, finish, measured, type Scenario } from "./scenario.ts";

export const partition: Scenario = {
  about: "two halves write on alone for 20 s, one of them many old ups; healed they are the same",
  nodes: 6,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes, network: { delayMsMin: 1, delayMsMax: 60 } });
    cluster.startAll();
    load(cluster.node(0), 0, 1000);
    cluster.put(cluster.node(0), "relapsing", { status: "down" }, 0);
    cluster.run(10_000);
    const half = nodes >> 1;
    const [left, right] = [cluster.nodes.slice(0, half), cluster.nodes.slice(half)];
    cluster.network.cut(left, right);
    cluster.network.cut(right, left);
    const untilMs = cluster.timeline.nowMs + 20_000;
    startClients(cluster, { rows: 1000, commitsPerSecond: 60, untilMs });
    // An instance that flaps 50 times in the cut-off half and ends up, and is then taken down here.
    for (let i = 0; i < 50; i++) {
      const status = i % 2 === 0 ? "down" : "up";
      const at = cluster.timeline.nowMs + 100 * i;
      cluster.timeline.at(at, () => cluster.put(cluster.node(0), "flapping", { status }, 0));
    }
    cluster.timeline.at(untilMs - 1000, () => {
      cluster.put(cluster.node(nodes - 1), "flapping", { status: "down" }, 0);
    });
    // One that is down everywhere: up again in one half, and in the other, which can't have heard, down again.
    cluster.timeline.at(untilMs - 2000, () => {
      cluster.put(cluster.node(0), "relapsing", { status: "up" });
    });
    cluster.timeline.at(untilMs - 1000, () => {
      cluster.put(cluster.node(nodes - 1), "relapsing", { status: "down" }, 0);
    });
    cluster.timeline.runUntil(untilMs);
    const before = cluster.repairBytes();
    cluster.network.heal();
    const finished = finish(cluster, 25_000);
    for (const node of cluster.nodes) {
      for (const row of ["flapping", "relapsing"]) {
        const status = node.store.shown().get(row)?.get("status");
        if (status === "down") continue;
        cluster.fail(`${node.name} shows ${row} ${status}: an older up beat a newer down`);
      }
    }
    return measured(cluster, {
      ...finished,
      ...fetched(cluster),
      healBytes: cluster.repairBytes() - before,
    });
  },
};

export const asymmetric: Scenario = {
  about: "one direction between two nodes is cut for good; the others carry what they can't say",
  nodes: 5,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes });
    cluster.startAll();
    cluster.run(3000);
    cluster.network.cut([cluster.node(0)], [cluster.node(1)]);
    const untilMs = cluster.timeline.nowMs + 10_000;
    startClients(cluster, { rows: 200, commitsPerSecond: 40, untilMs });
    cluster.timeline.runUntil(untilMs);
    const convergedMs = cluster.converge(15_000);
    return measured(cluster, { convergedMs, ...fetched(cluster) });
  },
};
