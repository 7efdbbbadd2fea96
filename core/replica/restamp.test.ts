import { expect, test } from "bun:test";
import { SqliteNode } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { MapStore } from "../../test/model/map-store.ts";
import { type Changeset, normalBytesMax } from "../change/changeset.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import { compareHlc, type Stamp } from "../clock/stamp.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import type { RowStore } from "../row-store.ts";
import { RowPace } from "./pace.ts";
import { Restamping, restampMs } from "./restamp.ts";

const nowMs = 1_764_000_000_000;
const far = nowMs + 400_000_000_000;
const limit = nowMs + restampMs;
const [own, former, other] = [siteOf(0), siteOf(1), siteOf(2)];
const isOwn = (site: string): boolean => site === own || site === former;
const at = (ms: number, site = own): Stamp => ({ ms, count: 0, site });

const keyOf = (key: string): Uint8Array => encodeKey([key]) as Uint8Array;
const sameKey = (key: Uint8Array, name: string): boolean => Bun.deepEquals(key, keyOf(name));

function storedHlc(node: SqliteNode): unknown {
  return node.db.all("SELECT hex(value) FROM patina_state WHERE name = 'hlc'")[0]?.[0];
}

function row(key: string, clock: Stamp, cells: Record<string, Stamp>, cl = 1): RowState {
  return {
    ...{ table: "t", key: keyOf(key), clock: { ...clock, cl } },
    cells: Object.entries(cells).map(([column, stamp]) => ({ column, stamp, value: "up" })),
  };
}

const rows: RowState[] = [
  row("all", at(far), { a: at(far), b: at(far + 5) }),
  row("of an earlier site", at(far, former), { a: at(far, former) }),
  // What may have been accepted stays, and what comes after it comes after it.
  row("below", at(limit), { a: at(limit), b: at(far) }),
  row("deleted", at(far), {}, 2),
  row("somebody else's cell", at(far), { a: at(far + 9, other), b: at(far) }),
  row("somebody else's row", at(far, other), { a: at(far + 9) }),
  row("sound", at(nowMs - 5), { a: at(nowMs - 5, other) }),
];

const digester = createDigester();
const sqlite = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)", { digester });
const stores: [string, RowStore, HlcClock][] = [
  ["map", new MapStore(digester), new HlcClock(own, at(far + 5))],
  ["sqlite", sqlite.store, sqlite.clock],
];

/** All of it, in slices of `rows`. */
function restamp(store: RowStore, clock: HlcClock, rows: number, between: () => void = () => {}) {
  const pace = new RowPace(rows);
  const restamping = new Restamping(store, clock, digester, { nowMs, isOwn });
  const changesets: Changeset[] = [];
  let slices = 0;
  do {
    expect(slices++).toBeLessThan(1000);
    if (slices > 1) between();
    pace.begin();
  } while (!restamping.slice(nowMs, pace, changesets));
  return { rows: restamping.rows, changesets, slices };
}

for (const [name, store, clock] of stores) {
  test(`own clocks beyond the limit get one stamp a row, all others stay: ${name}`, () => {
    clock.observe(at(far + 5));
    store.merge(rows);
    const done = restamp(store, clock, 1000);
    expect(done).toMatchObject({ rows: 6 });
    // After everything kept, and no later than that.
    const fresh = { ms: limit, count: 1, site: own };
    // As long before now as it was before the last of all.
    const before = (ms: number, site = own) => at(nowMs - ms, site);
    // What several hosts stamped together goes back by whole minutes, so that all come to the same.
    const together = (laterMs: number, site = own) => at(nowMs - 20_000 + laterMs, site);
    expect(clock.last).toEqual({ ms: limit, count: 1 });
    expect(store.read(rows)).toEqual([
      row("all", fresh, { a: fresh, b: fresh }),
      row("of an earlier site", before(5, former), { a: before(5, former) }),
      row("below", at(limit), { a: at(limit), b: fresh }),
      row("deleted", before(5), {}, 2),
      row("somebody else's cell", together(0), { a: together(9, other), b: together(0) }),
      row("somebody else's row", together(0, other), { a: together(9) }),
      row("sound", at(nowMs - 5), { a: at(nowMs - 5, other) }),
    ]);
    // Told at once; a tombstone among them is urgent.
    expect(
      done.changesets.map(({ stamp, lane, rows: told }) => [stamp, lane, told.length]),
    ).toEqual([[fresh, 0, 6]]);
    expect(restamp(store, clock, 1000)).toMatchObject({ rows: 0, changesets: [] });
  });
}

