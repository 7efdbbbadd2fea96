import { describe, expect, test } from "bun:test";
import { sha256 } from "../../agent/host/sha256.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { changeset, helloOf, keyOf, PlayedNode, push, site } from "../../test/played-node.ts";
import { changesetId, type Lane } from "../change/changeset.ts";
import type { Frame } from "../change/frame.ts";
import { decodeHello } from "../change/hello.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import { hlcZero } from "../clock/stamp.ts";
import type { RowId } from "../row/digest.ts";
import type { PeerId, StoreRequest } from "./border.ts";
import type { NodeEffect } from "./node-events.ts";

describe("hello", () => {
  test("is sent on connection once the store has told who it is", () => {
    const a = new PlayedNode("a");
    a.do({ kind: "connected", peer: keyOf("b") });
    expect(a.sent()).toEqual([]);
    a.start(1);
    a.do({ kind: "connected", peer: keyOf("c") });
    const hello = a.sent()[0] as Extract<Frame, { kind: "hello" }>;
    expect(decodeHello(hello.body)).toMatchObject({
      hello: { name: "a", zone: "a-zone", site: site(1), starting: false },
    });
  });

  test("comes before everything else: a peer that begins with another frame is closed", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.do({ kind: "connected", peer: keyOf("b") });
    a.receive(keyOf("b"), push(2, 1, 1));
    expect(a.closed()).toEqual(["push before hello"]);
    // It is forgotten: what it sends afterwards is nobody's.
    a.receive(keyOf("b"), helloOf("b"));
    expect(a.effects).toEqual([]);
  });

  test("is waited for up to a minute", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.do({ kind: "connected", peer: keyOf("b") });
    a.pass(59_000);
    expect(a.closed()).toEqual([]);
    a.pass(2000);
    expect(a.closed()).toEqual(["it says no hello"]);
  });

  test.each([
    ["frames", { protocol: [2, 3] as [number, number] }, "speaks frames of version 2 to 3"],
    ["digests", { digests: [2] }, "computes digests of version 2"],
    ["scopes", { scopes: [7] }, "no scope in common"],
  ])("without common %s the peer is closed, with the reason", (_, change, why) => {
    const a = new PlayedNode("a");
    a.start(1);
    a.do({ kind: "connected", peer: keyOf("b") });
    a.receive(keyOf("b"), helloOf("b", change));
    expect(a.closed()[0]).toContain(why);
  });

  test("another schema is an alarm and nothing more", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.do({ kind: "connected", peer: keyOf("b") });
    a.receive(keyOf("b"), helloOf("b", { schema: [{ table: "t", columns: [] }] }));
    expect(a.effects).toContainEqual(
      expect.objectContaining({ kind: "alarm", alarm: "schema-differs" }),
    );
    expect(a.closed()).toEqual([]);
  });

  test("a name that is taken is told of once, whether the store or the peer said who it is first", () => {
    const a = new PlayedNode("a");
    const told = () => a.effects.flatMap((one) => (one.kind === "alarm" ? [one.text] : []));
    a.do({ kind: "connected", peer: keyOf("b") });
    a.receive(keyOf("b"), helloOf("a"));
    expect(told()).toEqual(["two nodes are called a"]);
    a.start(1);
    expect(told()).toEqual([]);
    a.do({ kind: "connected", peer: keyOf("c") });
    a.receive(keyOf("c"), helloOf("a"));
    // Nor is it counted as one that was not told.
    expect(told()).toEqual(["two nodes are called a"]);
  });

  test("schemas are judged again whenever one side has got another", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    const schema = [{ table: "t", columns: [] }];
    const alarms = () => a.effects.filter((effect) => effect.kind === "alarm").length;
    const reloaded = (own: typeof schema, starting = false) =>
      a.reply({ kind: "identity", site: site(1), schema: own, starting });
    const heard = (theirs: typeof schema) => a.receive(b, helloOf("b", { schema: theirs }));
    // The own one is another now, and then theirs is the same.
    reloaded(schema);
    expect(alarms()).toBe(1);
    heard(schema);
    expect(alarms()).toBe(0);
    // What is news isn't held back because it was told within the minute.
    heard([]);
    expect(alarms()).toBe(1);
    // What differs as before isn't.
    heard([]);
    reloaded(schema, true);
    expect(alarms()).toBe(0);
    reloaded([]);
    expect(alarms()).toBe(0);
  });

  test("of a schema of any size is taken by whoever has the same, without an alarm", () => {
    const shape = { type: "TEXT", key: 0 };
    const columns = Array.from({ length: 40 }, (_, i) => ({
      ...shape,
      name: `column_${i}`,
      default: i === 0 ? `'${"x".repeat(10_000)}'` : null,
    }));
    const schema = Array.from({ length: 100 }, (_, i) => ({ table: `table_${i}`, columns }));
    const [a, b] = [new PlayedNode("a"), new PlayedNode("b")];
    for (const [i, node] of [a, b].entries()) {
      node.reply({ kind: "identity", site: site(i), schema, starting: false });
    }
    a.do({ kind: "connected", peer: b.key });
    const [hello] = a.sent(b.key) as [Frame];
    b.do({ kind: "connected", peer: a.key });
    b.receive(a.key, hello);
    expect(b.closed()).toEqual([]);
    expect(b.effects.filter(({ kind }) => kind === "alarm")).toEqual([]);
    expect(b.machine.snapshot().peers).toMatchObject([{ name: "a" }]);
  });
});

