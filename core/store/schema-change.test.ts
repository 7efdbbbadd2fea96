import { expect, test } from "bun:test";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { decodeChangeset, encodeChangeset } from "../change/changeset.ts";
import type { StoreReply } from "../node/border.ts";
import { Replica } from "../replica/replica.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { Adoption } from "./local/adoption.ts";
import type { SchemaChanged } from "./store-outcomes.ts";

const digester = createDigester();
const one = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)";
const nMore = (n: number) =>
  `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${n})`;

type Changed = SchemaChanged & { kind: "changed" };

function change(node: SqliteNode, sql: string, rules = {}): Changed {
  const changed = node.store.changeSchema(schemaOf(sql, rules));
  if (changed.kind === "refused")
    throw new Error(changed.problems.map(({ why }) => why).join("\n"));
  return changed;
}

function replicaOf(node: SqliteNode): Replica {
  const { store, clock } = node;
  const replica = new Replica({ store, clock, digester, schema: store.schema.shapes });
  replica.start(node.nowMs, []);
  while (replica.status().starting) {
    node.nowMs = Math.max(node.nowMs, replica.pollTimeout());
    replica.tick(node.nowMs, []);
  }
  return replica;
}

/** Everything held, whatever shows it. */
function heldRows(node: SqliteNode): Map<string, RowState> {
  const { rows } = node.store.scan(undefined, 1_000_000);
  const states = node.store.read(rows);
  return new Map(rows.map(({ id }, i) => [id, states[i] as RowState]));
}

function adoptAll(node: SqliteNode): { rows: number; changesets: Uint8Array[] }[] {
  const commits: { rows: number; changesets: Uint8Array[] }[] = [];
  for (const name of node.store.adopting) {
    const table = node.store.schema.tables.get(name) as never;
    const adoption = new Adoption(node.db, node.store, table);
    for (;;) {
      node.nowMs += 10;
      const commit = adoption.slice(node.nowMs);
      if (commit === undefined) break;
      if (commit.kind === "refused") throw new Error(commit.why);
      if (commit.changeset === undefined) continue;
      const { rows } = commit.changeset;
      commits.push({ rows: rows.length, changesets: [encodeChangeset(commit.changeset)] });
    }
  }
  return commits;
}

