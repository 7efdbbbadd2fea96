/**
 * Live queries that another thread runs, step by step: when the snapshot is lent and when what was found comes is
 * the test's to say.
 *
 * @module
 */

import { expect, test } from "bun:test";
import type { StreamEvent } from "../../agent/api/store-service.ts";
import type { LookBudget } from "../../agent/live/evaluation.ts";
import type { RerunSource } from "../../agent/live/live-reruns.ts";
import { readRow, type WholeQuery } from "../../agent/live/read-row.ts";
import type { ReadRow } from "../../agent/live/rows/row.ts";
import { type GoneRows, HashClaims, type RowHashes } from "../../agent/live/rows/row-hashes.ts";
import { NotOfQueryError } from "../../agent/sql/not-of-query-error.ts";
import type { QueryRunner } from "../../agent/sql/query-runner.ts";
import { until } from "../until.ts";
import { Folded } from "./live-queries-folded.ts";
import { createPlainAgent, type PlainAgent } from "./plain-agent.ts";

const schema =
  "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, v TEXT, n INTEGER DEFAULT 0);\nCREATE TABLE u (id INTEGER NOT NULL PRIMARY KEY);";

/** What runs wait for. */
class SteppedReruns implements RerunSource {
  readonly #runner: QueryRunner;
  /** Of the last that was asked for, and of all before. */
  readonly asked: string[] = [];
  #lend: (() => void) | undefined;
  #finish: ((failure?: Error) => void) | undefined;

  constructor(runner: QueryRunner) {
    this.#runner = runner;
  }

