import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  act,
  createDigester,
  keyOf,
  runHistory,
  siteOf,
  startMs,
} from "../../test/model/history.ts";
import { type LocalWrite, MapStore } from "../../test/model/map-store.ts";
import { encodeChangeset, type Lane } from "../change/changeset.ts";
import type { Entry } from "../change/frame.ts";
import { decodeRowBlock, encodeRowBlock } from "../change/row-block.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import { isLive } from "../clock/row-clock.ts";
import { hlcZero, type Stamp } from "../clock/stamp.ts";
import { treeFanOut } from "../index/fingerprint-tree.ts";
import type { PeerId, StoreReply, StoreRequest } from "../node/border.ts";
import { type ClockState, type RowId, rangeOfRow } from "../row/digest.ts";
import { decodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import type { MergedRow, RowRef, ScanPosition } from "../row-store.ts";
import { Replica, type ReplicaOptions } from "./replica.ts";

const peer = "ab".repeat(32) as PeerId;
const digester = createDigester();

type Kind = StoreReply["kind"];
type ReplyOf<K extends Kind> = Extract<StoreReply, { kind: K }>;
type Question = StoreRequest extends infer R
  ? R extends { ticket: number }
    ? Omit<R, "ticket">
    : never
  : never;

/** A replica over a map store with its own wall clock, and what it replied. */
class Node {
  readonly replica: Replica;
  readonly clock: HlcClock;
  readonly store: MapStore;
  nowMs = startMs;
  replies: StoreReply[] = [];
  #ticket = 0;

  constructor(
    site: number,
    store: MapStore = new MapStore(digester),
    options: Partial<ReplicaOptions> = {},
  ) {
    this.store = store;
    this.clock = new HlcClock(siteOf(site), hlcZero);
    this.replica = new Replica({ store, clock: this.clock, digester, schema: [], options });
  }

  start(): this {
    this.replica.start(this.nowMs, this.replies);
    return this;
  }

  /** Moves the clock on, ticking when the replica wants to. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const dueMs = Math.max(this.replica.pollTimeout(), this.nowMs);
      if (dueMs > untilMs) break;
      this.nowMs = dueMs;
      this.replica.tick(this.nowMs, this.replies);
    }
    this.nowMs = untilMs;
  }

  put(row: number, values: Record<string, SqlValue>, lane: Lane = 1): Uint8Array {
    const write = { table: "t", key: keyOf(row), values: new Map(Object.entries(values)) };
    return this.#commit({ kind: "put", ...write }, lane);
  }

  delete(row: number): Uint8Array {
    return this.#commit({ kind: "delete", table: "t", key: keyOf(row) }, 0);
  }

  #commit(write: LocalWrite, lane: Lane): Uint8Array {
    const stamp = this.clock.next(this.nowMs);
    const { merged, changeset } = this.store.commit([write], stamp, lane);
    this.replica.committed({ merged, changeset }, this.nowMs, this.replies);
    return changeset === undefined ? new Uint8Array(0) : encodeChangeset(changeset);
  }

  /** Puts a question and lets time pass until its last reply; gives all of them. */
  ask(question: Question): StoreReply[] {
    const ticket = ++this.#ticket;
    const from = this.replies.length;
    this.replica.handle({ ...question, ticket } as StoreRequest, this.nowMs, this.replies);
    const answers = () =>
      this.replies.slice(from).filter((reply) => "ticket" in reply && reply.ticket === ticket);
    for (let i = 0; i < 1000; i++) {
      const last = answers().at(-1);
      if (last !== undefined && (last.kind !== "rows" || last.last)) return answers();
      this.nowMs = Math.max(this.replica.pollTimeout(), this.nowMs);
      this.replica.tick(this.nowMs, this.replies);
    }
    throw new Error(`no answer to ${question.kind}`);
  }

  one<K extends Kind>(kind: K, question: Question): ReplyOf<K> {
    const answers = this.ask(question);
    expect(answers.map((answer) => answer.kind)).toEqual([kind]);
    return answers[0] as ReplyOf<K>;
  }

  apply(bodies: readonly Uint8Array[], what: "changesets" | "rows" = "changesets", lane: Lane = 1) {
    return this.one("applied", { kind: "apply", lane, peer, what, bodies });
  }

  lastSlot(): ReplyOf<"slot"> {
    return this.replies.findLast((reply) => reply.kind === "slot") as ReplyOf<"slot">;
  }

  rowsOf(question: Question): RowState[] {
    return this.ask(question).flatMap((reply) => {
      const decoded = decodeRowBlock((reply as ReplyOf<"rows">).block);
      return decoded.kind === "rows" ? decoded.rows : [];
    });
  }
}

function stampAt(ms: number, site = 9): Stamp {
  return { ms, count: 0, site: siteOf(site) };
}

function rowAt(ms: number, row: number, value: SqlValue = "v"): RowState {
  const stamp = stampAt(ms);
  return {
    table: "t",
    key: keyOf(row),
    clock: { ...stamp, cl: 1 },
    cells: [{ column: "x", stamp, value }],
  };
}

/** All rows stamped since, whoever stamped them. */
function recentSince(sinceMs: number) {
  return { kind: "recent", sinceMs, ownSinceMs: sinceMs, rowsMax: 4096 } as const;
}

/** Walks both sides from the root and returns the ranges that differ. */
function walk(a: Node, b: Node, moment: { live: boolean; cut: number }): number[] {
  let nodes = [0];
  for (let level = 0; level < 4; level++) {
    const question = { kind: "walk", ...moment, level, nodes } as const;
    const left = a.one("walked", question).fingerprints;
    const right = b.one("walked", question).fingerprints;
    nodes = left.flatMap((fingerprint, i) =>
      fingerprint === right[i]
        ? []
        : [(nodes[Math.floor(i / treeFanOut)] as number) * treeFanOut + (i % treeFanOut)],
    );
  }
  return nodes;
}

test("a commit is pushed with its lane, and applied elsewhere it gives the same live fingerprint", () => {
  const a = new Node(0).start();
  const b = new Node(1).start();
  const changeset = a.put(1, { status: "down" }, 0);
  expect(a.replies.at(-1)).toMatchObject({ kind: "commit", lane: 0 });
  expect(b.apply([changeset], "changesets", 0)).toMatchObject({ rows: 1, changed: 1, refused: [] });
  // Again: nothing is new.
  expect(b.apply([changeset], "changesets", 0)).toMatchObject({ rows: 1, changed: 0 });
  expect(walk(a, b, { live: true, cut: 0 })).toEqual([]);
  a.pass(10_000);
  b.pass(10_000);
  expect(a.lastSlot().roots).toEqual(b.lastSlot().roots);
  expect(a.lastSlot().roots[0]?.rows).toBe(1);
});

test("a new connection's exchange: recent entries, urgent first, and what is missing or different", () => {
  const a = new Node(0).start();
  const b = new Node(1).start();
  b.apply([a.put(1, { x: 1 })]);
  a.pass(20_000);
  b.pass(20_000);
  a.put(2, { x: 2 });
  a.put(1, { x: 3 });
  a.put(3, { status: "down" }, 0);
  const { entries } = a.one("recent", recentSince(a.nowMs - 10_000));
  expect(entries.map(({ id }) => id)).toEqual([
    digester.rowId("t", keyOf(3)),
    digester.rowId("t", keyOf(1)),
    digester.rowId("t", keyOf(2)),
  ]);
  const { ids } = b.one("missing", { kind: "missing", entries });
  expect(new Set(ids)).toEqual(new Set(entries.map(({ id }) => id)));
  const rows = a.rowsOf({ kind: "rows", ids });
  expect(b.apply([encodeRowBlock(rows)], "rows")).toMatchObject({ rows: 3, changed: 3 });
  expect(b.one("missing", { kind: "missing", entries }).ids).toEqual([]);
  expect(walk(a, b, { live: true, cut: 0 })).toEqual([]);
});

test("a row that this node stamped and no longer keeps as recent isn't fetched back", () => {
  const a = new Node(0, undefined, { recentRows: { keepMs: 600_000, rowsMax: 2 } }).start();
  const b = new Node(1).start();
  for (let row = 0; row < 5; row++) b.apply([a.put(row, { x: row })]);
  b.put(9, { x: 9 });
  const { entries } = b.one("recent", recentSince(b.nowMs - 10_000));
  expect(entries).toHaveLength(6);
  expect(a.one("missing", { kind: "missing", entries }).ids).toEqual([
    digester.rowId("t", keyOf(9)),
  ]);
});

// What the walk finds, against what really differs; then one exchange both ways makes them equal.
test("a walk finds exactly the ranges that differ, and want and offer cover every difference", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(300), { maxLength: 40 }),
      fc.array(fc.record({ row: fc.nat(300), onA: fc.boolean(), onB: fc.boolean() }), {
        maxLength: 20,
      }),
      fc.boolean(),
      (shared, others, recentOnly) => {
        const a = new Node(0).start();
        const b = new Node(1).start();
        for (const row of shared) {
          const changeset = a.put(row, { x: row });
          b.apply([changeset]);
        }
        for (const { row, onA, onB } of others) {
          if (onA) a.put(row, { y: 1 });
          if (onB) b.put(row, { z: 1 });
        }
        a.pass(12_000);
        b.pass(12_000);
        const { cut } = a.lastSlot();
        expect(b.lastSlot().cut).toBe(cut);
        const moment = { live: false, cut };
        const differing = new Set<RowId>();
        for (const row of [...shared, ...others.map(({ row }) => row)]) {
          const ref = { table: "t", key: keyOf(row) };
          const [left, right] = [a.store.read([ref])[0], b.store.read([ref])[0]];
          const isEqual =
            left === undefined || right === undefined
              ? left === right
              : Bun.deepEquals(left, right);
          if (!isEqual) differing.add(digester.rowId("t", ref.key));
        }
        const ranges = walk(a, b, moment);
        expect(new Set(ranges)).toEqual(new Set([...differing].map(rangeOfRow)));
        if (ranges.length === 0) return;

        const where = { ...moment, level: 4, nodes: ranges };
        const { entries } = b.one("listed", { kind: "list", recentOnly, ...where });
        const { want, offer } = a.one("compared", {
          kind: "compare",
          recentOnly,
          entries,
          ...where,
        });
        for (const id of differing) expect(want.includes(id) || offer.includes(id)).toBe(true);
        for (const id of [...want, ...offer]) expect(differing.has(id)).toBe(true);
        a.apply([encodeRowBlock(b.rowsOf({ kind: "rows", ids: want }))], "rows");
        b.apply([encodeRowBlock(a.rowsOf({ kind: "rows", ids: offer }))], "rows");
        expect(walk(a, b, { live: true, cut: 0 })).toEqual([]);
        // Old clocks entered the cuts they belong to at once.
        expect(walk(a, b, moment)).toEqual([]);
      },
    ),
    { seed: 3, numRuns: 60 },
  );
}, 120_000);

