import { expect, test } from "bun:test";
import { encodeKey } from "../../core/row/key.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { StreamEvent } from "../api/store-service.ts";
import { Deadline } from "../sql/deadline.ts";
import { SqlGuard } from "../sql/guard.ts";
import { QueryRunner } from "../sql/query-runner.ts";
import type { InitialRowsSource } from "./initial-rows.ts";
import { LiveQueries, liveLimits } from "./live-queries.ts";
import { readRow } from "./read-row.ts";
import type { ReadRow } from "./rows/row.ts";

/** A thousand rows, which take some 100 KB, and a query 15 KB, and room for `bytesMax`; rows come at once, or in pieces of a hundred. */
function open(bytesMax: number, inPieces = false) {
  const vfs = new MemoryVfs();
  const database = openDatabase("/held.db", { vfs });
  database.exec("PRAGMA journal_mode = wal");
  database.exec("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)");
  database.exec(
    "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1000) SELECT x, 'v' FROM c",
  );
  const reader = new QueryRunner(openDatabase("/held.db", { vfs }), {
    ...{ timeoutMs: 60_000, resultBytesMax: 2 ** 20 },
  });
  const pieces: InitialRowsSource = {
    async *read({ sql, values, shape }) {
      using statement = reader.database.prepare(sql);
      for (const [i, value] of values.entries()) statement.bind(i + 1, value);
      const rows: ReadRow[] = [];
      while (statement.step()) rows.push(readRow(statement, shape));
      while (rows.length > 0) yield rows.splice(0, 100);
    },
  };
  let last = 0;
  const live = new LiveQueries({
    reader,
    writer: { database, guard: new SqlGuard(database), deadline: new Deadline(database) },
    keyColumnsOf: (table) => (table === "t" ? ["id"] : undefined),
    nextSubscriber: () => ++last,
    limits: { ...liveLimits, heldBytesMax: bytesMax },
    ...(inPieces ? { initialRows: pieces } : {}),
  });
  const write = async (sql: string, ids: readonly number[]): Promise<void> => {
    database.exec("BEGIN");
    database.exec(sql);
    database.exec("COMMIT");
    const rows = ids.map((id) => ({
      ...{ table: "t", key: encodeKey([id]) as Uint8Array, columns: undefined },
    }));
    live.committed({ changes: () => new Map([["t", rows]]), rows: undefined });
    live.tell(true);
    while (live.isBehind) await new Promise((resolve) => setImmediate(resolve));
  };
  const subscribe = async (sql: string) => {
    const lines: string[] = [];
    const outcome = await live.subscribe(
      { sql, parameters: undefined },
      { from: undefined, skipRows: false },
      (event: StreamEvent) => {
        if (event.kind === "end") lines.push("end");
        else lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
      },
    );
    return { lines, ...(outcome as typeof outcome & { subscriber: number; id: string }) };
  };
  const known = () => live.describe().map(({ sql }) => sql);
  return { live, write, subscribe, known };
}

const query = (n: number) => `SELECT id, v, ${n} FROM t`;

test("where there is no room, those that nobody listens to go, the longest idle first; then new ones are refused", async () => {
  const { live, subscribe, known } = open(400_000);
  const all = [await subscribe(query(1)), await subscribe(query(2)), await subscribe(query(3))];
  live.unsubscribe(all[1]?.subscriber as number, 1000);
  live.unsubscribe(all[0]?.subscriber as number, 2000);
  expect((await subscribe(query(4))).kind).toBe("subscribed");
  expect(known()).toEqual([query(1), query(3), query(4)]);
  expect((await subscribe(query(5))).kind).toBe("subscribed");
  expect(known()).toEqual([query(3), query(4), query(5)]);
  expect(await subscribe(query(6))).toMatchObject({
    kind: "refused",
    why: expect.stringContaining("store.subscribed_bytes"),
  });
  expect(known()).toEqual([query(3), query(4), query(5)]);
  // One that is there already takes nothing more.
  expect((await subscribe(query(5))).kind).toBe("subscribed");
}, 120_000);

test("one whose rows come in pieces ends in their middle, with a line that says why", async () => {
  const { subscribe, known } = open(180_000, true);
  const first = await subscribe(query(1));
  while (!first.lines.at(-1)?.includes("eoq"))
    await new Promise((resolve) => setImmediate(resolve));
  const second = await subscribe(query(2));
  while (second.lines.at(-1) !== "end") await new Promise((resolve) => setImmediate(resolve));
  expect(second.lines.at(-2)).toContain("store.subscribed_bytes");
  const rows = second.lines.filter((line) => line.startsWith('{"row"')).length;
  expect([rows > 0, rows < 1000]).toEqual([true, true]);
  expect(known()).toEqual([query(1)]);
}, 120_000);

test("rows that are gone take nothing, also where several are one to the query", async () => {
  const { live, write, subscribe } = open(525_000);
  const ids = Array.from({ length: 1000 }, (_, i) => i + 1);
  await subscribe(query(1));
  await subscribe("SELECT v FROM t");
  await write("UPDATE t SET v = 'longer ' || id", ids);
  await write("DELETE FROM t WHERE id > 10", ids);
  for (let n = 0; n < 20; n++) expect((await subscribe(query(10 + n))).kind).toBe("subscribed");
  await write("DELETE FROM t", ids);
  for (let n = 0; n < 10; n++) expect((await subscribe(query(100 + n))).kind).toBe("subscribed");
  expect(live.describe().every(({ rows }) => rows === 0)).toBe(true);
}, 120_000);

test("rows that changes brought are found by a count that goes through some at a time", async () => {
  const { live, write, subscribe, known } = open(5_000_000);
  const idle = await subscribe(query(1));
  await subscribe(query(2));
  for (let n = 0; n < 220; n++) await subscribe(`SELECT v FROM t WHERE id = ${n}`);
  live.unsubscribe(idle.subscriber, 1000);
  const isKept = () => {
    live.sweep(2000);
    return known().includes(query(1));
  };
  // All are counted in two.
  expect([isKept(), isKept()]).toEqual([true, true]);
  const ids = Array.from({ length: 20_000 }, (_, i) => 1001 + i);
  await write(
    "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1001 UNION ALL SELECT x + 1 FROM c WHERE x < 21000) SELECT x, 'v' FROM c",
    ids,
  );
  expect([isKept(), isKept()]).toEqual([true, false]);
}, 120_000);
