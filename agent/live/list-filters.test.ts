import { expect, test } from "bun:test";
import { memoryDisk, openThread } from "../../test/contract/live-queries-thread.ts";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import type { StreamEvent } from "../api/store-service.ts";

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Eight live queries, of which each asks for six values of its own. */
async function open(of: (list: string) => string, value: (n: number) => string) {
  let text =
    "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, s TEXT, n INTEGER); CREATE TABLE u (id TEXT NOT NULL PRIMARY KEY, s TEXT);";
  const thread = openThread(() => schemaOf(text), memoryDisk(), {});
  thread.start(undefined);
  const { service } = thread;
  const ids: string[] = [];
  const lines: string[][] = [];
  for (let i = 0; i < 8; i++) {
    const own: string[] = [];
    const take = (event: StreamEvent): void => {
      if (event.kind === "lines")
        own.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
    };
    const list = Array.from({ length: 6 }, (_, n) => value(i * 6 + n)).join(", ");
    const options = { from: undefined, skipRows: true };
    const outcome = await service.subscribe(
      { sql: of(list), parameters: undefined },
      options,
      take,
    );
    if (outcome.kind === "refused") throw new Error(outcome.why);
    ids.push(outcome.id);
    lines.push(own);
  }
  const looked = () =>
    ids.map((id) => service.live.describe().find((one) => one.id === id)?.looked ?? 0);
  const settle = async (): Promise<void> => {
    while (service.live.isBehind) await nextTurn();
  };
  return {
    /** Which of them look at what the statements do, and how many lines each is told. */
    async write(...statements: string[]): Promise<{ looked: number[]; told: number[] }> {
      const before = looked();
      const toldBefore = lines.map(({ length }) => length);
      const list = statements.map((sql) => ({ sql, parameters: undefined }));
      expect((await service.transact(list, undefined)).kind).toBe("committed");
      await settle();
      const moved = looked().flatMap((count, i) => (count > (before[i] as number) ? [i] : []));
      const told = lines.flatMap(({ length }, i) =>
        length > (toldBefore[i] as number) ? [i] : [],
      );
      return { looked: moved, told };
    },
    async reload(change: (text: string) => string): Promise<void> {
      text = change(text);
      for await (const line of thread.reload()) expect(line).not.toHaveProperty("error");
      await settle();
    },
    how: () => new Set(service.live.describe().map(({ how }) => how)),
    [Symbol.dispose]: () => thread.stop(),
  };
}

const is = (...which: number[]) => ({ looked: which, told: which });

test("who asks for several values by IN looks at rows that have or had one of them, and nobody else does", async () => {
  using opened = await open(
    (list) => `SELECT id, n FROM t WHERE s IN (${list})`,
    (n) => `'s${n}'`,
  );
  const { write } = opened;
  expect(opened.how()).toEqual(new Set(["keyed"]));
  expect(
    await write("INSERT INTO t VALUES ('a', 's0', 1), ('b', 's7', 1), ('c', 'other', 1)"),
  ).toEqual(is(0, 1));
  expect(await write("UPDATE t SET n = 2 WHERE id IN ('b', 'c')")).toEqual(is(1));
  expect(await write("UPDATE t SET s = 's13' WHERE id = 'b'")).toEqual(is(1, 2));
  expect(await write("UPDATE t SET s = NULL WHERE id = 'b'")).toEqual(is(2));
  expect(await write("DELETE FROM t WHERE id <> 'x'")).toEqual(is(0));
  expect(await write("INSERT INTO u VALUES ('a', 's0')")).toEqual(is());
});

test("and so with IS", async () => {
  using opened = await open(
    (list) => `SELECT id, n FROM t WHERE s IS ${list.split(",")[0]} AND n <> 5`,
    (n) => `'s${n}'`,
  );
  const { write } = opened;
  expect(await write("INSERT INTO t VALUES ('a', 's0', 1), ('b', 's6', 1)")).toEqual(is(0, 1));
  expect(await write("UPDATE t SET s = 's42' WHERE id = 'b'")).toEqual(is(1, 7));
});

test("where it isn't known what rows had, those look who hold or get them", async () => {
  using opened = await open(
    (list) => `SELECT id, n FROM t WHERE s IN (${list})`,
    (n) => `'s${n}'`,
  );
  const { write } = opened;
  const many = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100)";
  await write(`INSERT INTO t ${many} SELECT 'k' || i, 's0', i FROM c`);
  // Of so many rows it isn't read what they were.
  expect((await write("UPDATE t SET s = 's7'")).told).toEqual([0, 1]);
  expect((await write("UPDATE t SET s = 's47'")).told).toEqual([1, 7]);
  expect((await write("DELETE FROM t")).told).toEqual([7]);
});

test("a join, and the right of a LEFT JOIN, are found by values of either table", async () => {
  for (const join of ["JOIN", "LEFT JOIN"]) {
    using opened = await open(
      (list) =>
        `SELECT t.id, u.id FROM t ${join} u ON u.s = t.id AND u.id <> 'x' WHERE t.n IN (${list})`,
      (n) => String(n),
    );
    const { write } = opened;
    await write("INSERT INTO t VALUES ('a', '', 0), ('b', '', 7), ('c', '', 99)");
    expect((await write("INSERT INTO u VALUES ('u', 'b')")).told).toEqual([1]);
    expect((await write("UPDATE u SET s = 'a'")).told).toEqual([0, 1]);
    expect((await write("UPDATE u SET s = 'c'")).told).toEqual([0]);
    expect((await write("UPDATE t SET n = 12 WHERE id = 'c'")).told).toEqual([2]);
    expect((await write("DELETE FROM t WHERE id = 'b'")).told).toEqual(join === "JOIN" ? [] : [1]);
  }
});

test("under another schema they are found by what their values mean there", async () => {
  using opened = await open(
    (list) => `SELECT id, n FROM t WHERE s IN (${list})`,
    (n) => `'s${n}'`,
  );
  const { write } = opened;
  await opened.reload((text) => `${text} CREATE INDEX t_s ON t (s);`);
  expect(await write("INSERT INTO t VALUES ('a', 's0', 1), ('b', 's7', 1)")).toEqual(is(0, 1));
  expect(await write("UPDATE t SET s = 's47' WHERE id = 'a'")).toEqual(is(0, 7));
});
