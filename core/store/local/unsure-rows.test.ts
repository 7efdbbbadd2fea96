import { expect, test } from "bun:test";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import type { CommitResult } from "../store-outcomes.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT DEFAULT 'up', weight INTEGER);
  CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, status TEXT DEFAULT 'up', weight INTEGER) WITHOUT ROWID;
  CREATE TABLE plain (k TEXT PRIMARY KEY NOT NULL, status TEXT);
`;
const rules = { t: { urgent: "status <> 'up'" }, w: { urgent: "status <> 'up'" } };

/** One transaction on a host that may not have heard of rows of t and w. */
function write(node: SqliteNode, ...statements: string[]): CommitResult {
  node.nowMs += 10;
  node.store.begin();
  for (const sql of statements) node.db.exec(sql);
  return node.store.commit(node.nowMs, new Set(["t", "w"]));
}

for (const table of ["t", "w"]) {
  test(`a row that is new where others may have it is taken only as urgent; ${table}`, () => {
    using node = new SqliteNode(schema, { rules });
    const refused = { kind: "refused", isUnheard: true };
    const upsert = (status: string) =>
      `INSERT INTO ${table} (k, status, weight) VALUES ('a', '${status}', 2) ON CONFLICT DO UPDATE SET weight = 2`;
    expect(write(node, upsert("up"))).toMatchObject({
      ...refused,
      why: expect.stringContaining(`${table}: this host is still catching up`),
    });
    expect(write(node, `INSERT OR IGNORE INTO ${table} (k) VALUES ('a')`)).toMatchObject(refused);
    // Nothing of such a list is applied.
    const list = ["INSERT INTO plain VALUES ('p', 'up')", `INSERT INTO ${table} (k) VALUES ('a')`];
    expect(write(node, ...list)).toMatchObject(refused);
    expect([node.table("plain"), node.table(table)]).toEqual([[], []]);
    expect(write(node, list[0] as string)).toMatchObject({ version: 1 });
    // A down goes at once, and what is here has been heard of: the row, and later that it is gone.
    expect(write(node, upsert("down"))).toMatchObject({ version: 2 });
    expect(write(node, upsert("up"))).toMatchObject({ version: null });
    expect(write(node, `UPDATE ${table} SET status = 'up'`)).toMatchObject({ version: 3 });
    expect(write(node, `DELETE FROM ${table}`)).toMatchObject({ version: 4 });
    expect(write(node, upsert("up"))).toMatchObject({ version: 5 });
    // A row under another key is a new one.
    expect(write(node, `UPDATE ${table} SET k = 'b'`)).toMatchObject(refused);
    expect(node.table(table)).toEqual([["a", "up", 2]]);
  });
}

test("a row that others have said to be down stays so, whoever upserts its weight before having heard of it", () => {
  using one = new SqliteNode(schema, { rules });
  using other = new SqliteNode(schema, { rules, site: 1 });
  const down = one.write("INSERT INTO t VALUES ('a', 'down', 1)");
  other.nowMs = one.nowMs + 1000;
  const upsert = "INSERT INTO t VALUES ('a', 'up', 2) ON CONFLICT DO UPDATE SET weight = 2";
  expect(write(other, upsert)).toMatchObject({ isUnheard: true });
  other.store.merge(down.changeset?.rows ?? []);
  expect(write(other, upsert)).toMatchObject({ version: 1 });
  expect(other.table("t")).toEqual([["a", "down", 2]]);
});
