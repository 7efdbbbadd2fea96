/**
 * The responder's side of an exchange: each question of a peer becomes one of the store, and its answer a frame.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { PlayedNode, site } from "../../../test/played-node.ts";
import type { Frame } from "../../change/frame.ts";
import { encodeRowBlock } from "../../change/row-block.ts";
import { hlcZero } from "../../clock/stamp.ts";
import type { RowId } from "../../row/digest.ts";
import type { StoreRequest, Ticket, Unavailable } from "../border.ts";

const live = { live: true, cut: 0, horizon: hlcZero } as const;
const block = encodeRowBlock([]);
const id = "31".padEnd(32, "0") as RowId;

const questions = {
  walk: {
    kind: "walk",
    exchange: 7,
    answer: false,
    ...live,
    level: 1,
    nodes: [0],
    fingerprints: [],
  },
  list: {
    ...{ kind: "list", exchange: 8, answer: false, ...live, recentOnly: true, more: false },
    ...{ level: 1, nodes: [3], entries: [] },
  },
  fetch: { kind: "fetch", exchange: 9, horizon: hlcZero, what: { by: "id", ids: [id] } },
} satisfies Record<string, Frame>;

/** A node whose store is asked nothing else. */
function asked() {
  const node = new PlayedNode("a");
  node.start(1, 20);
  const peer = node.meet("b");
  const recent = node.recent as Extract<StoreRequest, { kind: "recent" }>;
  node.reply({ kind: "recent", ticket: recent.ticket, entries: [] });
  /** What the store is asked for the peer's sake. */
  const asks = (frame: Frame) => {
    node.receive(peer, frame);
    const [request] = node.asked() as (StoreRequest & { readonly ticket: Ticket })[];
    return request as StoreRequest & { readonly ticket: Ticket };
  };
  return { node, peer, asks };
}

test("a walk, a list and a fetch are answered with what the store says", () => {
  const { node, peer, asks } = asked();
  const walk = asks(questions.walk);
  // By the parents' level, where the frame has the children's.
  expect(walk).toMatchObject({ kind: "walk", live: true, cut: 0, level: 0, nodes: [0] });
  const fingerprints = Array.from({ length: 16 }, (_, child) => child.toString(16).repeat(16));
  node.reply({ kind: "walked", ticket: walk.ticket, fingerprints });
  expect(node.sent(peer)).toEqual([{ ...questions.walk, answer: true, fingerprints }]);

  const list = asks(questions.list);
  expect(list).toMatchObject({ kind: "list", recentOnly: true, live: true, level: 1, nodes: [3] });
  const entry = { id, stamp: { ms: 1000, count: 0, site: site(2) }, digest: "2".repeat(16) };
  node.reply({ kind: "listed", ticket: list.ticket, entries: [entry] });
  expect(node.sent(peer)).toEqual([{ ...questions.list, answer: true, entries: [entry] }]);

  const rows = asks(questions.fetch);
  expect(rows).toMatchObject({ kind: "rows", ids: [id] });
  const part = { kind: "rows", ticket: rows.ticket, block } as const;
  for (const last of [false, true]) {
    node.reply({ ...part, last });
    expect(node.sent(peer)).toMatchObject([{ kind: "rows", exchange: 9, last, block }]);
  }
});

test("a question that the store has no answer to now is answered so, and nothing is waited for", () => {
  const why = (frame: Frame, because: Unavailable) => {
    const { node, peer, asks } = asked();
    const { ticket } = asks(frame);
    node.reply({ kind: "unavailable", ticket, why: because });
    return node.sent(peer).map(({ kind, ...rest }) => {
      return [kind, (rest as { exchange: number }).exchange];
    });
  };
  expect(why(questions.walk, "cut")).toEqual([["behind", 7]]);
  expect(why(questions.walk, "busy")).toEqual([["busy", 7]]);
  expect(why(questions.list, "busy")).toEqual([["busy", 8]]);
  expect(why(questions.fetch, "busy")).toEqual([["busy", 9]]);
});
