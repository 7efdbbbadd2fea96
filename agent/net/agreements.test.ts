import { expect, test } from "bun:test";
import type { PeerId } from "../../core/node/border.ts";
import { Agreements } from "./agreements.ts";

const [a, b] = ["a", "b"].map((digit) => digit.repeat(64)) as [PeerId, PeerId];

test("an agreement is as old as the last verdict, with whomever", () => {
  let nowMs = 1000.5;
  const agreements = new Agreements(() => nowMs);
  expect(agreements.agoMs()).toBeUndefined();
  expect(agreements.byPeer()).toEqual([]);
  agreements.noted({ peer: a, cut: 10 });
  nowMs += 700;
  agreements.noted({ peer: b, cut: 11 });
  nowMs += 40.9;
  expect(agreements.agoMs()).toBe(40);
  expect(agreements.byPeer()).toEqual([
    { peer: b, cut: 11, agoMs: 40 },
    { peer: a, cut: 10, agoMs: 740 },
  ]);
  // Nobody is left; it grows.
  nowMs += 3_600_000;
  expect(agreements.agoMs()).toBe(3_600_040);
  agreements.noted({ peer: a, cut: 12 });
  expect(agreements.agoMs()).toBe(0);
});

test("so many peers are remembered, and the oldest forgotten", () => {
  const agreements = new Agreements(() => 0);
  for (let i = 0; i < 300; i++) agreements.noted({ peer: String(i) as PeerId, cut: i });
  const peers = agreements.byPeer().map(({ peer }) => Number(peer));
  expect(peers).toHaveLength(256);
  expect(Math.min(...peers)).toBe(44);
});
