import { expect, test } from "bun:test";
import { site } from "../../../test/played-node.ts";
import type { ChangesetId } from "../../change/changeset.ts";
import type { PeerId } from "../border.ts";
import { KeptPushes } from "./kept-pushes.ts";

const by = { source: "b", origin: site(9) };
const keep = (kept: KeptPushes, id: string, frame: Uint8Array, atMs: number) =>
  kept.add({ id: id as ChangesetId, lane: 1, frame, by, from: "b" as PeerId, atMs });
const has = (kept: KeptPushes, ids: string) =>
  [...ids].filter((id) => kept.of(id as ChangesetId) !== undefined).join("");

test("changesets are kept for a while and up to a number of bytes, the last whatever its size", () => {
  const kept = new KeptPushes(1000, 100);
  keep(kept, "a", new Uint8Array(60), 0);
  keep(kept, "b", new Uint8Array(40), 500);
  expect([has(kept, "ab"), kept.bytes]).toEqual(["ab", 100]);
  keep(kept, "c", new Uint8Array(1), 600);
  expect(has(kept, "abc")).toBe("bc");
  kept.forget(1499);
  expect(has(kept, "abc")).toBe("bc");
  kept.forget(1500);
  expect(has(kept, "abc")).toBe("c");
  keep(kept, "d", new Uint8Array(1000), 1550);
  expect([has(kept, "abcd"), kept.bytes]).toEqual(["d", 1000]);
  kept.forget(3000);
  expect([has(kept, "abcd"), kept.bytes]).toEqual(["", 0]);
});

test("a view of a larger buffer doesn't keep that", () => {
  const kept = new KeptPushes(1000, 100);
  const buffer = new Uint8Array(64 * 1024).fill(7);
  expect(keep(kept, "a", buffer.subarray(10, 20), 0).frame.buffer.byteLength).toBe(10);
  // What is most of its buffer isn't copied.
  expect(keep(kept, "b", buffer, 0).frame).toBe(buffer);
});
