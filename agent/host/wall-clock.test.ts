import { expect, test } from "bun:test";
import { WallClock } from "./wall-clock.ts";

test("a nudge backwards slows the clock and doesn't turn it", () => {
  let system = 1_000_000;
  let monotonic = 50;
  const clock = new WallClock(
    () => Math.floor(system),
    () => monotonic,
  );
  let last = clock.nowMs();
  expect(last).toBe(1_000_000);
  system -= 100;
  for (let i = 0; i < 2000; i++) {
    system += 1;
    monotonic += 1;
    const now = clock.nowMs();
    expect(now).toBeGreaterThan(last);
    last = now;
  }
  // The 100 ms are made up after 1,000.
  expect(last).toBeCloseTo(system, 0);
});

test("a jump is taken over, both ways", () => {
  let system = 1_000_000;
  let monotonic = 0;
  const clock = new WallClock(
    () => system,
    () => monotonic,
  );
  system += 3_600_000;
  monotonic += 5;
  expect(clock.nowMs()).toBe(system);
  system -= 7_200_000;
  monotonic += 5;
  expect(clock.nowMs()).toBe(system);
});
