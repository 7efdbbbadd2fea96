/**
 * Clusters of today's executable and of older ones: `bun test/long/mixed-releases.ts [--commits a,b,c] [--require]`.
 *
 * A fleet is never upgraded at once, and an upgrade is sometimes taken back. Older commits are built from the history
 * (old-releases.ts), and each cluster has three hosts: two of older releases and one of today's. All of them write all the
 * time: inserts, updates, "down"s, deletes, and inserts of what was deleted. Meanwhile hosts are started again as another
 * release, on what the one before left on the disk by a stop or by `kill -9`, up and down, or with their database gone. The
 * steps ask that
 *
 * - a "down" that any host says is told to listeners on all of them, also of a row whose host was away meanwhile;
 * - all show the same rows, and those of one writer as they were acknowledged last; listeners have been told just those;
 * - agents say so themselves: one root, of a cut after the last write, an agreement after it, nothing refused;
 * - a host stays the site that it was unless it lost its database, and none of them raises an alarm.
 *
 * A release that is older than a version of the database file refuses such a file, touches nothing, and can open it once
 * today's has been stopped in order: then that is what is asked.
 *
 * Where the history isn't there it says so and ends with 0, or with 1 under `--require`.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { seededRandom } from "../../bench/seeded-random.ts";
import { Cluster, until } from "../../examples/cluster.ts";
import { Downs } from "./mixed-downs.ts";
import { MixedHost } from "./mixed-host.ts";
import { buildCommit, missingHistory, type Release } from "./old-releases.ts";
import { repository } from "./soak.ts";

/**
 * What an upgrade may meet, while no release has a tag. The first speaks of no streams of all rows; up to a4a7aa2 the
 * database has no clock log, and can't be opened with one.
 */
const allCommits = ["f2b2728", "39fd147", "02ac053", "a4a7aa2", "57e14f3", "656d994", "4608f96"];
const fewCommits = ["f2b2728", "a4a7aa2", "656d994"];

const { values } = parseArgs({
  options: {
    commits: { type: "string", default: fewCommits.join(",") },
    all: { type: "boolean", default: false },
    require: { type: "boolean", default: false },
    seed: { type: "string", default: "1" },
  },
});
const commits = values.all ? allCommits : values.commits.split(",");
const missing = missingHistory(commits);
if (missing !== undefined) {
  console.log(`skipped: releases mixed (${missing})`);
  process.exit(values.require ? 1 : 0);
}

/** Of what takes some seconds: on a machine with fifteen times more to do than it can, a minute. */
const deadlineMs = 180_000;
const urgent = `[tables.instances]\nurgent = "status <> 'up'"\n[store]\nquery_timeout_ms = 60000\n`;
const today: Release = { name: "today", binary: join(repository, "dist", "patina") };
const random = seededRandom(Number(values.seed));
const startedMs = performance.now();

