/**
 * What a peer that is broken, or means ill, can't do to a node: it is a member, so it gets past admission.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { PlayedNode } from "../../../test/played-node.ts";
import { type Entry, encodeFrame, type Frame } from "../../change/frame.ts";
import { encodeRowBlock } from "../../change/row-block.ts";
import { hlcZero, siteOfHex } from "../../clock/stamp.ts";
import type { RowId } from "../../row/digest.ts";
import type { PeerId, StoreRequest } from "../border.ts";

const horizon = hlcZero;
const block = encodeRowBlock([]);

type FrameOf<Kind extends Frame["kind"]> = Extract<Frame, { kind: Kind }>;
type Asked<Kind extends StoreRequest["kind"]> = Extract<StoreRequest, { kind: Kind }>;

/** `count` rows that nobody has heard of. */
function entries(first: number, count: number): Entry[] {
  const stamp = { ms: 1_000_000_000_000, count: 0, site: siteOfHex("7".repeat(32)) };
  return Array.from({ length: count }, (_, i) => ({
    id: (first + i).toString(16).padStart(32, "0") as RowId,
    stamp,
    digest: "0123456789abcdef",
  }));
}

/** Answers questions to the store by `answer` until none is open. */
function answerAll<Kind extends StoreRequest["kind"]>(
  node: PlayedNode,
  kind: Kind,
  answer: (request: Asked<Kind>) => void,
): void {
  for (let open = node.asked(kind); open.length > 0; open = node.asked(kind)) {
    for (const request of open) answer(request as Asked<Kind>);
  }
}

/** The store says that nothing is recent: what is asked of it for a new peer first. */
function nameNothing(node: PlayedNode): void {
  node.reply({ kind: "recent", ticket: (node.recent as { ticket: number }).ticket, entries: [] });
}

/** The first frame of a kind that the last event sent to a peer. */
function sent<Kind extends Frame["kind"]>(node: PlayedNode, peer: PeerId, kind: Kind) {
  return node.sent(peer).find((frame) => frame.kind === kind) as FrameOf<Kind>;
}

/** A node with `rows` rows, one peer, and the peer's answer that it has as many and others. */
function differing(rows: number): { readonly a: PlayedNode; readonly b: PeerId } {
  const a = new PlayedNode("a");
  a.start(1, rows);
  const b = a.meet("b", { features: ["stream"] });
  const root = sent(a, b, "root");
  a.receive(b, { ...root, answer: true, rows, fingerprint: "1".repeat(32) });
  return { a, b };
}

/** Part of a stream comes, of which a share is news, and then some seconds pass. @returns what was sent then */
function come(a: PlayedNode, from: PeerId, exchange: number, changed: number, seconds: number) {
  a.receive(from, {
    kind: "streamed",
    exchange,
    paused: true,
    last: false,
    compressed: false,
    horizon,
    cursor: Uint8Array.of(1),
    blockBytes: block.length,
    block,
  });
  answerAll(a, "apply", ({ ticket }) =>
    a.reply({ kind: "applied", ticket, rows: 100, changed, refused: [] }),
  );
  const before = a.effects;
  a.pass(1000 * seconds);
  a.effects = [...before, ...a.effects];
}

