/**
 * Long queries and long results, on the real store and the real reader thread.
 *
 * @module
 */

import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApi } from "../../agent/api/handlers.ts";
import type { ApiResponse } from "../../agent/api/http.ts";
import type { StreamEvent } from "../../agent/api/store-service.ts";
import { type ReaderLimits, readerLimits } from "../../agent/readers/reader-pool.ts";
import type { StoreThread } from "../../agent/store/store-thread.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import { schemaOf } from "../generators/sqlite-store.ts";
import { createStoreThread } from "../generators/store-thread.ts";
import { until } from "../until.ts";
import { Folded } from "./live-queries-folded.ts";

// On a busy machine a commit of many rows takes its time.
setDefaultTimeout(120_000);

const rows = 8000;
const schemaSql = `CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT NOT NULL DEFAULT '', n INTEGER);
  CREATE TABLE secret (id INTEGER NOT NULL PRIMARY KEY);`;
const endless =
  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";

let folder: string;
let thread: StoreThread;

function open(limits: Partial<ReaderLimits> = {}, queryTimeoutMs = 10_000): void {
  thread = createStoreThread({
    vfs: new FileVfs(),
    databasePath: join(folder, "patina.db"),
    schema: schemaOf(schemaSql),
    readSchema: () => schemaOf(schemaSql.replace("n INTEGER", "n INTEGER, extra TEXT")),
    queryTimeoutMs,
    readerLimits: { ...readerLimits, ...limits },
  });
  thread.start(undefined);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-long-"));
});

afterEach(() => {
  thread.stop();
  rmSync(folder, { recursive: true });
});

const write = (sql: string) => thread.service.transact([{ sql, parameters: undefined }], undefined);

const fill = () =>
  write(
    `INSERT INTO t (id, v, n) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows}) SELECT x, 'value ' || x, 1 FROM c`,
  );

async function query(sql: string): Promise<AsyncIterator<Uint8Array>> {
  const outcome = await thread.service.query({ sql, parameters: undefined }, undefined);
  if (outcome.kind === "refused") throw new Error(outcome.why);
  return (async function* () {
    yield* outcome.chunks;
  })();
}

async function whole(sql: string): Promise<string> {
  return rest(await query(sql));
}

async function rest(chunks: AsyncIterator<Uint8Array>): Promise<string> {
  const all: Uint8Array[] = [];
  for (let one = await chunks.next(); !one.done; one = await chunks.next()) all.push(one.value);
  return Buffer.concat(all).toString();
}

/** Descriptors of files in the folder. */
function openInFolder(): number {
  const paths = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return paths.filter((path) => path.startsWith(folder)).length;
}

const readers = () =>
  JSON.parse(JSON.stringify(thread.readersReport())) as { running: number; alive: boolean };

test("a long result is a snapshot: commits, checkpoints and the end of the WAL don't reach it", async () => {
  open();
  await fill();
  const chunks = await query("SELECT id, n FROM t");
  const head = await chunks.next();
  const first = await chunks.next();
  expect(Buffer.from(head.value).toString()).toBe('{"columns":["id","n"]}\n');
  for (let n = 2; n < 12; n++) {
    expect((await write(`UPDATE t SET n = ${n} WHERE id % 50 = 0`)).kind).toBe("committed");
    await Bun.sleep(1);
  }
  const lines = (Buffer.from(first.value).toString() + (await rest(chunks))).trim().split("\n");
  expect(lines.length).toBe(rows + 1);
  expect(lines[0]).toBe('{"row":[1,[1,1]]}');
  expect(lines.filter((line) => !/,1\]\]\}$/.test(line)).length).toBe(1);
  expect(lines.at(-1)).toMatch(/^\{"eoq":\{"time":/);
  expect(await whole("SELECT min(n), max(n) FROM t")).toContain("[1,11]");
});

test("a query that never ends holds up neither reads nor commits, and is interrupted at its time", async () => {
  open({}, 2000);
  await fill();
  let isOver = false;
  const ending = whole(endless).finally(() => {
    isOver = true;
  });
  await until(() => readers().running === 1);
  for (let i = 0; i < 20; i++) {
    await write(`UPDATE t SET n = ${i} WHERE id = 7`);
    expect(await whole("SELECT n FROM t WHERE id = 7")).toContain(`[1,[${i}]]`);
  }
  expect(isOver).toBe(false);
  expect(await ending).toBe('{"columns":["max(x)"]}\n{"error":"interrupted"}\n');
});