test("a machine without peers says so once: another before it may have told of their clocks", () => {
  const a = new PlayedNode("a");
  a.start(1);
  a.pass(10_000);
  expect(a.requests.filter(({ kind }) => kind === "peers")).toEqual([
    { kind: "peers", offsetsMs: [], count: 0 },
  ]);
});

test("a node is catching up until its store is built", () => {
  const a = new PlayedNode("a");
  expect(a.machine.isCatchingUp).toBe(true);
  a.reply({ kind: "identity", site: "1".repeat(32), schema: [], starting: true });
  expect(a.machine.isCatchingUp).toBe(true);
  a.start(1);
  expect(a.machine.isCatchingUp).toBe(false);
});

test("two hosts with one key are an alarm, a node with a new database is none", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = keyOf("b");
  const alarmOf = (number: number): NodeEffect[] => {
    a.do({ kind: "connected", peer: b });
    const effects = a.receive(b, helloOf("b", { site: site(number) }));
    a.do({ kind: "disconnected", peer: b });
    return effects.filter((effect) => effect.kind === "alarm" && effect.alarm === "key-taken");
  };
  for (const number of [7, 7, 8, 8, 9]) expect(alarmOf(number)).toEqual([]);
  // Back to a site that it had.
  expect(alarmOf(8)).toMatchObject([{ peer: b, text: expect.stringContaining("two hosts") }]);
  // A person is told of one thing once a minute.
  expect(alarmOf(9)).toEqual([]);
  a.pass(60_000);
  expect(alarmOf(8).length).toBe(1);
  for (const number of [10, 11, 12, 13, 14, 15]) expect(alarmOf(number)).toEqual([]);
});

