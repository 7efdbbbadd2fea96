import { expect, test } from "bun:test";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { MapStore } from "../../test/model/map-store.ts";
import { type Changeset, encodeChangeset } from "../change/changeset.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import type { PeerId, StoreReply } from "../node/border.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { Drift } from "./drift.ts";
import { RowPace } from "./pace.ts";
import { Replica } from "./replica.ts";
import { restampMs } from "./restamp.ts";
import { StampsAhead } from "./stamps-ahead.ts";

const nowMs = 1_764_000_000_000;
const far = nowMs + 3_600_000;
const [own, other] = [siteOf(0), siteOf(1)];
const peer = "22".repeat(32) as PeerId;
const digester = createDigester();
const keyOf = (number: number): Uint8Array => encodeKey([number]) as Uint8Array;

function row(number: number, ms: number, site = own): RowState {
  const stamp = { ms, count: 0, site };
  const cells = [{ column: "a", stamp, value: "up" }];
  return { table: "t", key: keyOf(number), clock: { ...stamp, cl: 1 }, cells };
}

/** Of a host whose clock is right, by three peers of whom one is 10 ms ahead of it. */
function stampsAhead(ms = nowMs) {
  const store = new MapStore(digester);
  const clock = new HlcClock(own, { ms, count: 0 });
  const drift = new Drift();
  const rows = new RowPace(10);
  const state = { isFailing: false, begun: 0 };
  const begin = () => {
    state.begun++;
    rows.begin();
  };
  const pace = { begin, isOver: (done: number) => rows.isOver(done) };
  const isOwnSite = (site: string) => site === own;
  const parts = { store, clock, digester, drift, pace, isOwnSite };
  const trying = <T>(work: () => T) => (state.isFailing ? undefined : work());
  drift.setOffsets([0, 10, 10]);
  return { store, clock, drift, state, ahead: new StampsAhead({ ...parts, trying }) };
}

/** Slices until it ends. */
function finish(ahead: StampsAhead, told: Changeset[] = []): string[] {
  const steps: string[] = [];
  while (ahead.isRestamping) {
    expect(steps.length).toBeLessThan(1000);
    steps.push(ahead.slice(nowMs, told));
  }
  return steps;
}

test("what is stamped beyond what any peer may have taken is kept back, by the fleet's time", () => {
  const { ahead, clock } = stampsAhead();
  const limit = nowMs + 10 + restampMs;
  const seen = () => [ahead.isNone(nowMs), ahead.heldBackMs(nowMs)];
  expect([ahead.sentMsMax(nowMs), ...seen()]).toEqual([limit, true, 0]);
  ahead.met(limit);
  expect(seen()).toEqual([true, 0]);
  ahead.met(limit + 1);
  ahead.met(nowMs);
  expect(seen()).toEqual([false, restampMs + 1]);
  // All rows are gone through again.
  ahead.forget();
  expect(seen()).toEqual([true, 0]);
  clock.observe({ ms: far, count: 0 });
  expect(seen()).toEqual([false, far - nowMs - 10]);
});

test("nothing is stamped anew before it is needed, all rows are known and the peers say that the clock is right", () => {
  const { ahead, clock, drift } = stampsAhead();
  const begins = (isBuilt = true) => {
    ahead.beginWhenDue(isBuilt, nowMs);
    return ahead.isRestamping;
  };
  expect(ahead.slice(nowMs, [])).toBe("nothing");
  expect(begins()).toBe(false);
  ahead.met(nowMs + restampMs);
  expect(begins()).toBe(false);
  ahead.met(nowMs + restampMs + 1);
  expect(begins(false)).toBe(false);
  drift.setOffsets([6000, 6000, 6000]);
  expect(begins()).toBe(false);
  drift.setOffsets([0, 0, 0]);
  expect(begins()).toBe(true);
  for (const end of [() => ahead.giveUp(), () => ahead.forget()]) {
    clock.observe({ ms: far, count: 0 });
    expect(begins()).toBe(true);
    end();
    expect(ahead.isRestamping).toBe(false);
  }
});

