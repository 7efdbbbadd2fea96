import { expect, test } from "bun:test";
import type { MergedRow } from "../../core/row-store.ts";
import { inserted, nextTurn, openLive, rowOf } from "../../test/contract/live-bare.ts";
import { affectedBy, joinMissed } from "./affected.ts";
import { createEntry, type Entry, type LiveRegistry } from "./live-registry.ts";
import type { QueryPlanner } from "./query-planner.ts";
import type { Subscription } from "./subscription.ts";
import type { ChangedRow, TableChanges } from "./table-changes.ts";

test("a commit that nobody tells of is told in a turn of its own", async () => {
  const { live, subscribe, commit } = openLive();
  const { lines } = await subscribe("SELECT id FROM t");
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  for (let turn = 0; turn < 20 && live.isBehind; turn++) await nextTurn();
  expect(lines).toEqual(['{"change":["insert",1,[1],1]}']);
});

test("while a transaction is open nothing is told, and nothing of it is seen", async () => {
  const { database, live, subscribe, commit, told } = openLive();
  const all = [await subscribe("SELECT id FROM t"), await subscribe("SELECT count(*) FROM t")];
  commit(inserted(1, "a"), { t: [rowOf(1)] });
  database.exec(`BEGIN; ${inserted(2, "b")}`);
  live.tell(true);
  for (let turn = 0; turn < 20; turn++) await nextTurn();
  expect(all.map(({ lines }) => lines)).toEqual([[], []]);
  database.exec("ROLLBACK");
  await told();
  expect(all.map(({ lines }) => lines)).toEqual([
    ['{"change":["insert",1,[1],1]}'],
    ['{"change":["update",1,[1],1]}'],
  ]);
});

test("of one commit everyone looks at their own rows, and at all of them", async () => {
  const { subscribe, commit, told } = openLive();
  const all = new Map<string, string[]>();
  for (const name of ["a", "b", "c", "d", "e", "f"]) {
    all.set(name, (await subscribe(`SELECT id FROM t WHERE name = '${name}'`)).lines);
  }
  commit(`${inserted(1, "a")}; ${inserted(2, "b")}; ${inserted(3, "a")}; ${inserted(4, "c")}`, {
    t: [1, 2, 3, 4].map((id) => rowOf(id)),
  });
  await told();
  expect(Object.fromEntries(all)).toEqual({
    a: ['{"change":["insert",1,[1],1]}', '{"change":["insert",2,[3],2]}'],
    b: ['{"change":["insert",1,[2],1]}'],
    c: ['{"change":["insert",1,[4],1]}'],
    d: [],
    e: [],
    f: [],
  });
});

test("a row that concerns nobody by its columns hides none that comes after it", async () => {
  const { subscribe, commit, told } = openLive();
  const lines = (await subscribe("SELECT id, name FROM t")).lines;
  const count = (await subscribe("SELECT count(name) FROM t WHERE name IN ('a', 'b')")).lines;
  commit(`${inserted(1, "a")}; ${inserted(2, "b")}`, { t: [rowOf(1), rowOf(2)] });
  await told();
  lines.length = 0;
  count.length = 0;
  commit("UPDATE t SET n = 7 WHERE id = 1; UPDATE t SET name = 'x' WHERE id = 2", {
    t: [rowOf(1, "t", "n"), rowOf(2, "t", "name")],
  });
  await told();
  expect([lines, count]).toEqual([
    ['{"change":["update",2,[2,"x"],3]}'],
    ['{"change":["update",1,[1],2]}'],
  ]);
});

test("several commits that are looked at at once are all seen, whichever tables they changed", async () => {
  const { subscribe, commit, told } = openLive();
  const join = "SELECT t.id, t.name, u.name FROM t JOIN u ON u.id = t.n";
  const { lines, rows } = await subscribe(join);
  for (const id of [1, 2, 3])
    commit(`INSERT INTO t VALUES (${id}, 't', ${id})`, { t: [rowOf(id)] });
  for (const id of [1, 2, 3])
    commit(`INSERT INTO u VALUES (${id}, 'u', 0)`, { u: [rowOf(id, "u")] });
  await told();
  expect(lines).toHaveLength(3);
  lines.length = 0;
  commit("UPDATE t SET name = 'x' WHERE id = 1", { t: [rowOf(1, "t", "name")] });
  commit("UPDATE u SET name = 'y' WHERE id = 2", { u: [rowOf(2, "u", "name")] });
  commit("UPDATE t SET name = 'z' WHERE id = 3", { t: [rowOf(3, "t", "name")] });
  await told();
  expect(lines.map((line) => line.replace(/,\d+\]\}$/, "")).sort()).toEqual([
    '{"change":["update",1,[1,"x","u"]',
    '{"change":["update",2,[2,"t","y"]',
    '{"change":["update",3,[3,"z","u"]',
  ]);
  // Whose rows these are isn't known where they were several.
  expect(rows).toEqual([undefined, undefined]);
  const one = commit("UPDATE u SET name = 'w' WHERE id = 1", { u: [rowOf(1, "u", "name")] });
  await told();
  expect(rows[2]).toBe(one);
});

