import { expect, test } from "bun:test";
import fc from "fast-check";
import { IdTable } from "./id-table.ts";
import { TouchLog } from "./touch-log.ts";

const recordWords = 6;
const positionAt = 4;
const rowsMax = 8;

// Positions are 32-bit numbers that wrap: 10,000 touches a second take two and a half days to the first border.
test("rows come in the order of their last touch, whatever numbers the positions have", () => {
  const step = fc.record({
    act: fc.constantFrom("touch", "touch", "touch", "touch", "touch first", "forget oldest"),
    row: fc.nat(rowsMax - 1),
    urgent: fc.boolean(),
  });
  for (const first of [0, 2 ** 31 - 30, -(2 ** 31), -30]) {
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 100 }), (steps) => {
        const ids = new IdTable(rowsMax, recordWords);
        const log = new TouchLog(ids, recordWords, positionAt, first);
        log.grow();
        /** The one touched longest ago first. */
        let model: { row: number; place: number; urgent: boolean }[] = [];
        for (const { act, row, urgent } of steps) {
          const known = model.find((one) => one.row === row);
          const words = { first: row, second: row, third: row, fourth: row };
          if (act === "forget oldest") {
            if (model.length === 0) continue;
            const place = log.oldest();
            expect(place).toBe(model[0]?.place as number);
            log.removeOldest();
            ids.remove(place);
            model = model.slice(1);
          } else if (act === "touch") {
            const place = known?.place ?? ids.add(words);
            log.add(place, urgent);
            model = model.filter((one) => one !== known).concat({ row, place, urgent });
          } else if (known === undefined) {
            const place = ids.add(words);
            log.addFirst(place);
            model = [{ row, place, urgent: false }, ...model];
          }
          const found: { place: number; urgent: boolean }[] = [];
          for (let position = log.begin; position !== log.end; position = (position + 1) | 0) {
            const place = log.placeAt(position);
            if (place >= 0) found.push({ place, urgent: log.isUrgent(place) });
          }
          expect(found).toEqual(model.map(({ place, urgent }) => ({ place, urgent })));
        }
      }),
      { numRuns: 30 },
    );
  }
});
