/**
 * The simulator's everyday load: many seeds, small clusters, every fault. A failing seed says how to
 * run it again.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { runScenario } from "./scenarios.ts";

/** Seeds in one test: small enough to name what failed, large enough to be quick to read. */
const batch = 10;

describe("200 clusters of 5 to 30 nodes with a map store come to what the model expects", () => {
  for (let first = 1; first <= 200; first += batch) {
    test(`seeds ${first} to ${first + batch - 1}`, () => {
      for (let seed = first; seed < first + batch; seed++) {
        runScenario("mixed", seed, 5 + ((seed * 7) % 26));
      }
    }, 120_000);
  }
});

describe("20 clusters of 3 nodes with the SQLite store come to what the model expects", () => {
  for (let first = 1; first <= 20; first += batch) {
    test(`seeds ${first} to ${first + batch - 1}`, () => {
      for (let seed = first; seed < first + batch; seed++) runScenario("sqlite", seed, 3);
    }, 120_000);
  }
});

test("a seed replays: two runs send the same frames at the same times", () => {
  expect(runScenario("mixed", 12, 7)).toEqual(runScenario("mixed", 12, 7));
});

test("a failure says how to run it again", () => {
  expect(() => runScenario("none", 1)).toThrow("no scenario none");
});
