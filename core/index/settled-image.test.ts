import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  act,
  createDigester,
  type History,
  keyOf,
  runHistory,
  siteOf,
  startMs,
} from "../../test/model/history.ts";
import { MapStore } from "../../test/model/map-store.ts";
import type { Changeset } from "../change/changeset.ts";
import { compareRowClocks, type RowClock } from "../clock/row-clock.ts";
import { compareStamps } from "../clock/stamp.ts";
import {
  type CellClock,
  type ClockState,
  idToWords,
  type RowId,
  rangeOfRow,
} from "../row/digest.ts";
import { RowColumns } from "../row/row-columns.ts";
import type { MergedRow, QuickNews } from "../row-store.ts";
import { isHeld, newsOf } from "./clock-part.ts";
import { FingerprintTree } from "./fingerprint-tree.ts";
import { shardCount } from "./range-sums.ts";
import { RowIndex } from "./row-index.ts";
import { askableCuts, cutAt } from "./settled-image.ts";

const digester = createDigester();

/** A replica as far as the image goes, and every clock it was ever told. */
class Observer {
  readonly store = new MapStore(digester);
  readonly index: RowIndex;
  readonly known = new Map<RowId, ClockState[]>();
  #heard = 0;

  constructor(cut: number) {
    // Of most rows the digest before a change is found in the image, or is computed.
    this.index = new RowIndex(digester, cut, { keepMs: 600_000, rowsMax: 2 });
    this.index.finishRebuild();
  }

  hear(changesets: readonly Changeset[], nowMs: number): void {
    const before = JSON.stringify(this.index.image.roots());
    this.index.image.takeChanged();
    for (const row of this.store.merge(changesets.flatMap(({ rows }) => rows))) {
      // A store says of some rows what of them is news, and leaves it to the index with others.
      const quickNews = this.#heard++ % 2 === 0 ? quickNewsOf(row) : undefined;
      this.index.merged({ ...row, quickNews }, false, false, nowMs);
      const states = this.known.get(row.id) ?? [];
      states.push(row.incoming);
      this.known.set(row.id, states);
    }
    // Else peers are answered with the root before, and compare what isn't there any more.
    if (JSON.stringify(this.index.image.roots()) !== before) {
      expect(this.index.image.takeChanged()).toBe(true);
    }
  }

  /** The definition: per row the join of all clocks known with stamp ≤ C. */
  naiveTree(cut: number): FingerprintTree {
    const tree = new FingerprintTree();
    for (const [id, states] of this.known) {
      let clock: RowClock | undefined;
      const cells = new Map<string, CellClock>();
      for (const state of states) {
        if (state.clock.ms >= cut * 1000) continue;
        if (clock === undefined || compareRowClocks(state.clock, clock) > 0) clock = state.clock;
        for (const cell of state.cells) {
          const held = cells.get(cell.column);
          if (cell.stamp.ms >= cut * 1000) continue;
          if (held === undefined || compareStamps(cell.stamp, held.stamp) > 0) {
            cells.set(cell.column, cell);
          }
        }
      }
      if (clock === undefined) continue;
      const kept = [...cells.values()]
        .filter((cell) => compareStamps(cell.stamp, clock as RowClock) >= 0)
        .sort((a, b) => (a.column < b.column ? -1 : 1));
      tree.add(rangeOfRow(id), digester.rowDigest(id, { clock, cells: kept }));
    }
    return tree;
  }

  expectNaive(): void {
    const { image } = this.index;
    for (const { cut, rows, fingerprint } of image.roots()) {
      const naive = this.naiveTree(cut);
      expect({ cut, rows, fingerprint }).toEqual({
        cut,
        rows: naive.rows(0, 0),
        fingerprint: naive.fingerprint(0, 0),
      });
      for (let level = 0; level < 4; level++) {
        const nodes = [...this.known.keys()].map((id) => rangeOfRow(id) >>> (4 * (4 - level)));
        expect(image.childFingerprints(cut, level, nodes)).toEqual(
          nodes.flatMap((node) => naive.childFingerprints(level, node)),
        );
      }
    }
  }
}

