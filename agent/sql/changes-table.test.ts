import { expect, test } from "bun:test";
import { lateLimits } from "../../core/store/clocks/late-clocks.ts";
import { SqliteNode } from "../../test/generators/sqlite-store.ts";
import { siteOf } from "../../test/model/history.ts";
import { SQLITE_DBCONFIG_TRUSTED_SCHEMA } from "../../wasm/constants.ts";
import { addChangesTable } from "./changes-table.ts";

const schema = `
  CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, status TEXT, port INTEGER);
  CREATE TABLE pairs (a TEXT NOT NULL, b INTEGER NOT NULL, v, PRIMARY KEY (b, a)) WITHOUT ROWID;
  CREATE TABLE blobs (rowid TEXT, k BLOB PRIMARY KEY NOT NULL);
`;
const own = siteOf(0);
const other = siteOf(1);

/** A node whose database knows the table, and another whose rows it hears of. */
function nodes(): { readonly node: SqliteNode; readonly peer: SqliteNode } & Disposable {
  const node = new SqliteNode(schema);
  const peer = new SqliteNode(schema, { site: 1, nowMs: 50_000 });
  addChangesTable(node.db);
  node.db.run("INSERT INTO patina_node_site VALUES (?, 'here')", Buffer.from(own, "hex"));
  return {
    node,
    peer,
    [Symbol.dispose]() {
      node[Symbol.dispose]();
      peer[Symbol.dispose]();
    },
  };
}

function hear(node: SqliteNode, peer: SqliteNode): void {
  const { rows } = peer.store.scan(undefined, 1000);
  node.store.merge(peer.store.read(rows).filter((row) => row !== undefined));
}

test("a row and its cells have the stamps of who wrote them last", () => {
  using both = nodes();
  const { node, peer } = both;
  node.write("INSERT INTO instances VALUES ('i-1', 'up', 80)");
  hear(peer, node);
  peer.write("UPDATE instances SET status = 'down'");
  hear(node, peer);
  expect(
    node.db.all("SELECT tbl, key, col, state, node, site, ms, hlc FROM patina_changes"),
  ).toEqual([
    ["instances", "i-1", null, "live", "here", own, 11_000, "11000.0"],
    ["instances", "i-1", "port", "shown", "here", own, 11_000, "11000.0"],
    ["instances", "i-1", "status", "shown", null, other, 51_000, "51000.0"],
  ]);
});

test("clocks that aren't in their tables yet are shown, by table and by key", () => {
  using node = new SqliteNode(schema, {
    late: { ...lateLimits, rowsMax: 100, transactionRowsMin: 1 },
  });
  addChangesTable(node.db);
  node.write("INSERT INTO instances VALUES ('i-1', 'up', 80), ('i-2', 'up', 80)");
  node.write("UPDATE instances SET port = 81 WHERE id = 'i-1'");
  node.write("UPDATE instances SET port = 82 WHERE id = 'i-1'");
  expect(node.db.all("SELECT count(*) FROM patina_late_clocks")).toEqual([[2]]);
  const of = (where: string) =>
    node.db.all(`SELECT key, col, ms FROM patina_changes WHERE col = 'port' ${where}`);
  expect(of("")).toEqual([
    ["i-1", "port", 13_000],
    ["i-2", "port", 11_000],
  ]);
  expect(of("AND tbl = 'instances' AND key = 'i-1'")).toEqual([["i-1", "port", 13_000]]);
});

test("deleted rows are there, and so is what this schema can't show", () => {
  using both = nodes();
  const { node } = both;
  node.write("INSERT INTO instances VALUES ('i-1', 'up', 80)");
  node.write("DELETE FROM instances");
  using newer = new SqliteNode(
    "CREATE TABLE instances (id TEXT PRIMARY KEY NOT NULL, zone); CREATE TABLE fresh (k TEXT PRIMARY KEY NOT NULL)",
    { site: 1 },
  );
  newer.write("INSERT INTO instances VALUES ('i-2', 'z')", "INSERT INTO fresh VALUES ('f')");
  hear(node, newer);
  expect(
    node.db.all("SELECT tbl, key, col, state FROM patina_changes ORDER BY tbl, key, col"),
  ).toEqual([
    ["fresh", "f", null, "live"],
    ["instances", "i-1", null, "deleted"],
    ["instances", "i-2", null, "live"],
    ["instances", "i-2", "zone", "held"],
  ]);
  const deleted = "SELECT state, site FROM patina_changes WHERE tbl = 'instances' AND key = 'i-1'";
  expect(node.db.all(deleted)).toEqual([["deleted", own]]);
});