describe("frames that nobody asked for", () => {
  test("unknown kinds and other scopes are skipped and counted; malformed ones drop the peer", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.do({ kind: "received", peer: b, frame: Uint8Array.of(200, 1, 0, 1, 2, 3) });
    a.do({ kind: "received", peer: b, frame: Uint8Array.of(9, 1, 5) });
    expect(a.closed()).toEqual([]);
    a.do({ kind: "received", peer: b, frame: Uint8Array.of(4, 1, 0, 1) });
    expect(a.closed()).toHaveLength(1);
    const { framesUnknown, framesOtherScope, framesMalformed } = a.machine.snapshot().counters;
    expect([framesUnknown, framesOtherScope, framesMalformed]).toEqual([1, 1, 1]);
  });

  test("any frames in any order are survived, whatever the store answers", () => {
    const random = seededRandom(11);
    const a = new PlayedNode("a");
    a.start(1);
    for (let i = 0; i < 1000; i++) {
      const peer = a.meet(random() < 0.5 ? "b" : "c");
      for (let frames = 0; frames < 8; frames++) a.receive(peer, anyFrame(random));
      a.slot(1_000_000_000 - Math.floor(random() * 9));
      a.pass(random() * 300);
      // Answers may lead to more questions.
      for (const request of a.requests) {
        if (!("ticket" in request)) continue;
        const { ticket } = request;
        const why = random() < 0.5 ? "cut" : "busy";
        if (request.kind === "apply") {
          a.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
        } else a.reply({ kind: "unavailable", ticket, why });
      }
      a.requests.length = 0;
    }
    const { counters, questionsWaiting } = a.machine.snapshot();
    expect(counters.pushesReceived).toBeGreaterThan(50);
    expect(questionsWaiting).toBe(0);
  }, 120_000);

  test("any bytes at all are survived", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const random = seededRandom(7);
    for (let i = 0; i < 3000; i++) {
      const b = a.meet("b");
      const bytes = Uint8Array.from({ length: Math.floor(random() * 60) }, () => random() * 256);
      if (bytes.length > 3) bytes.set([1 + Math.floor(random() * 14), Math.floor(random() * 3), 0]);
      a.do({ kind: "received", peer: b, frame: bytes });
    }
    expect(a.machine.snapshot().counters.framesMalformed).toBeGreaterThan(1000);
  });
});

/** Any well-formed frame, sensible or not. */
function anyFrame(random: () => number): Frame {
  const upTo = (n: number) => Math.floor(random() * n);
  const flag = () => random() < 0.5;
  const hex = (bytes: number) =>
    Array.from({ length: 2 * bytes }, () => upTo(16).toString(16)).join("");
  const level = 1 + upTo(4);
  const nodes = Array.from({ length: upTo(4) }, () => upTo(16 ** (level - 1)));
  const stamp = { ms: upTo(2 ** 48), count: upTo(65536), site: site(upTo(9)) };
  const entries = Array.from({ length: upTo(4) }, () => ({
    id: hex(16) as RowId,
    stamp,
    digest: hex(8),
  }));
  const head = {
    exchange: upTo(4),
    answer: flag(),
    live: flag(),
    horizon: hlcZero,
    cut: flag() ? 1_000_000_000 - upTo(9) : upTo(2 ** 32),
  };
  const fingerprints = Array.from({ length: nodes.length * 16 }, () => hex(8));
  const block = Uint8Array.from({ length: upTo(9) }, () => upTo(256));
  const [ids, horizon] = [entries.map(({ id }) => id), hlcZero];
  const changesetIdOf = () => changesetId(sha256, changeset(upTo(3), upTo(50), 1));
  const frames: Frame[] = [
    helloOf("b", { starting: flag() }),
    { kind: "push", lane: upTo(3) as Lane, changeset: changeset(upTo(3), upTo(50), 1) },
    { kind: "rows", exchange: upTo(4), last: flag(), horizon, block },
    { kind: "root", ...head, rows: upTo(100_000), fingerprint: hex(16) },
    { kind: "walk", ...head, level, nodes, fingerprints: head.answer ? fingerprints : [] },
    { kind: "list", ...head, recentOnly: flag(), more: flag(), level: level - 1, nodes, entries },
    { kind: "fetch", exchange: upTo(4), horizon, what: { by: "id", ids } },
    { kind: "fetch", exchange: 1, horizon, what: { by: "range", level: level - 1, nodes } },
    { kind: "recent", horizon, more: flag(), entries },
    {
      kind: "stream",
      exchange: upTo(4),
      horizon,
      level: level - 1,
      nodes,
      credit: upTo(9),
      cursor: block,
    },
    {
      kind: "streamed",
      exchange: upTo(4),
      paused: flag(),
      last: flag(),
      horizon,
      compressed: flag(),
      cursor: block,
      blockBytes: block.length,
      block,
    },
    {
      kind: "heartbeat",
      sequence: upTo(9),
      hlc: stamp,
      incarnation: upTo(3),
      storeLag: upTo(4) as 0 | 1 | 2 | 3,
    },
    { kind: "ihave", isForAsking: flag(), ids: [changesetIdOf(), changesetIdOf()] },
    { kind: "graft", ids: [changesetIdOf()] },
    { kind: "prune", sites: [site(upTo(3)), site(upTo(3))] },
    { kind: "busy", exchange: upTo(4) },
    { kind: "behind", exchange: upTo(4), cut: upTo(2 ** 32) },
    { kind: "stop", untilMs: upTo(2 ** 48), reason: "any" },
    { kind: "part", lane: 1, transfer: upTo(2), bytesTotal: 1 + upTo(9), bytes: block },
  ];
  return frames[upTo(frames.length)] as Frame;
}

