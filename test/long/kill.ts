/**
 * kill -9 of a real agent with writes and merges in flight: `bun test/long/kill.ts --kills 50`.
 *
 * Two compiled agents. One is killed again and again, in turns while it is in the middle of a large
 * transaction of its own and while it merges a large one of the other's; small ones are under way on both all
 * the time. After each kill, in a copy of what it left (the agent itself must get over the original):
 *
 * - `integrity_check` says ok;
 * - every row that it acknowledged is there;
 * - of a transaction that it didn't acknowledge all is there or nothing (kill-model.ts says how that shows).
 *
 * After each restart readers of live queries go on where they were, and must come to what a fresh query
 * says, with no event that can't be true (test/contract/live-queries-folded.ts). In the end both agents have
 * the same rows and the same root.
 *
 * It says how many kills fell inside an open transaction, told from the WAL that was left (wal-frames.ts):
 * `--open N` is how many there must be at least, by default a fifth.
 *
 * @module
 */

import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Cluster, type ClusterNode, until } from "../../examples/cluster.ts";
import { fresh, open, type Reader, resume } from "../contract/live-queries-reader.ts";
import { checkFile, configToml, KillModel, schemaSql, spilledFrames } from "./kill-model.ts";
import { countUncommitted, readWalFrames } from "./wal-frames.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "50" },
    seed: { type: "string", default: "1" },
    open: { type: "string" },
  },
});
const kills = Number(values.kills);
const openMin = Number(values.open ?? kills / 5);
const random = seededRandom(Number(values.seed));
const root = join(import.meta.dir, "..", "..");
const queries = [
  "SELECT id, balance FROM accounts",
  "SELECT node, sum(balance) FROM accounts GROUP BY node",
  "SELECT id, size FROM batches WHERE position = 0",
  "SELECT b.batch, a.node FROM batches b JOIN accounts a ON a.id = b.account WHERE b.position = 1",
  "SELECT node, generation, count(*) FROM sheets GROUP BY node, generation",
];