test("a client that doesn't read is ended with a line that says so, and lets go of its snapshot", async () => {
  open({ stallMsMax: 100 });
  await fill();
  const chunks = await query("SELECT a.id, b.id FROM t a, t b");
  await chunks.next();
  await until(() => readers().running === 0);
  expect(await rest(chunks)).toMatch(
    /\n\{"error":"too slow: a piece of the result was not read within 100 ms"\}\n$/,
  );
});

test("a reader thread that ends leaves no file open", async () => {
  open({ idleMs: 1 });
  await fill();
  const before = openInFolder();
  for (let i = 0; i < 3; i++) {
    await whole("SELECT id, n FROM t");
    await until(() => !readers().alive);
  }
  // The store thread keeps the connection that kept their snapshots: two files.
  await until(() => openInFolder() <= before + 2);
});

test("where the WAL grows too large under it, a query is ended with a line that says so", async () => {
  open({ walBytesMax: 1024 * 1024 });
  await fill();
  const chunks = await query("SELECT a.id, b.id FROM t a, t b");
  await chunks.next();
  for (let n = 0; readers().running > 0; n++) {
    await write(`UPDATE t SET n = ${n}`);
    // The store looks when it has a turn.
    await Bun.sleep(5);
    if (n > 200) throw new Error("the WAL is bounded by nothing");
  }
  expect(await rest(chunks)).toMatch(/\{"error":"ended: its snapshot had kept \d+ bytes of the/);
});

test("a client that goes cancels its query", async () => {
  open();
  await fill();
  const handle = createApi(thread.service);
  const gone = new AbortController();
  const response = await handle({
    method: "POST",
    path: "/v1/queries",
    query: "",
    header: () => "application/json",
    signal: gone.signal,
    body: Buffer.from(JSON.stringify(endless)),
  });
  expect(response.status).toBe(200);
  const chunks = (response.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  await chunks.next();
  const next = chunks.next();
  await until(() => readers().running === 1);
  gone.abort();
  expect((await next).done).toBe(true);
  await until(() => readers().running === 0);
});

test("a write that had to wait isn't begun when its token was taken back meanwhile", async () => {
  open();
  const statement = { sql: "INSERT INTO t (id) VALUES (1)", parameters: undefined };
  const access = { mayWrite: true, tables: undefined, revoked: AbortSignal.abort() };
  const outcome = await thread.service.transact([statement], undefined, access);
  expect(outcome).toEqual({ kind: "refused", status: 403, why: "this token is no longer valid" });
  expect(await whole("SELECT id FROM t")).not.toContain("row");
});

/** An answer as one who has a token is given it. */
async function asked(path: string, sql: string, revoked: AbortSignal): Promise<ApiResponse> {
  const request = {
    method: "POST",
    path,
    query: "",
    header: () => "application/json",
    signal: new AbortController().signal,
    body: Buffer.from(JSON.stringify(sql)),
  };
  return createApi(thread.service)(request, { mayWrite: false, tables: undefined, revoked });
}

test("queries that run or wait for their turn end when their token is taken back, and say so", async () => {
  // Longer than the test has.
  open({}, 1e9);
  const tokens = [new AbortController(), new AbortController(), new AbortController()] as const;
  const answers = await Promise.all(
    tokens.map(({ signal }) => asked("/v1/queries", endless, signal)),
  );
  const ends = answers.map(({ body }) =>
    rest((body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()),
  );
  await until(() => readers().running === 1);
  const ended = '{"columns":["max(x)"]}\n{"error":"the token of this stream is no longer valid"}\n';
  // That of one that waits, of the one that runs, and of the one that runs then.
  for (const i of [1, 0, 2]) {
    tokens[i]?.abort();
    expect(await ends[i]).toBe(ended);
  }
  await until(() => readers().running === 0);

  // A signal tells of it once.
  const late = await asked("/v1/queries", endless, tokens[0].signal);
  expect(await rest((late.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]())).toBe(ended);
  await until(() => readers().running === 0);
});

test("a subscription whose first rows take long ends when its token is taken back", async () => {
  open({}, 1e9);
  await fill();
  const token = new AbortController();
  const sql = `SELECT (${endless}) FROM t WHERE id = 7`;
  const answer = asked("/v1/subscriptions", sql, token.signal);
  await until(() => readers().running === 1);
  token.abort();
  const { status, body } = await answer;
  expect([status, Buffer.from(body as Uint8Array).toString()]).toEqual([
    403,
    '{"error":"the token of this stream is no longer valid"}',
  ]);
  await until(() => readers().running === 0);
});

test("what a token may not read, and what isn't read-only, is refused there as here", async () => {
  open();
  await fill();
  const access = { mayWrite: false, tables: new Set(["t"]) };
  const long = "SELECT count(*) FROM t a, t b WHERE a.n + b.n > length(a.v)";
  const asked = (sql: string, parameters?: readonly number[]) =>
    thread.service.query({ sql, parameters }, 50, access);
  expect((await asked(long)).kind).toBe("stream");
  // Known to be long now: it is looked at all the same.
  expect(await asked(`${long} AND a.id < (SELECT count(*) FROM secret)`)).toEqual({
    kind: "refused",
    status: 403,
    why: "this token may not read secret",
  });
  expect(await asked(long, [1])).toEqual({
    kind: "refused",
    status: 500,
    why: "Wrong number of parameters passed to query. Got 1, needed 0",
  });
  expect((await asked("DELETE FROM t")).kind).toBe("refused");
});

test("another schema is heeded, by statements that were compiled before too", async () => {
  open();
  await fill();
  const all = "SELECT * FROM t WHERE id > 10";
  const begin = async () => (await whole(all)).split("\n").slice(0, 2);
  expect(await begin()).toEqual(['{"columns":["id","v","n"]}', '{"row":[1,[11,"value 11",1]]}']);
  for await (const line of thread.reload()) expect(line).not.toHaveProperty("error");
  expect(await begin()).toEqual([
    '{"columns":["id","v","n","extra"]}',
    '{"row":[1,[11,"value 11",1,null]]}',
  ]);
  // What is asked beside SQL's own tables is there too.
  const changes = "SELECT count(*), min(node) FROM patina_changes WHERE tbl = 't'";
  expect(await whole(changes)).toMatch(/\{"row":\[1,\[\d{4,},/);
  expect(readers().alive).toBe(true);
});

test("a query over its memory ends with an error, and the next one runs", async () => {
  open({ heapBytesMax: 32 * 1024 * 1024 });
  await fill();
  const hungry = "SELECT length(group_concat(hex(zeroblob(3000)))) FROM t";
  expect(await whole(hungry)).toContain('{"error":"out of memory: a query may take 32 MB"}');
  expect(await whole("SELECT count(*) FROM t a JOIN t b USING (n) WHERE a.id < 100")).toContain(
    `[${99 * rows}]`,
  );
});

test("a live query over a large result begins at one commit, and what came meanwhile follows", async () => {
  open();
  await fill();
  let text = "";
  const listen = (event: StreamEvent): void => {
    if (event.kind === "lines") text += Buffer.from(event.bytes).toString();
  };
  const options = { from: undefined, skipRows: false };
  const statement = { sql: "SELECT id, n FROM t WHERE n > 0", parameters: undefined };
  const subscribing = thread.service.subscribe(statement, options, listen);
  for (let i = 2; i < 12; i++) await write(`UPDATE t SET n = ${i} WHERE id = ${i}`);
  expect((await subscribing).kind).toBe("subscribed");
  await until(() => text.includes('{"eoq"'));
  await write("UPDATE t SET n = 99 WHERE id = 99");
  await until(() => text.includes(",99],"));
  const folded = new Map<number, string>();
  for (const line of text.trim().split("\n")) {
    const row = /^\{"row":\[(\d+),(.*)\]\}$/.exec(line);
    const change = /^\{"change":\["update",(\d+),(.*),\d+\]\}$/.exec(line);
    const found = row ?? change;
    if (found !== null) folded.set(Number(found[1]), found[2] as string);
  }
  const fresh = await whole("SELECT id, n FROM t WHERE n > 0");
  const wanted = [...fresh.matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm)].map(
    (match) => match[1] as string,
  );
  expect([...folded.values()].sort()).toEqual(wanted.sort());
});

test("a live query that takes for ever holds up neither reads nor commits nor other live queries", async () => {
  open({}, 3000);
  await fill();
  const subscribe = async (sql: string) => {
    const folded = new Folded();
    const outcome = await thread.service.subscribe(
      { sql, parameters: undefined },
      { from: undefined, skipRows: false },
      folded.take,
    );
    expect(outcome.kind).toBe("subscribed");
    return folded;
  };
  const slow = await subscribe(
    `SELECT CASE WHEN n = 1 THEN 0 ELSE (${endless}) END FROM t WHERE id = 7`,
  );
  const keyed = await subscribe("SELECT n FROM t WHERE id = 8");
  const counted = await subscribe("SELECT sum(n) FROM t WHERE id = 8");
  await write("UPDATE t SET n = 2 WHERE id = 7");
  await until(() => readers().running === 1);
  for (let i = 2; i < 20; i++) {
    await write(`UPDATE t SET n = ${i} WHERE id = 8`);
    expect(await whole("SELECT n FROM t WHERE id = 8")).toContain(`[1,[${i}]]`);
    await until(() => keyed.lastChange === i - 1 && counted.lastChange === i - 1);
  }
  // It is still at it.
  expect([slow.isEnded, readers().running]).toEqual([false, 1]);
  expect(thread.service.live.describe()[0]).toMatchObject({
    how: "rerun",
    runs_in: "reader thread",
    runs_now: true,
  });
  await until(() => slow.isEnded);
  expect([slow.sorted(), slow.errors]).toEqual([["[0]"], ['{"error":"interrupted"}']]);
});

test("a live query over many rows is told what became of them, whatever another thread finds out", async () => {
  open();
  await fill();
  const folded = new Folded();
  const sql = "SELECT DISTINCT id, v, n FROM t";
  await thread.service.subscribe(
    { sql, parameters: undefined },
    { from: undefined, skipRows: false },
    folded.take,
  );
  await until(() => thread.service.live.describe()[0]?.runs_now === false);
  for (const change of [
    "UPDATE t SET n = 2 WHERE id % 100 = 0",
    "DELETE FROM t WHERE id % 3 = 0",
    "INSERT INTO t (id, v) VALUES (3, 'again'), (900000, 'new')",
    "UPDATE t SET n = n + 1",
  ]) {
    await write(change);
    await until(() => !thread.service.live.isBehind);
    const want = (await whole(sql)).matchAll(/^\{"row":\[\d+,(.*)\]\}$/gm);
    expect(folded.sorted()).toEqual([...want].map((match) => match[1] as string).sort());
  }
  expect(thread.service.live.describe()[0]).toMatchObject({ told: 4, runs_in: "reader thread" });
});

test("what another thread runs ends, too, where a row gives a date function 'now'", async () => {
  open();
  await fill();
  const folded = new Folded();
  await thread.service.subscribe(
    { sql: "SELECT DISTINCT id, date(v) FROM t", parameters: undefined },
    { from: undefined, skipRows: false },
    folded.take,
  );
  await until(() => thread.service.live.describe()[0]?.runs_now === false);
  expect(thread.service.live.describe()[0]).toMatchObject({ runs_in: "reader thread" });
  await write("UPDATE t SET v = 'now' WHERE id = 5000");
  await until(() => folded.isEnded);
  expect(folded.errors[0]).toContain("a date function was given 'now'");
});

// One call of a function can't be interrupted, and a thread that is in one can't be ended: this one takes an hour.
const forHours = (bytes: number): string =>
  `instr(printf('%.*c', ${bytes}, 'a'), printf('%.*c', ${bytes / 2}, 'a') || 'b')`;

test("a function that would take for ever holds up neither reads nor commits, and isn't begun", async () => {
  open({}, 3000);
  const hours = whole(`SELECT ${forHours(8_000_000)}`);
  for (let i = 0; i < 20; i++) {
    await write(`INSERT INTO t (id) VALUES (${i})`);
    expect(await whole(`SELECT count(*) FROM t`)).toContain(`{"row":[1,[${i + 1}]]}`);
  }
  expect(await hours).toContain("instr() of values that are both so large would take too long");
  // So does one whose values are small enough to be tried, and whose rows are many.
  const many = `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)
    SELECT count(${forHours(4000).replace("4000", "4000 + x % 2")}) FROM c`;
  const results = await Promise.all([whole(many), whole("SELECT 1")]);
  expect(results[0]).toContain('{"error":"interrupted"}');
  expect(results[1]).toContain('{"row":[1,[1]]}');
  // A value that is only large is read where there is time for it.
  await write("INSERT INTO t (id, v) VALUES (1000, printf('%.*c', 100000, 'x'))");
  expect(await whole("SELECT length(v) FROM t WHERE id = 1000")).toContain('{"row":[1,[100000]]}');
  expect(await whole("SELECT id FROM t WHERE v LIKE '%xx%'")).toContain('{"row":[1,[1000]]}');
});

test("a write with such a function is refused, and what it does within its bound is SQLite's", async () => {
  open({}, 3000);
  const refusal = async (sql: string) => {
    const outcome = await thread.service.transact([{ sql, parameters: undefined }], undefined);
    return outcome.kind === "refused" ? outcome.why : outcome.kind;
  };
  for (const call of [
    forHours(8_000_000),
    forHours(8_000_000).replace("instr", "unhex"),
    "json_patch(json_quote(printf('%.*c', 900000, 'a')), json_quote(printf('%.*c', 900000, 'a')))",
  ]) {
    expect(await refusal(`INSERT INTO t (id, n) SELECT 1, ${call}`)).toContain(
      "would take too long",
    );
  }
  expect(await refusal(`INSERT INTO t (id, n) SELECT 1, 'x' LIKE printf('%.*c', 501, '%')`)).toBe(
    "LIKE or GLOB pattern too complex",
  );
  await write("INSERT INTO t (id, v, n) VALUES (1, replace('abc', 'b', 'x'), instr('abc', 'c'))");
  expect(await whole("SELECT v, n FROM t")).toContain('{"row":[1,["axc",3]]}');
});

test("a live query with such a function ends with its error, and doesn't hold up commits", async () => {
  open({}, 3000);
  const folded = new Folded();
  const sql = `SELECT id, instr(printf('%.*c', n, 'a'), printf('%.*c', n / 2, 'a') || 'b') FROM t`;
  const { kind } = await thread.service.subscribe(
    { sql, parameters: undefined },
    { from: undefined, skipRows: false },
    folded.take,
  );
  expect(kind).toBe("subscribed");
  await write("INSERT INTO t (id, n) VALUES (0, 10)");
  await until(() => folded.rows.size === 1);
  for (let i = 1; i < 10; i++) {
    expect((await write(`INSERT INTO t (id, n) VALUES (${i}, 8000000)`)).kind).toBe("committed");
  }
  expect(await whole("SELECT count(*) FROM t")).toContain('{"row":[1,[10]]}');
  await until(() => folded.errors.length > 0);
  expect(folded.errors[0]).toContain("would take too long");
});

// Larger than what is sorted at once, so it is sorted in pieces, which temporary files keep (`wasm/vfs/temporary-file.ts`).
test("a sort of many rows is right, here and in the reader thread", async () => {
  open();
  const count = 400_009;
  // Each of the keys comes once: 7919 and the prime have no common factor.
  const sorted = `SELECT row_number() OVER () - 1 AS at, k FROM (
    SELECT x * 7919 % ${count} AS k, printf('%.*c', 40, 'x') AS wide FROM (
      WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM c WHERE x < ${count} - 1) SELECT x FROM c)
    ORDER BY k, wide)`;
  const check = `SELECT count(*), sum(at <> k) FROM (${sorted})`;
  expect(await whole(check)).toContain(`{"row":[1,[${count},0]]}`);
  expect(
    await write(`INSERT INTO t (id, n) SELECT 1, count(*) + sum(at <> k) FROM (${sorted})`),
  ).toMatchObject({ kind: "committed" });
  expect(await whole("SELECT n FROM t")).toContain(`{"row":[1,[${count}]]}`);
});

test("counting tables that are named thousands of times leaves others their turns", async () => {
  open();
  await fill();
  const names = Array.from({ length: 5000 }, (_, i) => (i % 2 === 0 ? "t" : `nowhere ${i}`));
  let turns = 0;
  let isOver = false;
  const turn = (): void => {
    turns++;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  const { totalRowCount, invalidTables } = await thread.service.tableStats(names);
  isOver = true;
  expect([totalRowCount, invalidTables.length]).toEqual([2500 * rows, 2500]);
  expect(turns).toBeGreaterThan(3);
});
