import { expect, test } from "bun:test";
import { type Chore, Chores } from "./chores.ts";
import { RetryChore } from "./retry-chore.ts";

const never = Number.POSITIVE_INFINITY;

/** Due when the test says; `runs` are the times of its slices. */
class FakeChore implements Chore {
  readonly name: string;
  dueMs: number;
  readonly runs: number[] = [];
  fault: Error | undefined;

  constructor(name: string, dueMs: number) {
    this.name = name;
    this.dueMs = dueMs;
  }

  run(nowMs: number): void {
    this.runs.push(nowMs);
    if (this.fault !== undefined) throw this.fault;
  }
}

test("of those that are due the first has a slice, one a turn", () => {
  const [a, b] = [new FakeChore("a", 10), new FakeChore("b", 5)];
  const chores = new Chores([a, b], () => {});
  expect(chores.dueMs).toBe(5);
  for (const nowMs of [4, 7, 10]) chores.run(nowMs);
  expect([a.runs, b.runs]).toEqual([[10], [7]]);
  a.dueMs = never;
  chores.run(11);
  expect([a.runs, b.runs]).toEqual([[10], [7, 11]]);
  b.dueMs = never;
  chores.run(12);
  expect([a.runs, b.runs, chores.dueMs]).toEqual([[10], [7, 11], never]);
  expect(new Chores([], () => {}).dueMs).toBe(never);
});

test("one that fails is told, and left alone for ten seconds while others go on", () => {
  const [a, b] = [new FakeChore("a", 0), new FakeChore("b", 100)];
  const told: unknown[] = [];
  const chores = new Chores([a, b], (...failure) => told.push(failure));
  a.fault = new Error("full");
  chores.run(100);
  expect([told, chores.dueMs]).toEqual([[["a", a.fault]], 100]);
  chores.run(101);
  b.dueMs = never;
  expect(chores.dueMs).toBe(10_100);
  chores.run(10_099);
  expect([a.runs, b.runs]).toEqual([[100], [101]]);
  a.fault = undefined;
  chores.run(10_100);
  expect([a.runs, told.length, chores.dueMs]).toEqual([[100, 10_100], 1, 10_100]);
  // What it wants for itself counts once the pause is over.
  a.dueMs = 20_000;
  expect(chores.dueMs).toBe(20_000);
});

test("once the clock is set back each is due anew: what it had said of when would be hours or years ahead", () => {
  const [a, b] = [new FakeChore("a", 0), new FakeChore("b", never)];
  const chores = new Chores([a, b], () => {});
  const ahead = 3_600_000;
  a.fault = new Error("the clock is wrong");
  chores.run(ahead);
  a.fault = undefined;
  a.dueMs = ahead + 1000;
  expect(chores.dueMs).toBe(ahead + 10_000);
  chores.run(100);
  expect([a.runs, b.runs, chores.dueMs]).toEqual([[ahead, 100], [], ahead + 1000]);
  a.dueMs = 1100;
  chores.run(1099);
  expect([a.runs, chores.dueMs]).toEqual([[ahead, 100], 1100]);
});

test("what was left undone is tried at once, then every second until it is done", () => {
  const outcomes = [false, false, true, false];
  let isWaiting = false;
  const chore = new RetryChore(
    "the start",
    () => isWaiting,
    () => outcomes.shift() === true,
  );
  expect([chore.name, chore.dueMs]).toEqual(["the start", never]);
  isWaiting = true;
  expect(chore.dueMs).toBeLessThanOrEqual(0);
  chore.run(5000);
  expect(chore.dueMs).toBe(6000);
  chore.run(6000);
  expect(chore.dueMs).toBe(7000);
  chore.run(7000);
  isWaiting = false;
  expect(chore.dueMs).toBe(never);
  // Of what is left undone later nothing is known yet.
  isWaiting = true;
  expect(chore.dueMs).toBeLessThanOrEqual(7000);
  chore.run(7001);
  expect(chore.dueMs).toBe(8001);
});
