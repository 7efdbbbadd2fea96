import { expect, test } from "bun:test";
import type { Statement } from "../../wasm/statement.ts";
import type { Cell, ChangedCells } from "./changed-cells.ts";
import { GroupedPlan } from "./grouped-plan.ts";
import type { ChangedRow } from "./table-changes.ts";

type Before = Cell | "same" | "unknown";

/** Of a table that is grouped by columns a and b: what they held before a change, and hold now. */
function groupsOf(before: readonly Before[], now: readonly Cell[]) {
  const columns = ["a", "b"];
  const watched: string[] = [];
  const cells = {
    watch: (_, column) => watched.push(column),
    unwatch: (_, column) => watched.splice(watched.indexOf(column), 1),
    before: (_, column) => before[columns.indexOf(column)],
    now: (_, column) => now[columns.indexOf(column)],
  } as Partial<ChangedCells> as ChangedCells;
  const one = { finalize: () => {} } as Statement;
  const plan = new GroupedPlan({ table: "t", columns, all: "", one: "" }, one, cells);
  expect(watched).toEqual(columns);
  const row = {} as ChangedRow;
  const groups = plan.groupsOf(row);
  expect(plan.isKnown(row)).toBe(groups !== undefined);
  plan.dispose();
  expect(watched).toEqual([]);
  return groups;
}

const is = (value: number): Cell => ({ value });

test("a row concerns the group that it was in, and the one that it is in", () => {
  expect(groupsOf([is(1), is(2)], [is(1), is(3)])).toEqual([
    [1, 2],
    [1, 3],
  ]);
  expect(groupsOf(["same", "same"], [is(1), is(2)])).toEqual([[1, 2]]);
  // It came, it went, and both.
  expect(groupsOf(["absent", "absent"], [is(1), is(2)])).toEqual([[1, 2]]);
  expect(groupsOf([is(1), is(2)], ["absent", "absent"])).toEqual([[1, 2]]);
  expect(groupsOf(["absent", "absent"], ["absent", "absent"])).toEqual([]);
});

test("a group of which one column isn't known isn't known", () => {
  expect(groupsOf(["unknown", is(2)], [is(1), is(3)])).toBeUndefined();
  // It stayed as it was, and may have become another since.
  expect(groupsOf([is(1), "same"], [is(7), is(3)])).toBeUndefined();
});
