import { describe, expect, test } from "bun:test";
import { Drift } from "./drift.ts";

const hourMs = 3_600_000;

describe("a host is held for the one that is wrong", () => {
  test.each([
    { what: "when all of three peers agree against it", offsets: [1, 0, -1], own: hourMs },
    { what: "when four of five do", offsets: [0, 0, 0, 0, -hourMs], own: hourMs },
    { what: "when five of eight do", offsets: [0, 0, 0, 0, 0, 9e9, -9e9, 5e9], own: hourMs },
  ])("$what", ({ offsets, own }) => {
    const drift = new Drift();
    drift.setOffsets(offsets.map((offset) => offset - own));
    expect(drift.localWrites().kind).toBe("refused");
  });
});

describe("a host goes on writing", () => {
  test.each([
    { what: "whatever two peers say", offsets: [hourMs, hourMs] },
    { what: "when two of three are wrong", offsets: [0, hourMs, hourMs] },
    { what: "when two of four are", offsets: [0, 0, hourMs, hourMs] },
    {
      what: "when three of five are: with its own clock half are right",
      offsets: [0, 0, 9e9, 9e9, 9e9],
    },
    { what: "when four of eight are", offsets: [0, 0, 0, 0, hourMs, hourMs, hourMs, hourMs] },
    {
      what: "when each of four tells another time",
      offsets: [hourMs, 2 * hourMs, 3 * hourMs, 4 * hourMs],
    },
  ])("$what", ({ offsets }) => {
    const drift = new Drift();
    drift.setOffsets(offsets);
    expect(drift.localWrites().kind).toBe("allowed");
  });
});

test("one of three peers that is wrong doesn't hide the fleet's time", () => {
  const drift = new Drift();
  drift.setOffsets([10, 20, hourMs]);
  expect(drift.medianOffsetMs).toBe(20);
  expect(drift.limitMs(0)).toBe(5020);
});
