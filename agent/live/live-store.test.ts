import { expect, test } from "bun:test";
import { openMemory, schemaOf } from "../../test/generators/sqlite-store.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { StreamEvent } from "../api/store-service.ts";
import { createLog } from "../log.ts";
import { StoreThread } from "../store/store-thread.ts";
import { liveLimits } from "./live-queries.ts";
import { LiveStore } from "./live-store.ts";

const charsMax = 1024 * 1024;
const schema = schemaOf(
  "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT); CREATE INDEX t_v ON t (v)",
);

function open(vfs: MemoryVfs, boot = "b", restoreMsMax = 2000): StoreThread {
  const thread = new StoreThread({
    vfs,
    databasePath: "/patina.db",
    publicKey: "ef".repeat(32),
    node: { name: "n", region: "r", zone: "z" },
    digestKey: () => new Uint8Array(32),
    schema,
    durability: "normal",
    queryTimeoutMs: 2000,
    statementTimeoutMs: 10_000,
    resultBytesMax: 1024 * 1024,
    nonce: "",
    renewNonce: () => "",
    standsAlone: false,
    log: createLog({ level: "error", format: "text" }),
    circumstances: { machine: "m", file: "f", born: "", isBornKnown: false, nonce: "", boot },
    swarm: async () => ({ kind: "stands-alone" }),
    bodiesWaiting: async () => 0,
    liveLimits: { ...liveLimits, changesMax: 5, charsMax, logCharsMax: 2000, restoreMsMax },
  });
  thread.start(undefined);
  return thread;
}

async function run(thread: StoreThread, sql: string): Promise<void> {
  const outcome = await thread.service.transact([{ sql, parameters: undefined }], undefined);
  expect(outcome.kind).toBe("committed");
  while (thread.service.live.isBehind) await new Promise((resolve) => setImmediate(resolve));
}

function listen(): { lines: string[]; take: (event: StreamEvent) => void } {
  const lines: string[] = [];
  const take = (event: StreamEvent): void => {
    if (event.kind === "end") lines.push("end");
    else lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
  };
  return { lines, take };
}

async function subscribe(thread: StoreThread, sql: string): Promise<string> {
  const options = { from: undefined, skipRows: true };
  const outcome = await thread.service.subscribe(
    { sql, parameters: undefined },
    options,
    listen().take,
  );
  if (outcome.kind === "refused") throw new Error(outcome.why);
  return outcome.id;
}

async function resume(thread: StoreThread, id: string, from: number): Promise<string[] | 404> {
  const { lines, take } = listen();
  const outcome = await thread.service.attach(id, { from, skipRows: false }, take);
  if (outcome.kind === "refused") return 404;
  return lines;
}

const change = (n: number) => `{"change":["insert",${n},[${n},"v"],${n}]}`;

test("after a restart the last changes are there, older ones are said to be gone, and ids go on", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const id = await subscribe(first, "SELECT id, v FROM t WHERE v = 'v'");
  for (let n = 1; n <= 9; n++) await run(first, `INSERT INTO t VALUES (${n}, 'v')`);
  first.stop();
  const second = open(vfs);
  expect(await resume(second, id, 7)).toEqual([change(8), change(9)]);
  expect(await resume(second, id, 2)).toEqual([
    '{"error":"subscription already deleted older changes, min change id: 5"}',
    "end",
  ]);
  const { lines, take } = listen();
  await second.service.attach(id, { from: 9, skipRows: false }, take);
  await run(second, "DELETE FROM t WHERE id = 3");
  await run(second, "INSERT INTO t VALUES (10, 'v')");
  expect(lines).toEqual([
    '{"change":["delete",3,[3,"v"],10]}',
    '{"change":["insert",10,[10,"v"],11]}',
  ]);
  second.stop();
}, 120_000);