test("what is under way isn't begun anew, and ends when the clock is wrong again or the store fails", () => {
  const { ahead, clock, drift, state, store } = stampsAhead(far);
  store.merge(Array.from({ length: 200 }, (_, number) => row(number, far)));
  const begin = () => ahead.beginWhenDue(true, nowMs);
  begin();
  for (let i = 0; !ahead.isWriting; i++) {
    expect(i).toBeLessThan(100);
    // The first scan needs some slices: were it begun anew, it would never end.
    begin();
    ahead.slice(nowMs, []);
  }
  drift.setOffsets([6000, 6000, 6000]);
  expect(ahead.slice(nowMs, [])).toBe("ends");
  expect([ahead.isRestamping, ahead.isWriting]).toEqual([false, false]);
  drift.setOffsets([0, 0, 0]);
  begin();
  state.isFailing = true;
  // No row has got another clock yet.
  expect(finish(ahead)).toEqual(["nothing"]);
  state.isFailing = false;
  begin();
  const { begun } = state;
  const steps = finish(ahead);
  expect(steps.filter((step) => step !== "nothing")).toEqual(["begins", "ends"]);
  expect(state.begun - begun).toBe(steps.length);
  expect([ahead.restampedRows, ahead.isNone(nowMs), clock.last.ms]).toEqual([200, true, nowMs]);
});

test("what the peers said while the clock was ahead counts for what was said meanwhile, and for nothing later", () => {
  const { ahead, clock, state, store } = stampsAhead(far);
  // The clock was set half a minute ago.
  const setMs = nowMs - 30_000;
  ahead.heard([setMs - far, setMs - far], far);
  const begin = () => ahead.beginWhenDue(true, nowMs);
  const stampsMs = () => store.read([row(0, 0), row(1, 0)]).map((held) => held?.clock.ms);
  store.merge([row(0, far - 9000), row(1, far - 5000)]);
  begin();
  state.isFailing = true;
  finish(ahead);
  state.isFailing = false;
  begin();
  finish(ahead);
  expect(stampsMs()).toEqual([setMs - 9000, setMs - 5000]);
  // Once more, by less, and nobody has told by how much: the last was said now.
  clock.observe({ ms: far - 60_000, count: 0 });
  store.merge([row(0, far - 69_000), row(1, far - 60_000)]);
  begin();
  finish(ahead);
  expect(stampsMs()).toEqual([nowMs - 9000, nowMs]);
});

function isAhead(store: MapStore, number: number): boolean {
  const [state] = store.read([{ table: "t", key: keyOf(number) }]);
  return (state?.clock.ms ?? 0) > nowMs + restampMs;
}

/** A host whose clock was an hour ahead and has been set: some of its rows are stamped anew, and most aren't yet. */
function restampingReplica() {
  const store = new MapStore(digester);
  const clock = new HlcClock(own, { ms: far, count: 0 });
  store.merge(Array.from({ length: 2000 }, (_, number) => row(number, far)));
  const options = { sliceRows: 100, passRowsPerTick: 100 };
  const replica = new Replica({ store, clock, digester, schema: [], options });
  const replies: StoreReply[] = [];
  const tickUntil = (isSo: () => boolean): void => {
    for (let ticks = 0; !isSo(); ticks++) {
      expect(ticks).toBeLessThan(1000);
      // What is recent goes first, for some moments.
      replica.tick(nowMs + ticks, replies);
    }
  };
  replica.start(nowMs, replies);
  tickUntil(() => replica.isBuilt);
  replica.handle({ kind: "peers", offsetsMs: [0, 0, 0], count: 3 }, nowMs, replies);
  tickUntil(() => !isAhead(store, 0));
  expect(isAhead(store, 1999)).toBe(true);
  /** Before the rows have been gone through once more, for the index. */
  const finish = (): void => {
    tickUntil(() => replica.status().clock.restampedRows > 0);
    expect(replica.isBuilt).toBe(false);
  };
  return { store, clock, replica, replies, finish };
}

// Or what is said here next of that row would be older than what it is said of: an older "up" would win over a "down".
test("the clock that is set back follows what peers' changes brought meanwhile", () => {
  const { store, clock, replica, replies, finish } = restampingReplica();
  const theirs = row(0, nowMs + 3000, other);
  const body = encodeChangeset({ stamp: theirs.clock, lane: 0, rows: [theirs] });
  const request = { kind: "apply", ticket: 1, lane: 0, peer, what: "changesets" } as const;
  replica.handle({ ...request, bodies: [body] }, nowMs, replies);
  expect(store.read([theirs])).toEqual([theirs]);
  finish();
  expect(clock.next(nowMs)).toMatchObject({ ms: nowMs + 3000 });
});

test("what is written here meanwhile is stamped anew with the rest", () => {
  const { store, clock, replica, replies, finish } = restampingReplica();
  const written = { table: "t", key: keyOf(0) };
  const values = new Map([["a", "down"]]);
  const commit = store.commit([{ kind: "put", ...written, values }], clock.next(nowMs));
  replica.committed(commit, nowMs, replies);
  finish();
  const [state] = store.read([written]);
  expect(state?.cells).toMatchObject([{ value: "down" }]);
  expect(state?.cells[0]?.stamp.ms).toBeLessThanOrEqual(nowMs + restampMs);
});