const folder = mkdtempSync(join(tmpdir(), "patina-kill-"));
using _ = { [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
writeFileSync(join(folder, "schema.sql"), schemaSql);
await using cluster = await Cluster.start({
  binary: join(root, "dist", "patina"),
  nodes: 2,
  schema: [join(folder, "schema.sql")],
  config: configToml,
});
const [victim, other] = cluster.nodes as [ClusterNode, ClusterNode];
await cluster.connected(60_000);

const model = new KillModel(random);
await Promise.all([model.fill(victim), model.fill(other)]);
await model.fillTomes(other);
let readers = await Promise.all(queries.map((sql) => open(victim.socket, sql)));
let isOver = false;
const othersWriter = model.writeUntil(other, "other", () => isOver);
// Of two errors the first is told; this one is seen where the writer is awaited.
othersWriter.catch(() => {});
const counts = { inOwn: 0, inMerge: 0, ownUnder: 0, mergeUnder: 0, resumed: 0, forgotten: 0 };

for (let kill = 1; kill <= kills; kill++) {
  const isOwn = kill % 2 === 1;
  await until("both are connected", 120_000, async () => {
    const { rows } = await other.client.query(
      "SELECT count(*) FROM patina_members WHERE state = 'ALIVE'",
    );
    return Number(rows[0]?.[0]) === 2;
  });
  let isDead = false;
  const before = model.acknowledged(victim);
  const writers = [0, 1, 2].map((n) =>
    model.writeUntil(victim, `victim-${kill}-${n}`, () => isDead),
  );
  await until("writes are going on", 60_000, () => model.acknowledged(victim) > before + 30);
  const isTomes = kill % 10 === 4;
  const large = isTomes
    ? { isAnswered: true, done: model.writeTomes(other) }
    : model.writeLarge(isOwn ? victim : other, () => isOwn && isDead);
  const wal = join(victim.dataDirectory, "patina.db-wal");
  if (isOwn) {
    // From then on it stands in the WAL in part, for as long as the rest of it takes.
    const wanted = random() * spilledFrames;
    while (!large.isAnswered && countUncommitted(wal) <= wanted) await Bun.sleep(1);
    await Bun.sleep(random() * 40);
  } else {
    // It is merged once the other has committed it and its bytes have come.
    await large.done;
    const lookMs = performance.now() + (isTomes ? 20_000 : random() * 80);
    const isInWal = () => isTomes && countUncommitted(wal) > 50;
    while (performance.now() < lookMs && !isInWal()) await Bun.sleep(1);
  }
  const isUnanswered = isOwn && !large.isAnswered;
  isDead = true;
  await victim.kill("SIGKILL");
  await Promise.all([...writers, large.done]);

  const left = copyOf(victim);
  const { uncommitted } = readWalFrames(`${left}-wal`);
  const found = checkFile(left, model, victim);
  if (found.problems.length > 0) throw new Error(`kill ${kill}: ${found.problems.join("; ")}`);
  if (isOwn && isUnanswered) counts.ownUnder++;
  if (!isOwn && found.generations.get(other.name) !== model.generation(other)) counts.mergeUnder++;
  if (uncommitted > 0) counts[isOwn ? "inOwn" : "inMerge"]++;
  rmSync(join(folder, "left"), { recursive: true });

  victim.spawn();
  await victim.answers(60_000);
  model.restarted(victim, found);
  await Promise.all(readers.map(({ reading }) => reading));
  readers = await Promise.all(
    readers.map(async (reader) => {
      if (await resume(victim.socket, reader)) {
        counts.resumed++;
        return reader;
      }
      counts.forgotten++;
      let anew: Reader | undefined;
      // A machine that is busy with other things takes longer over a query than an agent grants it.
      await until(`a subscription to ${reader.sql}`, 60_000, async () => {
        anew = await open(victim.socket, reader.sql);
        return true;
      });
      return anew as Reader;
    }),
  );
  await model.still(async () => {
    for (const reader of readers) await isAsFresh(reader);
  });
  console.log(
    `kill ${kill}: in ${isOwn ? "a large transaction" : isTomes ? "a very large merge" : "a large merge"}${isUnanswered ? ", unanswered" : ""}; ` +
      `${uncommitted} frames without commit; integrity ok, ${found.rows} rows, all that were acknowledged`,
  );
}
isOver = true;
await othersWriter;
const begunMs = performance.now();
await until("both agents have the same rows and root", 300_000, async () => {
  // Whole tables only then: read again and again they would take the time that the merges need.
  if ((await rootOf(victim)) !== (await rootOf(other))) return false;
  const [mine, theirs] = await Promise.all([contents(victim), contents(other)]);
  return mine === theirs;
});
const settledS = Math.round((performance.now() - begunMs) / 100) / 10;
const missing = await model.missing(victim);
if (missing.length > 0) throw new Error(`acknowledged and lost: ${missing.slice(0, 5)}`);
for (const reader of readers) {
  await isAsFresh(reader);
  const { errors } = reader.folded;
  if (errors.length > 0) throw new Error(`${reader.sql}: ${errors}`);
}
const inside = counts.inOwn + counts.inMerge;
console.log(
  JSON.stringify({
    kills,
    inside_open_transaction: inside,
    ...counts,
    rows: model.size,
    settledS,
  }),
);
if (inside < openMin) {
  throw new Error(`${inside} of ${kills} kills fell inside an open transaction, not ${openMin}`);
}
console.log(`${kills} kills, nothing lost, nothing half there, both agents identical`);

/** The files as the kill left them, in a folder of their own. */
function copyOf(node: ClusterNode): string {
  const left = join(folder, "left");
  mkdirSync(left);
  for (const end of ["", "-wal"]) {
    const file = join(node.dataDirectory, `patina.db${end}`);
    if (existsSync(file)) copyFileSync(file, join(left, `patina.db${end}`));
  }
  return join(left, "patina.db");
}

/** What is still being merged comes between the two; nobody writes anything new meanwhile. */
async function isAsFresh({ sql, folded }: Reader): Promise<void> {
  let [got, want]: [string[], string[]] = [[], []];
  try {
    await until(sql, 60_000, async () => {
      want = await fresh(victim.socket, sql);
      got = folded.sorted();
      return Bun.deepEquals(got, want);
    });
  } catch (error) {
    const extra = got.filter((row) => !want.includes(row)).slice(0, 3);
    const lacking = want.filter((row) => !got.includes(row)).slice(0, 3);
    const why = `${got.length} rows and not ${want.length}; too many: ${extra}; lacking: ${lacking}`;
    throw new Error(`${sql}: ${why}; ${folded.errors}`, { cause: error });
  }
}

async function contents(node: ClusterNode): Promise<string> {
  const tables = ["batches", "accounts", "sheets", "tomes"].map(async (table) => {
    const { rows } = await node.client.query(
      `SELECT ${table === "tomes" ? "id, generation" : "*"} FROM ${table} ORDER BY id`,
    );
    return rows.map((row) => row.join("|")).join("\n");
  });
  return [...(await Promise.all(tables)), await rootOf(node)].join("\n");
}

async function rootOf(node: ClusterNode): Promise<string> {
  const { root, cut } = JSON.parse(await node.client.get("/v1/status"));
  return `${root}\n${cut}`;
}
