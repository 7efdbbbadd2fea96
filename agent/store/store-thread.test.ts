import { expect, setSystemTime, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeChangeset, type Lane } from "../../core/change/changeset.ts";
import { siteOfHex } from "../../core/clock/stamp.ts";
import type { MemberRow, PeerId, StoreReply, StoreRequest } from "../../core/node/border.ts";
import { encodeKey } from "../../core/row/key.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import { createStoreThread as createTestThread } from "../../test/generators/store-thread.ts";
import { until } from "../../test/until.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { logReport } from "../agent-store.ts";
import type { StoreThread } from "./store-thread.ts";

const peer = "ab".repeat(32) as PeerId;
const other = siteOfHex("cd".repeat(16));

const circumstances = {
  machine: "m",
  file: "f",
  born: "",
  isBornKnown: false,
  nonce: "",
  boot: "b",
};

function createStoreThread(standsAlone = false): StoreThread {
  const sql = "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT); CREATE TABLE l (a);";
  return createTestThread({
    vfs: new MemoryVfs(),
    databasePath: "/patina.db",
    schema: schemaOf(sql, { l: { replicated: false } }),
    queryTimeoutMs: 2000,
    standsAlone,
    circumstances,
  });
}

let count = 0;

/** A changeset of another site: rows `first` to `first + rows - 1`. */
function changeset(lane: Lane, first: number, rows: number): Uint8Array {
  const stamp = { ms: Date.now(), count: count++ % 65_536, site: other };
  const states: RowState[] = Array.from({ length: rows }, (_, i) => ({
    table: "t",
    key: encodeKey([first + i]) as Uint8Array,
    clock: { ...stamp, cl: 1 },
    cells: [{ column: "v", stamp, value: `value ${i}` }],
  }));
  return encodeChangeset({ stamp, lane, rows: states });
}

function apply(ticket: number, lane: Lane, body: Uint8Array): StoreRequest {
  return { kind: "apply", ticket, lane, peer, what: "changesets", bodies: [body] };
}

