/**
 * Propagation: a commit on one of three real agents until a subscriber of another has read the line.
 *
 * Three compiled agents on loopback; one writes single-row updates on a fixed schedule (open loop), two have
 * a subscriber in this process, so all times are on one clock. The baseline in the same run is the same
 * schedule answered by a bare HTTP server in a process of its own: what the machine needs to
 * carry one request to another process and back.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { Cluster, type ClusterNode, until } from "../examples/cluster.ts";
import { type Bench, type BenchResult, median, quantile } from "./harness.ts";

const root = join(import.meta.dir, "..");

export const propagation: Bench = {
  name: "propagation",
  what: "commit on one real agent → line read by a subscriber of another",
  async run({ small }): Promise<BenchResult> {
    const binary = join(root, "dist", "patina");
    if (!existsSync(binary)) throw new Error("dist/patina is missing: run npm run build");
    const rounds = small ? 20 : 1000;
    const everyMs = 10;
    // Every update below goes in the urgent lane, as a "down" would.
    await using cluster = await Cluster.start({
      binary,
      nodes: 3,
      schema: [join(root, "examples", "schema.sql")],
      config: "[tables.instances]\nurgent = \"status <> 'up'\"\n",
    });
    await cluster.connected();
    const [writer, ...readers] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
    const insert = "INSERT INTO instances (id, service, status) VALUES ('i', 's', 'down')";
    await writer.client.transact(insert);
    await until("every agent has the row", 60_000, async () =>
      (
        await Promise.all(readers.map((node) => node.client.query("SELECT * FROM instances")))
      ).every(({ rows }) => rows.length === 1),
    );
    const stop = new AbortController();
    const readAt = readers.map(() => new Map<number, number>());
    const ready = readers.map(async (node, i) => {
      const events = node.client.subscribe("SELECT id, weight FROM instances", {
        signal: stop.signal,
      });
      let isReady: () => void = () => {};
      const first = new Promise<void>((resolve) => {
        isReady = resolve;
      });
      void (async () => {
        try {
          for await (const event of events) {
            if (event.kind === "end-of-rows") isReady();
            if (event.kind === "change") readAt[i]?.set(Number(event.cells[1]), performance.now());
          }
        } catch (error) {
          if (!stop.signal.aborted) throw error;
        }
      })();
      await first;
    });
    await Promise.all(ready);
    const start = performance.now() + 50;
    const latencies: number[] = [];
    let late = 0;
    const writes: Promise<unknown>[] = [];
    for (let i = 0; i < rounds; i++) {
      const due = start + i * everyMs;
      await dueAt(due);
      if (performance.now() - due > 2) late++;
      const weight = 1000 + i;
      writes.push(
        writer.client.transact({
          sql: "UPDATE instances SET weight = ? WHERE id = 'i'",
          parameters: [weight],
        }),
      );
    }
    await Promise.all(writes);
    await until("the last update has arrived everywhere", 60_000, () =>
      readAt.every((times) => times.has(1000 + rounds - 1)),
    );
    stop.abort();
    let missed = 0;
    for (let i = 0; i < rounds; i++) {
      const times = readAt.map((map) => map.get(1000 + i));
      // Two updates of one row may be shown as one change.
      if (times.some((time) => time === undefined)) missed++;
      else latencies.push(Math.max(...(times as number[])) - (start + i * everyMs));
    }
    const echo = await echoLatencies(small ? 20 : 300, everyMs);
    const p50 = median(latencies);
    return {
      cases: [
        {
          case: "last of two subscribers, p50",
          unit: "ms",
          ours: p50,
          peer: median(echo),
          peer_name: "constant HTTP answer",
          peer_version: `bun ${Bun.version}`,
          ratio: median(echo) / p50,
          checksum: String(rounds),
        },
      ],
      summary: {
        p50_ms: Number(p50.toFixed(3)),
        p99_ms: Number(quantile(latencies, 0.99).toFixed(3)),
        max_ms: Number(Math.max(...latencies).toFixed(3)),
        late_sends: late,
        coalesced: missed,
      },
      notes: [
        "timed from when each write was due; a run with more than 1 % late sends is void",
        "the peer is a floor, not a competitor: one process answering a constant over HTTP",
      ],
    };
  },
};

/** Waits for a moment of `performance.now()`: never early, which a timer may be by a fraction. */
async function dueAt(due: number): Promise<void> {
  if (due - performance.now() > 1) await Bun.sleep(due - performance.now() - 1);
  while (performance.now() < due) await Bun.sleep(0);
}

/** Round trips to a process that answers at once, on the same schedule. */
async function echoLatencies(rounds: number, everyMs: number): Promise<number[]> {
  const script =
    'const s = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("ok") }); console.log(s.port);';
  const server = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  try {
    const reader = server.stdout.getReader();
    const port = new TextDecoder().decode((await reader.read()).value).trim();
    const times: number[] = [];
    const start = performance.now() + 50;
    for (let i = 0; i < rounds; i++) {
      const due = start + i * everyMs;
      await dueAt(due);
      await (await fetch(`http://127.0.0.1:${port}/`)).text();
      times.push(performance.now() - due);
    }
    return times;
  } finally {
    server.kill();
  }
}