/** As `core/store/merge/quick-merge.ts` tells it. */
function quickNewsOf({ incoming, before, after, conflict }: MergedRow): QuickNews | undefined {
  if (before === undefined || conflict) return undefined;
  const news = newsOf(incoming, before);
  const stamps = [news?.clock, ...(news?.cells ?? []).map(({ stamp }) => stamp)];
  const ms = stamps.flatMap((stamp) => (stamp === undefined ? [] : [stamp.ms]));
  return { msMin: Math.min(...ms), msMax: Math.max(...ms), isHeld: isHeld(news, after) };
}

/** How the changesets of a history reach one observer. */
interface Delivery {
  /** Sort keys: the order. */
  readonly order: readonly number[];
  /** Delivered twice when the number is even. */
  readonly twice: readonly number[];
  /** The store's HLC moves on by this before each. */
  readonly pausesMs: readonly number[];
  /** Delivered with the one before, in one transaction, when the number is even. */
  readonly joined: readonly number[];
  /** Pieces of the cut under way that are worked before each; all of them above {@link piecesMax}. */
  readonly pieces: readonly number[];
}

/** Two and a half cuts. */
const piecesMax = 5 * shardCount;

function delivery(): fc.Arbitrary<Delivery> {
  const numbers = fc.array(fc.nat(1000), { minLength: 60, maxLength: 60 });
  return fc.record({
    order: numbers,
    twice: numbers,
    // Long ones let rows settle, so that what comes then finds nothing kept of them.
    pausesMs: fc.array(fc.oneof(fc.nat(20), fc.nat(1500), fc.nat(4000)), {
      minLength: 60,
      maxLength: 60,
    }),
    joined: numbers,
    pieces: fc.array(fc.nat(2 * piecesMax), { minLength: 60, maxLength: 60 }),
  });
}

function deliver(history: History, how: Delivery, checkAlways: boolean): Observer {
  const numberAt = (numbers: readonly number[], i: number) => numbers[i % numbers.length] as number;
  const queue = history.changesets
    .flatMap((changeset, i) =>
      numberAt(how.twice, i) % 2 === 0 ? [changeset, changeset] : [changeset],
    )
    .map((changeset, i) => ({ changeset, at: numberAt(how.order, i) }))
    .sort((a, b) => a.at - b.at);
  let nowMs = startMs + 2000;
  const observer = new Observer(cutAt(nowMs));
  let batch: Changeset[] = [];
  queue.forEach(({ changeset }, i) => {
    nowMs += numberAt(how.pausesMs, i);
    observer.index.image.aim(cutAt(nowMs));
    let pieces = numberAt(how.pieces, i);
    if (pieces > piecesMax) pieces = Number.POSITIVE_INFINITY;
    if (pieces > 0) observer.index.image.work(() => --pieces <= 0);
    batch.push(changeset);
    if (numberAt(how.joined, i) % 2 === 0 && i + 1 < queue.length) return;
    observer.hear(batch, nowMs);
    batch = [];
    if (checkAlways) observer.expectNaive();
  });
  return observer;
}

test("the image at every askable cut is the join of all clocks known up to it, at any moment", () => {
  fc.assert(
    fc.property(fc.array(act(), { maxLength: 40 }), delivery(), (acts, how) => {
      const history = runHistory(acts);
      const observer = deliver(history, how, true);
      while (observer.index.image.oldestCut <= cutAt(history.endMs) + 5) {
        observer.index.image.advance(observer.index.image.cut + 1);
        observer.expectNaive();
      }
      // The last delivery may have left the oldest cut half let go of.
      observer.index.image.work(() => false);
      // Everything has settled: the image is the live state, and nothing is kept for it.
      expect(observer.index.image.roots()[0]?.fingerprint).toBe(
        observer.index.live.fingerprint(0, 0),
      );
      expect(observer.index.image.touchedRows).toBe(0);
      // No slot is kept either, or a clock that jumps would be followed second by second.
      let pieces = 0;
      observer.index.image.aim(observer.index.image.cut + 100_000);
      observer.index.image.work(() => ++pieces < 0);
      expect(pieces).toBeLessThan(100 * shardCount);
    }),
    { seed: 1, numRuns: 120 },
  );
}, 120_000);