describe("push", () => {
  test("a commit goes to every peer at once, a received changeset once to all others", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const [b, c] = [a.meet("b"), a.meet("c")];
    const own = changeset(1, 1, 1);
    const stamp = { ms: 1_000_000_000_000, count: 1, site: site(1) };
    a.reply({ kind: "commit", stamp, lane: 1, changeset: own });
    expect(a.sent(b)).toEqual([{ kind: "push", lane: 1, changeset: own }]);
    expect(a.sent(c)).toEqual([{ kind: "push", lane: 1, changeset: own }]);
    // It comes back on another path: nothing is done.
    a.receive(b, { kind: "push", lane: 1, changeset: own });
    expect(a.effects).toEqual([]);
    // Another's is forwarded to c only, and handed to the store.
    a.receive(b, push(2, 1, 0));
    expect(a.sent(b)).toEqual([]);
    expect(a.sent(c)).toEqual([push(2, 1, 0)]);
    expect(a.asked()).toMatchObject([{ kind: "apply", lane: 0, what: "changesets", peer: b }]);
    a.receive(c, push(2, 1, 0));
    expect(a.effects).toEqual([]);
  });

  test("a lane that differs from the changeset's own is malformed", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.receive(b, { kind: "push", lane: 2, changeset: changeset(2, 1, 0) });
    expect(a.closed()).toHaveLength(1);
  });

  test("is forwarded while the store answers nothing at all", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const [b, c] = [a.meet("b"), a.meet("c")];
    for (let i = 0; i < 200; i++) {
      a.receive(b, push(2, i, 1));
      expect(a.sent(c)).toEqual([push(2, i, 1)]);
    }
  });
});

