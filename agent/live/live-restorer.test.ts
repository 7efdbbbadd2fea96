import { expect, test } from "bun:test";
import { encodeKey } from "../../core/row/key.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { StreamEvent } from "../api/store-service.ts";
import { Deadline } from "../sql/deadline.ts";
import { SqlGuard } from "../sql/guard.ts";
import { QueryRunner } from "../sql/query-runner.ts";
import type { InitialRowsSource } from "./initial-rows.ts";
import { LiveQueries, liveLimits } from "./live-queries.ts";
import { LiveStore } from "./live-store.ts";
import { readRow, type WholeQuery } from "./read-row.ts";
import type { ReadRow } from "./rows/row.ts";

/**
 * Live queries that are taken up while the agent serves, step by step: when their rows come is the test's to say.
 *
 * @module
 */

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Reads when it is asked, and hands its rows on when it is told to. */
class HeldRows implements InitialRowsSource {
  readonly #database: Database;
  readonly #wakes: (() => void)[] = [];

  constructor(database: Database) {
    this.#database = database;
  }

  get asked(): number {
    return this.#wakes.length;
  }

  /** What was asked for first, or after so many others. */
  handOn(place = 0): void {
    this.#wakes.splice(place, 1)[0]?.();
  }

  async *read({ sql, values, shape }: WholeQuery): AsyncGenerator<readonly ReadRow[]> {
    using statement = this.#database.prepare(sql);
    for (const [i, value] of values.entries()) statement.bind(i + 1, value);
    const rows: ReadRow[] = [];
    while (statement.step()) rows.push(readRow(statement, shape));
    await new Promise<void>((resolve) => this.#wakes.push(resolve));
    yield rows;
  }
}

const logCharsMax = 400;

/** @param isHeld rows come when they are told to; all that is stored is taken up so */
function open(vfs: MemoryVfs, isHeld: boolean) {
  const database = openDatabase("/live.db", { vfs });
  database.exec("PRAGMA journal_mode = wal");
  database.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER NOT NULL PRIMARY KEY, v TEXT)");
  database.exec("CREATE TABLE IF NOT EXISTS u (id INTEGER NOT NULL PRIMARY KEY, v TEXT)");
  const reader = new QueryRunner(openDatabase("/live.db", { vfs }), {
    timeoutMs: 10_000,
    resultBytesMax: 2 ** 20,
  });
  const source = new HeldRows(reader.database);
  let last = 0;
  const live = new LiveQueries({
    reader,
    writer: { database, guard: new SqlGuard(database), deadline: new Deadline(database) },
    keyColumnsOf: (table) => (table === "t" || table === "u" ? ["id"] : undefined),
    nextSubscriber: () => ++last,
    initialRows: isHeld ? source : undefined,
    store: new LiveStore(database),
    limits: { ...liveLimits, logCharsMax, restoreMsMax: isHeld ? -1 : 2000 },
  });
  const commit = (table: string, id: number, v: string | undefined): void => {
    database.exec(
      v === undefined
        ? `DELETE FROM ${table} WHERE id = ${id}`
        : `INSERT OR REPLACE INTO ${table} VALUES (${id}, '${v}')`,
    );
    const row = { table, key: encodeKey([id]) as Uint8Array, columns: undefined };
    live.committed({ changes: () => new Map([[table, [row]]]), rows: undefined });
    live.tell(false);
  };
  const settled = async (): Promise<void> => {
    while (live.isBehind) await nextTurn();
    // What is written down has time.
    for (let turn = 0; turn < 3; turn++) await nextTurn();
  };
  const listening = () => {
    const lines: string[] = [];
    const take = (event: StreamEvent): void => {
      if (event.kind === "end") lines.push("end");
      else lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
    };
    return { lines, take };
  };
  const subscribe = async (sql: string): Promise<string> => {
    const options = { from: undefined, skipRows: true };
    const outcome = await live.subscribe({ sql, parameters: undefined }, options, () => undefined);
    if (outcome.kind === "refused") throw new Error(outcome.why);
    return outcome.id;
  };
  return { database, live, source, commit, settled, listening, subscribe };
}

/** What a crash leaves. */
function copyOf(vfs: MemoryVfs): MemoryVfs {
  const copy = new MemoryVfs();
  for (const path of vfs.paths()) copy.write(path, vfs.read(path) as Uint8Array);
  return copy;
}

