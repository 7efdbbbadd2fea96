import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Digest } from "../row/digest.ts";
import { FingerprintTree, nodeOfRange, rangeLevel } from "./fingerprint-tree.ts";

const lane = () => fc.oneof(fc.constantFrom(0, 1, 0x7fffffff, -0x80000000, -1), fc.nat());
const digest = (): fc.Arbitrary<Digest> =>
  fc.record({ a: lane(), b: lane(), c: lane(), d: lane() });

function bigOf({ a, b, c, d }: Digest): bigint {
  return [d, c, b, a].reduce((high, lane) => (high << 32n) | BigInt(lane >>> 0), 0n);
}

const hex = (sum: bigint) => BigInt.asUintN(128, sum).toString(16).padStart(32, "0");

// The clever structure equals the naive one: sums over all rows under each node, mod 2^128.
test("a node's sum is the sum of the digests under it, after any additions, changes and removals", () => {
  const change = fc.record({
    range: fc.oneof(fc.constantFrom(0, 1, 15, 16, 255, 256, 65535), fc.nat(65535)),
    before: fc.option(digest(), { nil: undefined }),
    after: fc.option(digest(), { nil: undefined }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const tree = new FingerprintTree();
      const naive = new Map<string, { sum: bigint; count: number }>();
      for (const { range, before, after } of changes) {
        // A row has to be there before it can go.
        if (before !== undefined) tree.add(range, before);
        tree.replace(range, before, after);
        for (let level = 0; level <= rangeLevel; level++) {
          const name = `${level}/${nodeOfRange(range, level)}`;
          const node = naive.get(name) ?? { sum: 0n, count: 0 };
          naive.set(name, {
            sum: node.sum + (after === undefined ? 0n : bigOf(after)),
            count: node.count + (after === undefined ? 0 : 1),
          });
        }
      }
      for (const [name, { sum, count }] of naive) {
        const [level, node] = name.split("/").map(Number) as [number, number];
        expect(tree.fingerprint(level, node)).toBe(hex(sum));
        expect(tree.rows(level, node)).toBe(count);
        if (level === 0) continue;
        const siblings = tree.childFingerprints(level - 1, node >>> 4);
        expect(siblings[node & 15]).toBe(hex(sum).slice(16));
      }
    }),
  );
});

test("a row added and subtracted leaves the empty tree", () => {
  const tree = new FingerprintTree();
  const row = { a: -1, b: -1, c: -1, d: -1 };
  tree.add(4711, row);
  tree.add(4711, row);
  tree.subtract(4711, row);
  expect([tree.rows(0, 0), tree.fingerprint(4, 4711)]).toEqual([1, "f".repeat(32)]);
  tree.subtract(4711, row);
  expect([tree.rows(0, 0), tree.fingerprint(0, 0)]).toEqual([0, "0".repeat(32)]);
});
