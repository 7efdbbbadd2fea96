/**
 * Arbitrary values, keys, stamps and rows for property tests, with the odd inputs that have bitten others.
 *
 * @module
 */

import fc from "fast-check";
import type { RowClock } from "../../core/clock/row-clock.ts";
import { compareStamps, type Site, type Stamp } from "../../core/clock/stamp.ts";
import { encodeKey } from "../../core/row/key.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { RawText, Real, type SqlValue } from "../../core/row/value.ts";

export const sites: readonly Site[] = [
  "00000000000000000000000000000001" as Site,
  "7fffffffffffffffffffffffffffffff" as Site,
  "ffffffffffffffffffffffffffffffff" as Site,
];

/** Any SQLite value; the extremes come often. */
export function sqlValue(): fc.Arbitrary<SqlValue> {
  return fc.oneof(
    fc.constantFrom<SqlValue>(
      null,
      0,
      1,
      -1,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
      2n ** 63n - 1n,
      -(2n ** 63n),
      2n ** 53n,
      new Real(0),
      new Real(-0),
      new Real(1),
      new Real(Number.POSITIVE_INFINITY),
      new Real(5e-324),
      new Real(2 ** 53),
      new Real(9.223372036854776e18),
      "",
      "5",
      "up",
      '{"broken": ',
      "\u{1f600}",
      "a\u0000b",
      new RawText(new Uint8Array([0xff, 0xfe])),
      new Uint8Array(0),
      new Uint8Array([0, 255]),
    ),
    fc.integer(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(normalInteger),
    fc.double({ noNaN: true }).map((real) => new Real(real)),
    fc.string({ unit: "binary" }),
    fc.uint8Array({ maxLength: 64 }),
  );
}

/** Few distinct stamps, so that ties and overtaking happen. */
export function stamp(): fc.Arbitrary<Stamp> {
  return fc.record({
    ms: fc.integer({ min: 1000, max: 1004 }),
    count: fc.integer({ min: 0, max: 1 }),
    site: fc.constantFrom(...sites),
  });
}

export function key(): fc.Arbitrary<Uint8Array> {
  return fc
    .array(
      sqlValue().filter((value) => value !== null),
      { minLength: 1, maxLength: 3 },
    )
    .map((values) => encodeKey(values) as Uint8Array);
}

/** A well-formed state of any row, or of the one given. */
export function rowState(
  of: { table?: string; key?: Uint8Array; columns?: readonly string[] } = {},
): fc.Arbitrary<RowState> {
  const columns = of.columns ?? ["a", "b", "c"];
  return fc
    .record({
      table:
        of.table === undefined ? fc.constantFrom("instances", "services") : fc.constant(of.table),
      key: of.key === undefined ? key() : fc.constant(of.key),
      stamp: stamp(),
      cl: fc.integer({ min: 1, max: 4 }),
      cells: fc.uniqueArray(
        fc.record({ column: fc.constantFrom(...columns), stamp: stamp(), value: sqlValue() }),
        { selector: (cell) => cell.column },
      ),
    })
    .map(({ table, key: bytes, stamp: at, cl, cells }) => {
      const clock: RowClock = { ...at, cl };
      return {
        table,
        key: bytes,
        clock,
        cells: cells
          .filter((cell) => compareStamps(cell.stamp, clock) >= 0)
          .sort((a, b) => (a.column < b.column ? -1 : 1)),
      };
    });
}

function normalInteger(value: bigint): number | bigint {
  const narrow = Number(value);
  return Number.isSafeInteger(narrow) ? narrow : value;
}
