import { expect, setSystemTime, test } from "bun:test";
import type { MemberRow, PeerId, StoreReply, StoreRequest } from "../../core/node/border.ts";
import { until } from "../../test/until.ts";
import { type HangWatch, startNet } from "./link.ts";
import type { LinkMessage, NetMessage, NetOptions, NetReport } from "./messages.ts";
import type { NetCarrierHooks, StartCarrier } from "./net-carrier.ts";

const options: NetOptions = {
  nodeSeed: new Uint8Array(32),
  name: "a",
  region: "r",
  zone: "z",
  cluster: { topic: new Uint8Array(32), admissionSecret: new Uint8Array(32) },
  host: "127.0.0.1",
  port: 4000,
  bootstrap: [],
  isBootstrap: false,
  incarnation: 1,
};
const key = "ab".repeat(32) as PeerId;
const identity: StoreReply = { kind: "identity", site: "s", schema: [], starting: false };
const slot = (cut: number): StoreReply => ({
  kind: "slot",
  cut,
  roots: [],
  live: { rows: 0, fingerprint: "" },
  horizon: { ms: 0, count: 0 },
  hlc: { ms: 0, count: 0 },
});
const applied = (ticket: number): StoreReply => ({
  kind: "applied",
  ticket,
  rows: 1,
  changed: 1,
  refused: [],
});
const apply = (ticket: number): StoreRequest => ({
  kind: "apply",
  ticket,
  lane: 0,
  peer: key,
  what: "changesets",
  bodies: [Uint8Array.of(1, 2, 3)],
});

const listens: NetMessage = {
  kind: "report",
  report: { kind: "listening", key, host: "127.0.0.1", port: 4077 },
};

/** A link over carriers that a test plays itself: one for each life of the net thread. */
function createWorld(watch: Partial<HangWatch> = {}) {
  const hangWatch = { turnMs: 60_000, silentTurnsMax: 5, startMsMax: 60_000, ...watch };
  interface Life {
    readonly hooks: NetCarrierHooks;
    readonly sent: LinkMessage[];
    readonly urgent: LinkMessage[];
    ended: boolean;
  }
  const lives: Life[] = [];
  let refusals = 0;
  const refuse = (times: number) => {
    refusals = times;
  };
  const startCarrier: StartCarrier = (hooks) => {
    if (refusals-- > 0) throw new TypeError("Failed to spawn worker thread");
    const life: Life = { hooks, sent: [], urgent: [], ended: false };
    lives.push(life);
    return {
      post: (message, transfer) => life.sent.push(structuredClone(message, { transfer })),
      postUrgent: (message, transfer) => life.urgent.push(structuredClone(message, { transfer })),
      end: async () => {
        life.ended = true;
      },
    };
  };
  const link = startNet(options, startCarrier, hangWatch);
  const requests: StoreRequest[] = [];
  const reports: NetReport[] = [];
  link.onRequest((request) => requests.push(request));
  link.onReport((report) => reports.push(report));
  const life = (index: number) => {
    const found = lives[index];
    if (found === undefined) throw new Error(`no life ${index}`);
    return found;
  };
  const replies = (index: number) =>
    life(index).sent.flatMap((message) => (message.kind === "replies" ? message.replies : []));
  const untilLives = (count: number) => until(`${count} lives`, () => lives.length >= count);
  return { link, life, lives, requests, reports, replies, refuse, untilLives };
}

test("a net thread that dies is started again on its port and told what the store last said", async () => {
  const { link, life, reports, replies, untilLives } = createWorld();
  life(0).hooks.onMessage(listens);
  link.post(identity);
  link.post(slot(1));
  link.post(slot(2));
  life(0).hooks.onEnd("boom (code 1)");
  await untilLives(2);
  expect(life(0).ended).toBe(true);
  expect(life(1).sent[0]).toEqual({ kind: "start", options: { ...options, port: 4077 } });
  expect(replies(1)).toEqual([identity, slot(2)]);
  expect(reports.map(({ kind }) => kind)).toEqual(["listening", "crashed"]);
  expect(reports[1]).toEqual({ kind: "crashed", why: "boom (code 1)", restartMs: 0 });
});

test("a new net thread is told of the members that the dead one has told the store of", async () => {
  const { life, untilLives } = createWorld();
  const row = (node: string, state: MemberRow["state"]): MemberRow => ({
    ...{ node, state, key: node.repeat(64) as PeerId, region: "r", zone: "z" },
    ...{ incarnation: 1, sinceMs: 1, storeLag: "ok" },
  });
  life(0).hooks.onMessage(listens);
  const [b, c] = [row("b", "ALIVE"), row("c", "ALIVE")];
  life(0).hooks.onMessage({
    kind: "requests",
    requests: [
      { kind: "members", rows: [b, c, row("d", "ALIVE")] },
      { kind: "members", rows: [row("c", "DOWN")], parted: [row("d", "ALIVE").key] },
    ],
  });
  life(0).hooks.onEnd("boom");
  await untilLives(2);
  expect(life(1).sent[0]).toEqual({
    kind: "start",
    options: { ...options, port: 4077, recalled: [b, row("c", "DOWN")] },
  });
});

