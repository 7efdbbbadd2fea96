import { expect, spyOn, test } from "bun:test";
import type { Agreements } from "../net/agreements.ts";
import { Readiness, type ReadinessParts } from "./readiness.ts";

const create = (parts: Partial<ReadinessParts>): Readiness =>
  new Readiness({
    awayMs: Number.POSITIVE_INFINITY,
    standsAlone: false,
    agreements: undefined,
    isBuilt: () => true,
    hasOthers: () => true,
    ...parts,
  });

test("others may have rows that a new node lacks, and one that was away for long, by whatever its clock says", () => {
  const awayMs = [Number.POSITIVE_INFINITY, 31_000, 29_000, -100, -56 * 365 * 86_400_000];
  const unsure = awayMs.map((ms) => create({ awayMs: ms }).isUnsure());
  expect(unsure).toEqual([true, true, false, false, true]);
  expect(create({ standsAlone: true }).isUnsure()).toBeFalse();
});

test("whoever waits goes on once this node agrees with a peer, and it is ready from then on", async () => {
  let agoMs: number | undefined;
  const readiness = create({ agreements: { agoMs: () => agoMs } as Agreements });
  let isSure = false;
  const waiting = readiness.sure().then((sure) => {
    isSure = sure;
  });
  expect([readiness.isReady(), readiness.isUnsure(), isSure]).toEqual([false, true, false]);
  agoMs = 0;
  await waiting;
  agoMs = undefined;
  expect([isSure, readiness.isReady(), readiness.isUnsure()]).toEqual([true, true, false]);
});

test("a node is ready on its own after 10 s, and not while others are there that it has yet to agree with", () => {
  let nowMs = 0;
  using now = spyOn(performance, "now").mockImplementation(() => nowMs);
  let hasOthers = true;
  const readiness = create({ hasOthers: () => hasOthers });
  nowMs = 60_000;
  expect(readiness.isReady()).toBeFalse();
  hasOthers = false;
  expect(readiness.isReady()).toBeTrue();
  const first = create({ hasOthers: () => false });
  nowMs = 69_000;
  expect(first.isReady()).toBeFalse();
  nowMs = 71_000;
  expect(first.isReady()).toBeTrue();
  now.mockRestore();
});