test("two writers of one row, one frame lost: equal stamps, different digests, found and mended", () => {
  const a = new Node(0).start();
  const b = new Node(1).start();
  b.apply([a.put(1, { x: 0, y: 0 })]);
  const lost = b.put(1, { y: 1 });
  a.nowMs += 10;
  const later = a.put(1, { x: 1 });
  b.apply([later]);
  expect(lost.length).toBeGreaterThan(0);
  a.pass(9000);
  b.nowMs = a.nowMs - 9000;
  b.pass(9000);
  const { cut } = a.lastSlot();
  const nodes = walk(a, b, { live: false, cut });
  expect(nodes.length).toBe(1);
  const where = { live: false, cut, level: 4, nodes, recentOnly: true };
  const { entries } = b.one("listed", { kind: "list", ...where });
  const own = a.one("listed", { kind: "list", ...where }).entries;
  expect(entries[0]?.stamp).toEqual(own[0]?.stamp as Stamp);
  const { want } = a.one("compared", { kind: "compare", ...where, entries });
  a.apply([encodeRowBlock(b.rowsOf({ kind: "rows", ids: want }))], "rows");
  expect(walk(a, b, { live: false, cut })).toEqual([]);
});

test("rows above the cut are no difference, unless nothing else explains one", () => {
  const a = new Node(0).start();
  const entry = (row: number): Entry => {
    const id = digester.rowId("t", keyOf(row));
    return a
      .one("recent", recentSince(0))
      .entries.find((candidate) => candidate.id === id) as Entry;
  };
  a.put(1, { x: 1 });
  a.pass(8000);
  const { cut } = a.lastSlot();
  a.put(1, { x: 2 });
  const where = { live: false, cut, level: 0, nodes: [0] };
  expect(a.one("listed", { kind: "list", recentOnly: true, ...where }).entries).toEqual([]);
  const differs: Entry = { ...entry(1), stamp: stampAt(startMs), digest: "0".repeat(16) };
  const ask = (recentOnly: boolean, entries: readonly Entry[]) => {
    const answer = a.one("compared", { kind: "compare", recentOnly, entries, ...where });
    return { want: answer.want, offer: answer.offer };
  };
  // Ours is above the cut: whatever theirs is, it isn't settled.
  expect(ask(true, [differs])).toEqual({ want: [], offer: [] });
  // But the node of the tree does differ, and no other row does.
  expect(ask(false, [differs])).toEqual({ want: [], offer: [differs.id] });
  const unknown = { ...differs, id: "ff".repeat(16) as RowId };
  expect(ask(false, [unknown])).toEqual({ want: [unknown.id], offer: [] });
});

