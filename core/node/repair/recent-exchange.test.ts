/**
 * The exchange of recent rows on a new connection, with several peers that name the same.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { PlayedNode, push } from "../../../test/played-node.ts";
import type { Entry, Frame } from "../../change/frame.ts";
import { encodeRowBlock } from "../../change/row-block.ts";
import { hlcZero, siteOfHex } from "../../clock/stamp.ts";
import type { RowId } from "../../row/digest.ts";
import type { PeerId, StoreRequest } from "../border.ts";
import type { NodeTuning } from "../options.ts";

type Asked<Kind extends StoreRequest["kind"]> = Extract<StoreRequest, { kind: Kind }>;

const horizon = hlcZero;
const entry: Entry = {
  id: "7".padStart(32, "0") as RowId,
  stamp: { ms: 1_000_000_000_000, count: 0, site: siteOfHex("7".repeat(32)) },
  digest: "0123456789abcdef",
};

/** A node with two peers, both greeted; the store has named nothing. */
function createWorld(tuning: Partial<NodeTuning> = {}) {
  const a = new PlayedNode("a", tuning);
  a.start(1);
  const peers = ["b", "c"].map((name) => {
    const peer = a.meet(name);
    a.reply({ kind: "recent", ticket: (a.recent as Asked<"recent">).ticket, entries: [] });
    return peer;
  });
  const [b, c] = peers as [PeerId, PeerId];
  /** A peer names the row, and the store lacks it. @returns what is sent to that peer */
  const name = (peer: PeerId): readonly Frame[] => {
    a.receive(peer, { kind: "recent", horizon, more: false, entries: [entry] });
    return lacking(peer);
  };
  const lacking = (peer: PeerId): readonly Frame[] => {
    const [missing] = a.asked("missing") as Asked<"missing">[];
    if (missing === undefined) return a.sent(peer);
    a.reply({ kind: "missing", ticket: missing.ticket, ids: [entry.id] });
    return a.sent(peer);
  };
  const rows = (peer: PeerId, fetch: Frame | undefined, block = encodeRowBlock([])) =>
    a.receive(peer, {
      ...{ kind: "rows", exchange: (fetch as { exchange: number }).exchange },
      ...{ last: true, horizon, block },
    });
  return { a, b, c, name, lacking, rows };
}

const kinds = (frames: readonly Frame[]) => frames.map(({ kind }) => kind);

test("what its own sites stamped is named from 30 s before a start on, in the first minute", () => {
  const a = new PlayedNode("a");
  const startMs = a.nowMs;
  a.start(1);
  a.pass(20_000);
  a.meet("b");
  expect(a.recent).toMatchObject({ sinceMs: startMs + 10_000, ownSinceMs: startMs - 30_000 });
  a.reply({ kind: "recent", ticket: (a.recent as Asked<"recent">).ticket, entries: [] });
  a.pass(41_000);
  a.meet("c");
  expect(a.recent).toMatchObject({ sinceMs: startMs + 51_000, ownSinceMs: startMs + 51_000 });
});

test("a row that is fetched from one peer is asked of another after 0.3 s", () => {
  const { a, b, c, name } = createWorld();
  expect(kinds(name(b))).toEqual(["fetch"]);
  expect(kinds(name(c))).toEqual([]);
  a.pass(290);
  expect(a.sent(c).filter(({ kind }) => kind === "fetch")).toEqual([]);
  a.pass(20);
  expect(a.sent(c).filter(({ kind }) => kind === "fetch")).toHaveLength(1);
});

test("and at once when that peer goes", () => {
  const { a, b, c, name, lacking } = createWorld();
  name(b);
  name(c);
  a.do({ kind: "disconnected", peer: b });
  expect(kinds(lacking(c))).toEqual(["fetch"]);
});

test("it is complete when nothing of it is under way any more, from whomever", () => {
  const { a, b, c, name, rows } = createWorld();
  const [fromB] = name(b);
  name(c);
  a.pass(310);
  const fromC = a.sent(c).find(({ kind }) => kind === "fetch");
  /** What a peer is answered that compares. */
  const compared = () => {
    const cut = Math.floor((a.nowMs - 5000) / 1000);
    a.slot(cut);
    const root = { rows: 0, fingerprint: "0".repeat(32), horizon };
    a.receive(c, { kind: "root", exchange: 7, answer: false, live: false, cut, ...root });
    return kinds(a.sent(c));
  };
  const wait = () => {
    for (let i = 0; i < 14; i++) a.pass(500);
  };
  wait();
  expect(compared()).toEqual(["busy"]);
  for (const [peer, fetch] of [
    [b, fromB],
    [c, fromC],
  ] as const) {
    rows(peer, fetch);
    const [{ ticket }] = a.asked("apply") as [Asked<"apply">];
    a.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
  }
  wait();
  expect(compared()).toEqual(["root"]);
});

test("rows for which there was no room are looked for again", () => {
  const bound = { sliceBodiesMax: 1, sliceBytesMax: 1e6, bulkBytesMax: 1e6, urgentBytesMax: 1e6 };
  const { a, b, name, rows } = createWorld({ apply: { ...bound, normalBytesMax: 200 } });
  const [fetch] = name(b);
  // One is with the store, and another waits.
  for (const count of [1, 2]) a.receive(b, push(2, count, 1));
  rows(b, fetch, new Uint8Array(300));
  expect(a.machine.snapshot().counters.applyDropped).toBe(1);
  a.pass(1900);
  expect(a.asked("missing")).toEqual([]);
  a.pass(200);
  expect(a.asked("missing")).toMatchObject([{ entries: [entry] }]);
});
