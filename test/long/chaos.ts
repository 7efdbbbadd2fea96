/**
 * A small cluster that is frozen, killed and restarted at random: `bun test/long/chaos.ts --seconds 120`.
 *
 * Some compiled agents; clients of all write, each its own rows and some that all share. Agents are stopped for
 * up to eight seconds (SIGSTOP: a host that swaps, a virtual machine that is moved), killed with -9, and stopped
 * in order, several at once. In the end every row that a client alone wrote is what was acknowledged last,
 * and all have the same rows and the same root.
 *
 * @module
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { ApiFailure, Unreachable } from "../../agent/client/client.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Cluster, type ClusterNode, until } from "../../examples/cluster.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "120" },
    nodes: { type: "string", default: "4" },
    seed: { type: "string", default: "1" },
  },
});
const random = seededRandom(Number(values.seed));
const int = (end: number) => Math.floor(random() * end);
const root = join(import.meta.dir, "..", "..");
const own = 50;

await using cluster = await Cluster.start({
  binary: join(root, "dist", "patina"),
  nodes: Number(values.nodes),
  schema: [join(root, "examples", "schema.sql")],
});
await cluster.connected(60_000);

const counts = { frozen: 0, killed: 0, stopped: 0, writes: 0, refused: 0, open: 0 };
let isOver = false;
/** By id: what was acknowledged last, and what was asked for after that without an answer. */
const told = new Map<string, { last: number; maybe: number[] }>();

async function write(node: ClusterNode, n: number): Promise<void> {
  for (let i = 1; !isOver; i++) {
    const id = `${node.name}-${n}-${int(own)}`;
    const row = told.get(id) ?? { last: 0, maybe: [] };
    told.set(id, row);
    row.maybe.push(i);
    const shared = `shared-${int(20)}`;
    const status = random() < 0.5 ? "up" : "down";
    const put = `INSERT INTO instances (id, service, status, weight) VALUES (?1, 's', ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET status = ?2, weight = ?3`;
    try {
      await node.client.transact(
        { sql: put, parameters: [id, "up", i] },
        { sql: put, parameters: [shared, status, i] },
      );
      row.last = i;
      row.maybe = [];
      counts.writes++;
    } catch (error) {
      if (isStopping(error)) {
        row.maybe.pop();
        counts.refused++;
      } else if (error instanceof Unreachable) counts.open++;
      else throw error;
      await Bun.sleep(50);
    }
    await Bun.sleep(int(20));
  }
}

/** Nothing was applied. */
function isStopping(error: unknown): boolean {
  return error instanceof ApiFailure && error.message === "the agent is stopping";
}

async function disturb(node: ClusterNode): Promise<void> {
  while (!isOver) {
    await Bun.sleep(500 + random() * 6000);
    if (isOver) return;
    const what = int(4);
    if (what < 2) {
      counts.frozen++;
      process.kill(node.pid, "SIGSTOP");
      await Bun.sleep(100 + random() * 8000);
      process.kill(node.pid, "SIGCONT");
      continue;
    }
    if (what === 2) counts.killed++;
    else counts.stopped++;
    await node.kill(what === 2 ? "SIGKILL" : "SIGTERM");
    await Bun.sleep(random() * 3000);
    node.spawn();
    await node.answers(60_000);
  }
}

const clients = cluster.nodes.flatMap((node) => [0, 1].map((n) => write(node, n)));
const trouble = cluster.nodes.map(disturb);
await Promise.race([...clients, Bun.sleep(1000 * Number(values.seconds))]);
isOver = true;
await Promise.all([...clients, ...trouble]);

const sql = "SELECT id, service, status, weight FROM instances ORDER BY id";
const began = performance.now();
let all: (readonly unknown[])[] = [];
await until("all have the same rows and root", 120_000, async () => {
  const texts = await Promise.all(
    cluster.nodes.map(async (node) => {
      const { rows } = await node.client.query(sql);
      all = rows as (readonly unknown[])[];
      const { root: fingerprint, cut } = JSON.parse(await node.client.get("/v1/status"));
      return JSON.stringify([rows, fingerprint, cut]);
    }),
  );
  return new Set(texts).size === 1;
});
const sameMs = Math.round(performance.now() - began);
const weights = new Map(all.map(([id, , , weight]) => [String(id), Number(weight)]));
for (const [id, { last, maybe }] of told) {
  const weight = weights.get(id) ?? 0;
  if (weight !== last && !maybe.includes(weight)) {
    throw new Error(`${id}: ${weight} is held, ${last} was acknowledged, ${maybe} may be`);
  }
}
console.log(JSON.stringify({ ...counts, rows: all.length, sameMs }));
if (counts.writes < 100 || counts.frozen + counts.killed + counts.stopped < 5) {
  throw new Error("too little happened");
}
console.log("nothing acknowledged was lost, all are the same");
