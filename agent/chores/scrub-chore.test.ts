import { expect, test } from "bun:test";
import type { MergedRow, ScanPosition } from "../../core/row-store.ts";
import type { DamagedCell, ScrubSlice } from "../../core/store/scrub/scrub.ts";
import { ScrubChore } from "./scrub-chore.ts";

const never = Number.POSITIVE_INFINITY;
const minuteMs = 60_000;
const place = (n: number) => ({ n }) as unknown as ScanPosition;

class World {
  /** What it asked the store for: from where, how many rows, settled until when, at what time. */
  readonly asked: unknown[][] = [];
  readonly told: unknown[][] = [];
  readonly slices: ScrubSlice[] = [];
  readonly damaged: DamagedCell[] = [];
  readonly replica = { settledMs: 900 };
  readonly chore: ScrubChore;

  constructor(rowsPerSecond: number) {
    const store = {
      scrub: (...asked: unknown[]) => {
        this.asked.push(asked);
        return this.slices.shift() as ScrubSlice;
      },
      damaged: () => this.damaged,
    };
    this.chore = new ScrubChore(store as never, this.replica, rowsPerSecond, {
      onDamaged: (...told) => this.told.push(told),
    });
  }

  /** A slice goes through `rows` and ends at `next`. @returns when the next one is due */
  run(
    nowMs: number,
    rows: number,
    next: number | undefined,
    more: Partial<ScrubSlice> = {},
  ): number {
    const end = next === undefined ? undefined : place(next);
    this.slices.push({ rows, postponed: 0, damaged: 0, merged: [], next: end, ...more });
    this.chore.run(nowMs);
    return this.chore.dueMs;
  }

  get counts(): unknown {
    const { passes, rows_in_pass, cells_found_damaged } = this.chore.describe();
    return { passes, rows: rows_in_pass, found: cells_found_damaged };
  }
}

test("a scrub of no rows a second is never due", () => {
  expect(new World(0).chore.dueMs).toBe(never);
  expect(new World(1).chore.dueMs).toBeLessThanOrEqual(0);
});

test("it waits until the index is built", () => {
  const world = new World(1000);
  world.replica.settledMs = Number.NEGATIVE_INFINITY;
  expect(world.run(5000, 100, 1)).toBe(5200);
  expect(world.asked).toEqual([]);
});

test("a pass goes from place to place as fast as is asked, and the next begins ten minutes after it did", () => {
  const world = new World(1000);
  expect(world.run(5000, 100, 1)).toBe(5100);
  expect(world.run(5100, 50, 2)).toBe(5150);
  // Places where no rows are count for one.
  expect(world.run(5150, 0, 3)).toBe(5151);
  expect(world.counts).toEqual({ passes: 0, rows: 150, found: 0 });
  expect(world.run(5151, 7, undefined)).toBe(5000 + 10 * minuteMs);
  expect(world.counts).toEqual({ passes: 1, rows: 157, found: 0 });
  expect(world.asked).toEqual([
    [undefined, 100, 900, 5000],
    [place(1), 100, 900, 5100],
    [place(2), 100, 900, 5150],
    [place(3), 100, 900, 5151],
  ]);
  world.replica.settledMs = 700_000;
  expect(world.run(705_000, 10, undefined)).toBe(705_000 + 10 * minuteMs);
  expect(world.asked.at(-1)).toEqual([undefined, 100, 700_000, 705_000]);
  expect(world.counts).toEqual({ passes: 2, rows: 10, found: 0 });
});

test("rows that were too young have the next pass begin in 15 s, once; so does a pass of more than ten minutes", () => {
  const world = new World(1000);
  world.run(5000, 100, 1, { postponed: 1 });
  expect(world.run(5100, 100, undefined)).toBe(5100 + 15_000);
  expect(world.run(20_100, 100, undefined)).toBe(20_100 + 10 * minuteMs);
  world.run(700_000, 100, 1);
  expect(world.run(700_000 + 11 * minuteMs, 100, undefined)).toBe(700_000 + 11 * minuteMs + 15_000);
});

test("where the clock was set back during a pass the next one begins ten minutes after its end", () => {
  const world = new World(1000);
  world.run(3_600_000, 100, 1);
  expect(world.run(5100, 100, undefined)).toBe(5100 + 10 * minuteMs);
});

test("damage is told, and counted over all passes", () => {
  const world = new World(1000);
  const merged = [{ table: "t" }] as unknown as MergedRow[];
  world.run(5000, 100, undefined, { damaged: 2, merged });
  expect(world.told).toEqual([[merged, 2]]);
  world.run(700_000, 100, 1);
  world.run(700_100, 100, 2, { damaged: 1, merged });
  expect(world.told).toEqual([
    [merged, 2],
    [merged, 1],
  ]);
  expect(world.counts).toEqual({ passes: 1, rows: 200, found: 3 });
});

test("what is damaged now is told by table and column", () => {
  const world = new World(1000);
  const cell = (table: string, column: string): DamagedCell => {
    return { table, column, key: new Uint8Array(1), foundMs: 1 };
  };
  world.damaged.push(
    cell("a", "b"),
    cell("a", "c"),
    cell("a", "b"),
    cell("a b", "c"),
    cell("a", "b c"),
  );
  expect(world.chore.describe().damaged_now).toEqual([
    { table: "a", column: "b", cells: 2 },
    { table: "a", column: "c", cells: 1 },
    { table: "a b", column: "c", cells: 1 },
    { table: "a", column: "b c", cells: 1 },
  ]);
});

test("another schema has the pass begin anew", () => {
  const world = new World(1000);
  world.run(5000, 100, 1, { postponed: 1 });
  world.chore.schemaChanged();
  expect(world.run(6000, 40, undefined)).toBe(6000 + 10 * minuteMs);
  expect(world.asked.at(-1)).toEqual([undefined, 100, 900, 6000]);
  expect(world.counts).toEqual({ passes: 1, rows: 40, found: 0 });
});
