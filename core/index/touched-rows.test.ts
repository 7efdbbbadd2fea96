import { expect, test } from "bun:test";
import type { Digest, IdWords } from "../row/digest.ts";
import { noPlace } from "./id-table.ts";
import { TouchedRows } from "./touched-rows.ts";

const digestOf = (n: number): Digest => ({ a: n, b: 0, c: 0, d: 0 });
const part = { clock: undefined, cells: [] };

test("a row that heard of an older slot late is found by its newest record, in less room too", () => {
  const rows = new TouchedRows(32);
  const id: IdWords = { first: 1, second: 2, third: 3, fourth: 4 };
  rows.add(id, noPlace, 5, part, digestOf(1), digestOf(5));
  const newest = rows.find(id);
  const { base, slots } = rows.imagesAt(newest, part);
  const late = { slot: 3, place: noPlace, clocks: part, digest: digestOf(3) };
  rows.setImages(id, newest, { base, slots: [late, ...slots] });

  const compacted = rows.compacted();
  for (const some of [rows, compacted]) {
    expect(some.size).toBe(1);
    expect(some.slotOf(some.find(id))).toBe(5);
    const images = some.imagesAt(some.find(id), part);
    expect(images.base.digest).toEqual(digestOf(1));
    expect(images.slots.map(({ slot, digest }) => [slot, digest])).toEqual([
      [3, digestOf(3)],
      [5, digestOf(5)],
    ]);
  }
});

test("an older record's place may be another row's, or the row's own of a newer slot: its chain ends there", () => {
  const rows = new TouchedRows(32);
  const idOf = (n: number): IdWords => ({ first: n, second: 1, third: 2, fourth: 3 });
  const slotsOf = (n: number) => {
    const { base, slots } = rows.imagesAt(rows.find(idOf(n)), part);
    return { base: base.digest, slots: slots.map(({ slot, digest }) => [slot, digest]) };
  };
  for (const n of [1, 2]) {
    rows.add(idOf(n), noPlace, 5, part, digestOf(10 * n), digestOf(10 * n + 5));
    rows.add(idOf(n), rows.find(idOf(n)), 9, part, digestOf(10 * n + 5), digestOf(10 * n + 9));
  }
  const slot9 = (n: number) => ({ base: digestOf(10 * n + 5), slots: [[9, digestOf(10 * n + 9)]] });
  expect(rows.forget(5)).toBe(2);
  expect([slotsOf(1), slotsOf(2)]).toEqual([slot9(1), slot9(2)]);
  // Both places are used again: for a newer slot of the row itself, and for another row that isn't as new as the second.
  rows.add(idOf(1), rows.find(idOf(1)), 11, part, digestOf(19), digestOf(21));
  rows.add(idOf(3), noPlace, 7, part, digestOf(30), digestOf(37));
  const [first] = slot9(1).slots as [[number, Digest]];
  expect(slotsOf(1)).toEqual({ ...slot9(1), slots: [first, [11, digestOf(21)]] });
  expect(slotsOf(2)).toEqual(slot9(2));
  expect(slotsOf(3)).toEqual({ base: digestOf(30), slots: [[7, digestOf(37)]] });
});

test("after a load that has settled there is room for all of it, which is given back", () => {
  const rows = new TouchedRows(32);
  for (let i = 0; i < 2000; i++) {
    rows.add(
      { first: i, second: i, third: i, fourth: i },
      noPlace,
      7,
      undefined,
      undefined,
      digestOf(i),
    );
  }
  expect(rows.isSparse).toBe(false);
  expect(rows.forget(7)).toBe(2000);
  expect(rows.isSparse).toBe(true);
  expect(rows.compacted().isSparse).toBe(false);
});
