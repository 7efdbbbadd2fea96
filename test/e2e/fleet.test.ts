/**
 * Fleets over the real Hyperswarm and UDX on loopback: started all at once, without a DHT, with bootstraps that
 * die and come back, with a net thread that hangs.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { availableParallelism, loadavg } from "node:os";
import { type Bootstrap, startBootstrap } from "../../agent/swarm/bootstrap.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { until } from "../until.ts";
import { NetCluster, type NetPeer } from "./net-cluster.ts";
import { isOneGraph, NetFleet } from "./net-fleet.ts";

const timeoutMs = 120_000;

const peersOf = async (node: NetPeer) =>
  ((await node.status()).peers ?? []) as { peer: string; found: string }[];
const hasPeers = (node: NetPeer, count: number) => async () =>
  (await peersOf(node)).length === count;

test(
  "30 net sides started at the same moment are one graph within 5 s, and have 8 to 12 streams soon after",
  async () => {
    await using fleet = await NetFleet.start();
    const isIdle = (loadavg()[0] as number) < availableParallelism();
    const startedMs = performance.now();
    fleet.add(30, (i) => `region-${i % 3}`);
    await until("one graph", async () => isOneGraph(await fleet.streams()));
    const tookMs = performance.now() - startedMs;
    console.log(`30 net sides in one process: one graph after ${Math.round(tookMs)} ms`);
    // On a busy machine it is the machine that is measured: then only the deadline above holds.
    if (isIdle) expect(tookMs).toBeLessThan(5000);
    await until(
      "8 to 12 each",
      async () => {
        const counts = [...(await fleet.streams()).values()].map(({ length }) => length);
        return counts.every((count) => count >= 8 && count <= 12);
      },
      60_000,
    );
    // The topic tells keys only, and yet nobody stays among its like.
    await until(
      "far ones each",
      async () => (await fleet.farCounts()).every(({ far }) => far >= 3),
      60_000,
    );
    expect(isOneGraph(await fleet.streams())).toBe(true);
  },
  timeoutMs,
);

test(
  "nodes that join one by one are never left outside, though every node is full",
  async () => {
    await using fleet = await NetFleet.start({ peersMax: 3 });
    for (let i = 0; i < 8; i++) {
      fleet.add(1, () => "here");
      await until(`node ${i} is in`, async () => isOneGraph(await fleet.streams()), 60_000);
      for (const peers of (await fleet.streams()).values()) {
        expect(peers.length).toBeLessThanOrEqual(3);
      }
    }
  },
  timeoutMs,
);

test(
  "two agents without any DHT meet by key and address, and again when one was restarted",
  async () => {
    await using cluster = await NetCluster.start();
    const a = cluster.node("a", { bootstrap: [] });
    const { key, port } = await a.listening();
    const b = cluster.node("b", { bootstrap: [], peers: [`${key}@127.0.0.1:${port}`] });
    await until("they meet", hasPeers(b, 1));
    expect((await peersOf(b))[0]?.found).toBe("configuration");
    expect((await peersOf(a))[0]?.found).toBe("inbound");
    b.tell({ kind: "write", name: "row", count: 1, everyMs: 0, lane: 0 });
    await until("the row", () => a.received().has("row-0"));
    await a.kill();
    const again = cluster.node("a", { bootstrap: [], port, incarnation: 2 });
    await until("they meet again", hasPeers(again, 1), 60_000);
  },
  timeoutMs,
);

async function bootstraps(ports: readonly number[]): Promise<Bootstrap[]> {
  const list = ports.map((port) => `127.0.0.1:${port}`);
  const started = await Promise.all(
    ports.map((port) => startBootstrap({ host: "127.0.0.1", port, bootstrap: list })),
  );
  return started.map((one) => {
    if (one.kind === "failed") throw new Error(one.why);
    return one.bootstrap;
  });
}

test("every bootstrap dies and comes back: nobody loses a connection, and who is new joins", async () => {
  await using cluster = await NetCluster.start();
  const ports = [await freeUdpPort(), await freeUdpPort(), await freeUdpPort()];
  const bootstrap = ports.map((port) => `127.0.0.1:${port}`);
  // One of the three isn't there at first.
  let running = await bootstraps(ports.slice(0, 2));
  try {
    const old = ["a", "b", "c"].map((name) => cluster.node(name, { bootstrap }));
    for (const node of old) await until(`${node.name} is in`, hasPeers(node, 2), 60_000);
    for (const one of running) await one.close();
    running = [];
    // Long enough for the agents to have asked and had no answer.
    const late = cluster.node("late", { bootstrap });
    await late.listening();
    await Bun.sleep(15_000);
    expect(await peersOf(late)).toEqual([]);
    for (const node of old) expect(node.reports("disconnected")).toEqual([]);
    running = await bootstraps(ports);
    const startedMs = Date.now();
    const fresh = cluster.node("fresh", { bootstrap });
    for (const node of [late, fresh]) {
      await until(`${node.name} is in`, hasPeers(node, 4), 60_000);
    }
    console.log(`all in ${Date.now() - startedMs} ms after the bootstraps were back`);
    for (const node of old) expect(node.reports("disconnected")).toEqual([]);
  } finally {
    for (const one of running) await one.close();
  }
}, 120_000);

test(
  "a net thread that hangs is ended and is back on its port and key",
  async () => {
    await using cluster = await NetCluster.start();
    const a = cluster.node("a");
    const b = cluster.node("b");
    const before = await b.listening();
    await until("connected", hasPeers(b, 1));
    b.tell({ kind: "hang" });
    a.tell({ kind: "write", name: "meanwhile", count: 10, everyMs: 1, lane: 1 });
    await until("it is noticed", () => b.reports("crashed").length === 1, 60_000);
    expect(b.reports("crashed")[0]).toMatchObject({ why: "it didn't answer for 10 s" });
    await until("back", () => b.reports("listening").length === 2);
    expect(await b.listening()).toEqual(before);
    await until(
      "what was written meanwhile",
      () =>
        Array.from({ length: 10 }, (_, i) => `meanwhile-${i}`).every((k) => b.received().has(k)),
      120_000,
    );
  },
  timeoutMs,
);