/** A run that told five changes of one of two subscriptions, and crashed. */
async function crashed(): Promise<{ vfs: MemoryVfs; id: string; other: string }> {
  const vfs = new MemoryVfs();
  const { subscribe, commit, settled } = open(vfs, false);
  const id = await subscribe("SELECT id, v FROM t WHERE v <> 'x'");
  const other = await subscribe("SELECT id, v FROM u WHERE v <> 'x'");
  await settled();
  for (let n = 1; n <= 5; n++) {
    commit("t", n, "a");
    await settled();
  }
  return { vfs: copyOf(vfs), id, other };
}

test("commits that come while its rows are on their way are told once, after what it missed", async () => {
  const { vfs, id, other } = await crashed();
  const { live, source, commit, settled, listening, database } = open(vfs, true);
  database.exec("INSERT INTO t VALUES (6, 'while it was down')");
  expect(live.restore(0, () => undefined)).toEqual({ restored: 0, later: 2 });
  while (source.asked === 0) await nextTurn();
  commit("t", 7, "b");
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  const { lines, take } = listening();
  const attached = live.attach(id, { from: 5, skipRows: false }, take);
  // Of this one nothing is known yet.
  const waiting = live.attach(other, { from: 0, skipRows: true }, () => undefined);
  source.handOn();
  await attached;
  while (source.asked === 0) await nextTurn();
  source.handOn();
  expect((await waiting).kind).toBe("subscribed");
  await settled();
  expect(lines).toEqual([
    '{"change":["insert",6,[6,"while it was down"],6]}',
    '{"change":["insert",7,[7,"b"],7]}',
  ]);
});

test("what the log says of one that isn't taken up yet stays in it, and is cut off it afterwards", async () => {
  const { vfs, id, other } = await crashed();
  const second = open(vfs, true);
  second.live.restore(0, () => undefined);
  while (second.source.asked === 0) await nextTurn();
  // Another has the log grow beyond what it may be.
  const third = second.subscribe("SELECT id, v FROM u WHERE v <> 'y'");
  while (second.source.asked < 2) await nextTurn();
  second.source.handOn(1);
  await third;
  for (let n = 1; n <= 20; n++) {
    second.commit("u", n, "long enough that the log is soon too long");
    await second.settled();
  }
  expect(second.live.summary().log_chars).toBeGreaterThan(logCharsMax);
  // After a crash now what was told is known.
  const fourth = open(copyOf(vfs), false);
  fourth.live.restore(0, (lost) => expect(lost).toBeUndefined());
  const { lines, take } = fourth.listening();
  await fourth.live.attach(id, { from: 0, skipRows: false }, take);
  expect(lines.slice(1, -1)).toEqual([1, 2, 3, 4, 5].map((n) => `{"row":[${n},[${n},"a"]]}`));
  expect(lines.at(-1)).toContain('"change_id":5');
  // Without one the log is cut when all are there.
  second.source.handOn();
  while (second.source.asked === 0) await nextTurn();
  second.source.handOn();
  await second.live.whenKnown(other);
  await second.settled();
  expect(second.live.summary().log_chars).toBeLessThanOrEqual(logCharsMax);
});

test("under another schema one begins anew, and who waits for it goes on", async () => {
  const { vfs, id } = await crashed();
  const { live, source, commit, settled, listening, database } = open(vfs, true);
  live.restore(0, (lost) => expect(lost).toBeUndefined());
  while (source.asked === 0) await nextTurn();
  const { lines, take } = listening();
  const attached = live.attach(id, { from: 5, skipRows: false }, take);
  database.exec("ALTER TABLE t ADD COLUMN w TEXT; UPDATE t SET v = 'b' WHERE id = 1");
  live.schemaChanged();
  for (let times = 0; times < 2; times++) {
    source.handOn();
    while (source.asked === 0) await nextTurn();
  }
  expect((await attached).kind).toBe("subscribed");
  commit("u", 1, "nothing to it");
  await settled();
  expect(lines).toEqual(['{"change":["update",1,[1,"b"],6]}']);
});

test("one that was taken up and that nobody comes back to is forgotten after ten minutes", async () => {
  for (const isHeld of [false, true]) {
    const { vfs } = await crashed();
    const { live, source, settled, database } = open(vfs, isHeld);
    live.restore(1000, () => undefined);
    for (let n = 0; isHeld && n < 2; n++) {
      while (source.asked === 0) await nextTurn();
      source.handOn();
    }
    while (live.count < 2) await nextTurn();
    await settled();
    live.sweep(1000 + 600_000);
    expect(live.count).toBe(2);
    live.sweep(1000 + 600_001);
    expect(live.count).toBe(0);
    await settled();
    expect(database.all("SELECT sql FROM patina_live")).toEqual([]);
  }
});
