import { expect, test } from "bun:test";
import fc from "fast-check";
import { rowState } from "../../test/generators/rows.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import { encodeKey } from "../row/key.ts";
import { joinRows, type RowState } from "../row/row-state.ts";
import { piecesOf, valueBytesOf } from "./row-pieces.ts";

const columns = ["a", "b", "c", "d", "e"];
const keys = [1, 2, 3, 4].map((value) => encodeKey([value]) as Uint8Array);

test("what is cut into pieces is the same when they are joined, in any order", () => {
  const rows = fc.tuple(...keys.map((key) => rowState({ table: "t", key, columns })));
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 100 }), fc.nat(9), (all, bytesMax, turn) => {
      const joined = new Map<Uint8Array, RowState>();
      for (const list of piecesOf(all, bytesMax, turn)) {
        expect(list.length).toBeGreaterThan(0);
        for (const piece of list) {
          const before = joined.get(piece.key);
          joined.set(piece.key, before === undefined ? piece : joinRows(before, piece).state);
        }
      }
      expect(keys.map((key) => joined.get(key))).toEqual(all);
    }),
    { numRuns: 20 },
  );
});

test("no list is larger than it may be, but for one cell alone, and a large row begins with another piece each time", () => {
  const stamp = { ms: 1, count: 0, site: "0".repeat(32) as RowState["clock"]["site"] };
  const row = (key: Uint8Array, bytes: readonly number[]): RowState => ({
    table: "t",
    key,
    clock: { ...stamp, cl: 1 },
    cells: bytes.map((count, i) => ({
      column: columns[i] as string,
      stamp,
      value: "é".repeat(count / 2),
    })),
  });
  const [a, b, c, d] = keys as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const rows = [row(a, [1000]), row(b, [4000, 9000, 3000, 3000]), row(c, [3000]), row(d, [1000])];
  const cut = piecesOf(rows, 8000, 0);
  const shape = (lists: RowState[][]) =>
    lists.map((list) => list.map(({ key, cells }) => [keys.indexOf(key), cells.length]));
  expect(shape(cut)).toEqual([
    [[1, 1]],
    [[1, 1]],
    [[1, 2]],
    [
      [0, 1],
      [2, 1],
      [3, 1],
    ],
  ]);
  expect(shape(piecesOf(rows, 8000, 4)).slice(0, 3)).toEqual([[[1, 1]], [[1, 2]], [[1, 1]]]);
  for (const list of cut) {
    const [first] = list;
    if (list.length === 1 && first?.cells.length === 1) continue;
    expect(encodeRowBlock(list).length).toBeLessThan(8200);
  }
  expect(valueBytesOf(row(a, [4000]))).toBe(a.length + 16 + 4008);
});

test("rows that are small go together as far as there is room", () => {
  const stamp = { ms: 1, count: 0, site: "0".repeat(32) as RowState["clock"]["site"] };
  const rows = keys.map((key): RowState => {
    const cell = { column: "a", stamp, value: "x".repeat(40) };
    return { table: "t", key, clock: { ...stamp, cl: 1 }, cells: [cell] };
  });
  const bytes = valueBytesOf(rows[0] as RowState);
  const lengths = (bytesMax: number) => piecesOf(rows, bytesMax, 0).map(({ length }) => length);
  expect([lengths(3 * bytes), lengths(3 * bytes - 1), lengths(bytes)]).toEqual([
    [3, 1],
    [2, 2],
    [1, 1, 1, 1],
  ]);
});
