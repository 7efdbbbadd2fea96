/**
 * The merge against another implementation: cr-sqlite, fed the same records, has the same rows.
 *
 * More of them: `bun test/differential/soak.ts 10000`.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { openCrsqliteWasm, packKey } from "../../bench/crsqlite.ts";
import { isLive, type RowClock } from "../../core/clock/row-clock.ts";
import { Real, type SqlValue } from "../../core/row/value.ts";
import { compareHistory } from "./compare.ts";
import { acts, clockOfCell, recordsOf, runHistory } from "./sql-history.ts";

/** In parts, so that one test stays short. */
const parts = 10;
const historiesPerPart = 50;

for (let part = 0; part < parts; part++) {
  test(`cr-sqlite has the rows that a replica has, whatever the order of delivery (${part + 1} of ${parts})`, async () => {
    await fc.assert(
      fc.asyncProperty(acts(), fc.nat(), async (history, seed) => {
        const { crsqlite, wholeRows, smallest } = await compareHistory(history, seed);
        expect(wholeRows).toEqual(crsqlite);
        expect(smallest).toEqual(crsqlite);
      }),
      { numRuns: historiesPerPart },
    );
  }, 120_000);
}

test("the histories have what they are to have", () => {
  let conflicts = 0;
  let revived = 0;
  let dead = 0;
  let later = 0;
  for (const history of fc.sample(acts(), { numRuns: 60, seed: 1 })) {
    for (const row of recordsOf(runHistory(history))) {
      const stamps = row.cells.map(({ column, stamp }) => `${column} ${JSON.stringify(stamp)}`);
      if (new Set(stamps).size < stamps.length) conflicts++;
      const last = row.clocks.at(-1) as RowClock;
      if (isLive(last) && row.clocks.some((clock) => !isLive(clock))) revived++;
      if (!isLive(last)) dead++;
      if (row.cells.some((cell) => !isLive(clockOfCell(row, cell)))) later++;
    }
  }
  // Two values under one stamp; a life after a death; a death; a cell later than a death it didn't know of.
  for (const count of [conflicts, revived, dead, later]) expect(count).toBeGreaterThan(10);
});

test("keys are packed as cr-sqlite packs them", async () => {
  using peer = await openCrsqliteWasm();
  const literals: [string, SqlValue][] = [
    ["0", 0],
    ["1", 1],
    ["127", 127],
    ["70000", 70_000],
    ["-1", -1],
    ["-70000", -70_000],
    ["9223372036854775807", 2n ** 63n - 1n],
    ["1.5", new Real(1.5)],
    ["''", ""],
    ["'é'", "é"],
    ["x'00ff'", Uint8Array.of(0, 255)],
  ];
  for (const [literal, value] of literals) {
    const [packed] = peer.texts(`SELECT hex(crsql_pack_columns(7, ${literal}, 'x'))`);
    expect({ literal, hex: Buffer.from(packKey([7, value, "x"])).toString("hex") }).toEqual({
      literal,
      hex: packed?.toLowerCase() as string,
    });
  }
});
