/**
 * Hosts whose clocks are wrong: the real machines and replicas, 5 of them and 3, over a map
 * and over SQLite.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { restampMs } from "../../core/replica/restamp.ts";
import { Cluster, epochMs } from "./cluster.ts";
import type { SimNode } from "./sim-node.ts";

const kinds = [
  { store: "map", nodes: 5 },
  { store: "map", nodes: 3 },
  { store: "sqlite", nodes: 5 },
  { store: "sqlite", nodes: 3 },
] as const;

/** From the simulation's 2025. */
const to2038Ms = 13 * 365 * 86_400_000;

function createCluster(kind: (typeof kinds)[number], clockOffsetMs: number): Cluster {
  const cluster = new Cluster({ seed: 7, ...kind, network: { delayMsMin: 1, delayMsMax: 40 } });
  cluster.node(0).setClock(clockOffsetMs);
  cluster.startAll();
  return cluster;
}

function statusOf(node: SimNode, row: string): unknown {
  return node.store.shown().get(row)?.get("status");
}

function statuses(cluster: Cluster, row: string): unknown[] {
  return cluster.nodes.map((node) => statusOf(node, row));
}

function untilAll(cluster: Cluster, row: string, status: string | undefined, ms: number): void {
  cluster.runUntil(
    () => statuses(cluster, row).every((shown) => shown === status),
    ms,
    () => `not all show ${row} as ${status}: ${statuses(cluster, row)}`,
  );
}

/** Replicas are the same, and say so: equal roots at a cut that all have. */
function untilSame(cluster: Cluster, ms: number): void {
  const isSame = (): boolean => {
    const { up } = cluster;
    const cuts = up.map((node) => node.replica.status());
    if (cuts.some(({ starting }) => starting)) return false;
    const oldest = Math.min(...cuts.map(({ cut }) => cut));
    const atOldest = cuts.map(({ roots }) => roots.find(({ cut }) => cut === oldest)?.fingerprint);
    return atOldest.every((root) => root !== undefined && root === atOldest[0]);
  };
  cluster.runUntil(isSame, ms, () => `roots differ: ${cluster.rootsDiffer(cluster.up)}`);
}

for (const store of ["map", "sqlite"] as const) {
  test(`what a host said 40 s ahead puts nobody else's writes ahead, not those of a host that starts just then either; ${store}`, () => {
    using cluster = new Cluster({
      ...{ seed: 7, store, nodes: 5, network: { delayMsMin: 1, delayMsMax: 40 } },
    });
    const [fast, late] = [cluster.node(0), cluster.node(4)];
    for (const node of cluster.nodes.slice(1)) node.start();
    cluster.run(10_000);
    for (const row of ["db-1", "db-2"]) cluster.put(late, row, { status: "up", weight: 1 });
    cluster.run(2000);
    // Its clients are quicker than the peers' clocks, and then it is set right.
    fast.setClock(40_000);
    fast.start();
    cluster.run(100);
    for (const row of ["web-1", "web-2"]) cluster.put(fast, row, { status: "up", weight: 1 });
    cluster.run(2000);
    fast.setClock(0);
    cluster.run(2000);
    expect(statuses(cluster, "web-1")).toEqual(["up", ...Array(4).fill(undefined)]);
    late.kill();
    cluster.run(500);
    late.start();
    cluster.run(3000);
    // It took them before three peers had told it the time.
    expect(statusOf(late, "web-1")).toBe("up");
    cluster.put(late, "db-1", { status: "down" }, 0);
    untilAll(cluster, "db-1", "down", 1000);
    // What it says of them comes after them, and all else doesn't.
    cluster.put(late, "web-1", { status: "down" }, 0);
    cluster.put(late, "web-2", { status: "down" }, 0);
    cluster.put(late, "db-2", { status: "down" }, 0);
    untilAll(cluster, "db-2", "down", 1000);
    expect([statusOf(late, "web-1"), statusOf(late, "web-2")]).toEqual(["down", "down"]);
    untilAll(cluster, "web-1", "down", 60_000);
    untilAll(cluster, "web-2", "down", 60_000);
    untilSame(cluster, 60_000);
  }, 120_000);
}

