import { expect, test } from "bun:test";
import type { PeerId } from "../border.ts";
import { ScanLine } from "./scan-line.ts";

const asked = (forPeer: string | undefined, what = 0) => ({
  forPeer: forPeer as PeerId | undefined,
  what,
});

test("whoever asks now and then comes before those who always ask, and the node itself before all", () => {
  const line = new ScanLine<ReturnType<typeof asked>>();
  const greedy = ["x", "y", "z"];
  for (const peer of [...greedy, "seldom"]) line.push(asked(peer));
  for (let turn = 0; turn < 40; turn++) {
    const served = line.shift();
    if (greedy.includes(served?.forPeer as string)) line.push(asked(served?.forPeer));
    if (turn < 3) for (const peer of greedy) line.push(asked(peer));
  }
  line.push(asked("seldom"));
  line.push(asked("new"));
  line.push(asked(undefined));
  const next = Array.from({ length: 6 }, () => line.shift()?.forPeer as string | undefined);
  expect(next.slice(0, 2)).toEqual([undefined, "seldom"]);
  // Who comes anew, perhaps under another key again, waits for one turn of everybody.
  expect(next.slice(2, 5).sort()).toEqual(greedy);
  expect(next[5]).toBe("new");
});

test("the turns of so many are remembered that ask nothing now, and no more", () => {
  const line = new ScanLine<ReturnType<typeof asked>>();
  const serve = (peer: string) => {
    line.push(asked(peer));
    expect(line.shift()?.forPeer as string).toBe(peer);
  };
  const nextTwo = () => [line.shift(), line.shift()].map((one) => one?.forPeer as string);
  for (let peer = 0; peer < 63; peer++) serve(`${peer}`);
  line.push(asked("new"));
  line.push(asked("0"));
  expect(nextTwo()).toEqual(["0", "new"]);
  // With the next one they are too many; the eldest turn is that of 1.
  for (const peer of ["newer", "1", "2"]) line.push(asked(peer));
  expect([line.shift(), line.shift(), line.shift()].map((one) => one?.forPeer as string)).toEqual([
    ...["2", "newer", "1"],
  ]);
});

test("whose turn is forgotten has nothing waiting", () => {
  const line = new ScanLine<ReturnType<typeof asked>>();
  const many = Array.from({ length: 70 }, (_, peer) => `${peer}`);
  for (const peer of many) line.push(asked(peer));
  for (const peer of many) expect(line.shift()?.forPeer as string).toBe(peer);
  // Too many rest, and the eldest doesn't.
  line.push(asked("0"));
  line.push(asked("new"));
  expect([line.shift()?.forPeer as string, line.shift()?.forPeer as string]).toEqual(["0", "new"]);
});

test("all that was put comes out, of each peer in its order", () => {
  const line = new ScanLine<ReturnType<typeof asked>>();
  for (let what = 0; what < 300; what++) line.push(asked(`${what % 100}`, what));
  const seen = new Map<string, number[]>();
  for (let left = 300; left > 0; left--) {
    expect(line.length).toBe(left);
    const { forPeer, what } = line.shift() as ReturnType<typeof asked>;
    seen.set(forPeer as string, [...(seen.get(forPeer as string) ?? []), what]);
  }
  expect([line.length, line.shift()]).toEqual([0, undefined]);
  for (const [peer, of] of seen) expect(of).toEqual([0, 100, 200].map((by) => by + Number(peer)));
});