// What a registry does whose services say again and again how they are: images of a row at many cuts at once.
test("the same where rows change second after second, and some changes come late", () => {
  const changes = fc.array(
    fc.record({
      put: fc.record({
        kind: fc.constant("put" as const),
        site: fc.oneof(
          { weight: 9, arbitrary: fc.constant(0) },
          { weight: 1, arbitrary: fc.nat(1) },
        ),
        row: fc.nat(3),
        column: fc.constantFrom("x", "y"),
        value: fc.nat(1000),
        laterMs: fc.nat(500),
      }),
      lateMs: fc.oneof(
        { weight: 12, arbitrary: fc.constant(0) },
        { weight: 2, arbitrary: fc.nat(1500) },
        { weight: 1, arbitrary: fc.nat(14_000) },
      ),
    }),
    { minLength: 60, maxLength: 120, size: "max" },
  );
  fc.assert(
    fc.property(changes, (all) => {
      const { changesets } = runHistory(all.map(({ put }) => put));
      const arrivals = changesets
        .map((changeset, i) => ({ changeset, atMs: changeset.stamp.ms + (all[i]?.lateMs ?? 0) }))
        .sort((a, b) => a.atMs - b.atMs);
      const observer = new Observer(cutAt(startMs));
      for (const [i, { changeset, atMs }] of arrivals.entries()) {
        observer.index.image.advance(cutAt(atMs));
        observer.hear([changeset], atMs);
        if (i % 12 === 0) observer.expectNaive();
      }
      observer.expectNaive();
      const settledMs = (arrivals.at(-1)?.atMs ?? startMs) + 20_000;
      observer.index.image.advance(cutAt(settledMs));
      observer.expectNaive();
      expect(observer.index.image.touchedRows).toBe(0);
    }),
    { seed: 3, numRuns: 20 },
  );
}, 120_000);

test("two nodes that know the same clocks have the same image at every common cut", () => {
  let compared = 0;
  fc.assert(
    fc.property(
      fc.array(act(), { minLength: 5, maxLength: 50 }),
      delivery(),
      delivery(),
      (acts, one, other) => {
        const history = runHistory(acts);
        const a = deliver(history, one, false).index.image;
        const b = deliver(history, other, false).index.image;
        for (let i = 0; i < 2 * askableCuts; i++) {
          const roots = new Map(b.roots().map((root) => [root.cut, root]));
          for (const root of a.roots()) {
            const theirs = roots.get(root.cut);
            if (theirs === undefined) continue;
            compared++;
            expect(theirs).toEqual(root);
          }
          if (a.cut <= b.cut) a.advance(a.cut + 1);
          else b.advance(b.cut + 1);
        }
      },
    ),
    { seed: 2, numRuns: 300 },
  );
  expect(compared).toBeGreaterThan(1000);
}, 120_000);

test("a clock that the live row has overtaken still enters the cuts it belongs to", () => {
  const at = (ms: number, site: number) => ({ ms: startMs + ms, count: 0, site: siteOf(site) });
  const row = { table: "t", key: keyOf(1) };
  const born: RowClock = { ...at(0, 0), cl: 1 };
  const state = (ms: number, site: number, value: string) => ({
    ...row,
    clock: born,
    cells: [{ column: "status", stamp: at(ms, site), value }],
  });
  const changeset = (rows: Changeset["rows"], ms: number): Changeset => ({
    stamp: at(ms, 0),
    lane: 1,
    rows,
  });
  const up = changeset([state(100, 1, "up")], 100);
  const down = changeset([state(2100, 0, "down")], 2100);
  // One hears them in order, the other hears of "up" when "down" is already there: its live row drops it.
  const a = new Observer(cutAt(startMs + 5000));
  a.hear([up], 0);
  a.hear([down], 0);
  const b = new Observer(cutAt(startMs + 5000));
  b.hear([down], 0);
  b.hear([up], 0);
  for (let i = 0; i < 5; i++) {
    a.index.image.advance(a.index.image.cut + 1);
    b.index.image.advance(b.index.image.cut + 1);
  }
  expect(b.index.image.roots()).toEqual(a.index.image.roots());
  expect(new Set(a.index.image.roots().map(({ fingerprint }) => fingerprint)).size).toBe(2);
});

