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

test("before anybody has told of a clock, no clock is known to be right", () => {
  const drift = new Drift();
  expect([drift.agrees, drift.peers, drift.localWrites().kind]).toEqual([false, 0, "allowed"]);
});

test("clocks agree that are 5 s apart, and no more; a stamp warns that is half a second ahead", () => {
  const drift = new Drift();
  drift.setOffsets([5000, 5000, 5000]);
  expect([drift.agrees, drift.localWrites().kind]).toEqual([true, "allowed"]);
  // Half of the clocks that are known agree with the median, and the own one beside them.
  drift.setOffsets([-5000, 0, 5000]);
  expect([drift.agrees, drift.medianOffsetMs]).toEqual([true, 0]);
  drift.setOffsets([5001, 5001, 5001]);
  expect([drift.agrees, drift.localWrites().kind]).toEqual([false, "refused"]);
  drift.setOffsets([10, 10, 10]);
  expect([510, 511].map((ms) => drift.isWarning(ms, 0))).toEqual([false, true]);
});

test("one of three peers that is wrong doesn't hide the fleet's time", () => {
  const drift = new Drift();
  drift.setOffsets([10, 20, hourMs]);
  expect(drift.medianOffsetMs).toBe(20);
  expect(drift.limitMs(0)).toBe(5020);
});

describe("clocks that have never been set", () => {
  const clockFloorMs = 1000 * hourMs;
  const create = () => new Drift(clockFloorMs);

  test("are asked nothing, however many they are", () => {
    const drift = create();
    const nowMs = 2000 * hourMs;
    drift.setOffsets([-1500 * hourMs, -1500 * hourMs, -1500 * hourMs], 3, nowMs);
    expect(drift.localWrites(nowMs)).toEqual({ kind: "allowed" });
    expect([drift.agrees, drift.peers, drift.limitMs(nowMs)]).toEqual([false, 0, nowMs + 60_000]);
    // One that shows the floor is set.
    const floor = clockFloorMs - nowMs;
    expect(drift.ofSetClocks([floor, floor - 1], nowMs)).toEqual([floor]);
    // One that is set is all there are.
    drift.setOffsets([-1500 * hourMs, -1500 * hourMs, 3], 3, nowMs);
    expect([drift.agrees, drift.peers]).toEqual([true, 1]);
    drift.setOffsets([-1500 * hourMs, 3], 3, nowMs);
    expect(drift.agrees).toBe(false);
  });

  test("stamp nothing, take the time of any that is set, and never agree with each other", () => {
    const drift = create();
    expect(drift.localWrites(7)).toEqual({
      kind: "refused",
      why: "clock: this host's shows 1970-01-01T00:00:00.007Z, so it has never been set; writes are refused until it is",
    });
    drift.setOffsets([0, 5, -5], 3, hourMs);
    expect([drift.agrees, drift.medianOffsetMs]).toEqual([false, undefined]);
    drift.setOffsets([0, 5, 2000 * hourMs], 3, hourMs);
    expect([drift.agrees, drift.fleetMs(hourMs)]).toEqual([false, 2001 * hourMs]);
    expect(drift.localWrites(clockFloorMs)).toMatchObject({ kind: "refused" });
    drift.setOffsets([0, 5], 2, clockFloorMs);
    expect([drift.agrees, drift.localWrites(clockFloorMs).kind]).toEqual([true, "allowed"]);
  });
});

test("two peers don't tell the fleet's time, although they agree: up to a minute ahead is taken", () => {
  const drift = new Drift();
  drift.setOffsets([10, 20]);
  expect(drift.medianOffsetMs).toBeUndefined();
  expect(drift.limitMs(0)).toBe(60_000);
});

test("more is taken than is followed while the fleet's time isn't known, unless some clock shows it", () => {
  const drift = new Drift();
  expect(drift.followedMsMax(0)).toBe(5000);
  // A host that is slow itself follows those that aren't.
  drift.setOffsets([-20, 30_000]);
  expect([drift.limitMs(0), drift.followedMsMax(0)]).toEqual([60_000, 35_000]);
  drift.setOffsets([-20, 10, 30_000, 20]);
  expect([drift.limitMs(0), drift.followedMsMax(0)]).toEqual([5015, 5015]);
});

test("a host that stands alone writes by a clock that was never set: nobody's writes could lose to its own", () => {
  const floorMs = Date.UTC(2024, 0, 1);
  const drift = new Drift(floorMs, true);
  drift.setOffsets([], 0, 7);
  expect(drift.localWrites(7)).toEqual({ kind: "allowed" });
  expect([drift.isUnset(7), drift.agrees]).toEqual([true, false]);
});
