import { afterEach, beforeEach, expect, test } from "bun:test";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { QueryRunner } from "./query-runner.ts";

const budget = { ms: 2, bytes: 64 * 1024 };
const pointRead = { sql: "SELECT * FROM t WHERE id = ?", parameters: [7] };
/** Some 20,000 steps, that is 40 looks. */
const scan = { sql: "SELECT sum(id) FROM t", parameters: undefined };

let database: Database;
let runner: QueryRunner;
let nowMs = 0;
let looks = 0;
/** What has become of the clock when it is looked at for the `look`th time. */
let tick: (look: number) => void;

beforeEach(() => {
  database = openDatabase("/reads.db", { vfs: new MemoryVfs() });
  database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, n);
    WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 5000)
    INSERT INTO t SELECT i, i FROM i`);
  nowMs = 0;
  looks = -1;
  tick = () => {};
  const limits = { timeoutMs: 1000, resultBytesMax: 2 ** 20 };
  runner = new QueryRunner(database, limits, {
    nowMs: () => {
      tick(++looks);
      return nowMs;
    },
  });
});

afterEach(() => database.close());

function kind(text: { sql: string; parameters: readonly number[] | undefined }): string {
  const outcome = runner.query(text, undefined, budget);
  return outcome === "long" ? "long" : outcome.kind;
}

test("a point read is never long, however long the machine stood still", () => {
  tick = () => (nowMs += 900);
  let looked = 0;
  // SQLite asks during some of them; the clock is also read when each begins.
  for (let i = 0; i < 300; i++) {
    looks = -1;
    expect(kind(pointRead)).toBe("rows");
    looked += looks;
  }
  expect(looked).toBeGreaterThan(1);
});

test("a scan during which the machine stood still once isn't long", () => {
  tick = (look) => (nowMs += look === 5 ? 900 : 0.001);
  expect(kind(scan)).toBe("rows");
  expect(looks).toBeGreaterThan(20);
});

test.each(["SELECT count(*) FROM wide", "SELECT sum(pgsize) FROM dbstat WHERE aggregate = 1"])(
  "%s, whose reads are all in one step, is looked at too",
  (sql) => {
    database.exec(`PRAGMA cache_size = 10; CREATE TABLE wide (id INTEGER PRIMARY KEY, n);
    INSERT INTO wide SELECT id, zeroblob(500) FROM t`);
    const text = { sql, parameters: undefined };
    expect(kind(text)).toBe("rows");
    expect(looks).toBeGreaterThan(5);
    tick = () => (nowMs += 1);
    expect(kind(text)).toBe("long");
    // It ended at once, nothing is left of it, and who has no budget isn't asked.
    expect(nowMs).toBeLessThan(20);
    expect(kind(pointRead)).toBe("rows");
    expect(runner.query(text, undefined)).toMatchObject({ kind: "rows" });
  },
);

test("a scan that takes more than its budget is long", () => {
  tick = () => (nowMs += 0.2);
  expect(kind(scan)).toBe("long");
  expect(looks).toBeLessThan(13);
});

test("what is slow within few steps is long at the second look", () => {
  tick = () => (nowMs += 100);
  expect(kind(scan)).toBe("long");
  expect(looks).toBe(2);
});

test("a scan that calls a function is looked at every few rows, and one that only adds isn't", () => {
  expect(kind(scan)).toBe("rows");
  expect(looks).toBeLessThan(100);
  looks = -1;
  expect(kind({ sql: "SELECT sum(length(upper(n))) FROM t", parameters: undefined })).toBe("rows");
  expect(looks).toBeGreaterThan(1000);
});

// Between them nothing is looked at: 100 of LIKE, and as many of upper(), held the store thread for 2 s and more.
test.each(["upper(?1)", "?1 LIKE ?1", "json_valid(?1)"])(
  "the more often a row calls %s, the smaller are the values that aren't another thread's",
  (call) => {
    const of = (calls: number, bytes: number): string => {
      const sql = `SELECT ${Array.from({ length: calls }, () => `length(${call})`).join(" + ")}`;
      const outcome = runner.query({ sql, parameters: ["a".repeat(bytes)] }, undefined, budget);
      return outcome === "long" ? "long" : outcome.kind;
    };
    expect(of(1, 4000)).toBe("rows");
    expect(of(400, 4000)).toBe("long");
    expect(of(400, 30)).toBe("rows");
  },
);

test("a client's own time is the clock's", () => {
  tick = (look) => (nowMs += look === 1 ? 900 : 0);
  const outcome = runner.query(scan, 500);
  const chunks = outcome.kind === "rows" ? outcome.chunks : [];
  expect(Buffer.concat(chunks as Uint8Array[]).toString()).toContain('{"error":');
});

// 500 MB of text are made before it is found too large, and the heap would keep them for good.
test("what takes much memory is long, and the heap hasn't grown by it", () => {
  const nested =
    "replace(printf('%.*c', 990, 'x'), 'x', '[') || replace(printf('%.*c', 990, 'x'), 'x', ']')";
  const sql = `SELECT length(json_pretty(${nested}, printf('%.*c', 1000, ' ')))`;
  const outcome = runner.query({ sql, parameters: undefined }, undefined, budget);
  expect(outcome).toBe("long");
  expect(database.module.heap.u8.length).toBeLessThanOrEqual(128 * 2 ** 20);
  expect(kind(pointRead)).toBe("rows");
});
