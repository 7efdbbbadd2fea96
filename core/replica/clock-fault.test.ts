import { expect, test } from "bun:test";
import { ClockFault } from "./clock-fault.ts";

const yearMs = 365 * 86_400_000;
const nowMs = 60 * yearMs;
const hlc = (ms: number) => ({ ms, count: 3 });

test("how far ahead the clock was is known if it was by one amount, and all peers said the same", () => {
  const fault = new ClockFault(120_000);
  const note = (offsetsMs: readonly number[], ms = nowMs) =>
    fault.note(offsetsMs, hlc(ms - 10), nowMs);
  note([]);
  note([5, -300, 120_000]);
  note([-120_000]);
  note([-yearMs, 3]);
  expect(fault.known).toBeUndefined();
  note([-yearMs + 0.25, -yearMs + 20]);
  note([-yearMs - 100, -yearMs - 90], nowMs + 1000);
  expect(fault.known).toEqual({ aheadMs: yearMs, until: hlc(nowMs + 990) });
  // Set right: one of the two hasn't been heard since, or neither.
  note([-yearMs - 100, 3]);
  fault.note([-yearMs, -yearMs], hlc(nowMs + 2000), nowMs - yearMs);
  note([1, 3]);
  expect(fault.known).toEqual({ aheadMs: yearMs, until: hlc(nowMs + 990) });
  fault.end();
  expect(fault.known).toBeUndefined();
  // By two amounts, one after the other.
  note([-yearMs]);
  note([-2 * yearMs]);
  expect(fault.known).toBeUndefined();
  // What was stamped by two is stamped anew, too: the next fault is one again.
  fault.end();
  note([-yearMs]);
  expect(fault.known).toEqual({ aheadMs: yearMs, until: hlc(nowMs - 10) });
});

test("clocks that are 2 s apart are the same, and not those that are more", () => {
  const known = (...told: readonly (readonly [offsetsMs: readonly number[], hlcMs?: number])[]) => {
    const fault = new ClockFault(120_000);
    for (const [offsetsMs, hlcMs] of told) fault.note(offsetsMs, hlc(hlcMs ?? nowMs), nowMs);
    return fault.known?.aheadMs;
  };
  expect(known([[-yearMs, -yearMs - 2000]])).toBe(yearMs);
  expect(known([[-yearMs, -yearMs - 2001]])).toBeUndefined();
  expect(known([[-yearMs]], [[-yearMs - 2000]])).toBe(yearMs);
  expect(known([[-yearMs]], [[-yearMs - 2001]])).toBeUndefined();
  // By what it is ahead at least, and what the HLC may be ahead of the clock.
  expect([known([[-120_000]]), known([[-120_001]])]).toEqual([undefined, 120_001]);
  expect(known([[-yearMs], nowMs + 120_000])).toBe(yearMs);
  expect(known([[-yearMs], nowMs + 120_001])).toBeUndefined();
});
