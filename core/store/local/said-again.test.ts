import { expect, test } from "bun:test";
import { SqliteNode, type SqliteNodeOptions } from "../../../test/generators/sqlite-store.ts";
import { EncodedChangeset } from "../../change/changeset.ts";
import type { CommitResult } from "../store-outcomes.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT, weight INTEGER, drained INTEGER);
  CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, status TEXT, weight INTEGER) WITHOUT ROWID;
  CREATE TABLE plain (k TEXT PRIMARY KEY NOT NULL, status TEXT);
`;
const options: SqliteNodeOptions = {
  rules: { t: { urgent: "status IS NOT 'up' OR drained" }, w: { urgent: "status <> 'up'" } },
};

/** What a commit stamped: its lane, and by row the cells. Undefined: it was nothing. */
function stamped({ changeset }: Extract<CommitResult, { kind: "committed" }>): unknown {
  if (changeset === undefined) return undefined;
  const { lane, rows, stamp } = changeset;
  return [
    lane,
    ...rows.map(({ cells }) =>
      cells.filter((cell) => cell.stamp.ms === stamp.ms).map(({ column }) => column),
    ),
  ];
}

test("a down that is said again is stamped anew and urgent; an up, and what isn't named, is not", () => {
  using node = new SqliteNode(schema, options);
  const write = (...statements: string[]) => stamped(node.write(...statements));
  for (const table of ["t", "w"]) {
    node.write(`INSERT INTO ${table} (k, status, weight) VALUES ('a', 'down', 1), ('b', 'up', 1)`);
    const set = (sql: string, key = "a") => write(`UPDATE ${table} SET ${sql} WHERE k = '${key}'`);
    expect(set("status = 'down'")).toEqual([0, ["status"]]);
    expect(set("weight = 1")).toBeUndefined();
    // Only what it names: whoever sets a weight says nothing of the status that this host still sees.
    expect(set("weight = 2")).toEqual([0, ["weight"]]);
    expect(set("weight = 3, status = status")).toEqual([0, ["status", "weight"]]);
    expect(set("weight = 3, status = 'down'")).toEqual([0, ["status"]]);
    expect(set("status = 'up'", "b")).toBeUndefined();
    // What the row comes to counts, not what it was in between.
    expect(write(...["up", "down"].map((s) => `UPDATE ${table} SET status = '${s}'`))).toEqual([
      ...[0, ["status"], ["status"]],
    ]);
    node.write(`UPDATE ${table} SET status = 'up' WHERE k = 'b'`);
    expect(
      write(...["down", "up"].map((s) => `UPDATE ${table} SET status = '${s}' WHERE k = 'b'`)),
    ).toBeUndefined();
  }
});

test("NULL may be what is said again, and several columns may be what a rule reads", () => {
  using node = new SqliteNode(schema, options);
  const set = (sql: string) => stamped(node.write(`UPDATE t SET ${sql}`));
  node.write("INSERT INTO t (k) VALUES ('a')");
  expect(set("status = NULL")).toEqual([0, ["status"]]);
  expect(set("drained = 1, status = 'up'")).toEqual([0, ["drained", "status"]]);
  // Each of them counts that is named while the rule holds: it is these together that make the row what it is.
  expect(set("status = 'up'")).toEqual([0, ["status"]]);
  expect(set("drained = 1")).toEqual([0, ["drained"]]);
  // In one statement or in several.
  expect(stamped(node.write("UPDATE t SET drained = 1", "UPDATE t SET status = 'up'"))).toEqual([
    0,
    ["drained", "status"],
  ]);
  expect(set("drained = 0")).toEqual([1, ["drained"]]);
  expect(set("drained = 0, status = 'up'")).toBeUndefined();
});

test("an upsert names its SET; REPLACE, DELETE and INSERT, and another key's row name all", () => {
  using node = new SqliteNode(schema, options);
  const write = (...statements: string[]) => stamped(node.write(...statements));
  for (const table of ["t", "w"]) {
    node.write(`INSERT INTO ${table} (k, status, weight) VALUES ('a', 'down', 1)`);
    const upsert = (action: string) =>
      write(
        `INSERT INTO ${table} (k, status, weight) VALUES ('a', 'down', 1) ON CONFLICT (k) ${action}`,
      );
    expect(upsert("DO NOTHING")).toBeUndefined();
    expect(upsert("DO UPDATE SET weight = excluded.weight")).toBeUndefined();
    expect(upsert("DO UPDATE SET status = excluded.status")).toEqual([0, ["status"]]);
    expect(write(`INSERT OR IGNORE INTO ${table} (k, status) VALUES ('a', 'x')`)).toBeUndefined();
    const all = table === "t" ? ["drained", "status"] : ["status"];
    const values = "(k, status, weight) VALUES ('a', 'down', 1)";
    expect(write(`REPLACE INTO ${table} ${values}`)).toEqual([0, all]);
    expect(write(`DELETE FROM ${table}`, `INSERT INTO ${table} ${values}`)).toEqual([0, all]);
    // b's row becomes a's, and is as that was.
    node.write(`INSERT INTO ${table} (k, status, weight) VALUES ('b', 'down', 1)`);
    const result = node.write(`UPDATE OR REPLACE ${table} SET k = 'a' WHERE k = 'b'`);
    expect((stamped(result) as unknown[]).toSorted()).toEqual([[], 0, all]);
    // There and back: it stays a's, and nothing was said of it.
    expect(
      write(`UPDATE ${table} SET k = 'c'`, `UPDATE ${table} SET k = 'a', weight = 1`),
    ).toBeUndefined();
    expect(
      write(`UPDATE ${table} SET k = 'c', status = 'down'`, `UPDATE ${table} SET k = 'a'`),
    ).toEqual([0, ["status"]]);
    node.write(`REPLACE INTO ${table} (k, status) VALUES ('a', 'up')`);
    expect(write(`REPLACE INTO ${table} (k, status) VALUES ('a', 'up')`)).toBeUndefined();
  }
});

test("rows that have another rowid keep what was said of them, and rowids used again don't", () => {
  using node = new SqliteNode(schema, options);
  const write = (...statements: string[]) => stamped(node.write(...statements));
  node.write("INSERT INTO t (rowid, k, status) VALUES (1, 'a', 'down'), (2, 'b', 'down')");
  expect(
    write("UPDATE t SET status = 'down' WHERE k = 'a'", "UPDATE t SET rowid = 9 WHERE k = 'a'"),
  ).toEqual([0, ["status"]]);
  // a was said to be down at rowid 9, which b then has.
  expect(
    write(
      "UPDATE t SET status = 'down' WHERE k = 'a'",
      "DELETE FROM t WHERE k = 'a'",
      "UPDATE t SET rowid = 9 WHERE k = 'b'",
    ),
  ).toEqual([0, []]);
});

test("without a rule, and outside of a client's statement, a value that is there leaves no trace", () => {
  using node = new SqliteNode(schema, options);
  node.write("INSERT INTO plain VALUES ('a', 'down')", "INSERT INTO t (k) VALUES ('a')");
  expect(stamped(node.write("UPDATE plain SET status = 'down'"))).toBeUndefined();
  node.store.begin();
  node.db.exec("UPDATE t SET status = NULL");
  expect(node.store.commit(90_000)).toMatchObject({ kind: "committed", version: null });
  // A statement names what it names, the next one what that does.
  const [first, second] = [
    "UPDATE t SET status = NULL WHERE k = 'x'",
    "UPDATE t SET weight = NULL",
  ];
  expect(stamped(node.write(first, second))).toBeUndefined();
});

test("what is said again goes the quick way, counts as a version, and wins over what it hadn't heard of", () => {
  using one = new SqliteNode(schema, options);
  using other = new SqliteNode(schema, { ...options, site: 1 });
  const merge = (to: SqliteNode, { changeset }: CommitResult & { kind: "committed" }) =>
    to.store.merge(changeset?.rows ?? []);
  const down = one.write("INSERT INTO t (k, status, weight) VALUES ('a', 'down', 1)");
  merge(other, down);
  other.nowMs = one.nowMs;
  const up = other.write("UPDATE t SET status = 'up'");
  one.nowMs = other.nowMs;
  const weight = one.write("UPDATE t SET weight = 2");
  const again = one.write("UPDATE t SET status = 'down'");
  expect(again.changeset).toBeInstanceOf(EncodedChangeset);
  expect([down.version, weight.version, again.version]).toEqual([1, 2, 3]);
  merge(one, up);
  // The weight alone doesn't bring back what this host still saw.
  merge(other, weight);
  expect(other.table("t")).toEqual([["a", "up", 2, null]]);
  merge(other, again);
  for (const node of [one, other]) expect(node.table("t")).toEqual([["a", "down", 2, null]]);
});

test("a DELETE of a row that is gone says nothing; an INSERT and a DELETE after it do", () => {
  using node = new SqliteNode(schema, options);
  node.write("INSERT INTO t (k, status) VALUES ('a', 'down')");
  node.write("DELETE FROM t");
  expect(node.write("DELETE FROM t WHERE k = 'a'").version).toBeNull();
  node.write("INSERT INTO t (k, status) VALUES ('a', 'down')");
  expect(stamped(node.write("DELETE FROM t WHERE k = 'a'"))).toEqual([0, []]);
});

test("a value that is damaged is written down anew where it is said again", () => {
  using node = new SqliteNode(schema, options);
  node.write("INSERT INTO t (k, status) VALUES ('a', 'draining')");
  // Behind the store's back.
  node.db.exec("UPDATE t SET status = 'down'");
  expect(stamped(node.write("UPDATE t SET status = 'down'"))).toEqual([0, ["status"]]);
  expect(node.store.read(node.store.scan(undefined, 9).rows)[0]?.cells).toMatchObject([
    { column: "drained", value: null },
    { column: "status", value: "down" },
    { column: "weight", value: null },
  ]);
});
