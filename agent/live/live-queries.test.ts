import { expect, test } from "bun:test";
import { inserted, nextTurn, openLive, rowOf } from "../../test/contract/live-bare.ts";

const rows = { skipRows: false };
const row = (id: number) => `{"row":[${id},[${id}]]}`;
const change = (id: number, changeId: number) => `{"change":["insert",${id},[${id}],${changeId}]}`;
/** Without what the end of the rows took. */
const timeless = (lines: readonly string[]) =>
  lines.map((line) => line.replace(/"time":[^,]*,/, ""));
const head = '{"columns":["id"]}';
const eoq = (changeId: number) => `{"eoq":{"change_id":${changeId}}}`;

test("a new subscription isn't told again of a commit that its rows have in them", async () => {
  const { subscribe, commit, told } = openLive();
  // Of another one, so that commits are noted.
  await subscribe("SELECT n FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  const { lines } = await subscribe("SELECT id FROM t", rows);
  const count = await subscribe("SELECT count(*) FROM t");
  await told();
  commit(inserted(2, "a"), { t: [rowOf(2)] });
  await told();
  expect(timeless(lines)).toEqual([head, row(1), eoq(0), change(2, 1)]);
  expect(count.lines).toEqual(['{"change":["update",1,[2],1]}']);
});

test("who comes to one that is there finds what was committed, and hears of it no more", async () => {
  for (const sql of ["SELECT id FROM t", "SELECT DISTINCT id FROM t"]) {
    const { subscribe, commit, told } = openLive();
    const first = await subscribe(sql);
    commit(inserted(1, "a"), { t: [rowOf(1)] });
    const second = await subscribe(sql, rows);
    expect(first.lines).toEqual([change(1, 1)]);
    await told();
    commit(inserted(2, "a"), { t: [rowOf(2)] });
    await told();
    expect(first.lines).toEqual([change(1, 1), change(2, 2)]);
    expect(timeless(second.lines)).toEqual([head, row(1), eoq(1), change(2, 2)]);
  }
});

test("who comes back after everybody was gone finds what was committed meanwhile", async () => {
  for (const sql of ["SELECT id FROM t", "SELECT DISTINCT id FROM t"]) {
    const { live, subscribe, commit, told } = openLive();
    const first = await subscribe(sql);
    live.unsubscribe(first.subscriber, 0);
    commit(inserted(1, "a"), { t: [rowOf(1)] });
    await told();
    commit(inserted(2, "a"), { t: [rowOf(2)] });
    const lines: string[] = [];
    await live.attach(first.id, { from: undefined, skipRows: false }, (event) => {
      if (event.kind !== "lines") return;
      lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
    });
    await told();
    expect(timeless(lines)).toEqual([head, row(1), row(2), eoq(2)]);
  }
});

test("who asks while a transaction is open waits for its end, and sees nothing of it", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  const first = await subscribe("SELECT id FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  await told();
  database.exec(`BEGIN; ${inserted(2, "b")}`);
  const asked = ["", " WHERE n = 0"].map((where) => subscribe(`SELECT id FROM t${where}`, rows));
  const attached: string[] = [];
  const attaching = live.attach(first.id, { from: undefined, skipRows: false }, (event) => {
    if (event.kind === "lines") attached.push(Buffer.from(event.bytes).toString());
  });
  for (let turn = 0; turn < 10; turn++) await nextTurn();
  expect([live.listenerCount, attached]).toEqual([1, []]);
  database.exec("ROLLBACK");
  for (const { lines } of await Promise.all(asked)) {
    expect(timeless(lines).slice(0, 2)).toEqual([head, row(1)]);
    expect(lines).toHaveLength(3);
  }
  await attaching;
  expect(attached.join("")).toContain(`${row(1)}\n{"eoq"`);
});

test("after another schema what waited isn't told twice, and what comes is told", async () => {
  for (const sql of [
    "SELECT id FROM t",
    "SELECT DISTINCT id FROM t",
    "SELECT id FROM t WHERE n IN (0) LIMIT 9",
  ]) {
    const { live, subscribe, commit, told } = openLive();
    const { lines } = await subscribe(sql);
    commit(inserted(1, "a"), { t: [rowOf(1)] });
    live.schemaChanged();
    expect(lines).toEqual([change(1, 1)]);
    await told();
    commit(inserted(2, "a"), { t: [rowOf(2)] });
    await told();
    expect(lines).toEqual([change(1, 1), change(2, 2)]);
    expect(live.describe()[0]?.looked).toBe(1);
  }
});

test("who was idle for ten minutes is kept, and no longer", async () => {
  const { live, subscribe } = openLive();
  const { subscriber } = await subscribe("SELECT id FROM t");
  await subscribe("SELECT n FROM t");
  live.unsubscribe(subscriber, 1000);
  live.sweep(601_000);
  expect(live.count).toBe(2);
  live.sweep(601_001);
  expect(live.count).toBe(1);
});
