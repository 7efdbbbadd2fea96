/**
 * A node that is behind gets what it lacks: it is new, or it was killed or apart.
 *
 * @module
 */

import { zstd } from "../../../agent/host/zstd.ts";
import { frameKind } from "../../../core/change/frame.ts";
import { Cluster } from "../cluster.ts";
import type { SimNode } from "../sim-node.ts";
import { load, startClients } from "./clients.ts";
import { fetched, finish, measured, type Scenario, slowHeartbeats } from "./scenario.ts";

export const late: Scenario = {
  about: "a node with an empty database joins a cluster of 5,000 rows under writes",
  nodes: 4,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      watched: 0,
      network: { delayMsMin: 1, delayMsMax: 40 },
      // In every other run all can compress; in the others node 0 can't, or the newcomer can't read it.
      zstdOf: (index) =>
        index === [nodes - 1, undefined, 0, undefined][seed % 4] ? undefined : zstd,
    });
    const newcomer = cluster.node(nodes - 1);
    const others = cluster.nodes.slice(0, -1);
    for (const node of others) node.start();
    load(cluster.node(0), 0, 5000);
    // So long that nobody names these rows as recent.
    cluster.run(100_000);
    const untilMs = cluster.timeline.nowMs + 6000;
    startClients(cluster, { rows: 5000, commitsPerSecond: 50, untilMs, nodes: others });
    cluster.run(1000);
    const streamed = countStreamed(cluster);
    newcomer.start();
    const { nowMs } = cluster.timeline;
    const has = () => {
      const isComplete = newcomer.store.shown().size >= 0.98 * cluster.node(0).store.shown().size;
      // The agent is ready once it has agreed with anybody.
      const agrees = others.some((node) => cluster.agreed(newcomer, node) !== undefined);
      if (agrees && !isComplete) cluster.fail("the newcomer agrees before it has the rows");
      return isComplete;
    };
    cluster.runUntil(has, 4000, () => "the newcomer has no rows after 4 s", 50);
    const rowsMs = cluster.timeline.nowMs - nowMs;
    cluster.timeline.runUntil(untilMs);
    const finished = finish(cluster, 20_000);
    if (streamed.plain + streamed.packed === 0) cluster.fail("rows came, and not in a stream");
    if (seed % 2 === 1 && streamed.packed === 0) cluster.fail("no stream was compressed");
    if (seed % 4 === 0 && streamed.packed > 0) cluster.fail("nobody can read what was compressed");
    return measured(cluster, { rowsMs, ...finished, ...streamed, ...fetched(cluster) });
  },
};

export const lateAfterLoad: Scenario = {
  about: "an empty node joins five that were loaded just now, and all name the same recent rows",
  nodes: 6,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      watched: 0,
      network: { delayMsMin: 1, delayMsMax: 40 },
    });
    const newcomer = cluster.node(nodes - 1);
    for (const node of cluster.nodes.slice(0, -1)) node.start();
    cluster.run(2000);
    const rows = 3000;
    load(cluster.node(0), 0, rows);
    cluster.run(1500);
    newcomer.start();
    const has = () => newcomer.store.shown().size === rows;
    const rowsMs = cluster.runUntil(has, 4000, () => "the newcomer lacks rows after 4 s", 10);
    const finished = finish(cluster, 20_000);
    const { rowsFetched } = newcomer.machine.snapshot().counters;
    // Once as recent and once in the stream, and some of what was under way twice.
    if (rowsFetched > 2.5 * rows) cluster.fail(`${rowsFetched} rows fetched for ${rows}`);
    return measured(cluster, { rowsMs, newcomerFetched: rowsFetched, ...finished });
  },
};

export const mostlyDifferent: Scenario = {
  about: "nearly all of 4,000 rows changed while a node was apart: it takes them in a stream",
  nodes: 3,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      tuning: slowHeartbeats,
      watched: 0,
      zstdOf: () => zstd,
    });
    cluster.startAll();
    const rows = 4000;
    load(cluster.node(0), 0, rows);
    cluster.run(20_000);
    const apart = cluster.node(nodes - 1);
    const others = cluster.nodes.slice(0, -1);
    cluster.network.cut([apart], others);
    cluster.network.cut(others, [apart]);
    cluster.run(1000);
    const random = cluster.random("rows");
    for (let i = 0; i < rows; i++) {
      if (random.chance(0.95)) cluster.put(cluster.node(0), `i${i}`, { weight: 1000 + i });
    }
    // What it wrote meanwhile, later than anybody else, must get to the others.
    cluster.timeline.after(2000, () => cluster.put(apart, "i7", { status: "down" }, 0));
    // So long that no list of recent rows knows of it.
    cluster.run(11 * 60_000);
    const before = cluster.counters();
    const bytesBefore = cluster.repairBytes();
    const streamed = countStreamed(cluster);
    cluster.network.heal();
    const finished = finish(cluster, 60_000);
    const { scansAsked, rowsOffered } = cluster.counters();
    if (streamed.packed === 0) cluster.fail("it didn't ask for a stream");
    // Naming 4,000 rows both ways alone would cost 200 KB.
    const bytes = cluster.repairBytes() - bytesBefore;
    if (bytes > 400_000) cluster.fail(`${bytes} bytes for ${rows} rows`);
    const scans = scansAsked - before.scansAsked;
    if (scans > 2) cluster.fail(`${scans} scans of the whole store for lists`);
    const status = cluster.node(0).store.shown().get("i7")?.get("status");
    if (status !== "down") cluster.fail(`a down that was written apart is shown as ${status}`);
    return measured(cluster, { ...finished, ...streamed, repairBytes: bytes, scans, rowsOffered });
  },
};

