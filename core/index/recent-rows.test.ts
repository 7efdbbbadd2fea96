import { expect, test } from "bun:test";
import fc from "fast-check";
import { siteOf } from "../../test/model/history.ts";
import { idToWords, type RowId } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import { nodeOfRange } from "./fingerprint-tree.ts";
import { longKeysBytesMax, type RecentRow, RecentRows } from "./recent-rows.ts";

/** Ids in few ranges. */
function rowOf(number: number, stampMs: number, urgent = false): RecentRow {
  return {
    id: `00${(number % 3).toString(16)}0${number.toString(16).padStart(28, "0")}` as RowId,
    ref: {
      table: `t${number % 2}`,
      key: encodeKey(["k".repeat(7 * (number % 9)), number]) as Uint8Array,
    },
    stamp: { ms: stampMs, count: 0, site: siteOf(0) },
    digest: { a: 0, b: 0, c: 0, d: number },
    urgent,
  };
}

/** All rows kept, in the order of {@link RecentRows.since}. */
function allOf(recent: RecentRows, aheadMsMax = 0, sinceMs = 0): RecentRow[] {
  const recency = { sinceMs, ownSinceMs: Number.POSITIVE_INFINITY, rowsMax: 10_000 };
  return recent.since(recency, () => false, aheadMsMax);
}

function touch(recent: RecentRows, row: RecentRow, nowMs: number): void {
  recent.touch(idToWords(row.id), row.ref, row.stamp, row.digest, row.urgent, nowMs);
}

function recall(recent: RecentRows, row: RecentRow, touchedMs: number): void {
  recent.recall(idToWords(row.id), row.ref, row.stamp, row.digest, touchedMs);
}

// The ring against a plain array of what was touched.
test("what is kept is what was touched last, by age, by number and by range", () => {
  const options = { keepMs: 100, rowsMax: 8 };
  const step = fc.record({ row: fc.nat(20), laterMs: fc.nat(30), look: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const recent = new RecentRows(options);
      let model: { row: RecentRow; atMs: number }[] = [];
      let nowMs = 1000;
      for (const { row: number, laterMs, look } of steps) {
        nowMs += laterMs;
        const row = rowOf(number, nowMs);
        // A look-up of another row just before must not matter.
        if (look) recent.get(model[0]?.row.id ?? row.id);
        touch(recent, row, nowMs);
        recent.expire(nowMs);
        model = model.filter(({ row: { id } }) => id !== row.id).concat({ row, atMs: nowMs });
        model = model.slice(-options.rowsMax).filter(({ atMs }) => atMs >= nowMs - options.keepMs);
        expect(recent.size).toBe(model.length);
        expect(allOf(recent).reverse()).toEqual(model.map(({ row: kept }) => kept));
        for (const level of [0, 3, 4]) {
          for (const range of [0x0000, 0x0010, 0x0020]) {
            const node = nodeOfRange(range, level);
            const found: RowId[] = [];
            recent.forEachIn(
              (of) => nodeOfRange(of, level) === node,
              ({ id }) => found.push(id),
            );
            const wanted = model.filter(
              ({ row: { id } }) => nodeOfRange(Number.parseInt(id.slice(0, 4), 16), level) === node,
            );
            expect(found.sort()).toEqual(wanted.map(({ row: { id } }) => id).sort());
          }
        }
      }
    }),
    { seed: 6 },
  );
}, 120_000);

// Most touches are of rows that are there: the log is full again and again of entries that don't count.
test("rows that are touched again and again push nobody out", () => {
  const draws = fc.infiniteStream(fc.nat(19));
  fc.assert(
    fc.property(draws, draws, (numbers, turns) => {
      const recent = new RecentRows({ keepMs: 1e9, rowsMax: 8 });
      let model: RecentRow[] = [];
      for (let i = 0; i < 2000; i++) {
        const number = numbers.next().value as number;
        const turn = turns.next().value as number;
        const row = rowOf(turn === 0 ? number : number % 8, i, turn % 2 === 0);
        const isThere = model.some(({ id }) => id === row.id);
        if (turn < 3) {
          recall(recent, row, 0);
          if (!isThere && model.length < 8) model.unshift({ ...row, urgent: false });
        } else {
          touch(recent, row, i);
          model = model.filter(({ id }) => id !== row.id).concat(row);
          model = model.slice(-8);
        }
        expect(recent.size).toBe(model.length);
        const found: RecentRow[] = [];
        recent.forEachIn(
          () => true,
          (one) => found.push(one),
        );
        expect(found).toEqual(model);
      }
    }),
    { seed: 7, numRuns: 3 },
  );
});

