import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode } from "../../test/generators/sqlite-store.ts";
import { MapStore } from "../../test/model/map-store.ts";
import { SQLITE_LIMIT_LENGTH } from "../../wasm/constants.ts";
import { type Changeset, encodeChangeset, type Lane } from "../change/changeset.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import { hlcZero, type Site } from "../clock/stamp.ts";
import type { PeerId, StoreReply } from "../node/border.ts";
import { Digester } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { compareBytes } from "../row/value.ts";
import type { MergedRow, MergePreparation, MergeTransaction } from "../row-store.ts";
import { Replica } from "./replica.ts";

const digester = new Digester(
  (input) => Bun.SHA256.hash(input) as unknown as Uint8Array,
  new Uint8Array(32),
);
const site = "11".repeat(16) as Site;
const peer = "22".repeat(32) as PeerId;
const startMs = 1_700_000_000_000;

type AppliedReply = Extract<StoreReply, { kind: "applied" }>;

/** Rows `from` up to `from + count`, with one cell, stamped at `ms`. */
function rows(from: number, count: number, ms: number): RowState[] {
  const stamp = { ms, count: 0, site };
  return Array.from({ length: count }, (_, i) => ({
    table: "t",
    key: encodeKey([from + i]) as Uint8Array,
    clock: { ...stamp, cl: 1 },
    cells: [{ column: "a", stamp, value: ms + i }],
  }));
}

function changeset(lane: Lane, from: number, count: number, ms = startMs): Uint8Array {
  const made: Changeset = { stamp: { ms, count: 0, site }, lane, rows: rows(from, count, ms) };
  return encodeChangeset(made);
}

/** Its disk is full: for some rows, or for all. */
class FailingStore extends MapStore {
  isFullForPreparing = false;
  isFullAtBegin = false;
  failsAt: readonly Uint8Array[] = [];
  isFull = false;
  isFullAtCommit = false;
  transactions = 0;

  override beginMerge(): MergeTransaction {
    if (this.isFullAtBegin) throw new Error("disk full");
    this.transactions++;
    const transaction = super.beginMerge();
    const commit = (): MergedRow[] => {
      if (this.isFullAtCommit) throw new Error("disk full");
      return transaction.commit();
    };
    return { ...transaction, commit };
  }

  override prepareMerge(): MergePreparation {
    const prepared = super.prepareMerge();
    if (this.isFullForPreparing) {
      prepared.add = () => {
        throw new Error("disk full");
      };
    }
    return prepared;
  }

  override merge(merged: readonly RowState[]): MergedRow[] {
    const { failsAt } = this;
    const isIn = merged.some(({ key }) => failsAt.some((bad) => compareBytes(key, bad) === 0));
    if (this.isFull || isIn) throw new Error("disk full");
    return super.merge(merged);
  }
}

class World {
  readonly store = new FailingStore(digester);
  readonly clock = new HlcClock("33".repeat(16) as Site, hlcZero);
  readonly replies: StoreReply[] = [];
  /** Rows of each transaction, as listeners heard of them. */
  readonly told: number[] = [];
  readonly replica: Replica;
  nowMs = startMs;
  isTelling = false;
  #ticket = 0;

  /** @param preparedBytesMin Infinite: no changeset is worked on before its transaction. */
  constructor(sliceRows: number, preparedBytesMin = Number.POSITIVE_INFINITY) {
    this.replica = new Replica({
      store: this.store,
      clock: this.clock,
      digester,
      schema: [],
      isTelling: () => this.isTelling,
      options: { sliceRows, preparedBytesMin },
    });
    this.replica.onMerged((merged) => this.told.push(merged.length));
    this.replica.start(this.nowMs, this.replies);
    while (!this.replica.isBuilt) this.tick();
  }

  apply(lane: Lane, bodies: readonly Uint8Array[], what: "changesets" | "rows" = "changesets") {
    const ticket = this.#ticket++;
    const request = { kind: "apply", ticket, lane, peer, what, bodies } as const;
    this.replica.handle(request, this.nowMs, this.replies);
    return ticket;
  }

  tick(): void {
    this.replica.tick(this.nowMs, this.replies);
  }

  applied(ticket: number): AppliedReply | undefined {
    const isIt = (reply: StoreReply): reply is AppliedReply =>
      reply.kind === "applied" && reply.ticket === ticket;
    return this.replies.find(isIt);
  }

