/**
 * Members that mean ill among others.
 *
 * @module
 */

import { Cluster } from "../cluster.ts";
import { malices } from "../hostile-peer.ts";
import { nameOfRow } from "../model.ts";
import { startClients } from "./clients.ts";
import { fetched, measured, type Scenario } from "./scenario.ts";

/** Several times the turn of an exchange, and less than what ill-meaning ones are listened to. */
const convergeMs = 60_000;

export const hostile: Scenario = {
  about:
    "members that write nonsense, stream without an end and never agree don't keep the others from it",
  nodes: 3,
  run: ({ seed, nodes }) => {
    // Where one stamp stands for two values the images of rows that changed since depend on the order.
    const sharesStamps = seed % 3 === 0;
    using cluster = new Cluster({
      seed,
      nodes,
      store: seed % 4 === 0 ? "sqlite" : "map",
      watched: sharesStamps ? 0 : 1,
    });
    const random = cluster.random("hostile");
    cluster.startAll();
    const late = cluster.node(nodes - 1);
    const [first] = cluster.nodes;
    const hostiles = Array.from({ length: random.integer(1, 5) }, () => {
      const malice = random.pick(malices);
      const victims = random.some(cluster.nodes, 0.6);
      return cluster.addHostile(malice, sharesStamps, victims.length > 0 ? victims : cluster.nodes);
    });
    cluster.run(5000);
    const untilMs = cluster.timeline.nowMs + 20_000;
    startClients(cluster, { rows: 60, commitsPerSecond: 10, untilMs });
    cluster.run(8000);
    // What it misses then it has to get by repair.
    if (first !== undefined) cluster.network.cut([first], [late]);
    cluster.run(8000);
    cluster.network.heal();
    cluster.timeline.runUntil(untilMs);
    for (const one of hostiles) one.writes = false;
    const convergedMs = cluster.converge(convergeMs);
    for (const node of cluster.nodes) {
      const { exchangesSilent } = node.machine.snapshot().counters;
      if (exchangesSilent > 1000)
        cluster.fail(`${node.name} waited in vain ${exchangesSilent} times`);
    }
    for (const one of hostiles) one.leave();
    cluster.run(7000);
    const difference = cluster.difference();
    if (difference !== undefined) cluster.fail(`was the same, and isn't any more: ${difference}`);
    return measured(cluster, { convergedMs, hostiles: hostiles.length, ...fetched(cluster) });
  },
};

export const mangled: Scenario = {
  about:
    "members that pass on what they hear damaged, and before others do, keep no urgent change away",
  nodes: 5,
  run: ({ seed, nodes }) => {
    const network = { delayMsMin: 30, delayMsMax: 150 };
    using cluster = new Cluster({ seed, nodes, network });
    const random = cluster.random("mangled");
    cluster.startAll();
    for (let i = 0; i < 2; i++) cluster.addHostile("mangler", false, cluster.nodes, 5);
    cluster.run(6000);
    const { timeline } = cluster;
    const saidMs = new Map<string, number>();
    let [came, slowestMs] = [0, 0];
    for (const node of cluster.nodes) {
      node.replica.onMerged((rows) => {
        for (const { key } of rows) {
          const atMs = saidMs.get(nameOfRow(key));
          if (atMs === undefined) continue;
          came++;
          slowestMs = Math.max(slowestMs, timeline.nowMs - atMs);
        }
      });
    }
    for (let i = 0; i < 100; i++) {
      saidMs.set(`urgent${i}`, timeline.nowMs);
      cluster.put(random.pick(cluster.nodes), `urgent${i}`, { status: "down" }, 0);
      cluster.run(20);
    }
    // Less than any repair takes.
    cluster.run(500);
    if (came !== 100 * nodes) cluster.fail(`${came} of ${100 * nodes} came at once`);
    const { bodiesRefused, verdictsDifferent } = cluster.counters();
    if (bodiesRefused === 0) cluster.fail("nothing damaged was refused: nobody passed it on");
    const convergedMs = cluster.converge(20_000);
    return measured(cluster, { convergedMs, slowestMs, bodiesRefused, verdictsDifferent });
  },
};
