/**
 * A day's churn in fast motion: `bun test/long/churn.ts`. The disk doesn't grow for ever.
 *
 * Two compiled agents hold 100,000 rows; clients of the first make 1M updates, and delete and insert 200,000
 * rows, while readers read and subscribe on both. Once nothing is written any more, database file and WAL of
 * both come, by themselves, to at most 1.5 times the size of a fresh copy (`VACUUM INTO` of a backup, tombstones and
 * clocks included). On the way sizes are printed, and no WAL is ever longer than ARCHITECTURE says.
 *
 * @module
 */

import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Statement } from "../../agent/client/client.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Cluster, type ClusterNode, until } from "../../examples/cluster.ts";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "100000" },
    updates: { type: "string", default: "1000000" },
    deletes: { type: "string", default: "200000" },
    seed: { type: "string", default: "1" },
  },
});
const rows = Number(values.rows);
const updates = Number(values.updates);
const deletes = Number(values.deletes);
const random = seededRandom(Number(values.seed));
const int = (end: number) => Math.floor(random() * end);
const perCommit = 200;
const sizeMax = 1.5;
/** 256 MB, and what a commit or two bring. */
const walBytesMax = 270 * 2 ** 20;
const root = join(import.meta.dir, "..", "..");

const schemaSql = `
CREATE TABLE instances (
  id TEXT NOT NULL PRIMARY KEY, service TEXT NOT NULL DEFAULT '', address TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL DEFAULT 'up', weight INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX instances_by_service ON instances (service, status);
`;

