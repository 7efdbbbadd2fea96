/**
 * Catch-up: how long a real agent takes to get what it missed, and what that costs in bytes.
 *
 * Three compiled agents on loopback. One comes back with a part of the rows and has missed
 * {@link rowsMissed}; one has nothing, not even a key. Both times run from the spawn of the process until it
 * answers a query with every row that was acknowledged before the spawn; bytes are those of its streams,
 * both ways. Then one is killed (kill -9) in the middle of writes and started again at once: until what it
 * acknowledged just before is on the others, and what they acknowledged meanwhile is on it. It is written to as
 * fast as it answers, the others some 200 times a second each.
 *
 * Who asks polls, every 20 ms, and what costs the asked node next to nothing: the highest rowid, or the entries of an
 * index between two keys. (Counting 100,000 rows 30 times a second, or looking up a thousand of them 200 times a second at
 * three nodes, took more of two processors than what was to be measured.) A query that finds the store busy waits
 * for it, and that counts.
 *
 * @module
 */

import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Cluster, type ClusterNode, until } from "../examples/cluster.ts";
import { binaryOf } from "./arguments.ts";
import type { Bench, BenchCase, BenchResult } from "./harness.ts";
import { seededRandom } from "./seeded-random.ts";
import { insertServiceSql, servicesSql, servicesSumSql } from "./services-table.ts";

const rowsMissed = 100_000;
/** Rows of one commit. */
const batch = 1000;
const deadlineMs = 120_000;
const askEveryMs = 20;
/** Between two writes to each of the nodes that live on while one is killed. */
const writeEveryMs = 4;
/** Corrosion, measured on a machine like ours: seconds. */
const corrosion = { rejoin: 15.5, join: 16.6, restart: 38 };

export const catchUp: Bench = {
  name: "catch-up",
  what: "a node that missed 100,000 rows, an empty one, and one killed in the middle of writes",
  options: [{ name: "--binary", value: "PATH", what: "the executable; dist/patina" }],
  async run({ small, args }): Promise<BenchResult> {
    const binary = binaryOf(args);
    const missed = small ? 2000 : rowsMissed;
    const random = seededRandom(17);
    const schema = join(await temporaryFolder(), "schema.sql");
    await Bun.write(schema, servicesSql);
    try {
      // The sum over all rows, on a machine that does other things beside.
      const config = "[store]\nquery_timeout_ms = 60000\n";
      await using cluster = await Cluster.start({ binary, nodes: 3, schema: [schema], config });
      await cluster.connected();
      const [writer, rejoining, empty] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode];
      await empty.kill();

      const before = missed / 5;
      await load(writer, 0, before, random);
      await holdsAll(rejoining, before);
      await rejoining.kill();
      await load(writer, before, missed, random);

      const rejoin = await timed(rejoining, before + missed);
      const checksum = await sums(writer);
      await expectSums(rejoining, checksum);

      rmSync(empty.dataDirectory, { recursive: true });
      mkdirSync(empty.dataDirectory, { mode: 0o700 });
      const join = await timed(empty, before + missed);
      await expectSums(empty, checksum);
      await cluster.connected();

      const restart = await killedInWrites(cluster, before + missed, small ? 200 : 1000, !small);
      const item = (
        name: string,
        ours: number,
        peer: number | null,
        unit = "s",
        checksum_ = checksum,
      ): BenchCase => ({
        case: name,
        unit,
        ours,
        peer,
        peer_name: peer === null ? null : "corrosion",
        peer_version: peer === null ? null : "0d0dd7a6, another run",
        ratio: peer === null ? null : peer / ours,
        checksum: checksum_,
      });
      // The peer's figures are of the large inputs.
      const against = (seconds: number) => (small ? null : seconds);
      return {
        cases: [
          item("rejoin", rejoin.seconds, against(corrosion.rejoin)),
          item("join", join.seconds, against(corrosion.join)),
          item("rejoin, bytes", rejoin.bytes, null, "B"),
          item("join, bytes", join.bytes, null, "B"),
          item("kill -9 and restart", restart.seconds, against(corrosion.restart)),
        ],
        summary: {
          rows: missed,
          rejoin_s: rounded(rejoin.seconds),
          join_s: rounded(join.seconds),
          bytes: Math.max(rejoin.bytes, join.bytes),
          rejoin_bytes: rejoin.bytes,
          join_bytes: join.bytes,
          restart_s: rounded(restart.seconds),
          restart_own_s: rounded(restart.ownSeconds),
          restart_theirs_s: rounded(restart.theirsSeconds),
          restart_ready_s: restart.readySeconds === null ? null : rounded(restart.readySeconds),
        },
        notes: [
          `the one that comes back holds ${before} other rows; it has one peer that holds everything, the empty one has two, all on this machine`,
          "Corrosion's figures are of earlier runs on a machine like ours, not of this one",
          "restart: from the spawn; own = its last acknowledged row on every other, theirs = what they acknowledged before the spawn on it",
        ],
      };
    } finally {
      rmSync(join(schema, ".."), { recursive: true, force: true });
    }
  },
};

async function temporaryFolder(): Promise<string> {
  const { mkdtemp } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  return mkdtemp(join(tmpdir(), "patina-catch-up-"));
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}

/** Rows `from` up to `from + count`, in commits of {@link batch}. */
async function load(
  node: ClusterNode,
  from: number,
  count: number,
  random: () => number,
): Promise<void> {
  for (let at = from; at < from + count; at += batch) {
    const end = Math.min(at + batch, from + count);
    await node.client.transact(
      ...Array.from({ length: end - at }, (_, i) => ({
        sql: insertServiceSql,
        parameters: serviceRow(at + i, random),
      })),
    );
  }
}

