import { afterAll, afterEach, expect, spyOn, test } from "bun:test";
import type { StoreRequest } from "../../core/node/border.ts";
import { StoreTurns, type StoreTurnsParts } from "./store-turns.ts";
import { TurnMeter } from "./turn-meter.ts";
import { restsMs, TurnPace } from "./turn-pace.ts";

/** A store thread whose replica takes a turn of 5 ms for each request, by a clock of the test's. */
function createWorld(isBusy: boolean) {
  const world = { ms: 5000 };
  const pace = new TurnPace({ isReady: () => true, isHeard: () => false }, () => world.ms);
  const never = Number.POSITIVE_INFINITY;
  const handled: string[] = [];
  const due = { ms: never };
  const wal = {
    noteWork: () => {},
    checkpointWhenDue: () => {},
    idleAtMs: never,
    holdsBack: false,
    holdsBackUrgent: false,
  };
  const replica = {
    isBusy: false,
    isBuilt: true,
    hasOwnWork: false,
    writes: false,
    keepsMany: false,
    pollTimeout: () => due.ms,
    handle: ({ kind }: StoreRequest) => {
      handled.push(kind);
      world.ms += 5;
      replica.isBusy = isBusy;
    },
    tick: () => handled.push("tick"),
  };
  const turns = new StoreTurns({
    replica,
    clock: { nowMs: () => world.ms },
    meter: new TurnMeter(),
    pace,
    collect: () => handled.push("collect"),
    wal,
    chores: { dueMs: never, run: () => {} },
    sweep: () => {},
  } as unknown as StoreTurnsParts);
  return { pace, turns, handled, due, replica, wal };
}

const question = { kind: "recent", ticket: 1 } as unknown as StoreRequest;
const urgent = { kind: "apply", lane: 0, bodies: [] } as unknown as StoreRequest;
const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Rests are the only timers of these worlds. */
const timers = spyOn(globalThis, "setTimeout");
afterEach(() => timers.mockClear());
afterAll(() => timers.mockRestore());

test("one thing is done a turn; while somebody is served the thread rests between them", async () => {
  const { pace, turns, handled } = createWorld(false);
  turns.request(question);
  turns.request(question);
  await nextTurn();
  expect(handled).toEqual(["recent"]);
  await nextTurn();
  expect(handled).toEqual(["recent", "recent"]);
  expect(timers).toHaveBeenCalledTimes(0);
  pace.served();
  turns.request(question);
  expect(timers.mock.calls.map(([, ms]) => ms)).toEqual([restsMs[0]]);
  timers.mock.calls[0]?.[0]();
  expect(handled).toEqual(["recent", "recent", "collect"]);
  expect(timers.mock.calls.map(([, ms]) => ms)).toEqual([...restsMs]);
  timers.mock.calls[1]?.[0]();
  expect(handled).toEqual(["recent", "recent", "collect", "recent"]);
  turns.stop();
});

test("it doesn't rest within a transaction, nor before what is urgent", async () => {
  const { pace, turns, handled } = createWorld(true);
  pace.served();
  turns.request(question);
  await nextTurn();
  expect(handled).toEqual(["recent"]);
  turns.request(question);
  await nextTurn();
  expect(handled).toEqual(["recent", "collect"]);
  await nextTurn();
  expect(handled).toEqual(["recent", "collect", "tick"]);
  turns.request(urgent);
  expect(handled).toEqual(["recent", "collect", "tick", "apply"]);
  expect(timers).toHaveBeenCalledTimes(0);
  turns.stop();
});

test("garbage isn't collected while the rows of a large changeset are kept", async () => {
  const { pace, turns, handled, replica } = createWorld(true);
  pace.served();
  replica.keepsMany = true;
  turns.request(question);
  await nextTurn();
  turns.request(question);
  await nextTurn();
  expect(handled).toEqual(["recent", "tick"]);
  turns.stop();
});

test("urgent changes wait while the WAL begins anew, and are done in their order", async () => {
  const { turns, handled, wal } = createWorld(false);
  wal.holdsBackUrgent = true;
  turns.request({ kind: "members" } as unknown as StoreRequest);
  turns.request(urgent);
  turns.request({ kind: "peers" } as unknown as StoreRequest);
  // Another hold has ended.
  turns.roundEnded();
  expect(handled).toEqual(["peers"]);
  wal.holdsBackUrgent = false;
  turns.roundEnded();
  expect(handled).toEqual(["peers", "members", "apply"]);
  turns.stop();
});

test("once it has stopped nothing more is done: not what waits, not what comes, not what is due", async () => {
  const waiting = createWorld(false);
  waiting.turns.request(question);
  waiting.turns.stop();
  waiting.turns.request(question);
  waiting.turns.request({ kind: "members" } as unknown as StoreRequest);
  await nextTurn();
  expect(waiting.handled).toEqual([]);

  // At rest between two turns.
  const resting = createWorld(false);
  resting.turns.request(question);
  await nextTurn();
  resting.pace.served();
  resting.turns.request(question);
  const [[turn]] = timers.mock.calls as unknown as [[() => void]];
  resting.turns.stop();
  turn();
  expect(resting.handled).toEqual(["recent"]);

  // The timer of what is due: it is cleared, and one that fires all the same does nothing.
  timers.mockClear();
  const armed = createWorld(false);
  armed.due.ms = 6000;
  armed.turns.afterWork();
  const [[timeout, ms]] = timers.mock.calls as unknown as [[() => void, number]];
  const timer: unknown = timers.mock.results[0]?.value;
  expect(ms).toBe(1000);
  const cleared = spyOn(globalThis, "clearTimeout");
  armed.turns.stop();
  expect(cleared.mock.calls.at(-1)?.[0] as unknown).toBe(timer);
  cleared.mockRestore();
  timeout();
  armed.turns.afterWork();
  armed.due.ms = 0;
  armed.turns.afterWork();
  armed.turns.askTurn();
  await nextTurn();
  expect([armed.handled, armed.turns.isStopped]).toEqual([[], true]);
  expect(timers).toHaveBeenCalledTimes(1);
});

test("bulk that waits for the disk, or was begun, is still to come, however long ago it came", async () => {
  const { turns, handled, replica, wal } = createWorld(false);
  const bulk = { kind: "apply", lane: 2, bodies: [] } as unknown as StoreRequest;
  wal.holdsBack = true;
  turns.request(bulk);
  const now = spyOn(performance, "now").mockReturnValue(performance.now() + 60_000);
  try {
    await nextTurn();
    expect([handled, turns.isCatchingUp]).toEqual([[], true]);
    wal.holdsBack = false;
    turns.askTurn();
    await nextTurn();
    expect([handled, turns.isCatchingUp]).toEqual([["apply"], false]);
    replica.writes = true;
    expect(turns.isCatchingUp).toBe(true);
  } finally {
    now.mockRestore();
    turns.stop();
  }
});