test("where it is known how far ahead the clock was, what it stamped gets its real time, row by row", () => {
  const store = new MapStore(digester);
  const clock = new HlcClock(own, at(far));
  const said = (ago: number): Stamp => at(far - ago);
  // The last peer's word came when the HLC stood at what was said 4 s ago.
  const fault = { aheadMs: far - nowMs, until: said(4000) };
  const together = (laterMs: number, site = own) => at(nowMs - 20_000 + laterMs, site);
  const meant = (ago: number): Stamp => at(nowMs - ago);
  store.merge([
    row("all", said(9000), { a: said(9000), b: said(5000) }),
    row("below", at(nowMs - 9000, other), { a: said(5000), b: at(nowMs - 2000, other) }),
    row("deleted", at(far - 5000, former), {}, 2),
    // Its own cells were said of the life before this one, which somebody else's INSERT began: b just before, by clocks
    // that nobody knows so exactly.
    row("older", at(nowMs - 4000, other), { a: said(9000), b: said(5000) }),
    // Said after that, when the clock may have been right.
    row("later", said(5000), { a: said(5000), b: at(far) }),
    row("somebody else's cell", said(5000), { a: at(far + 9, other), b: said(4000) }),
    // The last of it after the last word of a peer: by what the HLC was ahead.
    row("mixed", said(9000), { a: said(5000), b: said(2000) }),
  ]);
  const pace = new RowPace(1000);
  const restamping = new Restamping(store, clock, digester, { nowMs, isOwn, fault });
  const told: Changeset[] = [];
  do pace.begin();
  while (!restamping.slice(nowMs, pace, told));
  const fresh = { ...at(nowMs), count: 1 };
  expect([...store.states()].map(({ clock: rowClock, cells }) => [rowClock, cells])).toEqual(
    [
      row("all", meant(9000), { a: meant(9000), b: meant(5000) }),
      row("below", at(nowMs - 9000, other), { a: meant(5000), b: at(nowMs - 2000, other) }),
      row("deleted", at(nowMs - 5000, former), {}, 2),
      row("older", at(nowMs - 4000, other), { b: { ...at(nowMs - 4000), count: 1 } }),
      row("later", meant(5000), { a: meant(5000), b: fresh }),
      row("somebody else's cell", together(-5000), { a: together(9, other), b: together(-4000) }),
      row("mixed", meant(9000), { a: meant(5000), b: meant(2000) }),
    ].map(({ clock: rowClock, cells }) => [rowClock, cells]),
  );
  expect(clock.last).toEqual({ ms: nowMs, count: 1 });
  expect(told.map(({ rows: sent }) => sent.length)).toEqual([7]);
});

test("what is said before the peers tell that the clock is right makes nothing newer that was said before it", () => {
  const store = new MapStore(digester);
  const clock = new HlcClock(own, at(far));
  // The "up" was said a minute ago, and somebody else's "down" half a minute ago. The weight was set just now.
  store.merge([row("x", at(nowMs - 90_000, other), { status: at(far - 60_000), weight: at(far) })]);
  const fault = { aheadMs: far - nowMs, until: at(far - 30_000) };
  const restamping = new Restamping(store, clock, digester, { nowMs, isOwn, fault });
  const pace = new RowPace(1000);
  do pace.begin();
  while (!restamping.slice(nowMs, pace, []));
  const since = at(nowMs - 30_000, other);
  store.merge([row("x", at(nowMs - 90_000, other), { status: since, weight: since })]);
  const [state] = store.read([{ table: "t", key: keyOf("x") }]);
  expect(state?.cells.map(({ stamp }) => stamp)).toEqual([since, { ...at(nowMs), count: 1 }]);
});

test("what was said of an earlier life of a row while the clock was ahead is no newer than the life that somebody else began", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)", { digester });
  const up = row("x", at(nowMs - 90_000), { a: at(far - 9000), unknown: at(far - 9000) });
  const begun = at(nowMs - 4000, other);
  const [cell] = row("x", begun, { a: begun }, 3).cells;
  const down = { ...row("x", begun, {}, 3), cells: [{ ...cell, value: "down" } as never] };
  node.clock.observe(at(far));
  node.store.merge([up]);
  // The "up" is stamped far ahead, and wins for now.
  node.store.merge([down]);
  expect(node.table("t")).toEqual([["x", "up"]]);
  const fault = { aheadMs: far - nowMs, until: at(far) };
  const options = { nowMs, isOwn, fault };
  const restamping = new Restamping(node.store, node.clock, digester, options);
  const pace = new RowPace(1000);
  const told: Changeset[] = [];
  do pace.begin();
  while (!restamping.slice(nowMs, pace, told));
  expect(node.store.read([down])).toEqual([{ ...down, cells: [] }]);
  expect(told.flatMap(({ rows: sent }) => sent)).toEqual([{ ...down, cells: [] }]);
  expect(node.store.unshown()).toEqual([]);
  // What is shown without a clock is told to people, as long as nobody brings another.
  expect(node.store.damaged()).toEqual([
    { table: "t", key: keyOf("x"), column: "a", foundMs: nowMs },
  ]);
  // Repair brings what lost.
  node.store.merge([down]);
  expect(node.table("t")).toEqual([["x", "down"]]);
  expect(node.store.damaged()).toEqual([]);
  expect(node.strays()).toEqual([]);
});

