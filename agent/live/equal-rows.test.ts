import { expect, spyOn, test } from "bun:test";
import { openLive } from "../../test/contract/live-bare.ts";
import { restoringStored } from "./known-rows.ts";
import { hashOf, type KnownRow, type StoredSubscription } from "./live-store.ts";
import { LinkedBuckets } from "./rows/linked-buckets.ts";
import { PackedRows } from "./rows/packed-rows.ts";
import type { Subscription } from "./subscription.ts";

/** Far fewer than the square, and far more than a few for each. */
const rowCount = 2000;
const looksMax = rowCount * 20;

/** How often a row was looked at while it ran. */
async function looksOf(use: () => Promise<void>): Promise<number> {
  const spies = [
    spyOn(PackedRows.prototype, "rowAt"),
    spyOn(PackedRows.prototype, "identityAt"),
    spyOn(PackedRows.prototype, "rowIdAt"),
    spyOn(LinkedBuckets.prototype, "after"),
  ];
  try {
    await use();
    return spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const manyRows = `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${rowCount})
  INSERT INTO t (id, name) SELECT i, 'a' FROM c`;

for (const [what, sql] of [
  ["equal rows", "SELECT name FROM t UNION ALL SELECT name FROM u"],
  [
    "rows of one identity that differ",
    "SELECT DISTINCT b.id, a.name || a.id FROM u b LEFT JOIN t a ON a.n >= b.n",
  ],
] as const) {
  test(`what becomes of thousands of ${what} is found without going through all for each`, async () => {
    const { subscribe, commit, told } = openLive();
    const { lines } = await subscribe(sql);
    const looks = async (write: string): Promise<number> => {
      commit(write, { t: "unknown", u: "unknown" });
      return looksOf(told);
    };
    commit("INSERT INTO u (id, name) VALUES (1, 'a')", { u: "unknown" });
    await told();
    expect(await looks(manyRows)).toBeLessThan(looksMax);
    expect(lines.length).toBeGreaterThanOrEqual(rowCount + 1);
    // Nothing has changed.
    const before = lines.length;
    expect(await looks("UPDATE t SET id = -id")).toBeLessThan(looksMax);
    expect(await looks("UPDATE t SET id = -id")).toBeLessThan(looksMax);
    expect(await looks("UPDATE t SET name = 'b'")).toBeLessThan(looksMax);
    expect(lines.length).toBeGreaterThanOrEqual(before + rowCount);
    expect(await looks("DELETE FROM t WHERE id > 5")).toBeLessThan(looksMax);
    expect(await looks("DELETE FROM t")).toBeLessThan(looksMax);
  });
}

test("equal rows of another run are claimed without going through all for each", () => {
  let looks = 0;
  class CountedMap extends Map<number, KnownRow> {
    override get(rowId: number): KnownRow | undefined {
      looks++;
      return super.get(rowId);
    }
  }
  const rows = new CountedMap();
  const cells = '["same"]';
  // The last half has other keys now.
  for (let i = 1; i <= rowCount; i++) {
    rows.set(i, { identity: hashOf(`${i},`), cellsHash: hashOf(cells), cells });
  }
  const claimed: (number | undefined)[] = [];
  let gone: unknown[] = [];
  const built = {
    restoring: (
      claim: (row: { identity: string; cells: string }) => number | undefined,
      unclaimed: () => Iterable<unknown>,
    ) => {
      for (let i = rowCount; i > rowCount / 2; i--)
        claimed.push(claim({ identity: `${i},`, cells }));
      for (let i = 4; i < rowCount / 2; i++)
        claimed.push(claim({ identity: `another ${i}`, cells }));
      gone = [...unclaimed()];
    },
  } as unknown as Subscription;
  restoringStored({ rows } as unknown as StoredSubscription, built);
  expect(claimed.slice(0, rowCount / 2)).toEqual(
    Array.from({ length: rowCount / 2 }, (_, i) => rowCount - i),
  );
  // Each of the others' ids once.
  expect(new Set(claimed).size).toBe(rowCount - 4);
  expect(claimed.includes(undefined)).toBe(false);
  expect(gone.length).toBe(4);
  expect(looks).toBeLessThan(looksMax);
});