test("lists in full, rows by unknown place and rows by range come from one scan each, in slices", () => {
  const a = new Node(0, undefined, {
    recentRows: { keepMs: 1000, rowsMax: 10 },
    scanRowsPerTick: 300,
    blockRowsMax: 1000,
  }).start();
  for (let row = 0; row < 2500; row++) a.put(row, { x: row });
  a.pass(20_000);
  expect(a.replica.status()).toMatchObject({ rows: 2500, recentRows: 0, touchedRows: 0 });
  const where = { live: true, cut: 0, level: 0, nodes: [0] };
  expect(a.one("listed", { kind: "list", recentOnly: true, ...where }).entries).toEqual([]);
  const id = digester.rowId("t", keyOf(1234));
  expect(a.rowsOf({ kind: "rows", ids: [id, "ff".repeat(16) as RowId] }).length).toBe(1);
  const { entries } = a.one("listed", { kind: "list", recentOnly: false, ...where });
  expect(new Set(entries.map((entry) => entry.id)).size).toBe(2500);
  const ticket = 77;
  const blocks = a.ask({ kind: "range-rows", level: 0, nodes: [0] }) as ReplyOf<"rows">[];
  expect(blocks.map(({ last }) => last)).toEqual([false, false, true]);
  const rows = blocks.flatMap(({ block }) => {
    const decoded = decodeRowBlock(block);
    return decoded.kind === "rows" ? decoded.rows : [];
  });
  expect(rows.length).toBe(2500);
  // A list told where rows are: fetching them needs no scan.
  const before = a.replies.length;
  a.replica.handle({ kind: "rows", ticket, ids: [id] }, a.nowMs, a.replies);
  expect(a.replies.slice(before).map((reply) => reply.kind)).toEqual(["rows"]);
  // A range without rows ends with an empty block.
  const empty = a.ask({ kind: "range-rows", level: 4, nodes: [] }) as ReplyOf<"rows">[];
  expect(empty.map(({ last, block }) => [last, decodeRowBlock(block)])).toEqual([
    [true, { kind: "rows", rows: [] }],
  ]);
}, 120_000);

test("a stream goes through everything once, from cursor to cursor; a cursor of another life is void", () => {
  const a = new Node(0, new CountingStore(digester), { blockRowsMax: 300 }).start();
  for (let row = 0; row < 1000; row++) a.put(row, { x: row });
  const where = { level: 1, nodes: [0, 1, 2, 3, 4, 5, 6, 7] };
  const ids: RowId[] = [];
  let cursor: Uint8Array | undefined = new Uint8Array(0);
  let first: Uint8Array | undefined;
  let blocks = 0;
  while (cursor !== undefined) {
    const reply: ReplyOf<"streamed"> = a.one("streamed", { kind: "stream-rows", ...where, cursor });
    const decoded = decodeRowBlock(reply.block);
    if (decoded.kind !== "rows") throw new Error(decoded.why);
    for (const { table, key } of decoded.rows) ids.push(digester.rowId(table, key));
    cursor = reply.cursor;
    first ??= cursor;
    blocks++;
  }
  expect(blocks).toBe(4);
  const half = Array.from({ length: 1000 }, (_, row) => digester.rowId("t", keyOf(row))).filter(
    (id) => id < "8",
  );
  expect(ids.sort()).toEqual(half.sort());
  a.replica.changeSchema([], false, a.nowMs, []);
  const again = { kind: "stream-rows", ...where, cursor: first as Uint8Array } as const;
  expect(a.one("unavailable", again).why).toBe("busy");
  const rubbish = { ...again, cursor: new Uint8Array([1, 2, 3]) };
  expect(a.one("unavailable", rubbish).why).toBe("busy");
});

test("a peer that fetches all ranges in order costs few scans, and rows come as they are when sent", () => {
  const store = new CountingStore(digester);
  const a = new Node(0, store, {
    ...{ scanRowsPerTick: 1000, windowRowsMax: 1000, blockRowsMax: 100 },
    ...{ recentRows: { keepMs: 1000, rowsMax: 10 } },
  }).start();
  for (let row = 0; row < 3000; row++) a.put(row, { x: row });
  a.pass(20_000);
  const before = store.scans;
  const ids = new Set<RowId>();
  for (let node = 0; node < 256; node++) {
    for (const { table, key } of a.rowsOf({ kind: "range-rows", level: 2, nodes: [node] })) {
      const id = digester.rowId(table, key);
      expect(rangeOfRow(id) >>> 8).toBe(node);
      ids.add(id);
    }
  }
  expect(ids.size).toBe(3000);
  // Three slices a scan; 3,000 rows in windows of a thousand, whose ends don't meet quite.
  expect(store.scans - before).toBeLessThanOrEqual(3 * 5);
  const row = rangeOfRow(digester.rowId("t", keyOf(7)));
  const ask = { kind: "range-rows", level: 4, nodes: [row] } as const;
  const scans = store.scans;
  a.rowsOf(ask);
  const scansOnce = store.scans - scans;
  a.put(7, { x: "new" });
  expect(a.rowsOf(ask).flatMap(({ cells }) => cells.map(({ value }) => value))).toContain("new");
  expect(store.scans - scans).toBe(scansOnce);
  // Places go stale: rows that came since aren't among them.
  a.pass(61_000);
  a.rowsOf(ask);
  expect(store.scans - scans).toBeGreaterThan(scansOnce);
}, 120_000);

test("two questions for one window share its scan, and both fail when the store can't be read", () => {
  const store = new FailingStore();
  const a = new Node(0, store, { scanRowsPerTick: 1 }).start();
  for (let row = 0; row < 5; row++) a.put(row, { x: row });
  const ask = (ticket: number, nodes: number[], replies: StoreReply[]) =>
    a.replica.handle({ kind: "range-rows", ticket, level: 0, nodes }, a.nowMs, replies);
  const replies: StoreReply[] = [];
  ask(1, [0], replies);
  ask(2, [0], replies);
  for (let i = 0; i < 20; i++) a.replica.tick(a.nowMs + 10 * i, replies);
  expect(replies.map((reply) => reply.kind === "rows" && [reply.ticket, reply.last])).toEqual([
    [1, true],
    [2, true],
  ]);
  a.pass(61_000);
  replies.length = 0;
  ask(3, [0], replies);
  ask(4, [0], replies);
  store.isFull = true;
  a.replica.tick(a.nowMs + 10, replies);
  expect(replies).toEqual([
    { kind: "unavailable", ticket: 3, why: "busy" },
    { kind: "unavailable", ticket: 4, why: "busy" },
  ]);
  // Afterwards it works as before.
  store.isFull = false;
  expect(a.rowsOf({ kind: "range-rows", level: 0, nodes: [0] }).length).toBe(5);
});

