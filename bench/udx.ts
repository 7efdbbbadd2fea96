/**
 * UDX in TypeScript against udx-native under Node. The bench lives with its package, `agent/udx/bench.ts`; here
 * is only its door.
 *
 * @module
 */

import { join } from "node:path";
import type { Bench, BenchCase, BenchResult } from "./harness.ts";

const script = join(import.meta.dir, "..", "agent", "udx", "bench.ts");

export const udx: Bench = {
  name: "udx",
  what: "UDX in TypeScript against udx-native: loopback, round trip, loss, idle streams",
  options: [
    { name: "--runs", value: "N", what: "how often; 5" },
    { name: "--only", value: "NAME", what: "only what has this in its name" },
  ],
  async run({ small, args }): Promise<BenchResult> {
    const passed = args.filter((arg) => arg !== "--json" && arg !== "--small");
    // All of it takes minutes even on small inputs, because links are emulated in real time.
    const less = small ? ["--small", "--runs", "1", "--only", "round trip of"] : [];
    const command = [process.execPath, script, "--json", ...less, ...passed];
    const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
    const output = await new Response(child.stdout).text();
    if ((await child.exited) !== 0) throw new Error("agent/udx/bench.ts failed");
    const {
      bench: _,
      machine: __,
      cases,
      ...summary
    } = JSON.parse(output) as {
      bench: string;
      machine: unknown;
      cases: BenchCase[];
    } & Record<string, number | null>;
    return { cases, summary };
  },
};
