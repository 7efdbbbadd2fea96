import { expect, test } from "bun:test";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";

const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT)";

/** Of a row that was born at 1000. */
function said(status: string, ms: number, k = "x"): RowState {
  const stampOf = (at: number) => ({ ms: at, count: 0, site: siteOf(7) });
  return {
    ...{ table: "t", key: encodeKey([k]) as Uint8Array, clock: { ...stampOf(1000), cl: 1 } },
    cells: [{ column: "status", stamp: stampOf(ms), value: status }],
  };
}

// What was decided of it first would be written as it was decided, over what is newer by now.
test("of a row that a large changeset has twice nothing counts that was decided before somebody else wrote it", () => {
  using node = new SqliteNode(schema);
  const { store, db } = node;
  store.merge([said("new", 1000)]);
  const prepared = store.prepareMerge();
  prepared.add([said("up", 1010), said("up again", 1020)]);
  prepared.finish();
  store.merge([said("down", 1030)]);
  const open = store.beginMerge();
  open.addPrepared(prepared, 0, prepared.length);
  open.commit();
  prepared.end();
  expect(db.all("SELECT * FROM t")).toEqual([["x", "down"]]);
});

test("each row of a large changeset gets its own values, also if it is rolled back and written again", () => {
  using node = new SqliteNode(schema);
  const { store, db } = node;
  store.merge([said("new", 1000, "a")]);
  const prepared = store.prepareMerge();
  prepared.add([said("up", 1010, "a"), said("down", 1010, "b"), said("draining", 1010, "c")]);
  prepared.finish();
  for (const end of ["rollback", "commit"] as const) {
    const open = store.beginMerge();
    open.addPrepared(prepared, 0, 2);
    open.addPrepared(prepared, 2, 3);
    open[end]();
  }
  prepared.end();
  expect(db.all("SELECT * FROM t ORDER BY k")).toEqual([
    ["a", "up"],
    ["b", "down"],
    ["c", "draining"],
  ]);
});

// Numbers of sites stand in all clocks: one that only the memory knew would make them unreadable after the next start.
test("what was numbered while a disk was full, as rows were decided on, is numbered anew", () => {
  const vfs = new MemoryVfs();
  const rows = [said("up", 1010, "a"), said("up", 1010, "b")];
  {
    using node = new SqliteNode(schema, { vfs });
    const { store, db } = node;
    const failed = store.prepareMerge();
    db.pragma("query_only", 1);
    expect(() => failed.add(rows)).toThrow("readonly");
    failed.end();
    db.pragma("query_only", 0);
    expect(db.autocommit).toBe(true);
    store.merge(rows);
  }
  using node = new SqliteNode(schema, { vfs });
  expect(node.store.read(rows)).toEqual(rows);
});

test("what was numbered as rows were decided on stays so, whatever is rolled back then", () => {
  using node = new SqliteNode(schema);
  const { store } = node;
  const prepared = store.prepareMerge();
  prepared.add([said("up", 1010)]);
  prepared.finish();
  store.beginMerge().rollback();
  const open = store.beginMerge();
  open.addPrepared(prepared, 0, 1);
  open.commit();
  prepared.end();
  expect(store.read([said("up", 1010)])).toEqual([said("up", 1010)]);
  // And nobody else gets its number.
  store.merge([{ ...said("down", 2000), clock: { ms: 1500, count: 0, site: siteOf(9), cl: 3 } }]);
  expect(store.read([said("up", 1010)])[0]?.clock.site).toBe(siteOf(9));
});

// Written once, a row stands elsewhere than where it was found when that was decided.
test("rows that die, come back or aren't shown are written as they were decided, after a rollback too", () => {
  const stamp = { ms: 5000, count: 0, site: siteOf(7) };
  const later = (k: string, cl: number, column: string): RowState => ({
    ...{ table: "t", key: encodeKey([k]) as Uint8Array, clock: { ...stamp, cl } },
    cells: cl % 2 === 0 ? [] : [{ column, stamp, value: "later" }],
  });
  const rows = [later("dies", 2, ""), later("comes back", 3, "status"), later("held", 1, "other")];
  using node = new SqliteNode(schema);
  const { store, db } = node;
  store.merge([said("up", 1010, "dies"), said("up", 1010, "held")]);
  store.merge([{ ...said("", 0, "comes back"), clock: { ...stamp, ms: 1500, cl: 2 }, cells: [] }]);
  const prepared = store.prepareMerge();
  prepared.add(rows);
  prepared.finish();
  for (const end of ["rollback", "rollback", "commit"] as const) {
    const open = store.beginMerge();
    open.addPrepared(prepared, 0, 1);
    open.addPrepared(prepared, 1, 3);
    open[end]();
  }
  prepared.end();
  expect(store.read(rows)).toEqual(rows);
  expect(db.all("SELECT * FROM t ORDER BY k")).toEqual([
    ["comes back", "later"],
    ["held", null],
  ]);
  expect(node.strays()).toEqual([]);
  expect(store.unshown()).toEqual([{ table: "t", column: "other", cells: 1 }]);
});
