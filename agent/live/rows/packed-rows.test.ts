import { expect, test } from "bun:test";
import fc from "fast-check";
import { KeyHolders } from "./key-holders.ts";
import { keySeparator, textHash } from "./key-text.ts";
import { PackedRows } from "./packed-rows.ts";
import type { HeldRow } from "./row.ts";

/** Few keys, so that they meet; texts of one byte a character, of several, long ones, and one that a chunk can't hold. */
const key = fc.constantFrom("1,", '"a",', '"ä€😀",', `"${"k".repeat(300)}",`, "null,", '"b",');
const cells = fc.constantFrom(
  '["a"]',
  "[1,null]",
  '["ä€😀"]',
  `["${"x".repeat(5000)}"]`,
  `["${"y".repeat(200_000)}"]`,
);
const command = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("add"),
      keys: fc.array(key, { minLength: 3, maxLength: 3 }),
      cells,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove"), at: fc.nat(), cells }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("update"), at: fc.nat(), cells }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("snapshot") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove most") }) },
) as fc.Arbitrary<{ kind: string; keys: string[]; cells: string; at: number }>;

const sorted = (rows: Iterable<HeldRow>) => [...rows].sort((a, b) => a.row.rowId - b.row.rowId);
const firstId = 2 ** 32 - 20;

function check(
  tables: number,
  commands: { kind: string; keys: string[]; cells: string; at: number }[],
): void {
  const holders = Array.from({ length: tables }, () => new KeyHolders());
  // Of another member: what it holds stays.
  for (const one of holders) one.add(textHash("1,"), 9);
  const rows = new PackedRows(tables === 0 ? undefined : { holders, member: 7 });
  const model: HeldRow[] = [];
  const snapshots: { taken: ReturnType<PackedRows["snapshot"]>; want: HeldRow[] }[] = [];
  let rowId = firstId;
  const place = (held: HeldRow) => rows.find(held.identity, held.row.rowId) as number;
  const removed = (at: number) => {
    const [held] = model.splice(at, 1) as [HeldRow];
    rows.remove(place(held));
    rows.trim();
  };
  for (const one of commands) {
    if (one.kind === "add") {
      const identity =
        tables === 0 ? (one.keys[0] as string) : one.keys.slice(0, tables).join(keySeparator);
      // Rows of a keyed query have one each.
      if (tables > 0 && model.some((held) => held.identity === identity)) continue;
      const held = { identity, row: { rowId: rowId++, cells: one.cells } };
      rows.add(held);
      model.push(held);
    } else if (one.kind === "snapshot") {
      snapshots.push({ taken: rows.snapshot(), want: sorted(model) });
    } else if (model.length === 0) continue;
    else if (one.kind === "remove") removed(one.at % model.length);
    else if (one.kind === "remove most") while (model.length > 2) removed(0);
    else {
      const at = one.at % model.length;
      const { identity, row } = model[at] as HeldRow;
      rows.update(place(model[at] as HeldRow), identity, one.cells);
      model[at] = { identity, row: { rowId: row.rowId, cells: one.cells } };
    }
  }
  const all = [...rows.places()].map((at) => rows.rowAt(at));
  expect(sorted(all)).toEqual(sorted(model));
  expect(rows.count).toBe(model.length);
  expect([...rows.snapshot().rows()]).toEqual(sorted(model));
  for (const identity of new Set(model.map((held) => held.identity))) {
    const same = [...rows.of(identity)].map((at) => rows.rowAt(at));
    expect(sorted(same)).toEqual(sorted(model.filter((held) => held.identity === identity)));
  }
  expect([...rows.of("another")]).toEqual([]);
  for (let table = 0; table < tables; table++) {
    for (const name of ["1,", '"a",', '"ä€😀",', "null,"]) {
      const has = ({ identity }: HeldRow) => identity.split(keySeparator)[table] === name;
      const want = model.filter(has).map(({ identity }) => identity);
      expect([...rows.identitiesOf(table, name)].sort()).toEqual(want.sort());
      const members = [...(want.length > 0 ? [7] : []), ...(name === "1," ? [9] : [])];
      expect(holders[table]?.of(textHash(name), 10)?.sort()).toEqual(members);
    }
  }
  for (const { taken, want } of snapshots) expect([...taken.rows()]).toEqual(want);
  rows.release();
  for (const one of holders) {
    for (const name of ["1,", '"a",', "null,"]) {
      expect(one.of(textHash(name), 10)).toEqual(name === "1," ? [9] : []);
    }
  }
}

// The packed rows are what a list of objects is, and snapshots stay as they were taken.
for (const [what, tables] of [
  ["no keys", 0],
  ["one table", 1],
  ["a join of three", 3],
] as const) {
  test(`rows of ${what} are as they were put in`, () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60, size: "max" }), (commands) =>
        check(tables, commands),
      ),
      { numRuns: 40 },
    );
  }, 120_000);
}

test("thousands of rows come and go, and leave nothing", () => {
  const holders = [new KeyHolders(), new KeyHolders()];
  const rows = new PackedRows({ holders, member: 1 });
  const emptyBytes = rows.bytes;
  const held = (i: number, cells: string): HeldRow => ({
    identity: `${i},${keySeparator}${i % 7},`,
    row: { rowId: i + 1, cells },
  });
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 15_000; i++) rows.add(held(i, `[${i}]`));
    expect(rows.count).toBe(15_000);
    expect(rows.bytes / 15_000).toBeLessThan(250);
    for (let i = 0; i < 15_000; i += 3) {
      const { identity, row } = held(i, `["changed ${i}"]`);
      rows.update(rows.find(identity, row.rowId) as number, identity, row.cells);
    }
    for (let i = 0; i < 15_000; i += 999) {
      const want = held(i, i % 3 === 0 ? `["changed ${i}"]` : `[${i}]`);
      expect([...rows.of(want.identity)].map((at) => rows.rowAt(at))).toEqual([want]);
      expect([...rows.identitiesOf(0, `${i},`)]).toEqual([want.identity]);
    }
    expect([...rows.identitiesOf(1, "3,")].length).toBe(2143);
    expect(holders[1]?.of(textHash("3,"), 10)).toEqual([1]);
    for (let i = 0; i < 15_000; i++) {
      const { identity, row } = held(i, "");
      rows.remove(rows.find(identity, row.rowId) as number);
      rows.trim();
    }
    expect([rows.count, holders[0]?.of(textHash("3,"), 10)]).toEqual([0, []]);
  }
  expect(rows.bytes).toBeLessThan(emptyBytes + 10_000);
}, 120_000);

test("a row that changes again and again takes no more than it is long", () => {
  const rows = new PackedRows(undefined);
  for (let i = 0; i < 3; i++) rows.add({ identity: `${i}`, row: { rowId: i + 1, cells: "[]" } });
  for (let i = 0; i < 20_000; i++) {
    rows.update(rows.find("1", 2) as number, "1", `["${"z".repeat(i % 100)}"]`);
  }
  expect(rows.bytes).toBeLessThan(3000);
}, 120_000);
