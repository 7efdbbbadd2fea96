import { expect, test } from "bun:test";
import { FingerprintTree } from "./fingerprint-tree.ts";
import { RangeSums, rangesPerShard } from "./range-sums.ts";

// Three times as many changes as are kept apart, in a hundred ranges and in all of them.
test("what a step changed is the sum of its changes, however many there were", () => {
  for (const ranges of [100, rangesPerShard]) {
    const first = 5 * rangesPerShard;
    const sums = new RangeSums();
    const wanted = new FingerprintTree();
    for (let i = 0; i < 6 * rangesPerShard; i++) {
      const range = first + ((i * 7919) % ranges);
      const digest = { a: -i, b: i << 20, c: ~i, d: i };
      const before = i % 3 === 0 ? undefined : { a: i, b: -1, c: 1 << 31, d: -i };
      const after = i % 7 === 0 ? undefined : digest;
      sums.add(range, before, after);
      wanted.replace(range, before, after);
    }
    const found = new FingerprintTree();
    let entries = 0;
    sums.forEach((range, lanes, at) => {
      found.addDifference(range, lanes.slice(at));
      entries++;
    });
    for (let range = first; range < first + ranges; range++) {
      expect(found.fingerprint(4, range)).toBe(wanted.fingerprint(4, range));
      expect(found.rows(4, range)).toBe(wanted.rows(4, range));
    }
    expect(found.fingerprint(0, 0)).toBe(wanted.fingerprint(0, 0));
    const total = new FingerprintTree();
    total.addDifference(0, sums.total);
    expect(total.fingerprint(0, 0)).toBe(wanted.fingerprint(0, 0));
    expect(entries).toBeLessThanOrEqual(2 * rangesPerShard);
  }
});