for (const kind of kinds) {
  const title = `${kind.nodes} nodes, ${kind.store}`;

  test(`a host that booted in 2038: nobody takes its writes, and once its clock is right everybody has them; ${title}`, () => {
    using cluster = createCluster(kind, to2038Ms);
    const host = cluster.node(0);
    // Its clients are quicker than the peers' clocks.
    cluster.put(host, "web-1", { status: "up", weight: 1 });
    cluster.put(host, "web-2", { status: "up", weight: 2 });
    cluster.put(host, "web-2", { status: "down" }, 0);
    cluster.put(host, "web-3", { status: "up", weight: 3 });
    cluster.delete(host, "web-3");
    cluster.run(1000);
    cluster.put(cluster.node(1), "db-1", { status: "up", weight: 9 });
    cluster.run(20_000);
    const others = cluster.nodes.slice(1);
    expect(others.map((node) => node.store.shown().size)).toEqual(others.map(() => 1));
    // It goes on taking what others send.
    expect([statusOf(host, "web-1"), statusOf(host, "db-1")]).toEqual(["up", "up"]);
    if (kind.nodes >= 4) {
      // Three peers say that it is the one; with two nobody can tell.
      expect(host.replica.localWrites()).toMatchObject({ kind: "refused" });
    }

    host.setClock(0);
    untilAll(cluster, "web-1", "up", 30_000);
    untilAll(cluster, "web-2", "down", 30_000);
    untilAll(cluster, "web-3", undefined, 30_000);
    expect(host.replica.status().clock).toMatchObject({ outlier: false, restampedRows: 3 });
    expect(host.store.clock.last.ms).toBeLessThan(host.wallMs() + 1000);
    // What is written from now on is taken at once.
    cluster.put(host, "web-1", { status: "down" }, 0);
    untilAll(cluster, "web-1", "down", 1000);
    untilSame(cluster, 30_000);
  }, 120_000);

  test(`what a host in 2038 said counts from when it was said, before and after what others said; ${title}`, () => {
    using cluster = createCluster(kind, to2038Ms);
    const [host, other] = [cluster.node(0), cluster.node(1)];
    cluster.put(other, "web-3", { status: "down" }, 0);
    cluster.run(200);
    cluster.put(host, "web-1", { status: "up" });
    cluster.put(host, "web-2", { status: "down" }, 0);
    cluster.put(host, "web-3", { status: "up" });
    cluster.run(5000);
    cluster.put(other, "web-1", { status: "down" }, 0);
    cluster.put(other, "web-2", { status: "up" });
    cluster.run(15_000);
    expect(["web-1", "web-2", "web-3"].map((row) => statusOf(host, row))).toEqual([
      ...["up", "down", "up"],
    ]);
    expect(["web-1", "web-2", "web-3"].map((row) => statusOf(other, row))).toEqual([
      ...["down", "up", "down"],
    ]);
    host.setClock(0);
    cluster.runUntil(
      () => host.replica.status().clock.restampedRows === 3,
      30_000,
      () => "nothing was stamped anew",
    );
    // What had won here alone isn't left to the first cut after that, seconds later.
    cluster.runUntil(
      () => statusOf(host, "web-1") === "down" && statusOf(host, "web-2") === "up",
      1500,
      () => `the host still shows ${statusOf(host, "web-1")} and ${statusOf(host, "web-2")}`,
    );
    for (const [row, status] of [
      ["web-1", "down"],
      ["web-2", "up"],
      ["web-3", "up"],
    ] as const) {
      untilAll(cluster, row, status, 30_000);
    }
    untilSame(cluster, 30_000);
    expect(statuses(cluster, "web-1")).toEqual(cluster.nodes.map(() => "down"));
  }, 120_000);

  test(`the same when it is set right while the agent is down; ${title}`, () => {
    using cluster = createCluster(kind, to2038Ms);
    const host = cluster.node(0);
    cluster.put(host, "web-1", { status: "up" });
    cluster.put(host, "web-1", { status: "down" }, 0);
    cluster.run(10_000);
    host.kill();
    host.setClock(0);
    cluster.run(5000);
    host.start();
    // Before any peer has answered: still stamped in 2038, and stamped anew with the rest.
    cluster.put(host, "web-2", { status: "up" });
    untilAll(cluster, "web-1", "down", 40_000);
    untilAll(cluster, "web-2", "up", 40_000);
    expect(host.store.clock.last.ms).toBeLessThan(host.wallMs() + 1000);
    untilSame(cluster, 40_000);
    // Nothing is left that a later start would find.
    host.kill();
    host.start();
    untilSame(cluster, 40_000);
    expect(host.replica.status().clock.restampedRows).toBe(0);
  }, 120_000);

  test(`a host 50 s fast said "up", was corrected and said "down": down wins everywhere; ${title}`, () => {
    using cluster = createCluster(kind, 50_000);
    const host = cluster.node(0);
    cluster.put(host, "web-1", { status: "up", weight: 1 });
    cluster.put(cluster.node(1), "db-1", { status: "up" });
    cluster.run(3000);
    host.setClock(0);
    cluster.run(3000);
    cluster.put(host, "web-1", { status: "down" }, 0);
    expect(host.store.clock.last.ms).toBeGreaterThan(host.wallMs() + 40_000);
    cluster.run(300);
    expect(statusOf(host, "web-1")).toBe("down");
    untilAll(cluster, "web-1", "down", 90_000);
    // "up" is not seen again, and nothing was stamped anew: somebody may have accepted it.
    cluster.run(60_000);
    expect(statuses(cluster, "web-1")).toEqual(cluster.nodes.map(() => "down"));
    expect(host.replica.status().clock.restampedRows).toBe(0);
    untilSame(cluster, 30_000);
  }, 120_000);

  test(`a host that was an hour ahead, and said nothing, agrees with the others soon after its clock is set; ${title}`, () => {
    using cluster = createCluster(kind, 3_600_000);
    const host = cluster.node(0);
    cluster.put(cluster.node(1), "db-1", { status: "up" });
    cluster.run(20_000);
    host.setClock(0);
    cluster.run(1000);
    cluster.put(cluster.node(1), "db-1", { status: "down" }, 0);
    untilAll(cluster, "db-1", "down", 1000);
    untilSame(cluster, 30_000);
    cluster.runUntil(
      () => Math.abs((host.machine.latestAgreement?.atMs ?? 0) - host.wallMs()) < 3000,
      30_000,
      () => "the host hasn't agreed with anybody",
    );
  }, 120_000);

  test(`a host whose clock is 40 s slow takes what others write, and loses nothing; ${title}`, () => {
    using cluster = createCluster(kind, -40_000);
    const host = cluster.node(0);
    cluster.put(host, "web-1", { status: "up" });
    cluster.run(2000);
    cluster.put(cluster.node(1), "db-1", { status: "up" });
    untilAll(cluster, "db-1", "up", 5000);
    untilAll(cluster, "web-1", "up", 5000);
    // It has seen a stamp of the others, so what it says comes after it, if it may say anything.
    const isRefused = host.replica.localWrites().kind === "refused";
    expect(isRefused).toBe(kind.nodes >= 4);
    cluster.put(host, "db-1", { status: "down" }, 0);
    if (isRefused) {
      cluster.run(2000);
      expect(statuses(cluster, "db-1")).toEqual(cluster.nodes.map(() => "up"));
      host.setClock(0);
      cluster.runUntil(
        () => host.replica.localWrites().kind === "allowed",
        30_000,
        () => "its writes are still refused",
      );
      cluster.put(host, "db-1", { status: "down" }, 0);
    }
    untilAll(cluster, "db-1", "down", 5000);
    host.setClock(0);
    untilSame(cluster, 30_000);
  }, 120_000);

  test(`a host whose clock is 100 s fast: its writes are delayed, not lost; ${title}`, () => {
    using cluster = createCluster(kind, 100_000);
    const host = cluster.node(0);
    cluster.put(host, "web-1", { status: "down" });
    cluster.run(5000);
    const others = cluster.nodes.slice(1);
    expect(others.map((node) => node.store.shown().size)).toEqual(others.map(() => 0));
    cluster.put(cluster.node(1), "web-1", { status: "up" });
    // Nobody who was right is blamed, and nobody's writes stop but the fast host's.
    for (const node of others) expect(node.replica.localWrites()).toEqual({ kind: "allowed" });
    host.setClock(0);
    // Within the limit it stands as it was stamped: later than the "up" of the other.
    untilAll(cluster, "web-1", "down", restampMs);
    untilSame(cluster, 60_000);
  }, 120_000);
}

