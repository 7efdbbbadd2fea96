import { expect, test } from "bun:test";
import { VacuumChore } from "./vacuum-chore.ts";

/** A file of which only the numbers of pages are known. */
class World {
  free = 0;
  pages = 0;
  wrote = 0;
  /** Pages that a slice asked for. */
  readonly slices: number[] = [];
  readonly chore: VacuumChore;

  constructor() {
    const writer = {
      pragma: (name: string) => (name === "freelist_count" ? this.free : this.pages),
      exec: (sql: string) => {
        const pages = Number(/^PRAGMA incremental_vacuum\((\d+)\)$/.exec(sql)?.[1]);
        this.slices.push(pages);
        const freed = Math.min(pages, this.free);
        this.free -= freed;
        this.pages -= freed;
      },
    };
    this.chore = new VacuumChore(writer as never, () => this.wrote++);
  }

  run(free: number, pages: number, nowMs = 1000): number {
    this.free = free;
    this.pages = pages;
    this.chore.run(nowMs);
    return this.chore.dueMs - nowMs;
  }
}

test("it looks at once, and leaves a file alone of which few pages are free", () => {
  const world = new World();
  expect(world.chore.dueMs).toBeLessThanOrEqual(0);
  // Of a small file a twelfth is nothing.
  expect(world.run(32, 40)).toBe(10_000);
  expect(world.run(80, 1000)).toBe(10_000);
  expect([world.slices, world.wrote, world.chore.pagesFreed]).toEqual([[], 0, 0]);
  expect(world.run(33, 40)).toBe(50);
  expect(world.slices).toEqual([32]);
});

test("once begun it goes on in small slices until a fiftieth is free", () => {
  const world = new World();
  expect(world.run(81, 1000)).toBe(50);
  expect([world.slices, world.wrote, world.chore.pagesFreed]).toEqual([[32], 1, 32]);
  expect(world.run(201, 10_000)).toBe(50);
  expect(world.chore.pagesFreed).toBe(64);
  expect(world.run(200, 10_000)).toBe(10_000);
  expect([world.slices, world.wrote, world.chore.pagesFreed]).toEqual([[32, 32], 2, 64]);
  // And then only above a twelfth again.
  expect(world.run(800, 10_000)).toBe(10_000);
  expect(world.run(801, 10_000)).toBe(50);
  expect(world.slices).toEqual([32, 32, 32]);
});

test("a file that somebody writes to meanwhile, and that has grown, counts for no page freed", () => {
  const world = new World();
  world.run(81, 1000);
  const { chore } = world;
  Object.defineProperty(world, "pages", { get: () => 2000 + world.slices.length, set: () => {} });
  chore.run(2000);
  expect(chore.pagesFreed).toBe(32);
});
