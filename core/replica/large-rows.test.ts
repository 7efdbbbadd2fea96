import { expect, test } from "bun:test";
import { SqliteNode } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import type { PeerId, StoreReply } from "../node/border.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { Replica } from "./replica.ts";

const digester = createDigester();
const peer = "ab".repeat(32) as PeerId;
const startMs = 1_764_000_000_000;

class Host implements Disposable {
  readonly node: SqliteNode;
  readonly replica: Replica;
  readonly replies: StoreReply[] = [];
  nowMs = startMs;

  constructor(schema: string, site: number) {
    this.node = new SqliteNode(schema, { site, digester, nowMs: startMs, lengthMax: 4096 });
    const { store, clock } = this.node;
    this.replica = new Replica({ store, clock, digester, schema: [] });
    this.replica.start(this.nowMs, this.replies);
    this.pass(1000);
  }

  /** @returns what is pushed to the others. */
  write(sql: string): Uint8Array {
    this.node.nowMs = this.nowMs;
    const commit = this.node.write(sql);
    this.replica.committed(commit, this.nowMs, this.replies);
    return commit.encoded as Uint8Array;
  }

  apply(what: "changesets" | "rows", bodies: readonly Uint8Array[]): void {
    this.replica.handle(
      { kind: "apply", ticket: 1, lane: 1, peer, what, bodies },
      this.nowMs,
      this.replies,
    );
    this.pass(10);
  }

  pass(ms: number): void {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs; this.nowMs += 10) {
      if (this.replica.pollTimeout() <= this.nowMs) this.replica.tick(this.nowMs, this.replies);
    }
  }

  get rows(): (RowState | undefined)[] {
    const { store } = this.node;
    return store.read(store.scan(undefined, 100).rows).toSorted(byKey);
  }

  get roots() {
    return this.replica.status().roots;
  }

  [Symbol.dispose](): void {
    this.node[Symbol.dispose]();
  }
}

function byKey(a: RowState | undefined, b: RowState | undefined): number {
  return String(a?.key) < String(b?.key) ? -1 : 1;
}

// In a fleet whose schema is being changed, and with clients that write what only some hosts can show.
test("hosts agree in rows and roots when one of them can't show all that others write", () => {
  const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, w INTEGER)";
  using a = new Host(schema, 0);
  using b = new Host(schema.replace("w INTEGER", "w INTEGER, g TEXT AS (a || a || a) STORED"), 1);
  const long = "x".repeat(1500);
  const others = "('y', 'y', 1), ('z', 'z', 1)";
  b.apply("changesets", [a.write(`INSERT INTO t VALUES ('x', '${long}', 1), ${others}`)]);
  expect(b.node.db.all("SELECT k, a, w, g FROM t ORDER BY k")).toEqual([
    ["x", null, 1, null],
    ["y", "y", 1, "yyy"],
    ["z", "z", 1, "zzz"],
  ]);
  // What b says of the row reaches a, and takes nothing from it.
  b.pass(10);
  a.pass(10);
  a.apply("changesets", [b.write("UPDATE t SET w = 2 WHERE k = 'x'")]);
  expect(a.node.db.all("SELECT a, w FROM t WHERE k = 'x'")).toEqual([[long, 2]]);
  // By repair, too.
  a.pass(10);
  a.write(`UPDATE t SET a = '${long}', w = 3 WHERE k <> 'z'`);
  b.pass(10);
  b.apply("rows", [encodeRowBlock(a.rows as RowState[])]);
  for (const host of [a, b]) host.pass(10_000);
  expect(b.rows).toEqual(a.rows);
  expect(a.roots[0]?.rows).toBe(3);
  expect(b.roots).toEqual(a.roots);
  expect(b.node.store.unshown()).toEqual([{ table: "t", column: "a", cells: 2 }]);
  expect(b.replica.status()).toMatchObject({
    refused: { malformed: 0, ahead: 0, storeFailed: 0 },
    storeError: undefined,
  });
});

// Else all looks well: other rows come, and the host is ready.
test("the status names a row that can't be held for as long as it comes", () => {
  using host = new Host("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, w INTEGER)", 0);
  const stamp = { ms: startMs, count: 0, site: siteOf(9) };
  const rows = ["x", "y"].map((k): RowState => {
    const cells = [{ column: "elsewhere", stamp, value: k === "x" ? "x".repeat(5000) : "y" }];
    return { table: "t", key: encodeKey([k]) as Uint8Array, clock: { ...stamp, cl: 1 }, cells };
  });
  const block = encodeRowBlock(rows);
  for (let round = 0; round < 3; round++) {
    host.apply("rows", [block]);
    host.apply("rows", [encodeRowBlock(rows.slice(1))]);
    host.pass(20_000);
    expect(host.rows).toEqual([rows[1]]);
    const why =
      "store: a row of table t is larger than can be held, and differs from the others': x";
    expect(host.replica.status().storeError).toBe(why);
  }
  // It was deleted, or what is too large in it.
  host.apply("rows", [encodeRowBlock([{ ...(rows[0] as RowState), cells: [] }])]);
  host.pass(61_000);
  expect(host.replica.status().storeError).toBeUndefined();
});
