import { expect, test } from "bun:test";
import { changeset, PlayedNode, push, site } from "../../../test/played-node.ts";
import { decodeChangesetHeader, type Lane } from "../../change/changeset.ts";
import type { PeerId } from "../border.ts";

/** Counts of the stamps of what was pushed to a peer just now. */
const pushed = (node: PlayedNode, peer: PeerId) =>
  node.sent(peer).flatMap((frame) => {
    if (frame.kind !== "push") return [];
    return [decodeChangesetHeader(frame.changeset)?.stamp.count];
  });

const commit = (node: PlayedNode, count: number, lane: Lane, bytes = 10) => {
  const stamp = { ms: 1_000_000_000_000, count, site: site(1) };
  node.reply({ kind: "commit", lane, stamp, changeset: changeset(1, count, lane, bytes) });
};

test("what was said while there was no stream is pushed to whoever comes, if it is urgent", () => {
  const a = new PlayedNode("a");
  a.start(1);
  commit(a, 1, 0);
  commit(a, 2, 1);
  commit(a, 3, 0);
  expect(a.sent()).toEqual([]);
  expect(pushed(a, a.meet("b"))).toEqual([1, 3]);
});

test("so is what a peer said, but not to that peer, and for half a minute", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  a.receive(b, push(2, 1, 0));
  a.receive(b, push(2, 2, 1));
  expect(pushed(a, a.meet("c"))).toEqual([1]);
  a.do({ kind: "disconnected", peer: b });
  expect(pushed(a, a.meet("b"))).toEqual([]);
  a.pass(29_000);
  expect(pushed(a, a.meet("d"))).toEqual([1]);
  a.pass(2000);
  expect(pushed(a, a.meet("e"))).toEqual([]);
});

test("of much that is urgent the latest is kept, and nothing that is large", () => {
  const a = new PlayedNode("a");
  a.start(1);
  for (let count = 1; count <= 400; count++) commit(a, count, 0, 1000);
  commit(a, 401, 0, 20_000);
  const counts = pushed(a, a.meet("c")).map(Number);
  expect(counts.length).toBeGreaterThan(100);
  expect(counts.length).toBeLessThan(130);
  expect(counts).toEqual(Array.from(counts, (_, i) => 401 - counts.length + i));
});

test("who is pushed what it knows sends it to nobody", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const [b, c] = [a.meet("b"), a.meet("c")];
  a.receive(b, push(2, 1, 0));
  expect(pushed(a, c)).toEqual([1]);
  const d = a.meet("d");
  a.receive(d, push(2, 1, 0));
  expect([b, c].flatMap((peer) => pushed(a, peer))).toEqual([]);
});
