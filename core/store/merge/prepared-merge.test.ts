import { expect, test } from "bun:test";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
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