test("adding a column changes no clock and no digest, and sends nothing but the hello", () => {
  using node = new SqliteNode(one);
  node.write(`INSERT INTO t SELECT 'r' || i, i FROM (${nMore(5000)} SELECT i FROM n)`);
  node.write("UPDATE t SET a = 0 WHERE a % 7 = 0", "DELETE FROM t WHERE a % 11 = 1");
  const replica = replicaOf(node);
  const clocks = () => node.db.all("SELECT id, clock, held FROM patina_clock_t ORDER BY id");
  const before = clocks();
  const { rows, roots } = replica.status();
  const begunMs = performance.now();
  const changed = change(
    node,
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b TEXT DEFAULT 'new')`,
  );
  const replies: StoreReply[] = [];
  replica.changeSchema(node.store.schema.shapes, changed.adoptedRows > 0, node.nowMs, replies);
  console.log(`a column for 5,000 rows: ${(performance.now() - begunMs).toFixed(1)} ms`);
  expect(changed).toMatchObject({ adoptedRows: 0, surfacedRows: 0, grown: ["t"] });
  expect(clocks()).toEqual(before);
  // That the index is built is told after what it holds.
  expect(replies.map(({ kind }) => kind)).toEqual(["slot", "identity"]);
  expect(replica.status()).toMatchObject({ rows, roots, starting: false });
  expect(node.db.all("SELECT DISTINCT b FROM t")).toEqual([["new"]]);
  // From now on it is a column as any other, also for what was compiled before.
  const { changeset } = node.write("UPDATE t SET b = 'x' WHERE k = 'r2'");
  expect(changeset?.rows[0]?.cells.map(({ column }) => column)).toEqual(["a", "b"]);
}, 120_000);

test("a refused change leaves everything as it was, and says file, line and reason", () => {
  using node = new SqliteNode(`${one}; CREATE INDEX i ON t (a)`);
  node.write("INSERT INTO t VALUES ('x', 1)");
  const schema = node.db.all("SELECT sql FROM sqlite_schema ORDER BY 1");
  const wanted = schemaOf(
    "CREATE TABLE u (k INTEGER PRIMARY KEY);\nCREATE TABLE t (k TEXT PRIMARY KEY NOT NULL,\n a TEXT, b)",
  );
  expect(node.store.changeSchema(wanted)).toEqual({
    kind: "refused",
    problems: [
      {
        file: "test.sql",
        line: 2,
        why: "table t: column a can't be changed: the database has a, the file a TEXT",
      },
    ],
  });
  expect(node.store.planSchema(wanted)).toMatchObject({ kind: "refused" });
  expect(node.db.all("SELECT sql FROM sqlite_schema ORDER BY 1")).toEqual(schema);
  expect(node.write("UPDATE t SET a = 2").changeset?.rows.length).toBe(1);
  // A dry run tells and does nothing.
  const grown = schemaOf("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)");
  expect(node.store.planSchema(grown)).toMatchObject({
    kind: "plan",
    statements: ['DROP INDEX "i"', 'ALTER TABLE "t" ADD COLUMN b'],
    grown: ["t"],
  });
  expect(node.db.all("SELECT sql FROM sqlite_schema ORDER BY 1")).toEqual(schema);
});

test("no statement is left behind by a change of schema, be it done or failed", () => {
  using node = new SqliteNode(one);
  const { db } = node;
  const open = new Set<unknown>();
  const [prepare, all] = [db.prepare.bind(db), db.all.bind(db)];
  db.prepare = (...args) => {
    const statement = prepare(...args);
    const finalize = statement.finalize.bind(statement);
    open.add(statement);
    statement.finalize = () => {
      open.delete(statement);
      finalize();
    };
    return statement;
  };
  const two = `${one}; CREATE TABLE u (k TEXT PRIMARY KEY NOT NULL)`;
  const fail = () => {
    db.all = (sql, ...values) => {
      if (sql.includes("FROM patina_absent WHERE tbl = ?")) throw new Error("the disk");
      return all(sql, ...values);
    };
    expect(() => change(node, two)).toThrow("the disk");
    db.all = all;
  };
  const use = (i: number) => {
    node.write(`REPLACE INTO t VALUES ('x', ${i})`, "DELETE FROM t WHERE k = 'y'");
    node.store.merge(node.store.read(node.store.scan(undefined, 10).rows) as RowState[]);
  };
  const counts = [0, 1, 2, 3].map((i) => {
    change(node, one);
    use(i);
    fail();
    use(i + 10);
    return open.size;
  });
  expect(new Set(counts.slice(1)).size).toBe(1);
  expect(node.strays()).toEqual([]);
});

// What a failing disk breaks off is broken off again where it has to read for the way back.
test("a change that a disk breaks off, which fails for a while, leaves a store that works", () => {
  using node = new SqliteNode(one);
  node.write("INSERT INTO t VALUES ('x', 1), ('y', 2)");
  node.write("DELETE FROM t WHERE k = 'y'");
  const { db } = node;
  const all = db.all.bind(db);
  let isFailing = false;
  db.all = (sql, ...values) => {
    isFailing ||= sql.includes("FROM patina_absent WHERE tbl = ?");
    if (isFailing) throw new Error("the disk");
    return all(sql, ...values);
  };
  const two = `${one}; CREATE TABLE u (k TEXT PRIMARY KEY NOT NULL)`;
  expect(() => change(node, two)).toThrow("the disk");
  db.all = all;
  expect(heldRows(node).size).toBe(2);
  expect(node.write("UPDATE t SET a = 3").changeset?.rows.length).toBe(1);
  node.store.merge([...heldRows(node).values()]);
  expect(node.table("t")).toEqual([["x", 3]]);
  change(node, two);
  expect(node.strays()).toEqual([]);
});

// Nothing could bring it back: what was held of its key can't be read, and is told to nobody.
test("a row whose key has clocks that are damaged is taken in with its table", () => {
  using node = new SqliteNode(one, { rules: { t: { replicated: false } } });
  const stamp = { ms: 9000, count: 0, site: siteOf(3) };
  const key = encodeKey(["x"]) as Uint8Array;
  node.store.merge([
    { table: "t", key, clock: { ...stamp, cl: 1 }, cells: [{ column: "a", stamp, value: 1 }] },
  ]);
  node.db.exec("UPDATE patina_absent SET clock = x'00'; INSERT INTO t VALUES ('x', 2)");
  expect(change(node, one)).toMatchObject({ adoptedRows: 1 });
  expect([node.table("t"), node.strays()]).toEqual([[["x", 2]], []]);
});

test("a change of schema that fails has no table taken in later", () => {
  using node = new SqliteNode(one, { rules: { t: { replicated: false } } });
  const { db, store } = node;
  db.exec(`INSERT INTO t SELECT 'r' || i, i FROM (${nMore(10_001)} SELECT i FROM n)`);
  const all = db.all.bind(db);
  db.all = (sql, ...values) => {
    if (store.adopting.size > 0) throw new Error("the disk");
    return all(sql, ...values);
  };
  expect(() => change(node, one)).toThrow("the disk");
  db.all = all;
  expect(store.adopting).toEqual(new Set());
  change(node, one);
  expect(store.adopting).toEqual(new Set(["t"]));
});

test("a change of rules alone writes nothing, so that it can be made on a full disk", () => {
  using node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a)");
  node.write("INSERT INTO t VALUES ('x', 'up')");
  let isFull = true;
  node.store.holdBack(() => {
    if (isFull) throw new Error("the disk is full");
  });
  change(node, one, { t: { urgent: "a IS NOT 'up'" } });
  expect(() => change(node, `${one}; CREATE INDEX i ON t (a)`)).toThrow("the disk is full");
  isFull = false;
  expect(node.write("UPDATE t SET a = 'down'").changeset?.lane).toBe(0);
});

test("held rows and cells are shown when the running store gets their table and column", () => {
  using node = new SqliteNode(one);
  const stamp = { ms: 5000, count: 0, site: siteOf(3) };
  const row = (table: string, key: string, columns: Record<string, number>): RowState => ({
    ...{ table, key: encodeKey([key]) as Uint8Array, clock: { ...stamp, cl: 1 } },
    cells: Object.entries(columns).map(([column, value]) => ({ column, stamp, value })),
  });
  node.store.merge([row("t", "x", { a: 1, b: 2 }), row("u", "y", { v: 3 })]);
  const replica = replicaOf(node);
  const [before, { roots }] = [heldRows(node), replica.status()];
  const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b); CREATE TABLE u (k TEXT PRIMARY KEY NOT NULL, v)`;
  const changed = change(node, sql);
  expect(changed).toMatchObject({ surfacedRows: 2, adoptedRows: 0 });
  expect([node.table("t"), node.table("u")]).toEqual([[["x", 1, 2]], [["y", 3]]]);
  expect(node.store.unshown()).toEqual([]);
  expect(heldRows(node)).toEqual(before);
  replica.changeSchema(node.store.schema.shapes, false, node.nowMs, []);
  expect(replica.status().roots).toEqual(roots);
  expect(node.strays()).toEqual([]);
});