  async *rerun(
    { sql, values, shape }: WholeQuery,
    known: RowHashes,
    onLent: () => void,
  ): AsyncGenerator<readonly ReadRow[] | GoneRows> {
    this.asked.push([sql, ...values].join(" "));
    await new Promise<void>((resolve) => (this.#lend = resolve));
    onLent();
    using statement = this.#runner.guard.within("read", () => this.#runner.database.prepare(sql));
    for (const [i, value] of values.entries()) statement.bind(i + 1, value);
    const claims = new HashClaims(known);
    const rows: ReadRow[] = [];
    while (statement.step()) {
      const row = readRow(statement, shape);
      if (!claims.claim(row)) rows.push(row);
    }
    statement.reset();
    const failure = await new Promise<Error | undefined>((resolve) => (this.#finish = resolve));
    if (failure !== undefined) throw failure;
    yield rows;
    yield { gone: claims.unclaimed(), chars: 0, runMs: 100 };
  }

  async lend(): Promise<void> {
    await until(() => this.#lend !== undefined);
    this.#lend?.();
    this.#lend = undefined;
    await until(() => this.#finish !== undefined);
  }

  /** Ends the run that has its snapshot. */
  async finish(failure?: Error): Promise<void> {
    await until(() => this.#finish !== undefined);
    this.#finish?.(failure);
    this.#finish = undefined;
  }

  async whole(): Promise<void> {
    await this.lend();
    await this.finish();
  }
}

interface Opened {
  readonly agent: PlainAgent;
  readonly source: SteppedReruns;
  write(sql: string): Promise<void>;
  subscribe(sql: string): Promise<Folded>;
}

/** @param lookBudget what is found out on the store thread; nothing by default */
function open(lookBudget?: LookBudget, queryTimeoutMs = 60_000): Opened & Disposable {
  let source: SteppedReruns | undefined;
  const agent = createPlainAgent(schema, {
    reruns: (runner) => {
      source = new SteppedReruns(runner);
      return source;
    },
    ...(lookBudget === undefined ? {} : { lookBudget }),
    queryTimeoutMs,
  });
  return {
    agent,
    source: source as unknown as SteppedReruns,
    async write(sql) {
      const done = await agent.service.transact([{ sql, parameters: undefined }], undefined);
      expect(done).toMatchObject({ kind: "committed" });
    },
    async subscribe(sql) {
      const folded = new Folded();
      const outcome = await agent.service.subscribe(
        { sql, parameters: undefined },
        { from: undefined, skipRows: false },
        folded.take,
      );
      expect([sql, outcome.kind]).toEqual([sql, "subscribed"]);
      return folded;
    },
    [Symbol.dispose]: () => agent[Symbol.dispose](),
  };
}

const count = "SELECT count(*) FROM t";

test("commits while a run is under way are told by one more, and commits before its snapshot by itself", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe(count);
  await write("INSERT INTO t (id) VALUES (1)");
  await until(() => source.asked.length === 1);
  // It waits for its snapshot: this one is in it.
  await write("INSERT INTO t (id) VALUES (2)");
  await source.lend();
  for (const id of [3, 4, 5]) await write(`INSERT INTO t (id) VALUES (${id})`);
  await source.finish();
  await until(() => folded.lastChange === 1);
  expect(folded.sorted()).toEqual(["[2]"]);
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect([folded.lastChange, folded.sorted(), source.asked.length]).toEqual([2, ["[5]"], 2]);
});

test("whose rows are on their way hears of a row that only their snapshot has", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  // Enough of them that a commit asks for whom it is by value.
  const all = new Map<string, Folded>();
  for (const name of ["a", "b", "c", "d", "e"]) {
    all.set(name, await subscribe(`SELECT id, n FROM t WHERE v = '${name}'`));
  }
  await write("INSERT INTO t VALUES (1, 'a', 0)");
  await source.lend();
  // Readers don't know the row yet, and it isn't theirs any more.
  await write("UPDATE t SET v = 'nobody' WHERE id = 1");
  await source.finish();
  await until(() => all.get("a")?.lastChange === 1);
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect(all.get("a")?.sorted()).toEqual([]);
  // And nobody else was asked.
  expect(source.asked.every((asked) => asked.endsWith(" a"))).toBe(true);
});

test("urgent ones go first, and of the others one after two of them", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  const of = (table: string, i: number) => `SELECT count(*) + ${i} FROM ${table}`;
  for (let i = 0; i < 4; i++) for (const table of ["t", "u"]) await subscribe(of(table, i));
  // As of a peer's commit.
  agent.service.live.committed({ changes: () => new Map([["t", "unknown"]]), rows: undefined });
  agent.service.live.tell(false);
  await until(() => source.asked.length === 1);
  await write("INSERT INTO u (id) VALUES (1)");
  for (let i = 0; i < 8; i++) await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect(source.asked.map((sql) => sql.at(-1)).join("")).toBe("tuutuutt");
  expect(new Set(source.asked).size).toBe(8);
});

test("whose rows have other identities under another schema is run in the other thread, and its rows keep their ids", async () => {
  using opened = open({ rerun: { ms: 0, bytes: 0 }, lookUpMs: 10 });
  const { source, write, subscribe, agent } = opened;
  const told = () => until(() => !agent.service.live.isBehind);
  const how = () => agent.service.live.describe().map((one) => one.how);
  await write("INSERT INTO t (id, v) VALUES (1, 'a'), (2, 'b'), (3, 'b'), (4, 'c')");
  const sql = "SELECT count(*) FROM t GROUP BY v";
  const folded = await subscribe(sql);
  const before = new Map(folded.rows);
  expect([how(), folded.sorted()]).toEqual([["rerun"], ["[1]", "[1]", "[2]"]]);
  // First nothing else changes, then a group does before the run sees it.
  for (const [change, want] of [
    ["CREATE INDEX t_v ON t (v)", "grouped"],
    ["DROP INDEX t_v", "rerun"],
    ["CREATE INDEX t_v ON t (v)", "grouped"],
  ] as const) {
    const { length } = source.asked;
    agent.changeSchema(change);
    await source.whole();
    await told();
    expect([how(), source.asked.length - length, folded.lastChange]).toEqual([[want], 1, 0]);
    expect(folded.rows).toEqual(before);
  }
  // A group is found by its name, without another run.
  await write("INSERT INTO t (id, v) VALUES (5, 'c')");
  await told();
  expect([folded.lastChange, folded.sorted(), source.asked.length]).toEqual([
    1,
    ["[1]", "[2]", "[2]"],
    3,
  ]);
  agent.changeSchema("DROP INDEX t_v");
  await write("DELETE FROM t WHERE v = 'b'");
  await write("INSERT INTO t (id, v) VALUES (6, 'd'), (7, 'd'), (8, 'd')");
  await source.whole();
  await told();
  expect([folded.lastChange, folded.sorted()]).toEqual([3, ["[1]", "[2]", "[3]"]]);
});

test("a run that went wrong for no fault of its own is begun anew; one whose fault it is ends", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe(count);
  await write("INSERT INTO t (id) VALUES (1)");
  await source.lend();
  await source.finish(new NotOfQueryError("the snapshot is wanted back"));
  await source.whole();
  await until(() => folded.lastChange === 1);
  await write("INSERT INTO t (id) VALUES (2)");
  await source.lend();
  await source.finish(new Error("interrupted"));
  await until(() => folded.isEnded);
  expect(folded.errors).toEqual(['{"error":"interrupted"}']);
  expect(agent.service.live.count).toBe(0);
  const again = await subscribe(count);
  await write("INSERT INTO t (id) VALUES (3)");
  for (let i = 0; i < 5; i++) {
    await source.lend();
    await source.finish(new NotOfQueryError("the thread died"));
  }
  await until(() => again.isEnded);
  expect(again.errors).toEqual(['{"error":"the thread died"}']);
});

test("who asks for a query that is under way gets what was committed before", async () => {
  using opened = open();
  const { source, write, subscribe } = opened;
  await subscribe(count);
  await write("INSERT INTO t (id) VALUES (1)");
  await source.lend();
  await write("INSERT INTO t (id) VALUES (2)");
  const second = subscribe(count);
  await source.finish();
  await source.whole();
  expect((await second).sorted()).toEqual(["[2]"]);
});

test("who asks waits for no commit that comes after that", async () => {
  using opened = open();
  const { source, write, subscribe } = opened;
  await subscribe(count);
  await write("INSERT INTO t (id) VALUES (1)");
  const second = subscribe(count);
  await source.lend();
  await write("INSERT INTO t (id) VALUES (2)");
  await source.finish();
  expect((await second).sorted()).toEqual(["[1]"]);
});

test("a change of thousands of rows is written in parts and told as one, and nobody comes in between", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  const sql = "SELECT id, v FROM t";
  const events: StreamEvent[] = [];
  const folded = new Folded();
  await agent.service.subscribe(
    { sql, parameters: undefined },
    { from: undefined, skipRows: false, transactions: true },
    (event) => {
      events.push(event);
      folded.take(event);
    },
  );
  // The last part has one of them.
  const rows = 5001;
  await write(
    `INSERT INTO t (id) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows}) SELECT x FROM c`,
  );
  await source.whole();
  const subscription = () => agent.service.live.describe()[0];
  await until(() => (subscription()?.change_id ?? 0) > 0);
  expect(subscription()?.change_id).toBeLessThan(rows);
  expect(folded.lastChange).toBe(0);
  const second = await subscribe(sql);
  // Its rows come in more turns than one; what is committed meanwhile comes after them.
  await write("UPDATE t SET v = 'meanwhile' WHERE id = 1");
  await source.whole();
  await until(() => second.lastChange > rows);
  expect(second.sorted()).toEqual(folded.sorted());
  expect([second.rows.size, second.lastChange]).toEqual([rows, rows + 1]);
  const lines = events.flatMap((event) =>
    event.kind === "lines" ? Buffer.from(event.bytes).toString().trim().split("\n") : [],
  );
  const transactions = lines.filter((line) => line.startsWith('{"tx"'));
  expect(transactions).toEqual([
    expect.stringContaining(`{"tx":{"changes":${rows},`),
    expect.stringContaining('{"tx":{"changes":1,'),
  ]);
  // The hashes of what was told are those of the rows.
  await write("DELETE FROM t WHERE id > 3");
  await source.whole();
  await write("UPDATE t SET v = 'x' WHERE id = 2");
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect(folded.sorted()).toEqual(['[1,"meanwhile"]', '[2,"x"]', "[3,null]"]);
  expect(second.sorted()).toEqual(folded.sorted());
}, 60_000);

test("who doesn't wait any longer for what is found out comes in before a change or after it", async () => {
  using opened = open(undefined, 1);
  const { source, write, subscribe, agent } = opened;
  const sql = "SELECT id FROM t";
  const folded = await subscribe(sql);
  const rows = 20_000;
  await write(
    `INSERT INTO t (id) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${rows}) SELECT x FROM c`,
  );
  await source.lend();
  // Waits a millisecond for what was committed before it asked.
  const early = await subscribe(sql);
  expect([early.rows.size, early.lastChange]).toEqual([0, 0]);
  await source.finish();
  await until(() => (agent.service.live.describe()[0]?.change_id ?? 0) > 0);
  // And now so many parts are left that it waits no longer.
  const late = await subscribe(sql);
  await until(() => !agent.service.live.isBehind && late.rows.size === rows);
  for (const one of [folded, early, late]) {
    expect([one.rows.size, one.lastChange]).toEqual([rows, rows]);
  }
}, 60_000);

test("a schema change between two parts tells what was written, and goes on from there", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe("SELECT id FROM t");
  await write(
    "INSERT INTO t (id) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) SELECT x FROM c",
  );
  await source.whole();
  await until(() => (agent.service.live.describe()[0]?.change_id ?? 0) > 0);
  expect(folded.lastChange).toBe(0);
  agent.changeSchema("CREATE INDEX t_v ON t (v)");
  // What was written is told. What is left of it the next run finds, which knows what was told.
  await until(() => folded.lastChange > 0);
  const { length } = folded.sorted();
  expect([length < 5000, folded.lastChange]).toEqual([true, length]);
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect([folded.lastChange, folded.rows.size, folded.isEnded]).toEqual([5000, 5000, false]);
}, 60_000);

test("a schema change while a run is under way is what counts", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe(count);
  await write("INSERT INTO t (id) VALUES (1)");
  await source.lend();
  agent.changeSchema("CREATE INDEX t_v ON t (v)");
  await source.finish();
  // What it found is worth nothing.
  await until(() => source.asked.length === 2);
  expect(folded.lastChange).toBe(0);
  await source.lend();
  await write("INSERT INTO t (id) VALUES (2)");
  await source.finish();
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect([folded.sorted(), folded.lastChange, source.asked.length]).toEqual([["[2]"], 2, 3]);
});

