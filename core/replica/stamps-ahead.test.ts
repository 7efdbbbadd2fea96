import { expect, test } from "bun:test";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { MapStore } from "../../test/model/map-store.ts";
import { encodeChangeset } from "../change/changeset.ts";
import { HlcClock } from "../clock/hlc-clock.ts";
import type { PeerId, StoreReply } from "../node/border.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { Replica } from "./replica.ts";
import { restampMs } from "./restamp.ts";

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