const folder = mkdtempSync(join(tmpdir(), "patina-mixed-"));
try {
  const olds: Release[] = [];
  for (const commit of commits)
    olds.push({ name: commit, binary: await buildCommit(commit, folder) });
  console.log(`built ${commits} in ${secondsSince(startedMs)} s`);
  for (const [i, old] of olds.entries()) {
    await mix(old, olds[(i + 1) % olds.length] as Release, i % 2 === 0);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(
  `${commits.length} clusters of mixed releases: passed, in ${secondsSince(startedMs)} s`,
);
process.exit(0);

/** One cluster, on its way through releases. */
async function mix(x: Release, y: Release, isOldEmptied: boolean): Promise<void> {
  const beganMs = performance.now();
  await using cluster = await Cluster.start({
    binary: today.binary,
    binaries: [x.binary, y.binary],
    nodes: 3,
    schema: [join(repository, "examples", "schema.sql")],
    config: urgent,
  });
  const releases = [x, y, today];
  const hosts = cluster.nodes.map((node, i) => new MixedHost(node, releases[i] as Release, random));
  const [a, b, c] = hosts as [MixedHost, MixedHost, MixedHost];
  const downs = new Downs(hosts, deadlineMs);
  try {
    await cluster.connected(deadlineMs);
    for (const host of hosts) host.listen();
    for (const host of hosts) host.startWriting();
    await downs.say();

    // Up by a kill, down by a stop: today, y, x.
    await become(a, today, "SIGKILL", downs);
    await become(c, x, "SIGTERM", downs);

    // Up by a stop; and one that takes everything from the others, who are of both kinds or all of today's.
    await become(b, today, "SIGTERM", downs);
    if (isOldEmptied) await loseAll(c, y, hosts);
    else await loseAll(b, today, hosts);

    // Up and down by a kill: y, today, today.
    await become(c, today, "SIGKILL", downs);
    await become(a, y, "SIGKILL", downs);
    await agree(hosts, downs);
    for (const host of hosts) await host.close();
    for (const host of hosts) host.keepLog();
    const alarms = hosts.flatMap(({ complaints }) => complaints).filter(isAlarm);
    if (alarms.length > 0) throw new Error(`alarms:\n${alarms.join("\n")}`);
  } catch (error) {
    const accounts = await Promise.all(hosts.map((host) => host.account()));
    throw new Error(`${x.name}, ${y.name} and today: ${error}\n${accounts.join("\n")}`);
  }
  const writes = hosts.reduce((sum, host) => sum + host.writes, 0);
  const took = secondsSince(beganMs);
  console.log(
    `ok: ${x.name}, ${y.name} and today: ${writes} writes, ${downs.describe()}, ${took} s`,
  );
}

/** The host ends and comes back as another release on the same data; others go on meanwhile. */
async function become(
  host: MixedHost,
  release: Release,
  signal: "SIGKILL" | "SIGTERM",
  downs: Downs,
): Promise<void> {
  // It is away when another host says that it is down, and has an "up" of it.
  const row = await downs.up(host);
  const { site } = await host.status();
  for (let i = 0; i < 2; i++) await host.writeMany();
  await host.end(signal);
  const [other] = downs.hosts.filter((one) => one !== host) as [MixedHost];
  await downs.down(row, other, [other]);
  host.spawnAs(release);
  try {
    await host.node.answers(deadlineMs);
  } catch (error) {
    if (
      signal !== "SIGKILL" ||
      !/this patina knows version 1: start the newer patina again/.test(`${error}`)
    )
      throw error;
    downs.refusals++;
    host.spawnAs(today);
    await host.node.answers(deadlineMs);
    await host.end("SIGTERM");
    host.spawnAs(release);
    await host.node.answers(deadlineMs);
  }
  if ((await host.status()).site !== site) throw new Error(`${host.name} has become another site`);
  await downs.told(row, downs.hosts);
  await downs.say();
}

/** The host comes back without its database, and takes all rows from the others. */
async function loseAll(
  host: MixedHost,
  release: Release,
  hosts: readonly MixedHost[],
): Promise<void> {
  // What only it has would be gone.
  await stopWriting(hosts);
  await same(hosts);
  await host.end("SIGTERM");
  host.loseDatabase();
  host.spawnAs(release);
  await host.ready(deadlineMs);
  // The oldest releases say that they are ready before that, and take an UPDATE of a row that they lack.
  await same(hosts);
  for (const one of hosts) one.startWriting();
}

async function stopWriting(hosts: readonly MixedHost[]): Promise<void> {
  await Promise.all(hosts.map((host) => host.stopWriting()));
}

/** Nobody writes any more: all show the same, and their listeners have been told so. */
async function same(hosts: readonly MixedHost[]): Promise<string[]> {
  let differs = "";
  let rows: string[] = [];
  try {
    await until("all show the same rows", deadlineMs, async () => {
      const all = await Promise.all(hosts.map((host) => host.rows()));
      rows = all[0] as string[];
      const shown = new Set(rows);
      differs = hosts
        .flatMap((host, i) => [
          [`${host.name} shows`, all[i] as string[]] as const,
          [`${host.name}'s listener was told`, host.toldRows()] as const,
        ])
        .filter(([, some]) => some.join() !== rows.join())
        .map(
          ([who, some]) =>
            `${who} ${some.length}: ${some.filter((row) => !shown.has(row)).slice(0, 5)}`,
        )
        .join("\n");
      return differs === "";
    });
  } catch (error) {
    throw new Error(`${error}\n${(hosts[0] as MixedHost).name} shows ${rows.length}\n${differs}`);
  }
  return rows;
}

/** Writers stop; all have what was acknowledged, and say that they agree. */
async function agree(hosts: readonly MixedHost[], downs: Downs): Promise<void> {
  await stopWriting(hosts);
  const lastMs = Date.now();
  const rows = new Map((await same(hosts)).map((row) => [JSON.parse(row)[0] as string, row]));
  const models = [...hosts.map(({ model }) => model), downs.rows];
  for (const [id, row] of models.flatMap((model) => [...model])) {
    if (rows.get(id) !== row)
      throw new Error(`${id} is ${rows.get(id)}, and ${row} was acknowledged`);
  }
  let statuses: Record<string, unknown>[] = [];
  const said = () =>
    JSON.stringify(
      statuses.map(({ root, cut, rows_held, agreed_ms }) => ({ root, cut, rows_held, agreed_ms })),
    );
  try {
    await until("all agree", deadlineMs, async () => {
      statuses = await Promise.all(hosts.map((host) => host.status()));
      const agoMs = Date.now() - lastMs;
      const images = new Set(
        statuses.map(({ root, cut, rows_held }) => JSON.stringify([root, cut, rows_held])),
      );
      return (
        images.size === 1 &&
        statuses.every(({ cut, agreed_ms }) => {
          return Number(cut) * 1000 > lastMs && agreed_ms !== null && Number(agreed_ms) < agoMs;
        })
      );
    });
  } catch (error) {
    throw new Error(`${error}: ${said()}`);
  }
  for (const [i, { refused, conflicts, store_error, not_shown }] of statuses.entries()) {
    const counts = Object.values(refused as Record<string, number>);
    const isFine = counts.every((count) => count === 0) && conflicts === 0 && store_error === null;
    if (isFine && (not_shown as unknown[]).length === 0) continue;
    throw new Error(
      `${hosts[i]?.name}: ${JSON.stringify({ refused, conflicts, store_error, not_shown })}`,
    );
  }
}

/** Of what is logged: whatever tells that hosts differ, that one isn't what it seems, or that something failed. */
function isAlarm(line: string): boolean {
  return /(alarm|error)/.test(line);
}

function secondsSince(beganMs: number): string {
  return ((performance.now() - beganMs) / 1000).toFixed(0);
}
