import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode, schemaOf } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
import { compareStamps, type Stamp } from "../../clock/stamp.ts";
import { isHeld, newsOf } from "../../index/clock-part.ts";
import type { ClockState } from "../../row/digest.ts";
import { encodeKey } from "../../row/key.ts";
import { type RowState, stampOfRow } from "../../row/row-state.ts";
import type { SqlValue } from "../../row/value.ts";
import type { MergedRow, QuickNews } from "../../row-store.ts";

const schema = schemaOf(
  "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT, weight INTEGER)",
);

const at = (ms: number, site = 7, count = 0): Stamp => ({ ms, count, site: siteOf(site) });

/** @param life Its causal length, and when it began. */
function row(
  k: string,
  life: { readonly cl: number; readonly ms: number },
  said: Readonly<Record<string, readonly [value: SqlValue, ms: number]>>,
): RowState {
  const cells = Object.entries(said).map(([column, [value, ms]]) => ({
    ...{ column, value, stamp: at(ms) },
  }));
  cells.sort((a, b) => (a.column < b.column ? -1 : 1));
  const key = encodeKey([k]) as Uint8Array;
  return { table: "t", key, clock: { ...at(life.ms), cl: life.cl }, cells };
}

const first = { cl: 1, ms: 1000 };
const gone = { cl: 2, ms: 2000 };
const again = { cl: 3, ms: 3000 };

function shown({ db }: SqliteNode): unknown[][] {
  return db.all("SELECT * FROM t ORDER BY k");
}

test("a row that was there before it was deleted doesn't come back, alone or among new ones", () => {
  using node = new SqliteNode(schema);
  const up = (k: string) => row(k, first, { status: ["up", 1500] });
  node.store.merge([row("a", gone, {}), row("b", gone, {})]);
  node.store.merge([up("a")]);
  expect(shown(node)).toEqual([]);
  node.store.merge([up("new"), up("newer"), up("b")]);
  expect(shown(node)).toEqual([
    ["new", "up", null],
    ["newer", "up", null],
  ]);
});

test("of a column that a life says nothing of what was said before that life counts for nothing, and what was said since does", () => {
  using node = new SqliteNode(schema);
  // Whoever began it has no column status.
  node.store.merge([row("a", again, { weight: [1, 3000] })]);
  node.store.merge([row("a", first, { status: ["up", 2900], weight: [9, 1000] })]);
  expect(shown(node)).toEqual([["a", null, 1]]);
  node.store.merge([row("a", first, { status: ["down", 3100], weight: [9, 1000] })]);
  expect(shown(node)).toEqual([["a", "down", 1]]);
});

test("a value that its column can't show is kept when another one of its row changes", () => {
  using node = new SqliteNode(schema);
  const { key, table } = row("a", first, {});
  // An INTEGER column makes a number of it.
  node.store.merge([row("a", first, { status: ["up", 1000], weight: ["5", 1000] })]);
  node.store.merge([row("a", first, { status: ["down", 1100] })]);
  const read = node.store.read([{ table, key }]);
  expect(read).toEqual([row("a", first, { status: ["down", 1100], weight: ["5", 1000] })]);
  expect(shown(node)).toEqual([["a", "down", null]]);
  // And so is one that comes later.
  node.store.merge([row("b", first, { status: ["up", 1000], weight: [4, 1000] })]);
  const later = row("b", first, { status: ["up", 1000], weight: ["6", 1100] });
  node.store.merge([later]);
  expect(node.store.read([later])).toEqual([later]);
  expect(shown(node)[1]).toEqual(["b", "up", null]);
});

test("two lives under one stamp are two writers of one identity: that is told, and the longer one stays", () => {
  using node = new SqliteNode(schema);
  node.store.merge([row("a", first, { status: ["up", 1000] })]);
  const longer = row("a", { ...first, cl: 3 }, { status: ["up", 1000] });
  const [merged] = node.store.merge([longer]);
  expect(merged?.conflict).toBe(true);
  expect(node.store.read([longer])).toEqual([longer]);
});

test("of two rows that change in turns each gets what is its own", () => {
  using node = new SqliteNode(schema);
  const said = (k: string, what: string, atMs: number) => row(k, first, { status: [what, atMs] });
  const rows = [1000, 1001, 1002, 1003, 1004].flatMap((atMs) =>
    ["a", "b"].map((k) => said(k, `${k} at ${atMs}`, atMs)),
  );
  const merged = node.store.merge(rows);
  expect(shown(node)).toEqual([
    ["a", "a at 1004", null],
    ["b", "b at 1004", null],
  ]);
  // What was before is asked for later, or never.
  const clocksOf = (one: ClockState | undefined) => one && [one.clock, one.cells];
  for (const [i, { before }] of merged.entries()) {
    expect(clocksOf(before)).toEqual(clocksOf(merged[i - 2]?.after));
  }
});