test("questions beyond what one scan and the next may serve are told to come later", () => {
  const a = new Node(0, undefined, { scanQuestionsMax: 3, scanRowsPerTick: 1 }).start();
  for (let row = 0; row < 5; row++) a.put(row, { x: row });
  const where = { live: true, cut: 0, level: 0, nodes: [0] };
  const replies: StoreReply[] = [];
  for (let ticket = 0; ticket < 4; ticket++) {
    a.replica.handle({ kind: "list", ticket, recentOnly: false, ...where }, a.nowMs, replies);
    // The first scan is under way when the third asks.
    if (ticket === 1) a.replica.tick(a.nowMs, replies);
  }
  expect(replies).toEqual([{ kind: "unavailable", ticket: 3, why: "busy" }]);
  for (let i = 0; i < 100; i++) a.replica.tick(a.nowMs + 10 * i, replies);
  const listed = replies.filter((reply) => reply.kind === "listed");
  expect(listed.map(({ ticket, entries }) => [ticket, entries.length])).toEqual([
    [0, 5],
    [1, 5],
    [2, 5],
  ]);
});

// The clever index equals the one that a scan of what is held now would give.
test("an index rebuilt while merges and local writes go on equals one rebuilt at rest", () => {
  fc.assert(
    fc.property(
      fc.array(act(), { maxLength: 30 }),
      fc.array(act(), { maxLength: 30 }),
      fc.array(fc.nat(3), { minLength: 20, maxLength: 20 }),
      fc.boolean(),
      (earlier, later, turns, withPlaces) => {
        const store = withPlaces ? new PlacedStore() : new MapStore(digester);
        const first = runHistory(earlier);
        for (const { rows } of first.changesets) store.merge(rows);
        const node = new Node(7, store, { rebuildRowsPerTick: 1 });
        node.nowMs = first.endMs;
        node.start();
        const queue = [...runHistory(later).changesets];
        for (let i = 0; queue.length > 0; i++) {
          const turn = turns[i % turns.length];
          if (turn === 0) {
            const { lane, ...rest } = queue.shift() as (typeof queue)[number];
            node.apply([encodeChangeset({ lane, ...rest })]);
          } else if (turn === 1) node.put(i % 5, { x: i });
          else node.replica.tick(node.nowMs, node.replies);
        }
        node.pass(20_000);
        const atRest = new Node(0, store);
        atRest.nowMs = node.nowMs;
        atRest.start();
        expect(node.replica.status()).toMatchObject({
          starting: false,
          touchedRows: 0,
          rows: store.size,
          roots: atRest.replica.status().roots.slice(),
        });
        expect(walk(node, atRest, { live: true, cut: 0 })).toEqual([]);
      },
    ),
    { seed: 4, numRuns: 200 },
  );
}, 120_000);

test("while the index is rebuilt questions are answered `starting`, and merges go on", () => {
  const store = new MapStore(digester);
  for (let row = 0; row < 5; row++) store.merge([rowAt(startMs - 60_000, row)]);
  const node = new Node(0, store, { rebuildRowsPerTick: 2 }).start();
  const where = { live: true, cut: 0, level: 0, nodes: [0] };
  expect(node.ask({ kind: "walk", ...where })).toMatchObject([
    { kind: "unavailable", why: "starting" },
  ]);
  expect(node.replies[0]).toMatchObject({ kind: "identity", starting: true });
  expect(node.lastSlot()).toMatchObject({ cut: 0, roots: [] });
  const stamp = stampAt(startMs);
  const changeset = { stamp, lane: 1 as Lane, rows: [rowAt(startMs, 4, "new")] };
  expect(node.apply([encodeChangeset(changeset)])).toMatchObject({ changed: 1 });
  node.pass(100);
  expect(node.replies.findLast((reply) => reply.kind === "identity")).toMatchObject({
    starting: false,
  });
  expect(node.lastSlot().roots[0]?.rows).toBe(5);
  // Rows stamped within ten minutes are known as recent after a start.
  expect(node.one("recent", recentSince(startMs - 90_000)).entries.length).toBe(5);
});

test("who is told that the index is built has been told what it holds: a part would be compared, and all the rest be streamed", () => {
  const store = new MapStore(digester);
  for (let row = 0; row < 50; row++) store.merge([rowAt(startMs - (row + 1) * 60_000, row)]);
  const node = new Node(0, store, { rebuildRowsPerTick: 2 }).start();
  node.pass(1000);
  const built = node.replies.findIndex((reply) => reply.kind === "identity" && !reply.starting);
  const slots = node.replies.slice(0, built).filter((reply) => reply.kind === "slot");
  expect(slots.at(-1)).toMatchObject({ live: { rows: 50 } });
});

test("what is recent is named, compared and sent before the index is built, in slices", () => {
  const store = new MapStore(digester);
  const ageMs = (row: number) => (row % 10 === 0 ? 5000 + row : 3_600_000);
  for (let row = 0; row < 100; row++) store.merge([rowAt(startMs - ageMs(row), row)]);
  const node = new Node(0, store, {
    passRowsPerTick: 7,
    recallRowsPerTick: 3,
    rebuildRowsPerTick: 1,
  }).start();
  const starting = [{ kind: "unavailable", why: "starting" }];
  expect(node.ask(recentSince(startMs - 10_000))).toMatchObject(starting);
  const slots = () => node.replies.filter((reply) => reply.kind === "slot").length;
  for (const before = slots(); slots() === before; ) node.replica.tick(startMs, node.replies);
  expect(node.replica.isBuilt).toBe(false);
  const { entries } = node.one("recent", recentSince(startMs - 10_000));
  expect(entries.map(({ id }) => id)).toEqual(
    Array.from({ length: 10 }, (_, i) => digester.rowId("t", keyOf(10 * i))),
  );
  // What a peer names is known here, but for what is another there.
  const others = entries.map((entry, i) =>
    i === 3 ? { ...entry, digest: "0".repeat(16) } : entry,
  );
  const { ids } = node.one("missing", { kind: "missing", entries: others });
  expect(ids).toEqual([digester.rowId("t", keyOf(30))]);
  expect(node.rowsOf({ kind: "rows", ids })).toEqual([rowAt(startMs - ageMs(30), 30)]);
  const unknown = digester.rowId("t", keyOf(31));
  expect(node.ask({ kind: "rows", ids: [unknown] })).toMatchObject(starting);
  expect(node.replica.isBuilt).toBe(false);
  node.pass(1000);
  expect(node.lastSlot().live).toEqual(new Node(1, store).start().lastSlot().live);
});