const filled = `${one}; CREATE TABLE w (k1 INTEGER NOT NULL, k2 TEXT NOT NULL, v INTEGER CHECK (v <> 13), PRIMARY KEY (k1, k2)) WITHOUT ROWID`;
const local = { t: { replicated: false }, w: { replicated: false } };

function fill(node: SqliteNode, rows: number): void {
  node.db.exec(`INSERT INTO t SELECT 'r' || i, i FROM (${nMore(rows)} SELECT i FROM n)`);
  node.db.exec(`INSERT INTO w SELECT i % 5, 'w' || i, 0 FROM (${nMore(rows)} SELECT i FROM n)`);
}

test("rows of a local table that becomes replicated are taken in, in many commits, also over a restart", () => {
  const vfs = new MemoryVfs();
  const changesets: Uint8Array[] = [];
  {
    using node = new SqliteNode(filled, { vfs, rules: local });
    fill(node, 12_000);
    const changed = change(node, filled);
    expect(changed).toMatchObject({ adoptedRows: 0 });
    expect([...node.store.adopting]).toEqual(["t", "w"]);
    // Until then nobody hears of them.
    expect(heldRows(node).size).toBe(0);
    // A few slices, and then the process dies.
    const adoption = new Adoption(node.db, node.store, node.store.schema.tables.get("t") as never);
    for (let i = 0; i < 3; i++) {
      const commit = adoption.slice(node.nowMs);
      if (commit?.kind !== "committed" || commit.changeset === undefined)
        throw new Error("committed");
      changesets.push(encodeChangeset(commit.changeset));
    }
    expect(adoption.progress).toEqual({ table: "t", rows: 3000, of: 12_000, skipped: 0 });
  }
  using node = new SqliteNode(filled, { vfs, nowMs: 50_000 });
  expect([...node.store.adopting]).toEqual(["t", "w"]);
  expect(node.report).toMatchObject({ adoptedRows: 0, rowsWithoutClocks: 0 });
  // One that a client changes meanwhile, one that it deletes.
  changesets.push(
    encodeChangeset(node.write("UPDATE t SET a = -1 WHERE k = 'r9000'").changeset as never),
  );
  // A peer may have taken in a copy of that one.
  changesets.push(
    encodeChangeset(node.write("DELETE FROM t WHERE k = 'r9001'").changeset as never),
  );
  const commits = adoptAll(node);
  expect(Math.max(...commits.map(({ rows }) => rows))).toBeLessThanOrEqual(1000);
  expect(commits.reduce((sum, { rows }) => sum + rows, 0)).toBe(24_000 - 3000 - 2);
  expect(node.store.adopting.size).toBe(0);
  expect(node.strays()).toEqual([]);
  // What was sent is what is held.
  using peer = new SqliteNode(filled, { site: 5 });
  for (const bytes of [...changesets, ...commits.flatMap((commit) => commit.changesets)]) {
    const decoded = decodeChangeset(bytes);
    if (decoded.kind === "malformed") throw new Error(decoded.why);
    peer.store.merge(decoded.changeset.rows);
  }
  expect(heldRows(peer)).toEqual(heldRows(node));
  expect(peer.table("t")).toEqual(node.table("t"));
  using again = new SqliteNode(filled, { vfs });
  expect(again.store.adopting.size).toBe(0);
}, 120_000);