test.each([
  ["map", 0.5],
  ["map", 1000],
  ["sqlite", 0.5],
] as const)(
  "a fleet whose clocks were all ahead and are set right goes on: what is said then wins, everywhere; %s, %d h",
  (store, hours) => {
    using cluster = new Cluster({ seed: 7, nodes: 4, store });
    for (const node of cluster.nodes) node.setClock(hours * 3_600_000);
    cluster.startAll();
    cluster.run(8000);
    for (const row of ["web-1", "web-2", "web-3"]) {
      cluster.put(cluster.node(0), row, { status: "up", weight: 1 });
    }
    cluster.run(5000);
    cluster.put(cluster.node(2), "web-3", { status: "down" }, 0);
    cluster.run(5000);
    for (const node of cluster.nodes) node.setClock(0);
    cluster.run(3000);
    cluster.put(cluster.node(1), "web-1", { status: "down" }, 0);
    cluster.run(20_000);
    cluster.put(cluster.node(1), "web-2", { status: "down" }, 0);
    for (const row of ["web-1", "web-2", "web-3"]) untilAll(cluster, row, "down", 10_000);
    untilSame(cluster, 40_000);
    for (const { store: disk } of cluster.nodes) {
      expect(disk.clock.last.ms).toBeLessThan(cluster.node(0).wallMs() + 1000);
    }
  },
  120_000,
);