test("the index of few rows is built without waiting for those who ask for what is recent", () => {
  const store = new MapStore(digester);
  for (let row = 0; row < 5; row++) store.merge([rowAt(startMs - 1000, row)]);
  const node = new Node(0, store, { rebuildRowsPerTick: 2 }).start();
  expect(node.one("recent", recentSince(startMs - 10_000)).entries.length).toBe(5);
  expect(node.replica.isBuilt).toBe(false);
  for (let tick = 0; tick < 3; tick++) node.replica.tick(startMs, node.replies);
  expect(node.replica.isBuilt).toBe(true);
});

// Else what peers send waits for one of many rows, each time.
test("a slice of the rebuild is no longer than one of a merge", () => {
  const store = new MapStore(digester);
  for (let row = 0; row < 600; row++) store.merge([rowAt(startMs - 3_600_000, row)]);
  const node = new Node(0, store, { sliceRows: 250 }).start();
  const isBuilt = [node.replica.isBuilt];
  for (let tick = 0; tick < 2; tick++) {
    node.replica.tick(startMs, node.replies);
    isBuilt.push(node.replica.isBuilt);
  }
  expect(isBuilt).toEqual([false, false, true]);
});

// By some minutes: after more than that the index is built anew (`restamp.ts`).
test("a clock that is set back keeps no question waiting, nor the index from being built", () => {
  const store = new MapStore(digester);
  for (let row = 0; row < 3000; row++) store.merge([rowAt(startMs - 3_600_000, row)]);
  for (let row = 0; row < 700; row++) store.merge([rowAt(startMs - 1000, row)]);
  const options = { passRowsPerTick: 500, rebuildRowsPerTick: 500, scanRowsPerTick: 500 };
  const node = new Node(0, store, options).start();
  while (node.ask(recentSince(startMs - 10_000))[0]?.kind !== "recent") node.pass(1);
  expect(node.replica.isBuilt).toBe(false);
  const setBack = () => {
    node.nowMs -= 60_000;
    node.replica.handle({ kind: "peers", offsetsMs: [], count: 0 }, node.nowMs, node.replies);
  };
  setBack();
  node.pass(1000);
  expect(node.replica.isBuilt).toBe(true);
  const where = { live: true, cut: 0, level: 0, nodes: [0] };
  const list = { kind: "list", ticket: 99, recentOnly: false, ...where } as const;
  node.replica.handle(list, node.nowMs, node.replies);
  node.replica.tick(node.nowMs, node.replies);
  setBack();
  node.pass(1000);
  expect(node.replies.at(-1)).toMatchObject({ kind: "listed", ticket: 99 });
});

// Whatever the file kept of the clock: what is written next comes after all that is here, or an older "up" would win.
test("after a start the clock follows the newest stamp that is held, if no clock that is wrong gave it", () => {
  const store = new MapStore(digester);
  const [newest, wrong] = [rowAt(startMs + 3000, 1), rowAt(startMs + 30_000, 2)];
  const clock = { ...newest.clock, count: 7 };
  const cells = newest.cells.map((cell) => ({ ...cell, stamp: { ...cell.stamp, count: 7 } }));
  store.merge([newest, { ...newest, clock, cells }, wrong, rowAt(startMs - 3000, 3)]);
  const node = new Node(0, store).start();
  node.pass(100);
  expect(node.clock.next(node.nowMs)).toMatchObject({ ms: startMs + 3000, count: 8 });
});

test("of many recent rows the newest are kept, wherever they stand", () => {
  const store = new MapStore(digester);
  const order = [3, 9, 1, 7, 0, 8, 5, 2, 6, 4];
  for (const row of order) store.merge([rowAt(startMs - 1000 * row, row)]);
  const recentRows = { keepMs: 60_000, rowsMax: 3 };
  const node = new Node(0, store, { recentRows, passRowsPerTick: 2 }).start();
  node.pass(100);
  const { entries } = node.one("recent", recentSince(0));
  expect(entries.map(({ id }) => id)).toEqual(
    [0, 1, 2].map((row) => digester.rowId("t", keyOf(row))),
  );
});

test("a clock that comes late for its cut is reported at once, once for each call", () => {
  const a = new Node(0).start();
  a.put(1, { x: 1 });
  a.pass(10_000);
  const before = a.lastSlot();
  const count = a.replies.filter((reply) => reply.kind === "slot").length;
  const late = [5, 6, 7].map((row) =>
    encodeChangeset({ stamp: stampAt(startMs), lane: 1, rows: [rowAt(startMs, row)] }),
  );
  a.apply(late);
  expect(a.replies.filter((reply) => reply.kind === "slot").length).toBe(count + 1);
  expect(a.lastSlot().cut).toBe(before.cut);
  expect(a.lastSlot().roots[0]?.rows).toBe(4);
  // A clock that no cut covers yet changes no root.
  a.put(2, { x: 1 });
  expect(a.replies.filter((reply) => reply.kind === "slot").length).toBe(count + 1);
  const urgent = { stamp: stampAt(startMs), lane: 0 as Lane, rows: [rowAt(startMs, 8)] };
  a.apply([encodeChangeset(urgent)], "changesets", 0);
  expect(a.replies.filter((reply) => reply.kind === "slot").length).toBe(count + 2);
});

test("what is stamped so far ahead that nobody would take it isn't sent, neither pushed nor when it is asked for", () => {
  const a = new Node(0).start();
  a.put(1, { x: 1 });
  // The clock was in another year, and is right again.
  a.clock.observe({ ms: startMs + 121_000, count: 0 });
  a.put(2, { x: 2 });
  expect(a.replies.filter(({ kind }) => kind === "commit")).toHaveLength(1);
  const ids = [1, 2].map((row) => digester.rowId("t", keyOf(row)));
  expect(a.rowsOf({ kind: "rows", ids }).map(({ key }) => key)).toEqual([keyOf(1)]);
  const cursor = new Uint8Array(0);
  const streamed = a.one("streamed", { kind: "stream-rows", level: 0, nodes: [0], cursor });
  const decoded = decodeRowBlock(streamed.block);
  expect(decoded.kind === "rows" && decoded.rows.map(({ key }) => key)).toEqual([keyOf(1)]);
});

