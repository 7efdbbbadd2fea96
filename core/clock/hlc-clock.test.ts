import { expect, test } from "bun:test";
import fc from "fast-check";
import { HlcClock } from "./hlc-clock.ts";
import { compareHlc, type Hlc, hlcCountMax, type Site } from "./stamp.ts";

const site = "00000000000000000000000000000001" as Site;

test("every stamp is larger than all that were issued or observed before, however the wall clock jumps", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("next" as const), ms: fc.nat({ max: 2 ** 41 }) }),
    fc.record({
      kind: fc.constant("observe" as const),
      ms: fc.nat({ max: 2 ** 41 }),
      count: fc.nat({ max: hlcCountMax }),
    }),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const clock = new HlcClock(site, { ms: 0, count: 0 });
      let largest: Hlc = { ms: 0, count: 0 };
      for (const { kind, ...at } of steps) {
        if (kind === "observe") {
          const seen = { ms: at.ms, count: (at as { count?: number }).count ?? 0 };
          clock.observe(seen);
          if (compareHlc(seen, largest) > 0) largest = seen;
        } else {
          const stamp = clock.next(at.ms);
          expect(compareHlc(stamp, largest)).toBeGreaterThan(0);
          largest = stamp;
        }
      }
    }),
  );
});

test("a counter that is full carries into the milliseconds", () => {
  const clock = new HlcClock(site, { ms: 1000, count: hlcCountMax });
  expect(clock.next(1000)).toEqual({ ms: 1001, count: 0, site });
});

test("reading issues nothing", () => {
  const clock = new HlcClock(site, { ms: 1000, count: 3 });
  expect(clock.read(999)).toEqual({ ms: 1000, count: 3 });
  expect(clock.read(1001.7)).toEqual({ ms: 1001, count: 0 });
  expect(clock.next(999)).toEqual({ ms: 1000, count: 4, site });
});