  drain(): void {
    while (this.replica.pollTimeout() <= this.nowMs) this.tick();
  }

  /** Of everything applied so far, as the net side is told. */
  fingerprint(): string {
    const replies: StoreReply[] = [];
    this.replica.announce(replies);
    const slot = replies.find((reply) => reply.kind === "slot");
    return slot?.kind === "slot" ? slot.live.fingerprint : "";
  }

  /** The same, of an index that is built of what is held. */
  fingerprintAtRest(): string {
    const { store, clock } = this;
    const replica = new Replica({ store, clock, digester, schema: [] });
    const replies: StoreReply[] = [];
    replica.start(this.nowMs, replies);
    while (!replica.isBuilt) replica.tick(this.nowMs, replies);
    const slot = replies.findLast((reply) => reply.kind === "slot");
    return slot?.kind === "slot" ? slot.live.fingerprint : "";
  }

  /** A local commit. */
  put(row: number): void {
    const write = { kind: "put", table: "t", key: encodeKey([row]) as Uint8Array } as const;
    const values = new Map([["a", this.nowMs]]);
    const commit = this.store.commit([{ ...write, values }], this.clock.next(this.nowMs), 1);
    this.replica.committed(commit, this.nowMs, this.replies);
  }

  get held(): number {
    return [...this.store.states()].length;
  }
}

test("small changesets are committed in slices, and answered when the last of them is", () => {
  const world = new World(64);
  const ticket = world.apply(
    1,
    Array.from({ length: 20 }, (_, i) => changeset(1, i * 10, 10)),
  );
  // What the first slice wrote lacks its COMMIT, and whoever must have the store helps it to that.
  expect(world.replica.isBusy).toBe(true);
  expect(world.told).toEqual([]);
  expect(world.replica.claim()).toBe(true);
  expect(world.applied(ticket)).toBeUndefined();
  expect(world.told).toEqual([70]);
  world.drain();
  expect(world.told).toEqual([70, 70, 60]);
  const [body] = [world.applied(ticket)];
  expect(body).toEqual({ kind: "applied", ticket, rows: 200, changed: 200, refused: [] });
});

test("a large changeset is one transaction over many slices, heard of once", () => {
  const world = new World(100);
  const ticket = world.apply(2, [changeset(2, 0, 2000)]);
  for (let slices = 0; world.replica.isBusy; slices++) {
    expect(world.applied(ticket)).toBeUndefined();
    // Listeners hear of it before the index has taken in the last of it.
    expect(world.told).toEqual(world.held === 2000 && world.told.length > 0 ? [2000] : []);
    expect(slices).toBeLessThan(100);
    world.tick();
  }
  expect(world.told).toEqual([2000]);
  expect(world.applied(ticket)).toMatchObject({ rows: 2000, changed: 2000 });
  expect(world.replica.status().rows).toBe(2000);
});

test("urgent changes roll a large one back until it has lost twice its rows; then they wait for it", () => {
  const world = new World(100);
  const large = world.apply(2, [changeset(2, 0, 2000)]);
  let applied = 0;
  let waiting: number | undefined;
  for (let lost = 0; waiting === undefined; ) {
    for (let slices = 0; slices < 14; slices++) world.tick();
    expect(world.replica.isOpen).toBe(true);
    lost += world.held - applied;
    expect(lost).toBeLessThan(2 * 2000 + 2000);
    const urgent = world.apply(0, [changeset(0, 10_000 + applied, 1)]);
    if (world.applied(urgent) === undefined) {
      waiting = urgent;
      expect(lost).toBeGreaterThan(2 * 2000);
    } else expect(world.held).toBe(++applied);
  }
  // A question waits behind it, and whoever must write doesn't wait for the question.
  world.replica.handle({ kind: "missing", ticket: 99, entries: [] }, world.nowMs, world.replies);
  const another = world.apply(0, [changeset(0, 20_000, 1)]);
  expect(world.replies.some(({ kind }) => kind === "missing")).toBe(false);
  expect(world.applied(another)).toBeUndefined();

  world.drain();
  expect(world.told).toEqual([...Array.from({ length: applied }, () => 1), 2000, 1, 1]);
  expect(world.applied(large)).toMatchObject({ rows: 2000, changed: 2000 });
  const order = world.replies.flatMap((reply) => ("ticket" in reply ? [reply.ticket] : []));
  expect(order.slice(-4)).toEqual([large, waiting, another, 99]);
});

