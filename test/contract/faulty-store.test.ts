import { describe, expect, test } from "bun:test";
import { createCounts, type HistoryCounts, runFaultyHistory } from "./faulty-store.ts";

const seeds = 200;
const perTest = 20;

// More of them: `bun test/long/power.ts --seeds 5000`; one with all its steps: `--seed 17`.
describe("the SQLite store on a disk that fails keeps what its durability promises", () => {
  const counts: HistoryCounts = createCounts();
  let torn = 0;

  for (let first = 1; first <= seeds; first += perTest) {
    test(`seeds ${first} to ${first + perTest - 1}`, () => {
      for (let seed = first; seed < first + perTest; seed++) add(seed);
    }, 60_000);
  }

  // The draw is of no use if one of these hardly ever happens.
  test("and each kind of fault was met", () => {
    for (const [name, count] of Object.entries({ ...counts, torn })) {
      expect([name, count > 5]).toEqual([name, true]);
    }
  });

  function add(seed: number): void {
    const report = runFaultyHistory({ seed });
    for (const name of Object.keys(counts) as (keyof HistoryCounts)[]) {
      counts[name] += report.counts[name];
    }
    torn += report.disk.pagesTorn;
  }
});