test("what peers say of a key is later than the row to be taken in, whether it comes before or after", () => {
  const stamp = { ms: 9000, count: 0, site: siteOf(3) };
  const later = { ...stamp, ms: 900_000 };
  const latest = { ...stamp, ms: 2_000_000 };
  const peers = (at: typeof stamp, key: string): RowState => ({
    ...{ table: "t", key: encodeKey([key]) as Uint8Array, clock: { ...at, cl: 1 } },
    cells: [{ column: "a", stamp: at, value: "peer's" }],
  });
  using node = new SqliteNode(filled, { rules: local });
  fill(node, 11_000);
  // Held since before the table was replicated here.
  const gone: RowState = { ...peers(stamp, "r3"), clock: { ...stamp, cl: 2 }, cells: [] };
  node.store.merge([peers(stamp, "r1"), peers(later, "r2"), gone, peers(stamp, "not here")]);
  const changed = change(node, filled);
  expect(changed).toMatchObject({ adoptedRows: 0, surfacedRows: 3 });
  // And while it is under way.
  const merged = node.store.merge([peers(stamp, "r10001"), peers(latest, "r10002")]);
  expect(merged.map(({ before, changed: isChanged }) => [before === undefined, isChanged])).toEqual(
    [
      [true, true],
      [false, true],
      [true, true],
      [false, true],
    ],
  );
  adoptAll(node);
  const value = (key: string) => node.db.all("SELECT a FROM t WHERE k = ?", key)[0]?.[0];
  expect(["r1", "r2", "r3", "not here", "r10001", "r10002", "r10003"].map(value)).toEqual([
    ...["peer's", "peer's", undefined, "peer's", "peer's", "peer's"],
    10_003,
  ]);
  expect(node.db.all("SELECT count(*) FROM patina_absent")).toEqual([[1]]);
  expect(node.strays()).toEqual([]);
}, 120_000);

