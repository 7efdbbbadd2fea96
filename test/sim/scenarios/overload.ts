/**
 * More comes than a store or a link can take.
 *
 * @module
 */

import { frameKind, partBytesMax } from "../../../core/change/frame.ts";
import { nodeDefaults } from "../../../core/node/options.ts";
import { Cluster } from "../cluster.ts";
import { madeUp } from "../hostile-peer.ts";
import { nameOfRow } from "../model.ts";
import type { SimNode } from "../sim-node.ts";
import { startClients } from "./clients.ts";
import { fetched, finish, measured, type Scenario } from "./scenario.ts";

export const credit: Scenario = {
  about: "2,000 queued bulk messages of 1 ms delay an urgent one by one slice at most",
  nodes: 2,
  run: ({ seed, nodes }) => {
    const costs = { changesetMs: 1, rowMs: 0, requestMs: 0.05 };
    using cluster = new Cluster({ seed, nodes, costs });
    cluster.startAll();
    cluster.run(3000);
    const [a, b] = [cluster.node(0), cluster.node(1)];
    for (let i = 0; i < 2000; i++) cluster.put(a, `bulk${i}`, { weight: i }, 2);
    // b is fed faster than it applies: it was busy with other things.
    b.pause(2200, "store");
    cluster.run(2300);
    b.urgentDelaysMs = [];
    cluster.put(a, "i1", { status: "down" }, 0);
    cluster.run(500);
    const delaysMs = b.urgentDelaysMs;
    const waiting = b.machine.snapshot().applyBytes.bulk;
    const delayMs = delaysMs[0] ?? Number.POSITIVE_INFINITY;
    if (waiting === 0) cluster.fail("the bulk messages weren't waiting");
    if (delaysMs.length === 0) cluster.fail("the urgent message wasn't applied");
    const sliceMs = 64 * costs.changesetMs + 2;
    if (delayMs > sliceMs + 2)
      cluster.fail(`an urgent apply waited ${delayMs} ms, a slice is ${sliceMs}`);
    return measured(cluster, { delayMs, ...finish(cluster, 20_000) });
  },
};

export const flood: Scenario = {
  about: "more is written than the link carries: urgent goes first, what is dropped is repaired",
  nodes: 2,
  run: ({ seed, nodes }) => {
    const bytesPerMs = 500;
    const lanes = {
      windowBytes: nodeDefaults.lanes.windowBytes,
      queueBytesMax: [64e6, 512e3, 2e6],
    } as const;
    using cluster = new Cluster({
      seed,
      nodes,
      tuning: { lanes },
      network: { bytesPerMs, delayMsMin: 10, delayMsMax: 20 },
    });
    cluster.startAll();
    cluster.run(3000);
    const [a, b] = [cluster.node(0), cluster.node(1)];
    const sentMs = new Map<string, number>();
    let [slowestMs, urgent] = [0, 0];
    b.replica.onMerged((rows) => {
      for (const { key } of rows) {
        const wroteMs = sentMs.get(nameOfRow(key));
        if (wroteMs === undefined) continue;
        sentMs.delete(nameOfRow(key));
        urgent++;
        slowestMs = Math.max(slowestMs, cluster.timeline.nowMs - wroteMs);
      }
    });
    const { timeline } = cluster;
    const startMs = timeline.nowMs;
    for (let i = 0; i < 4000; i++) {
      timeline.at(startMs + 2 * i, () => {
        cluster.put(a, `big${i % 300}`, { address: `${i} ${"x".repeat(2000)}` });
      });
      if (i % 50 !== 0) continue;
      timeline.at(startMs + 2 * i, () => {
        sentMs.set(`urgent${i}`, timeline.nowMs);
        cluster.put(a, `urgent${i}`, { status: "down" }, 0);
      });
    }
    cluster.run(9000);
    const { sendDropped } = cluster.counters();
    if (sendDropped === 0) cluster.fail("nothing was dropped: it was no flood");
    if (sentMs.size > 0) cluster.fail(`${sentMs.size} of 80 urgent changes didn't come`);
    const [, normal, bulk] = lanes.windowBytes;
    const boundMs = (normal + bulk + partBytesMax) / bytesPerMs + 50;
    if (slowestMs > boundMs) cluster.fail(`an urgent change took ${slowestMs} ms, not ${boundMs}`);
    const finished = finish(cluster, 40_000);
    return measured(cluster, { ...finished, urgent, slowestMs, sendDropped, ...fetched(cluster) });
  },
};