/** Of a metric without labels. */
async function sampleOf({ service }: StoreThread, name: string): Promise<unknown> {
  return (await service.metrics()).find((metric) => metric.name === name)?.samples[0]?.value;
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

test("2,000 queued bulk changesets delay an urgent one by at most one commit", async () => {
  const thread = createStoreThread();
  const applied: number[] = [];
  thread.start({
    post: (reply: StoreReply) => {
      if (reply.kind === "applied") applied.push(reply.ticket);
    },
  });
  const lines: string[] = [];
  await thread.service.subscribe(
    { sql: "SELECT id FROM t WHERE id >= 1000000", parameters: undefined },
    { from: undefined, skipRows: true },
    (event) => {
      if (event.kind === "lines") lines.push(Buffer.from(event.bytes).toString());
    },
  );
  // No credit here: a net side that floods.
  for (let i = 0; i < 2000; i++) thread.request(apply(i, 2, changeset(2, i * 10, 10)));
  for (let i = 0; i < 5; i++) await nextTurn();
  const before = applied.length;
  expect(before).toBeLessThan(2000);

  thread.request(apply(9999, 0, changeset(0, 1_000_000, 1)));
  // Before it comes, if any, the one whose slice a turn has left without its COMMIT.
  expect(applied.length - before).toBeLessThanOrEqual(2);
  expect(applied.at(-1)).toBe(9999);
  // Whoever listens hears of it, long before the flood is through.
  await until(() => lines.length > 0);
  expect(applied.length).toBeLessThan(2000);
  expect(lines).toEqual(['{"change":["insert",1,[1000000],1]}\n']);

  // Queries come between as well: one request a turn.
  const answered = await thread.service.query(
    { sql: "SELECT 1", parameters: undefined },
    undefined,
  );
  expect(answered.kind).toBe("rows");
  expect(applied.length).toBeLessThan(2000);
  await until(() => applied.length === 2001);
  thread.stop();
}, 120_000);

test("a local commit goes to the net side, urgent or not, and then to live queries", async () => {
  const thread = createStoreThread();
  const replies: StoreReply[] = [];
  thread.start({ post: (reply) => replies.push(reply) });
  expect(replies.slice(0, 2).map(({ kind }) => kind)).toEqual(["identity", "slot"]);
  const order: string[] = [];
  await thread.service.subscribe(
    { sql: "SELECT id, v FROM t", parameters: undefined },
    { from: undefined, skipRows: true },
    () => order.push(replies.at(-1)?.kind ?? ""),
  );
  const outcome = await thread.service.transact(
    [{ sql: "INSERT INTO t VALUES (1, 'a')", parameters: undefined }],
    undefined,
  );
  expect(outcome).toMatchObject({ kind: "committed", version: 1 });
  await until(() => order.length > 0);
  expect(order).toEqual(["commit"]);
  thread.stop();
});

test("members are an ordinary table: read, joined, subscribed to, and never written by clients", async () => {
  const thread = createStoreThread(true);
  thread.start(undefined);
  const lines: string[] = [];
  await thread.service.subscribe(
    {
      sql: "SELECT t.id, m.state FROM t JOIN patina_members m ON m.node = t.v",
      parameters: undefined,
    },
    { from: undefined, skipRows: false },
    (event) => {
      if (event.kind === "lines")
        lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
    },
  );
  await thread.service.transact(
    [{ sql: "INSERT INTO t VALUES (1, 'n'), (2, 'other')", parameters: undefined }],
    undefined,
  );
  const member: MemberRow = {
    node: "other",
    key: peer,
    region: "r",
    zone: "z",
    state: "SUSPECT",
    incarnation: 1,
    sinceMs: 1.5,
    storeLag: "ok",
  };
  // Changes that come while others wait to be told are told as one.
  await until(() => lines.length === 3);
  thread.request({ kind: "members", rows: [member] });
  await until(() => lines.length === 4);
  thread.request({ kind: "members", rows: [{ ...member, state: "DOWN" }] });
  await until(() => lines.length === 5);
  expect(lines.slice(2)).toEqual([
    '{"change":["insert",1,[1,"ALIVE"],1]}',
    '{"change":["insert",2,[2,"SUSPECT"],2]}',
    '{"change":["update",2,[2,"DOWN"],3]}',
  ]);
  const refused = await thread.service.transact(
    [{ sql: "DELETE FROM patina_members", parameters: undefined }],
    undefined,
  );
  expect(refused).toMatchObject({ kind: "refused", why: expect.stringContaining("Patina's own") });
  thread.stop();
});

test("a local table stays local, and its subscribers hear of it", async () => {
  const thread = createStoreThread();
  const kinds: string[] = [];
  thread.start({ post: (reply) => kinds.push(reply.kind) });
  const lines: string[] = [];
  await thread.service.subscribe(
    { sql: "SELECT a FROM l", parameters: undefined },
    { from: undefined, skipRows: true },
    (event) => {
      if (event.kind === "lines") lines.push(Buffer.from(event.bytes).toString());
    },
  );
  const outcome = await thread.service.transact(
    [{ sql: "INSERT INTO l VALUES (1)", parameters: undefined }],
    undefined,
  );
  expect(outcome).toMatchObject({ kind: "committed", version: null });
  await until(() => lines.length > 0);
  expect(lines).toEqual(['{"change":["insert",1,[1],1]}\n']);
  expect(kinds).not.toContain("commit");
  thread.stop();
});

test("readers never see a transaction that is refused in its middle", async () => {
  const thread = createStoreThread();
  thread.start(undefined);
  const run = (...statements: string[]) =>
    thread.service.transact(
      statements.map((sql) => ({ sql, parameters: undefined })),
      undefined,
    );
  for (const bad of [
    "INSERT OR ROLLBACK INTO t SELECT id, v FROM t",
    "COMMIT",
    "INSERT INTO t VALUES (1, 'again')",
    "DROP TABLE t",
  ]) {
    const outcome = await run(
      "INSERT INTO t VALUES (1, 'a')",
      bad,
      "INSERT INTO t VALUES (2, 'b')",
    );
    expect([bad, outcome.kind]).toEqual([bad, "refused"]);
  }
  const rows = await thread.service.query(
    { sql: "SELECT count(*) FROM t", parameters: undefined },
    undefined,
  );
  expect(rows.kind === "rows" && Buffer.concat(rows.chunks).toString()).toContain(
    '{"row":[1,[0]]}',
  );
  expect(await run("INSERT INTO t VALUES (1, 'a')")).toMatchObject({
    kind: "committed",
    version: 1,
  });
  thread.stop();
});

test("an agent that stops takes no more writes, of which nobody else would hear", async () => {
  const thread = createStoreThread();
  const told: StoreReply[] = [];
  thread.start({ post: (reply: StoreReply) => void told.push(reply) });
  await until("the index", () => told.some((r) => r.kind === "identity" && !r.starting));
  const insert = (id: number) =>
    thread.service.transact(
      [{ sql: "INSERT INTO t VALUES (?, 'x')", parameters: [id] }],
      undefined,
    );
  expect(await insert(1)).toMatchObject({ kind: "committed" });
  const waiting = insert(2);
  thread.refuseWrites();
  expect([await waiting, await insert(3)].map((outcome) => outcome.kind)).toEqual(
    Array(2).fill("refused"),
  );
  expect(told.filter(({ kind }) => kind === "commit")).toHaveLength(1);
  thread.stop();
});

test("how long it has run isn't told by the host's clock, which may be set meanwhile", async () => {
  const thread = createStoreThread(true);
  const uptimeMs = async () => JSON.parse(await thread.service.status()).uptime_ms;
  try {
    for (const jumpMs of [-3_600_000, 3_600_000]) {
      setSystemTime(new Date(Date.now() + jumpMs));
      const ms = await uptimeMs();
      expect([jumpMs, ms >= 0 && ms < 600_000]).toEqual([jumpMs, true]);
    }
  } finally {
    setSystemTime();
    thread.stop();
  }
});

test("a subscription that nobody listens to isn't forgotten because the host's clock was set", async () => {
  const thread = createStoreThread(true);
  thread.start(undefined);
  const { service } = thread;
  const statement = { sql: "SELECT id FROM t", parameters: undefined };
  const options = { from: undefined, skipRows: false };
  const outcome = await service.subscribe(statement, options, () => {});
  service.unsubscribe((outcome as { subscriber: number }).subscriber);
  const setMs = Date.now() + 3_600_000;
  try {
    setSystemTime(new Date(setMs));
    const cut = async () => JSON.parse(await service.status()).cut;
    await until("a cut, with which it is swept", async () => (await cut()) * 1000 > setMs - 60_000);
    expect(service.live.count).toBe(1);
  } finally {
    setSystemTime();
    thread.stop();
  }
});

// It took them without a word.
test("alone, before its clock is set, an agent takes writes, says so, and goes on when it is", async () => {
  setSystemTime(7000);
  try {
    const thread = createStoreThread(true);
    thread.start(undefined);
    const { service } = thread;
    const write = (sql: string) => service.transact([{ sql, parameters: undefined }], undefined);
    const status = async () => JSON.parse(await service.status());
    expect(await write("INSERT INTO t VALUES (1, '1970')")).toMatchObject({ kind: "committed" });
    expect(await status()).toMatchObject({ clock: { unset: true, outlier: false } });
    expect(await sampleOf(thread, "patina_clock_unset")).toBe(1);
    setSystemTime(Date.UTC(2026, 10, 27));
    expect(await write("UPDATE t SET v = 'now'")).toMatchObject({ kind: "committed" });
    expect(await status()).toMatchObject({ clock: { unset: false, outlier: false } });
    expect(await sampleOf(thread, "patina_clock_unset")).toBe(0);
    thread.stop();
  } finally {
    setSystemTime();
  }
});

test("a clock that is set back keeps the WAL from being copied no longer", async () => {
  const nowMs = Date.now();
  setSystemTime(nowMs);
  const folder = mkdtempSync(join(tmpdir(), "patina-set-back-"));
  const thread = createTestThread({
    vfs: new FileVfs(),
    databasePath: join(folder, "patina.db"),
    schema: schemaOf("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)"),
    standsAlone: true,
    circumstances,
  });
  try {
    thread.start(undefined);
    const waiting = async () => JSON.parse(await thread.service.status()).wal_frames_waiting;
    const insert = { sql: "INSERT INTO t VALUES (1, 'x')", parameters: undefined };
    const done = await thread.service.transact([insert], undefined);
    expect(done).toMatchObject({ kind: "committed" });
    expect(await waiting()).toBeGreaterThan(0);
    setSystemTime(nowMs - 100_000);
    await until("the WAL is copied", async () => (await waiting()) === 0, 10_000);
  } finally {
    setSystemTime();
    thread.stop();
    rmSync(folder, { recursive: true });
  }
});

// Its log said nothing, and its health that it was still catching up.
test("a clock that the peers find wrong is told in the log, and by the health of a host that isn't ready", async () => {
  const lines: [string, unknown][] = [];
  const log = {
    warn: (what: string, more: unknown) => void lines.push([what, more]),
    info: () => {},
  };
  const thread = createTestThread({
    vfs: new MemoryVfs(),
    databasePath: "/outlier.db",
    schema: schemaOf("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)"),
    circumstances,
    standsAlone: false,
    log: log as never,
  });
  thread.start(undefined);
  const health = async () => JSON.parse(await thread.service.status()).health;
  expect(await health()).toBe("not ready: still catching up with the others");
  const hear = (offsetMs: number) =>
    thread.request({ kind: "peers", offsetsMs: [offsetMs, offsetMs, offsetMs], count: 3 });
  hear(0);
  expect(lines).toEqual([]);
  hear(3_600_000);
  hear(3_600_000);
  const why =
    "clock: this host is 3600.0 s behind the median of 3 peers (at most 5 s); writes are refused until it is set right";
  expect(lines).toEqual([["clock-outlier", { why }]]);
  expect(await health()).toBe(`not ready: ${why}`);
  hear(0);
  expect(await health()).toBe("not ready: still catching up with the others");
  thread.stop();
});

// What it wrote went to nobody, what others sent was refused, and nothing said why.
test("a clock that is set back behind what the database holds is told at the start and in the status", async () => {
  const vfs = new MemoryVfs();
  const nowMs = Date.now();
  const open = () => {
    const schema = schemaOf("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)");
    const thread = createTestThread({
      vfs,
      databasePath: "/back.db",
      schema,
      circumstances,
      standsAlone: false,
    });
    thread.start(undefined);
    const lines: [string, unknown][] = [];
    const warn = (what: string, more: unknown) => void lines.push([what, more]);
    const log = { info() {}, warn };
    logReport(thread, log as never);
    return { thread, lines };
  };
  const clockOf = async ({ service }: StoreThread) => JSON.parse(await service.status()).clock;
  const first = open();
  const write = [{ sql: "INSERT INTO t VALUES (1, 'x')", parameters: undefined }];
  expect((await first.thread.service.transact(write, undefined)).kind).toBe("committed");
  expect(first.lines).toEqual([]);
  expect(await clockOf(first.thread)).toMatchObject({ held_back_ms: 0 });
  expect(await sampleOf(first.thread, "patina_clock_held_back_seconds")).toBe(0);
  first.thread.stop();
  setSystemTime(nowMs - 3_600_000);
  try {
    const second = open();
    expect(second.lines).toEqual([
      ["clock-behind", { why: expect.stringMatching(/^this host's clock is 36\d\d s behind/) }],
    ]);
    const isBuilt = async () => (await clockOf(second.thread)).held_back_ms > 3_590_000;
    await until("the rows are known", isBuilt);
    expect(await sampleOf(second.thread, "patina_clock_held_back_seconds")).toBeWithin(3590, 3601);
    second.thread.stop();
  } finally {
    setSystemTime();
  }
});
