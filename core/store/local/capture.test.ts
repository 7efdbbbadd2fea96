import { expect, test } from "bun:test";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { siteOf } from "../../../test/model/history.ts";
import { encodeKey } from "../../row/key.ts";
import { RawText } from "../../row/value.ts";
import type { CommitResult } from "../store-outcomes.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b TEXT NOT NULL DEFAULT 'none', n INTEGER);
  CREATE TABLE w (x TEXT, y INTEGER, v, PRIMARY KEY (y, x)) WITHOUT ROWID;
  CREATE TABLE i (id INTEGER PRIMARY KEY, v);
  CREATE TABLE g (k TEXT PRIMARY KEY NOT NULL, gv TEXT AS (a || '!'), a, gs AS (length(a)) STORED, z);
  CREATE TABLE note (text);
`;
const options = { rules: { note: { replicated: false } } };

/** Another node that has everything that the first sent. */
class Pair implements Disposable {
  readonly one = new SqliteNode(schema, options);
  readonly other = new SqliteNode(schema, { ...options, site: 1 });

  /** A commit on the first, merged on the other; both then have equal tables. */
  write(...statements: string[]): Extract<CommitResult, { kind: "committed" }> {
    const result = this.one.write(...statements);
    if (result.changeset !== undefined) this.other.store.merge(result.changeset.rows);
    this.expectEqual();
    return result;
  }

  expectEqual(): void {
    expect([this.one.strays(), this.other.strays()]).toEqual([[], []]);
    const clocks = [this.one, this.other].map(
      ({ store }) => new Map(store.scan(undefined, 1000).rows.map((row) => [row.id, row.clocks])),
    );
    expect(clocks[1]).toEqual(clocks[0] as never);
    for (const table of ["t", "w", "i", "g"]) {
      expect(this.other.table(table)).toEqual(this.one.table(table));
    }
  }

  [Symbol.dispose](): void {
    this.one[Symbol.dispose]();
    this.other[Symbol.dispose]();
  }
}

/** Rows of a changeset as [table, columns that it stamped, causal length]. */
function summary(result: CommitResult): unknown[] {
  if (result.kind !== "committed") return ["refused"];
  const { changeset } = result;
  return (changeset?.rows ?? []).map(({ table, clock, cells }) => [
    table,
    cells
      .filter(({ stamp }) => stamp.ms === changeset?.stamp.ms)
      .map(({ column }) => column)
      .join(),
    clock.cl,
  ]);
}

test("an insert stamps every column, an update those that differ, a delete none", () => {
  using pair = new Pair();
  expect(summary(pair.write("INSERT INTO t (k, a) VALUES ('x', 1)"))).toEqual([["t", "a,b,n", 1]]);
  expect(summary(pair.write("UPDATE t SET a = 2, n = 5"))).toEqual([["t", "a,n", 1]]);
  expect(summary(pair.write("DELETE FROM t"))).toEqual([["t", "", 2]]);
  expect(summary(pair.write("INSERT INTO t (k, n) VALUES ('x', 3)"))).toEqual([["t", "a,b,n", 3]]);
  expect(pair.other.table("t")).toEqual([["x", null, "none", 3]]);
});

test("version counts the commits that changed something", () => {
  using pair = new Pair();
  expect(pair.write("INSERT INTO t (k) VALUES ('x')").version).toBe(1);
  expect(pair.write("UPDATE t SET a = a").version).toBeNull();
  expect(pair.write("INSERT INTO note VALUES ('local')").version).toBeNull();
  expect(pair.write("DELETE FROM t WHERE k = 'y'").version).toBeNull();
  expect(pair.write("DELETE FROM t").version).toBe(2);
  expect(pair.one.table("note")).toEqual([["local"]]);
});

test("an update to the value that is there leaves no trace", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t VALUES ('x', 1, 'b', 2)");
  expect(summary(pair.write("UPDATE t SET a = 1, b = 'b', n = '2'"))).toEqual([]);
  expect(summary(pair.write("UPDATE t SET a = 9", "UPDATE t SET a = 1"))).toEqual([]);
  // 1 and 1.0 are two values.
  expect(summary(pair.write("UPDATE t SET a = 1.0, n = 2.0"))).toEqual([["t", "a", 1]]);
});

test("what a savepoint rolled back leaves no trace", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t (k) VALUES ('x'), ('y')");
  const result = pair.write(
    "SAVEPOINT s",
    "INSERT INTO t (k) VALUES ('phantom')",
    "DELETE FROM t WHERE k = 'x'",
    "UPDATE t SET k = 'moved' WHERE k = 'y'",
    "ROLLBACK TO s",
    "UPDATE t SET a = 5 WHERE k = 'y'",
    "RELEASE s",
  );
  expect(summary(result)).toEqual([["t", "a", 1]]);
  expect(pair.other.table("t")).toEqual([
    ["x", null, "none", null],
    ["y", 5, "none", null],
  ]);
});

test("a row inserted and deleted in one transaction leaves no trace", () => {
  using pair = new Pair();
  expect(summary(pair.write("INSERT INTO t (k) VALUES ('x')", "DELETE FROM t"))).toEqual([]);
  expect(pair.one.store.scan(undefined, 10).rows).toEqual([]);
});

test("DELETE and INSERT of one key in one commit is an update", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t VALUES ('x', 1, 'b', 2)", "INSERT INTO w VALUES ('x', 1, 'v')");
  expect(
    summary(
      pair.write(
        "DELETE FROM t",
        "INSERT INTO t VALUES ('x', 1, 'c', 2)",
        "DELETE FROM w",
        "INSERT INTO w VALUES ('x', 1, 'w')",
      ),
    ),
  ).toEqual([
    ["t", "b", 1],
    ["w", "v", 1],
  ]);
});

test("REPLACE is an update, also through a second row", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t VALUES ('x', 1, 'b', 2), ('y', 3, 'c', 4)");
  expect(summary(pair.write("REPLACE INTO t VALUES ('x', 1, 'b', 9)"))).toEqual([["t", "n", 1]]);
  // y takes x's key: x gets y's values, y is gone.
  const through = pair.write("UPDATE OR REPLACE t SET k = 'x' WHERE k = 'y'");
  expect(summary(through).toSorted()).toEqual([
    ["t", "", 2],
    ["t", "a,b,n", 1],
  ]);
  expect(pair.other.table("t")).toEqual([["x", 3, "c", 4]]);
});

test("a change of the primary key is a delete and an insert", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t VALUES ('x', 1, 'b', 2)", "INSERT INTO w VALUES ('x', 1, 'v')");
  pair.write("INSERT INTO i VALUES (1, 'v')");
  const result = pair.write(
    "UPDATE t SET k = 'y'",
    "UPDATE w SET y = 2",
    "UPDATE i SET id = 9223372036854775807",
  );
  expect(summary(result)).toEqual([
    ["t", "", 2],
    ["t", "a,b,n", 1],
    ["w", "", 2],
    ["w", "v", 1],
    ["i", "", 2],
    ["i", "v", 1],
  ]);
});

test("two rows may swap their keys, and rows their rowids", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t VALUES ('x', 1, 'b', 2), ('y', 3, 'c', 4)");
  const swap = pair.write(
    "UPDATE t SET k = 'z' WHERE k = 'x'",
    "UPDATE t SET k = 'x' WHERE k = 'y'",
    "UPDATE t SET k = 'y' WHERE k = 'z'",
  );
  expect(summary(swap)).toEqual([
    ["t", "a,b,n", 1],
    ["t", "a,b,n", 1],
  ]);
  const moved = pair.write(
    "UPDATE t SET rowid = 100 WHERE k = 'x'",
    "UPDATE t SET rowid = 2 WHERE k = 'y'",
    "UPDATE t SET rowid = 1 WHERE k = 'x'",
  );
  expect(pair.one.db.all("SELECT rowid, k FROM t")).toEqual([
    [1, "x"],
    [2, "y"],
  ]);
  expect(summary(moved)).toEqual([]);
  // The clocks went along with the rows: what isn't theirs is read as damaged.
  const { rows } = pair.one.store.scan(undefined, 9);
  expect(pair.one.store.read(rows)).toEqual(pair.other.store.read(rows));
  expect(summary(pair.write("UPDATE t SET a = 7 WHERE k = 'y'"))).toEqual([["t", "a", 1]]);
});

test("a rowid that was freed and used again carries no clocks over", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t VALUES ('x', 1, 'b', 2)");
  const result = pair.write("DELETE FROM t", "INSERT INTO t VALUES ('y', 5, 'c', 6)");
  expect(summary(result).toSorted()).toEqual([
    ["t", "", 2],
    ["t", "a,b,n", 1],
  ]);
});

test("DELETE without WHERE is captured row by row", () => {
  using pair = new Pair();
  pair.write(
    "INSERT INTO t (k) VALUES ('a'), ('b'), ('c')",
    "INSERT INTO w VALUES ('x', 1, 1), ('y', 2, 2)",
  );
  expect(summary(pair.write("DELETE FROM t", "DELETE FROM w")).length).toBe(5);
  expect(pair.other.table("t")).toEqual([]);
  expect(pair.other.table("w")).toEqual([]);
});

test("UPSERT, UPDATE FROM and INSERT SELECT are captured", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t (k, n) VALUES ('x', 1), ('y', 2)");
  pair.write(
    "INSERT INTO t (k, n) VALUES ('x', 5), ('z', 6) ON CONFLICT (k) DO UPDATE SET n = excluded.n",
    "UPDATE t SET a = w.v FROM (SELECT 'y' AS k, 'from' AS v) AS w WHERE t.k = w.k",
    "INSERT INTO w SELECT k, n, a FROM t",
  );
  expect(pair.other.table("t")).toEqual([
    ["x", null, "none", 5],
    ["y", "from", "none", 2],
    ["z", null, "none", 6],
  ]);
  expect(pair.other.table("w").length).toBe(3);
});

test("generated columns are not sent, wherever they stand", () => {
  using pair = new Pair();
  expect(summary(pair.write("INSERT INTO g (k, a, z) VALUES ('x', 'abc', 1)"))).toEqual([
    ["g", "a,z", 1],
  ]);
  expect(summary(pair.write("UPDATE g SET z = 2"))).toEqual([["g", "z", 1]]);
  expect(summary(pair.write("UPDATE g SET a = 'de'"))).toEqual([["g", "a", 1]]);
  expect(pair.other.table("g")).toEqual([["x", "de!", "de", 2, 2]]);
});

test("TEXT that isn't UTF-8 is refused; what is there of it may stay and the rest of its row be written", () => {
  using pair = new Pair();
  const { one, other } = pair;
  pair.write("INSERT INTO t (k, a) VALUES ('x', 'fine')");
  const refused = (sql: string): string => {
    const result = one.tryWrite(sql);
    return result.kind === "refused" ? result.why : result.kind;
  };
  expect(refused("INSERT INTO t (k) VALUES (CAST(x'ff' AS TEXT))")).toBe(
    "t.k: TEXT that isn't UTF-8: write it as a BLOB",
  );
  expect(refused("UPDATE t SET a = char(0xd800)")).toBe(
    "t.a: TEXT that isn't UTF-8: write it as a BLOB",
  );
  expect(refused("UPDATE t SET a = CAST('ä' AS TEXT) || char(0)")).toBe("committed");
  // A peer of an older release has written it.
  const stamp = { ms: 90_000, count: 0, site: siteOf(7) };
  const cell = { column: "a", stamp, value: new RawText(new Uint8Array([0xff])) };
  const key = encodeKey(["old"]) as Uint8Array;
  for (const { store } of [one, other]) {
    store.merge([{ table: "t", key, clock: { ...stamp, cl: 1 }, cells: [cell] }]);
  }
  one.nowMs = 100_000;
  expect(refused("UPDATE t SET n = 7 WHERE k = 'old'")).toBe("committed");
  expect(one.db.all("SELECT n, hex(a) FROM t WHERE k = 'old'")).toEqual([[7, "FF"]]);
});

test("a statement that fails in the middle leaves what came before", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t (k) VALUES ('x')");
  const { one } = pair;
  one.store.begin();
  one.db.exec("INSERT INTO t (k) VALUES ('y')");
  expect(() => one.db.exec("INSERT INTO t (k) VALUES ('z'), ('x')")).toThrow("UNIQUE");
  expect(one.store.isOpen).toBe(true);
  expect(summary(one.store.commit(99_000))).toEqual([["t", "a,b,n", 1]]);
  expect(one.table("t").map(([key]) => key)).toEqual(["x", "y"]);
});

test("OR ROLLBACK in the middle: nothing is applied, and the next transaction is none the wiser", () => {
  using pair = new Pair();
  pair.write("INSERT INTO t (k) VALUES ('x')");
  const { one } = pair;
  one.store.begin();
  one.db.exec("INSERT INTO t (k) VALUES ('y')");
  expect(() => one.db.exec("INSERT OR ROLLBACK INTO t (k) VALUES ('x')")).toThrow("UNIQUE");
  expect(one.store.isOpen).toBe(false);
  expect(one.store.commit(99_000)).toEqual({
    kind: "refused",
    why: "the transaction was rolled back by one of its statements",
  });
  expect(one.table("t").map(([key]) => key)).toEqual(["x"]);
  expect(summary(pair.write("INSERT INTO t (k) VALUES ('z')"))).toEqual([["t", "a,b,n", 1]]);
});

test("a rolled back transaction leaves nothing", () => {
  using pair = new Pair();
  const { one } = pair;
  one.store.begin();
  one.db.exec("INSERT INTO t (k) VALUES ('x'); INSERT INTO note VALUES ('n')");
  one.store.rollback();
  expect([one.table("t"), one.db.all("SELECT * FROM note")]).toEqual([[], []]);
  expect(pair.write("INSERT INTO t (k) VALUES ('x')").version).toBe(1);
});

test("a commit's stamp is larger than every stamp of the rows that it changes", () => {
  using pair = new Pair();
  const { one, other } = pair;
  const far = other.write("INSERT INTO t (k, n) VALUES ('x', 1)");
  // The other's clock is an hour ahead.
  other.nowMs += 3_600_000;
  const ahead = other.write("UPDATE t SET n = 2");
  for (const { changeset } of [far, ahead]) one.store.merge(changeset?.rows ?? []);
  pair.write("UPDATE t SET n = 3");
  expect(other.table("t")).toEqual([["x", null, "none", 3]]);
});

test("keys that SQLite holds equal are one key, shown alike everywhere", () => {
  using one = new SqliteNode(
    "CREATE TABLE t (k BLOB PRIMARY KEY NOT NULL, v); CREATE TABLE n (k NUMERIC PRIMARY KEY, v) WITHOUT ROWID",
  );
  using other = new SqliteNode(
    "CREATE TABLE t (k BLOB PRIMARY KEY NOT NULL, v); CREATE TABLE n (k NUMERIC PRIMARY KEY, v) WITHOUT ROWID",
    { site: 1 },
  );
  const sql =
    "VALUES (1.0, 'one'), ('1', 'text'), (-0.0, 'zero'), (1.5, 'half'), (x'31', 'blob'), (9007199254740993, 'wide')";
  const result = one.write(
    `INSERT INTO t ${sql}`,
    "INSERT INTO n VALUES (-9223372036854775808.0, 'least'), (4503599627370496.0, 'large')",
  );
  other.store.merge(result.changeset?.rows ?? []);
  expect(other.table("t")).toEqual(one.table("t"));
  expect(other.table("n")).toEqual(one.table("n"));
  expect(one.db.all("SELECT typeof(k) FROM t ORDER BY k")).toEqual([
    ["integer"],
    ["integer"],
    ["real"],
    ["integer"],
    ["text"],
    ["blob"],
  ]);
  expect(one.write("UPDATE t SET k = 1.0 WHERE k = 1").changeset).toBeUndefined();
  expect(one.table("t")).toEqual(other.table("t"));
  // 1 and 1.0 are the same row, '1' is another.
  const update = one.write("UPDATE t SET k = 1.0, v = 'uno' WHERE k = 1");
  expect(update.changeset?.rows.length).toBe(1);
  other.store.merge(update.changeset?.rows ?? []);
  expect(other.table("t")).toEqual(one.table("t"));
});

test("size limits are enforced at the commit", () => {
  using one = new SqliteNode(
    "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b, c, d, e); CREATE TABLE u (k INTEGER PRIMARY KEY, a)",
  );
  const mb = 1024 * 1024;
  expect(one.tryWrite(`INSERT INTO t (k, a) VALUES (1, zeroblob(${8 * mb + 1}))`)).toEqual({
    kind: "refused",
    why: `t.a: a value may have ${8 * mb} bytes, this one has ${8 * mb + 1}`,
  });
  const text = `replace(hex(zeroblob(${2 * mb + 1})), '00', 'ää')`;
  expect(one.tryWrite(`INSERT INTO t (k, a) VALUES (1, ${text})`)).toMatchObject({
    kind: "refused",
  });
  const full = `zeroblob(${8 * mb})`;
  expect(
    one.tryWrite(`INSERT INTO t VALUES (1, ${full}, ${full}, ${full}, ${full}, 1)`),
  ).toMatchObject({ kind: "refused", why: expect.stringContaining("the values of a row") });
  expect(
    one.tryWrite(
      `INSERT INTO t (k, a) SELECT value, ${full} FROM (WITH RECURSIVE c(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM c LIMIT 9) SELECT * FROM c)`,
    ),
  ).toMatchObject({ kind: "refused", why: expect.stringContaining("split it") });
  expect(
    one.tryWrite(
      "INSERT INTO t (k) WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM c LIMIT 100001) SELECT * FROM c",
    ),
  ).toMatchObject({ kind: "refused", why: expect.stringContaining("100001") });
  // The values alone are no more than is sent at once.
  expect(
    one.tryWrite(
      `INSERT INTO u WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM c LIMIT 8) SELECT v, ${full} FROM c`,
    ),
  ).toMatchObject({ kind: "refused", why: expect.stringContaining("split it") });
  expect([one.db.autocommit, one.table("t"), one.table("u")]).toEqual([true, [], []]);
  expect(one.write(`INSERT INTO t (k, a) VALUES (1, ${full})`).changeset?.lane).toBe(2);
}, 120_000);

test("a statement that touches rows for ever is stopped, and nothing is applied", () => {
  using one = new SqliteNode("CREATE TABLE t (k INTEGER PRIMARY KEY)");
  const forever =
    "INSERT INTO t (k) WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM c) SELECT * FROM c";
  one.store.begin();
  expect(() => one.db.exec(forever)).toThrow("a transaction may touch 400000 rows");
  one.store.rollback();
  expect(one.table("t")).toEqual([]);
  expect(one.write("INSERT INTO t VALUES (1)").version).toBe(1);
}, 120_000);

test("a key over 64 KB is refused", () => {
  using one = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL)");
  expect(one.tryWrite("INSERT INTO t VALUES (hex(zeroblob(40000)))")).toEqual({
    kind: "refused",
    why: "table t: a primary key is over 64 KB",
  });
});

test("lanes: urgent by rule, by delete, and whatever the size; else by size", () => {
  const sql =
    "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT, d); CREATE TABLE o (k TEXT PRIMARY KEY NOT NULL, d)";
  using one = new SqliteNode(sql, { rules: { t: { urgent: "status <> 'up' -- not serving" } } });
  const lane = (...statements: string[]) => one.write(...statements).changeset?.lane;
  expect(lane("INSERT INTO t VALUES ('a', 'up', 1)")).toBe(1);
  expect(lane("UPDATE t SET status = 'down'")).toBe(0);
  // Still down: the rule is about the new row.
  expect(lane("UPDATE t SET d = 2")).toBe(0);
  expect(lane("UPDATE t SET status = NULL")).toBe(1);
  expect(lane("DELETE FROM t")).toBe(0);
  expect(lane("INSERT INTO o VALUES ('a', zeroblob(300000))")).toBe(2);
  expect(lane("DELETE FROM o")).toBe(1);
  expect(
    lane("INSERT INTO o VALUES ('a', zeroblob(300000))", "INSERT INTO t VALUES ('a', 'down', 1)"),
  ).toBe(0);
});

test("a urgent rule that fails on a row counts as holding", () => {
  using one = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, d)", {
    rules: { t: { urgent: "d ->> '$.down'" } },
  });
  expect(one.write(`INSERT INTO t VALUES ('a', '{"down":false}')`).changeset?.lane).toBe(1);
  expect(one.write("INSERT INTO t VALUES ('b', '{broken')").changeset?.lane).toBe(0);
});

test("a CHECK holds for local writes, before and after merges that break it", () => {
  const sql =
    "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, lo INTEGER, hi INTEGER, CHECK (lo <= hi))";
  using one = new SqliteNode(sql);
  using other = new SqliteNode(sql, { site: 1 });
  const first = one.write("INSERT INTO t VALUES ('a', 1, 9)");
  other.store.merge(first.changeset?.rows ?? []);
  const lo = one.write("UPDATE t SET lo = 8");
  const hi = other.write("UPDATE t SET hi = 2");
  one.store.merge(hi.changeset?.rows ?? []);
  other.store.merge(lo.changeset?.rows ?? []);
  for (const node of [one, other]) {
    expect(node.table("t")).toEqual([["a", 8, 2]]);
    expect(() => node.tryWrite("UPDATE t SET lo = 7")).toThrow("CHECK");
    expect(node.tryWrite("UPDATE t SET lo = 0")).toMatchObject({ kind: "committed" });
  }
});

// It was inserted behind the store's back, and peers may hold the row as it was said through a store.
test("deleting a row that nobody was told of says nothing of what is held under its key", () => {
  using one = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)");
  one.write("INSERT INTO t VALUES ('x', 1)");
  const [tombstone] = one.write("DELETE FROM t").changeset?.rows ?? [];
  one.db.mutePreupdate(true);
  one.db.exec("INSERT INTO t VALUES ('x', 2)");
  one.db.mutePreupdate(false);
  expect(one.write("DELETE FROM t").changeset).toBeUndefined();
  expect(one.store.read([{ table: "t", key: encodeKey(["x"]) as Uint8Array }])).toEqual([
    tombstone,
  ]);
});

// Without a refusal it would be a row that no clocks can be given to, and nobody would hear of it.
test.each([
  ["with rowids", ""],
  ["WITHOUT ROWID", "WITHOUT ROWID"],
])(
  "a key that is too long to be one is refused, and only with its transaction: %s",
  (_, options) => {
    using one = new SqliteNode(`CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a) ${options}`);
    one.write("INSERT INTO t VALUES ('x', 1)");
    const long = "hex(zeroblob(40000))";
    for (const statement of [`INSERT INTO t VALUES (${long}, 2)`, `UPDATE t SET k = ${long}`]) {
      expect(one.tryWrite(statement)).toEqual({
        kind: "refused",
        why: "table t: a primary key is over 64 KB",
      });
      expect([one.db.autocommit, one.table("t")]).toEqual([true, [["x", 1]]]);
    }
    expect(one.write("UPDATE t SET a = 3").changeset?.rows.length).toBe(1);
    expect(one.strays()).toEqual([]);
  },
);
