import { expect, test } from "bun:test";
import { restsMs, TurnPace } from "./turn-pace.ts";

const [restMs] = restsMs;

function createWorld() {
  const world = { ms: 5000, isReady: true, isHeard: false };
  const pace = new TurnPace(
    { isReady: () => world.isReady, isHeard: () => world.isHeard },
    () => world.ms,
  );
  /** One turn that works for so long. */
  const turn = (ms: number) => pace.during(() => (world.ms += ms));
  /** How long a slice is now. */
  const sliceMs = () => {
    const begunMs = world.ms;
    pace.begin();
    while (!pace.isOver()) world.ms += 0.25;
    return world.ms - begunMs;
  };
  return { world, pace, turn, sliceMs };
}

test("slices are short while somebody is served, and longer while this node isn't ready", () => {
  const { world, pace, sliceMs } = createWorld();
  expect(sliceMs()).toBe(8);
  pace.served();
  expect(sliceMs()).toBe(0.5);
  world.isReady = false;
  expect(sliceMs()).toBe(4);
  world.ms += 1000;
  expect(sliceMs()).toBe(8);
});

test("slices are a little shorter where somebody listens and nobody asks", () => {
  const { world, pace, turn, sliceMs } = createWorld();
  world.isHeard = true;
  expect(sliceMs()).toBe(2);
  turn(5);
  expect([pace.wantsRest, pace.takeCollection()]).toEqual([false, false]);
  world.isReady = false;
  expect(sliceMs()).toBe(8);
});

test("after a millisecond of work the thread is to rest, if somebody is served", () => {
  const { world, pace, turn } = createWorld();
  turn(5);
  expect(pace.wantsRest).toBe(false);
  pace.served();
  expect(pace.wantsRest).toBe(true);
  world.ms += restMs;
  turn(0.5);
  expect(pace.wantsRest).toBe(false);
  turn(0.5);
  expect(pace.wantsRest).toBe(true);
  // What it lacks comes first.
  world.isReady = false;
  expect(pace.wantsRest).toBe(false);
});

test("what is done within a turn counts once, and what throws counts", () => {
  const { world, pace, turn } = createWorld();
  pace.served();
  pace.during(() => turn(0.75));
  expect(pace.wantsRest).toBe(false);
  const failing = () =>
    pace.during(() => {
      world.ms += 0.25;
      throw new Error("a full disk");
    });
  expect(failing).toThrow("a full disk");
  turn(0.25);
  expect(pace.wantsRest).toBe(true);
});

test("to have had nothing to do is a rest", () => {
  const { world, pace, turn } = createWorld();
  pace.served();
  turn(0.75);
  world.ms += restMs;
  turn(0.75);
  expect(pace.wantsRest).toBe(false);
  world.ms += restMs / 2;
  turn(0.75);
  expect(pace.wantsRest).toBe(true);
});

test("garbage is collected now and then while somebody is served", () => {
  const { world, pace } = createWorld();
  expect(pace.takeCollection()).toBe(false);
  pace.served();
  expect([pace.takeCollection(), pace.takeCollection()]).toEqual([true, false]);
  world.ms += 59;
  expect(pace.takeCollection()).toBe(false);
  world.ms += 1;
  expect(pace.takeCollection()).toBe(true);
  world.ms += 2;
  pace.collected();
  world.ms += 58;
  expect(pace.takeCollection()).toBe(true);
});

test("collections that take longer are farther apart", () => {
  const { world, pace } = createWorld();
  pace.served();
  expect(pace.takeCollection()).toBe(true);
  world.ms += 10;
  pace.collected();
  world.ms += 259;
  pace.served();
  expect(pace.takeCollection()).toBe(false);
  world.ms += 1;
  expect(pace.takeCollection()).toBe(true);
});
