import { expect, test } from "bun:test";
import { PlayedNode, push, site } from "../../../test/played-node.ts";
import type { Frame } from "../../change/frame.ts";
import type { StoreRequest } from "../border.ts";

type Apply = Extract<StoreRequest, { kind: "apply" }>;
type Push = Extract<Frame, { kind: "push" }>;

/** All that the store is asked to apply, once it has answered whatever it was asked. */
function applied(a: PlayedNode, first: readonly StoreRequest[]): Uint8Array[] {
  const bodies: Uint8Array[] = [];
  const waiting = [...first] as Apply[];
  for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
    bodies.push(...one.bodies);
    const { ticket, bodies: of } = one;
    a.reply({ kind: "applied", ticket, rows: of.length, changed: of.length, refused: [] });
    waiting.push(...(a.asked("apply") as Apply[]));
  }
  return bodies;
}

test("what a peer says itself, or a site that is known, doesn't wait for a thousand that it makes up", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b", { site: site(7) });
  const asked: StoreRequest[] = [];
  const came = (origin: number, count = 1) => {
    a.receive(b, push(origin, count, 0, 200));
    asked.push(...a.asked("apply"));
  };
  came(8);
  a.pass(10_000);
  came(8, 2);
  applied(a, asked.splice(0));
  for (let origin = 100; origin < 1100; origin++) came(origin);
  const before = asked.length;
  came(7);
  came(8, 3);
  const bodies = applied(a, asked);
  expect(bodies.length).toBe(1002);
  for (const { changeset } of [push(7, 1, 0, 200), push(8, 3, 0, 200)] as Push[]) {
    const at = bodies.findIndex((body) => Buffer.compare(body, changeset) === 0);
    // After what the store had, and a turn of the others.
    expect(at - before).toBeLessThan(40);
  }
});

test("a change that comes when the store's cut has passed it holds up no cut", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  const cut = a.nowMs / 1000 + 1;
  a.receive(b, push(2, 1, 1));
  a.slot(cut);
  expect(a.machine.snapshot().newestCut).toBe(cut - 1);
  const other = new PlayedNode("a");
  other.start(1);
  other.meet("b");
  other.slot(cut);
  other.receive(b, push(2, 1, 1));
  expect(other.machine.snapshot().newestCut).toBe(cut);
});

test("a change that is old when it comes isn't told to a peer that comes after it, either", () => {
  const a = new PlayedNode("a", { seenMs: 1000 });
  a.start(1);
  const b = a.meet("b");
  for (let i = 1; i < 6; i++) {
    a.receive(b, push(3, i, 1));
    a.pass(1100);
  }
  a.receive(b, push(2, 1, 0));
  expect(a.asked("apply")).toHaveLength(1);
  a.meet("c");
  expect(a.sent().map(({ kind }) => kind)).not.toContain("push");
});

test("what can't be a changeset closes the peer that sent it", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  a.receive(b, { kind: "push", lane: 1, changeset: new Uint8Array([9]) });
  expect(a.closed()).toEqual(["push: no changeset"]);
});

test("what was committed, came and came again is counted", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  const { changeset } = push(1, 1, 1) as Push;
  const stamp = { ms: a.nowMs, count: 1, site: site(1) };
  a.reply({ kind: "commit", stamp, lane: 1, changeset });
  for (const count of [1, 2, 2, 2]) a.receive(b, push(2, count, 1));
  const { commits, pushesReceived, pushesRepeated } = a.machine.snapshot().counters;
  expect([commits, pushesReceived, pushesRepeated]).toEqual([1, 2, 2]);
});
