/**
 * Writes: single-row transactions over the Unix socket, one after another on 1 and on 32 connections, and at a
 * fixed rate.
 *
 * The agent runs in a process of its own, from source, standing alone; the load comes from another
 * (closed-loop.ts, open-loop.ts). Each request updates one of 10,000 rows, in random order. Two baselines in
 * the same run: a `Bun.serve` handler that reads the same bodies and answers the same bytes as a constant (a
 * bound on what HTTP allows), and the same statements through the same SQLite in a loop, one transaction each,
 * without HTTP and without capture (a bound on what SQLite allows).
 *
 * `synchronous = full` waits for the disk at every commit: there a group shares one fsync.
 *
 * @module
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { optionValue } from "./arguments.ts";
import { type BenchAgent, post, startBenchAgent, startConstant } from "./bench-agent.ts";
import { closedLoop } from "./closed-loop.ts";
import { type Bench, type BenchCase, type BenchResult, median, plainCase } from "./harness.ts";
import { openLoop } from "./open-loop.ts";
import { openPlain } from "./own-store.ts";
import { seededRandom } from "./seeded-random.ts";

const schemaSql = `CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, service TEXT NOT NULL DEFAULT '',
  node TEXT NOT NULL DEFAULT '', address TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT 'up',
  weight INTEGER NOT NULL DEFAULT 0);`;
const updateSql = "UPDATE instances SET status = ?, weight = ? WHERE id = ?";
const path = "/v1/transactions";
const connectionCounts = [1, 32] as const;

export const write: Bench = {
  name: "write",
  what: "single-row transactions over the Unix socket: 1 and 32 connections, normal and full durability",
  options: [{ name: "--rounds", value: "N", what: "how often; 3" }],
  async run({ small, args }): Promise<BenchResult> {
    const rounds = small ? 1 : Number(optionValue(args, "--rounds") ?? 3);
    const rows = small ? 200 : 10_000;
    const requests = small ? 200 : 12_000;
    const updates = createUpdates(rows, requests);
    const bodies = updates.map((values) => JSON.stringify([[updateSql, values]]));
    const folder = mkdtempSync(join(tmpdir(), "patina-bench-write-"));
    const cases: BenchCase[] = [];
    const summary: Record<string, number | string | null> = {};
    try {
      await using normal = await startAgent(rows, "normal");
      await using full = await startAgent(rows, "full");
      const answer = await post(normal.socket, path, bodies[0] as string);
      writeFileSync(join(folder, "answer"), answer);
      await using constant = await startConstant(join(folder, "c.sock"), join(folder, "answer"));
      const rates = new Map<string, number[]>();
      const note = (name: string, value: number): void => {
        rates.set(name, [...(rates.get(name) ?? []), value]);
      };
      for (let round = 0; round < rounds; round++) {
        note("sqlite", plainRate(join(folder, `plain-${round}.db`), rows, updates));
        for (const connections of connectionCounts) {
          for (const [name, socket, count] of [
            ["constant", constant.where, requests],
            ["normal", normal.socket, requests],
            ["full", full.socket, Math.ceil(requests / 6)],
          ] as const) {
            const loop = { socket, path, bodies, connections, requests: count };
            const report = await closedLoop(loop);
            note(`${name} ${connections}`, report.perSecond);
            note(`${name} ${connections} p50`, report.p50Ms);
            note(`${name} ${connections} p99`, report.p99Ms);
          }
        }
      }
      const of = (name: string) => median(rates.get(name) as number[]);
      const checksum = String(updates.length);
      for (const connections of connectionCounts) {
        for (const durability of ["normal", "full"] as const) {
          const name = `${durability} ${connections}`;
          const label = `${durability}, ${connections} connection${connections === 1 ? "" : "s"}`;
          const ours = of(name);
          const baselines = [["constant Bun.serve", of(`constant ${connections}`)] as const];
          if (durability === "normal") baselines.push(["SQLite in a loop", of("sqlite")] as never);
          for (const [peerName, peer] of baselines) {
            cases.push({
              case: label,
              unit: "1/s",
              ours,
              peer,
              peer_name: peerName,
              peer_version: "same run",
              ratio: ours / peer,
              checksum,
            });
          }
          for (const q of ["p50", "p99"]) {
            cases.push(plainCase(`${label}: ${q}`, "ms", of(`${name} ${q}`), checksum));
          }
          summary[`${durability}_${connections}_per_s`] = Math.round(ours);
        }
      }
      for (const [durability, { socket }] of [
        ["normal", normal],
        ["full", full],
      ] as const) {
        const perSecond = small ? 100 : 500;
        const seconds = small ? 0.3 : 5;
        const report = await openLoop({
          socket,
          path,
          bodies: bodies.slice(0, 500),
          perSecond,
          seconds,
          connections: 32,
        });
        if (report.failed > 0) throw new Error(`${report.failed} writes failed`);
        const label = `${durability}, ${perSecond}/s open loop`;
        cases.push(
          plainCase(`${label}: p50`, "ms", report.p50Ms, String(report.sent)),
          plainCase(`${label}: p99`, "ms", report.p99Ms, String(report.sent)),
        );
        summary[`${durability}_open_p50_ms`] = Number(report.p50Ms.toFixed(3));
        summary[`${durability}_open_p99_ms`] = Number(report.p99Ms.toFixed(3));
        summary[`${durability}_late_sends`] = report.late;
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    return {
      cases,
      summary: { ...summary, rows, requests, rounds },
      notes: [
        "load and agent share the machine's cores; latencies of the closed loop are those of an agent at its limit",
      ],
    };
  },
};

/** Status, weight and id of each request. */
function createUpdates(rows: number, requests: number): (string | number)[][] {
  const random = seededRandom(11);
  return Array.from({ length: requests }, () => [
    random() < 0.5 ? "up" : "busy",
    Math.floor(random() * 1e6),
    `i${Math.floor(random() * rows)}`,
  ]);
}

function fillSql(rows: number): string {
  return `INSERT INTO instances (id, service, node, address)
    WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows - 1})
    SELECT 'i' || x, 's' || (x % 100), 'n' || (x % 50), '10.0.' || (x % 256) || '.7:8080' FROM c`;
}

/** Transactions a second. */
function plainRate(file: string, rows: number, updates: readonly (string | number)[][]): number {
  using db = openPlain(file);
  db.exec(schemaSql);
  db.exec(fillSql(rows));
  using statement = db.prepare(updateSql);
  const begunMs = performance.now();
  // Outside of BEGIN each is a transaction.
  for (const values of updates) statement.run(...values);
  return updates.length / ((performance.now() - begunMs) / 1000);
}

function startAgent(rows: number, durability: "normal" | "full"): Promise<BenchAgent> {
  const config = `[store]\ndurability = "${durability}"\n`;
  return startBenchAgent({ schemaSql, config, fill: [fillSql(rows)] });
}