// What is said last of a row stays, whether it was said before, while or after the clocks are set right.
test.each([1, 2, 3, 4, 5, 6])(
  "a fleet that was ahead together, and clients all the time; seed %d",
  (seed) => {
    const store = seed % 3 === 0 ? "sqlite" : "map";
    const network = { delayMsMin: 1, delayMsMax: 60 };
    using cluster = new Cluster({ seed, nodes: 3 + (seed % 4), store, network });
    const random = cluster.random("fleet");
    const aheadMs = 3_600_000 * random.pick([0.1, 0.5, 2, 1000]);
    for (const node of cluster.nodes) node.setClock(aheadMs + random.between(-200, 200));
    cluster.startAll();
    cluster.run(8000);
    const last = new Map<string, string>();
    const sayFifteen = (): void => {
      for (let i = 0; i < 15; i++) {
        const row = `web-${random.integer(0, 6)}`;
        const status = random.chance(0.5) ? "up" : "down";
        last.set(row, status);
        cluster.put(random.pick(cluster.nodes), row, { status }, status === "up" ? 1 : 0);
        cluster.run(random.between(500, 2000));
      }
    };
    sayFifteen();
    for (const node of cluster.nodes) {
      cluster.timeline.after(random.between(0, 300), () =>
        node.setClock(random.between(-100, 100)),
      );
    }
    cluster.run(1000);
    sayFifteen();
    for (const [row, status] of last) untilAll(cluster, row, status, 30_000);
    untilSame(cluster, 30_000);
  },
  120_000,
);

for (const store of ["map", "sqlite"] as const) {
  test(`a fleet that was ahead together, and a host that is set right last: its down wins over its up, which the others have stamped anew meanwhile; ${store}`, () => {
    using cluster = new Cluster({
      ...{ seed: 7, store, nodes: 5, network: { delayMsMin: 1, delayMsMax: 40 } },
    });
    const [last, ...others] = cluster.nodes as [SimNode, ...SimNode[]];
    cluster.startAll();
    cluster.run(8000);
    // Lives whose beginning isn't ahead, and is nearer than what hosts measure of the fault.
    cluster.put(last, "web-1", { weight: 1 });
    cluster.put(last, "web-2", { weight: 1 });
    cluster.run(2000);
    for (const node of cluster.nodes) node.setClock(3_630_000);
    cluster.run(2000);
    for (const row of ["web-1", "web-2"]) cluster.put(last, row, { status: "up" });
    // One row has cells of two hosts.
    cluster.put(others[0] as SimNode, "web-2", { address: "10.0.0.1:80" });
    untilAll(cluster, "web-2", "up", 1000);
    for (const node of others) node.setClock(0);
    // Its clients are quicker than the peers' clocks.
    for (const row of ["web-1", "web-2"]) cluster.put(last, row, { status: "down" }, 0);
    cluster.run(15_000);
    expect(others.map((node) => node.replica.status().clock.restampedRows)).toEqual([2, 2, 2, 2]);
    last.setClock(0);
    for (const row of ["web-1", "web-2"]) untilAll(cluster, row, "down", 30_000);
    untilSame(cluster, 30_000);
    for (const row of ["web-1", "web-2"]) untilAll(cluster, row, "down", 1000);
  }, 120_000);
}

