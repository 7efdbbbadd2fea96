/**
 * kill -9 of a real agent with writes and merges in flight: `bun test/long/kill.ts --kills 10`.
 *
 * Two compiled agents; one is killed again and again while clients write to it and while it merges what
 * the other one commits. After each kill its file must pass `integrity_check` in a plain `sqlite3` shell,
 * and after the restart it must hold every write that it acknowledged. In the end both are identical.
 *
 * @module
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { Cluster, type ClusterNode, until } from "../../examples/cluster.ts";

const { values } = parseArgs({
  options: { kills: { type: "string", default: "10" }, seed: { type: "string", default: "1" } },
});
const kills = Number(values.kills);
const root = join(import.meta.dir, "..", "..");
let seed = Number(values.seed);

function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
}

/** Writes until told to stop; returns the ids that were acknowledged. */
async function writeUntil(
  node: ClusterNode,
  prefix: string,
  isOver: () => boolean,
  acknowledged: Set<string>,
): Promise<void> {
  for (let i = 0; !isOver(); i++) {
    // One to twenty rows a transaction: the whole of it or nothing must survive.
    const ids = Array.from(
      { length: 1 + Math.floor(random() * 20) },
      (_, n) => `${prefix}-${i}-${n}`,
    );
    try {
      await node.client.transact(
        ...ids.map((id) => ({
          sql: "INSERT INTO instances (id, service, status) VALUES (?, 's', 'up')",
          parameters: [id],
        })),
      );
    } catch {
      // Killed before it answered: whether these rows are there is open.
      if (isOver()) return;
      throw new Error(`${node.name} refused a write while it was alive:\n${node.log()}`);
    }
    for (const id of ids) acknowledged.add(id);
  }
}

async function idsOf(node: ClusterNode): Promise<Set<string>> {
  const { rows } = await node.client.query("SELECT id FROM instances");
  return new Set(rows.map(([id]) => String(id)));
}

function integrity(node: ClusterNode): string {
  const database = join(node.dataDirectory, "patina.db");
  const shell = Bun.spawnSync([
    "sqlite3",
    database,
    "PRAGMA integrity_check; SELECT count(*) FROM instances;",
  ]);
  return `${shell.stdout}${shell.stderr}`.trim();
}

await using cluster = await Cluster.start({
  binary: join(root, "dist", "patina"),
  nodes: 2,
  schema: [join(root, "examples", "schema.sql")],
});
const [victim, other] = cluster.nodes as [ClusterNode, ClusterNode];
await cluster.connected();

let over = false;
const others = new Set<string>();
const otherWriter = writeUntil(other, "other", () => over, others);
const acknowledged = new Set<string>();
for (let kill = 1; kill <= kills; kill++) {
  let dead = false;
  const writers = [0, 1, 2, 3].map((n) =>
    writeUntil(victim, `victim-${kill}-${n}`, () => dead, acknowledged),
  );
  const before = acknowledged.size;
  await until("writes are going on", 10_000, () => acknowledged.size > before + 100);
  await Bun.sleep(random() * 200);
  dead = true;
  await victim.kill("SIGKILL");
  await Promise.all(writers);
  const check = integrity(victim);
  if (!check.startsWith("ok\n")) throw new Error(`kill ${kill}: integrity_check says ${check}`);
  victim.spawn();
  await victim.answers();
  const held = await idsOf(victim);
  const lost = [...acknowledged].filter((id) => !held.has(id));
  if (lost.length > 0)
    throw new Error(`kill ${kill}: ${lost.length} acknowledged rows lost: ${lost.slice(0, 5)}`);
  console.log(
    `kill ${kill}: integrity ok, ${acknowledged.size} acknowledged rows there, ${held.size} in all`,
  );
}
over = true;
await otherWriter;
await until("both agents are identical", 30_000, async () => {
  const [mine, theirs] = await Promise.all([idsOf(victim), idsOf(other)]);
  const all = [...acknowledged, ...others];
  return mine.size === theirs.size && all.every((id) => mine.has(id) && theirs.has(id));
});
console.log(`${kills} kills, nothing lost, both agents identical`);
