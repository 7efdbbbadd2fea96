import { expect, test } from "bun:test";
import fc from "fast-check";
import type { ReadRow } from "./row.ts";
import { HashClaims, rowHash } from "./row-hashes.ts";

const row = fc
  .tuple(fc.constantFrom("a", "b", "c"), fc.constantFrom("[1]", "[2]"))
  .map(([identity, cells]): ReadRow => ({ identity, cells }));

const text = ({ identity, cells }: ReadRow) => `${identity} ${cells}`;

/** What is in `first` more often than in `second`, each as often as it is too many. */
function less(first: readonly ReadRow[], second: readonly ReadRow[]): string[] {
  const rest = second.map(text);
  return first
    .map(text)
    .filter((one) => {
      const at = rest.indexOf(one);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    })
    .sort();
}

// Rows are a multiset: what is there now and wasn't, and what was and isn't.
test("what is claimed and what is left are the two differences", () => {
  fc.assert(
    fc.property(fc.array(row), fc.array(row), fc.bigInt({ min: 0n, max: 9n }), (was, is, seed) => {
      const claims = new HashClaims({
        hashes: BigUint64Array.from(was, (one) => rowHash(one, seed)),
        seed,
      });
      const come = is.filter((one) => !claims.claim(one));
      const gone = [...claims.unclaimed()].map((at) => was[at] as ReadRow);
      expect(come.map(text).sort()).toEqual(less(is, was));
      expect(gone.map(text).sort()).toEqual(less(was, is));
    }),
  );
});

test("hashes that meet in their low bits are told apart", () => {
  const hashes = BigUint64Array.from([5n, 5n + (1n << 32n), 5n + (1n << 40n)]);
  const claims = new HashClaims({ hashes, seed: 0n });
  expect([...claims.unclaimed()]).toEqual([0, 1, 2]);
});

test("a hundred thousand equal rows are no slower than others", () => {
  const same = { identity: "x", cells: "x" };
  const hashes = new BigUint64Array(100_000).fill(rowHash(same, 1n));
  const claims = new HashClaims({ hashes, seed: 1n });
  for (let i = 0; i < 99_999; i++) expect(claims.claim(same)).toBe(true);
  expect([...claims.unclaimed()]).toEqual([99_999]);
});