describe("a stream of rows", () => {
  const block = encodeRowBlock([]);
  const horizon = hlcZero;
  const streamed = (exchange: number, change: object): Frame => ({
    kind: "streamed",
    exchange,
    paused: false,
    last: false,
    compressed: false,
    horizon,
    cursor: new Uint8Array(0),
    blockBytes: block.length,
    block,
    ...change,
  });
  const ticketOf = (request: StoreRequest | undefined) => (request as { ticket: number }).ticket;
  /** The stream that an empty node asks for when a peer shows it a root of many rows. */
  const asked = (a: PlayedNode, b: PeerId) => {
    const root = a.sent(b).find((frame) => frame.kind === "root") as Extract<
      Frame,
      { kind: "root" }
    >;
    a.receive(b, { ...root, answer: true, rows: 5000, fingerprint: "1".repeat(32) });
    return a.sent(b).find((frame) => frame.kind === "stream");
  };

  test("is what an empty node asks for; it goes on at the cursor, while little waits to be applied", () => {
    const a = new PlayedNode("a", { streamBytesLow: block.length });
    a.start(1);
    const b = a.meet("b", { features: ["stream"] });
    const first = asked(a, b);
    expect(first).toMatchObject({
      kind: "stream",
      level: 0,
      nodes: [0],
      cursor: new Uint8Array(0),
    });
    const { exchange } = first as Extract<Frame, { kind: "stream" }>;
    const cursor = new Uint8Array([7]);
    a.receive(b, streamed(exchange, { paused: true, cursor }));
    const [apply] = a.asked("apply");
    // As much waits here as may.
    expect(a.sent(b)).toEqual([]);
    const applied = { kind: "applied", rows: 0, changed: 0, refused: [] } as const;
    a.reply({ ...applied, ticket: ticketOf(apply) });
    expect(a.sent(b)).toMatchObject([{ kind: "stream", exchange, cursor }]);
    a.receive(b, streamed(exchange, { last: true }));
    a.reply({ ...applied, ticket: ticketOf(a.asked("apply")[0]) });
    expect(a.sent(b).filter((frame) => frame.kind === "stream")).toEqual([]);
  });

  test("ends its exchange with its last row applied: others are answered, and the node compares again with the next slot", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b", { features: ["stream"] });
    const { exchange } = asked(a, b) as Extract<Frame, { kind: "stream" }>;
    a.receive(b, streamed(exchange, { last: true }));
    expect(a.machine.isCatchingUp).toBe(true);
    const ticket = ticketOf(a.asked("apply")[0]);
    a.reply({ kind: "applied", ticket, rows: 5000, changed: 5000, refused: [] });
    expect(a.machine.isCatchingUp).toBe(false);
    // By the slot at hand all these rows would be missing still.
    expect(a.sent(b)).toEqual([]);
    a.slot(0, 5000);
    expect(a.sent(b)).toMatchObject([{ kind: "root", answer: false, rows: 5000 }]);
  });

  test("isn't asked of a peer that doesn't know it", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    expect(asked(a, b)).toBeUndefined();
    expect(a.sent(b).map((frame) => frame.kind)).toContain("fetch");
  });

  test("is answered block by block until the credit is used up, and at its end", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    const stream = { kind: "stream", exchange: 5, horizon, level: 0, nodes: [0] } as const;
    a.receive(b, { ...stream, credit: 2 * block.length, cursor: new Uint8Array(0) });
    const cursor = new Uint8Array([9]);
    const answers: (boolean | number)[][] = [];
    const answer = (next: Uint8Array | undefined) => {
      const ticket = ticketOf(a.asked("stream-rows")[0]);
      a.reply({ kind: "streamed", ticket, block, cursor: next });
      for (const frame of a.sent(b)) {
        if (frame.kind !== "streamed") continue;
        answers.push([frame.paused, frame.last, frame.cursor.length]);
      }
    };
    // The exchange of recent rows is asked for first.
    a.reply({ kind: "recent", ticket: ticketOf(a.recent), entries: [] });
    answer(cursor);
    answer(cursor);
    expect(a.asked("stream-rows")).toEqual([]);
    a.receive(b, { ...stream, credit: 1000, cursor });
    answer(undefined);
    expect(answers).toEqual([
      [false, false, 0],
      [true, false, 1],
      [false, true, 0],
    ]);
  });

  test("a block that isn't what its frame says drops the peer", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b", { features: ["stream", "zstd"] });
    a.receive(b, streamed(1, { compressed: true }));
    expect(a.closed()).toEqual(["streamed: not the block that it says"]);
  });
});

/** A node that was sent so many urgent changes of one host by the first of its three peers, and has answered none. */
function flooded(count: number) {
  const a = new PlayedNode("a");
  a.start(1);
  const [b, c, d] = [a.meet("b"), a.meet("c"), a.meet("d")];
  const posted: Extract<StoreRequest, { kind: "apply" }>[] = [];
  const note = () => posted.push(...(a.asked("apply") as typeof posted));
  for (let i = 0; i < count; i++) {
    a.receive(b, push(2, i, 0, 200));
    note();
    for (const peer of [c, d]) a.do({ kind: "drained", peer });
  }
  /** Answers for the store, and asks what came of each answer. */
  const answer = (look = () => {}) => {
    note();
    for (let at = 0; at < posted.length; at++) {
      const { ticket, lane, bodies } = posted[at] as (typeof posted)[0];
      expect(lane).toBe(0);
      expect(bodies.length).toBeLessThanOrEqual(32);
      const rows = bodies.length;
      a.reply({ kind: "applied", ticket, rows, changed: rows, refused: [] });
      note();
      look();
    }
  };
  return { a, b, c, d, posted, answer };
}

