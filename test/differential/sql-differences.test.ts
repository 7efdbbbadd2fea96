/**
 * Where Patina and cr-sqlite differ on purpose: the same SQL on two sites of each, which then hear of each
 * other. ARCHITECTURE.md ("Coming from Corrosion") lists them.
 *
 * (Where they are fed the same decisions they have the same rows: `differential.test.ts`.)
 *
 * @module
 */

import { expect, test } from "bun:test";
import { type CrsqlitePeer, openCrsqliteWasm } from "../../bench/crsqlite.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { SqliteNode } from "../generators/sqlite-store.ts";

const schema = `
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT);
  CREATE TABLE ranges (k TEXT PRIMARY KEY NOT NULL, lo INTEGER, hi INTEGER, CHECK (lo <= hi));
`;
const rowsSql = "SELECT k || ' ' || coalesce(a, '-') || ' ' || coalesce(b, '-') FROM t ORDER BY k";

/** Two sites. A transaction is a list of statements; transactions are given in the order in which they happen. */
class Sites implements Disposable {
  readonly crsqlite: readonly [CrsqlitePeer, CrsqlitePeer];
  readonly patina: readonly [SqliteNode, SqliteNode];
  #nowMs = 100_000;

  static async open(): Promise<Sites> {
    return new Sites([await openCrsqliteWasm(), await openCrsqliteWasm()]);
  }

  private constructor(crsqlite: readonly [CrsqlitePeer, CrsqlitePeer]) {
    this.crsqlite = crsqlite;
    for (const peer of crsqlite) {
      // As Corrosion has it.
      peer.exec("PRAGMA recursive_triggers = ON");
      peer.exec(schema);
      for (const table of ["t", "ranges"]) peer.exec(`SELECT crsql_as_crr('${table}')`);
    }
    const rules = { t: { urgent: "a = 'down'" } };
    this.patina = [0, 1].map((site) => new SqliteNode(schema, { site, rules })) as never;
  }

  write(site: 0 | 1, ...statements: string[]): void {
    for (const sql of ["BEGIN", ...statements, "COMMIT"]) this.crsqlite[site].exec(sql);
    const node = this.patina[site];
    this.#nowMs += 1000;
    node.nowMs = this.#nowMs;
    node.write(...statements);
  }

  /** Both hear of all that the other has. */
  exchange(): void {
    const known = this.crsqlite.map((peer) => peer.texts(changesSql));
    for (const [to, peer] of this.crsqlite.entries()) {
      for (const sql of known[1 - to] as string[]) peer.exec(sql);
    }
    const states = this.patina.map(({ store }) =>
      store.read(store.scan(undefined, 1000).rows).filter((state) => state !== undefined),
    );
    for (const [to, { store }] of this.patina.entries()) store.merge(states[1 - to] as RowState[]);
  }

  /** What both sites of each show. */
  rows(sql = rowsSql): { readonly crsqlite: string[]; readonly patina: string[] } {
    const crsqlite = this.crsqlite.map((peer) => peer.texts(sql));
    const patina = this.patina.map(({ db }) => db.all(sql).map(([text]) => String(text)));
    expect(crsqlite[1]).toEqual(crsqlite[0] as string[]);
    expect(patina[1]).toEqual(patina[0] as string[]);
    return { crsqlite: crsqlite[0] as string[], patina: patina[0] as string[] };
  }

  [Symbol.dispose](): void {
    for (const peer of this.crsqlite) peer[Symbol.dispose]();
    for (const node of this.patina) node[Symbol.dispose]();
  }
}

/** Each row of `crsql_changes` as a statement that inserts it. */
const fields = ['"table"', "pk", "cid", "val", "col_version", "db_version", "site_id", "cl", "seq"];
const changesSql = `SELECT 'INSERT INTO crsql_changes (${fields.join(", ")}) VALUES (' || ${fields
  .map((field) =>
    field === "site_id" ? "quote(coalesce(site_id, crsql_site_id()))" : `quote(${field})`,
  )
  .join(" || ',' || ")} || ')' FROM crsql_changes`;

test("fifty edits in a cut-off region lose to one later edit elsewhere", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'up', NULL)");
  sites.exchange();
  for (let n = 0; n < 25; n++) {
    sites.write(0, "UPDATE t SET a = 'down'");
    sites.write(0, "UPDATE t SET a = 'up'");
  }
  sites.write(1, "UPDATE t SET a = 'down'");
  sites.exchange();
  // cr-sqlite counts edits of a cell; time decides here.
  expect(sites.rows()).toEqual({ crsqlite: ["i-1 up -"], patina: ["i-1 down -"] });
});

