import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Lane } from "../../change/changeset.ts";
import type { Site } from "../../clock/stamp.ts";
import type { PeerId, Ticket } from "../border.ts";
import { createCounters } from "../counters.ts";
import type { Applied } from "../world.ts";
import { Applies, type ApplyRequest } from "./applies.ts";

const limits = {
  ...{ sliceBodiesMax: 4, sliceBytesMax: 600 },
  ...{ urgentBytesMax: 100_000, normalBytesMax: 2000, bulkBytesMax: 3000 },
};
const cut = 100;
const large = 1024 * 1024 + 1;

/** What came, and what became of it. */
interface Came {
  readonly body: Uint8Array;
  readonly what: ApplyRequest["what"];
  readonly peer: PeerId;
  readonly site: string;
  /** As of an urgent one, which may be applied as another that waits. */
  readonly lane: Lane;
  /** Of a changeset that isn't late. */
  readonly second: number | undefined;
  readonly atMs: number;
  posted: number;
  done: (Applied | undefined)[];
  state: "waits" | "open" | "applied" | "dropped";
}

interface Open {
  readonly ticket: Ticket;
  readonly request: ApplyRequest;
  readonly sinceMs: number;
}

/** It, and what is known of all that came. */
class Play {
  readonly counters = createCounters();
  readonly came: Came[] = [];
  open: Open[] = [];
  nowMs = 0;
  #ticket = 0;
  readonly #byBody = new Map<Uint8Array, Came>();
  /** Of each peer and site, the last urgent one that was posted as such. */
  readonly #lastUrgent = new Map<string, number>();
  readonly applies = new Applies(limits, this.counters, (request) => this.#post(request));

  #post(request: ApplyRequest): Ticket {
    for (const body of request.bodies) {
      const one = this.#byBody.get(body) as Came;
      expect([one.state, one.what, one.peer]).toEqual(["waits", request.what, request.peer]);
      if (one.lane !== 0) expect(request.lane).toBe(one.lane);
      one.state = "open";
      if (request.lane !== 0 || body.length >= large) continue;
      const [by, index] = [one.peer + one.site, this.came.indexOf(one)];
      expect(index).toBeGreaterThan(this.#lastUrgent.get(by) ?? -1);
      this.#lastUrgent.set(by, index);
    }
    const ticket = this.#ticket++;
    this.open.push({ ticket, request, sinceMs: this.nowMs });
    return ticket;
  }

  #note(one: Omit<Came, "posted" | "done" | "state" | "atMs">): Came {
    const came: Came = { ...one, atMs: this.nowMs, posted: 0, done: [], state: "waits" };
    this.came.push(came);
    this.#byBody.set(came.body, came);
    return came;
  }