describe("credit", () => {
  test("one slice of bounded size is with the store; an urgent change is posted beside it", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    const applies: Extract<StoreRequest, { kind: "apply" }>[] = [];
    const note = () => applies.push(...(a.asked("apply") as typeof applies));
    for (let i = 0; i < 2000; i++) {
      a.receive(b, push(2, i, 2));
      note();
    }
    // The first went at once; the others wait.
    expect(applies.map(({ bodies }) => bodies.length)).toEqual([1]);
    a.receive(b, push(2, 5000, 0));
    note();
    expect(applies[1]).toMatchObject({ lane: 0, bodies: [changeset(2, 5000, 0)] });
    let slices = 0;
    for (let at = 0; at < applies.length; at++) {
      const { ticket, bodies, lane } = applies[at] as (typeof applies)[0];
      expect(bodies.length).toBeLessThanOrEqual(64);
      if (lane === 2) slices++;
      a.reply({
        kind: "applied",
        ticket,
        rows: bodies.length,
        changed: bodies.length,
        refused: [],
      });
      note();
      // Never two slices at once: what is posted after this answer is one.
      expect(a.asked("apply").length).toBeLessThanOrEqual(1);
    }
    expect(slices).toBe(1 + Math.ceil(1999 / 64));
  });

  test("of blocks of rows the store has two, so that it needn't wait for the next one", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    type Apply = Extract<StoreRequest, { kind: "apply" }>;
    const block = { kind: "rows", exchange: 0, last: false, horizon: hlcZero } as const;
    const applies: Apply[] = [];
    const note = () => applies.push(...(a.asked("apply") as Apply[]));
    const answer = ({ ticket }: Apply) =>
      a.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
    for (let i = 0; i < 5; i++) {
      a.receive(b, { ...block, block: encodeRowBlock([]) });
      note();
    }
    expect(applies.map(({ what }) => what)).toEqual(["rows", "rows"]);
    // What isn't a block goes alone, and before those that wait in bulk.
    a.receive(b, push(2, 1, 1));
    a.receive(b, push(2, 2, 1));
    note();
    expect(applies.length).toBe(2);
    for (const at of [0, 1]) {
      answer(applies[at] as Apply);
      note();
    }
    expect(applies.slice(2).map(({ what }) => what)).toEqual(["changesets"]);
    answer(applies[2] as Apply);
    note();
    expect(applies.slice(3).map(({ what }) => what)).toEqual(["rows", "rows"]);
    answer(applies[3] as Apply);
    note();
    expect(applies.length).toBe(6);
  });

  test("in a flood of urgent changes the store has few, and others' go in between", () => {
    const { a, b, c, posted, answer } = flooded(2000);
    expect(posted.length).toBeLessThanOrEqual(32);
    // One of another host over the same stream, and one over another.
    a.receive(b, push(4, 9999, 0));
    a.receive(c, push(5, 9999, 0));
    answer();
    const bodies = posted.flatMap((request) => request.bodies);
    expect(bodies.length).toBe(2002);
    for (const origin of [4, 5]) {
      const body = changeset(origin, 9999, 0);
      const at = bodies.findIndex((one) => Buffer.compare(one, body) === 0);
      // After what the store had, and a turn of each of two others.
      expect(at).toBeGreaterThan(0);
      expect(at).toBeLessThan(32 + 2 * 20);
    }
  });

  test("a flood is sent on as the own store takes it, and what others say at once", () => {
    const { a, b, c, d, answer } = flooded(2000);
    const sentOn = (to: PeerId) => a.sent(to).filter(({ kind }) => kind === "push");
    a.receive(b, push(2, 5000, 0));
    expect(sentOn(c)).toEqual([]);
    a.receive(d, push(5, 5000, 0));
    expect(sentOn(c)).toEqual([push(5, 5000, 0)]);
    let frames = 0;
    answer(() => {
      frames += sentOn(c).length;
      // A turn at a time.
      expect(sentOn(c).length).toBeLessThan(40);
      a.do({ kind: "drained", peer: c });
      frames += sentOn(c).length;
    });
    expect(frames).toBeGreaterThan(1500);
  });

  test("a store that answers late has the next turns all the same, up to a bound", () => {
    const { a, posted } = flooded(2000);
    const before = posted.flatMap(({ bodies }) => bodies).length;
    expect(before).toBeLessThanOrEqual(32);
    const counts: number[] = [];
    for (let turn = 0; turn < 100; turn++) {
      a.nowMs += 10;
      a.do({ kind: "timeout" });
      posted.push(...(a.asked("apply") as typeof posted));
      counts.push(posted.flatMap(({ bodies }) => bodies).length);
    }
    expect(counts[0]).toBeGreaterThan(before);
    expect(counts[9]).toBeGreaterThan(before + 60);
    expect(counts.at(-1)).toBeLessThan(256 + 32);
  });

  test("a store that takes nothing holds back no flood", () => {
    const { a, b, c } = flooded(2000);
    const pushes = () => a.sent(c).filter(({ kind }) => kind === "push").length;
    a.receive(b, push(2, 5000, 0));
    expect(pushes()).toBe(0);
    let frames = 0;
    for (let turn = 0; turn < 30; turn++) {
      a.pass(100);
      frames += pushes();
      a.do({ kind: "drained", peer: c });
      frames += pushes();
    }
    expect(frames).toBeGreaterThan(1500);
    a.receive(b, push(2, 5001, 0));
    expect(pushes()).toBe(1);
  });

  test("peers take turns, so one that floods doesn't hold up another", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const [b, c] = [a.meet("b"), a.meet("c")];
    a.receive(b, push(2, 0, 1));
    const first = a.asked("apply")[0] as Extract<StoreRequest, { kind: "apply" }>;
    for (let i = 1; i < 500; i++) a.receive(b, push(2, i, 1));
    a.receive(c, push(3, 0, 1));
    a.reply({ kind: "applied", ticket: first.ticket, rows: 1, changed: 1, refused: [] });
    const second = a.asked("apply")[0] as typeof first;
    a.reply({ kind: "applied", ticket: second.ticket, rows: 64, changed: 64, refused: [] });
    expect(a.asked("apply")).toMatchObject([{ peer: c, bodies: [changeset(3, 0, 1)] }]);
  });

  test("normal changesets above the bound are dropped and counted, urgent ones never", () => {
    const bound = {
      sliceBodiesMax: 64,
      sliceBytesMax: 1e6,
      bulkBytesMax: 1e6,
      urgentBytesMax: 1e6,
    };
    const a = new PlayedNode("a", { apply: { ...bound, normalBytesMax: 10_000 } });
    a.start(1);
    const b = a.meet("b");
    const urgent: Extract<StoreRequest, { kind: "apply" }>[] = [];
    const note = () => urgent.push(...(a.asked("apply") as typeof urgent));
    for (let i = 0; i < 100; i++) {
      a.receive(b, push(2, i, 1, 500));
      a.receive(b, push(3, i, 0, 500));
      note();
    }
    const { counters, applyBytes } = a.machine.snapshot();
    // As the store answers, it gets those that it had no credit for.
    for (let at = 0; at < urgent.length; at++) {
      const { ticket } = urgent[at] as (typeof urgent)[0];
      a.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
      note();
    }
    expect(urgent.flatMap(({ bodies }) => bodies).length).toBe(100);
    expect(counters.applyDropped).toBeGreaterThan(70);
    expect(applyBytes.normal).toBeLessThanOrEqual(10_000);
  });
});