export const flakyCatchUp: Scenario = {
  about:
    "an empty node's connections break before half of the rows are through: it goes on, and doesn't begin anew",
  nodes: 2,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      watched: 0,
      network: { delayMsMin: 1, delayMsMax: 40, bytesPerMs: 20 },
      tuning: { streamCreditBytes: 16 * 1024 },
    });
    const [full, newcomer] = [cluster.node(0), cluster.node(1)];
    full.start();
    const rows = 6000;
    load(full, 0, rows);
    cluster.run(100_000);
    newcomer.start();
    const { nowMs } = cluster.timeline;
    const breakOff = () => {
      if (newcomer.store.shown().size >= rows) return;
      cluster.network.breakOne();
      cluster.timeline.after(2500, breakOff);
    };
    cluster.timeline.after(2500, breakOff);
    const has = () => newcomer.store.shown().size === rows;
    cluster.runUntil(has, 60_000, () => `${newcomer.store.shown().size} rows after a minute`, 250);
    const rowsMs = cluster.timeline.nowMs - nowMs;
    const finished = finish(cluster, 30_000);
    return measured(cluster, { rowsMs, ...finished, ...fetched(cluster) });
  },
};

/** Frames of row streams, from now on. */
function countStreamed({ network }: Cluster): { plain: number; packed: number } {
  const count = { plain: 0, packed: 0 };
  network.onSent = (_from, _to, frame) => {
    if (frame[0] !== frameKind.streamed) return;
    // Kind, lane, scope and exchange come before the flags; 4 is zstd.
    count[((frame[7] as number) & 4) === 0 ? "plain" : "packed"]++;
  };
  return count;
}

export const restart: Scenario = {
  about:
    "a node is killed while writes go on, and started again: how long until it is as the others",
  nodes: 3,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes, network: { delayMsMin: 0.1, delayMsMax: 1 } });
    cluster.startAll();
    load(cluster.node(0), 0, 3000);
    cluster.run(12_000);
    const untilMs = cluster.timeline.nowMs + 5000;
    const survivors = cluster.nodes.slice(1);
    startClients(cluster, { rows: 3000, commitsPerSecond: 200, untilMs, nodes: survivors });
    cluster.run(500);
    cluster.node(0).kill();
    cluster.timeline.runUntil(untilMs);
    cluster.run(200);
    cluster.node(0).start();
    const expected = () => [...cluster.node(1).store.shown()].length;
    const same = () => {
      if (cluster.node(0).store.shown().size !== expected()) return false;
      return cluster.nodes.every((node) => liveRoot(node) === liveRoot(cluster.node(1)));
    };
    const rejoinMs = cluster.runUntil(same, 8000, () => "not rejoined after 8 s", 10);
    return measured(cluster, { rejoinMs, ...finish(cluster, 20_000), ...fetched(cluster) });
  },
};

/** Of all that a node holds, worked out from its rows and not from its index. */
function liveRoot(node: SimNode): string {
  const rows: string[] = [];
  for (const [name, values] of node.store.shown()) {
    rows.push(`${name} ${[...values.values()].join(" ")}`);
  }
  return rows.sort().join("\n");
}

export const allCrash: Scenario = {
  about:
    "every agent is killed within 100 ms, three times, under writes: what was acknowledged is there",
  nodes: 5,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      seed,
      nodes,
      store: seed % 2 === 0 ? "sqlite" : "map",
      network: { delayMsMin: 1, delayMsMax: 60 },
    });
    cluster.startAll();
    load(cluster.node(0), 0, 300);
    cluster.run(5000);
    const untilMs = cluster.timeline.nowMs + 15_000;
    startClients(cluster, { rows: 300, commitsPerSecond: 60, untilMs, deleteChance: 0.05 });
    const random = cluster.random("crashes");
    for (let crash = 0; crash < 3; crash++) {
      cluster.run(random.between(1000, 3000));
      const atMs = cluster.timeline.nowMs;
      for (const node of cluster.nodes) {
        cluster.timeline.at(atMs + random.between(0, 100), () => node.kill(200));
        // The first are back before the last are gone from their sight.
        cluster.timeline.at(atMs + random.between(150, 2500), () => node.start());
      }
      cluster.run(2600);
    }
    cluster.timeline.runUntil(untilMs);
    // The model has every commit, and a kill takes none.
    return measured(cluster, { ...finish(cluster, 30_000), ...fetched(cluster) });
  },
};
