/**
 * Reads: what a request costs the agent, and how long one waits.
 *
 * Throughput by `h2load` (nghttp2), and beside it the agent's CPU time a request, from the kernel's
 * scheduler. The baseline is a `Bun.serve` handler that reads the same body and answers the same bytes as a
 * constant (constant-server.ts): whatever we cost above it is SQL, JSON and what is around them. The agent runs in a process of
 * its own, from source, standing alone. Latency is another process's (open-loop.ts).
 *
 * - `--peer URL`, `--peer-pid PID`: point reads also of another server that speaks the contract. It must have been
 *   started with the tables that `--schema` prints (Corrosion takes none by its API); the same rows are
 *   written to it first, and both must answer the same. With its process id CPU a request is compared, otherwise requests
 *   per second.
 * - `--binary PATH`: the executable in place of the source.
 * - `--only load`, `--only peer`, `--only memory` (what a result of 100,000 rows does to the agent's memory) or `--only endless`
 *   (point reads and commits while ten queries that never end are running, against the same with one
 *   unrelated busy process in their place).
 *
 * @module
 */

import { optionValue } from "./arguments.ts";
import type { Bench, BenchResult } from "./harness.ts";
import { measureEndless } from "./read-endless.ts";
import { measureLoad } from "./read-load.ts";
import { measureMemory } from "./read-memory.ts";
import { measurePeer } from "./read-peer.ts";
import { type ReadReport, schemaSql } from "./read-workload.ts";

export const read: Bench = {
  name: "read",
  what: "reads over the Unix socket and TCP: CPU a request against a constant, latency, endless queries",
  options: [
    {
      name: "--only",
      value: "load|peer|memory|endless",
      what: "a part of it: load; peer; memory, what a large result does to it; endless, reads beside queries that never end",
    },
    { name: "--binary", value: "PATH", what: "the executable in place of the source" },
    {
      name: "--peer",
      value: "URL",
      what: "the same load on another server that speaks the contract and has the tables",
    },
    {
      name: "--peer-pid",
      value: "PID",
      what: "its process: CPU a request is compared, otherwise requests per second",
    },
    { name: "--schema", what: "prints the tables, for the peer" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    if (args.includes("--schema")) {
      console.log(schemaSql.trim());
      process.exit(0);
    }
    const report: ReadReport = { cases: [], summary: {}, notes: [] };
    const binary = optionValue(args, "--binary");
    const only = optionValue(args, "--only");
    const isIn = (part: string): boolean => only === undefined || only === part;
    const url = optionValue(args, "--peer")?.replace(/\/$/, "");
    if (only === "peer" && url === undefined) throw new Error("--only peer: --peer URL is missing");
    if (isIn("load")) await measureLoad(small, binary, report);
    if (isIn("peer") && url !== undefined) {
      const pid = optionValue(args, "--peer-pid");
      const peer = { url, pid: pid === undefined ? undefined : Number(pid) };
      await measurePeer(small, binary, peer, report);
    }
    if (isIn("memory")) await measureMemory(small ? 2000 : 100_000, binary, report);
    if (isIn("endless")) await measureEndless(small, binary, report);
    return report;
  },
};
