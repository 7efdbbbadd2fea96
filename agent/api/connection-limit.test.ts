import { expect, test } from "bun:test";
import { ConnectionLimit } from "./connection-limit.ts";

function limitOf(connectionsMax: number, descriptorsMax: number) {
  const world = { count: 10, idle: 0, paused: false, told: [] as boolean[] };
  const limit = new ConnectionLimit({
    connectionsMax,
    closeIdle: () => {
      const closed = world.idle;
      world.count -= closed;
      world.idle = 0;
      return closed;
    },
    onPaused: (isPaused) => world.told.push(isPaused),
    descriptors: {
      count: () => world.count,
      max: () => descriptorsMax,
      pause: (isPaused) => {
        world.paused = isPaused;
      },
    },
  });
  const at = (count: number, idle = 0): boolean => {
    world.count = count;
    world.idle = idle;
    limit.look();
    return world.paused;
  };
  return { at, world, stop: () => limit.stop() };
}

test("above the limit TCP pauses, and goes on a good deal below", () => {
  const { at, world, stop } = limitOf(1000, 100_000);
  expect([at(1000), at(1001), at(950), at(1500), at(899)]).toEqual([
    false,
    true,
    true,
    true,
    false,
  ]);
  expect(world.told).toEqual([true, false]);
  stop();
});

test("idle connections go first", () => {
  const { at, world, stop } = limitOf(1000, 100_000);
  expect(at(1200, 500)).toBe(false);
  expect(world.count).toBe(700);
  expect(at(1200, 50)).toBe(true);
  stop();
});

test("some descriptors are kept whatever the limit, half where there are few", () => {
  const few = limitOf(8192, 256);
  expect([few.at(128), few.at(129)]).toEqual([false, true]);
  few.stop();
  const many = limitOf(8192, 4096);
  expect([many.at(3072), many.at(3073)]).toEqual([false, true]);
  many.stop();
});