const lookUps: LookBudget = { rerun: { ms: 0, bytes: 0 }, lookUpMs: 10_000 };
/** More rows than are looked up one by one. */
const insertMany =
  "INSERT INTO t (id, v) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20) SELECT x, 'v' FROM c";

test("nothing is looked up while a run is under way: it would be told twice", async () => {
  using opened = open(lookUps);
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe("SELECT id, v FROM t");
  await write(insertMany);
  await source.lend();
  await write("UPDATE t SET v = 'w' WHERE id = 1");
  await write("DELETE FROM t WHERE id = 2");
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(folded.lastChange).toBe(0);
  await source.finish();
  await until(() => !agent.service.live.isBehind);
  // What came meanwhile is looked up then.
  expect([folded.lastChange, folded.rows.size, source.asked.length]).toEqual([22, 19, 1]);
  expect(folded.sorted()[0]).toBe('[1,"w"]');
});

test("a run knows what was looked up since the last one", async () => {
  using opened = open(lookUps);
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe("SELECT id, v FROM t");
  await write(insertMany);
  await source.whole();
  await until(() => folded.rows.size === 20);
  for (const sql of [
    ...[3, 4, 20].map((id) => `DELETE FROM t WHERE id = ${id}`),
    "UPDATE t SET v = 'w' WHERE id = 5",
    "INSERT INTO t (id, v) VALUES (3, 'again')",
  ]) {
    await write(sql);
    await until(() => !agent.service.live.isBehind);
  }
  expect([folded.lastChange, folded.rows.size]).toEqual([25, 18]);
  await write("UPDATE t SET v = 'x' WHERE id > 10");
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  const want = Array.from({ length: 20 }, (_, i) => i + 1)
    .filter((id) => id !== 4 && id !== 20)
    .map((id) => `[${id},"${id === 3 ? "again" : id === 5 ? "w" : id > 10 ? "x" : "v"}"]`);
  // Nothing else was told than the nine.
  expect([folded.sorted(), folded.lastChange]).toEqual([want.sort(), 34]);
});