test("a new net thread is told where the dead one met its neighbours, the latest first", async () => {
  const { life, untilLives } = createWorld();
  const peer = (digit: string) => digit.repeat(64) as PeerId;
  const meet = (digit: string, address: string) =>
    life(0).hooks.onMessage({
      kind: "report",
      report: { kind: "connected", peer: peer(digit), address },
    });
  life(0).hooks.onMessage(listens);
  for (const digit of ["a", "b", "c", "a"]) meet(digit, `10.0.0.1:${digit.charCodeAt(0)}`);
  meet("d", "");
  life(0).hooks.onEnd("boom");
  await untilLives(2);
  const [start] = life(1).sent;
  expect(start).toMatchObject({ kind: "start" });
  expect(start?.kind === "start" && start.options.remembered).toEqual([
    `${peer("a")}@10.0.0.1:97`,
    `${peer("c")}@10.0.0.1:99`,
    `${peer("b")}@10.0.0.1:98`,
  ]);
});

test("a reply to a request of the dead net thread doesn't reach the new one", async () => {
  const { link, life, requests, replies, untilLives } = createWorld();
  life(0).hooks.onMessage(listens);
  life(0).hooks.onMessage({ kind: "requests", requests: [apply(1)] });
  life(0).hooks.onEnd("boom");
  await untilLives(2);
  // The new one numbers its tickets from 1 again.
  life(1).hooks.onMessage({ kind: "requests", requests: [apply(1)] });
  const [first, second] = requests.map((request) => ("ticket" in request ? request.ticket : 0));
  expect(first).not.toBe(second);
  link.post(applied(first as number));
  link.post({ ...applied(second as number), rows: 7 } as StoreReply);
  await Promise.resolve();
  expect(replies(1)).toEqual([{ ...applied(1), rows: 7 } as StoreReply]);
  // What the old one still says no longer counts.
  life(0).hooks.onMessage({ kind: "requests", requests: [apply(2)] });
  expect(requests.length).toBe(2);
});

test("a ticket that is answered while there is no net thread is kept no longer", async () => {
  const { link, life, requests, untilLives } = createWorld();
  life(0).hooks.onMessage(listens);
  life(0).hooks.onMessage({ kind: "requests", requests: [apply(7)] });
  const { ticket } = requests[0] as { ticket: number };
  life(0).hooks.onEnd("boom");
  link.post(applied(ticket));
  await untilLives(2);
  expect(() => link.post(applied(ticket))).toThrow("a ticket that is open");
});

test("a ticket stays open until the last rows", async () => {
  const { link, life, requests, replies } = createWorld();
  life(0).hooks.onMessage({ kind: "requests", requests: [{ kind: "rows", ticket: 9, ids: [] }] });
  const ticket = (requests[0] as { ticket: number }).ticket;
  const block = Uint8Array.of(5);
  link.post({ kind: "rows", ticket, block, last: false });
  link.post({ kind: "rows", ticket, block, last: true });
  await Promise.resolve();
  expect(replies(0)).toEqual([
    { kind: "rows", ticket: 9, block, last: false },
    { kind: "rows", ticket: 9, block, last: true },
  ]);
  // The store may go on using its buffer.
  expect(block).toEqual(Uint8Array.of(5));
});

test("an urgent commit leaves at once, and overtakes what waits", async () => {
  const { link, life } = createWorld();
  const stamp = { ms: 1, count: 0, site: "s" as never };
  const commit = (lane: 0 | 1): StoreReply => ({
    kind: "commit",
    stamp,
    lane,
    changeset: Uint8Array.of(lane),
  });
  link.post(commit(1));
  expect(life(0).sent.length).toBe(1);
  link.post(commit(0));
  expect(life(0).urgent).toEqual([{ kind: "replies", replies: [commit(0)] }]);
  expect(life(0).sent.length).toBe(1);
  await Promise.resolve();
  expect(life(0).sent[1]).toEqual({ kind: "replies", replies: [commit(1)] });
});

test("where the system gives no thread for a new one it is tried again, and nothing is thrown", async () => {
  const { life, reports, refuse, untilLives } = createWorld();
  life(0).hooks.onMessage(listens);
  refuse(1);
  life(0).hooks.onEnd("a");
  await untilLives(2);
  const why = "Failed to spawn worker thread";
  expect(reports.slice(1)).toEqual([
    { kind: "crashed", why: "a", restartMs: 0 },
    { kind: "crashed", why, restartMs: 250 },
  ]);
});

test("a clock that is set forward makes no net thread one that lived long", async () => {
  const { life, reports, untilLives } = createWorld();
  life(0).hooks.onMessage(listens);
  try {
    life(0).hooks.onEnd("a");
    await untilLives(2);
    setSystemTime(Date.now() + 3_600_000);
    life(1).hooks.onEnd("b");
    expect(reports.at(-1)).toEqual({ kind: "crashed", why: "b", restartMs: 250 });
  } finally {
    setSystemTime();
  }
  await untilLives(3);
});

