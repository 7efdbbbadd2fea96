import { expect, test } from "bun:test";
import fc from "fast-check";
import { rowState, sites } from "../../test/generators/rows.ts";
import { compareStamps, type Stamp } from "../clock/stamp.ts";
import { encodeKey } from "./key.ts";
import { deleteRow, insertRow, updateRow } from "./local-write.ts";
import { joinRows, type RowState, stampOfRow } from "./row-state.ts";

const key = encodeKey(["i-1"]) as Uint8Array;
const join = (a: RowState, b: RowState): RowState => joinRows(a, b).state;
const oneRow = () => rowState({ table: "instances", key });
const at = (ms: number, site = sites[0] as string): Stamp => ({ ms, count: 0, site }) as Stamp;

// The three join laws: replicas that saw the same rows agree, in whatever order and however often.
test("merge is a join", () => {
  fc.assert(
    fc.property(oneRow(), oneRow(), oneRow(), (a, b, c) => {
      expect(join(a, b)).toEqual(join(b, a));
      expect(join(a, join(b, c))).toEqual(join(join(a, b), c));
      expect(join(a, a)).toEqual(a);
    }),
  );
});

test("a conflict is told exactly where one stamp says two things: of the row, or of a cell", () => {
  const cell = (ms: number, value: string) => ({ column: "a", stamp: at(ms), value });
  const row = (ms: number, cl: number, cells: ReturnType<typeof cell>[]): RowState => {
    return { table: "t", key, clock: { ...at(ms), cl }, cells };
  };
  const isConflict = (a: RowState, b: RowState) =>
    [joinRows(a, b), joinRows(b, a)].map((one) => one.conflict);
  const one = row(1, 1, [cell(1, "x")]);
  expect(isConflict(one, { ...one })).toEqual([false, false]);
  expect(isConflict(one, row(1, 1, [cell(2, "y")]))).toEqual([false, false]);
  expect(isConflict(one, row(1, 1, [cell(1, "y")]))).toEqual([true, true]);
  expect(isConflict(one, row(1, 2, []))).toEqual([true, true]);
  expect(isConflict(one, row(2, 2, []))).toEqual([false, false]);
});

test("the stamp of a join is the larger of the two stamps", () => {
  fc.assert(
    fc.property(oneRow(), oneRow(), (a, b) => {
      const [, larger] = [stampOfRow(a), stampOfRow(b)].sort(compareStamps) as [Stamp, Stamp];
      expect(compareStamps(stampOfRow(join(a, b)), larger)).toBe(0);
    }),
  );
});

test("a newer delete is not beaten by an older row with a longer history", () => {
  const values = new Map([["status", "up" as const]]);
  let flapping = insertRow(undefined, "instances", key, values, at(1));
  // Cut off from the rest, the instance leaves and comes back three times …
  for (const ms of [2, 3, 4]) {
    flapping = deleteRow(flapping, at(ms));
    flapping = insertRow(flapping, "instances", key, values, at(ms + 0.5));
  }
  // … while elsewhere it is deregistered, later.
  const first = insertRow(undefined, "instances", key, values, at(1));
  const deregistered = deleteRow(first, at(9, sites[1]));
  expect(flapping.clock.cl).toBeGreaterThan(deregistered.clock.cl);
  expect(join(flapping, deregistered)).toEqual(deregistered);
});

test("a cell that was edited fifty times loses to one later edit elsewhere", () => {
  let flapping = insertRow(undefined, "instances", key, new Map([["status", "up"]]), at(1));
  const other = flapping;
  for (let i = 0; i < 50; i++) {
    const status = i % 2 === 0 ? "down" : "up";
    flapping = updateRow(flapping, new Map([["status", status]]), at(2 + i));
  }
  const down = updateRow(other, new Map([["status", "down"]]), at(100, sites[1]));
  expect(join(flapping, down).cells).toEqual(down.cells);
});

test("a tombstone keeps the cells stamped after it, and drops the others", () => {
  const row = insertRow(
    undefined,
    "instances",
    key,
    new Map([
      ["a", 1],
      ["b", 2],
    ]),
    at(1),
  );
  const edited = updateRow(row, new Map([["b", 3]]), at(5, sites[1]));
  const deleted = deleteRow(row, at(3));
  expect(join(edited, deleted)).toEqual({
    ...deleted,
    cells: [{ column: "b", stamp: at(5, sites[1]), value: 3 }],
  });
});

test("equal stamps with different values are a conflict, and the larger value wins", () => {
  const one = insertRow(undefined, "instances", key, new Map([["a", 1]]), at(1));
  const two = insertRow(undefined, "instances", key, new Map([["a", 2]]), at(1));
  expect(joinRows(one, two)).toEqual({ state: two, conflict: true });
});

test("setting a cell to the value it has leaves no trace", () => {
  const row = insertRow(undefined, "instances", key, new Map([["a", 1]]), at(1));
  expect(updateRow(row, new Map([["a", 1]]), at(2))).toBe(row);
});
