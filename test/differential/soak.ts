/**
 * `bun test/differential/soak.ts N [--seed S]`: N histories, and what differed with what runs it again.
 *
 * @module
 */

import fc from "fast-check";
import { compareHistory } from "./compare.ts";
import { acts } from "./sql-history.ts";

const [count = "10000", ...args] = process.argv.slice(2);
const seedAt = args.indexOf("--seed");
const seed = seedAt < 0 ? Date.now() % 2 ** 31 : Number(args[seedAt + 1]);
const started = performance.now();
let histories = 0;
let records = 0;
console.log(`${count} histories, --seed ${seed}`);
const result = await fc.check(
  fc.asyncProperty(acts(), fc.nat(), async (history, order) => {
    const outcome = await compareHistory(history, order);
    histories++;
    records += outcome.records;
    if (histories % 1000 === 0) console.log(`${histories} histories, ${records} records`);
    return (
      Bun.deepEquals(outcome.wholeRows, outcome.crsqlite) &&
      Bun.deepEquals(outcome.smallest, outcome.crsqlite)
    );
  }),
  { numRuns: Number(count), seed },
);
if (result.failed) {
  const [history, order] = result.counterexample ?? [[], 0];
  console.log(
    JSON.stringify(history, (_, value) => (typeof value === "bigint" ? `${value}n` : value), 1),
  );
  console.log(await compareHistory(history, order));
  console.log(`they differ; again: --seed ${result.seed}, path ${result.counterexamplePath}`);
  process.exit(1);
}
const seconds = ((performance.now() - started) / 1000).toFixed(0);
console.log(`${histories} histories, ${records} records: no difference, in ${seconds} s`);
