/**
 * One exchange of repair from its first frame to its last row, as its initiator goes through it; and what ends it early.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { PlayedNode, site } from "../../../test/played-node.ts";
import type { Entry, Frame } from "../../change/frame.ts";
import { encodeRowBlock } from "../../change/row-block.ts";
import { hlcZero } from "../../clock/stamp.ts";
import type { RowId } from "../../row/digest.ts";
import type { PeerId, StoreReply, StoreRequest } from "../border.ts";

type FrameOf<Kind extends Frame["kind"]> = Extract<Frame, { kind: Kind }>;
type Asked<Kind extends StoreRequest["kind"]> = Extract<StoreRequest, { kind: Kind }>;

const block = encodeRowBlock([]);
const idIn = (node: string) => node.padEnd(32, "0") as RowId;
const entryOf = (id: RowId): Entry => {
  return { id, stamp: { ms: 1000, count: 0, site: site(2) }, digest: "2".repeat(16) };
};

/** A node of 20 rows and a peer that has other ones: what it asks the peer and its store is answered by the test. */
class Repairing {
  readonly node = new PlayedNode("a");
  readonly peer: PeerId;
  readonly #root: FrameOf<"root">;

  constructor(rows = 20) {
    this.node.start(1, rows);
    this.peer = this.node.meet("b");
    this.#root = this.frame("root");
    // Nothing is recent on either side.
    const recent = this.node.recent as Asked<"recent">;
    this.node.reply({ kind: "recent", ticket: recent.ticket, entries: [] });
    this.node.receive(this.peer, { kind: "recent", horizon: hlcZero, more: false, entries: [] });
  }

  /** The frame of a kind that the node has just sent. */
  frame<Kind extends Frame["kind"]>(kind: Kind): FrameOf<Kind> {
    const [frame] = this.node.sent(this.peer).filter((one) => one.kind === kind);
    if (frame === undefined) throw new Error(`no ${kind} was sent`);
    return frame as FrameOf<Kind>;
  }

  /** What the store was asked just now. */
  question<Kind extends StoreRequest["kind"]>(kind: Kind): Asked<Kind> {
    const [request] = this.node.asked(kind);
    if (request === undefined) throw new Error(`the store isn't asked to ${kind}`);
    return request as Asked<Kind>;
  }