test("of a cut nothing is said before what is recent was exchanged, nor of one from before that", () => {
  const a = new PlayedNode("a");
  a.start(1);
  const b = a.meet("b");
  const newestCut = () => Math.floor((a.nowMs - 5000) / 1000);
  /** What the peer is answered that has the same, at the newest cut. */
  const asked = () => {
    const cut = newestCut();
    a.slot(cut);
    const root = { rows: 0, fingerprint: "0".repeat(32), horizon: hlcZero };
    a.receive(b, { kind: "root", exchange: 7, answer: false, live: false, cut, ...root });
    return a.sent(b).map(({ kind }) => kind);
  };
  expect(asked()).toEqual(["busy"]);
  a.reply({ kind: "recent", ticket: (a.recent as { ticket: number }).ticket, entries: [] });
  expect(asked()).toEqual(["busy"]);
  a.receive(b, { kind: "recent", horizon: hlcZero, more: false, entries: [] });
  expect(asked()).toEqual(["busy"]);
  a.pass(4500);
  expect(asked()).toEqual(["busy"]);
  expect(a.machine.agreedMs(b)).toBeUndefined();
  a.pass(1500);
  expect(asked()).toEqual(["root"]);
  expect(a.machine.agreedMs(b)).toBe(a.nowMs);
});

