/**
 * What a comparison says, and what it doesn't: whoever asked for it, a verdict is of one cut that both sides have, and
 * that lies after what the node may have missed.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { PlayedNode } from "../../../test/played-node.ts";
import type { Frame } from "../../change/frame.ts";
import { hlcZero } from "../../clock/stamp.ts";
import type { PeerId } from "../border.ts";

type Root = Extract<Frame, { kind: "root" }>;

const same = { rows: 5, fingerprint: "5".repeat(32) };
const other = { rows: 5, fingerprint: "6".repeat(32) };
const horizon = hlcZero;

class Judging {
  readonly node = new PlayedNode("a");
  readonly peer: PeerId;

  constructor() {
    this.node.start(1, 5);
    this.slot(-5000);
    this.peer = this.node.meet("b");
    this.#answerLive();
  }

  /** Of what it has just asked for live states are the same. @returns its question of a settled image */
  #answerLive(): Root | undefined {
    for (const root of this.node.sent(this.peer)) {
      if (root.kind !== "root" || root.answer) continue;
      if (!root.live) return root;
      this.node.receive(this.peer, { ...root, ...same, answer: true });
    }
    return undefined;
  }

  /** The newest of three cuts is `aheadMs` after the wall clock. @returns that cut */
  slot(aheadMs = 0, hlcAheadMs = 0): number {
    const cut = Math.floor((this.node.nowMs + aheadMs) / 1000);
    const hlc = { ms: this.node.nowMs + hlcAheadMs, count: 0 };
    const roots = [cut, cut - 1, cut - 2].map((of) => ({ cut: of, ...same }));
    this.node.reply({ kind: "slot", cut, live: same, horizon, hlc, roots });
    return cut;
  }

  /** Neither side of a new connection names anything recent. */
  nameNothing(peer = this.peer): void {
    const ticket = (this.node.recent as { ticket?: number } | undefined)?.ticket as number;
    this.node.reply({ kind: "recent", ticket, entries: [] });
    this.node.receive(peer, { kind: "recent", horizon, more: false, entries: [] });
  }

  /** The peer asks for a root at its cut. */
  asks(cut: number, root: typeof same): Frame[] {
    const question = {
      kind: "root",
      exchange: 9,
      answer: false,
      live: false,
      cut,
      horizon,
    } as const;
    this.node.receive(this.peer, { ...question, ...root });
    return this.node.sent(this.peer).filter(({ kind }) => kind === "root" || kind === "behind");
  }

  /** Lets time pass. @returns as of `#answerLive` */
  pass(ms: number): Root | undefined {
    for (let passed = 0; passed < ms; passed += 100) {
      this.node.pass(100);
      const question = this.#answerLive();
      if (question !== undefined) return question;
    }
    return undefined;
  }

  /** The node's own question of settled images, as soon as it has one. @param aheadMs As of {@link slot}. */
  ownQuestion(aheadMs: number): Root {
    for (let i = 0; i < 100; i++) {
      this.slot(aheadMs);
      const question = this.pass(100);
      if (question !== undefined) return question;
    }
    throw new Error("it never asks for a settled image");
  }

  get verdicts() {
    const { counters, peers } = this.node.machine.snapshot();
    const { verdictsEqual, verdictsDifferent, exchangesBehind } = counters;
    const agreed = peers.find(({ peer }) => peer === this.peer)?.agreement?.cut;
    return { equal: verdictsEqual, different: verdictsDifferent, behind: exchangesBehind, agreed };
  }
}

const none = { equal: 0, different: 0, behind: 0, agreed: undefined };

test("who is asked says that both agree where their fingerprints at one cut are the same, and only then", () => {
  const judging = new Judging();
  judging.nameNothing();
  judging.pass(8000);
  const cut = judging.slot();
  expect(judging.asks(cut, other)).toMatchObject([{ kind: "root", cut, ...same }]);
  expect(judging.verdicts).toEqual({ ...none, different: 1 });
  // At another cut the same fingerprint says nothing.
  expect(judging.asks(cut + 1, same)).toMatchObject([{ kind: "root", cut, ...same }]);
  expect(judging.verdicts).toEqual({ ...none, different: 1 });
  expect(judging.asks(cut - 1, same)).toMatchObject([{ kind: "root", cut: cut - 1 }]);
  expect(judging.verdicts).toEqual({ ...none, different: 1, equal: 1, agreed: cut - 1 });
  // Nor is there one for whoever is too far away.
  expect(judging.asks(cut + 4, same)).toMatchObject([{ kind: "root", cut }]);
  expect(judging.asks(cut + 5, same)).toMatchObject([{ kind: "behind", cut }]);
});

test("who asks compares at the cut that the peer has, if that is no later one, and goes on with it", () => {
  const judging = new Judging();
  judging.nameNothing();
  const { node, peer } = judging;
  judging.pass(8000);
  const equal = judging.ownQuestion(0);
  // Live states were the same, which is no verdict.
  expect(judging.verdicts).toEqual(none);
  node.receive(peer, { ...equal, ...same, answer: true });
  expect(judging.verdicts).toEqual({ ...none, equal: 1, agreed: equal.cut });
  const later = judging.ownQuestion(0);
  // The node has the next cut by then.
  judging.slot(1000);
  node.receive(peer, { ...later, ...same, answer: true, cut: later.cut + 1 });
  expect(judging.verdicts).toMatchObject({ equal: 1, different: 0, behind: 1 });
  // Whose cut was too far away is compared with as it is now.
  const different = judging.ownQuestion(0);
  node.receive(peer, { ...different, ...other, answer: true, cut: different.cut - 1 });
  expect(judging.verdicts).toMatchObject({ equal: 1, different: 1, agreed: equal.cut });
  expect(node.asked("walk")).toMatchObject([{ live: false, cut: different.cut - 1 }]);
});

test("a cut from before the first exchange of recent rows says nothing; a later exchange changes that no more", () => {
  const judging = new Judging();
  const { node, peer } = judging;
  judging.pass(2000);
  judging.nameNothing();
  const fromMs = node.nowMs;
  const question = judging.ownQuestion(1000);
  expect(question.cut * 1000).toBeGreaterThan(fromMs);
  const before = Math.floor(fromMs / 1000);
  // Its peer's newest cut is one from before, which this node has, too.
  const cut = Math.max(before, question.cut - 2);
  expect(cut).toBe(before);
  node.receive(peer, { ...question, ...same, answer: true, cut });
  expect(judging.verdicts).toEqual(none);
  // Another peer comes. What lies between counts as before.
  node.pass(1500);
  const between = judging.slot();
  judging.nameNothing(node.meet("c"));
  expect(between * 1000).toBeLessThanOrEqual(node.nowMs);
  expect(judging.asks(between, same)).toMatchObject([{ kind: "root", cut: between }]);
});

test("an HLC that was far ahead and has been set back delays verdicts by no more than a start does", () => {
  const judging = new Judging();
  judging.slot(0, 3_600_000);
  judging.nameNothing();
  judging.pass(1000);
  judging.slot(0, 0);
  const { cut } = judging.ownQuestion(0);
  expect(cut * 1000).toBeLessThan(judging.node.nowMs + 1000);
});