test("a clock older than every cut enters them all, and those to come", () => {
  const at = (ms: number) => ({ ms: startMs + ms, count: 0, site: siteOf(0) });
  const known = (xMs: number, yMs: number): Changeset => ({
    stamp: at(yMs),
    lane: 1,
    rows: [
      {
        table: "t",
        key: keyOf(1),
        clock: { ...at(0), cl: 1 },
        cells: [
          { column: "x", stamp: at(xMs), value: xMs },
          { column: "y", stamp: at(yMs), value: yMs },
        ],
      },
    ],
  });
  const observer = new Observer(cutAt(startMs + 14_000));
  // Two slots ahead of the cut, the first of them closed by the second; then x from behind all cuts.
  observer.hear([known(0, 10_000)], 0);
  observer.hear([known(0, 20_000)], 0);
  observer.hear([known(1000, 1000)], 0);
  for (let i = 0; i < 20; i++) {
    observer.expectNaive();
    observer.index.image.advance(observer.index.image.cut + 1);
  }
});

test("clocks that a scrub takes away leave the images, at cuts that are made and at those to come", () => {
  for (const sinceMs of [0, 3000, 8000]) {
    const observer = new Observer(cutAt(startMs));
    const id = digester.rowId("t", keyOf(0));
    const at = (laterMs: number) => ({ ms: startMs + laterMs, count: 0, site: siteOf(0) });
    const cell = (column: string, laterMs: number): CellClock => {
      return { column, stamp: at(laterMs), hash: digester.valueHash(column) };
    };
    const clock = { ...at(0), cl: 1 };
    const whole: ClockState = { clock, cells: [cell("x", 500), cell("y", 0)] };
    const damaged: ClockState = { clock, cells: [cell("y", 0)] };
    const become = (before: ClockState | undefined, after: ClockState, nowMs: number) => {
      const ref = { table: "t", key: keyOf(0), id, words: idToWords(id) };
      const news = { incoming: after, conflict: false, quickNews: undefined, changed: true };
      observer.index.merged({ ...ref, ...news, before, after }, false, false, nowMs);
    };
    become(undefined, { clock, cells: [cell("y", 0)] }, startMs);
    become({ clock, cells: [cell("y", 0)] }, whole, startMs + 500);
    observer.index.image.advance(cutAt(startMs + sinceMs));
    become(whole, damaged, startMs + sinceMs);
    const { live, image } = observer.index;
    image.advance(cutAt(startMs + 10_000));
    expect(image.roots()[0]?.fingerprint).toBe(live.fingerprint(0, 0));
    // A peer's copy comes, and is older than every cut by then.
    image.advance(cutAt(startMs + 30_000));
    become(damaged, whole, startMs + 30_000);
    expect(image.roots().map(({ fingerprint }) => fingerprint)).toEqual(
      new Array(askableCuts).fill(live.fingerprint(0, 0)),
    );
    const built = new FingerprintTree();
    built.add(rangeOfRow(id), digester.rowDigest(id, whole));
    expect(live.fingerprint(0, 0)).toBe(built.fingerprint(0, 0));
  }
});

test("clocks that a scrub takes away leave the images of all slots that had them, and what was there before stays", () => {
  const id = digester.rowId("t", keyOf(0));
  const at = (laterMs: number) => ({ ms: startMs + laterMs, count: 0, site: siteOf(0) });
  const cell = (column: string, laterMs: number): CellClock => {
    return { column, stamp: at(laterMs), hash: digester.valueHash(laterMs) };
  };
  const stateOf = (...cells: CellClock[]): ClockState => ({ clock: { ...at(0), cl: 1 }, cells });
  const [first, second, third] = [
    stateOf(cell("x", 500), cell("y", 500)),
    stateOf(cell("x", 1500), cell("y", 500)),
    stateOf(cell("x", 1500), cell("y", 3500)),
  ];
  const damaged = stateOf(cell("y", 3500));
  const fingerprintOf = (state: ClockState) => {
    const tree = new FingerprintTree();
    tree.add(rangeOfRow(id), digester.rowDigest(id, state));
    return tree.fingerprint(0, 0);
  };
  for (const sinceMs of [4000, 8000, 9500]) {
    const { index } = new Observer(cutAt(startMs));
    const { image } = index;
    let before: ClockState | undefined;
    const become = (after: ClockState, nowMs: number) => {
      const ref = { table: "t", key: keyOf(0), id, words: idToWords(id) };
      const news = { incoming: after, conflict: false, quickNews: undefined, changed: true };
      index.merged({ ...ref, ...news, before, after }, false, false, nowMs);
      before = after;
    };
    become(first, startMs + 500);
    become(second, startMs + 1500);
    become(third, startMs + 3500);
    image.advance(cutAt(startMs + sinceMs));
    become(damaged, startMs + sinceMs);
    for (let i = 0; i < 12; i++) {
      for (const { cut, rows, fingerprint } of image.roots()) {
        const coveredMs = cut * 1000 - startMs;
        const wanted =
          coveredMs > 3500 ? damaged : coveredMs > 1500 ? stateOf(cell("y", 500)) : first;
        expect(rows).toBe(coveredMs > 500 ? 1 : 0);
        if (rows > 0) expect(fingerprint).toBe(fingerprintOf(wanted));
      }
      image.advance(image.cut + 1);
    }
  }
});

