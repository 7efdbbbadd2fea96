import { expect, test } from "bun:test";
import fc from "fast-check";
import { createDigester, keyOf, siteOf } from "../../test/model/history.ts";
import { MapStore } from "../../test/model/map-store.ts";
import { RowIndex } from "../index/row-index.ts";
import { RecentPass } from "./recent-pass.ts";

const digester = createDigester();
const nowMs = 1_700_000_000_000;
const options = { passRowsPerTick: 3000, recallRowsPerTick: 1000 };

/** Ages, in ms, of the rows that are recalled from rows of these ages, the newest first. */
function recalledOf(agesMs: readonly number[]): number[] {
  const store = new MapStore(digester);
  agesMs.forEach((ageMs, i) => {
    const clock = { ms: nowMs - ageMs, count: 0, site: siteOf(0), cl: 1 };
    store.merge([{ table: "t", key: keyOf(i), clock, cells: [] }]);
  });
  const index = new RowIndex(digester, 0);
  const pass = new RecentPass(store, index, nowMs - 60_000, options);
  while (!pass.isDone) pass.tick(nowMs);
  expect(pass.isKnown).toBe(true);
  const recency = { sinceMs: 0, ownSinceMs: 0, rowsMax: 100_000 };
  return index.recent.since(recency, () => false, 60_000).map(({ stamp }) => nowMs - stamp.ms);
}

test("of more rows than are recalled it is the newest, wherever they stand and however many share a stamp", () => {
  // All of one age, then some that are newer, then older ones: more than the pass keeps in hand.
  const ages = [
    ...new Array(17_000).fill(50),
    ...Array.from({ length: 5000 }, (_, i) => i % 40),
    ...new Array(12_000).fill(70),
  ];
  expect(recalledOf(ages)).toEqual(ages.toSorted((a, b) => a - b).slice(0, 8192));
}, 120_000);

test("few rows are all recalled, but for those that are too old", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(100_000), { maxLength: 40 }), (ages) => {
      const wanted = ages.filter((ageMs) => ageMs <= 60_000).sort((a, b) => a - b);
      expect(recalledOf(ages)).toEqual(wanted);
    }),
    { seed: 3, numRuns: 50 },
  );
});