test("those for which there is no time at the start come while the agent serves, and nothing of them is lost", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const sql = "SELECT id, v FROM t WHERE v = 'v'";
  const id = await subscribe(first, sql);
  const other = await subscribe(first, "SELECT count(*) FROM t");
  for (let n = 1; n <= 200; n++) await run(first, `INSERT INTO t VALUES (${n}, 'v')`);
  first.stop();
  // Stopped before it was their turn: they stay as they are.
  open(vfs, "b", -1).stop();
  const second = open(vfs, "b", -1);
  expect(second.service.live.describe()).toEqual([]);
  const limited = { mayWrite: false, tables: new Set(["another"]) };
  const resumed = resume(second, id, 199);
  const options = { from: 199, skipRows: false };
  const foreign = second.service.attach(id, options, listen().take, limited);
  const same = subscribe(second, sql);
  // It hears of what is committed before it is there.
  const { lines, take } = listen();
  const attached = second.service.attach(other, { from: 200, skipRows: false }, take);
  await run(second, "INSERT INTO t VALUES (201, 'v')");
  expect((await resumed) as string[]).toContain(change(200));
  expect(await foreign).toMatchObject({ kind: "refused", status: 404 });
  expect(await same).toBe(id);
  await attached;
  while (lines.length === 0) await new Promise((resolve) => setImmediate(resolve));
  expect(lines).toEqual(['{"change":["update",1,[201],201]}']);
  second.stop();
}, 120_000);

test("what takes too long to find out at a stop is found out by the next start, and nobody loses it", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  await run(first, "INSERT INTO t VALUES (1, 30000)");
  const sql =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < (SELECT max(v + 0) FROM t)) SELECT count(*) FROM c";
  const id = await subscribe(first, sql);
  await run(first, "UPDATE t SET v = 20000");
  const [live] = first.service.live.describe();
  expect(live?.rerun_ms).toBeGreaterThan(1);
  // It is slow, so it has a turn of its own, which doesn't come any more.
  await first.service.transact(
    [{ sql: "UPDATE t SET v = 1000000000", parameters: undefined }],
    undefined,
  );
  expect(first.service.live.isBehind).toBe(true);
  first.stop();
  using database = openDatabase("/patina.db", { vfs });
  expect(database.all("SELECT id FROM patina_live")).toEqual([[id]]);
  database.exec("UPDATE t SET v = 3");
  database.close();
  const second = open(vfs);
  expect(await resume(second, id, 1)).toEqual(['{"change":["update",1,[3],2]}']);
  second.stop();
}, 60_000);

test("a sweep while the agent is stopping forgets nothing", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const id = await subscribe(first, "SELECT id, v FROM t WHERE v = 'v'");
  await run(first, "INSERT INTO t VALUES (1, 'v')");
  first.service.endStreams();
  first.service.live.sweep(Date.now());
  first.stop();
  const second = open(vfs);
  expect(await resume(second, id, 1)).toEqual([]);
  second.stop();
});