test("it is stamped anew, once, when the peers say that the clock is right again, and sent", () => {
  for (const isRestarted of [false, true]) {
    const before = new Node(0).start();
    before.nowMs += 3_600_000;
    before.put(1, { x: 1 });
    const a = isRestarted ? new Node(0, before.store).start() : before;
    a.nowMs = startMs;
    const peers = { kind: "peers", offsetsMs: [0, 10, -10], count: 3 } as const;
    const heard = () => a.replica.handle(peers, a.nowMs, a.replies);
    const ids = [digester.rowId("t", keyOf(1))];
    expect(a.rowsOf({ kind: "rows", ids })).toEqual([]);
    a.replies = [];
    heard();
    a.pass(2000);
    const pushed = a.replies.filter((reply) => reply.kind === "commit");
    expect(pushed.map(({ stamp }) => stamp.ms <= a.nowMs)).toEqual([true]);
    expect(a.replica.status().clock).toMatchObject({ restampedRows: 1, heldBackMs: 0 });
    expect(a.rowsOf({ kind: "rows", ids })).toHaveLength(1);
    expect(a.lastSlot().live).toEqual(new Node(0, a.store).start().lastSlot().live);
    heard();
    // Nothing is looked for any more.
    expect([a.replica.isBuilt, a.replica.hasOwnWork]).toEqual([true, false]);
  }
});

test("where peers told of the fault it is stamped with the time at which it was said", () => {
  const a = new Node(0).start();
  const heard = (offsetMs: number) => {
    const offsetsMs = [offsetMs, offsetMs, offsetMs];
    a.replica.handle({ kind: "peers", offsetsMs, count: 3 }, a.nowMs, a.replies);
  };
  a.nowMs += 3_600_000;
  a.put(1, { x: 1 });
  heard(-3_600_000);
  a.nowMs += 60_000 - 3_600_000;
  heard(0);
  a.pass(2000);
  const ids = [digester.rowId("t", keyOf(1))];
  expect(a.rowsOf({ kind: "rows", ids }).map(({ clock }) => clock.ms)).toEqual([startMs]);
});

test("with a new schema questions under way are ended, and the index goes on", () => {
  const store = new MapStore(digester);
  const a = new Node(0, store, { sliceRows: 20 }).start();
  for (let row = 0; row < 10; row++) a.put(row, { x: row });
  a.pass(10_000);
  const schema = [{ table: "t", columns: [] }];
  const list = { recentOnly: false, live: true, cut: 0, level: 0, nodes: [0] } as const;
  a.replica.handle({ kind: "list", ticket: 99, ...list }, a.nowMs, a.replies);
  // Something is being applied, too: it begins again.
  const rows = Array.from({ length: 100 }, (_, row) => rowAt(startMs, 1000 + row));
  const body = encodeChangeset({ stamp: stampAt(startMs), lane: 2, rows });
  const apply = { kind: "apply", lane: 2, peer, what: "changesets", bodies: [body] } as const;
  a.replica.handle({ ...apply, ticket: 100 }, a.nowMs, a.replies);
  expect(a.replica.isOpen).toBe(true);
  a.replies = [];
  a.replica.changeSchema(schema, false, a.nowMs, a.replies);
  expect(a.replies).toMatchObject([
    { kind: "unavailable", ticket: 99, why: "busy" },
    { kind: "slot" },
    { kind: "identity", schema, starting: false },
  ]);
  expect([a.replica.isOpen, store.size]).toEqual([false, 10]);
  a.pass(100);
  expect(a.replies.find((reply) => reply.kind === "applied")).toMatchObject({ rows: 100 });
  expect(a.lastSlot().live).toEqual(new Node(0, store).start().lastSlot().live);
});

// Or this host would say for ever that it holds what it doesn't.
test("with a new schema that has changed clocks the index is built anew, and so it is if it wasn't built", () => {
  const store = new MapStore(digester);
  const a = new Node(0, store, { rebuildRowsPerTick: 50 }).start();
  store.merge(Array.from({ length: 300 }, (_, row) => rowAt(startMs - 3_600_000, row)));
  a.replica.changeSchema([], true, a.nowMs, a.replies);
  expect(a.replica.isBuilt).toBe(false);
  // Rows that the scan has gone by may stand elsewhere now.
  store.merge([rowAt(startMs - 3_500_000, 0)]);
  a.replica.changeSchema([], false, a.nowMs, a.replies);
  a.pass(1000);
  expect(a.replica.isBuilt).toBe(true);
  expect(a.lastSlot().live).toEqual(new Node(0, store).start().lastSlot().live);
});

test("with a new schema what is stamped anew is given up, and begun again with the next word of the peers", () => {
  const a = new Node(0, undefined, { sliceRows: 10 }).start();
  a.nowMs += 3_600_000;
  for (let row = 0; row < 100; row++) a.put(row, { x: 1 });
  a.nowMs = startMs;
  const peers = { kind: "peers", offsetsMs: [0, 10, -10], count: 3 } as const;
  const heard = () => a.replica.handle(peers, a.nowMs, a.replies);
  for (let slices = 0; slices < 12; slices++) {
    heard();
    for (let i = 0; i < slices; i++) a.replica.tick(a.nowMs, a.replies);
    a.replica.changeSchema([], false, a.nowMs, a.replies);
    expect(a.replica.writes).toBe(false);
    a.pass(1000);
    expect(a.replica.isBuilt).toBe(true);
    expect(a.lastSlot().live).toEqual(new Node(0, a.store).start().lastSlot().live);
  }
  heard();
  a.pass(1000);
  expect(a.replica.status().clock).toMatchObject({ heldBackMs: 0 });
});

test("malformed and far-ahead bodies are refused alone, and repair's good rows are kept", () => {
  const a = new Node(0).start();
  const body = (ms: number, row: number) =>
    encodeChangeset({ stamp: stampAt(ms), lane: 1, rows: [rowAt(ms, row)] });
  const answer = a.apply([
    body(startMs, 1),
    new Uint8Array([9, 9]),
    body(startMs + 61_000, 2),
    body(startMs + 59_000, 3),
  ]);
  expect(answer).toMatchObject({ rows: 2, changed: 2 });
  expect(answer.refused.map(({ body: which }) => which)).toEqual([1, 2]);
  expect(answer.refused[1]?.why).toBe("clock: stamped 61000 ms ahead, at most 60000");
  // What was refused counts for nothing.
  expect(a.replica.status().rows).toBe(2);
  // And what was taken is followed only as far as a clock may be ahead: all that is said here would be as far ahead.
  expect(a.clock.read(a.nowMs).ms).toBe(a.nowMs);
  a.apply([body(startMs + 4900, 3)]);
  expect(a.clock.read(a.nowMs).ms).toBe(startMs + 4900);
  const block = encodeRowBlock([rowAt(startMs, 4), rowAt(startMs + 90_000, 5)]);
  expect(a.apply([block], "rows")).toMatchObject({
    rows: 1,
    refused: [{ body: 0, why: "1 of 2 rows: clock: stamped 90000 ms ahead, at most 60000" }],
  });
  expect(a.replica.status().refused).toEqual({ malformed: 1, ahead: 2, storeFailed: 0 });
  // Once it is within bounds it is taken.
  a.nowMs += 2000;
  expect(a.apply([body(startMs + 61_000, 2)])).toMatchObject({ changed: 1, refused: [] });
});