// Both had a copy of the table from before; one of them makes it replicated later, when much has been said.
test.each([20, 11_000])(
  "a copy that is taken in late brings no old up back, nor a deleted row; %d rows",
  (rows) => {
    const sql = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, weight INTEGER)";
    const urgent = { t: { urgent: "a IS NOT 'up'" } };
    const [early, late] = [0, 1].map((site) => {
      const node = new SqliteNode(sql, { site, rules: { t: { replicated: false } } });
      node.db.exec(`INSERT INTO t SELECT 'r' || i, 'up', 0 FROM (${nMore(rows)} SELECT i FROM n)`);
      return node;
    }) as [SqliteNode, SqliteNode];
    change(early, sql, urgent);
    adoptAll(early);
    early.write("UPDATE t SET a = 'down' WHERE k IN ('r1', 'r2')", "DELETE FROM t WHERE k = 'r3'");
    // It hears of one before, and of the others after it has begun.
    const said = (key: string) =>
      early.store.read([{ table: "t", key: encodeKey([key]) as Uint8Array }]) as RowState[];
    late.nowMs = early.nowMs + 60_000;
    late.store.merge(said("r1"));
    change(late, sql, urgent);
    // A client says something of rows that may not have been taken in yet, and takes one away.
    const weights = late.write("UPDATE t SET weight = 1 WHERE k IN ('r2', 'r3', 'r5')");
    const deleted = late.write("DELETE FROM t WHERE k = 'r4'");
    late.store.merge([...said("r2"), ...said("r3")]);
    adoptAll(late);
    for (const { changeset } of [weights, deleted]) early.store.merge(changeset?.rows ?? []);
    const all = (node: SqliteNode) => [...heldRows(node).values()];
    early.store.merge(all(late));
    late.store.merge(all(early));
    for (const node of [early, late]) {
      expect(node.db.all("SELECT * FROM t WHERE k < 'r6' AND length(k) = 2 ORDER BY k")).toEqual([
        ["r1", "down", 0],
        ["r2", "down", 1],
        ["r5", "up", 1],
      ]);
      expect(node.strays()).toEqual([]);
    }
    expect(heldRows(late)).toEqual(heldRows(early));
    for (const node of [early, late]) node[Symbol.dispose]();
  },
  120_000,
);

// Its copies elsewhere are as old as its own, and those of a larger site would win in what the client has said again.
test("a row that is replaced before it was taken in is said as a whole, as a new one is", () => {
  const sql = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, weight INTEGER)";
  using node = new SqliteNode(sql, { rules: { t: { replicated: false } } });
  node.db.exec(`INSERT INTO t SELECT 'r' || i, 'down', 0 FROM (${nMore(11_000)} SELECT i FROM n)`);
  change(node, sql);
  const { changeset } = node.write("REPLACE INTO t VALUES ('r7', 'down', 1)");
  const [row] = changeset?.rows ?? [];
  expect([row?.clock.ms, ...(row?.cells ?? []).map(({ stamp }) => stamp.ms)]).toEqual(
    Array(3).fill(node.nowMs),
  );
});