test("a run that is begun anew still tells whose rows these are, where it is one commit's", async () => {
  using opened = open();
  const { source, write, subscribe, agent } = opened;
  await subscribe(count);
  const told: (number | undefined)[] = [];
  await agent.service.subscribe(
    { sql: count, parameters: undefined },
    { from: undefined, skipRows: true },
    () => told.push(agent.service.live.toldRows?.length),
  );
  await write("INSERT INTO t (id) VALUES (1)");
  await source.lend();
  await source.finish(new NotOfQueryError("the snapshot is wanted back"));
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  await write("INSERT INTO t (id) VALUES (2)");
  await source.lend();
  await write("INSERT INTO t (id) VALUES (3), (4)");
  await source.finish(new NotOfQueryError("the snapshot is wanted back"));
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect(told).toEqual([1, undefined]);
});

test("a result that is longer than a look may be is the other thread's, and its readers go on", async () => {
  using opened = open({ rerun: { ms: 10_000, bytes: 40 }, lookUpMs: 10_000 });
  const { source, write, subscribe, agent } = opened;
  const folded = await subscribe("SELECT DISTINCT id, v FROM t");
  await write("INSERT INTO t (id, v) VALUES (1, 'short')");
  await until(() => !agent.service.live.isBehind);
  expect([folded.sorted(), source.asked.length]).toEqual([['[1,"short"]'], 0]);
  await write(`INSERT INTO t (id, v) VALUES (2, '${"long".repeat(20)}')`);
  await source.whole();
  await until(() => !agent.service.live.isBehind);
  expect([folded.rows.size, folded.isEnded, source.asked.length]).toEqual([2, false, 1]);
});

test("a run that is under way when the agent stops looks at nothing that is closed", async () => {
  const opened = open();
  const { source } = opened;
  await opened.subscribe(count);
  await opened.write("INSERT INTO t (id) VALUES (1)");
  await source.lend();
  opened[Symbol.dispose]();
  const failures: unknown[] = [];
  const onFailure = (failure: unknown): void => void failures.push(failure);
  process.on("unhandledRejection", onFailure);
  try {
    await source.finish();
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off("unhandledRejection", onFailure);
  }
  expect(failures).toEqual([]);
});