test("three of seven hosts that tell one wrong time stop nobody's writes but their own", () => {
  using cluster = new Cluster({ seed: 7, nodes: 7, network: { delayMsMin: 1, delayMsMax: 40 } });
  const liars = cluster.nodes.slice(0, 3);
  const honest = cluster.nodes.slice(3);
  // Each honest one sees three right and three wrong: the median lies half-way, and nobody agrees with it.
  for (const liar of liars) liar.setClock(3_600_000);
  cluster.startAll();
  for (let second = 0; second < 10; second++) {
    cluster.run(1000);
    for (const node of honest) expect(node.replica.localWrites()).toEqual({ kind: "allowed" });
    cluster.put(honest[second % honest.length] as SimNode, `web-${second}`, { status: "down" }, 0);
  }
  for (const liar of liars) expect(liar.replica.localWrites()).toMatchObject({ kind: "refused" });
  cluster.runUntil(
    () => cluster.nodes.every((node) => node.store.shown().size === 10),
    5000,
    () => "a write of an honest host isn't everywhere",
  );
}, 120_000);

for (const store of ["map", "sqlite"] as const) {
  test(`two hosts whose clocks are at 1970 after a power cut keep the stamps of what they have, and a newer down; ${store}`, () => {
    const replica = { clockFloorMs: epochMs - 1000 };
    using cluster = new Cluster({
      ...{ seed: 7, store, nodes: 3, replica, network: { delayMsMin: 1, delayMsMax: 40 } },
    });
    cluster.startAll();
    const [one, other, third] = cluster.nodes as [SimNode, SimNode, SimNode];
    cluster.put(third, "web-1", { status: "up" });
    cluster.put(third, "web-2", { status: "up" });
    untilAll(cluster, "web-2", "up", 10_000);
    // Told to nobody before the power goes.
    third.kill(20);
    cluster.run(1000);
    cluster.put(one, "web-1", { status: "down" }, 0);
    cluster.run(10_000);
    const before = one.replica.status().hlc;
    for (const host of [one, other]) {
      host.kill(20);
      host.setClock(-epochMs);
      host.start();
    }
    cluster.run(20_000);
    for (const host of [one, other]) {
      expect(host.replica.localWrites()).toMatchObject({ kind: "refused" });
      expect(host.replica.status().clock).toMatchObject({ restampedRows: 0, outlier: true });
    }
    expect(one.replica.status().hlc.ms).toBeGreaterThanOrEqual(before.ms - 10_000);
    // The third comes back, with the right time: it goes on writing, and they take what it writes.
    third.start();
    untilAll(cluster, "web-1", "down", 20_000);
    expect(third.replica.localWrites()).toEqual({ kind: "allowed" });
    cluster.put(third, "web-2", { status: "down" }, 0);
    untilAll(cluster, "web-2", "down", 5000);
    for (const host of [one, other]) host.setClock(0);
    cluster.run(2000);
    expect(one.replica.localWrites()).toEqual({ kind: "allowed" });
    cluster.put(one, "web-2", { status: "up" });
    untilAll(cluster, "web-2", "up", 5000);
    untilSame(cluster, 30_000);
    expect(cluster.nodes.map((node) => node.replica.status().clock.restampedRows)).toEqual([
      ...[0, 0, 0],
    ]);
  }, 120_000);
}