test("a large changeset is prepared while the store is free, and what was prepared outlives a rollback", () => {
  const world = new World(100, 0);
  const large = world.apply(2, [changeset(2, 0, 5000)]);
  const isOpen = () => world.replica.isOpen;
  let slices = 1;
  for (; !isOpen(); slices++) {
    expect(world.replica.isBusy).toBe(false);
    expect(world.held).toBe(0);
    world.tick();
  }
  expect(slices).toBeGreaterThan(35);
  expect(world.replica.claim()).toBe(true);
  expect(world.held).toBe(0);
  world.tick();
  // It isn't read again.
  expect(isOpen()).toBe(true);
  while (world.held < 4500) world.tick();
  // Little is left to be written: whoever claims the store gets it with that done.
  expect(world.replica.claim()).toBe(true);
  expect(isOpen()).toBe(false);
  expect(world.told).toEqual([5000]);
  const urgent = world.apply(0, [changeset(0, 4999, 1, startMs + 1)]);
  expect(world.told).toEqual([5000, 1]);
  // The index hears of both in order.
  expect(world.applied(urgent)).toBeUndefined();
  world.drain();
  expect(world.applied(large)).toMatchObject({ rows: 5000, changed: 5000 });
  expect(world.applied(urgent)).toMatchObject({ rows: 1, changed: 1 });
  expect(world.told).toEqual([5000, 1]);
  expect(world.replica.status().rows).toBe(5000);
});

test("a prepared transaction lets others tell their news before it begins, and not for ever", () => {
  const world = new World(100, 0);
  world.isTelling = true;
  world.apply(2, [changeset(2, 0, 500)]);
  for (let slices = 0; slices < 50; slices++) world.tick();
  expect(world.replica.isOpen).toBe(false);
  world.nowMs += 50;
  world.tick();
  expect(world.replica.isOpen).toBe(true);
  expect(world.replica.claim()).toBe(true);
  for (let slices = 0; slices < 50; slices++) world.tick();
  expect(world.held).toBe(0);
  world.isTelling = false;
  world.drain();
  expect(world.told).toEqual([500]);
});

// Whatever comes, and however often.
test("a large changeset gets done beside urgent changes that never end", () => {
  for (const preparedBytesMin of [0, Number.POSITIVE_INFINITY]) {
    for (const everySlices of [1, 2, 7, 40]) {
      const world = new World(64, preparedBytesMin);
      const large = world.apply(2, [changeset(2, 0, 1000)]);
      let urgent = 0;
      let slices = 0;
      let waited = 0;
      for (; world.applied(large) === undefined; slices++) {
        // Twice its rows are lost at most, beside a slice each time; read, written and taken in it is once.
        expect(slices).toBeLessThan(8 * 16 + 3 * urgent);
        world.tick();
        if (slices % everySlices > 0) continue;
        const ticket = world.apply(0, [changeset(0, 10_000 + urgent++, 1)]);
        if (world.applied(ticket) === undefined) waited++;
      }
      expect(waited).toBeLessThan(48 / everySlices + 2);
      world.drain();
      expect(world.held).toBe(1000 + urgent);
      expect(world.told.filter((count) => count > 1)).toEqual([1000]);
    }
  }
});

test("a question takes the store from nobody, and is answered when it is free", () => {
  const world = new World(100);
  world.apply(2, [changeset(2, 0, 2000)]);
  world.tick();
  const { held } = world;
  world.replica.handle({ kind: "missing", ticket: 99, entries: [] }, world.nowMs, world.replies);
  expect([world.replica.isOpen, world.held]).toEqual([true, held]);
  expect(world.replies.some(({ kind }) => kind === "missing")).toBe(false);
  world.drain();
  expect(world.replies.slice(-2).map(({ kind }) => kind)).toEqual(["applied", "missing"]);
});

