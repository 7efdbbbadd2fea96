import { expect, test } from "bun:test";
import { CutAim } from "./cut-aim.ts";

const none = Number.POSITIVE_INFINITY;

test("the cut is five seconds behind the store's clock", () => {
  const aim = new CutAim(1000);
  expect([14_999, 15_000].map((hlcMs) => aim.cut(hlcMs, 9, none, hlcMs))).toEqual([9, 10]);
  expect(aim.dueMs(10)).toBe(16_000);
});

test("it doesn't pass a stamp that isn't applied yet, and one that is late already doesn't hold it", () => {
  const aim = new CutAim(1000);
  expect(aim.cut(30_000, 10, 12_345, 30_000)).toBe(12);
  // The cut 13 covers it, and is made.
  expect(aim.cut(30_000, 13, 12_345, 30_000)).toBe(25);
});

test("it doesn't pass a stamp that waits in a queue, until that is applied or too long silent", () => {
  const aim = new CutAim(1000);
  aim.hold({ ms: 12_345 }, 30_000);
  expect(aim.cut(30_000, 10, none, 30_000)).toBe(12);
  expect([aim.isHeld(10), aim.isHeld(12)]).toEqual([false, true]);
  expect(aim.dueMs(12)).toBe(31_000);
  expect(aim.cut(30_999, 12, none, 30_999)).toBe(12);
  expect(aim.cut(31_000, 12, none, 31_000)).toBe(26);
  expect(aim.isHeld(12)).toBe(false);

  aim.hold({ ms: 12_345 }, 30_000);
  aim.hold(undefined, 30_001);
  expect(aim.cut(30_001, 12, none, 30_001)).toBe(25);
});