test("the log is bounded; what it loses stands in the rows that are kept", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const id = await subscribe(first, "SELECT id, v FROM t WHERE v = 'v'");
  for (let n = 1; n <= 200; n++) {
    await run(first, `INSERT INTO t VALUES (${n}, 'v')`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(first.service.live.summary().log_chars).toBeLessThanOrEqual(2000);
  first.stop();
  const second = open(vfs);
  expect(await resume(second, id, 199)).toEqual([change(200)]);
  second.stop();
}, 120_000);

// Else no commit that a client was told of would be synced any more.
test("where each COMMIT is synced it is the store's own that isn't, also when it fails", () => {
  using database = openMemory();
  const synchronous = () => Number(database.all("PRAGMA synchronous")[0]?.[0]);
  database.exec("PRAGMA synchronous = FULL");
  const store = new LiveStore(database);
  const seen: number[] = [];
  store.within(() => seen.push(synchronous()));
  expect([...seen, synchronous()]).toEqual([1, 2]);
  const failing = () => {
    throw new Error("disk full");
  };
  expect(() => store.within(failing)).toThrow("disk full");
  expect([synchronous(), database.autocommit]).toEqual([2, true]);
});

test("what another file's store has counts for nothing until it can be cleared", () => {
  using database = openMemory();
  const store = new LiveStore(database);
  store.within(() => store.append([{ ord: 1, changes: [], lastChangeId: 0 }]));
  database.exec("INSERT INTO patina_live VALUES (1, 'id', 'SELECT 1', '[]', 0, 0, x'', NULL)");
  expect(store.load().stored.length).toBe(1);
  store.disown();
  expect(store.load()).toEqual({ stored: [], log: [] });
  store.clear();
  expect(store.load()).toEqual({ stored: [], log: [] });
});

test("row ids that 32 bits don't hold stand in the rows that are kept", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const id = await subscribe(first, "SELECT id, v FROM t WHERE v = 'v'");
  first.stop();
  const database = openDatabase("/patina.db", { vfs });
  database.exec(`UPDATE patina_live SET last_row_id = ${2 ** 32 + 5}`);
  database.close();
  const second = open(vfs);
  // More than the log holds.
  for (let n = 1; n <= 60; n++) {
    await run(second, `INSERT INTO t VALUES (${n}, 'v')`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(second.service.live.summary().log_chars).toBeLessThanOrEqual(2000);
  second.stop();
  const third = open(vfs);
  const { lines, take } = listen();
  await third.service.attach(id, { from: 60, skipRows: false }, take);
  await run(third, "DELETE FROM t WHERE id = 1");
  expect(lines).toEqual([`{"change":["delete",${2 ** 32 + 6},[1,"v"],61]}`]);
  third.stop();
});

/** What a crash leaves: nothing is closed. */
function crashed(vfs: MemoryVfs): MemoryVfs {
  const copy = new MemoryVfs();
  for (const path of vfs.paths()) copy.write(path, vfs.read(path) as Uint8Array);
  return copy;
}

test("what was in the log at a start, and is cut off it since, stands in the rows after a second crash", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const id = await subscribe(first, "SELECT id, v FROM t WHERE v = 'v'");
  const turns = async () => {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  await turns();
  await run(first, "INSERT INTO t VALUES (1, 'v')");
  await run(first, "DELETE FROM t");
  await run(first, "INSERT INTO t VALUES (2, 'v')");
  const afterOne = crashed(vfs);
  const second = open(afterOne);
  await subscribe(second, "SELECT id FROM t WHERE v <> 'v'");
  await turns();
  for (let n = 4; n <= 200; n++) await run(second, `INSERT INTO t VALUES (${n}, 'w')`);
  await turns();
  const third = open(crashed(afterOne));
  const { lines, take } = listen();
  await third.service.attach(id, { from: 3, skipRows: false }, take);
  await run(third, "DELETE FROM t WHERE id = 2");
  await run(third, "INSERT INTO t VALUES (300, 'v')");
  expect(lines).toEqual([
    '{"change":["delete",2,[2,"v"],4]}',
    '{"change":["insert",3,[300,"v"],5]}',
  ]);
  for (const thread of [first, second, third]) thread.stop();
}, 120_000);

test("what was told of one that is forgotten is no other's, after restarts", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  await subscribe(first, "SELECT id, v FROM t");
  for (let n = 1; n <= 3; n++) await run(first, `INSERT INTO t VALUES (${n}, 'v')`);
  first.service.endStreams();
  const entry = first.service.live.describe()[0];
  expect(entry?.change_id).toBe(3);
  first.stop();
  const second = open(vfs);
  second.service.live.sweep(Date.now() + 3_600_000);
  second.stop();
  const third = open(vfs);
  const id = await subscribe(third, "SELECT count(*) FROM t");
  await run(third, "INSERT INTO t VALUES (4, 'v')");
  third.stop();
  const fourth = open(vfs);
  const { lines, take } = listen();
  await fourth.service.attach(id, { from: 1, skipRows: false }, take);
  await run(fourth, "DELETE FROM t WHERE id = 1");
  expect(lines).toEqual(['{"change":["update",1,[3],2]}']);
  fourth.stop();
});

test("a file that another machine, or this one before it went down, wrote takes up nothing", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  const id = await subscribe(first, "SELECT id, v FROM t");
  await run(first, "INSERT INTO t VALUES (1, 'v')");
  // No orderly stop: then another boot means that the last commits may be lost.
  const second = open(vfs, "another boot");
  expect(await resume(second, id, 1)).toBe(404);
  second.stop();
});