test("a question is answered, too, where an urgent change ends the work that it waits for, or that is given up", () => {
  const ends = {
    urgent: (world: World) => world.apply(0, [changeset(0, 5000, 1)]),
    given: (world: World) => world.replica.abandon(),
  };
  for (const end of Object.values(ends)) {
    const world = new World(10);
    const ticket = world.apply(1, [changeset(1, 0, 10)]);
    expect(world.replica.isBusy).toBe(true);
    world.replica.handle({ kind: "missing", ticket: 99, entries: [] }, world.nowMs, world.replies);
    end(world);
    world.drain();
    expect(world.applied(ticket)).toMatchObject({ changed: 10 });
    expect(world.replies.some(({ kind }) => kind === "missing")).toBe(true);
  }
});

test("a local write claims the store, and is told to wait when that was said too often", () => {
  const world = new World(100);
  world.apply(2, [changeset(2, 0, 2000)]);
  let claims = 0;
  for (; world.replica.claim(); claims++) {
    expect(world.held).toBe(0);
    for (let slices = 0; slices < 10; slices++) world.tick();
  }
  expect(claims).toBeGreaterThan(3);
  world.drain();
  expect(world.replica.claim()).toBe(true);
  expect(world.held).toBe(2000);
});

test("what is written here while the index takes in what came before is known to it in its turn", () => {
  const world = new World(100);
  world.apply(2, [changeset(2, 0, 2000)]);
  while (world.told.length === 0) world.tick();
  // One that came, and one that didn't.
  for (const row of [1999, 5000]) {
    expect([world.replica.isBusy, world.replica.claim()]).toEqual([true, true]);
    world.put(row);
  }
  expect(world.told).toEqual([2000, 1, 1]);
  world.drain();
  expect(world.replica.status().rows).toBe(2001);
  expect(world.fingerprint()).toBe(world.fingerprintAtRest());
  // What was said last is what it goes on from.
  world.nowMs++;
  world.put(1999);
  expect(world.fingerprint()).toBe(world.fingerprintAtRest());
});

test("what is being applied can be left at any time, and is applied later", () => {
  for (const preparedBytesMin of [0, Number.POSITIVE_INFINITY]) {
    for (let slices = 0; slices < 30; slices++) {
      const world = new World(50, preparedBytesMin);
      const ticket = world.apply(2, [changeset(2, 0, 500)]);
      for (let i = 0; i < slices; i++) world.tick();
      world.replica.abandon();
      expect([world.replica.isOpen, world.replica.isBusy]).toEqual([false, false]);
      expect([[], [500]]).toContainEqual(world.told);
      // Whatever is there the index knows.
      expect(world.replica.status().rows).toBe(world.held);
      world.drain();
      expect(world.applied(ticket)).toMatchObject({ rows: 500, changed: 500 });
      expect(world.told).toEqual([500]);
    }
  }
});

// Or rows would be counted twice: by the scan, and as they are taken in.
test("an index that is begun anew knows each row once, whatever was being applied", () => {
  const hourMs = 3_600_000;
  for (let slices = 0; slices < 18; slices++) {
    const world = new World(50);
    const ticket = world.apply(2, [changeset(2, 0, 300, startMs - hourMs)]);
    for (let i = 0; i < slices; i++) world.tick();
    // The clock was an hour ahead, and is set: the cut can't go back.
    world.nowMs -= hourMs;
    const peers = { kind: "peers", offsetsMs: [], count: 0 } as const;
    world.replica.handle(peers, world.nowMs, world.replies);
    expect(world.replica.isBusy).toBe(false);
    world.drain();
    world.nowMs += 1000;
    world.drain();
    expect(world.replica.isBuilt).toBe(true);
    expect(world.applied(ticket)).toMatchObject({ rows: 300 });
    expect(world.fingerprint()).toBe(world.fingerprintAtRest());
  }
});

