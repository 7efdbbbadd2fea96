/**
 * `npm run bench` lists the benchmarks; `npm run bench -- NAME` prints a table, with `--json` one object on
 * one line, with `--help` what else it takes (`arguments.ts`).
 *
 * Exit codes: 0 measured, 1 failed, 2 no such benchmark or option, 3 measured but void (stderr says why).
 *
 * @module
 */

import { readArguments } from "./arguments.ts";
import { type Bench, machine, printTable } from "./harness.ts";

/** Loaded on demand: a bench may pull in a lot. */
export const benches: Readonly<Record<string, () => Promise<Bench>>> = {
  capture: async () => (await import("./capture.ts")).capture,
  "catch-up": async () => (await import("./catch-up.ts")).catchUp,
  index: async () => (await import("./index.ts")).index,
  merge: async () => (await import("./merge.ts")).merge,
  subscriptions: async () => (await import("./subscriptions.ts")).subscriptions,
  read: async () => (await import("./read.ts")).read,
  propagation: async () => (await import("./propagation.ts")).propagation,
  "read-under-merge": async () => (await import("./read-under-merge.ts")).readUnderMerge,
  store: async () => (await import("./store.ts")).store,
  write: async () => (await import("./write.ts")).write,
  udx: async () => (await import("./udx.ts")).udx,
};

if (import.meta.main) {
  const [name, ...args] = process.argv.slice(2);
  if (name === undefined || name === "--help") {
    for (const load of Object.values(benches)) {
      const bench = await load();
      console.log(`${bench.name.padEnd(18)}${bench.what}`);
    }
    console.log("\nnpm run bench -- NAME --help tells a benchmark's options.");
    process.exit(0);
  }
  const load = benches[name];
  if (load === undefined) {
    console.error(`bench: no "${name}"; there are ${Object.keys(benches).join(", ")}`);
    process.exit(2);
  }
  const bench = await load();
  const read = readArguments(bench, args);
  if (read.kind === "refused") {
    console.error(`bench: ${read.why}`);
    process.exit(2);
  }
  if (read.kind === "help") {
    console.log(read.text);
    process.exit(0);
  }
  const { small, json } = read;
  const result = await bench.run({ small, args });
  const { cases, summary, voided } = result;
  if (json) {
    const reason = voided === undefined ? {} : { void: voided };
    console.log(JSON.stringify({ bench: name, machine: machine(), cases, ...summary, ...reason }));
  } else printTable(name, result);
  if (voided !== undefined) {
    console.error(`bench: void: ${voided}`);
    process.exitCode = 3;
  }
}
