import { expect, test } from "bun:test";
import type { PeerId } from "../border.ts";
import { openExchange } from "./exchange.ts";
import { actOnRoots, actOnWalk, scanOf } from "./repair-plan.ts";

const rows = (rowsOwn: number, rowsPeer: number) => ({ rowsOwn, rowsPeer, hasListed: false });

test("where the roots differ, the more is missing here the more is taken unasked", () => {
  const acts = (own: number, peer: number) =>
    [true, false].map((mayStream) => actOnRoots(rows(own, peer), false, mayStream));
  expect(acts(1000, 1000)).toEqual(["walk", "walk"]);
  expect(acts(1000, 2001)).toEqual(["stream", "walk"]);
  expect(acts(1000, 8001)).toEqual(["stream", "fetch"]);
  expect(acts(0, 1)).toEqual(["stream", "fetch"]);
  // It takes for itself what it lacks.
  expect(acts(8001, 1000)).toEqual([undefined, undefined]);
});

test("a stream that broke off is gone on with until nearly all of the peer's rows are here", () => {
  const act = (own: number) => actOnRoots(rows(own, 10_000), true, true);
  expect([act(9000), act(9899), act(9900)]).toEqual(["stream", "stream", "walk"]);
});

test("where nodes differ, large ones are walked on and small ones listed, or taken whole if most is missing", () => {
  const walked = { level: 1, nodes: [0, 1] };
  const act = (own: number, peer: number, differing: number) =>
    actOnWalk(rows(own, peer), walked, differing, false, 64);
  // 16**2 nodes of 390 rows, and of 39.
  expect(act(100_000, 100_000, 3)).toBe("walk");
  expect(act(10_000, 10_000, 3)).toBe("list");
  expect([act(4000, 10_000, 16), act(4000, 10_000, 17)]).toEqual(["list", "fetch"]);
  // The larger side counts.
  expect([act(10_000, 20_000, 3), act(20_000, 10_000, 3)]).toEqual(["walk", "walk"]);
  // There is nothing below a range, however many rows it has.
  const walkedRanges = { level: 3, nodes: [0] };
  expect(actOnWalk(rows(1e8, 1e8), walkedRanges, 3, false, 64)).toBe("list");
});

test("where most of many small nodes differ everything is streamed, if it can be and nothing was named yet", () => {
  const walked = { level: 2, nodes: Array.from({ length: 64 }, (_, node) => node) };
  const act = (differing: number, mayStream: boolean, hasListed: boolean) =>
    actOnWalk({ ...rows(20_000, 20_000), hasListed }, walked, differing, mayStream, 64);
  // Nearly all of the 1,024 children hold a row.
  expect([act(600, true, false), act(620, true, false)]).toEqual(["list", "stream"]);
  expect([act(620, false, false), act(620, true, true)]).toEqual(["list", "list"]);
});

test("a few nodes, or nodes of many rows, tell nothing of all the others; of nodes that are mostly empty few can differ", () => {
  const act = (all: number, level: number, parents: number, differing: number) => {
    const nodes = Array.from({ length: parents }, (_, node) => node);
    return actOnWalk(rows(all, all), { level, nodes }, differing, true, 64);
  };
  // Of 16**3 nodes with 4.9 rows each.
  expect([act(20_000, 2, 63, 1008), act(20_000, 2, 64, 1024)]).toEqual(["list", "stream"]);
  // With 9.8 rows each.
  expect(act(40_000, 2, 64, 1024)).toBe("list");
  // Every second one of 16**4 ranges has a row: some 400 of 1,024.
  expect([act(32_768, 3, 64, 230), act(32_768, 3, 64, 250)]).toEqual(["list", "stream"]);
});

test("what can't be listed in full at once is listed from anywhere, so nodes that stay different keep no others from it", () => {
  const moment = { live: false, cut: 1 };
  const peer = "1".repeat(64) as PeerId;
  const scan = (nodes: number, random: number) => {
    const exchange = openExchange({ id: 1, peer, moment, rowsOwn: 0, startedMs: 0, silentAtMs: 0 });
    // 16**4 nodes of one row each.
    exchange.rowsPeer = 16 ** 4;
    exchange.unexplainedLevel = 4;
    for (let node = 0; node < nodes; node++) exchange.unexplained.push(node);
    return scanOf(exchange, () => random).nodes;
  };
  const from = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
  expect(scan(4096, 0.5)).toEqual(from(0, 4096));
  expect(scan(10_000, 0)).toEqual(from(0, 4096));
  expect(scan(10_000, 0.5)).toEqual(from(5000, 4096));
  // Around the end.
  expect(scan(10_000, 0.9)).toEqual([...from(9000, 1000), ...from(0, 3096)]);
});