test("with three peers their median decides who is fast, and an outlier stops writing", () => {
  const a = new Node(0).start();
  const offsets = (offsetsMs: number[]) =>
    a.replica.handle({ kind: "peers", offsetsMs, count: 3 }, a.nowMs, a.replies);
  const ahead = (ms: number) =>
    a.apply([encodeChangeset({ stamp: stampAt(startMs + ms), lane: 1, rows: [rowAt(startMs, 1)] })])
      .refused.length;
  offsets([0, 100]);
  expect(ahead(30_000)).toBe(0);
  offsets([0, 100, -100]);
  expect([ahead(4900), ahead(5100)]).toEqual([0, 1]);
  expect(a.replica.localWrites()).toEqual({ kind: "allowed" });
  // Everybody else is 20 s ahead: it is this host that is slow. It applies what others send.
  offsets([20_000, 20_100, 19_900]);
  expect([ahead(24_900), ahead(25_100)]).toEqual([0, 1]);
  expect(a.replica.localWrites()).toEqual({
    kind: "refused",
    why:
      "clock: this host is 20.0 s behind the median of 3 peers (at most 5 s); " +
      "writes are refused until it is set right",
  });
  expect(a.replica.status().clock).toMatchObject({
    peers: 3,
    medianOffsetMs: 20_000,
    outlier: true,
  });
  offsets([-8000, -8000, 0, -8000]);
  expect(a.replica.localWrites()).toMatchObject({ kind: "refused" });
  offsets([10, 20, 30]);
  expect(a.replica.localWrites()).toEqual({ kind: "allowed" });
});

test("the status tells how long changesets were under way, and how many were ahead of this clock", () => {
  const a = new Node(0).start();
  const body = (ms: number) =>
    encodeChangeset({ stamp: stampAt(ms), lane: 1, rows: [rowAt(ms, 1)] });
  a.put(9, { x: 1 });
  expect(a.replica.status()).toMatchObject({ lagMs: { samples: 0 }, driftWarnings: 0 });
  a.apply([body(startMs - 300), body(startMs - 100), body(startMs - 200)]);
  expect(a.replica.status()).toMatchObject({ lagMs: { samples: 3, p50: 200, p99: 300 } });
  a.apply([body(startMs + 500), body(startMs + 501)]);
  expect(a.replica.status()).toMatchObject({ lagMs: { samples: 5, p50: 100 }, driftWarnings: 1 });
  // Rows of repair are as old as they are.
  a.apply([encodeRowBlock([rowAt(startMs - 60_000, 2)])], "rows");
  expect(a.replica.status().lagMs.samples).toBe(5);
});

test("two writers under one identity are counted, and the last row that shows it is named", () => {
  const a = new Node(0).start();
  const apply = (row: number, value: string) =>
    a.apply([encodeRowBlock([rowAt(startMs, row, value)])], "rows");
  apply(1, "v");
  apply(1, "v");
  expect(a.replica.status()).toMatchObject({ conflicts: 0, lastConflict: undefined });
  apply(1, "w");
  expect(a.replica.status()).toMatchObject({
    conflicts: 1,
    lastConflict: { table: "t", key: keyOf(1) },
  });
});

test("a full disk refuses the slice, changes nothing and is shown until a write succeeds", () => {
  const store = new FailingStore();
  const a = new Node(0, store).start();
  a.put(1, { x: 1 });
  const before = a.replica.status();
  const body = encodeChangeset({ stamp: stampAt(startMs), lane: 1, rows: [rowAt(startMs, 2)] });
  store.isFull = true;
  const last = a.clock.last;
  expect(a.apply([new Uint8Array(1), body, body])).toMatchObject({
    rows: 0,
    changed: 0,
    refused: [{ body: 0 }, { body: 1, why: "store: disk full" }, { body: 2 }],
  });
  expect(a.replica.status()).toMatchObject({
    rows: before.rows,
    storeError: "store: disk full",
    refused: { malformed: 1, storeFailed: 2 },
  });
  expect(a.clock.last).toEqual(last);
  // A scan that can't read ends its questions.
  const where = { live: true, cut: 0, level: 0, nodes: [0] };
  expect(a.ask({ kind: "list", recentOnly: false, ...where })).toMatchObject([
    { kind: "unavailable", why: "busy" },
  ]);
  const cursor = new Uint8Array(0);
  const stream = { kind: "stream-rows", level: 1, nodes: [0], cursor } as const;
  expect(a.ask(stream)).toMatchObject([{ kind: "unavailable", why: "busy" }]);
  store.isFull = false;
  expect(a.apply([body])).toMatchObject({ changed: 1, refused: [] });
  expect(a.replica.status().storeError).toBe(undefined);
});

// A page of a table is damaged. Others could have the rows beside it from nobody else.
test("rows that can't be read keep no others from being sent, whichever way they are asked for", () => {
  const bad = [3, 4, 5, 90].map(keyOf);
  class DamagedStore extends MapStore {
    override read(refs: readonly RowRef[]) {
      const isBad = ({ key }: RowRef) => bad.some((one) => Bun.deepEquals(one, key));
      if (refs.some(isBad)) throw new Error("database disk image is malformed");
      return super.read(refs);
    }

    override writeRows(): never {
      throw new Error("database disk image is malformed");
    }
  }
  const a = new Node(0, new DamagedStore(digester)).start();
  for (let row = 0; row < 100; row++) a.put(row, { x: row });
  const numbers = (rows: readonly RowState[]) => rows.map(({ key }) => Number(decodeKey(key)?.[0]));
  const all = Array.from({ length: 100 }, (_, row) => row);
  const good = all.filter((row) => ![3, 4, 5, 90].includes(row));
  const ids = all.map((row) => digester.rowId("t", keyOf(row)));
  expect(numbers(a.rowsOf({ kind: "rows", ids }))).toEqual(good);
  expect(a.rowsOf({ kind: "range-rows", level: 0, nodes: [0] })).toHaveLength(good.length);
  const cursor = new Uint8Array(0);
  const streamed = a.one("streamed", { kind: "stream-rows", level: 0, nodes: [0], cursor });
  const decoded = decodeRowBlock(streamed.block);
  expect(decoded.kind === "rows" && numbers(decoded.rows)).toEqual(good);
  expect(a.replica.status().storeError).toContain("malformed");
});

