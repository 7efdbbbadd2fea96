/**
 * One promise each, in a cluster made for it. The scenarios hold their own checks.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { runScenario } from "./scenarios.ts";

const cases: readonly (readonly [name: string, seeds: readonly number[]])[] = [
  ["late", [1, 2, 4]],
  ["late-after-load", [2, 3]],
  ["mostly-different", [1]],
  ["flaky-catch-up", [1, 2]],
  ["all-crash", [1, 2, 3, 4]],
  ["schema-versions", [1, 2, 3, 4, 5]],
  ["restart", [1, 2]],
  ["partition", [1, 2]],
  ["asymmetric", [1, 2, 3]],
  ["repair-bytes", [1, 2]],
  ["hidden-difference", [1, 2]],
  ["two-writers", [1, 2, 3, 4, 5]],
  ["planned-stop", [1, 2, 3]],
  ["credit", [1]],
  ["flood", [1]],
  ["urgent-flood", [1, 2]],
  ["backlog", [1, 2]],
  ["echo", [1, 2, 3]],
  ["cut-noise", [1]],
  ["hostile", [2, 4, 5]],
  ["mangled", [1, 2]],
  ["trees", [1, 2, 3]],
  ["clock-steps", [1, 2, 20, 70, 167]],
];

for (const [name, seeds] of cases) {
  for (const seed of seeds) {
    test(`${name}, seed ${seed}`, () => {
      expect(runScenario(name, seed).events).toBeGreaterThan(100);
    }, 120_000);
  }
}