test("rows stamped since a time: urgent first, stamps ahead of their arrival included", () => {
  const recent = new RecentRows();
  touch(recent, rowOf(1, 5000), 1000);
  touch(recent, rowOf(2, 2000), 2000);
  touch(recent, rowOf(3, 3000, true), 3000);
  touch(recent, rowOf(4, 1500), 4000);
  const since = (ms: number, aheadMs: number) =>
    allOf(recent, aheadMs, ms).map(({ digest }) => digest.d);
  expect(since(2000, 1000)).toEqual([3, 1, 2]);
  expect(since(2000, 0)).toEqual([3, 2]);
  expect(since(5000, 4000)).toEqual([1]);
});

test("of the own rows those stamped earlier are named too, and of many the newest", () => {
  const recent = new RecentRows();
  for (let i = 1; i <= 6; i++) {
    const stamp = { ms: 1000 * i, count: 0, site: siteOf(i % 2) };
    touch(recent, { ...rowOf(i, 0), stamp }, 1000 * i);
  }
  const named = (ownSinceMs: number, rowsMax: number) =>
    recent
      .since({ sinceMs: 4000, ownSinceMs, rowsMax }, (site) => site === siteOf(1), 0)
      .map(({ digest }) => digest.d);
  expect(named(2000, 10)).toEqual([6, 5, 4, 3]);
  expect(named(0, 10)).toEqual([6, 5, 4, 3, 1]);
  expect(named(0, 2)).toEqual([6, 5]);
});

test("a flood of urgent rows of one site leaves those of others among the ones that are named", () => {
  const recent = new RecentRows();
  touch(
    recent,
    { ...rowOf(1, 0), urgent: true, stamp: { ms: 5000, count: 0, site: siteOf(1) } },
    5000,
  );
  for (let i = 2; i <= 50; i++) {
    const stamp = { ms: 5000 + i, count: 0, site: siteOf(2) };
    touch(recent, { ...rowOf(i, 0), urgent: true, stamp }, 5000 + i);
  }
  const recency = { sinceMs: 4000, ownSinceMs: 4000, rowsMax: 5 };
  const named = recent.since(recency, () => false, 0).map(({ digest }) => digest.d);
  expect(named).toEqual([50, 1, 49, 48, 47]);
});

test("of those that were stamped in one millisecond the last comes first", () => {
  const recent = new RecentRows();
  for (const count of [3, 1, 2]) {
    const stamp = { ms: 5000, count, site: siteOf(0) };
    touch(recent, { ...rowOf(count, 0), stamp }, 5000);
  }
  expect(allOf(recent).map(({ stamp }) => stamp.count)).toEqual([3, 2, 1]);
});

test("sites take turns also where their rows came by turns", () => {
  const recent = new RecentRows();
  for (let i = 1; i <= 60; i++) {
    const stamp = { ms: 5000 + i, count: 0, site: siteOf(i === 1 ? 1 : 2 + (i % 2)) };
    touch(recent, { ...rowOf(i, 0), urgent: true, stamp }, 5000 + i);
  }
  const recency = { sinceMs: 4000, ownSinceMs: 4000, rowsMax: 5 };
  const named = recent.since(recency, () => false, 0).map(({ digest }) => digest.d);
  expect(named).toEqual([60, 59, 1, 58, 57]);
});

test("recalled rows come before those touched, and never take their room", () => {
  const recent = new RecentRows({ keepMs: 100, rowsMax: 4 });
  touch(recent, rowOf(1, 50), 1000);
  recall(recent, rowOf(2, 40), 940);
  // It changed meanwhile: what its change said stands.
  recall(recent, rowOf(1, 30), 930);
  recall(recent, rowOf(3, 30), 920);
  touch(recent, rowOf(4, 60), 1001);
  recall(recent, rowOf(5, 20), 910);
  expect(allOf(recent, 1000).map(({ digest }) => digest.d)).toEqual([4, 1, 2, 3]);
  touch(recent, rowOf(6, 70), 1002);
  expect(recent.has(rowOf(3, 30).id)).toBe(false);
  recent.expire(1041);
  expect(allOf(recent).map(({ digest }) => digest.d)).toEqual([6, 4, 1]);
});

