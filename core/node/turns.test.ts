/**
 * When a node compares itself with whom, and what it sends on.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { helloOf, PlayedNode, push } from "../../test/played-node.ts";
import type { Frame } from "../change/frame.ts";
import { hlcZero } from "../clock/stamp.ts";
import type { PeerId } from "./border.ts";

const horizon = hlcZero;
const same = { rows: 0, fingerprint: "0".repeat(32) };

function rootTo(a: PlayedNode, peer: PeerId): Extract<Frame, { kind: "root" }> | undefined {
  return a.sent(peer).find((frame) => frame.kind === "root");
}

test("a peer whose index was being built is compared with as soon as it is", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b", { starting: true });
  a.reply({ kind: "recent", ticket: (a.recent as { ticket: number }).ticket, entries: [] });
  a.pass(3000);
  expect(rootTo(a, b)).toBeUndefined();
  const now = { ms: Math.floor(a.nowMs), count: 0 };
  a.receive(b, helloOf("b", { starting: false, now }));
  expect(rootTo(a, b)).toMatchObject({ live: true });
});

test("a peer whose cut is too far away is compared with as it is now", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  const first = rootTo(a, b);
  a.reply({ kind: "recent", ticket: (a.recent as { ticket: number }).ticket, entries: [] });
  a.receive(b, { kind: "recent", horizon, more: false, entries: [] });
  expect(first).toMatchObject({ live: true });
  a.receive(b, { ...(first as Frame & { kind: "root" }), answer: true, ...same });
  a.pass(6500);
  /** The next exchange that it begins, once those are over that weren't answered. */
  const next = () => {
    a.slot(Math.floor((a.nowMs - 5000) / 1000));
    for (let i = 0; i < 200; i++) {
      const root = rootTo(a, b);
      if (root !== undefined) return root;
      a.pass(50);
    }
    throw new Error("no exchange");
  };
  const settled = next();
  expect(settled).toMatchObject({ live: false });
  a.receive(b, { kind: "behind", exchange: settled.exchange, cut: settled.cut - 9 });
  const live = next();
  expect(live).toMatchObject({ live: true });
  a.receive(b, { ...live, answer: true, ...same });
  expect(next()).toMatchObject({ live: false });
});

test("a change from before all that is remembered is applied, and not sent on: it may have been here", () => {
  const a = new PlayedNode("a", { seenMs: 1000 });
  a.start(1);
  const [b, c] = [a.meet("b"), a.meet("c")];
  a.receive(b, push(2, 1, 0));
  expect(a.sent(c).map(({ kind }) => kind)).toEqual(["push"]);
  for (let i = 2; i < 6; i++) {
    a.pass(1100);
    a.receive(b, push(3, i, 0));
  }
  // Stamped when the node began.
  a.receive(b, push(2, 1, 0));
  expect(a.sent(c)).toEqual([]);
  expect(a.asked("apply")).toHaveLength(1);
});

test("a copy that a peer has damaged doesn't keep the good one of another away, here or further on", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const [b, c, d] = [a.meet("b"), a.meet("c"), a.meet("d")];
  const good = push(2, 1, 0) as Frame & { kind: "push" };
  const damaged = { ...good, changeset: good.changeset.slice(0, -1) };
  a.receive(b, damaged);
  const [first] = a.asked("apply") as { ticket: number }[];
  a.reply({
    kind: "applied",
    ...{ ticket: first?.ticket as number, rows: 0, changed: 0 },
    refused: [{ body: 0, why: "malformed" }],
  });
  a.receive(c, good);
  expect(a.asked("apply")).toMatchObject([{ lane: 0, bodies: [good.changeset] }]);
  expect(a.sent(d)).toEqual([good]);
  // Of either there is one.
  for (const copy of [damaged, good]) {
    a.receive(d, copy);
    expect([a.asked("apply"), a.sent()]).toEqual([[], []]);
  }
});
