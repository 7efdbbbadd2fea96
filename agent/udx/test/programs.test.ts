/** The programs beside the module, on small inputs, so that they keep working. */

import { expect, test } from "bun:test";
import { bench } from "../bench.ts";
import { hostileCosts } from "./hostile-costs.ts";
import { realOrSkip } from "./peer-process.ts";

test("the bench measures both, and what arrives is what was sent", async () => {
  if (realOrSkip("the bench on small inputs") === null) return;
  const result = await bench({ runs: 1, small: true, only: "encrypted" });
  expect(result?.bench).toBe("udx");
  expect(result?.cases.length).toBe(3);
  for (const one of result?.cases ?? []) {
    expect(one.ours).toBeGreaterThan(0);
    expect(one.ratio).toBeGreaterThan(0);
    expect(one.checksum).toMatch(/^[0-9a-f]{16}$/);
  }
  expect(result?.loopback_ratio).toBeGreaterThan(0);
  expect(result?.worst_loss_ratio).toBeNull();
}, 120_000);

test("a bench case through the shaping proxy", async () => {
  if (realOrSkip("the bench through the proxy") === null) return;
  const result = await bench({ runs: 1, small: true, only: "5 % loss, 50 ms" });
  expect(result?.cases.length).toBe(1);
}, 120_000);

test("hostile peers leave the honest stream alive", async () => {
  const costs = await hostileCosts(0.02, () => {});
  expect(costs.filter((cost) => cost.alive === false)).toEqual([]);
  expect(costs.length).toBe(12);
}, 120_000);
