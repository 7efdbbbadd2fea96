import { expect, test } from "bun:test";
import { ownDescriptors } from "../host/descriptors.ts";
import { ConnectionLimit, type LimitReport } from "./connection-limit.ts";

function limitOf(connectionsMax: number, filesMax: number | undefined) {
  const world = { untold: 0, idle: 0, nowMs: 0, looks: 0, reports: [] as LimitReport[] };
  const limit = new ConnectionLimit({
    connectionsMax,
    filesMax,
    onReached: (report) => world.reports.push(report),
    nowMs: () => world.nowMs,
  });
  limit.addServer({
    cutUntold() {
      if (world.untold === 0) return;
      world.untold--;
      limit.left();
    },
    cutIdle() {
      world.looks++;
      for (; world.idle > 0; world.idle--) limit.left();
    },
  });
  const admitted = (count: number): number => {
    let admitted = 0;
    for (let i = 0; i < count; i++) if (limit.admits()) admitted++;
    return admitted;
  };
  return { limit, world, admitted };
}

test("as many as the limit come in, and another as one leaves", () => {
  const { limit, admitted } = limitOf(1000, 100_000);
  expect(admitted(1200)).toBe(1000);
  limit.left();
  expect(admitted(2)).toBe(1);
});

test("the Unix socket's are counted, and never refused", () => {
  const { limit, admitted } = limitOf(100, undefined);
  for (let i = 0; i < 150; i++) expect(limit.admitsLocal()).toBe(true);
  expect(admitted(1)).toBe(0);
  for (let i = 0; i < 60; i++) limit.left();
  expect(admitted(20)).toBe(10);
});

test("the Unix socket's leave the agent the descriptors that it needs itself, and idle ones of TCP make room for them", () => {
  const { limit, world, admitted } = limitOf(8192, 256);
  expect(admitted(200)).toBe(128);
  let local = 0;
  while (limit.admitsLocal()) local++;
  expect(128 + local).toBe(256 - ownDescriptors);
  world.idle = 10;
  world.nowMs = 100;
  expect(limit.admitsLocal()).toBe(true);
  for (let i = 0; i < 9; i++) expect(limit.admitsLocal()).toBe(true);
  expect(limit.admitsLocal()).toBe(false);
});

test("one that has said nothing makes room for another, then idle ones do, looked for now and then", () => {
  const { world, admitted } = limitOf(100, undefined);
  expect(admitted(100)).toBe(100);
  world.untold = 2;
  expect([admitted(2), world.untold, world.looks]).toEqual([2, 0, 0]);
  world.idle = 10;
  expect([admitted(20), world.looks]).toEqual([10, 1]);
  world.idle = 10;
  expect(admitted(1)).toBe(0);
  world.nowMs = 100;
  expect([admitted(20), world.looks]).toEqual([10, 2]);
});

test("it is told of once in a while, with what it did since", () => {
  const { world, admitted } = limitOf(100, undefined);
  admitted(105);
  expect(world.reports).toEqual([{ connectionsMax: 100, closedIdle: 0, refused: 1 }]);
  world.idle = 1;
  world.nowMs = 10_000;
  admitted(1);
  expect(world.reports[1]).toEqual({ connectionsMax: 100, closedIdle: 1, refused: 4 });
});

test("some descriptors are kept whatever the limit, half where there are few", () => {
  expect(limitOf(8192, 256).admitted(1000)).toBe(128);
  expect(limitOf(8192, 4096).admitted(5000)).toBe(3072);
});
