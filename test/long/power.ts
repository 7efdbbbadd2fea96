/**
 * Faults of the disk under random histories, for as long as wanted: `bun test/long/power.ts --seeds 2000`.
 *
 * `--from N` begins at another seed, `--seed N` runs one and prints all its steps, `--steps N` makes
 * histories longer. What is checked is told in test/contract/faulty-store.ts.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { runFaultyHistory } from "../contract/faulty-store.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    steps: { type: "string", default: "60" },
  },
});
const first = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
const steps = Number(values.steps);
const log = values.seed === undefined ? undefined : (line: string) => console.log(line);
const totals: Record<string, number> = {};
const failed: number[] = [];
const began = performance.now();

for (let seed = first; seed < first + count; seed++) {
  try {
    const { counts, disk } = await runFaultyHistory({ seed, steps, ...(log && { log }) });
    for (const [name, value] of Object.entries({ ...counts, ...disk })) {
      totals[name] = (totals[name] ?? 0) + value;
    }
  } catch (error) {
    failed.push(seed);
    console.error((error as Error).message);
  }
}
const seconds = (performance.now() - began) / 1000;
console.log(JSON.stringify(totals));
console.log(
  `${count} histories in ${seconds.toFixed(1)} s, failed: ${failed.join(", ") || "none"}`,
);
process.exit(failed.length === 0 ? 0 : 1);