describe("a stuck store", () => {
  test("is handed urgent changes up to a bound; beyond it they wait as others do, and are dropped as others are", () => {
    const bound = { sliceBodiesMax: 64, sliceBytesMax: 1e6, bulkBytesMax: 1e6 };
    const a = new PlayedNode("a", {
      apply: { ...bound, urgentBytesMax: 10_000, normalBytesMax: 5000 },
    });
    a.start(1);
    const b = a.meet("b");
    const applies: Extract<StoreRequest, { kind: "apply" }>[] = [];
    for (let i = 0; i < 100; i++) {
      a.receive(b, push(2, i, 0, 500));
      applies.push(...(a.asked("apply") as typeof applies));
    }
    const bytes = applies.reduce((sum, { bodies }) => sum + (bodies[0]?.length ?? 0), 0);
    // And the one slice that those which wait have credit for.
    expect(bytes).toBeLessThan(11_000);
    expect(a.machine.snapshot().counters.applyDropped).toBeGreaterThan(50);
    // It comes to itself: the next ones are urgent again, as many as before.
    for (const { ticket } of applies) {
      a.reply({ kind: "applied", ticket, rows: 1, changed: 1, refused: [] });
    }
    for (let i = 200; i < 215; i++) {
      a.receive(b, push(2, i, 0, 500));
      expect(a.asked("apply")).toMatchObject([{ lane: 0 }]);
    }
  });

  test("keeps its room for small urgent changes, however large the others are", () => {
    const bound = { sliceBodiesMax: 64, sliceBytesMax: 1e6, bulkBytesMax: 5e6 };
    const a = new PlayedNode("a", {
      apply: { ...bound, urgentBytesMax: 1e6, normalBytesMax: 1e6 },
    });
    a.start(1);
    const b = a.meet("b");
    a.receive(b, push(2, 1, 0, 2e6));
    const [large] = a.asked("apply") as { ticket: number }[];
    expect(a.asked("apply")).toMatchObject([{ lane: 0 }]);
    // It waits in bulk, where it leaves normal ones their room.
    a.receive(b, push(2, 2, 0, 2e6));
    expect(a.asked("apply")).toMatchObject([{ lane: 2 }]);
    a.receive(b, push(2, 3, 0, 2e6));
    const { counters, applyBytes } = a.machine.snapshot();
    expect([counters.applyDropped, applyBytes.normal]).toEqual([0, 0]);
    for (let i = 10; i < 20; i++) {
      a.receive(b, push(2, i, 0, 500));
      expect(a.asked("apply")).toMatchObject([{ lane: 0 }]);
    }
    a.reply({
      kind: "applied",
      ...{ ticket: large?.ticket as number, rows: 1, changed: 1, refused: [] },
    });
    a.receive(b, push(2, 30, 0, 2e6));
    expect(a.asked("apply")).toMatchObject([{ lane: 0 }]);
  });

  test("exchanges are answered busy, and heartbeats tell the lag", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.receive(b, push(2, 1, 1));
    a.pass(1500);
    const lags = a.sent(b).flatMap((frame) => (frame.kind === "heartbeat" ? [frame.storeLag] : []));
    expect(lags[0]).toBe(0);
    expect(lags.at(-1)).toBe(1);
    a.receive(b, {
      kind: "root",
      exchange: 7,
      answer: false,
      live: true,
      cut: 0,
      horizon: hlcZero,
      rows: 0,
      fingerprint: "0".repeat(32),
    });
    expect(a.sent(b)).toEqual([{ kind: "busy", exchange: 7 }]);
  });
});