  answerRoot(rows: number, fingerprint = "1".repeat(32)): void {
    const answer = { answer: true, rows, fingerprint };
    this.node.receive(this.peer, { ...this.#root, ...answer });
  }

  /** Both sides have the same fingerprints but for these children of the root. */
  answerWalk(differing: readonly number[]): void {
    const [own, theirs] = ["3".repeat(16), "4".repeat(16)];
    const fingerprints = new Array<string>(16).fill(own);
    const frame = this.frame("walk");
    this.node.reply({ kind: "walked", ticket: this.question("walk").ticket, fingerprints });
    const others = fingerprints.map((same, child) => (differing.includes(child) ? theirs : same));
    this.node.receive(this.peer, { ...frame, answer: true, fingerprints: others });
  }

  answerList(entries: readonly Entry[]): void {
    this.node.receive(this.peer, { ...this.frame("list"), answer: true, entries });
  }

  compared(want: readonly RowId[], offer: readonly RowId[]): void {
    const { ticket } = this.question("compare");
    this.node.reply({ kind: "compared", ticket, want, offer });
  }

  /** The rows that were asked for come, and change so many rows here. */
  rowsCome(exchange: number, changed: number): void {
    const rows = { kind: "rows", exchange, last: true, horizon: hlcZero, block } as const;
    this.node.receive(this.peer, rows);
    const { ticket } = this.question("apply");
    this.node.reply({ kind: "applied", ticket, rows: changed, changed, refused: [] });
  }

  get silent(): number {
    return this.node.machine.snapshot().counters.exchangesSilent;
  }

  get roots(): number {
    return this.node.sent(this.peer).filter(({ kind }) => kind === "root").length;
  }
}

test("where a few rows differ they are walked to, listed, fetched from the peer and offered to it", () => {
  const repairing = new Repairing();
  const { node } = repairing;
  repairing.answerRoot(20);
  expect(repairing.frame("walk")).toMatchObject({ level: 1, nodes: [0], fingerprints: [] });
  expect(repairing.question("walk")).toMatchObject({ live: true, level: 0, nodes: [0] });
  repairing.answerWalk([3, 12]);
  // First of what changed lately.
  expect(repairing.frame("list")).toMatchObject({ level: 1, nodes: [3, 12], recentOnly: true });
  const listed = [entryOf(idIn("31"))];
  repairing.answerList(listed);
  const compare = repairing.question("compare");
  expect(compare).toMatchObject({ recentOnly: true, level: 1, nodes: [3, 12], entries: listed });
  repairing.compared([idIn("31")], []);
  const { exchange, what } = repairing.frame("fetch");
  expect(what).toEqual({ by: "id", ids: [idIn("31")] });
  // That explains one of the nodes. Of the other all rows are listed.
  expect(repairing.frame("list")).toMatchObject({ level: 1, nodes: [12], recentOnly: false });
  repairing.answerList([]);
  expect(repairing.question("compare")).toMatchObject({ recentOnly: false, nodes: [12] });
  repairing.compared([], [idIn("c1")]);
  const rows = repairing.question("rows");
  expect(rows.ids).toEqual([idIn("c1")]);
  node.reply({ kind: "rows", ticket: rows.ticket, block, last: true });
  expect(repairing.frame("rows")).toMatchObject({ exchange: 0, last: true });
  repairing.rowsCome(exchange, 1);
  // The exchange is over, and the next one begins in its time.
  node.slot(0, 20);
  expect(repairing.roots).toBe(0);
  node.pass(1300);
  expect(repairing.roots).toBe(1);
  expect(node.machine.snapshot().counters).toMatchObject({ exchangesSilent: 0, scansAsked: 1 });
});

test("a node that lacks most takes whole ranges, and compares again as soon as its store has told what it holds", () => {
  const repairing = new Repairing(1);
  const { node } = repairing;
  repairing.answerRoot(20);
  const { exchange, what } = repairing.frame("fetch");
  expect(what).toEqual({ by: "range", level: 0, nodes: [0] });
  repairing.rowsCome(exchange, 19);
  expect(repairing.roots).toBe(0);
  node.slot(0, 20);
  expect(repairing.roots).toBe(1);
});

test("ranges are taken a few at a time", () => {
  const repairing = new Repairing(1);
  repairing.answerRoot(30_000);
  const fetches = () =>
    repairing.node.sent(repairing.peer).filter((frame) => frame.kind === "fetch");
  const [first, second, ...more] = fetches() as FrameOf<"fetch">[];
  expect([first?.what, second?.what, more]).toEqual([
    { by: "range", level: 1, nodes: [0] },
    { by: "range", level: 1, nodes: [1] },
    [],
  ]);
  const rows = { kind: "rows", exchange: first?.exchange as number, last: true } as const;
  repairing.node.receive(repairing.peer, { ...rows, horizon: hlcZero, block });
  expect(fetches()).toEqual([]);
  const { ticket } = repairing.question("apply");
  repairing.node.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
  expect(fetches()).toMatchObject([{ what: { by: "range", level: 1, nodes: [2] } }]);
});

test("after a start the next peer's turn comes at once, where one has been found equal", () => {
  const repairing = new Repairing();
  const { node } = repairing;
  const other = node.meet("c");
  expect(node.sent(other).map(({ kind }) => kind)).not.toContain("root");
  repairing.answerRoot(20, "0".repeat(32));
  expect(node.sent(other).map(({ kind }) => kind)).toContain("root");
});

test("what a peer says of an exchange that is over ends none that is under way", () => {
  const repairing = new Repairing();
  const { node, peer } = repairing;
  repairing.answerRoot(20);
  const [walk, asked] = [repairing.frame("walk"), repairing.question("walk")];
  const exchange = walk.exchange - 1;
  node.receive(peer, { kind: "busy", exchange });
  node.receive(peer, { kind: "behind", exchange, cut: 0 });
  const fingerprints = new Array<string>(16).fill("4".repeat(16));
  node.receive(peer, { ...walk, exchange, answer: true, fingerprints });
  node.reply({ kind: "walked", ticket: asked.ticket, fingerprints });
  expect(node.sent(peer)).toEqual([]);
  const others = fingerprints.with(5, "3".repeat(16));
  node.receive(peer, { ...walk, answer: true, fingerprints: others });
  expect(repairing.frame("list").nodes).toEqual([5]);
  const { counters } = node.machine.snapshot();
  expect([counters.exchangesBusy, counters.exchangesBehind]).toEqual([0, 0]);
});

/** An exchange that has come as far as this, and what the peer is waited for there. */
const steps = {
  root: () => new Repairing(),
  walk: () => {
    const repairing = new Repairing();
    repairing.answerRoot(20);
    const { ticket } = repairing.question("walk");
    repairing.node.reply({ kind: "walked", ticket, fingerprints: new Array(16).fill("3") });
    return repairing;
  },
  list: () => {
    const repairing = new Repairing();
    repairing.answerRoot(20);
    repairing.answerWalk([3]);
    return repairing;
  },
  scan: () => {
    const repairing = steps.list();
    repairing.answerList([]);
    repairing.compared([], []);
    return repairing;
  },
  fetch: () => {
    const repairing = steps.list();
    repairing.answerList([entryOf(idIn("31"))]);
    repairing.compared([idIn("31")], []);
    return repairing;
  },
};

test("a peer that says nothing more is waited for at each step, and not for ever", () => {
  for (const [step, waitMs] of [
    ["root", 3000],
    ["walk", 3000],
    ["list", 3000],
    // It has to look at all its rows.
    ["scan", 60_000],
    ["fetch", 60_000],
  ] as const) {
    const repairing = steps[step]();
    const { node } = repairing;
    node.slot(0, 20);
    node.pass(waitMs - 100);
    expect([step, repairing.silent, repairing.roots]).toEqual([step, 0, 0]);
    node.pass(200);
    expect([step, repairing.silent]).toEqual([step, step === "fetch" ? 0 : 1]);
    // It is left alone for a moment, and asked anew.
    if (step !== "fetch") {
      node.pass(1300);
      expect([step, repairing.roots]).toEqual([step, 0]);
    }
    node.pass(4000);
    expect([step, repairing.roots > 0]).toEqual([step, true]);
  }
});

test("where the store doesn't answer a question of an exchange that ends, and the next one begins", () => {
  const unavailable = (ticket: number): StoreReply => ({
    kind: "unavailable",
    ticket,
    why: "busy",
  });
  const walking = new Repairing();
  walking.answerRoot(20);
  walking.node.reply(unavailable(walking.question("walk").ticket));
  const comparing = steps.list();
  comparing.answerList([entryOf(idIn("31"))]);
  comparing.node.reply(unavailable(comparing.question("compare").ticket));
  for (const repairing of [walking, comparing]) {
    expect(repairing.node.sent(repairing.peer)).toEqual([]);
    repairing.node.pass(1300);
    expect(repairing.roots).toBe(1);
    expect(repairing.silent).toBe(0);
  }
});
