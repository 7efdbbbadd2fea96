import { expect, test } from "bun:test";
import fc from "fast-check";
import { HlcClock } from "./hlc-clock.ts";
import {
  compareHlc,
  compareStamps,
  type Hlc,
  hlcCountMax,
  type Site,
  type Stamp,
} from "./stamp.ts";

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

test("a stamp after a row's is larger than that, and is nobody else's; one that is far ahead moves the clock no further", () => {
  const step = fc.record({
    passMs: fc.nat({ max: 3000 }),
    // Of the row's last stamp against the time.
    aheadMs: fc.oneof(fc.nat({ max: 4000 }), fc.constantFrom(30_000, 30_001), fc.constant(-1)),
    count: fc.constantFrom(0, 1, 2, hlcCountMax - 1, hlcCountMax),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new HlcClock(site, { ms: 0, count: 0 });
      let nowMs = 1_000_000;
      const issued = new Set<string>();
      for (const { passMs, aheadMs, count } of steps) {
        nowMs += passMs;
        const before = aheadMs < 0 ? undefined : { ms: nowMs + aheadMs, count };
        const stamp = clock.nextAfter(before, nowMs);
        if (before !== undefined) expect(compareHlc(stamp, before)).toBeGreaterThan(0);
        expect(stamp.count >= 0 && stamp.count <= hlcCountMax).toBe(true);
        const name = `${stamp.ms}.${stamp.count}`;
        expect(issued.has(name)).toBe(false);
        issued.add(name);
        expect(clock.last.ms).toBeLessThanOrEqual(nowMs + 5010);
      }
    }),
    {
      examples: [
        [[20_000, 10_000, 0].map((passMs) => ({ passMs, aheadMs: 30_000, count: 0 }))],
        // The row has the very stamp that would be next.
        [[{ passMs: 1, aheadMs: 0, count: 0 }]],
        // The counts of the row's millisecond are used up, and some of the one after it are issued.
        [
          [
            { passMs: 0, aheadMs: 30_001, count: 0 },
            { passMs: 0, aheadMs: 30_000, count: hlcCountMax },
          ],
        ],
        [[{ passMs: 0, aheadMs: 30_000, count: hlcCountMax }]],
      ],
    },
  );
});

test("a row's stamp as far ahead as clocks that are right may be is followed", () => {
  const clock = new HlcClock(site, { ms: 0, count: 0 });
  expect(clock.nextAfter({ ms: 6000, count: 2 }, 1000)).toEqual({ ms: 6000, count: 3, site });
  expect(clock.last).toEqual({ ms: 6000, count: 3 });
  expect(clock.nextAfter({ ms: 6001, count: 2 }, 1000)).toEqual({ ms: 6001, count: 3, site });
  expect(clock.last).toEqual({ ms: 6000, count: 3 });
});

test("stamps are in the order of their time, then of their count, then of their site", () => {
  const at = (ms: number, count: number, last: string) =>
    ({ ms, count, site: last.padStart(32, "0") }) as Stamp;
  const ordered = [at(1, 1, "2"), at(1, 2, "1"), at(1, 2, "2"), at(2, 0, "1")];
  for (const [i, one] of ordered.entries()) {
    for (const [j, other] of ordered.entries()) {
      expect(Math.sign(compareStamps(one, { ...other }))).toBe(Math.sign(i - j));
      if (one.site === other.site) expect(Math.sign(compareHlc(one, other))).toBe(Math.sign(i - j));
    }
  }
});

test("the clock isn't set back to a later reading", () => {
  const clock = new HlcClock(site, { ms: 1000, count: 3 });
  expect(() => clock.setBack({ ms: 1000, count: 4 })).toThrow("set back to an earlier reading");
  clock.setBack({ ms: 1000, count: 3 });
  clock.setBack({ ms: 900, count: 0 });
  expect(clock.next(0)).toEqual({ ms: 900, count: 1, site });
});

test("the clock skips what it has issued ahead, when it gets there", () => {
  const clock = new HlcClock(site, { ms: 0, count: 0 });
  expect(clock.nextAfter({ ms: 30_000, count: 0 }, 1000)).toMatchObject({ ms: 30_000, count: 1 });
  expect(clock.nextAfter({ ms: 30_000, count: 0 }, 1000)).toMatchObject({ ms: 30_000, count: 2 });
  expect(clock.next(1000)).toMatchObject({ ms: 1000, count: 0 });
  expect(clock.next(30_000)).toMatchObject({ ms: 30_001, count: 0 });
});

test("reading issues nothing", () => {
  const clock = new HlcClock(site, { ms: 1000, count: 3 });
  expect(clock.read(999)).toEqual({ ms: 1000, count: 3 });
  expect(clock.read(1001.7)).toEqual({ ms: 1001, count: 0 });
  expect(clock.next(999)).toEqual({ ms: 1000, count: 4, site });
});