  /** What was taken in a turn, and maybe dropped. */
  #taken(one: Came, droppedBefore: number): void {
    if (this.counters.applyDropped > droppedBefore) one.state = "dropped";
  }

  changeset(peer: string, site: string, lane: Lane, second: number, bytes: number): void {
    const isLate = second < cut - 5;
    const one = this.#note({
      ...{ body: new Uint8Array(bytes), what: "changesets", peer: peer as PeerId, site, lane },
      second: isLate ? undefined : second,
    });
    const dropped = this.counters.applyDropped;
    const posted = (): number => one.posted++;
    const { body } = one;
    const pushed = { peer: one.peer, source: peer, origin: site as Site, lane, body, posted };
    this.applies.changesetCame({ ...pushed, stampMs: second * 1000 }, cut - 5, this.nowMs);
    this.#taken(one, dropped);
  }

  rows(peer: string, lane: 1 | 2, bytes: number): void {
    const [body, id] = [new Uint8Array(bytes), peer as PeerId];
    const one = this.#note({ body, what: "rows", peer: id, site: "", lane, second: undefined });
    const dropped = this.counters.applyDropped;
    this.applies.rowsCame({ peer: id, lane, body }, this.nowMs, (how) => one.done.push(how));
    this.#taken(one, dropped);
  }

  answer(at: number): void {
    const [answered] = this.open.splice(at % this.open.length, 1);
    if (answered === undefined) return;
    const { ticket, request } = answered;
    for (const body of request.bodies) (this.#byBody.get(body) as Came).state = "applied";
    const rows = { rows: request.bodies.length, changed: 1 };
    this.applies.applied({ kind: "applied", ticket, ...rows, refused: [] });
  }

  pump(): void {
    this.applies.pump(this.nowMs);
  }

  of(state: Came["state"]): readonly Came[] {
    return this.came.filter((one) => one.state === state);
  }

  check(): void {
    const { applies } = this;
    const waiting = this.of("waits");
    expect(applies.count).toBe(waiting.length);
    const unfinished = [...waiting, ...this.of("open")];
    const seconds = unfinished.map(({ second }) => second ?? cut);
    expect(applies.newestCut(cut)).toBe(Math.min(cut, ...seconds));
    const since = this.open.map(({ sinceMs }) => sinceMs);
    expect(applies.openSinceMs).toBe(Math.min(...since));
    expect(applies.oldestMs).toBe(Math.min(...since, ...waiting.map(({ atMs }) => atMs)));
    const slices = this.open.filter(({ request }) => request.lane !== 0);
    // Of blocks of rows the next one, too.
    const areRows = slices.every(({ request }) => request.what === "rows");
    expect(slices.length).toBeLessThanOrEqual(areRows ? 2 : 1);
    for (const { request } of slices) {
      const bytes = request.bodies.reduce((sum, { length }) => sum + length, 0);
      if (request.bodies.length > 1) expect(bytes).toBeLessThanOrEqual(limits.sliceBytesMax);
      const bodiesMax = request.what === "rows" ? 1 : limits.sliceBodiesMax;
      expect(request.bodies.length).toBeLessThanOrEqual(bodiesMax);
    }
    for (const { what, state, done } of this.came) {
      const isOver = state === "applied" || state === "dropped";
      expect(done.length).toBe(what === "rows" && isOver ? 1 : 0);
      if (state === "dropped" && what === "rows") expect(done).toEqual([undefined]);
    }
  }
}

const peer = fc.constantFrom("a", "b", "c");
const bytes = fc.oneof(
  fc.integer({ min: 1, max: 200 }),
  fc.integer({ min: 1, max: 700 }),
  fc.constantFrom(20_000, 40_000, large),
);
const step = fc.oneof(
  fc.record({
    ...{ kind: fc.constant("changeset" as const), peer, site: fc.constantFrom("x", "y") },
    lane: fc.constantFrom<Lane>(0, 0, 0, 1, 2),
    second: fc.integer({ min: cut - 8, max: cut + 2 }),
    ...{ bytes, times: fc.constantFrom(1, 1, 1, 100) },
  }),
  fc.record({ kind: fc.constant("rows" as const), peer, lane: fc.constantFrom(1, 2), bytes }),
  fc.record({ kind: fc.constant("answer" as const), at: fc.nat(40) }),
  fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ kind: fc.constant("held" as const) }),
);

test("normal goes before bulk, and every fifth slice is bulk's", () => {
  const play = new Play();
  for (const lane of [1, 2] as const) {
    for (let i = 0; i < 20; i++) play.rows("a", lane, 50);
  }
  const lanes: Lane[] = [];
  for (play.pump(); play.open.length > 0; play.pump()) {
    lanes.push(play.open[0]?.request.lane as Lane);
    play.answer(0);
  }
  expect(lanes.slice(0, 20).filter((lane) => lane === 2).length).toBe(4);
  expect(lanes.slice(20, 25).filter((lane) => lane === 2).length).toBe(1);
  expect(lanes.length).toBe(40);
});