test("a row looked up, then forgotten and touched again is kept", () => {
  const recent = new RecentRows({ keepMs: 100, rowsMax: 8 });
  touch(recent, rowOf(1, 0), 0);
  expect(recent.get(rowOf(1, 0).id)).toBeDefined();
  recent.expire(1000);
  expect(recent.size).toBe(0);
  touch(recent, rowOf(1, 1000), 1000);
  expect(allOf(recent)).toEqual([rowOf(1, 1000)]);
  expect(recent.get(rowOf(1, 0).id)).toEqual(rowOf(1, 1000));
});

test("places are used again, and the columns grow", () => {
  const recent = new RecentRows({ keepMs: 100, rowsMax: 2000 });
  for (let i = 0; i < 5000; i++) touch(recent, rowOf(i, i), i / 100);
  expect(recent.size).toBe(2000);
  expect(allOf(recent).map(({ digest }) => digest.d)).toEqual(
    Array.from({ length: 2000 }, (_, i) => 4999 - i),
  );
  for (let i = 0; i < 5000; i++) {
    expect(recent.get(rowOf(i, i).id)).toEqual(i < 3000 ? undefined : rowOf(i, i));
    const digest = { a: 0, b: 0, c: 0, d: 0 };
    const isHere = recent.readDigest(idToWords(rowOf(i, i).id), digest);
    expect(isHere ? digest.d : undefined).toBe(i < 3000 ? undefined : i);
  }
  // A thousand in one go.
  recent.expire(145);
  expect(recent.size).toBe(1000);
  recent.expire(145);
  touch(recent, rowOf(1, 1), 146);
  expect(allOf(recent).map(({ digest }) => digest.d)).toEqual([
    ...Array.from({ length: 500 }, (_, i) => 4999 - i),
    1,
  ]);
});

// A key may have 64 KiB: of as many rows as of short ones these would be two gigabytes.
test("rows with long keys are kept within a bound of bytes, and those touched longest ago go", () => {
  const recent = new RecentRows();
  const longRow = (i: number): RecentRow => {
    const key = encodeKey(["k".repeat(60_000), i]) as Uint8Array;
    return { ...rowOf(i, i), ref: { table: "t", key } };
  };
  const kept = () => allOf(recent).map(({ digest }) => digest.d);
  touch(recent, rowOf(0, 0), 0);
  for (let i = 1; i <= 600; i++) {
    touch(recent, longRow(i), i);
    const bytes = allOf(recent).reduce((sum, { ref }) => sum + ref.key.length, 0);
    expect(bytes).toBeLessThanOrEqual(longKeysBytesMax);
  }
  const count = recent.size;
  expect(count).toBeGreaterThan(200);
  expect(kept()).toEqual(Array.from({ length: count }, (_, i) => 600 - i));
  // One that is here takes no more room, and one with a short key goes beside them.
  touch(recent, longRow(600), 601);
  touch(recent, rowOf(601, 601), 602);
  expect(recent.size).toBe(count + 1);
  recall(recent, longRow(700), 0);
  recall(recent, rowOf(701, 0), 0);
  expect(kept()).toEqual([...Array.from({ length: count + 1 }, (_, i) => 601 - i), 701]);
  // What has gone leaves its room.
  recent.expire(1e9);
  expect(recent.size).toBe(0);
  for (let i = 1; i <= count; i++) touch(recent, longRow(i), i);
  expect(recent.size).toBe(count);
});

// A member can make sites and tables up, and each look at what is recent goes through all sites.
test("of sites and tables of which no row is left nothing is kept", () => {
  const recent = new RecentRows({ keepMs: 1e9, rowsMax: 8 });
  const all: RecentRow[] = [];
  for (let i = 0; i < 200; i++) {
    const row = rowOf(i, 1000 + i);
    const [table, site] = [i % 3 === 0 ? "usual" : `t${i}`, siteOf(i % 5 === 0 ? 0 : i)];
    const changed = { ...row, ref: { ...row.ref, table }, stamp: { ...row.stamp, site } };
    touch(recent, changed, 1000 + i);
    all.push(changed);
    expect(recent.numbered).toBeLessThanOrEqual(2 * (2 * 8 + 1));
    expect(allOf(recent)).toEqual(all.slice(-8).reverse());
  }
});