test("keys of several columns are JSON, as are those that are looked for", () => {
  using both = nodes();
  const { node } = both;
  node.write(
    "INSERT INTO pairs VALUES ('x', 5, 1), ('[1,2]', 6, 1)",
    "INSERT INTO blobs VALUES ('r', x'00ff')",
    "INSERT INTO instances VALUES ('[1,2]', 'up', 80)",
  );
  const keys = (where: string) =>
    node.db.all(`SELECT tbl, key FROM patina_changes WHERE col IS NULL AND ${where}`);
  expect(keys("tbl = 'pairs'")).toEqual([
    ["pairs", '[5,"x"]'],
    ["pairs", '[6,"[1,2]"]'],
  ]);
  expect(keys(`tbl = 'pairs' AND key = '[5,"x"]'`)).toEqual([["pairs", '[5,"x"]']]);
  expect(keys("tbl = 'instances' AND key = '[1,2]'")).toEqual([["instances", "[1,2]"]]);
  expect(keys("tbl = 'blobs' AND key = x'00ff'")).toEqual([["blobs", Uint8Array.of(0, 255)]]);
  for (const where of [
    "tbl = 'pairs' AND key = '[\"x\",5]'",
    "tbl = 'INSTANCES'",
    "tbl = 5",
    "tbl IS NULL",
    "tbl = 'nowhere' AND key = 1",
    "tbl = 'instances' AND key = NULL",
    "tbl = 'instances' AND key = 5",
  ]) {
    expect([where, keys(where)]).toEqual([where, []]);
  }
  // Other comparisons go through all rows.
  expect(keys("tbl = 'INSTANCES' COLLATE NOCASE")).toEqual([["instances", "[1,2]"]]);
  expect(keys("key LIKE '%x%'")).toEqual([["pairs", '[5,"x"]']]);
  expect(keys("key = '[1,2]'")).toEqual([["instances", "[1,2]"]]);
});

test("a row is found by its key, among many, and in joins", () => {
  using both = nodes();
  const { node } = both;
  node.write(
    "INSERT INTO instances WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 2000) SELECT 'i-' || x, 'up', x FROM c",
  );
  const steps = (sql: string): number => {
    let steps = 0;
    node.db.onProgress(100, () => {
      steps++;
      return false;
    });
    const rows = node.db.all(sql);
    node.db.onProgress(100, null);
    expect(rows.length).toBeGreaterThan(0);
    return steps;
  };
  const one = "SELECT col, ms FROM patina_changes WHERE tbl = 'instances' AND key = 'i-777'";
  expect(steps(one)).toBeLessThan(20);
  const joined =
    "SELECT i.id, c.site FROM instances AS i JOIN patina_changes AS c ON c.tbl = 'instances' AND c.key = i.id AND c.col = 'status' WHERE i.port IN (5, 6)";
  expect(node.db.all(joined)).toEqual([
    ["i-5", own],
    ["i-6", own],
  ]);
  expect(steps("SELECT count(*) FROM patina_changes")).toBeGreaterThan(100);
  // Left in the middle, it holds nothing.
  expect(node.db.all("SELECT key FROM patina_changes LIMIT 1")).toHaveLength(1);
  node.write("DELETE FROM instances WHERE id <> 'i-1'");
});

test("it stands in views, is read-only, and is empty where there is nothing of Patina's", () => {
  using both = nodes();
  const { node } = both;
  node.write("INSERT INTO instances VALUES ('i-1', 'up', 80)");
  node.db.configure(SQLITE_DBCONFIG_TRUSTED_SCHEMA, false);
  node.db.exec(
    "CREATE VIEW who AS SELECT key, col, node FROM patina_changes WHERE tbl = 'instances'",
  );
  expect(node.db.all("SELECT * FROM who WHERE col IS NULL")).toEqual([["i-1", null, "here"]]);
  for (const sql of [
    "INSERT INTO patina_changes (tbl) VALUES ('x')",
    "DELETE FROM patina_changes",
    "DROP TABLE patina_changes",
  ]) {
    expect(() => node.db.exec(sql)).toThrow();
  }
});

test("what its own reading fails with is the statement's error", () => {
  using both = nodes();
  const { node } = both;
  node.write("INSERT INTO instances VALUES ('i-1', 'up', 80)");
  node.db.onProgress(1, () => true);
  expect(() => node.db.all("SELECT * FROM patina_changes")).toThrow(/interrupt/);
  node.db.onProgress(1, null);
  node.db.exec("DROP TABLE patina_site");
  expect(() => node.db.all("SELECT * FROM patina_changes")).toThrow(/no such table: patina_site/);
});