// Else it would be shown here alone for ever: what is written as it stands there is no change.
test("a cell that stamping anew left without a clock, and that no peer has, is as it is shown once that is written again", () => {
  const columns = "(k TEXT PRIMARY KEY NOT NULL, a)";
  const schema = `CREATE TABLE t ${columns}; CREATE TABLE other ${columns}`;
  // With a rule the node notes what statements name, as an agent always does.
  const rules = { other: { urgent: "a > 9" } };
  using node = new SqliteNode(schema, { digester, nowMs, rules });
  const up = row("x", at(nowMs - 90_000), { a: at(far - 9000) });
  const begun = { ...row("x", at(nowMs - 4000, other), {}, 3), cells: [] };
  node.clock.observe(at(far));
  node.store.merge([up]);
  node.store.merge([begun]);
  const fault = { aheadMs: far - nowMs, until: at(far) };
  const restamping = new Restamping(node.store, node.clock, digester, { nowMs, isOwn, fault });
  const pace = new RowPace(1000);
  do pace.begin();
  while (!restamping.slice(nowMs, pace, []));
  expect(node.table("t")).toEqual([["x", "up"]]);
  expect(node.store.read([begun])).toEqual([begun]);
  const write = () => node.write("UPDATE t SET a = a").changeset?.rows[0]?.cells;
  // Not before peers have had time to bring theirs.
  expect(write()).toBeUndefined();
  node.nowMs += 60_000;
  expect(write()?.map(({ column, value }) => [column, value])).toEqual([["a", "up"]]);
  expect(node.store.damaged()).toEqual([]);
});

test("in slices: until the last one the clock stays ahead, here and in the file", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)", { digester });
  node.clock.observe(at(far));
  const many = Array.from({ length: 300 }, (_, i) => {
    const ahead = at(i % 2 === 0 ? far : nowMs - 1000);
    return row(`row ${i}`, ahead, { a: ahead, b: ahead });
  });
  node.store.merge(many);
  const storedMs = () => Number.parseInt(String(storedHlc(node)).slice(0, 12), 16);
  const isAhead = (state: RowState | undefined) => (state?.clock.ms ?? 0) > limit;
  let left = 150;
  const done = restamp(node.store, node.clock, 10, () => {
    expect(node.clock.last.ms).toBeGreaterThanOrEqual(far);
    expect(storedMs()).toBeGreaterThanOrEqual(far);
    const now = node.store.read(many).filter(isAhead).length;
    expect(now).toBeLessThanOrEqual(left);
    left = now;
  });
  expect(done.slices).toBeGreaterThan(5);
  expect(done.rows).toBe(150);
  expect(node.store.read(many).filter(isAhead)).toEqual([]);
  expect([node.clock.last.ms, storedMs()]).toEqual([nowMs, nowMs]);
});

class FailingStore extends MapStore {
  isFailing = true;

  override reclock(...more: Parameters<MapStore["reclock"]>): readonly boolean[] {
    if (this.isFailing) throw new Error("the disk is full");
    return super.reclock(...more);
  }
}

test("what the last slice fails to write leaves the clock ahead, and another finishes it", () => {
  const clock = new HlcClock(own, at(far));
  const store = new FailingStore(digester);
  store.merge([row("x", at(far), { a: at(far) })]);
  const restamping = new Restamping(store, clock, digester, { nowMs, isOwn });
  const pace = new RowPace(1000);
  expect(restamping.slice(nowMs, pace, [])).toBe(false);
  expect(() => restamping.slice(nowMs, pace, [])).toThrow("the disk is full");
  // Else what is written here next would be older than the row.
  expect(clock.last).toEqual({ ms: far, count: 0 });
  store.isFailing = false;
  expect(restamp(store, clock, 1000)).toMatchObject({ rows: 1 });
  expect(clock.last).toEqual({ ms: nowMs, count: 1 });
});

