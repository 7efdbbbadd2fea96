/**
 * Repair with peers that go and come back: what was under way with one ends with it, and a node that was alone begins
 * as after a start.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { PlayedNode, site } from "../../../test/played-node.ts";
import type { Frame } from "../../change/frame.ts";
import { encodeRowBlock } from "../../change/row-block.ts";
import { hlcZero } from "../../clock/stamp.ts";
import type { PeerId, StoreRequest } from "../border.ts";

const horizon = hlcZero;
const block = encodeRowBlock([]);

type FrameOf<Kind extends Frame["kind"]> = Extract<Frame, { kind: Kind }>;

const framesOf = <Kind extends Frame["kind"]>(node: PlayedNode, peer: PeerId, kind: Kind) =>
  node.sent(peer).filter((frame) => frame.kind === kind) as FrameOf<Kind>[];

function ticketOf(request: StoreRequest | undefined): number {
  return (request as { ticket: number }).ticket;
}

/** The store and the peer name nothing recent: from cuts of 5 s later on, what they say of each other counts. */
function nameNothing(node: PlayedNode, peer: PeerId): void {
  node.reply({ kind: "recent", ticket: ticketOf(node.recent), entries: [] });
  node.receive(peer, { kind: "recent", horizon, more: false, entries: [] });
}

/** The node has asked a peer for its root, which has 5000 rows: it streams them. @returns the stream's number */
function streamFrom(node: PlayedNode, peer: PeerId): number {
  const [root] = framesOf(node, peer, "root");
  const answer = { answer: true, rows: 5000, fingerprint: "1".repeat(32) };
  node.receive(peer, { ...(root as FrameOf<"root">), ...answer });
  return (framesOf(node, peer, "stream")[0] as FrameOf<"stream">).exchange;
}

test("a stream whose peer went isn't gone on with on its next connection, beside the one that begins there", () => {
  const a = new PlayedNode("a", { streamBytesLow: block.length });
  a.start(1);
  const b = a.meet("b", { features: ["stream"] });
  const exchange = streamFrom(a, b);
  const blocks = { compressed: false, blockBytes: block.length, block };
  const paused = { paused: true, last: false, cursor: Uint8Array.of(7) };
  a.receive(b, { kind: "streamed", exchange, horizon, ...paused, ...blocks });
  const [apply] = a.asked("apply");
  a.do({ kind: "disconnected", peer: b });
  a.meet("b", { features: ["stream"] });
  const second = streamFrom(a, b);
  a.reply({ kind: "applied", ticket: ticketOf(apply), rows: 100, changed: 100, refused: [] });
  expect(second).not.toBe(exchange);
  expect(framesOf(a, b, "stream")).toEqual([]);
});

test("a stream goes on where it broke off, also on the peer's next connection, and its blocks are asked for once", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b", { features: ["stream"] });
  const exchange = streamFrom(a, b);
  const blocks = { horizon, last: false, compressed: false, blockBytes: block.length, block };
  const streamed = (paused: boolean, cursor: number[]) => {
    const end = { paused, cursor: Uint8Array.from(cursor) };
    a.receive(b, { kind: "streamed", exchange, ...blocks, ...end });
    return framesOf(a, b, "stream").map((frame) => [...frame.cursor]);
  };
  // More follows by itself, until the credit is used up.
  expect(streamed(false, [])).toEqual([]);
  expect(streamed(true, [7])).toEqual([[7]]);
  expect(streamed(false, [])).toEqual([]);
  a.do({ kind: "disconnected", peer: b });
  a.meet("b", { features: ["stream"] });
  const [root] = framesOf(a, b, "root") as [FrameOf<"root">];
  a.receive(b, { ...root, answer: true, rows: 5000, fingerprint: "1".repeat(32) });
  expect(framesOf(a, b, "stream").map((frame) => [...frame.cursor])).toEqual([[7]]);
});

test("a node that was alone compares live states again at once, for the cuts say nothing of what it missed", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  nameNothing(a, b);
  // The peer agrees, with live states and, as soon as they count, with a cut.
  const compared: boolean[] = [];
  for (let i = 0; i < 40 && compared.at(-1) !== false; i++) {
    for (const root of framesOf(a, b, "root")) {
      compared.push(root.live);
      a.receive(b, { ...root, answer: true });
    }
    a.slot(Math.floor((a.nowMs - 5000) / 1000));
    a.pass(500);
  }
  expect(compared.at(-1)).toBe(false);
  a.do({ kind: "disconnected", peer: b });
  a.pass(1000);
  a.meet("b");
  expect(framesOf(a, b, "root").map(({ live }) => live)).toEqual([true]);
});

test("a node that was alone and lacks most again keeps its peers from comparing with it for a while, as the first time", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const compared = (peer: PeerId) => {
    const root = { kind: "root", exchange: 7, answer: false, live: true, cut: 0, horizon } as const;
    a.receive(peer, { ...root, rows: 5, fingerprint: "4".repeat(32) });
    return a.sent(peer).map(({ kind }) => kind);
  };
  let b = a.meet("b", { features: ["stream"] });
  streamFrom(a, b);
  expect([a.machine.isCatchingUp, compared(b)]).toEqual([true, ["busy"]]);
  nameNothing(a, b);
  a.do({ kind: "disconnected", peer: b });
  a.pass(60_000);
  b = a.meet("b", { features: ["stream"] });
  streamFrom(a, b);
  expect([a.machine.isCatchingUp, compared(b)]).toEqual([true, ["busy"]]);
});

test("a root that is answered while the index is made anew is compared with nothing: a part of the rows isn't all there are", () => {
  const a = new PlayedNode("a");
  a.start(1, 5000);
  const b = a.meet("b", { features: ["stream"] });
  const [root] = framesOf(a, b, "root");
  a.reply({ kind: "identity", site: site(1), schema: [], starting: true });
  a.slot(0, 20);
  const answer = { answer: true, rows: 5000, fingerprint: "1".repeat(32) };
  a.receive(b, { ...(root as FrameOf<"root">), ...answer });
  expect(a.sent(b)).toEqual([]);
});