test("a row that a merge has left breaking a CHECK doesn't keep the others from being taken in", () => {
  const sql = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a INTEGER CHECK (a < 100000))";
  using node = new SqliteNode(sql, { rules: { t: local.t } });
  node.db.exec(`INSERT INTO t SELECT 'r' || i, i FROM (${nMore(11_000)} SELECT i FROM n)`);
  change(node, sql);
  const stamp = { ms: 9000, count: 0, site: siteOf(3) };
  const ofPeer = (key: string): RowState => ({
    ...{ table: "t", key: encodeKey([key]) as Uint8Array, clock: { ...stamp, cl: 1 } },
    cells: [{ column: "a", stamp, value: 100_000 }],
  });
  node.store.merge([ofPeer("r2000"), ofPeer("new")]);
  adoptAll(node);
  expect(node.store.adopting.size).toBe(0);
  expect(node.db.all("SELECT count(*) FROM patina_clock_t")).toEqual([[11_001]]);
  expect(node.strays()).toEqual([]);
  // Clients are held to it as ever.
  expect(() => node.write("UPDATE t SET a = 100000 WHERE k = 'r1'")).toThrow("CHECK");
}, 120_000);

// Said to others, it would end each live query that shows it, on all hosts.
test.each([1, 10_001])(
  "TEXT that isn't UTF-8 isn't taken in with its table, of %d rows more",
  (rows) => {
    using node = new SqliteNode(one, { rules: { t: local.t } });
    node.db.exec(`INSERT INTO t SELECT 'r' || i, i FROM (${nMore(rows)} SELECT i FROM n)`);
    node.db.exec("INSERT INTO t VALUES ('value', CAST(x'ff' AS TEXT)), (CAST(x'fe' AS TEXT), 1)");
    change(node, one);
    adoptAll(node);
    expect(heldRows(node).size).toBe(rows);
    expect(node.db.all("SELECT count(*) FROM t")).toEqual([[rows + 2]]);
    // Written again it is one row as any other.
    node.write("UPDATE t SET a = 'text' WHERE k = 'value'");
    expect(heldRows(node).size).toBe(rows + 1);
  },
  120_000,
);

test("a key column may be called what reads as two", () => {
  const sql = 'CREATE TABLE t ("a, b" TEXT NOT NULL, v, PRIMARY KEY ("a, b")) WITHOUT ROWID';
  using node = new SqliteNode(sql, { rules: { t: local.t } });
  node.db.exec(`INSERT INTO t SELECT 'r' || i, i FROM (${nMore(11_000)} SELECT i FROM n)`);
  change(node, sql);
  adoptAll(node);
  expect(node.db.all("SELECT count(*) FROM patina_clock_t")).toEqual([[11_000]]);
}, 120_000);

test("a large table is taken in after the start, a small one at the start", () => {
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode(filled, { vfs, rules: local });
    fill(node, 20);
    node.db.exec(`INSERT INTO t SELECT 's' || i, i FROM (${nMore(10_001)} SELECT i FROM n)`);
  }
  using node = new SqliteNode(filled, { vfs });
  expect([...node.store.adopting]).toEqual(["t"]);
  expect(node.report).toMatchObject({ adoptedRows: 20, rowsWithoutClocks: 0 });
});

test("a slice of rows to be taken in that can't be written is rolled back, and done by the next", () => {
  using node = new SqliteNode(one);
  node.write("INSERT INTO t VALUES ('x', 1)");
  const calls: string[] = [];
  let isFull = true;
  const store = {
    begin: () => {
      calls.push("begin");
      node.db.pragma("query_only", isFull ? 1 : 0);
    },
    commit: () => {
      calls.push("commit");
      return { kind: "committed" as const };
    },
    rollback: () => void calls.push("rollback"),
    adopted: (name: string) => void calls.push(name),
  };
  const table = node.store.schema.tables.get("t") as never;
  const adoption = new Adoption(node.db, store as never, table);
  expect(() => adoption.slice(node.nowMs)).toThrow("readonly");
  isFull = false;
  expect(adoption.slice(node.nowMs)).toMatchObject({ kind: "committed" });
  expect(adoption.slice(node.nowMs)).toBeUndefined();
  expect(calls).toEqual(["begin", "rollback", "begin", "commit", "t"]);
  expect(adoption.progress).toEqual({ table: "t", rows: 1, of: 1, skipped: 0 });
});
