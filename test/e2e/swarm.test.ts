/**
 * Nodes as processes, over the real net thread, Hyperswarm and UDX on loopback. They are given the bootstrap's
 * address and the cluster's secrets, never each other's address.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBootstrap } from "../../agent/swarm/bootstrap.ts";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { until } from "../until.ts";
import { NetCluster, type NetPeer, quantile } from "./net-cluster.ts";

const timeoutMs = 120_000;

const hasPeers = (node: NetPeer, count: number) => async () =>
  ((await node.status()).peers?.length ?? 0) === count;

function hasAll(node: NetPeer, name: string, count: number): () => boolean {
  return () => {
    const received = node.received();
    return Array.from({ length: count }, (_, i) => `${name}-${i}`).every((key) =>
      received.has(key),
    );
  };
}

test("three nodes find each other, and a row written on one is on the others", async () => {
  await using cluster = await NetCluster.start();
  const nodes = ["a", "b", "c"].map((name) => cluster.node(name));
  for (const node of nodes) await until(`${node.name} has peers`, hasPeers(node, 2));
  for (const node of nodes) {
    node.tell({ kind: "write", name: `from-${node.name}`, count: 5, everyMs: 10, lane: 0 });
  }
  for (const node of nodes) {
    for (const other of nodes) {
      if (other === node) continue;
      await until(`rows of ${other.name} on ${node.name}`, hasAll(node, `from-${other.name}`, 5));
    }
  }
  // A planned stop is seen at once, not after the 12 s of a stream that times out.
  const [a, b, c] = nodes as [NetPeer, NetPeer, NetPeer];
  expect(await c.stop()).toBe(0);
  await until(
    "a and b see it",
    () => [a, b].every((n) => n.reports("disconnected").length > 0),
    8000,
  );
}, 120_000);

test(
  "in a chain a node whose main thread is blocked forwards every row, and nobody drops it",
  async () => {
    await using cluster = await NetCluster.start();
    const b = cluster.node("b");
    const { key } = await b.listening();
    const a = cluster.node("a", { only: [key] });
    const c = cluster.node("c", { only: [key] });
    await until("the chain", hasPeers(b, 2));
    a.tell({ kind: "write", name: "warm", count: 20, everyMs: 10, lane: 0 });
    await until("the first rows", hasAll(c, "warm", 20));

    const block = join(tmpdir(), `patina-block-${crypto.randomUUID()}`);
    b.tell({ kind: "block", file: block });
    await until("b is blocked", () => existsSync(block));
    try {
      a.tell({ kind: "write", name: "blocked", count: 200, everyMs: 5, lane: 0 });
      await until("all rows on c", hasAll(c, "blocked", 200));
    } finally {
      rmSync(block);
    }
    // They came while b's store could take none of them.
    await until("the block is over", () => b.of("blocked").length > 0);
    const { fromMs, untilMs } = b.of("blocked")[0] as { fromMs: number; untilMs: number };
    const during = c
      .of("row")
      .filter((row) => row.key.startsWith("blocked") && row.atMs > fromMs && row.atMs < untilMs);
    expect(during.length).toBe(200);
    const delays = during.map((row) => row.atMs - row.writtenMs);
    console.log(
      `a → blocked b → c, two hops: p50 ${quantile(delays, 0.5).toFixed(2)} ms, ` +
        `p99 ${quantile(delays, 0.99).toFixed(2)} ms`,
    );
    for (const node of [a, b, c]) expect(node.reports("disconnected")).toEqual([]);
    // And b's store catches up.
    await until("all rows on b", hasAll(b, "blocked", 200));
  },
  timeoutMs,
);

test(
  "a net thread that dies is back on its port and key, and nothing is lost",
  async () => {
    await using cluster = await NetCluster.start();
    const a = cluster.node("a");
    const b = cluster.node("b");
    const before = await b.listening();
    await until("connected", hasPeers(b, 1));
    a.tell({ kind: "write", name: "to-b", count: 100, everyMs: 10, lane: 1 });
    b.tell({ kind: "write", name: "to-a", count: 100, everyMs: 10, lane: 1 });
    await until("some rows", () => b.received().size > 20);
    b.tell({ kind: "crash" });
    await until("the crash", () => b.reports("crashed").length === 1);
    await until("back", () => b.reports("listening").length === 2);
    expect(await b.listening()).toEqual(before);
    await until("b's rows on a", hasAll(a, "to-a", 100));
    await until("a's rows on b", hasAll(b, "to-b", 100));
    expect((await b.status()).restarts).toBe(1);
  },
  timeoutMs,
);

test(
  "agents that are bootstraps themselves need no other",
  async () => {
    await using cluster = await NetCluster.start();
    const address = { host: "127.0.0.1", port: await freeUdpPort() };
    const bootstrap = [`${address.host}:${address.port}`];
    const first = cluster.node("first", { ...address, isBootstrap: true, bootstrap: [] });
    const second = cluster.node("second", { bootstrap: ["localhost:1", ...bootstrap] });
    await until("the two", hasPeers(second, 1));
    // A net thread that dies takes its DHT node along, and brings it back.
    first.tell({ kind: "crash" });
    await until("back", () => first.reports("listening").length === 2);
    const third = cluster.node("third", { bootstrap });
    await until("all three", hasPeers(third, 2));
    // A taken bootstrap port is no start: the others are configured with it.
    const late = cluster.node("late", { ...address, isBootstrap: true, bootstrap: [] });
    await until("a clear failure", () => late.reports("failed").length === 1);
    expect(late.reports("failed")[0]?.why).toStartWith(`bootstrap at ${bootstrap[0]}: `);
  },
  timeoutMs,
);

test(
  "agents that were there before their bootstrap meet once it is",
  async () => {
    await using cluster = await NetCluster.start();
    const port = await freeUdpPort();
    const bootstrap = [`127.0.0.1:${port}`];
    const [a, b] = [cluster.node("a", { bootstrap }), cluster.node("b", { bootstrap })];
    await a.listening();
    await b.listening();
    const started = await startBootstrap({ host: "127.0.0.1", port });
    if (started.kind === "failed") throw new Error(started.why);
    await until("they meet", hasPeers(a, 1), 60_000);
    await started.bootstrap.close();
    expect(await hasPeers(b, 1)()).toBe(true);
  },
  timeoutMs,
);

test(
  "a process that is killed and started again on its port is connected again",
  async () => {
    await using cluster = await NetCluster.start();
    const a = cluster.node("a");
    const b = cluster.node("b");
    const { port } = await b.listening();
    await until("connected", hasPeers(a, 1));
    await b.kill();
    a.tell({ kind: "write", name: "meanwhile", count: 10, everyMs: 5, lane: 1 });
    const startedMs = Date.now();
    const again = cluster.node("b", { port, incarnation: 2 });
    // Well before a's stream to the dead process has timed out.
    await until("the rows written meanwhile", hasAll(again, "meanwhile", 10), 60_000);
    console.log(`from spawn to connected and caught up: ${Date.now() - startedMs} ms`);
    expect((await again.listening()).port).toBe(port);
  },
  timeoutMs,
);

test(
  "with 5 % of datagrams lost every row arrives",
  async () => {
    await using cluster = await NetCluster.start();
    const a = cluster.node("a", { lossFraction: 0.05 });
    const b = cluster.node("b", { lossFraction: 0.05 });
    await until("connected", hasPeers(a, 1), 60_000);
    // A busy machine puts many rows into one datagram: on until one was lost.
    let lost = 0;
    for (let round = 0; lost === 0; round++) {
      const name = `lossy-${round}`;
      a.tell({ kind: "write", name, count: 300, everyMs: 5, lane: 0 });
      await until("all rows", hasAll(b, name, 300));
      lost = ((await a.status()).counters as { simulatedLoss: number }).simulatedLoss;
    }
  },
  timeoutMs,
);
