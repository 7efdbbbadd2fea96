import { expect, test } from "bun:test";
import { encodeKey } from "../../core/row/key.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { StreamEvent } from "../api/store-service.ts";
import { Deadline } from "../sql/deadline.ts";
import { SqlGuard } from "../sql/guard.ts";
import { QueryRunner } from "../sql/query-runner.ts";
import type { InitialRowsSource } from "./initial-rows.ts";
import { type LiveLimits, LiveQueries, liveLimits } from "./live-queries.ts";
import { LiveStore } from "./live-store.ts";
import { readRow, type WholeQuery } from "./read-row.ts";
import type { ReadRow } from "./rows/row.ts";

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Reads at once, and hands one row on whenever `step` is called. */
class SteppedRows implements InitialRowsSource {
  readonly #wakes: (() => void)[] = [];
  readonly #read: (query: WholeQuery) => ReadRow[];
  isStopped = false;
  failure: string | undefined;

  constructor(read: (query: WholeQuery) => ReadRow[]) {
    this.#read = read;
  }

  /** Nothing where all has been handed on. */
  async step(): Promise<void> {
    for (let turn = 0; this.#wakes.length === 0 && turn < 20; turn++) await nextTurn();
    this.#wakes.shift()?.();
    // Until it waits again: the row has been taken.
    while (this.#wakes.length === 0 && !this.isStopped) await nextTurn();
    await nextTurn();
  }

  read(query: WholeQuery): AsyncIterable<readonly ReadRow[]> {
    const rows = this.#read(query);
    return this.#pieces(rows);
  }

  async *#pieces(rows: ReadRow[]): AsyncGenerator<readonly ReadRow[]> {
    try {
      for (;;) {
        await new Promise<void>((resolve) => this.#wakes.push(resolve));
        if (this.failure !== undefined) throw new Error(this.failure);
        const row = rows.shift();
        if (row === undefined) return;
        yield [row];
      }
    } finally {
      this.isStopped = true;
    }
  }
}

const rowOf = (id: number) => ({
  table: "t",
  key: encodeKey([id]) as Uint8Array,
  columns: undefined,
});

function open(limits: Partial<LiveLimits> = {}) {
  const vfs = new MemoryVfs();
  const database = openDatabase("/live.db", { vfs });
  database.exec("PRAGMA journal_mode = wal");
  database.exec("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)");
  database.exec("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
  const reader = new QueryRunner(openDatabase("/live.db", { vfs }), {
    timeoutMs: 1000,
    resultBytesMax: 2 ** 20,
  });
  const source = new SteppedRows(({ sql, values, shape }) => {
    using statement = reader.database.prepare(sql);
    for (const [i, value] of values.entries()) statement.bind(i + 1, value);
    const rows: ReadRow[] = [];
    while (statement.step()) rows.push(readRow(statement, shape));
    return rows;
  });
  let last = 0;
  const live = new LiveQueries({
    reader,
    writer: { database, guard: new SqlGuard(database), deadline: new Deadline(database) },
    keyColumnsOf: (table) => (table === "t" ? ["id"] : undefined),
    nextSubscriber: () => ++last,
    initialRows: source,
    store: new LiveStore(database),
    limits: { ...liveLimits, ...limits },
  });
  const write = async (sql: string, ...ids: number[]): Promise<void> => {
    database.exec("BEGIN");
    database.exec(sql);
    const rows = ids.map(rowOf);
    database.exec("COMMIT");
    live.committed({ changes: () => new Map([["t", rows]]), rows: undefined });
    live.tell(true);
    while (live.isBehind) await nextTurn();
  };
  const lines: string[] = [];
  const listener = (event: StreamEvent): void => {
    if (event.kind === "end") lines.push("end");
    else lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
  };
  const subscribe = (sql: string, take = listener, gone?: AbortSignal) => {
    const options = { from: undefined, skipRows: false, ...(gone === undefined ? {} : { gone }) };
    return live.subscribe({ sql, parameters: undefined }, options, take);
  };
  return { database, live, source, write, lines, subscribe };
}

const eoq = expect.stringContaining('{"eoq":');

for (const sql of ["SELECT id, v FROM t WHERE v <> 'x'", "SELECT DISTINCT id, v FROM t"]) {
  test(`rows come in pieces, and commits in between are told after them: ${sql}`, async () => {
    const { live, source, write, lines, subscribe } = open();
    const outcome = subscribe(sql);
    await write("UPDATE t SET v = 'B' WHERE id = 2", 2);
    await source.step();
    const head = await outcome;
    if (head.kind === "refused") throw new Error(head.why);
    expect(lines).toEqual(['{"columns":["id","v"]}', '{"row":[1,[1,"a"]]}']);
    // Seen and not yet seen by the source; gone and come since.
    await write("DELETE FROM t WHERE id IN (1, 3)", 1, 3);
    await write("INSERT INTO t VALUES (4, 'd')", 4);
    // Another who asks the same waits for the first.
    const others: string[] = [];
    const second = subscribe(sql, (event) => {
      if (event.kind === "lines") others.push(Buffer.from(event.bytes).toString());
    });
    for (let i = 0; i < 3; i++) await source.step();
    expect((await second).kind).toBe("subscribed");
    expect(lines.slice(2, 5)).toEqual(['{"row":[2,[2,"b"]]}', '{"row":[3,[3,"c"]]}', eoq]);
    expect(lines.slice(5).toSorted()).toEqual([
      expect.stringContaining('{"change":["delete",1,[1,"a"],'),
      expect.stringContaining('{"change":["delete",3,[3,"c"],'),
      expect.stringContaining('{"change":["insert",4,[4,"d"],'),
      expect.stringContaining('{"change":["update",2,[2,"B"],'),
    ]);
    expect(others.join("")).toContain('{"row":[2,[2,"B"]]}\n{"row":[4,[4,"d"]]}\n{"eoq"');
    await write("UPDATE t SET v = 'D' WHERE id = 4", 4);
    expect(lines.at(-1)).toContain('{"change":["update",4,[4,"D"],5]}');
    expect(live.listenerCount).toBe(2);
  });
}

test("a row that left while the first rows were on their way is found in none of them", async () => {
  const { live, source, write, subscribe } = open();
  const all = new Map<string, string[]>();
  // So many that a commit asks for whom it is by value.
  const names = ["x", "y", "z", "w", "v", "a"];
  for (const name of names) {
    const lines: string[] = [];
    all.set(name, lines);
    const outcome = subscribe(`SELECT id FROM t WHERE v = '${name}'`, (event) => {
      if (event.kind === "lines")
        lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
    });
    // Of the last one the row has been read, and isn't here yet.
    if (name === "a") await write("UPDATE t SET v = 'x' WHERE id = 1", 1);
    await source.step();
    await source.step();
    expect((await outcome).kind).toBe("subscribed");
  }
  while (live.isBehind) await nextTurn();
  expect(all.get("a")?.slice(1)).toEqual(['{"row":[1,[1]]}', eoq, '{"change":["delete",1,[1],1]}']);
  expect(all.get("x")?.slice(1)).toEqual([eoq, '{"change":["insert",1,[1],1]}']);
});

test("what fails before the first row is a refusal, and after it a line and the end", async () => {
  const { live, source, lines, subscribe } = open();
  source.failure = "no more memory";
  const refused = subscribe("SELECT id FROM t");
  const second = subscribe("SELECT id FROM t");
  await source.step();
  // Also to those who waited for the first one's rows.
  for (const one of [refused, second]) {
    expect(await one).toEqual({ kind: "refused", status: 400, why: "no more memory" });
  }
  source.failure = undefined;
  const outcome = subscribe("SELECT id FROM t");
  await source.step();
  expect((await outcome).kind).toBe("subscribed");
  source.failure = "interrupted";
  await source.step();
  expect(lines.slice(2)).toEqual(['{"error":"interrupted"}', "end"]);
  expect(live.count).toBe(0);
});

test("a schema change ends what is starting, and the source is stopped", async () => {
  const { database, live, source, lines, subscribe } = open();
  const outcome = subscribe("SELECT id FROM t");
  await source.step();
  await outcome;
  // Of another table: it goes on.
  database.exec("CREATE TABLE u (id INTEGER PRIMARY KEY)");
  live.schemaChanged();
  expect(lines.slice(2)).toEqual([]);
  database.exec("ALTER TABLE t ADD COLUMN w TEXT");
  live.schemaChanged();
  expect(lines.slice(2)).toEqual(['{"error":"the schema changed: subscribe again"}', "end"]);
  await source.step();
  expect(source.isStopped).toBe(true);
});

test("a schema change before the first row is a refusal, and what is dropped is saved no more", async () => {
  const { database, live, source, lines, subscribe } = open();
  const outcome = subscribe("SELECT id FROM t");
  database.exec("ALTER TABLE t ADD COLUMN w TEXT");
  live.schemaChanged();
  await source.step();
  expect(await outcome).toMatchObject({ why: "the schema changed: subscribe again" });
  expect([lines, source.isStopped, live.count, live.listenerCount]).toEqual([[], true, 0, 0]);
  const later = subscribe("SELECT id FROM t");
  await source.step();
  await later;
  database.exec("ALTER TABLE t ADD COLUMN x TEXT");
  live.schemaChanged();
  await source.step();
  live.close();
  expect(database.all("SELECT sql FROM patina_live")).toEqual([]);
});

test("a row that is noted while the last row comes is told", async () => {
  const { database, live, source, lines, subscribe } = open({ turnMsMax: 1e-6 });
  database.exec(
    "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 4 UNION ALL SELECT x + 1 FROM c WHERE x < 200) SELECT x, 'a' FROM c",
  );
  const outcome = subscribe("SELECT id, v FROM t");
  for (let id = 1; id <= 200; id++) await source.step();
  await outcome;
  database.exec("UPDATE t SET v = 'x' WHERE id = 1");
  // The first of some, of which one a turn is noted, and so few that they are looked up.
  const rows = Array.from({ length: 40 }, (_, i) => rowOf(i + 1));
  live.committed({ changes: () => new Map([["t", rows]]), rows: undefined });
  live.tell(true);
  // Who filters by a value comes first, then who has rows by their keys: half of that is done.
  for (let turn = 0; turn < 60; turn++) await nextTurn();
  expect(live.isBehind).toBe(true);
  while (live.describe()[0]?.runs_now === true) await source.step();
  while (live.isBehind) await nextTurn();
  expect(lines.slice(202)).toEqual(['{"change":["update",1,[1,"x"],1]}']);
});

test("a client that goes before the first row takes its query out of the line, unless another waits for it", async () => {
  const { live, source, subscribe } = open();
  const nobody = () => {};
  const [first, second] = [new AbortController(), new AbortController()];
  const gone = await subscribe("SELECT count(*) FROM t", nobody, AbortSignal.abort());
  expect(gone).toMatchObject({ kind: "refused", why: "nobody waits for it any more" });
  const alone = subscribe("SELECT id FROM t", nobody, first.signal);
  const shared = subscribe("SELECT v FROM t", nobody, second.signal);
  const other = subscribe("SELECT v FROM t");
  first.abort();
  second.abort();
  await source.step();
  expect(await alone).toMatchObject({ kind: "refused", why: "nobody waits for it any more" });
  for (let i = 0; i < 4; i++) await source.step();
  expect((await shared).kind).toBe("subscribed");
  expect((await other).kind).toBe("subscribed");
  expect(live.describe().map(({ sql }) => sql)).toEqual(["SELECT v FROM t"]);
});

test("a last row that comes while a transaction is open has nobody look at what may be taken back", async () => {
  const { database, live, source, subscribe } = open();
  const told: string[] = [];
  // As many as share one look for whom a row concerns.
  for (const v of ["w", "x", "y", "z"]) {
    const outcome = subscribe(`SELECT id FROM t WHERE v = '${v}'`, (event) => {
      if (event.kind === "lines") told.push(`${v} ${Buffer.from(event.bytes).toString().trim()}`);
    });
    await source.step();
    await outcome;
  }
  told.length = 0;
  const fifth = subscribe("SELECT count(*) FROM t");
  await source.step();
  await fifth;
  database.exec("UPDATE t SET v = 'x' WHERE id = 1");
  live.committed({ changes: () => new Map([["t", [rowOf(1)]]]), rows: undefined });
  // Before anybody has noted whom that concerns.
  database.exec("BEGIN; UPDATE t SET v = 'y' WHERE id = 1");
  await source.step();
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  database.exec("ROLLBACK");
  while (live.isBehind) await nextTurn();
  expect(told).toEqual(['x {"change":["insert",1,[1],1]}']);
});

test("who wants no rows gets none of those that come in pieces, and every change after them", async () => {
  const { live, source, write } = open();
  const lines: string[] = [];
  const outcome = live.subscribe(
    { sql: "SELECT id FROM t", parameters: undefined },
    { from: undefined, skipRows: true },
    (event) => {
      if (event.kind === "lines") lines.push(Buffer.from(event.bytes).toString().trim());
    },
  );
  await source.step();
  await outcome;
  while (live.describe()[0]?.runs_now === true) await source.step();
  await write("INSERT INTO t VALUES (4, 'd')", 4);
  expect(lines).toEqual(['{"change":["insert",4,[4],1]}']);
});