test("what somebody else wrote is told where it can be, and given up where it can't", async () => {
  const vfs = new MemoryVfs();
  const first = open(vfs);
  await run(first, "INSERT INTO t VALUES (1, 'v'), (2, 'v')");
  const updated = await subscribe(first, "SELECT id, v FROM t WHERE id = 1");
  const deleted = await subscribe(first, "SELECT id, v FROM t WHERE id = 2");
  const counted = await subscribe(first, "SELECT count(*) FROM t");
  // So much that only hashes are kept of it.
  await run(first, "INSERT INTO t VALUES (3, printf('%300000d', 1))");
  const large = await subscribe(first, "SELECT id, v FROM t WHERE id = 3");
  first.stop();
  const database = openDatabase("/patina.db", { vfs });
  database.exec("UPDATE t SET v = 'w' WHERE id = 1; DELETE FROM t WHERE id IN (2, 3)");
  database.close();
  const second = open(vfs);
  const resumed = [updated, deleted, counted, large].map((id) => resume(second, id, 0));
  const [one, two, three, four] = await Promise.all(resumed);
  expect((one as string[]).slice(1)).toContain('{"row":[1,[1,"w"]]}');
  expect(two).toEqual([
    expect.stringContaining("columns"),
    expect.stringContaining('"change_id":1}}'),
  ]);
  expect((three as string[]).slice(1)).toContain('{"row":[1,[1]]}');
  expect(four).toBe(404);
  second.stop();
});

test("a row that the store has never heard of is missed where it was", async () => {
  const vfs = new MemoryVfs();
  open(vfs).stop();
  const database = openDatabase("/patina.db", { vfs });
  database.exec("INSERT INTO t VALUES (1, 'v'), (2, 'v')");
  database.close();
  const thread = open(vfs);
  const all: string[][] = [];
  for (const sql of [
    "SELECT count(*) FROM t WHERE v = 'v'",
    "SELECT v, count(*) FROM t GROUP BY v",
    "SELECT id FROM t WHERE v = 'v'",
  ]) {
    const { lines, take } = listen();
    const asked = { sql, parameters: undefined };
    await thread.service.subscribe(asked, { from: undefined, skipRows: true }, take);
    all.push(lines);
  }
  await run(thread, "UPDATE t SET v = 'w' WHERE id = 1");
  expect(all).toEqual([
    ['{"change":["update",1,[1],1]}'],
    ['{"change":["update",1,["v",1],1]}', '{"change":["insert",2,["w",1],2]}'],
    ['{"change":["delete",1,[1],1]}'],
  ]);
  thread.stop();
});

test("what changes unseen can't be subscribed to, and says so", async () => {
  const thread = open(new MemoryVfs());
  for (const [table, sql] of [
    ["patina_changes", "SELECT * FROM patina_changes"],
    [
      "patina_changes",
      "SELECT id FROM t WHERE id IN (SELECT key FROM patina_changes WHERE tbl = 't')",
    ],
    ["sqlite_schema", "SELECT name FROM sqlite_schema"],
    ["sqlite_schema", "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM sqlite_master WHERE name = v)"],
    ["sqlite_stmt", "SELECT id, sql FROM t, sqlite_stmt"],
  ] as const) {
    const asked = { sql, parameters: undefined };
    const outcome = await thread.service.subscribe(
      asked,
      { from: undefined, skipRows: true },
      listen().take,
    );
    expect(outcome).toEqual({
      kind: "refused",
      status: 400,
      why: expect.stringContaining(`${table} changes unseen: it can't be subscribed to`),
    });
  }
  thread.stop();
});
