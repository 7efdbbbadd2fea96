/**
 * A fleet of real agents started at the same moment: `bun test/long/fleet.ts --agents 30`.
 *
 * Compiled executables with a private bootstrap on loopback. Told are the times from the first spawn until every
 * agent answers, until all are one graph of streams, and until each has its 8; fails if the graph takes longer
 * than `--within-ms` after the last agent's sockets are bound, or if a row doesn't reach everybody.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildDefaults } from "../../agent/build.ts";
import type { SwarmStatus } from "../../agent/net/messages.ts";
import { startBootstrap } from "../../agent/swarm/bootstrap.ts";
import { ClusterNode, until } from "../../examples/cluster.ts";
import { isOneGraph } from "../e2e/net-fleet.ts";

const { values } = parseArgs({
  options: {
    agents: { type: "string", default: "30" },
    binary: { type: "string", default: buildDefaults.outfile },
    "within-ms": { type: "string", default: "5000" },
  },
});
const count = Number(values.agents);
const withinMs = Number(values["within-ms"]);
const { binary } = values;

const folder = await mkdtemp(join(tmpdir(), "patina-fleet-"));
const bootstrap = await startBootstrap({ host: "127.0.0.1", port: 0 });
if (bootstrap.kind === "failed") throw new Error(bootstrap.why);
const nodes: ClusterNode[] = [];
try {
  const cluster = join(folder, "cluster.toml");
  const made = Bun.spawnSync([binary, "cluster", "init", cluster]);
  if (made.exitCode !== 0) throw new Error(`cluster init: ${made.stderr}`);
  const schema = join(folder, "schema.sql");
  await writeFile(schema, "CREATE TABLE news (id TEXT NOT NULL PRIMARY KEY);\n");
  for (let i = 0; i < count; i++) {
    const name = `edge-${i}`;
    const config = [
      `[node]\nname = "${name}"\nregion = "region-${i % 3}"\ndata_dir = "${join(folder, name)}"`,
      `[cluster]\nfile = "${cluster}"`,
      `[api]\nsocket = "${join(folder, `${name}.sock`)}"`,
      `[schema]\npaths = ["${schema}"]`,
      `[swarm]\nhost = "127.0.0.1"\nbootstrap = ["${bootstrap.bootstrap.address}"]`,
    ].join("\n");
    nodes.push(new ClusterNode({ name, folder, binary, config, env: {} }));
  }
  const startedMs = performance.now();
  const sinceStart = () => Math.round(performance.now() - startedMs);
  for (const node of nodes) node.spawn();
  await Promise.all(nodes.map((node) => node.answers(120_000)));
  const answerMs = sinceStart();
  const streams = async () => {
    const texts = await Promise.all(nodes.map((node) => node.client.get("/v1/swarm")));
    const statuses = texts.map((text) => JSON.parse(text) as SwarmStatus);
    return new Map(statuses.map(({ key, peers }) => [key, peers?.map(({ peer }) => peer) ?? []]));
  };
  await until("one graph", 120_000, async () => isOneGraph(await streams()));
  const graphMs = sinceStart();
  const few = Math.min(8, count - 1);
  await until("8 streams each", 120_000, async () =>
    [...(await streams()).values()].every(({ length }) => length >= few && length <= 12),
  );
  const fullMs = sinceStart();
  const writtenMs = performance.now();
  await nodes[0]?.client.transact("INSERT INTO news VALUES ('first')");
  await Promise.all(
    nodes.map((node) =>
      until(`${node.name} has the row`, 60_000, async () => {
        return (await node.client.query("SELECT id FROM news")).rows.length === 1;
      }),
    ),
  );
  const rowMs = Math.round(performance.now() - writtenMs);
  const load = (loadavg()[0] as number).toFixed(1);
  console.log(
    `${count} agents, ${availableParallelism()} cores, load ${load}: all answer after ${answerMs} ms, ` +
      `one graph after ${graphMs} ms, 8 to 12 streams each after ${fullMs} ms; ` +
      `a row is everywhere ${rowMs} ms after the request`,
  );
  if (graphMs - answerMs > withinMs) {
    throw new Error(
      `one graph took ${graphMs - answerMs} ms after the start, more than ${withinMs}`,
    );
  }
} finally {
  await Promise.all(nodes.map((node) => node.kill()));
  await bootstrap.bootstrap.close();
  await rm(folder, { recursive: true, force: true });
}
process.exit(0);