// Numbers of sites and columns are given anew then.
test.each([
  ["sites", [1, "weight", 2, "weight"]],
  ["columns", [1, "other", 1, "weight"]],
] as const)(
  "%s that a merge brought which was rolled back aren't taken for known",
  (what, [site, column, nextSite, nextColumn]) => {
    using node = new SqliteNode(schema);
    const of = (k: string, site: number, column: string): RowState => {
      const stamp = at(1000, site);
      return {
        ...row(k, first, {}),
        clock: { ...stamp, cl: 1 },
        cells: [{ column, stamp, value: 5 }],
      };
    };
    const open = node.store.beginMerge();
    open.add([of("a", 1, "weight")]);
    open.rollback();
    const rows = [of("b", site, column), of("c", nextSite, nextColumn)];
    node.store.merge(rows);
    expect(node.store.read(rows)).toEqual(rows);
    expect(shown(node)).toEqual([
      ["b", null, what === "sites" ? 5 : null],
      ["c", null, 5],
    ]);
  },
);

test("a table of any width is merged column by column", () => {
  for (const width of [29, 30, 31, 32, 33, 64, 65]) {
    const columns = Array.from({ length: width }, (_, i) => `c${String(i).padStart(2, "0")}`);
    using node = new SqliteNode(`CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${columns})`);
    const said = (some: readonly string[], atMs: number): RowState => {
      const cells = some.map((column) => ({ column, stamp: at(atMs), value: `${column} ${atMs}` }));
      return { ...row("a", first, {}), cells };
    };
    node.store.merge([said(columns, 1000)]);
    const some = columns.filter((_, i) => i % 3 === 2);
    node.store.merge([said(some, 1001)]);
    const wanted = columns.map((column, i) => `${column} ${i % 3 === 2 ? 1001 : 1000}`);
    expect(shown(node)).toEqual([["a", ...wanted]]);
  }
});

const ms = fc.constantFrom(1000, 1001, 2000, 3000);
const stamp = fc.tuple(ms, fc.nat(1), fc.nat(1)).map(([one, site, count]) => at(one, site, count));
const anyRow = fc
  .record({
    ...{ k: fc.constantFrom("a", "b"), cl: fc.constantFrom(1, 1, 1, 3) },
    ...{ born: stamp, says: fc.array(stamp, { maxLength: 2 }) },
  })
  .map(({ k, cl, born, says }): RowState => {
    const cells = says.map((said, i) => {
      const value = `${said.ms} ${said.count} ${said.site}`;
      return { column: ["status", "weight"][i] as string, stamp: said, value };
    });
    const isOf = (said: Stamp) => compareStamps(said, born) >= 0;
    const clock = { ...born, cl };
    return { ...row(k, { ms: 0, cl }, {}), clock, cells: cells.filter((one) => isOf(one.stamp)) };
  });

/** As whoever is told only of clocks finds it out. */
function plainNews({ incoming, before, after }: MergedRow): QuickNews {
  const news = newsOf(incoming, before);
  const stamps = [...(news?.cells.map(({ stamp }) => stamp) ?? [])];
  const times = [...stamps, ...(news?.clock === undefined ? [] : [news.clock])].map(
    (one) => one.ms,
  );
  const isNewsHeld = isHeld(news, after);
  return { msMin: Math.min(...times), msMax: Math.max(...times), isHeld: isNewsHeld };
}

// By it the settled image knows which cuts a row that came late, or lost, belongs to: hosts would differ in what they compare.
test("what the quick way says of a row's news, and of its latest stamp, is what its clocks say", () => {
  let quick = 0;
  fc.assert(
    fc.property(
      fc.array(anyRow, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      (rows, prepares) => {
        using node = new SqliteNode(schema);
        const tell = (merged: readonly MergedRow[]) => {
          for (const one of merged) {
            if (one.quickNews === undefined) continue;
            quick++;
            expect(one.quickNews).toEqual(plainNews(one));
            const { ms: latestMs, count, site } = stampOfRow(one.after);
            expect(one.after.largestStamp?.() ?? stampOfRow(one.after)).toMatchObject({
              ...{ ms: latestMs, count, site },
            });
          }
        };
        for (const one of rows) {
          if (!prepares) tell(node.store.merge([one]));
          else {
            const prepared = node.store.prepareMerge();
            prepared.add([one]);
            prepared.finish();
            const open = node.store.beginMerge();
            open.addPrepared(prepared, 0, 1);
            tell(open.commit());
            prepared.end();
          }
        }
      },
    ),
    { numRuns: 100 },
  );
  expect(quick).toBeGreaterThan(100);
}, 120_000);

// Two writers may have one identity (a copied file): then stamps are equal that were given apart.
test("of a column that a life says nothing of, what was said before it began is lost, and what has its very stamp is kept", () => {
  using node = new SqliteNode(schema);
  node.store.merge([row("x", again, { status: ["down", 3000] })]);
  const merged = [2999, 3000, 3001].map((ms) => {
    const [told] = node.store.merge([row("x", first, { status: ["up", 2999], weight: [ms, ms] })]);
    return [told?.changed, shown(node)];
  });
  expect(merged).toEqual([
    [false, [["x", "down", null]]],
    [true, [["x", "down", 3000]]],
    [true, [["x", "down", 3001]]],
  ]);
});
