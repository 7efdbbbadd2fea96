import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Change } from "./changes.ts";
import { KnownResult } from "./known-result.ts";
import { PackedRows } from "./rows/packed-rows.ts";
import type { Subscription } from "./subscription.ts";

const read = (known: KnownResult): KnownResult => {
  for (const _ of known.read());
  return known;
};

/** Rows with their hashes, in no order. */
const told = (known: KnownResult) =>
  [...known.hashes().hashes].map((hash, i) => `${hash} ${JSON.stringify(known.rowAt(i))}`).sort();

// The law: what was kept from run to run is what would be read anew.
test("what is known after changes were taken in is what is there", () => {
  const row = fc.record({
    name: fc.integer({ min: 0, max: 5 }),
    cells: fc.integer({ min: 0, max: 3 }),
  });
  const round = fc.record({
    gone: fc.array(fc.nat(), { maxLength: 6 }),
    updated: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 4, max: 9 })), { maxLength: 4 }),
    come: fc.array(row, { maxLength: 20 }),
  });
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 30 }),
      fc.array(round, { maxLength: 5 }),
      (begun, rounds) => {
        const held = new PackedRows(undefined);
        const history = { lastId: 0 };
        const subscription = { held, history } as unknown as Subscription;
        let lastRowId = 0;
        const add = (identity: string, cells: string): number => {
          held.add({ identity, row: { rowId: ++lastRowId, cells } });
          return lastRowId;
        };
        for (const { name, cells } of begun) add(`${name}`, `[${cells}]`);
        const known = read(new KnownResult(subscription));
        for (const { gone, updated, come } of rounds) {
          const count = known.hashes().hashes.length;
          const changes: Change[] = [];
          const places = new Map<number, number | undefined>();
          if (count > 0) {
            for (const [n, cells] of updated) places.set(n % count, cells);
            for (const n of gone) places.set(n % count, undefined);
          }
          const rows = [...places].map(([number, cells]) => ({ cells, held: known.rowAt(number) }));
          const line = "";
          for (const {
            cells,
            held: {
              identity,
              row: { rowId, cells: old },
            },
          } of rows) {
            const place = held.find(identity, rowId) as number;
            if (cells === undefined) {
              held.remove(place);
              changes.push({
                type: "delete",
                rowId,
                cells: old,
                identity,
                oldIdentity: identity,
                line,
              });
            } else {
              held.update(place, identity, `[${cells}]`);
              changes.push({
                type: "update",
                rowId,
                cells: `[${cells}]`,
                identity,
                oldIdentity: identity,
                line,
              });
            }
          }
          for (const { name, cells } of come) {
            const rowId = add(`${name}`, `[${cells}]`);
            changes.push({
              type: "insert",
              rowId,
              cells: `[${cells}]`,
              identity: `${name}`,
              oldIdentity: `${name}`,
              line,
            });
          }
          history.lastId += changes.length;
          expect(known.isOf(subscription)).toBe(changes.length === 0);
          known.take(Uint32Array.from(places.keys()).sort(), changes);
          expect(known.isOf(subscription)).toBe(true);
          expect(told(known)).toEqual(told(read(new KnownResult(subscription))));
        }
        expect(known.isOf({ held, history } as unknown as Subscription)).toBe(false);
      },
    ),
  );
});

test("what is known of rows that moved is known no more", () => {
  const held = new PackedRows(undefined);
  const subscription = { held, history: { lastId: 0 } } as unknown as Subscription;
  for (let i = 1; i <= 200; i++) held.add({ identity: `${i}`, row: { rowId: i, cells: "[]" } });
  const known = read(new KnownResult(subscription));
  expect(known.isOf(subscription)).toBe(true);
  for (let i = 1; i <= 190; i++) held.remove(held.find(`${i}`, i) as number);
  held.trim();
  expect(known.isOf(subscription)).toBe(false);
});
