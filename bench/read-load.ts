/**
 * `bench read --only load`: throughput and CPU a request against a constant answer, events of live queries, and
 * the latency of point reads on an agent that has little to do.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type BenchAgent, post, startConstant } from "./bench-agent.ts";
import { h2load, isInstalled, type Load, middleOf, onSocket, type Target } from "./h2load.ts";
import { type BenchCase, plainCase } from "./harness.ts";
import { openLoop } from "./open-loop.ts";
import { cpuNs } from "./processes.ts";
import { agentRows, bodies, type ReadReport, startReadAgent } from "./read-workload.ts";

export async function measureLoad(
  small: boolean,
  binary: string | undefined,
  report: ReadReport,
): Promise<void> {
  const { cases, summary, notes } = report;
  await using agent = await startReadAgent({ binary, rows: agentRows });
  if (isInstalled()) {
    for (const name of ["point", "hundred"] as const) {
      await againstConstant(name, agent, small, report);
    }
    const request = { path: "/v1/transactions", body: bodies.write, seconds: small ? 0.1 : 3 };
    const write = await h2load(onSocket(agent), request, agent.folder);
    cases.push(
      plainCase("write, one row, Unix socket: CPU a request", "µs", write.cpuUs, "write"),
      plainCase("write, one row, Unix socket: requests", "1/s", write.perSecond, "write"),
    );
  } else {
    notes.push("h2load (nghttp2) isn't installed: throughput and CPU a request were skipped");
  }
  const streams = await streamed(agent, small ? 10 : 100, small ? 20 : 2000);
  cases.push(
    plainCase("subscription streams: events", "1/s", streams.perSecond, String(streams.events)),
    plainCase("subscription streams: CPU an event", "µs", streams.cpuUs, String(streams.events)),
  );
  const latency = await openLoop({
    socket: agent.socket,
    path: "/v1/queries",
    bodies: [bodies.point],
    perSecond: 1000,
    seconds: small ? 0.3 : 5,
    connections: 32,
  });
  if (latency.failed > 0) throw new Error(`${latency.failed} reads failed`);
  cases.push(
    plainCase("point read, 1,000/s open loop: p50", "ms", latency.p50Ms, String(latency.sent)),
    plainCase("point read, 1,000/s open loop: p99", "ms", latency.p99Ms, String(latency.sent)),
  );
  summary.idle_p50_ms = Number(latency.p50Ms.toFixed(3));
  summary.idle_p99_ms = Number(latency.p99Ms.toFixed(3));
  summary.late_sends = latency.late;
}

/** One kind of read on each carrier, in turns with the constant: the machine's mood is in both. */
async function againstConstant(
  name: "point" | "hundred",
  agent: BenchAgent,
  small: boolean,
  { cases, summary }: ReadReport,
): Promise<void> {
  const { folder } = agent;
  const answer = await post(agent.socket, "/v1/queries", bodies[name]);
  const file = join(folder, `${name}.answer`);
  writeFileSync(file, answer);
  await using constant = await startConstant(join(folder, `${name}.sock`), file);
  await using constantTcp = await startConstant("0", file);
  const tcp: Target = { url: `http://${agent.listen}`, pid: agent.pid };
  const carriers: readonly { label: string; field: string; ours: Target; theirs?: Target }[] = [
    {
      label: "Unix socket",
      field: `${name}_ratio`,
      ours: onSocket(agent),
      theirs: onSocket({ socket: constant.where, pid: constant.pid }),
    },
    {
      label: "TCP, HTTP/1.1",
      field: `${name}_ratio_tcp`,
      ours: tcp,
      theirs: { url: `http://${constantTcp.where}`, pid: constantTcp.pid },
    },
    // The constant speaks no HTTP/2.
    { label: "TCP, h2c", field: "", ours: { ...tcp, isH2: true } },
  ];
  const request = { path: "/v1/queries", body: bodies[name], seconds: small ? 0.1 : 3 };
  const runs = carriers.map(() => ({ ours: [] as Load[], theirs: [] as Load[] }));
  for (let round = 0; round < (small ? 1 : 3); round++) {
    for (const [i, { ours, theirs }] of carriers.entries()) {
      if (theirs !== undefined) runs[i]?.theirs.push(await h2load(theirs, request, folder));
      runs[i]?.ours.push(await h2load(ours, request, folder));
    }
  }
  const checksum = Bun.hash(answer.replace(/"time":[^}]*/, "")).toString(16);
  for (const [i, { label, field, theirs }] of carriers.entries()) {
    const run = runs[i] as (typeof runs)[number];
    const what = `${name === "point" ? "point read" : "100-row read"}, ${label}`;
    const { cpuUs, perSecond } = middleOf(run.ours);
    const constantUs = theirs === undefined ? undefined : middleOf(run.theirs).cpuUs;
    cases.push(
      comparedCase(`${what}: CPU a request`, cpuUs, constantUs, checksum),
      plainCase(`${what}: requests`, "1/s", perSecond, checksum),
    );
    if (constantUs !== undefined) summary[field] = Number((constantUs / cpuUs).toFixed(3));
  }
}

/** Microseconds, where fewer are better. */
function comparedCase(
  name: string,
  ours: number,
  constant: number | undefined,
  checksum: string,
): BenchCase {
  if (constant === undefined) return plainCase(name, "µs", ours, checksum);
  const named = { peer: constant, peer_name: "constant Bun.serve", peer_version: Bun.version };
  return { case: name, unit: "µs", ours, ...named, ratio: constant / ours, checksum };
}

/** Commits that every stream hears of, one after another. */
async function streamed(agent: BenchAgent, streams: number, commits: number) {
  let events = 0;
  const sockets: Socket[] = [];
  for (let i = 0; i < streams; i++) {
    sockets.push(
      await subscribe(agent.socket, bodies.stream, (chunk) => {
        events += chunk.split('{"change":').length - 1;
      }),
    );
  }
  const body = JSON.stringify([["UPDATE instances SET weight = weight + 1 WHERE id = ?", ["i0"]]]);
  const before = cpuNs(agent.pid);
  const begunMs = performance.now();
  for (let i = 0; i < commits; i++) await post(agent.socket, "/v1/transactions", body);
  const deadlineMs = performance.now() + 60_000;
  while (events < streams * commits && performance.now() < deadlineMs) await Bun.sleep(1);
  const tookMs = performance.now() - begunMs;
  const cpuUs = (cpuNs(agent.pid) - before) / 1000 / events;
  for (const socket of sockets) socket.destroy();
  if (events !== streams * commits) {
    throw new Error(`${streams * commits} events wanted, ${events} came`);
  }
  return { events, perSecond: events / (tookMs / 1000), cpuUs };
}

/** Resolves after the rows. */
function subscribe(path: string, body: string, take: (chunk: string) => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const stream = connect(path);
    stream.on("error", reject);
    stream.on("data", (chunk) => {
      const lines = chunk.toString();
      take(lines);
      if (lines.includes('"eoq"')) resolve(stream);
    });
    stream.write(
      `POST /v1/subscriptions HTTP/1.1\r\nhost: p\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
  });
}