test("a slice is of changesets or of rows, of one peer", () => {
  const play = new Play();
  play.rows("a", 2, 50);
  play.pump();
  play.changeset("a", "x", 2, cut, 50);
  play.rows("a", 2, 50);
  play.changeset("b", "x", 2, cut, 50);
  const slices: [string, number][] = [];
  for (; play.open.length > 0; play.pump()) {
    const { what, bodies } = (play.open[0] as Open).request;
    slices.push([what, bodies.length]);
    play.answer(0);
  }
  expect(slices).toEqual([
    ["rows", 1],
    ["changesets", 1],
    ["changesets", 1],
    ["rows", 1],
  ]);
});

test("what is urgent doesn't overtake what was said before it, though the store has room for it alone", () => {
  const play = new Play();
  for (let i = 0; i < 40; i++) play.changeset("a", "x", 0, cut, 50);
  play.pump();
  expect(play.of("waits").length).toBeGreaterThan(0);
  play.answer(0);
  play.changeset("a", "x", 0, cut, 50);
  play.pump();
  // `Play` holds their order against the one in which they came.
  while (play.open.length > 0) {
    play.answer(0);
    play.pump();
  }
  expect(play.of("applied").length).toBe(41);
});

test("an answer to what was asked in an earlier life is skipped, and what is refused is counted", () => {
  const play = new Play();
  play.changeset("a", "x", 1, cut, 50);
  play.pump();
  const [{ ticket }] = play.open as [Open];
  const applied = { kind: "applied", rows: 0, changed: 0 } as const;
  const refused = [{ body: 0, why: "malformed" }];
  play.applies.applied({ ...applied, ticket: ticket + 1000, refused });
  expect([play.counters.bodiesRefused, play.applies.newestCut(cut + 1)]).toEqual([0, cut]);
  play.applies.applied({ ...applied, ticket, refused });
  expect([play.counters.bodiesRefused, play.applies.newestCut(cut + 1)]).toEqual([1, cut + 1]);
});

// Each once, none for ever, and what the net side says of them meanwhile is true.
test("whatever comes is applied or dropped, and the cut waits for it exactly as long", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const play = new Play();
      for (const one of steps) {
        if (one.kind === "changeset") {
          for (let i = 0; i < one.times; i++) {
            play.changeset(one.peer, one.site, one.lane, one.second, one.bytes);
          }
        } else if (one.kind === "rows") play.rows(one.peer, one.lane as 1 | 2, one.bytes);
        else if (one.kind === "answer" && play.open.length > 0) play.answer(one.at);
        else if (one.kind === "pass") play.nowMs += one.ms;
        else if (one.kind === "held") {
          play.applies.tellHeldBack();
          play.applies.tellHeldBack();
        }
        play.pump();
        play.check();
        for (const { posted } of play.came) expect(posted).toBeLessThan(2);
      }
      // Nothing waits while the store has nothing to do.
      for (let turns = 0; play.applies.count + play.open.length > 0; turns++) {
        expect(play.open.length).toBeGreaterThan(0);
        expect(turns).toBeLessThan(play.came.length + 1);
        play.answer(0);
        play.pump();
        play.check();
      }
      expect(play.applies.newestCut(cut)).toBe(cut);
      expect([play.applies.normalBytes, play.applies.bulkBytes]).toEqual([0, 0]);
      // As much room as ever.
      const before = play.counters.applyDropped;
      for (let i = 0; i < 4; i++) play.changeset("a", "x", 0, cut, 20_000);
      play.pump();
      expect(play.of("open").length).toBeGreaterThan(0);
      expect(play.counters.applyDropped).toBe(before);
      for (const [lane, size] of [
        [1, limits.normalBytesMax],
        [2, limits.bulkBytesMax],
      ] as const) {
        while (play.open.length > 0) play.answer(0);
        play.rows("c", 1, 1);
        play.pump();
        // What is alone there may be of any size.
        play.rows("c", lane, size + 1);
        expect(play.counters.applyDropped).toBe(before);
        play.answer(0);
        play.pump();
      }
    }),
    { numRuns: 150 },
  );
});