describe("a peer that asks", () => {
  test("for one part of the tree a hundred times is answered once", () => {
    const a = new PlayedNode("a");
    a.start(1, 1_000_000);
    const b = a.meet("b");
    const nodes = Array.from({ length: 100 }, () => 0);
    a.receive(b, { kind: "fetch", exchange: 1, horizon, what: { by: "range", level: 0, nodes } });
    const asked: string[] = [];
    answerAll(a, "range-rows", ({ ticket, level, nodes: named }) => {
      for (const node of named) asked.push(`${level} ${node}`);
      a.reply({ kind: "rows", ticket, block, last: true });
    });
    expect(asked.length).toBeGreaterThan(100);
    expect(asked.length).toBe(new Set(asked).size);
  });

  test("on a new stream isn't kept waiting by an answer to the one before", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const ids = entries(1, 1).map(({ id }) => id);
    const fetch = (exchange: number): Frame => ({
      kind: "fetch",
      exchange,
      horizon,
      what: { by: "id", ids },
    });
    const b = a.meet("b");
    nameNothing(a);
    a.receive(b, fetch(1));
    const [first] = a.asked("rows") as Asked<"rows">[];
    a.do({ kind: "disconnected", peer: b });
    a.meet("b");
    nameNothing(a);
    a.receive(b, fetch(2));
    a.reply({ kind: "rows", ticket: (first as Asked<"rows">).ticket, block, last: true });
    answerAll(a, "recent", ({ ticket }) => a.reply({ kind: "recent", ticket, entries: [] }));
    expect(a.asked("rows")).toHaveLength(1);
  });

  test("and goes isn't served any more, nor is what it asked for before once it is back", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const fetch = (exchange: number, first: number): Frame => {
      const ids = entries(first, 1).map(({ id }) => id);
      return { kind: "fetch", exchange, horizon, what: { by: "id", ids } };
    };
    const b = a.meet("b");
    nameNothing(a);
    for (const exchange of [1, 2, 3]) a.receive(b, fetch(exchange, exchange));
    a.do({ kind: "disconnected", peer: b });
    a.meet("b");
    a.receive(b, fetch(9, 9));
    const [first] = a.requests.filter(({ kind }) => kind === "rows") as Asked<"rows">[];
    a.reply({ kind: "rows", ticket: (first as Asked<"rows">).ticket, block, last: true });
    answerAll(a, "recent", ({ ticket }) => a.reply({ kind: "recent", ticket, entries: [] }));
    answerAll(a, "rows", ({ ticket }) => a.reply({ kind: "rows", ticket, block, last: true }));
    const asked = a.requests.flatMap((request) => (request.kind === "rows" ? request.ids : []));
    expect(asked.map((id) => id.slice(-1))).toEqual(["1", "9"]);
  });
});

describe("rows with megabytes", () => {
  const ids = entries(1, 600).map(({ id }) => id);
  /** A node whose peer fetches 600 rows, and what it asked its store first. */
  function fetching(tuning = {}) {
    const a = new PlayedNode("a", tuning);
    a.start(1);
    const b = a.meet("b");
    nameNothing(a);
    a.receive(b, { kind: "fetch", exchange: 9, horizon, what: { by: "id", ids } });
    return { a, b, first: a.asked("rows")[0] as Asked<"rows"> };
  }

  test("are asked of the store a few at a time", () => {
    const { a, b, first } = fetching();
    expect(first.ids).toHaveLength(256);
    const large = new Uint8Array(1024 * 1024);
    for (let i = 1; i <= 32; i++) {
      a.reply({ kind: "rows", ticket: first.ticket, block: large, last: i === 32 });
    }
    while (a.asked("rows").length === 0) a.do({ kind: "drained", peer: b });
    // 32 MiB were 256 rows, so 64 rows are 8 MiB.
    expect((a.asked("rows")[0] as Asked<"rows">).ids).toHaveLength(64);
  });

  test("for which there is no room are told of, and not left to be waited for", () => {
    const windowBytes = [1000, 1000, 1000] as const;
    const { a, b, first } = fetching({ lanes: { windowBytes, queueBytesMax: [1e6, 1e6, 1e6] } });
    const large = new Uint8Array(600_000);
    a.reply({ kind: "rows", ticket: first.ticket, block: large, last: false });
    a.reply({ kind: "rows", ticket: first.ticket, block: large, last: false });
    a.reply({ kind: "rows", ticket: first.ticket, block, last: true });
    for (let i = 0; i < 20 && a.sent(b).every(({ kind }) => kind !== "busy"); i++) {
      a.do({ kind: "drained", peer: b });
    }
    expect(sent(a, b, "busy")).toEqual({ kind: "busy", exchange: 9 });
    expect(a.asked("rows")).toEqual([]);
  });
});