test("a down that is said again wins over an up that was not heard of", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'down', NULL)");
  sites.exchange();
  sites.write(1, "UPDATE t SET a = 'up'");
  sites.write(0, "UPDATE t SET a = 'down'");
  sites.exchange();
  // To cr-sqlite the second down is no change.
  expect(sites.rows()).toEqual({ crsqlite: ["i-1 up -"], patina: ["i-1 down -"] });
});

test("leaving and coming back three times loses to a later delete elsewhere", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'up', NULL)");
  sites.exchange();
  for (let n = 0; n < 3; n++) {
    sites.write(0, "DELETE FROM t");
    sites.write(0, "INSERT INTO t VALUES ('i-1', 'up', NULL)");
  }
  sites.write(1, "DELETE FROM t");
  sites.exchange();
  // cr-sqlite takes the longer causal length.
  expect(sites.rows()).toEqual({ crsqlite: ["i-1 up -"], patina: [] });
});

test("a later INSERT of a key that others have edited wins", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'old', NULL)");
  sites.write(0, "UPDATE t SET a = 'edited'");
  sites.write(1, "INSERT INTO t VALUES ('i-1', 'new', NULL)");
  sites.exchange();
  // In cr-sqlite the second version of a cell beats any first one.
  expect(sites.rows()).toEqual({ crsqlite: ["i-1 edited -"], patina: ["i-1 new -"] });
});

test("a REPLACE that hasn't seen a delete doesn't bring the row back", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'x', 'y')");
  sites.exchange();
  sites.write(0, "DELETE FROM t");
  sites.write(1, "REPLACE INTO t VALUES ('i-1', 'later', 'y')");
  sites.exchange();
  // In cr-sqlite it is a new life; here an edit of a row that was there, and is deleted.
  expect(sites.rows()).toEqual({ crsqlite: ["i-1 later y"], patina: [] });
});

test.each([
  ["REPLACE", ["REPLACE INTO t VALUES ('i-1', 'a', 'B')"]],
  ["DELETE and INSERT in one commit", ["DELETE FROM t", "INSERT INTO t VALUES ('i-1', 'a', 'B')"]],
])("%s edits what differs, and leaves what others edit meanwhile", async (_what, statements) => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'a', 'b')");
  sites.exchange();
  sites.write(0, ...statements);
  sites.write(1, "UPDATE t SET a = 'A'");
  sites.exchange();
  // A new life in cr-sqlite, before which everything else is nothing.
  expect(sites.rows()).toEqual({ crsqlite: ["i-1 a B"], patina: ["i-1 A B"] });
});

test("a row that comes and goes in one commit leaves no trace", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO t VALUES ('i-1', 'a', 'b')", "DELETE FROM t");
  // A tombstone for ever, in cr-sqlite.
  expect(sites.crsqlite[0].texts("SELECT cid || ' ' || cl FROM crsql_changes")).toEqual(["-1 2"]);
  expect(sites.patina[0].store.scan(undefined, 10).rows).toEqual([]);
});

test("a merge that breaks a CHECK is shown as it is", async () => {
  using sites = await Sites.open();
  sites.write(0, "INSERT INTO ranges VALUES ('r', 0, 10)");
  sites.exchange();
  sites.write(0, "UPDATE ranges SET lo = 8");
  sites.write(1, "UPDATE ranges SET hi = 5");
  // cr-sqlite refuses the change, on both sides, which then differ; a merge here never fails.
  expect(() => sites.exchange()).toThrow(/constraint failed/);
  const [one, other] = sites.patina;
  const state = one.store.read(one.store.scan(undefined, 10).rows);
  other.store.merge(state.filter((row) => row !== undefined));
  expect(other.table("ranges")).toEqual([["r", 8, 5]]);
});

test("a column that this schema lacks doesn't hold up the others of its row", async () => {
  using sites = await Sites.open();
  using newer = new SqliteNode(schema.replace("b TEXT", "b TEXT, c TEXT"), { site: 2 });
  newer.write("INSERT INTO t VALUES ('i-1', 'a', 'b', 'c')");
  const [peer] = sites.crsqlite;
  const record = (cid: string) =>
    `INSERT INTO crsql_changes (${fields.join(", ")}) VALUES ('t', x'010b03692d31', '${cid}', 'v', 1, 1, x'00', 1, 0)`;
  peer.exec(record("a"));
  expect(() => peer.exec(record("c"))).toThrow();
  const [node] = sites.patina;
  node.store.merge(
    newer.store.read(newer.store.scan(undefined, 10).rows).filter((row) => row !== undefined),
  );
  expect(node.table("t")).toEqual([["i-1", "a", "b"]]);
  expect(node.db.all("SELECT tbl, col, cells FROM patina_unshown")).toEqual([["t", "c", 1]]);
});