export const backlog: Scenario = {
  about: "a store stands still for 9 s: exchanges are refused, nobody takes what waits for damage",
  nodes: 3,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes, costs: { changesetMs: 2 } });
    cluster.startAll();
    cluster.run(8000);
    const untilMs = cluster.timeline.nowMs + 12_000;
    startClients(cluster, { rows: 500, commitsPerSecond: 200, untilMs });
    cluster.run(1000);
    const stuck = cluster.node(nodes - 1);
    stuck.pause(9000, "store");
    cluster.run(5000);
    const { isStuck, storeLagMs } = stuck.machine.snapshot();
    if (!isStuck || storeLagMs < 4000) cluster.fail(`the store isn't seen as stuck: ${storeLagMs}`);
    for (const node of cluster.nodes) {
      const state = cluster.stateSeen(node, stuck);
      if (state !== "ALIVE") cluster.fail(`a host with a stuck store is seen as ${state}`);
    }
    cluster.timeline.runUntil(untilMs);
    const finished = finish(cluster, 20_000);
    const { verdictsEqual, verdictsDifferent, exchangesBusy } = cluster.counters();
    if (verdictsDifferent > 0) cluster.fail(`${verdictsDifferent} verdicts say different`);
    if (exchangesBusy === 0) cluster.fail("no exchange was answered busy");
    return measured(cluster, { ...finished, verdictsEqual, exchangesBusy, ...fetched(cluster) });
  },
};

export const echo: Scenario = {
  about:
    "links so slow that nodes forget a change before it comes round again: it isn't sent round for ever",
  nodes: 4,
  run: ({ seed, nodes }) => {
    // As 60 s of memory are to queues that take minutes to send.
    const tuning = { seenMs: 150 };
    const network = { delayMsMin: 300, delayMsMax: 600 };
    using cluster = new Cluster({ seed, nodes, tuning, network });
    let pushes = 0;
    cluster.network.onSent = (_from, _to, frame) => {
      if (frame[0] === frameKind.push) pushes++;
    };
    cluster.startAll();
    cluster.run(3000);
    const untilMs = cluster.timeline.nowMs + 5000;
    startClients(cluster, { rows: 50, commitsPerSecond: 10, untilMs });
    cluster.timeline.runUntil(untilMs);
    const pushedBefore = pushes;
    cluster.run(5000);
    const before = pushes;
    cluster.run(5000);
    if (pushes > before) {
      cluster.fail(`${pushes - before} pushes 5 to 10 s after the last of ${pushedBefore}`);
    }
    return measured(cluster, { pushes, ...finish(cluster, 20_000) });
  },
};

export const urgentFlood: Scenario = {
  about:
    "a member says more that is urgent than stores can take, of one host or of many made up: others' downs come at once",
  nodes: 6,
  run: ({ seed, nodes }) => {
    const bytesPerMs = 5000;
    using cluster = new Cluster({
      seed,
      nodes,
      degree: 3,
      network: { bytesPerMs, delayMsMin: 1, delayMsMax: 5 },
      costs: { changesetMs: 1 },
    });
    // Its neighbour may be so fast that it passes all of it on, and the next ones hear what it says itself over the same streams.
    const isFast = seed % 4 >= 2;
    if (isFast) cluster.node(0).costs = { requestMs: 0.01, changesetMs: 0.01, rowMs: 0.0001 };
    cluster.startAll();
    const flooder = cluster.addHostile("flooder", false, [cluster.node(0)], 1);
    // Hosts say something from time to time.
    for (let round = 0; round < 2; round++) {
      cluster.run(6000);
      for (const node of cluster.nodes)
        cluster.put(node, `load of ${node.name}`, { weight: round });
      cluster.run(6000);
    }
    const { timeline } = cluster;
    const saidMs = new Map<string, number>();
    const heard = new Set<string>();
    const floodChanges = 2000;
    let [slowestMs, floodHeard] = [0, 0];
    for (const node of cluster.nodes) {
      node.replica.onMerged((rows) => {
        for (const { key } of rows) {
          const name = nameOfRow(key);
          if (name.startsWith(madeUp)) floodHeard++;
          const atMs = saidMs.get(name);
          if (atMs === undefined || heard.has(`${name} at ${node.name}`)) continue;
          heard.add(`${name} at ${node.name}`);
          slowestMs = Math.max(slowestMs, timeline.nowMs - atMs);
        }
      });
    }
    const streamsBroken = cluster.network.breaks;
    flooder.flood(floodChanges, 1000, seed % 2 === 0);
    const speakers = cluster.nodes.slice(isFast ? 0 : 1);
    for (let i = 0; i < 12; i++) {
      cluster.run(100);
      const name = `down${i}`;
      saidMs.set(name, timeline.nowMs);
      cluster.put(speakers[i % speakers.length] as SimNode, name, { status: "down" }, 0);
    }
    const floodLeft = floodChanges * nodes - floodHeard;
    if (floodLeft < floodChanges) cluster.fail("it was no flood, for it is over");
    cluster.runUntil(
      () => heard.size === saidMs.size * nodes,
      20_000,
      () => `of ${saidMs.size} downs at ${nodes} nodes ${heard.size} came`,
      10,
    );
    const { sendDropped, applyDropped } = cluster.counters();
    // On each of two hops: the window of urgent frames, some turns of others, and what the store has of these.
    const boundMs = 2 * (nodeDefaults.lanes.windowBytes[0] / bytesPerMs);
    if (slowestMs > boundMs) cluster.fail(`a down took ${slowestMs} ms, not ${boundMs}`);
    if (cluster.network.breaks > streamsBroken) cluster.fail("a stream was closed");
    flooder.leave();
    const convergedMs = cluster.converge(40_000);
    return measured(cluster, { convergedMs, slowestMs, floodLeft, sendDropped, applyDropped });
  },
};