test("listeners are given every transaction's rows with lane and origin, in order", () => {
  const a = new Node(0).start();
  const heard: [number, Lane, string][] = [];
  a.replica.onMerged((rows, lane, origin) => heard.push([rows.length, lane, origin]));
  a.put(1, { x: 1 }, 0);
  const body = encodeChangeset({ stamp: stampAt(startMs), lane: 1, rows: [rowAt(startMs, 2)] });
  a.apply([body, body]);
  expect(heard).toEqual([
    [1, 0, "local"],
    [2, 1, peer],
  ]);
});

test("cuts that can't be asked for have no answer", () => {
  const a = new Node(0).start();
  a.pass(10_000);
  const { cut } = a.lastSlot();
  const ask = (of: number) =>
    a.ask({ kind: "walk", live: false, cut: of, level: 0, nodes: [0] }).map(({ kind }) => kind);
  expect([ask(cut + 1), ask(cut), ask(cut - 4), ask(cut - 5)]).toEqual([
    ["unavailable"],
    ["walked"],
    ["walked"],
    ["unavailable"],
  ]);
});

// Three writers of the same rows, clocks apart, frames out of order: what is in flight must never look
// like damage. A frame that is later than a cut does, until it comes.
test("under load no two replicas differ at a common cut, but for what is late", () => {
  const offsetsMs = [0, 180, -140];
  const nodes = offsetsMs.map((offsetMs, i) => {
    const node = new Node(i);
    node.nowMs = startMs + offsetMs;
    return node.start();
  });
  let state = 12345;
  const random = (below: number) => {
    // Marsaglia's xorshift with 32 bits.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const inFlight: { atMs: number; to: Node; changeset: Uint8Array }[] = [];
  let compared = 0;
  let lateUntilMs = 0;
  const compare = () => {
    const reports = nodes.map((node) => node.replica.status().roots);
    for (const root of reports.flat()) {
      for (const roots of reports) {
        const same = roots.find(({ cut }) => cut === root.cut);
        if (same === undefined) continue;
        compared++;
        expect(same).toEqual(root);
      }
    }
  };
  for (let ms = 0; ms < 34_000; ms += 5) {
    const nowMs = startMs + ms;
    for (const [i, node] of nodes.entries()) {
      node.pass(nowMs + (offsetsMs[i] as number) - node.nowMs);
      if (ms > 22_000 || random(10) > 0) continue;
      const row = random(50);
      const kind = random(8);
      const changeset =
        kind === 0 ? node.delete(row) : node.put(row, kind < 5 ? { x: ms } : { y: ms, z: i });
      if (changeset.length === 0) continue;
      const isLate = ms > 8000 && ms < 9000 && random(10) === 0;
      for (const to of nodes) {
        if (to === node) continue;
        const delayMs = isLate ? 7000 + random(300) : random(150);
        if (isLate) lateUntilMs = Math.max(lateUntilMs, nowMs + delayMs);
        inFlight.push({ atMs: nowMs + delayMs, to, changeset });
        // Some come twice.
        if (random(5) === 0) inFlight.push({ atMs: nowMs + random(400), to, changeset });
      }
    }
    for (let i = inFlight.length - 1; i >= 0; i--) {
      const frame = inFlight[i] as (typeof inFlight)[number];
      if (frame.atMs > nowMs) continue;
      frame.to.apply([frame.changeset]);
      inFlight.splice(i, 1);
    }
    // What is held back for 7 s is missing in cuts that are made 5 s after it was written, and not before.
    if (ms % 100 === 0 && (ms < 12_800 || nowMs > lateUntilMs)) compare();
  }
  expect(lateUntilMs).toBeGreaterThan(0);
  expect(compared).toBeGreaterThan(5000);
  const [first] = nodes.map((node) => node.replica.status());
  for (const node of nodes) {
    expect(node.replica.status().roots[0]).toEqual(first?.roots[0] as never);
    expect(node.replica.status().touchedRows).toBe(0);
  }
}, 120_000);

class CountingStore extends MapStore {
  scans = 0;

  override scan(position: ScanPosition | undefined, rowsMax: number) {
    this.scans++;
    return super.scan(position, rowsMax);
  }
}

/** Fails as a full disk does. */
class FailingStore extends MapStore {
  isFull = false;

  constructor() {
    super(digester);
  }

  override merge(rows: readonly RowState[]): MergedRow[] {
    if (this.isFull) throw new Error("disk full");
    return super.merge(rows);
  }

  override scan(position: ScanPosition | undefined, rowsMax: number) {
    if (this.isFull) throw new Error("disk full");
    return super.scan(position, rowsMax);
  }
}

/** Scans live rows first and then tombstones, as a store of tables does: rows move while it scans. */
class PlacedStore extends MapStore {
  readonly #placesBefore = new WeakMap<RowRef, bigint>();

  constructor() {
    super(digester);
  }

  override merge(rows: readonly RowState[]): MergedRow[] {
    return rows.flatMap((row) => {
      const [merged] = super.merge([row]) as [MergedRow];
      if (merged.before !== undefined) {
        this.#placesBefore.set(merged, placeOf(merged.id, merged.before));
      }
      return [merged];
    });
  }

  override scan(position: ScanPosition | undefined, rowsMax: number) {
    const { rows } = super.scan(undefined, Number.MAX_SAFE_INTEGER);
    const left = rows
      .map((row) => ({ row, place: placeOf(row.id, row.clocks) }))
      .filter(({ place }) => position === undefined || place > (position.after as bigint))
      .sort((a, b) => (a.place < b.place ? -1 : 1));
    const slice = left.slice(0, rowsMax);
    return {
      rows: slice.map(({ row }) => row),
      next: left.length <= rowsMax ? undefined : { part: 0, after: slice.at(-1)?.place as bigint },
    };
  }

  override isPassed(position: ScanPosition, row: RowRef): boolean {
    return (this.#placesBefore.get(row) as bigint) <= (position.after as bigint);
  }
}

function placeOf(id: RowId, { clock }: ClockState): bigint {
  return BigInt(`0x${isLive(clock) ? 1 : 2}${id}`);
}
