import { expect, test } from "bun:test";
import { cutToAimAt, nextCutMs } from "./cut-aim.ts";

const none = Number.POSITIVE_INFINITY;

test("the cut is five seconds behind the store's clock", () => {
  expect([14_999, 15_000].map((hlcMs) => cutToAimAt(hlcMs, 9, none))).toEqual([9, 10]);
  expect(nextCutMs(10)).toBe(16_000);
});

test("it doesn't pass a stamp that isn't applied yet, and one that is late already doesn't hold it", () => {
  expect(cutToAimAt(30_000, 10, 12_345)).toBe(12);
  // The cut 13 covers it, and is made.
  expect(cutToAimAt(30_000, 13, 12_345)).toBe(25);
});