describe("a peer that answers", () => {
  /** Up to the list of recent rows that the node asks its peer for. */
  function listing(rows: number) {
    const { a, b } = differing(rows);
    const walk = sent(a, b, "walk");
    const fingerprints = Array.from({ length: 16 }, () => "2".repeat(16));
    nameNothing(a);
    const [own] = a.asked("walk") as Asked<"walk">[];
    a.reply({
      kind: "walked",
      ticket: (own as Asked<"walk">).ticket,
      fingerprints: fingerprints.map(() => "3".repeat(16)),
    });
    a.receive(b, { ...walk, answer: true, fingerprints });
    return { a, b, list: sent(a, b, "list") };
  }

  test("a list that has no end is closed", () => {
    const { a, b, list } = listing(4);
    const more = { entries: entries(0, 20_000), more: true };
    const frame = encodeFrame({ ...list, answer: true, ...more });
    let lists = 0;
    for (; a.closed().length === 0 && lists < 30; lists++)
      a.do({ kind: "received", peer: b, frame });
    expect(a.closed()).toEqual(["list: it has no end"]);
    expect(lists).toBeGreaterThan(10);
  }, 120_000);

  test("the same list again and again has the store compare it once", () => {
    const { a, b, list } = listing(4);
    for (let i = 0; i < 100; i++) {
      a.receive(b, { ...list, answer: true, entries: entries(i, 1), more: false });
    }
    let compared = 0;
    for (const request of a.requests) {
      if (request.kind !== "compare") continue;
      compared++;
      a.reply({ kind: "compared", ticket: request.ticket, want: [], offer: [] });
    }
    expect(compared).toBe(1);
  });

  test("a list with nothing, and that more follows, is closed", () => {
    const { a, b, list } = listing(4);
    a.receive(b, { ...list, answer: true, entries: [], more: true });
    expect(a.closed()).toEqual(["list: it has no end"]);
  });

  test("a stream that has no end and brings nothing is given up, and others get their turn", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b", { features: ["stream"] });
    const question = sent(a, b, "root");
    a.receive(b, { ...question, answer: true, rows: 5000, fingerprint: "1".repeat(32) });
    const { exchange } = sent(a, b, "stream");
    nameNothing(a);
    const c = a.meet("c");
    nameNothing(a);
    let roots = 0;
    for (let seconds = 0; seconds < 900; seconds += 10) {
      come(a, b, exchange, 0, 10);
      roots += a.sent(c).filter((frame) => frame.kind === "root").length;
    }
    expect(roots).toBeGreaterThan(0);
  });
});