test("what isn't known of one commit isn't known of several", async () => {
  for (const isFirst of [true, false]) {
    const { subscribe, commit, told } = openLive();
    const { lines } = await subscribe("SELECT id, name FROM t");
    for (const id of [1, 2, 3]) {
      const isUnknown = id === (isFirst ? 1 : 3);
      commit(inserted(id, "a"), { t: isUnknown ? "unknown" : [rowOf(id)] });
    }
    await told();
    expect(lines).toHaveLength(3);
  }
});

test("of more rows than are looked at one by one it isn't known which they were", async () => {
  const { subscribe, commit, told } = openLive();
  const ids = Array.from({ length: 2001 }, (_, i) => i + 1);
  const all: string[][] = [];
  for (const name of ["a", "b", "c", "d", "e"]) {
    all.push((await subscribe(`SELECT id FROM t WHERE name = '${name}'`)).lines);
    all.push((await subscribe(`SELECT count(*) FROM t WHERE name = '${name}'`)).lines);
  }
  const sql = `INSERT INTO t (id, name) WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2001) SELECT x, iif(x = 2001, 'b', 'a') FROM c`;
  commit(sql, { t: ids.map((id) => rowOf(id)) });
  await told();
  expect(all.map((lines) => lines.length)).toEqual([2000, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
  // So it is with two commits of 1,001 rows each.
  for (const from of [0, 1000]) {
    const some = ids.slice(from, from + 1001);
    commit(`UPDATE t SET name = 'c' WHERE id > ${from} AND id <= ${from + 1001}`, {
      t: some.map((id) => rowOf(id, "t", "name")),
    });
  }
  await told();
  expect(all[4]).toHaveLength(2001);
}, 120_000);

test("where it can't be found out whom a row concerns, everyone looks", () => {
  const entries = ["filters", "member"].map((id) =>
    createEntry({ id, dependencies: new Map() } as unknown as Subscription, 1),
  ) as [Entry, Entry];
  const failing = (): never => {
    throw new Error("interrupted");
  };
  const registry = {
    rerunsOf: () => [],
    filters: {
      forRow: failing,
      forAll: (_: string, use: (entry: Entry) => void) => use(entries[0]),
    },
    byId: () => entries[1],
    unsettled: [],
  } as unknown as LiveRegistry;
  const group = {
    members: new Map([[1, entries[1].subscription]]),
    sources: [{ table: "t" }],
    dependencies: new Map([["t", { columns: undefined }]]),
    affected: failing,
    filterColumn: () => undefined,
  };
  const planner = { groupsOf: () => [group] } as unknown as QueryPlanner;
  const steps = affectedBy(new Map([["t", [rowOf(1)]]]), registry, planner);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const all: TableChanges = new Map([["t", "unknown"]]);
  expect([...step.value]).toEqual([
    [entries[0], all],
    [entries[1], all],
  ]);
});

test("of one that is kept group by group all rows are looked at, or all of it where one isn't known", () => {
  const rows = [1, 2, 3].map((id) => rowOf(id));
  const entries = [[], [1], [2], [1, 3]].map((unknown, i) => {
    const isKnown = (row: ChangedRow) => !unknown.some((id) => rows[id - 1] === row);
    const plan = { kind: "rerun", grouped: { isKnown } };
    const dependencies = new Map([["t", { columns: undefined }]]);
    return createEntry({ id: `${i}`, plan, dependencies } as unknown as Subscription, i);
  });
  const registry = { filters: { forRow: () => [] }, unsettled: [], rerunsOf: () => entries };
  const steps = affectedBy(
    new Map([["t", rows]]),
    registry as unknown as LiveRegistry,
    { groupsOf: () => [] } as unknown as QueryPlanner,
  );
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const missed = [...step.value.values()].map((changes) => changes.get("t"));
  expect(missed).toEqual([rows, "unknown", "unknown", "unknown"]);
});

test("what was missed is joined table by table", () => {
  const rows: MergedRow[] = [];
  const [one, two] = [rowOf(1), rowOf(2)];
  const t = (changes: readonly ChangedRow[] | "unknown") => ({
    changes: new Map([["t", changes]]),
    rows,
  });
  const u = { changes: new Map([["u", [one]]]), rows };
  expect(joinMissed(undefined, u)).toBe(u);
  expect(joinMissed(t([one]), u)).toEqual({
    changes: new Map([
      ["t", [one]],
      ["u", [one]],
    ]),
    rows: undefined,
  });
  expect(joinMissed(t([one]), t([two]))).toEqual({ ...t([one, two]), rows: undefined });
  expect(joinMissed(t("unknown"), t([two]))).toEqual({ ...t("unknown"), rows: undefined });
  expect(joinMissed(t([one]), t("unknown"))).toEqual({ ...t("unknown"), rows: undefined });
});
