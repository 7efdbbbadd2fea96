import { expect, test } from "bun:test";
import { type Site, siteOfHex } from "../../core/clock/stamp.ts";
import type { MergedRow } from "../../core/row-store.ts";
import { changedTables, concerns, tableChanges } from "./table-changes.ts";

const [one, two] = ["01", "02"].map((hex) => siteOfHex(hex.repeat(16))) as [Site, Site];

type Cells = Record<string, readonly [ms: number, hash: number, site?: Site, low?: number]>;

function state(ms: number, cl: number, cells: Cells, site = one): MergedRow["after"] {
  return {
    clock: { ms, count: 0, site, cl },
    cells: Object.entries(cells).map(([column, [cellMs, high, cellSite = one, low = 0]]) => ({
      column,
      stamp: { ms: cellMs, count: 0, site: cellSite },
      hash: { high, low },
    })),
  } as unknown as MergedRow["after"];
}

function merged(
  before: MergedRow["after"] | undefined,
  after: MergedRow["after"],
  changed = true,
): MergedRow {
  return { table: "t", key: new Uint8Array([1]), before, after, changed } as unknown as MergedRow;
}

const nothing = { tables: new Set<string>(), moved: new Set<string>() };

function columnsOf(row: MergedRow, local?: typeof nothing): string[] | "any" | undefined {
  const rows = tableChanges([row], local, (table) => table === "t").get("t");
  if (rows === undefined || rows === "unknown") return undefined;
  const columns = rows[0]?.columns;
  return columns === undefined ? "any" : [...columns].sort();
}

const base = state(1, 1, { a: [1, 10], b: [1, 20], c: [1, 30] });

test.each<[string, MergedRow["after"], string[] | "any"]>([
  ["a value", state(1, 1, { a: [1, 10], b: [2, 21], c: [1, 30] }), ["b"]],
  ["only a stamp", state(1, 1, { a: [2, 10], b: [1, 20], c: [1, 30] }), ["a"]],
  ["only a stamp's site", state(1, 1, { a: [1, 10], b: [1, 20], c: [1, 30, two] }), ["c"]],
  ["a value under the same stamp", state(1, 1, { a: [1, 11], b: [1, 20], c: [1, 30] }), ["a"]],
  ["the other half of a hash", state(1, 1, { a: [1, 10, one, 1], b: [1, 20], c: [1, 30] }), ["a"]],
  ["two", state(1, 1, { a: [2, 11], b: [1, 20], c: [2, 31] }), ["a", "c"]],
  ["one that comes first", state(1, 1, { A: [2, 1], a: [1, 10], b: [1, 20], c: [1, 30] }), ["A"]],
  [
    "one that comes between",
    state(1, 1, { a: [1, 10], ab: [2, 1], b: [1, 20], c: [1, 30] }),
    ["ab"],
  ],
  ["one that comes last", state(1, 1, { a: [1, 10], b: [1, 20], c: [1, 30], d: [2, 1] }), ["d"]],
  ["one that goes first", state(1, 1, { b: [1, 20], c: [1, 30] }), ["a"]],
  ["one that goes between", state(1, 1, { a: [1, 10], c: [1, 30] }), ["b"]],
  ["the last two", state(1, 1, { a: [1, 10] }), ["b", "c"]],
  ["one for another", state(1, 1, { a: [1, 10], bb: [1, 20], c: [1, 30] }), ["b", "bb"]],
  ["its length", state(1, 2, { a: [1, 10], b: [1, 20], c: [1, 30] }), "any"],
  ["its time: it went and came", state(2, 1, { a: [1, 10], b: [1, 20], c: [1, 30] }), "any"],
  ["its site", state(1, 1, { a: [1, 10], b: [1, 20], c: [1, 30] }, two), "any"],
])("of a row that stays %s is another", (_what, after, columns) => {
  expect(columnsOf(merged(base, after))).toEqual(columns);
});

test("a row that was never heard of is another in any column", () => {
  expect(columnsOf(merged(undefined, base))).toBe("any");
});

test("a row that is cut to fit may show other columns than those that were written", () => {
  const other = state(1, 1, { a: [1, 10], b: [2, 21], c: [1, 30] });
  expect(columnsOf({ ...merged(base, other), isCutToFit: true })).toBe("any");
  expect(columnsOf({ ...merged(base, other), isCutToFit: false })).toEqual(["b"]);
});

test("a local transaction may have moved rows, also those that are what they were", () => {
  const moved = { tables: new Set(["t"]), moved: new Set(["t"]) };
  expect(columnsOf(merged(base, base, false))).toBeUndefined();
  expect(columnsOf(merged(base, base, false), nothing)).toEqual([]);
  expect(columnsOf(merged(base, base, false), moved)).toEqual(["rowid"]);
  const other = state(1, 1, { a: [1, 10], b: [2, 21], c: [1, 30] });
  expect(columnsOf(merged(base, other), moved)).toEqual(["b", "rowid"]);
  expect(columnsOf(merged(undefined, base), moved)).toBe("any");
});

test("of a local table it isn't known which rows; of a replicated one they are all there", () => {
  const local = { tables: new Set(["t", "l"]), moved: new Set<string>() };
  const [first, second] = [merged(undefined, base), merged(undefined, base)];
  const changes = tableChanges([first, second], local, (table) => table === "t");
  const rows = changes.get("t") as readonly { merged: MergedRow }[];
  expect(rows.map((row) => row.merged)).toEqual([first, second]);
  expect([changes.get("l"), changes.size]).toEqual(["unknown", 2]);
  expect(tableChanges([], local, (table) => table === "t").has("t")).toBe(false);
});

test("a change concerns who reads a column of it", () => {
  const changed = (columns: string[] | undefined) => ({
    ...{ table: "t", key: new Uint8Array(0) },
    columns: columns === undefined ? undefined : new Set(columns),
  });
  const reads = (...columns: string[]) => ({ columns: new Set(columns) });
  expect(concerns(changed(["a", "b"]), reads("b", "c"))).toBe(true);
  expect(concerns(changed(["a", "b"]), reads("c"))).toBe(false);
  expect(concerns(changed([]), reads("c"))).toBe(false);
  expect(concerns(changed(undefined), reads())).toBe(true);
  expect(concerns(changed([]), { columns: undefined })).toBe(true);
});

test("the tables alone are those of the changes", () => {
  const of = (table: string, changed: boolean) => ({ ...merged(base, base, changed), table });
  const rows = [of("a", true), of("b", false), of("a", true), of("c", true)];
  const writes = { tables: new Set(["a", "local"]), moved: new Set(["b"]) };
  const isReplicated = (table: string) => table !== "local";
  for (const local of [undefined, nothing, writes]) {
    expect([...changedTables(rows, local, isReplicated)]).toEqual([
      ...tableChanges(rows, local, isReplicated).keys(),
    ]);
  }
});
