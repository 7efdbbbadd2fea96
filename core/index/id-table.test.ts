import { expect, test } from "bun:test";
import fc from "fast-check";
import { type IdWords, wordsToId } from "../row/digest.ts";
import { IdTable, noPlace } from "./id-table.ts";

/** Ids that are looked for at few places of the table, its last among them, and differ in any of their words. */
const ids: readonly IdWords[] = [0, 1, 2, 7, -1, -2].flatMap((second) =>
  [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => ({
    first: (bits & 1) << 20,
    second,
    third: (bits & 2) << 8,
    fourth: bits & 4,
  })),
);

const step = () =>
  fc.record({
    act: fc.constantFrom("come", "come", "come", "go", "go older", "look"),
    id: fc.nat(ids.length - 1),
  });

// The clever structure equals the naive one: a list of places for each id.
test("an id is found by its newest place, whatever came and went, and places are used again", () => {
  fc.assert(
    fc.property(fc.array(step(), { maxLength: 150, size: "max" }), (steps) => {
      const table = new IdTable(4);
      /** By id, the newest first. */
      const model = new Map<number, number[]>();
      const used = () => [...model.values()].flat();
      let usedMax = 1;
      for (const { act, id } of steps) {
        const words = ids[id] as IdWords;
        const places = model.get(id) ?? [];
        switch (act) {
          case "come": {
            const [newest] = places;
            const place = newest === undefined ? table.add(words) : table.claim(words);
            expect(used()).not.toContain(place);
            if (newest !== undefined) {
              expect(table.isSameId(place, newest)).toBe(true);
              table.enterFor(place, newest, words);
            }
            model.set(id, [place, ...places]);
            break;
          }
          case "go":
            // The others of a row are forgotten before its newest.
            for (const place of places.toReversed()) table.remove(place);
            model.delete(id);
            break;
          case "go older":
            if (places.length > 1) table.remove(places.pop() as number);
            break;
          default:
            table.find({ ...words });
        }
        usedMax = Math.max(usedMax, used().length);
        expect(table.placesUsed).toBe(used().length);
        expect(table.size).toBe(model.size);
        expect(table.capacity).toBe(Math.max(4, 2 ** Math.ceil(Math.log2(usedMax))));
        for (const [other, otherWords] of ids.entries()) {
          const [newest = noPlace] = model.get(other) ?? [];
          expect(table.find(otherWords)).toBe(newest);
          if (newest === noPlace) continue;
          expect(table.idAt(newest)).toBe(wordsToId(otherWords));
          expect(table.rangeAt(newest)).toBe(otherWords.first >>> 16);
        }
      }
      const all = [...model].flatMap(([id, places]) => places.map((place) => ({ id, place })));
      for (const a of all) {
        for (const b of all) expect(table.isSameId(a.place, b.place)).toBe(a.id === b.id);
      }
    }),
    { numRuns: 40 },
  );
});

test("the id that was looked up last is found by the place that it has now", () => {
  const table = new IdTable(4);
  const [a, b, c] = ids as [IdWords, IdWords, IdWords];
  const placeOfC = table.add(c);
  expect(table.find(a)).toBe(noPlace);
  const placeOfB = table.add(b);
  expect(table.find(a)).toBe(noPlace);
  const placeOfA = table.add({ ...a });
  expect(table.find(a)).toBe(placeOfA);
  expect(table.find(b)).toBe(placeOfB);
  const newerOfA = table.claim(a);
  table.enterFor(newerOfA, placeOfA, { ...a });
  expect(table.find(b)).toBe(placeOfB);
  expect(table.find(a)).toBe(newerOfA);
  expect(table.find(c)).toBe(placeOfC);
  table.remove(placeOfC);
  expect(table.find(c)).toBe(noPlace);
});
