/**
 * What can befall a cluster, by name. `npm run sim -- --list` prints this list; a test runs each.
 *
 * A scenario draws everything from its seed, throws {@link SimFailure} when something false is seen,
 * and returns what it measured.
 *
 * @module
 */

import { zstd } from "../../agent/zstd.ts";
import { frameKind, partBytesMax } from "../../core/change/frame.ts";
import { nodeDefaults } from "../../core/node/options.ts";
import { replicaDefaults } from "../../core/store/replica.ts";
import { Cluster } from "./cluster.ts";
import { ExchangeBytes } from "./exchange-bytes.ts";
import { startFaults } from "./faults.ts";
import { nameOfRow } from "./model.ts";
import { Random } from "./random.ts";
import type { SimNode } from "./sim-node.ts";
import { wholeSchema } from "./sim-store.ts";

export interface ScenarioOptions {
  readonly seed: number;
  readonly nodes: number;
}

export type Measured = Record<string, number | string | boolean | readonly string[]>;

export interface Scenario {
  readonly about: string;
  /** When the command line doesn't say. */
  readonly nodes: number;
  readonly run: (options: ScenarioOptions) => Measured;
}

/** What every run reports. */
function measured(cluster: Cluster, more: Measured = {}): Measured {
  const { timeline, network, model, trace } = cluster;
  return {
    ...more,
    virtualMs: Math.round(timeline.nowMs),
    events: timeline.events,
    commits: model.commits,
    frames: network.frames,
    bytes: network.bytes,
    streamsBroken: network.breaks,
    trace,
  };
}

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

function instance(status: string, weight: number): [string, string | number][] {
  return [
    ["status", status],
    ["address", `10.0.${weight}.1:8080`],
    ["weight", weight],
  ];
}

/** Rows `first`..`first + count` written on one node, in transactions of 500. */
function load(node: SimNode, first: number, count: number): void {
  for (let at = 0; at < count; at += 500) {
    const commands = Array.from({ length: Math.min(500, count - at) }, (_, i) => ({
      kind: "put" as const,
      row: `i${first + at + i}`,
      values: new Map(instance("up", (first + at + i) % 100)),
    }));
    node.write(commands, 2);
  }
}

/** All nodes agree, and still do a settle time later; every node sees every neighbour alive. */
function finish(cluster: Cluster, deadlineMs: number): Measured {
  const convergedMs = cluster.converge(deadlineMs);
  cluster.run(7000);
  const difference = cluster.difference();
  if (difference !== undefined) cluster.fail(`was the same, and isn't any more: ${difference}`);
  for (const node of cluster.up) {
    for (const peer of cluster.network.neighbours(node)) {
      const state = cluster.stateSeen(node, peer as SimNode);
      if (state !== "ALIVE") cluster.fail(`${node.name} sees n${peer.index} as ${state}`);
      if (cluster.agreed(node, peer as SimNode) === undefined) continue;
    }
    const { isStuck, applyBytes } = node.machine.snapshot();
    if (isStuck || applyBytes.normal + applyBytes.bulk > 0) cluster.fail(`${node.name} isn't idle`);
  }
  return { convergedMs };
}

const mixed: Scenario = {
  about: "clients everywhere and faults that the seed draws; then all must be as the model",
  nodes: 8,
  run: ({ seed, nodes }) => {
    const random = new Random(seed, "mixed");
    using cluster = new Cluster({
      ...{ seed, nodes, degree: nodes <= 8 ? nodes : random.integer(3, 6) },
      network: { delayMsMin: 0.2, delayMsMax: random.pick([2, 40, 150]) },
      tuning: nodes > 12 ? slowHeartbeats : {},
    });
    cluster.startAll();
    cluster.run(random.between(0, 3000));
    const untilMs = cluster.timeline.nowMs + 8000;
    // A changeset is received some five times by each node.
    const commitsPerSecond = random.integer(5, nodes > 12 ? 25 : 60);
    startClients(cluster, {
      ...{ rows: random.integer(5, 120), commitsPerSecond, untilMs },
      bulkChance: random.pick([0, 0, 0.02]),
    });
    const faults = startFaults(cluster, untilMs, { powerLoss: true });
    cluster.timeline.runUntil(untilMs);
    faults.end();
    return measured(cluster, { ...finish(cluster, 60_000), faults: faults.names });
  },
};

