import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../../test/model/history.ts";
import { RowIndex } from "../../index/row-index.ts";
import { askableCuts } from "../../index/settled-image.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";
import type { ScanPosition } from "../../row-store.ts";

const digester = createDigester();
const firstCut = 1000;

/** Rows of few keys, stamped from before the oldest cut until after the newest. */
const rowState = fc
  .record({
    key: fc.nat(5),
    slot: fc.integer({ min: -8, max: 4 }),
    site: fc.nat(2),
    cl: fc.integer({ min: 1, max: 4 }),
    cells: fc.uniqueArray(
      fc.record({ column: fc.constantFrom("a", "b", "c"), laterSlots: fc.nat(3) }),
      { selector: ({ column }) => column },
    ),
  })
  .map(({ key, slot, site, cl, cells }): RowState => {
    const stamp = (slots: number) => ({
      ms: (firstCut + slot + slots) * 1000 - 500,
      count: 0,
      site: siteOf(site),
    });
    return {
      table: key === 5 ? "elsewhere" : "t",
      key: encodeKey([`k${key}`]) as Uint8Array,
      clock: { ...stamp(0), cl },
      cells: cells
        .map(({ column, laterSlots }) => ({ column, stamp: stamp(laterSlots), value: "v" }))
        .sort((x, y) => (x.column < y.column ? -1 : 1)),
    };
  });

/** An index as a start builds it, with or without an object a row. */
function rebuilt({ store }: SqliteNode, byDigests: boolean): RowIndex {
  const index = new RowIndex(digester, firstCut);
  let position: ScanPosition | undefined;
  do {
    if (byDigests) {
      const { columns, rows, next } = store.scanDigests(position, 3, index.isDigestEnough);
      index.scannedDigests(columns);
      for (const row of rows) index.scanned(row);
      position = next;
    } else {
      const { rows, next } = store.scan(position, 3);
      for (const row of rows) index.scanned(row);
      position = next;
    }
  } while (position !== undefined);
  index.finishRebuild();
  return index;
}

test("an index built from bytes is the one built from rows, at every cut, then and after", () => {
  fc.assert(
    fc.property(
      fc.array(rowState, { maxLength: 8 }),
      fc.array(fc.tuple(fc.array(rowState, { maxLength: 2 }), fc.nat(2)), { maxLength: 6 }),
      (before, later) => {
        using node = new SqliteNode(
          "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT, c TEXT)",
          { digester },
        );
        node.store.merge(before);
        const indexes = [rebuilt(node, true), rebuilt(node, false)] as const;
        const expectSame = () => {
          const [left, right] = indexes.map(({ live, image }) => ({
            live: live.fingerprint(0, 0),
            roots: image.roots(),
          }));
          expect(left).toEqual(right as NonNullable<typeof right>);
        };
        expectSame();
        let cut = firstCut;
        for (const [rows, cuts] of later) {
          const merged = node.store.merge(rows);
          cut += cuts;
          for (const index of indexes) {
            for (const row of merged) index.merged(row, false, false, cut * 1000);
            index.image.advance(cut);
          }
          expectSame();
        }
        for (let i = 0; i < 2 * askableCuts; i++) {
          for (const { image } of indexes) image.advance(image.cut + 1);
          expectSame();
        }
      },
    ),
    { seed: 12, numRuns: 150 },
  );
}, 120_000);

test("after a load is settled the image keeps no room for it", () => {
  const index = new RowIndex(digester, firstCut);
  const rows = 40_000;
  const words = (i: number) => ({ first: i << 12, second: i, third: 0, fourth: 0 });
  const digestOf = (i: number) => ({ a: i, b: 1, c: 2, d: 3 });
  const slotOf = (i: number) => firstCut + 1 + (i % 3);
  for (let i = 0; i < rows; i++) index.image.addOneSlot(words(i), slotOf(i), digestOf(i));
  expect(index.image.touchedRows).toBe(rows);
  // A few rows of a later slot stay through it.
  for (let i = rows; i < rows + 10; i++) {
    index.image.addOneSlot(words(i), firstCut + 6, digestOf(i));
  }
  index.image.advance(firstCut + 8);
  expect(index.image.touchedRows).toBe(10);
  expect(index.image.knows(words(rows + 3))).toBe(true);
  expect(index.image.roots().map(({ rows: count }) => count)).toEqual(
    [8, 7, 6, 5, 4].map((later) => rows + (later >= 6 ? 10 : 0)),
  );
});