test("only the newest cut and four before it can be asked for, while the next is being made, too", () => {
  const { image } = new Observer(cutAt(startMs + 5000)).index;
  const newest = image.cut;
  const asked = () =>
    [-5, -4, 0, 1, 2].map((by) => {
      const isAskable = image.isAskable(newest + by);
      expect(image.childFingerprints(newest + by, 0, [0]) !== undefined).toBe(isAskable);
      return isAskable;
    });
  expect(asked()).toEqual([false, true, true, false, false]);
  image.aim(newest + 1);
  image.work(() => true);
  expect(asked()).toEqual([false, true, true, false, false]);
  image.work(() => false);
  expect(asked()).toEqual([false, false, true, true, false]);
  // No cut covers anything before 1970.
  const first = new Observer(1).index.image;
  expect([-1, 0, 1, 2].map((cut) => first.isAskable(cut))).toEqual([false, false, true, false]);
  expect(first.roots().map(({ cut }) => cut)).toEqual([1]);
});

test("what comes late of a row that a rebuild has met enters the cuts before it", () => {
  const at = (ms: number) => ({ ms: startMs + ms, count: 0, site: siteOf(0) });
  const life = (ms: number, cl: number): Changeset => ({
    stamp: at(ms),
    lane: 1,
    rows: [{ table: "t", key: keyOf(1), clock: { ...at(ms), cl }, cells: [] }],
  });
  const [old, now] = [life(1000, 1), life(10_000, 3)];
  const heard = new Observer(cutAt(startMs + 14_000));
  heard.hear([old], 0);
  heard.hear([now], 0);

  const store = new MapStore(digester);
  const rebuilt = new RowIndex(digester, cutAt(startMs + 14_000));
  const [row] = store.merge(now.rows) as [MergedRow];
  const columns = new RowColumns(1);
  columns.count = 1;
  columns.ids.set(Buffer.from(row.id, "hex"));
  const { a, b, c, d } = digester.rowDigest(row.id, row.after);
  columns.digests.set([a, b, c, d]);
  columns.stampMs[0] = row.after.clock.ms;
  rebuilt.scannedDigests(columns);
  rebuilt.finishRebuild();
  const [late] = store.merge(old.rows) as [MergedRow];
  rebuilt.merged({ ...late, quickNews: quickNewsOf(late) }, false, true, 0);
  for (let i = 0; i < 8; i++) {
    expect(rebuilt.image.roots()).toEqual(heard.index.image.roots());
    for (const { image } of [rebuilt, heard.index]) image.advance(image.cut + 1);
  }
});

/** One row's clock and some of its cells, as a frame tells them. */
function known(cl: number, bornMs: number, cells: Record<string, number>): Changeset {
  const at = (ms: number) => ({ ms: startMs + ms, count: 0, site: siteOf(0) });
  return {
    stamp: at(bornMs),
    lane: 1,
    rows: [
      {
        table: "t",
        key: keyOf(1),
        clock: { ...at(bornMs), cl },
        cells: Object.entries(cells).map(([column, ms]) => ({ column, stamp: at(ms), value: ms })),
      },
    ],
  };
}

test("of cells that come late those older than the row's new life are lost, and those beside them aren't", () => {
  const observer = new Observer(cutAt(startMs + 9000));
  observer.hear([known(1, 0, {})], 0);
  observer.hear([known(3, 5500, {})], 0);
  observer.hear([known(3, 5500, { c: 7500 })], 0);
  observer.hear([known(1, 0, { a: 5100, b: 5600 })], 0);
  for (let i = 0; i < 12; i++) {
    observer.expectNaive();
    observer.index.image.advance(observer.index.image.cut + 1);
  }
});