function serviceRow(number: number, random: () => number): (string | number)[] {
  const byte = () => Math.floor(random() * 256);
  const id = Array.from({ length: 12 }, () => byte().toString(16).padStart(2, "0")).join("");
  const app = `app-${Math.floor(random() * 5000)}`;
  const address = `10.${byte()}.${byte()}.${byte()}`;
  const port = 1024 + Math.floor(random() * 60_000);
  return [id, app, address, port, "up", 1_700_000_000_000 + number];
}

async function sums(node: ClusterNode): Promise<string> {
  return (await node.client.query(servicesSumSql)).rows.join(",");
}

async function expectSums(node: ClusterNode, expected: string): Promise<void> {
  const got = await sums(node);
  if (got !== expected) throw new Error(`${node.name} holds ${got}, not ${expected}`);
}

async function holdsAll(node: ClusterNode, rows: number): Promise<void> {
  await until(`${node.name} holds ${rows} rows`, deadlineMs, () => holds(node, rows));
}

/** Nothing is deleted, so rowids have no gaps; and then they are counted. */
async function holds(node: ClusterNode, rows: number): Promise<boolean> {
  const ask = async (sql: string) => Number((await node.client.query(sql)).rows[0]?.[0]);
  if ((await ask("SELECT max(rowid) FROM services")) < rows) return false;
  return (await ask("SELECT count(*) FROM services")) >= rows;
}

/** Starts the agent: seconds until it holds so many rows, and the bytes that its streams carried. */
async function timed(
  node: ClusterNode,
  rows: number,
): Promise<{ readonly seconds: number; readonly bytes: number }> {
  const startMs = performance.now();
  node.spawn();
  await polled(`${node.name} holds ${rows} rows`, () => holds(node, rows));
  const seconds = (performance.now() - startMs) / 1000;
  return { seconds, bytes: await streamBytes(node) };
}

/** Asks every {@link askEveryMs}; a failure to ask counts as no. */
async function polled(what: string, condition: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  let last = "not yet";
  for (;;) {
    try {
      if (await condition()) return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() > endMs)
      throw new Error(`${what}: not within ${deadlineMs} ms (${last})`);
    await Bun.sleep(askEveryMs);
  }
}

/** Bytes of frames over the node's streams since it started, both ways. */
async function streamBytes(node: ClusterNode): Promise<number> {
  const { node: machine } = JSON.parse(await node.client.get("/v1/swarm"));
  let bytes = 0;
  for (const peer of machine.peers) bytes += peer.bytes_sent + peer.bytes_received;
  return bytes;
}

/**
 * Every node is written to, one row after another; one is killed with its last answer just in, and started
 * again at once.
 */
async function killedInWrites(
  cluster: Cluster,
  rows: number,
  writes: number,
  untilReady: boolean,
): Promise<{
  seconds: number;
  ownSeconds: number;
  theirsSeconds: number;
  readySeconds: number | null;
}> {
  const [killed, ...others] = cluster.nodes as [ClusterNode, ...ClusterNode[]];
  const insert = async (node: ClusterNode, number: number): Promise<void> => {
    const sql = "INSERT INTO services (id, updated_ms) VALUES (?, ?)";
    await node.client.transact({ sql, parameters: [idOf(node, number), rows + number] });
  };
  let isOver = false;
  const acknowledged = new Map<ClusterNode, number>(others.map((node) => [node, 0]));
  const writers = others.map(async (node) => {
    for (let i = 0; !isOver; i++) {
      await insert(node, i);
      acknowledged.set(node, i + 1);
      // As fast as they can, they would measure how the machine's cores are shared.
      await Bun.sleep(writeEveryMs);
    }
  });
  for (let i = 0; i < writes; i++) await insert(killed, i);
  await killed.kill();
  const theirs = new Map(acknowledged);
  const startMs = performance.now();
  killed.spawn();
  const since = () => (performance.now() - startMs) / 1000;
  const [ownSeconds, theirsSeconds, readySeconds] = await Promise.all([
    Promise.all(others.map((node) => hasRows(node, killed, writes))).then(since),
    Promise.all(others.map((node) => hasRows(killed, node, theirs.get(node) ?? 0))).then(since),
    untilReady ? isHealthy(killed).then(since) : null,
  ]);
  isOver = true;
  await Promise.all(writers);
  return {
    seconds: Math.max(ownSeconds, theirsSeconds),
    ownSeconds,
    theirsSeconds,
    readySeconds,
  };
}

/** It has been found identical with a peer, while all are written to. */
function isHealthy(node: ClusterNode): Promise<void> {
  return polled("healthy again", async () => (await node.client.health()).status === 200);
}

/** The first so many rows that were written at one: none of them may be missing. */
async function hasRows(node: ClusterNode, writer: ClusterNode, count: number): Promise<void> {
  await polled(`${node.name} has ${count} rows of ${writer.name}`, async () => {
    const sql = "SELECT count(*) FROM services WHERE id >= ? AND id < ?";
    const { rows } = await node.client.query(sql, idOf(writer, 0), idOf(writer, count));
    return Number(rows[0]?.[0]) === count;
  });
}

/** In the order of their numbers. */
function idOf(node: ClusterNode, number: number): string {
  return `${node.name}-${String(number).padStart(9, "0")}`;
}
