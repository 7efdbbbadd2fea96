import { expect, test } from "bun:test";
import fc from "fast-check";
import { RecentClocks } from "./recent-clocks.ts";

const table = fc.constantFrom("a", "b");
const key = fc.oneof(
  fc.integer({ min: 0, max: 40 }).map((n) => Buffer.from(`key ${n}`)),
  fc.uint8Array({ minLength: 44, maxLength: 48 }),
);
const clock = fc.uint8Array({ minLength: 12, maxLength: 130 });
const rowid = fc.oneof(fc.maxSafeInteger(), fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }));

// What it gives back is what was put last, whatever was forgotten in between; it may give nothing.
test("recent clocks are those put last, or unknown", () => {
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(fc.constant("put" as const), table, key, rowid, clock) },
    { weight: 2, arbitrary: fc.tuple(fc.constant("forget" as const), table, key) },
    { weight: 1, arbitrary: fc.tuple(fc.constant("forget all" as const)) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const clocks = new RecentClocks();
      const model = new Map<string, { rowid: number | bigint; clock: Uint8Array }>();
      const nameOf = (name: string, bytes: Uint8Array) => `${name} ${Buffer.from(bytes).toHex()}`;
      for (const [what, ...rest] of steps) {
        if (what === "forget all") {
          clocks.forgetAll();
          model.clear();
          continue;
        }
        const [name, bytes, id, blob] = rest as [string, Uint8Array, number | bigint, Uint8Array];
        if (what === "forget") {
          clocks.forget(name, bytes);
          model.delete(nameOf(name, bytes));
        } else {
          clocks.find(name, bytes);
          clocks.put(name, bytes, id, blob);
          model.set(nameOf(name, bytes), { rowid: id, clock: blob });
        }
        const held = model.get(nameOf(name, bytes));
        if (!clocks.find(name, bytes)) {
          const isKept = typeof held?.rowid === "number" && held.clock.length <= 128;
          expect(held !== undefined && isKept && bytes.length <= 46).toBe(false);
          continue;
        }
        const found = clocks.bytes.slice(clocks.start, clocks.end);
        expect({ rowid: clocks.rowid, clock: found }).toEqual({
          rowid: Number(held?.rowid),
          clock: new Uint8Array(held?.clock ?? []),
        });
      }
    }),
  );
});

test("of many rows some are forgotten, and what is known is right", () => {
  const clocks = new RecentClocks();
  const clockOf = (row: number) => new Uint8Array(new Float64Array([row, row + 1]).buffer);
  const keyOf = (row: number) => Buffer.from(`row ${row}`);
  const rows = 60_000;
  for (let row = 0; row < rows; row++) {
    clocks.find("t", keyOf(row));
    clocks.put("t", keyOf(row), row, clockOf(row));
  }
  let known = 0;
  const wrong: number[] = [];
  for (let row = 0; row < rows; row++) {
    if (!clocks.find("t", keyOf(row))) continue;
    known++;
    const clock = clockOf(row);
    const found = clocks.bytes.subarray(clocks.start, clocks.end);
    if (clocks.rowid !== row || found.some((byte, i) => byte !== clock[i])) wrong.push(row);
  }
  expect(wrong).toEqual([]);
  expect(known).toBeGreaterThan(25_000);
  expect(known).toBeLessThanOrEqual(32_768);
}, 120_000);