/** Fewer heartbeats, so that a run of many nodes is about what it is about. */
const slowHeartbeats = {
  heartbeatMs: 1000,
  members: { suspectMs: 4000, downMs: 5000, flipMs: 2000 },
};

const sqlite: Scenario = {
  about: "as mixed, over the real SQLite store",
  nodes: 3,
  run: ({ seed, nodes }) => {
    const random = new Random(seed, "sqlite");
    using cluster = new Cluster({
      ...{ seed, nodes, store: "sqlite", network: { delayMsMin: 0.2, delayMsMax: 40 } },
    });
    cluster.startAll();
    cluster.run(random.between(0, 2000));
    const untilMs = cluster.timeline.nowMs + 8000;
    startClients(cluster, {
      ...{ rows: random.integer(5, 60), commitsPerSecond: random.integer(5, 50), untilMs },
      bulkChance: random.pick([0, 0.02]),
    });
    const faults = startFaults(cluster, untilMs, { powerLoss: false });
    cluster.timeline.runUntil(untilMs);
    faults.end();
    return measured(cluster, { ...finish(cluster, 60_000), faults: faults.names });
  },
};

const late: Scenario = {
  about: "a node with an empty database joins a cluster of 5,000 rows under writes",
  nodes: 4,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      ...{ seed, nodes, watched: 0, network: { delayMsMin: 1, delayMsMax: 40 } },
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

const mostlyDifferent: Scenario = {
  about: "nearly all of 4,000 rows changed while a node was apart: it takes them in a stream",
  nodes: 3,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      ...{ seed, nodes, tuning: slowHeartbeats, watched: 0, zstdOf: () => zstd },
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

function fetched(cluster: Cluster): Measured {
  const { rowsFetched, rowsNoise, scansAsked } = cluster.counters();
  return { repairBytes: cluster.repairBytes(), rowsFetched, rowsNoise, scansAsked };
}

const restart: Scenario = {
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

const partition: Scenario = {
  about: "two halves write on alone for 20 s, one of them many old ups; healed they are the same",
  nodes: 6,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({ seed, nodes, network: { delayMsMin: 1, delayMsMax: 60 } });
    cluster.startAll();
    load(cluster.node(0), 0, 1000);
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
    cluster.timeline.runUntil(untilMs);
    const before = cluster.repairBytes();
    cluster.network.heal();
    const finished = finish(cluster, 25_000);
    for (const node of cluster.nodes) {
      const status = node.store.shown().get("flapping")?.get("status");
      if (status !== "down")
        cluster.fail(`${node.name}: an older up beat a newer down (${status})`);
    }
    return measured(cluster, {
      ...finished,
      ...fetched(cluster),
      healBytes: cluster.repairBytes() - before,
    });
  },
};

const asymmetric: Scenario = {
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

const repairBytesScenario: Scenario = {
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

/** 1,000 updates a second on 3,000 rows, delays to 150 ms, one restart. */
function settledImage(seconds: number, about: string, watched: number): Scenario {
  return {
    about,
    nodes: 3,
    run: ({ seed, nodes }) => {
      using cluster = new Cluster({
        ...{ seed, nodes, watched },
        network: { delayMsMin: 20, delayMsMax: 150, jitter: 0.9 },
        // Slices of an agent: with some hundred in the catch-up of a restart, one more exchange comes to 84 bytes.
        replica: { sliceRows: replicaDefaults.sliceRows },
      });
      cluster.startAll();
      load(cluster.node(0), 0, 3000);
      cluster.run(8000);
      const bytes = new ExchangeBytes();
      cluster.network.onSent = (from, to, frame) => bytes.sent(from, to, frame);
      const untilMs = cluster.timeline.nowMs + 1000 * seconds;
      // A row that changed twice before a new stream was ready is known in part to those at its other end.
      const clients = { rows: 3000, commitsPerSecond: 1000, deleteChance: 0.02, returnMs: 2000 };
      startClients(cluster, { ...clients, untilMs });
      const restarted = cluster.node(nodes - 1);
      // Nothing may be lost with it: what it wrote last would be known to some before others.
      cluster.timeline.after(4000, () => restarted.stop(2000));
      cluster.timeline.after(6000, () => restarted.start());
      // The restarted node itself speaks only of cuts after its first exchange of recent rows.
      const awayMs = [cluster.timeline.nowMs + 4000, cluster.timeline.nowMs + 18_000] as const;
      let compared = 0;
      while (cluster.timeline.nowMs < untilMs + 8000) {
        cluster.run(200);
        const { nowMs } = cluster.timeline;
        const isAway = nowMs > awayMs[0] && nowMs < awayMs[1];
        const differ = cluster.rootsDiffer(isAway ? cluster.nodes.slice(0, -1) : cluster.nodes);
        if (differ !== undefined) cluster.fail(`cuts differ that know the same: ${differ}`);
        compared++;
      }
      const { verdictsEqual, verdictsDifferent, rowsNoise } = cluster.counters();
      if (verdictsDifferent > 0) {
        cluster.fail(`${verdictsDifferent} verdicts say different, ${verdictsEqual} equal`);
      }
      const { exchanges, within, live, liveWithin, largest } = bytes.costs(exchangeBytesMax);
      if (exchanges < 0.5 * nodes * seconds || verdictsEqual < 0.5 * exchanges) {
        cluster.fail(`${exchanges} exchanges and ${verdictsEqual} equal verdicts in ${seconds} s`);
      }
      // The restarted node's first ones are of live states: they count, where there are enough others.
      const isEnough = seconds >= 300 && within >= 0.99 * exchanges;
      if (!isEnough && within - liveWithin < exchanges - live) {
        const how = `${within} of ${exchanges} exchanges cost ${exchangeBytesMax} bytes each way`;
        cluster.fail(`${how} or less, of ${live} live ones ${liveWithin}; the largest ${largest}`);
      }
      const finished = finish(cluster, 10_000);
      return measured(cluster, {
        ...finished,
        ...{ compared, verdictsEqual, verdictsDifferent, rowsNoise },
        ...{ exchanges, within, live, liveWithin, largest: largest.map(String) },
      });
    },
  };
}

/** Of an exchange that finds two nodes in sync, each way (DESIGN §12). */
const exchangeBytesMax = 64;

const allCrash: Scenario = {
  about:
    "every agent is killed within 100 ms, three times, under writes: what was acknowledged is there",
  nodes: 5,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      ...{ seed, nodes, store: seed % 2 === 0 ? "sqlite" : "map" },
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

const olderSchema = "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, status TEXT)";
/** Three versions that one after the other was rolled out, and one that gives no number back as it was. */
const schemas = [
  olderSchema,
  "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, status TEXT, address TEXT)",
  wholeSchema,
  "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, weight TEXT DEFAULT 'none', status TEXT)",
];
const oddSchema = 3;

const schemaVersions: Scenario = {
  about:
    "nodes of four schemas write, with faults; they agree to the last digest, before an upgrade and after",
  nodes: 4,
  run: ({ seed, nodes }) => {
    using cluster = new Cluster({
      ...{ seed, nodes, store: "sqlite", watched: 0 },
      schemaOf: (index) => schemas[index % schemas.length] as string,
    });
    cluster.startAll();
    cluster.run(1000);
    const untilMs = cluster.timeline.nowMs + 6000;
    const random = cluster.random("clients");
    const write = () => {
      if (cluster.timeline.nowMs >= untilMs) return;
      cluster.timeline.after(random.between(5, 50), write);
      const node = random.pick(cluster.nodes);
      const row = `i${random.integer(0, 40)}`;
      if (random.chance(0.1)) return cluster.delete(node, row);
      const all = instance(random.chance(0.7) ? "up" : "down", random.integer(0, 100));
      // What the odd one writes as TEXT others couldn't show, and the model knows nothing of that.
      const isKnown = (column: string) => node.index % 4 !== oddSchema || column !== "weight";
      const columns = all.filter(([column]) => node.columns.includes(column) && isKnown(column));
      const some = columns.filter(() => random.chance(0.6));
      cluster.put(node, row, Object.fromEntries(some.length > 0 ? some : columns));
    };
    cluster.timeline.after(0, write);
    const faults = startFaults(cluster, untilMs, { powerLoss: false });
    cluster.timeline.runUntil(untilMs);
    faults.end();
    const { convergedMs } = finish(cluster, 60_000);
    const [older, odd] = [cluster.node(0), cluster.node(oddSchema)];
    const notShown = older.store.notShown();
    if (notShown === 0 || odd.store.notShown() === 0)
      cluster.fail("everything is shown everywhere");
    for (const values of odd.store.shown().values()) {
      const weight = values.get("weight");
      if (weight !== "none" && weight !== null)
        cluster.fail(`a TEXT column shows ${weight} for a number`);
    }

    // Nothing is recent any more, so that every frame after the upgrade would be because of it.
    cluster.run(40_000);
    const rootBefore = odd.replica.status().roots[0]?.fingerprint;
    const moved: number[] = [];
    cluster.network.onSent = (_from, _to, [kind]) => {
      if (rowKinds.has(kind as number)) moved.push(kind as number);
    };
    for (const node of cluster.nodes) if (node.index % 4 < 2) node.upgrade(wholeSchema);
    const upgraded = finish(cluster, 20_000);
    if (moved.length > 0) cluster.fail(`an upgrade sent frames of kinds ${[...new Set(moved)]}`);
    if (older.store.notShown() > 0) cluster.fail("held cells weren't shown by the upgrade");
    if (odd.replica.status().roots[0]?.fingerprint !== rootBefore) cluster.fail("digests changed");
    return measured(cluster, {
      ...{ convergedMs: convergedMs as number, upgradedMs: upgraded.convergedMs as number },
      ...{ notShown, faults: faults.names },
    });
  },
};

/** Frames that find or bring rows. */
const rowKinds: ReadonlySet<number> = new Set([
  ...[frameKind.walk, frameKind.list, frameKind.fetch],
  ...[frameKind.rows, frameKind.stream, frameKind.streamed],
]);

const cutNoise = settledImage(
  20,
  "1,000 updates/s on 3,000 rows, delays to 150 ms, one restart: cuts never differ",
  2,
);

const settledBytes = settledImage(
  600,
  "the same for 600 s, without checks of the image: what exchanges cost",
  0,
);

const twoWriters: Scenario = {
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

const plannedStop: Scenario = {
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

const credit: Scenario = {
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

const flood: Scenario = {
  about: "more is written than the link carries: urgent goes first, what is dropped is repaired",
  nodes: 2,
  run: ({ seed, nodes }) => {
    const bytesPerMs = 500;
    const lanes = {
      windowBytes: nodeDefaults.lanes.windowBytes,
      queueBytesMax: [64e6, 512e3, 2e6],
    } as const;
    using cluster = new Cluster({
      ...{ seed, nodes, tuning: { lanes } },
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

const backlog: Scenario = {
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

export const scenarios: Readonly<Record<string, Scenario>> = {
  mixed,
  sqlite,
  late,
  restart,
  partition,
  asymmetric,
  "repair-bytes": repairBytesScenario,
  "mostly-different": mostlyDifferent,
  "schema-versions": schemaVersions,
  "all-crash": allCrash,
  "cut-noise": cutNoise,
  "settled-bytes": settledBytes,
  "two-writers": twoWriters,
  "planned-stop": plannedStop,
  credit,
  flood,
  backlog,
};

/** Runs a scenario; a failure says how to run it again. */
export function runScenario(name: string, seed: number, nodes?: number): Measured {
  const scenario = scenarios[name];
  if (scenario === undefined) throw new Error(`no scenario ${name}: see --list`);
  const count = nodes ?? scenario.nodes;
  try {
    return scenario.run({ seed, nodes: count });
  } catch (error) {
    const command = `npm run sim -- --scenario ${name} --nodes ${count} --seed ${seed}`;
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${why}\nrun it again: ${command}`, { cause: error });
  }
}