describe("beside a stream that brings news without an end", () => {
  /** A node of one row, which streams from b, and c, which it has met since. */
  function streaming() {
    const a = new PlayedNode("a");
    a.start(1, 1);
    const b = a.meet("b", { features: ["stream"] });
    const question = sent(a, b, "root");
    a.receive(b, { ...question, answer: true, rows: 5000, fingerprint: "1".repeat(32) });
    const { exchange } = sent(a, b, "stream");
    nameNothing(a);
    const c = a.meet("c", { features: ["stream"] });
    nameNothing(a);
    return { a, c, comeMore: (seconds: number) => come(a, b, exchange, 1, seconds) };
  }

  test("others get their turn, and where they agree the node has caught up", () => {
    const { a, c, comeMore } = streaming();
    let equal = 0;
    for (let seconds = 0; seconds < 60; seconds += 2) {
      comeMore(2);
      expect(equal > 0 || a.machine.isCatchingUp).toBe(true);
      for (const frame of a.sent(c)) {
        if (frame.kind !== "root" || frame.answer) continue;
        a.receive(c, { ...frame, answer: true });
        equal++;
      }
    }
    // As many as a node compares live states with, before it can say anything of a cut.
    expect(equal).toBe(3);
    expect(a.machine.isCatchingUp).toBe(false);
  });

  test("a node that lacks most doesn't answer others for half a minute, and then does", () => {
    const { a, c, comeMore } = streaming();
    const answers: string[] = [];
    for (let seconds = 0; seconds < 40; seconds += 10) {
      const root = {
        kind: "root",
        exchange: 7,
        answer: false,
        live: true,
        cut: 0,
        horizon,
      } as const;
      a.receive(c, { ...root, rows: 5, fingerprint: "4".repeat(32) });
      answers.push(...a.sent(c).map(({ kind }) => kind));
      comeMore(10);
    }
    expect(answers).toEqual(["busy", "busy", "busy", "root"]);
  });

  test("another is tried with little, and left alone for a while where it brings the same", () => {
    const { a, c, comeMore } = streaming();
    const asked: FrameOf<"stream">[] = [];
    let open: number | undefined;
    for (let seconds = 0; seconds < 100; seconds++) {
      if (open !== undefined) come(a, c, open, 5, 0);
      open = undefined;
      comeMore(1);
      for (const frame of a.sent(c)) {
        if (frame.kind === "stream") {
          asked.push(frame);
          open = frame.exchange;
        } else if (frame.kind === "root" && !frame.answer) {
          a.receive(c, { ...frame, answer: true, rows: 5000, fingerprint: "2".repeat(32) });
          const stream = sent(a, c, "stream");
          asked.push(stream);
          open = stream.exchange;
        }
      }
    }
    expect(asked.map(({ credit }) => credit)).toEqual(
      [256, 256, 256, 256].map((kib) => kib * 1024),
    );
  });

  test("another that brings what is missing goes on", () => {
    const { a, c, comeMore } = streaming();
    let root: FrameOf<"root"> | undefined;
    for (let seconds = 0; root === undefined && seconds < 30; seconds++) {
      comeMore(1);
      root = sent(a, c, "root");
    }
    a.receive(c, { ...(root as FrameOf<"root">), answer: true, rows: 5000 });
    const { exchange, credit } = sent(a, c, "stream");
    expect(credit).toBe(256 * 1024);
    come(a, c, exchange, 80, 0);
    expect(sent(a, c, "stream").credit).toBe(4 * 1024 * 1024);
  });
});

describe("a peer that names recent rows", () => {
  test("without end is listened to up to a bound", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    nameNothing(a);
    const fetches: FrameOf<"fetch">[] = [];
    const note = () => {
      for (const frame of a.sent(b)) if (frame.kind === "fetch") fetches.push(frame);
    };
    for (let i = 0; i < 150; i++) {
      a.receive(b, { kind: "recent", horizon, more: true, entries: entries(i * 1200, 1200) });
      answerAll(a, "missing", ({ ticket, entries: named }) => {
        a.reply({ kind: "missing", ticket, ids: named.map(({ id }) => id) });
        note();
      });
    }
    let ids = 0;
    for (let fetch = fetches.shift(); fetch !== undefined; fetch = fetches.shift()) {
      if (fetch.what.by === "id") ids += fetch.what.ids.length;
      a.receive(b, { kind: "rows", exchange: fetch.exchange, last: true, horizon, block });
      answerAll(a, "apply", ({ ticket }) => {
        a.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
        note();
      });
      a.do({ kind: "drained", peer: b });
      note();
    }
    expect(ids).toBeGreaterThan(50_000);
    expect(ids).toBeLessThanOrEqual(100_000);
  }, 120_000);

  test("and is busy is asked again for what has not come meanwhile, and only for that", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    nameNothing(a);
    const named = entries(1, 3);
    const ids = named.map(({ id }) => id);
    a.receive(b, { kind: "recent", horizon, more: false, entries: named });
    const [first] = a.asked("missing") as Asked<"missing">[];
    a.reply({ kind: "missing", ticket: (first as Asked<"missing">).ticket, ids });
    const { exchange } = sent(a, b, "fetch");
    a.receive(b, { kind: "busy", exchange });
    a.pass(2500);
    const [again] = a.asked("missing") as Asked<"missing">[];
    const { ticket } = again as Asked<"missing">;
    // Two have come by another way.
    a.reply({ kind: "missing", ticket, ids: ids.slice(2) });
    expect(sent(a, b, "fetch").what).toEqual({ by: "id", ids: ids.slice(2) });
  });
});