const folder = mkdtempSync(join(tmpdir(), "patina-churn-"));
using _ = { [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
writeFileSync(join(folder, "schema.sql"), schemaSql);
await using cluster = await Cluster.start({
  binary: join(root, "dist", "patina"),
  nodes: 2,
  schema: [join(folder, "schema.sql")],
  // Readers are there to be open: how soon they are answered isn't what this is about.
  config: "[store]\nquery_timeout_ms = 60000\n",
});
await cluster.connected(60_000);
const [first] = cluster.nodes as [ClusterNode, ClusterNode];

/** Live ids, in no order. */
const ids: string[] = [];
let made = 0;
const insert = (): Statement => {
  const id = `instance-${(made * 7919) % 1_000_003}-${made++}`;
  ids.push(id);
  const address = `10.${int(256)}.${int(256)}.${int(256)}:${int(65_536)}`;
  return {
    sql: "INSERT INTO instances (id, service, address, weight) VALUES (?, ?, ?, ?)",
    parameters: [id, `service-${int(500)}`, address, int(100)],
  };
};
const remove = (): Statement => {
  const at = int(ids.length);
  const id = ids[at] as string;
  ids[at] = ids.at(-1) as string;
  ids.pop();
  return { sql: "DELETE FROM instances WHERE id = ?", parameters: [id] };
};
const update = (): Statement => {
  const id = ids[int(ids.length)] as string;
  const [sql, value] = [
    ["UPDATE instances SET weight = ? WHERE id = ?", int(100)] as const,
    ["UPDATE instances SET status = ? WHERE id = ?", random() < 0.5 ? "up" : "draining"] as const,
    ["UPDATE instances SET address = ? WHERE id = ?", `[fd00::${"f".repeat(int(60))}]`] as const,
  ][int(3)] as readonly [string, string | number];
  return { sql, parameters: [value, id] };
};

for (let i = 0; i < rows; i += 1000) {
  await first.client.transact(...Array.from({ length: Math.min(1000, rows - i) }, insert));
}

let isOver = false;
const ended = new AbortController();
let [read, events] = [0, 0];
const readers = cluster.nodes.flatMap((node) => [
  (async () => {
    while (!isOver) {
      await node.client.query("SELECT count(*), sum(weight) FROM instances");
      const service = `service-${int(500)}`;
      await node.client.query("SELECT * FROM instances WHERE service = ?", service);
      read += 2;
      await Bun.sleep(50);
    }
  })(),
  (async () => {
    const sql = "SELECT id, address, status FROM instances WHERE service = 'service-7'";
    for await (const _event of node.client.subscribe(sql, { signal: ended.signal })) events++;
  })(),
]);

const began = performance.now();
let worst = 0;
let worstWal = 0;
const work: (() => Statement)[] = [];
const share = updates / (updates + 2 * deletes);
const commits = Math.ceil((updates + 2 * deletes) / perCommit);
for (let commit = 1; commit <= commits; commit++) {
  work.length = 0;
  while (work.length < perCommit) {
    if (random() < share) work.push(update);
    else work.push(remove, insert);
  }
  await first.client.transact(...work.map((make) => make()));
  worst = Math.max(worst, ...cluster.nodes.map(usedBytes));
  worstWal = Math.max(worstWal, ...cluster.nodes.map(walBytes));
  if (commit % Math.ceil(commits / 10) === 0) {
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    const sizes = cluster.nodes.map((node) => mebibytes(usedBytes(node))).join(" and ");
    console.log(`${Math.round((100 * commit) / commits)} % after ${seconds} s: ${sizes}`);
  }
}

await until("both have the same rows", 300_000, async () => {
  const sql = "SELECT count(*), sum(weight), max(id) FROM instances";
  const [a, b] = await Promise.all(cluster.nodes.map((node) => node.client.query(sql)));
  return Number(a?.rows[0]?.[0]) === rows && Bun.deepEquals(a?.rows, b?.rows);
});
const still = performance.now();
for (const node of cluster.nodes) {
  let fresh = await freshBytes(node);
  let size = 0;
  try {
    await until("file and WAL are small", 180_000, async () => {
      await Bun.sleep(1000);
      // A copy costs more than a look: again only when it could be enough.
      size = usedBytes(node);
      if (size > sizeMax * fresh) return false;
      fresh = await freshBytes(node);
      return size <= sizeMax * fresh;
    });
  } finally {
    const status = JSON.parse(await node.client.get("/v1/status"));
    console.log(
      `${node.name}: ${mebibytes(size)}, fresh ${mebibytes(fresh)}, ratio ${(size / fresh).toFixed(2)}, ` +
        `${status.pages_freed} pages given back, ${((performance.now() - still) / 1000).toFixed(0)} s after the last write`,
    );
  }
}
isOver = true;
ended.abort();
await Promise.all(readers);
if (read < 100 || events < 100) throw new Error(`${read} reads and ${events} events: too few`);
if (worstWal > walBytesMax) throw new Error(`a WAL had ${mebibytes(worstWal)}`);
console.log(
  `${updates} updates, ${deletes} deletes and inserts on ${rows} rows; at worst ${mebibytes(worst)}, ` +
    `a WAL of ${mebibytes(worstWal)}; ` +
    `${read} reads, ${events} events of live queries`,
);

/** The database's file and its WAL. */
function usedBytes(node: ClusterNode): number {
  return sizeOf(join(node.dataDirectory, "patina.db")) + walBytes(node);
}

function walBytes(node: ClusterNode): number {
  return sizeOf(join(node.dataDirectory, "patina.db-wal"));
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}

/** Of a copy without a free byte. */
async function freshBytes(node: ClusterNode): Promise<number> {
  const copy = join(folder, "copy.db");
  const fresh = join(folder, "fresh.db");
  await node.client.operate("/v1/backup", JSON.stringify({ path: copy }), () => {});
  {
    using database = new Database(copy);
    database.run(`VACUUM INTO '${fresh}'`);
    const [check] = database.query("PRAGMA integrity_check").values();
    if (check?.[0] !== "ok") throw new Error(`${node.name}: ${check?.[0]}`);
  }
  const { size } = statSync(fresh);
  for (const file of [copy, `${copy}-wal`, `${copy}-shm`, fresh]) rmSync(file, { force: true });
  return size;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