test("large changesets and small ones by turns are all written by a store that prepares the large", () => {
  using node = new SqliteNode("CREATE TABLE t (k INTEGER PRIMARY KEY NOT NULL, a INTEGER)", {
    digester,
  });
  const { store, clock } = node;
  const options = { preparedBytesMin: 33_000 };
  const replica = new Replica({ store, clock, digester, schema: [], options });
  const replies: StoreReply[] = [];
  const bodies = [
    changeset(2, 0, 2000),
    changeset(2, 2000, 5),
    changeset(2, 3000, 2000),
    changeset(2, 3000, 1, startMs + 1),
  ];
  expect(bodies.map(({ length }) => length > options.preparedBytesMin)).toEqual([
    true,
    false,
    true,
    false,
  ]);
  const request = { kind: "apply", ticket: 1, lane: 2, peer, what: "changesets", bodies } as const;
  replica.start(startMs, []);
  replica.handle(request, startMs, replies);
  while (replica.pollTimeout() <= startMs) replica.tick(startMs, replies);
  expect(replies.filter(({ kind }) => kind === "applied")).toMatchObject([
    { kind: "applied", rows: 4006, changed: 4006, refused: [] },
  ]);
  expect(node.db.all("SELECT count(*), sum(k >= 2000) FROM t")).toEqual([[4005, 2005]]);
  expect(node.db.all("SELECT a FROM t WHERE k = 3000")).toEqual([[startMs + 1]]);
});

test("the store is free between any two transactions", () => {
  const world = new World(16);
  world.apply(
    1,
    Array.from({ length: 20 }, (_, i) => changeset(1, i * 40, 40)),
  );
  let free = 0;
  for (let slices = 0; world.told.length < 20; slices++) {
    expect(slices).toBeLessThan(200);
    if (!world.replica.isBusy) free++;
    world.tick();
  }
  expect(free).toBeGreaterThanOrEqual(19);
  expect(world.told).toEqual(Array.from({ length: 20 }, () => 40));
});

// Or it would differ there from peers that have applied it.
test("the cut stays below a changeset until the index knows all of it", () => {
  const world = new World(100);
  const ticket = world.apply(2, [changeset(2, 0, 2000, startMs)]);
  world.nowMs += 20_000;
  for (; world.applied(ticket) === undefined; world.tick()) {
    expect(world.replica.status().cut).toBeLessThanOrEqual(startMs / 1000);
  }
  world.drain();
  expect(world.replica.status().cut).toBe(startMs / 1000 + 15);
});

test("it stays below an urgent one, too, that the index takes in after a large one", () => {
  const world = new World(100, 0);
  world.nowMs += 3000;
  world.apply(2, [changeset(2, 0, 2000, world.nowMs)]);
  while (world.told.length === 0) world.tick();
  const urgent = world.apply(0, [changeset(0, 5000, 1, startMs)]);
  expect(world.told).toEqual([2000, 1]);
  world.nowMs += 20_000;
  for (; world.applied(urgent) === undefined; world.tick()) {
    expect(world.replica.status().cut).toBeLessThanOrEqual(startMs / 1000);
  }
  world.drain();
  expect(world.replica.status().cut).toBe(startMs / 1000 + 18);
});

test("a large changeset whose end is malformed leaves nothing", () => {
  const world = new World(100);
  const bytes = changeset(2, 0, 2000);
  const ticket = world.apply(2, [bytes.subarray(0, bytes.length - 1), changeset(2, 5000, 5)]);
  world.drain();
  expect(world.held).toBe(5);
  expect(world.applied(ticket)).toMatchObject({ rows: 5, changed: 5, refused: [{ body: 0 }] });
  expect(world.replica.status().refused).toEqual({ malformed: 1, ahead: 0, storeFailed: 0 });
});

test("one that is malformed before its first row is refused, too, however it would have been written", () => {
  for (const preparedBytesMin of [0, Number.POSITIVE_INFINITY]) {
    const world = new World(100, preparedBytesMin);
    const none = changeset(2, 0, 0);
    // Rows are promised that no bytes are there for, or bytes come after the last of none.
    const short = none.slice();
    short[short.length - 1] = 100;
    const long = new Uint8Array(100_000);
    long.set(none);
    const ticket = world.apply(2, [short, long, changeset(2, 0, 5)]);
    world.drain();
    expect(world.applied(ticket)).toMatchObject({ rows: 5, refused: [{ body: 0 }, { body: 1 }] });
    expect(world.replica.status().refused).toMatchObject({ malformed: 2, storeFailed: 0 });
    expect(world.told).toEqual([5]);
  }
});