test("what somebody else stamped isn't told, as all come to the same; a large changeset is bulk, and of very many rows none is told", () => {
  const toldOf = (states: readonly RowState[]) => {
    const store = new MapStore(digester);
    store.merge(states);
    const { rows: done, changesets } = restamp(store, new HlcClock(own, at(far)), 100_000);
    expect(done).toBe(states.length);
    return changesets;
  };
  expect(toldOf([row("x", at(far, other), { a: at(far, other) })])).toEqual([]);
  const large = (bytes: number): RowState => {
    const { cells, ...rest } = row("x", at(far), { a: at(far) });
    return { ...rest, cells: cells.map((cell) => ({ ...cell, value: "u".repeat(bytes) })) };
  };
  const lanesOf = (bytes: number) => toldOf([large(bytes)]).map(({ lane }) => lane);
  expect([lanesOf(1000), lanesOf(normalBytesMax)]).toEqual([[1], [2]]);
  const many = Array.from({ length: 20_001 }, (_, i) => row(`${i}`, at(far), {}));
  expect(toldOf(many)).toEqual([]);
  const sent = toldOf(many.slice(1)).reduce((sum, { rows: some }) => sum + some.length, 0);
  expect(sent).toBe(20_000);
}, 60_000);

test("given up in the middle, as by a crash, it is finished by another", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)", { digester });
  node.clock.observe(at(far));
  const many = Array.from({ length: 300 }, (_, i) => row(`row ${i}`, at(far), { a: at(far) }));
  node.store.merge(many);
  const pace = new RowPace(1);
  const first = new Restamping(node.store, node.clock, digester, { nowMs, isOwn });
  while (first.rows < 100) {
    pace.begin();
    expect(first.slice(nowMs, pace, [])).toBe(false);
  }
  expect(node.clock.last).toEqual({ ms: far, count: 0 });
  const second = restamp(node.store, node.clock, 1000);
  expect(first.rows + second.rows).toBe(300);
  const stamps = node.store.read(many).map((state) => (state as RowState).clock);
  expect(Math.max(...stamps.map(({ ms }) => ms))).toBe(nowMs);
  // The second goes on after the first.
  expect(clockCount(stamps, 299)).toBeGreaterThan(clockCount(stamps, 0));
});

const clockCount = (stamps: readonly Stamp[], at: number): number => (stamps[at] as Stamp).count;

test("what is written here and merged between slices", () => {
  const store = new MapStore(digester);
  const clock = new HlcClock(own, at(far));
  store.merge(
    Array.from({ length: 300 }, (_, i) => row(`row ${i}`, at(far), { a: at(far), b: at(far) })),
  );
  const pace = new RowPace(1);
  const restamping = new Restamping(store, clock, digester, { nowMs, isOwn });
  const told: Changeset[] = [];
  const slice = () => {
    pace.begin();
    return restamping.slice(nowMs, pace, told);
  };
  while (!restamping.isWriting) slice();
  slice();
  // A client changes a row that has its new stamp, and a peer one that hasn't and one that has.
  const written = store.commit(
    [{ kind: "put", table: "t", key: keyOf("row 0"), values: new Map([["a", "down"]]) }],
    clock.next(nowMs),
  );
  restamping.committed(written.merged);
  const theirs = at(nowMs + 7, other);
  const merge = (key: string) => store.merge([row(key, theirs, { a: theirs, b: theirs })]);
  merge("row 299");
  merge("row 1");
  restamping.observe(theirs);
  while (!slice());
  const [first, second, last] = store.read(
    ["row 0", "row 1", "row 299"].map((key) => ({ table: "t", key: keyOf(key) })),
  );
  // The client's came last.
  expect(first?.cells.map(({ value }) => value)).toEqual(["down", "up"]);
  expect(first?.cells[0]?.stamp.ms).toBe(nowMs + 7);
  // The peer's came after the one and before the other.
  expect(second?.clock).toMatchObject(theirs);
  expect(last?.clock).toMatchObject({ site: own });
  expect(compareHlc(last?.clock ?? theirs, theirs)).toBeGreaterThan(0);
  expect(compareHlc(clock.last, theirs)).toBeGreaterThan(0);
  expect(clock.last.ms).toBe(nowMs + 7);
  // Both versions of the changed row were told, the later one last.
  const stamps = told.filter(({ rows: some }) => some.some(({ key }) => sameKey(key, "row 0")));
  expect(stamps.length).toBe(2);
});

test("the stored HLC is set back with the last of them, and what is shown stays", () => {
  expect(sqlite.db.all("SELECT k, a, b FROM t ORDER BY k").length).toBe(6);
  expect(Number.parseInt(String(storedHlc(sqlite)).slice(0, 12), 16)).toBe(limit);
  expect(sqlite.strays()).toEqual([]);
});
