import { expect, test } from "bun:test";
import { site } from "../../../test/played-node.ts";
import type { ChangesetId } from "../../change/changeset.ts";
import type { PeerId } from "../border.ts";
import { KeptPushes, keptOverheadBytes } from "./kept-pushes.ts";

const by = { source: "b", origin: site(9) };
const keep = (kept: KeptPushes, id: string, frame: Uint8Array, atMs: number) =>
  kept.add({ id: id as ChangesetId, lane: 1, frame, by, from: "b" as PeerId, atMs });
const has = (kept: KeptPushes, ids: string) =>
  [...ids].filter((id) => kept.of(id as ChangesetId) !== undefined).join("");

test("changesets are kept for a while and up to a number of bytes, the last whatever its size", () => {
  const overhead = keptOverheadBytes;
  const kept = new KeptPushes(1000, 100 + 2 * overhead);
  keep(kept, "a", new Uint8Array(60), 0);
  keep(kept, "b", new Uint8Array(40), 500);
  expect([has(kept, "ab"), kept.bytes]).toEqual(["ab", 100 + 2 * overhead]);
  keep(kept, "c", new Uint8Array(1), 600);
  expect(has(kept, "abc")).toBe("bc");
  kept.forget(1499);
  expect(has(kept, "abc")).toBe("bc");
  kept.forget(1500);
  expect(has(kept, "abc")).toBe("c");
  keep(kept, "d", new Uint8Array(5000), 1550);
  expect([has(kept, "abcd"), kept.bytes]).toEqual(["d", 5000 + overhead]);
  kept.forget(3000);
  expect([has(kept, "abcd"), kept.bytes]).toEqual(["", 0]);
});

// Whoever tries 2^32 times has two of one id. Counted twice and forgotten once, they would leave room for nothing, for good.
test("of two changesets with one id the latter is kept, and counts once", () => {
  const kept = new KeptPushes(1000, 10_000);
  keep(kept, "a", new Uint8Array(600), 0);
  keep(kept, "b", new Uint8Array(1), 1);
  keep(kept, "a", new Uint8Array(700), 2);
  expect(kept.bytes).toBe(701 + 2 * keptOverheadBytes);
  expect(kept.of("a" as ChangesetId)?.frame.length).toBe(700);
  kept.forget(1001);
  expect(has(kept, "ab")).toBe("a");
  kept.forget(1002);
  expect([has(kept, "ab"), kept.bytes]).toEqual(["", 0]);
});

test("small changesets count with what they take beside their bytes", () => {
  const bytesMax = 32 * 1024 * 1024;
  const kept = new KeptPushes(1000, bytesMax);
  const count = 40_000;
  for (let i = 0; i < count; i++) keep(kept, `${i}`, new Uint8Array(60), 0);
  const isKept = (i: number) => kept.of(`${i}` as ChangesetId) !== undefined;
  expect(Array.from({ length: count }, (_, i) => i).filter(isKept).length).toBe(
    Math.floor(bytesMax / (60 + keptOverheadBytes)),
  );
});

test("a view of a larger buffer doesn't keep that", () => {
  const kept = new KeptPushes(1000, 100);
  const buffer = new Uint8Array(64 * 1024).fill(7);
  expect(keep(kept, "a", buffer.subarray(10, 20), 0).frame.buffer.byteLength).toBe(10);
  // What is most of its buffer isn't copied.
  expect(keep(kept, "b", buffer, 0).frame).toBe(buffer);
});