test("a large changeset of which a row is stamped too far ahead leaves nothing", () => {
  const world = new World(100);
  const stamp = { ms: startMs, count: 0, site };
  const late = [...rows(0, 1500, startMs), ...rows(1500, 1, startMs + 3_600_000)];
  for (const made of [late, [...late, ...rows(2000, 500, startMs)]]) {
    const ticket = world.apply(2, [encodeChangeset({ stamp, lane: 2, rows: made })]);
    world.drain();
    expect(world.held).toBe(0);
    expect(world.applied(ticket)).toMatchObject({ rows: 0, refused: [{ body: 0 }] });
    expect(world.applied(ticket)?.refused).toHaveLength(1);
  }
});

// It would win over all that is said until then.
test("a row of which one cell is stamped too far ahead isn't taken, however old its life is", () => {
  const world = new World(Number.POSITIVE_INFINITY);
  const [row] = rows(0, 1, startMs) as [RowState];
  const aheadMs = startMs + 3_600_000;
  const cells = row.cells.map((cell) => ({ ...cell, stamp: { ...cell.stamp, ms: aheadMs } }));
  const made = [{ ...row, cells }];
  const stamp = { ms: startMs, count: 0, site };
  const pushed = world.apply(0, [encodeChangeset({ stamp, lane: 0, rows: made })]);
  const repaired = world.apply(1, [encodeRowBlock(made)], "rows");
  world.drain();
  expect(world.held).toBe(0);
  for (const ticket of [pushed, repaired]) {
    expect(world.applied(ticket)).toMatchObject({ rows: 0, refused: [{ body: 0 }] });
  }
  expect(world.replica.status().refused).toEqual({ malformed: 0, ahead: 2, storeFailed: 0 });
});

test("a large changeset that leaves nothing takes nothing with it that came before", () => {
  const world = new World(Number.POSITIVE_INFINITY);
  const bytes = changeset(1, 0, 2000);
  const ticket = world.apply(1, [changeset(1, 5000, 5), bytes.subarray(0, bytes.length - 1)]);
  world.drain();
  expect(world.held).toBe(5);
  expect(world.applied(ticket)).toMatchObject({ rows: 5, changed: 5, refused: [{ body: 1 }] });
});

test("of a transaction that fails only what can't be written is refused", () => {
  for (const slice of [16, Number.POSITIVE_INFINITY]) {
    const world = new World(slice);
    world.store.failsAt = [encodeKey([22]) as Uint8Array];
    const changesets = world.apply(
      1,
      [10, 20, 30].map((from) => changeset(1, from, 5)),
    );
    world.drain();
    expect(world.held).toBe(10);
    const why = "store: disk full";
    expect(world.applied(changesets)).toMatchObject({ rows: 10, refused: [{ body: 1, why }] });
    expect(world.replica.status().refused).toMatchObject({ storeFailed: 1 });
    const repaired = world.apply(2, [encodeRowBlock(rows(0, 200, startMs))], "rows");
    world.drain();
    expect(world.held).toBe(199);
    expect(world.applied(repaired)).toMatchObject({ rows: 199, refused: [{ body: 0, why }] });
  }
});

// What a host that has the column takes gladly: one that lacks it has no place for such a value.
test("a row that is too large to be held keeps no other row of repair's away", () => {
  using node = new SqliteNode("CREATE TABLE t (k INTEGER PRIMARY KEY NOT NULL)", { digester });
  node.db.limit(SQLITE_LIMIT_LENGTH, 4096);
  const { store, clock } = node;
  const replica = new Replica({ store, clock, digester, schema: [] });
  const replies: StoreReply[] = [];
  const stamp = { ms: startMs, count: 0, site };
  const block = ["x", "x", "x".repeat(5000), "x", "x"].map((value, k): RowState => {
    const key = encodeKey([k]) as Uint8Array;
    return { table: "t", key, clock: { ...stamp, cl: 1 }, cells: [{ column: "a", stamp, value }] };
  });
  const bodies = [encodeRowBlock(block)];
  replica.handle(
    { kind: "apply", ticket: 1, lane: 2, peer, what: "rows", bodies },
    startMs,
    replies,
  );
  while (replica.isBusy) replica.tick(startMs, replies);
  expect(node.db.all("SELECT k FROM t ORDER BY k")).toEqual([0, 1, 3, 4].map((k) => [k]));
  expect(replies).toMatchObject([
    { rows: 4, refused: [{ body: 0, why: expect.stringContaining("a row of table t is larger") }] },
  ]);
});