test("crashes in a row are answered more and more slowly", async () => {
  const { life, reports, untilLives } = createWorld();
  life(0).hooks.onMessage(listens);
  life(0).hooks.onEnd("a");
  await untilLives(2);
  life(1).hooks.onEnd("b");
  await untilLives(3);
  life(2).hooks.onEnd("c");
  const waits = reports.map((report) => report.kind === "crashed" && report.restartMs);
  expect(waits.slice(1)).toEqual([0, 250, 1000]);
});

test("a start that fails ends the link; one that failed after a run is tried again", async () => {
  const first = createWorld();
  first.life(0).hooks.onMessage({ kind: "report", report: { kind: "failed", why: "taken" } });
  expect(first.reports).toEqual([{ kind: "failed", why: "taken" }]);
  expect(first.life(0).ended).toBe(true);
  expect(await first.link.ask({ kind: "swarm" })).toEqual({
    kind: "unavailable",
    why: "the net thread is down",
  });

  // A thread that ends before it listens, because a module can't be loaded, is no better.
  const other = createWorld();
  other.life(0).hooks.onEnd("not found (code 1)");
  expect(other.reports).toEqual([{ kind: "failed", why: "not found (code 1)" }]);

  const second = createWorld();
  second.life(0).hooks.onMessage(listens);
  second.life(0).hooks.onEnd("boom");
  await second.untilLives(2);
  second.life(1).hooks.onMessage({ kind: "report", report: { kind: "failed", why: "taken" } });
  await second.untilLives(3);
  expect(second.reports.at(-1)).toEqual({ kind: "crashed", why: "taken", restartMs: 250 });
});

test("stop waits for the goodbye and ends the carrier; nothing is posted after", async () => {
  const { link, life, requests } = createWorld();
  const stopped = link.stop(0, "test");
  expect(life(0).sent.at(-1)).toEqual({ kind: "stop", untilMs: 0, reason: "test" });
  const before = life(0).sent.length;
  link.post(identity);
  life(0).hooks.onMessage({ kind: "requests", requests: [apply(1)] });
  life(0).hooks.onMessage({ kind: "stopped" });
  await stopped;
  expect(life(0).ended).toBe(true);
  expect(life(0).sent.length).toBe(before);
  expect(requests).toEqual([]);
});

test("a question to a net thread that dies is answered", async () => {
  const { link, life } = createWorld();
  const answer = link.ask({ kind: "swarm" });
  life(0).hooks.onEnd("boom");
  expect(await answer).toEqual({ kind: "unavailable", why: "the net thread died" });
});

const pings = (sent: readonly LinkMessage[]) => sent.filter(({ kind }) => kind === "ping").length;

test("a net thread that doesn't answer is ended and started again; one that does is left alone", async () => {
  const { life, reports, untilLives } = createWorld({ turnMs: 5, silentTurnsMax: 4 });
  // Before it listens nothing is asked: it may still be loading.
  await Bun.sleep(40);
  expect(pings(life(0).sent)).toBe(0);
  life(0).hooks.onMessage(listens);
  for (let answered = 0; answered < 5; answered++) {
    await until(() => pings(life(0).sent) > answered);
    life(0).hooks.onMessage({ kind: "alive" });
  }
  await untilLives(2);
  expect(pings(life(0).sent)).toBe(6);
  expect(life(0).ended).toBe(true);
  expect(reports.at(-1)).toEqual({
    kind: "crashed",
    why: "it didn't answer for 0.02 s",
    restartMs: 0,
  });
});

test("a net thread that was started again and doesn't come to listen is ended, and another started", async () => {
  const { link, life, reports, untilLives } = createWorld({ startMsMax: 20 });
  // The first may take its time: whoever has started the agent waits for it.
  await Bun.sleep(40);
  expect(life(0).ended).toBe(false);
  life(0).hooks.onMessage(listens);
  life(0).hooks.onEnd("boom (code 1)");
  await untilLives(3);
  expect(life(1).ended).toBe(true);
  expect(reports.slice(1, 3)).toEqual([
    { kind: "crashed", why: "boom (code 1)", restartMs: 0 },
    { kind: "crashed", why: "it didn't listen within 0.02 s", restartMs: 250 },
  ]);
  void link.stop(0, "over");
});

test("an answer that lay unread while this thread was busy counts", async () => {
  const { life, reports } = createWorld({ turnMs: 10, silentTurnsMax: 3 });
  life(0).hooks.onMessage(listens);
  await until(() => pings(life(0).sent) > 0);
  // As a Worker's message does, it comes in the turn after.
  setTimeout(() => life(0).hooks.onMessage({ kind: "alive" }), 0);
  const untilMs = performance.now() + 200;
  while (performance.now() < untilMs);
  await Bun.sleep(1);
  expect(reports.map(({ kind }) => kind)).toEqual(["listening"]);
});