test("a row that comes in pieces, all under one stamp, is whole at cuts that were made before", () => {
  const observer = new Observer(cutAt(startMs + 9000));
  observer.hear([known(1, 2500, { b: 2500 })], 0);
  // It changes between them: its image at those cuts isn't the row as it is.
  observer.hear([known(1, 2500, { z: 7500 })], 0);
  for (const column of ["a", "c"]) observer.hear([known(1, 2500, { [column]: 2500 })], 0);
  for (let i = 0; i < 8; i++) {
    observer.expectNaive();
    observer.index.image.advance(observer.index.image.cut + 1);
  }
});

test("two values under one stamp: the image takes the one the live row took", () => {
  const at = (ms: number) => ({ ms: startMs + ms, count: 0, site: siteOf(0) });
  const changeset = (value: string, yMs: number): Changeset => ({
    stamp: at(yMs),
    lane: 1,
    rows: [
      {
        table: "t",
        key: keyOf(1),
        clock: { ...at(0), cl: 1 },
        cells: [
          // Another cell with this stamp, which has nothing to do with it.
          { column: "w", stamp: at(0), value: 1 },
          { column: "x", stamp: at(0), value },
          { column: "y", stamp: at(yMs), value: 1 },
        ],
      },
    ],
  });
  // Whatever order the hashes of two values have, some of these pairs have the other one.
  for (const larger of ["b", "c", "d", "e", "f", "g", "h", "i"]) {
    const [model, ...observers] = [[larger], ["a", larger], [larger, "a"], ["a", larger, "a"]].map(
      (values) => {
        const observer = new Observer(cutAt(startMs + 5000));
        // The row changes again after these, so that its image isn't the live row.
        for (const value of values) observer.hear([changeset(value, 20_000)], 0);
        observer.index.image.advance(cutAt(startMs + 8000));
        return observer.index.image.roots();
      },
    );
    for (const roots of observers) expect(roots).toEqual(model as typeof roots);
    expect(model?.[0]?.rows).toBe(1);
  }
});

test("while a cut is being made the five before it can be asked for, whatever comes in between", () => {
  const observer = new Observer(cutAt(startMs + 5000));
  const { image } = observer.index;
  const at = (ms: number) => ({ ms: startMs + ms, count: 0, site: siteOf(0) });
  const rowsAt = (ms: number, from: number, to: number): Changeset => ({
    stamp: at(ms),
    lane: 1,
    rows: Array.from({ length: to - from }, (_, i) => ({
      table: "t",
      key: keyOf(from + i),
      clock: { ...at(ms), cl: 1 },
      cells: [{ column: "x", stamp: at(ms), value: ms }],
    })),
  });
  observer.hear([rowsAt(100, 0, 300)], 0);
  observer.hear([rowsAt(1100, 200, 400)], 0);
  const before = image.cut;
  image.aim(before + 1);
  const cuts = new Set<number>();
  for (let piece = 0; image.hasWork; piece++) {
    image.work(() => true);
    // Late ones: some shards are ahead, others not.
    observer.hear([rowsAt(200 + piece, 2 * piece, 2 * piece + 1)], 0);
    if (piece % 16 === 0) observer.expectNaive();
    expect(image.roots()).toHaveLength(askableCuts);
    cuts.add(image.cut);
  }
  expect([...cuts]).toEqual([before, before + 1]);
  observer.expectNaive();
});

test("a clock that jumps over years makes the cut jump with it", () => {
  const observer = new Observer(cutAt(startMs));
  const stamp = { ms: startMs, count: 0, site: siteOf(0) };
  const rows = [{ table: "t", key: keyOf(1), clock: { ...stamp, cl: 1 }, cells: [] }];
  observer.hear([{ stamp, lane: 1, rows }], startMs);
  const later = cutAt(startMs) + 1_000_000_000;
  observer.index.image.takeChanged();
  observer.index.image.aim(later);
  observer.index.image.work(() => true);
  // All roots are others already.
  expect(observer.index.image.takeChanged()).toBe(true);
  observer.index.image.advance(later);
  expect(observer.index.image.cut).toBe(later);
  expect(observer.index.image.roots().map(({ rows }) => rows)).toEqual([1, 1, 1, 1, 1]);
});