// All that stand on one damaged page. Repair brings what differs again and again, in the same order.
test("of rows many of which can't be written the others are all written at last", () => {
  for (const slice of [16, Number.POSITIVE_INFINITY]) {
    const world = new World(slice);
    const all = rows(0, 300, startMs);
    // One page, and a row on another.
    world.store.failsAt = [...all.slice(20, 80), ...all.slice(200, 201)].map(({ key }) => key);
    let times = 0;
    for (; world.held < 239; times++) {
      expect(times).toBeLessThan(12);
      const held = [...world.store.states()].map(({ key }) => key);
      const missing = all.filter(({ key }) => held.every((one) => compareBytes(one, key) !== 0));
      const before = world.store.transactions;
      world.apply(2, [encodeRowBlock(missing)], "rows");
      world.drain();
      expect(world.store.transactions - before).toBeLessThan(40);
    }
    expect(times).toBeGreaterThan(1);
  }
});

test("where no transaction can be begun all is refused, and nothing is kept for it", () => {
  for (const preparedBytesMin of [0, Number.POSITIVE_INFINITY]) {
    const world = new World(100, preparedBytesMin);
    world.store.isFullAtBegin = true;
    const bodies = [changeset(2, 0, 5), changeset(2, 5, 2000)];
    const why = "store: disk full";
    const refused = [
      { body: 0, why },
      { body: 1, why },
    ];
    const pushed = world.apply(2, bodies);
    const urgent = world.apply(0, [changeset(0, 0, 5), changeset(0, 5, 5)]);
    const repaired = world.apply(2, [encodeRowBlock(rows(0, 50, startMs))], "rows");
    world.drain();
    for (const ticket of [pushed, urgent]) {
      expect(world.applied(ticket)).toMatchObject({ rows: 0, refused });
    }
    expect(world.applied(repaired)).toMatchObject({ rows: 0, refused: [{ body: 0, why }] });
    expect([world.replica.isBusy, world.replica.keepsMany]).toEqual([false, false]);
    world.store.isFullAtBegin = false;
    const again = world.apply(2, bodies);
    world.drain();
    expect(world.applied(again)).toMatchObject({ rows: 2005, refused: [] });
  }
});

test("a large changeset that can't be prepared is refused alone", () => {
  const world = new World(100, 64 * 1024);
  world.store.isFullForPreparing = true;
  const ticket = world.apply(2, [changeset(2, 0, 5), changeset(2, 0, 5000), changeset(2, 5000, 5)]);
  world.drain();
  const why = "store: disk full";
  expect(world.applied(ticket)).toMatchObject({ rows: 10, refused: [{ body: 1, why }] });
  expect([world.held, world.replica.keepsMany]).toEqual([10, false]);
});

test("where nothing can be written not every part is tried by itself", () => {
  const world = new World(Number.POSITIVE_INFINITY);
  world.store.isFull = true;
  const repaired = world.apply(2, [encodeRowBlock(rows(0, 1000, startMs))], "rows");
  world.drain();
  expect(world.applied(repaired)).toMatchObject({ rows: 0, refused: [{ body: 0 }] });
  world.store.isFull = false;
  world.store.isFullAtCommit = true;
  const changesets = Array.from({ length: 100 }, (_, i) => changeset(1, i * 10, 10));
  const pushed = world.apply(1, changesets);
  world.drain();
  expect(world.applied(pushed)).toMatchObject({ rows: 0 });
  expect(world.applied(pushed)?.refused.map(({ body }) => body)).toEqual(
    changesets.map((_, i) => i),
  );
  expect(world.store.transactions).toBeLessThan(40);
  world.store.isFullAtCommit = false;
  world.apply(1, changesets);
  world.drain();
  expect(world.held).toBe(1000);
});

test("a body that is refused once more after a rollback is told and counted once", () => {
  const world = new World(16);
  const bodies = [changeset(1, 0, 5), new Uint8Array(1), changeset(1, 100, 60)];
  const ticket = world.apply(1, bodies);
  expect(world.replica.claim()).toBe(true);
  expect(world.held).toBe(0);
  world.drain();
  expect(world.applied(ticket)).toMatchObject({ rows: 65 });
  expect(world.applied(ticket)?.refused).toHaveLength(1);
  expect(world.replica.status().refused).toMatchObject({ malformed: 1 });
});

// Or what is written over them here would be older than they are: an older "up" would win over a newer "down".
for (const [what, preparedBytesMin] of [
  ["rows", Number.POSITIVE_INFINITY],
  ["changesets", Number.POSITIVE_INFINITY],
  ["changesets", 0],
] as const) {
  const how = preparedBytesMin === 0 ? "prepared" : "written as they are read";
  test(`the clock follows ${what} whose stamps are ahead of it, ${how}, in slices`, () => {
    const world = new World(64, preparedBytesMin);
    const aheadMs = startMs + 3000;
    const made = [...rows(0, 100, aheadMs), ...rows(100, 100, startMs)];
    const stamp = { ms: startMs, count: 0, site };
    const body =
      what === "rows" ? encodeRowBlock(made) : encodeChangeset({ stamp, lane: 2, rows: made });
    world.apply(2, [body], what);
    world.drain();
    expect(world.held).toBe(200);
    expect(world.clock.next(startMs).ms).toBe(aheadMs);
  });
}

// However it is sliced and interrupted: the same rows, the same answer for each request, the same index.
test("slices change nothing of what a merge comes to", () => {
  const body = fc.record({
    from: fc.nat(100),
    count: fc.oneof(fc.nat(20), fc.integer({ min: 80, max: 160 })),
    ms: fc.integer({ min: startMs - 1000, max: startMs }),
  });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("apply" as const), bodies: fc.array(body, { maxLength: 3 }) }),
    fc.record({ kind: fc.constant("rows" as const), bodies: fc.array(body, { maxLength: 2 }) }),
    fc.record({ kind: fc.constant("urgent" as const), bodies: fc.array(body, { maxLength: 1 }) }),
    fc.record({ kind: fc.constant("tick" as const), times: fc.nat(10) }),
    fc.record({ kind: fc.constant("claim" as const) }),
    fc.record({ kind: fc.constant("abandon" as const) }),
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 12 }),
      fc.integer({ min: 16, max: 60 }),
      fc.boolean(),
      fc.option(fc.nat(100), { nil: undefined }),
      (steps, slice, isPrepared, unwritable) => {
        const sliced = new World(slice, isPrepared ? 0 : Number.POSITIVE_INFINITY);
        const whole = new World(Number.POSITIVE_INFINITY);
        if (unwritable !== undefined) {
          for (const { store } of [sliced, whole])
            store.failsAt = [encodeKey([unwritable]) as Uint8Array];
        }
        const tickets: number[] = [];
        for (const one of steps) {
          if (one.kind === "tick") for (let i = 0; i < one.times; i++) sliced.tick();
          else if (one.kind === "claim") sliced.replica.claim();
          else if (one.kind === "abandon") sliced.replica.abandon();
          else {
            const lane = one.kind === "urgent" ? 0 : 2;
            const bodies = one.bodies.map(({ from, count, ms }) =>
              one.kind === "rows"
                ? encodeRowBlock(rows(from, count, ms))
                : changeset(lane, from, count, ms),
            );
            const what = one.kind === "rows" ? "rows" : "changesets";
            tickets.push(sliced.apply(lane, bodies, what));
            whole.apply(lane, bodies, what);
          }
        }
        sliced.drain();
        whole.drain();
        for (const ticket of tickets) {
          const [ours, theirs] = [sliced.applied(ticket), whole.applied(ticket)];
          if (ours?.kind !== "applied" || theirs?.kind !== "applied") throw new Error("unanswered");
          // What an urgent change overtook may have changed more or less.
          expect({ ...ours, changed: 0 }).toEqual({ ...theirs, changed: 0 });
        }
        const states = ({ store }: World) =>
          [...store.states()].sort((a, b) => Buffer.compare(a.key, b.key));
        expect(states(sliced)).toEqual(states(whole));
        expect(sliced.fingerprint()).toBe(whole.fingerprint());
      },
    ),
    {
      numRuns: 40,
      examples: [
        // A whole slice that waits for its COMMIT is left in the middle of its body.
        [
          [
            { kind: "rows", bodies: [{ from: 0, count: 80, ms: startMs - 1000 }] },
            { kind: "tick", times: 1 },
            { kind: "apply", bodies: [] },
            { kind: "abandon" },
          ],
          16,
          false,
          undefined,
        ],
      ],
    },
  );
}, 120_000);
