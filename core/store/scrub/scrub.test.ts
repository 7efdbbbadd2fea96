import { expect, test } from "bun:test";
import { SqliteNode } from "../../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../../test/model/history.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { decodeRowBlock } from "../../change/row-block.ts";
import type { StoreReply, Ticket } from "../../node/border.ts";
import { Replica } from "../../replica/replica.ts";
import { Digester } from "../../row/digest.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";
import { RawText } from "../../row/value.ts";
import type { ScrubSlice } from "./scrub.ts";

const digester = createDigester();
const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b INTEGER)";

function replicaOf(node: SqliteNode): Replica {
  const { store, clock } = node;
  const replica = new Replica({ store, clock, digester, schema: store.schema.shapes });
  replica.start(node.nowMs, []);
  while (replica.status().starting) replica.tick(node.nowMs, []);
  return replica;
}

function pass(node: SqliteNode, replica?: Replica): ScrubSlice {
  const settledMs = replica?.settledMs ?? node.nowMs;
  const slice = node.store.scrub(undefined, 1000, settledMs, node.nowMs);
  expect(slice.next).toBeUndefined();
  replica?.scrubbed(slice.merged, node.nowMs, []);
  return slice;
}

/** Behind the store's back, as a `sqlite3` shell would. */
function edit(node: SqliteNode, sql: string): void {
  node.db.onPreupdate(null);
  node.db.exec(sql);
}

const stateOf = (node: SqliteNode, key: string): RowState | undefined =>
  node.store.read([{ table: "t", key: encodeKey([key]) as Uint8Array }])[0];

const fingerprintOf = (replica: Replica) => replica.status().roots.map((root) => root.fingerprint);

test("sound rows pass a scrub, whatever stands in them", () => {
  using node = new SqliteNode(
    "CREATE TABLE t (k PRIMARY KEY NOT NULL, a, b REAL, c TEXT NOT NULL DEFAULT 'd'); CREATE TABLE w (k BLOB PRIMARY KEY, v) WITHOUT ROWID".replace(
      "k PRIMARY",
      "k BLOB PRIMARY",
    ),
  );
  node.write(
    "INSERT INTO t VALUES (1, 1.0, 2, 'x'), ('two', x'00', -0.0, ''), (x'03', NULL, NULL, '\u{1F600}'), (4, 9007199254740993, 1e300, 'ü' || char(0))",
    "INSERT INTO w VALUES (1.0, 1), ('y', 'z')",
  );
  const stamp = { ms: 5000, count: 0, site: siteOf(3) };
  const held = (table: string, key: string, cl = 1): RowState => ({
    ...{ table, key: encodeKey([key]) as Uint8Array, clock: { ...stamp, cl } },
    cells:
      cl % 2 === 0
        ? []
        : [
            { column: "c", stamp, value: null },
            { column: "zz", stamp, value: 1 },
          ],
  });
  const raw = new RawText(new Uint8Array([0xff, 0]));
  const notText = { ...held("t", "raw"), cells: [{ column: "c", stamp, value: raw }] };
  node.store.merge([held("t", "q"), held("unknown", "r"), held("t", "gone", 2), notText]);
  expect(pass(node)).toMatchObject({ rows: 10, damaged: 0, merged: [] });
  expect(node.store.damaged()).toEqual([]);
});

test("values changed upward and downward are found, not sent, and healed by any peer's copy at the same stamp", () => {
  const vfs = new MemoryVfs();
  using peer = new SqliteNode(schema, { site: 1 });
  {
    using node = new SqliteNode(schema, { vfs });
    const { changeset } = node.write(
      "INSERT INTO t VALUES ('x', 'mmm', 1), ('y', 'mmm', 2), ('z', 'mmm', 3)",
    );
    peer.store.merge(changeset?.rows ?? []);
  }
  {
    using node = new SqliteNode(schema, { vfs });
    edit(node, "UPDATE t SET a = 'zzz' WHERE k = 'x'");
    edit(node, "UPDATE t SET a = 'aaa' WHERE k = 'y'");
  }
  using node = new SqliteNode(schema, { vfs, nowMs: 100_000 });
  const [replica, other] = [replicaOf(node), replicaOf(peer)];
  // Not even before a scrub has met them.
  expect(stateOf(node, "x")?.cells.map(({ column }) => column)).toEqual(["b"]);
  const replies: StoreReply[] = [];
  const ask = { kind: "range-rows", ticket: 1 as Ticket, level: 0, nodes: [0] } as const;
  replica.handle(ask, node.nowMs, replies);
  for (let i = 0; i < 20; i++) replica.tick(node.nowMs + 20 * i, replies);
  const sent = replies.flatMap((reply) => {
    const decoded = reply.kind === "rows" ? decodeRowBlock(reply.block) : undefined;
    return decoded?.kind === "rows" ? decoded.rows : [];
  });
  expect(sent.length).toBe(3);
  expect(peer.store.merge(sent).map(({ changed, conflict }) => changed || conflict)).toEqual([
    false,
    false,
    false,
  ]);

  // Until now both think that they are the same.
  for (const one of [replica, other]) one.tick(150_000, []);
  expect(fingerprintOf(replica)).toEqual(fingerprintOf(other));
  expect(pass(node, replica)).toMatchObject({ rows: 3, damaged: 2, postponed: 0 });
  expect(fingerprintOf(replica)).not.toEqual(fingerprintOf(other));
  expect(node.store.damaged().map(({ column }) => column)).toEqual(["a", "a"]);
  // Found once; what is there goes on being shown, and is still not sent.
  expect(pass(node, replica)).toMatchObject({ damaged: 0 });
  expect(node.table("t")).toEqual([
    ["x", "zzz", 1],
    ["y", "aaa", 2],
    ["z", "mmm", 3],
  ]);
  expect(stateOf(node, "y")?.cells.length).toBe(1);

  // Repair brings the peer's copies.
  const copies = ["x", "y", "z"].map((key) => stateOf(peer, key) as RowState);
  const merged = node.store.merge(copies);
  expect(merged.map(({ changed, conflict }) => [changed, conflict])).toEqual([
    [true, false],
    [true, false],
    [false, false],
  ]);
  replica.scrubbed(merged, node.nowMs, []);
  expect(node.table("t")).toEqual(peer.table("t"));
  expect(fingerprintOf(replica)).toEqual(fingerprintOf(other));
  expect(replica.status().rows).toBe(3);
  expect(node.store.damaged()).toEqual([]);
  expect(pass(node, replica)).toMatchObject({ damaged: 0 });
});

test("a damaged cell of a row that a client writes isn't told with it", () => {
  using node = new SqliteNode(schema);
  node.write("INSERT INTO t VALUES ('x', 'mmm', 1)");
  node.db.exec("UPDATE t SET a = 'zzz'");
  const { changeset } = node.write("UPDATE t SET b = 2");
  expect(changeset?.rows[0]?.cells.map(({ column, value }) => [column, value])).toEqual([["b", 2]]);
  // Written, it is a value as any other.
  const { changeset: again } = node.write("UPDATE t SET a = 'mine'");
  expect(again?.rows[0]?.cells.map(({ value }) => value)).toEqual(["mine", 2]);
  expect(pass(node)).toMatchObject({ damaged: 0 });
});

test("a damaged cell isn't streamed, the rest of its row and the rows beside it are", () => {
  using node = new SqliteNode(schema);
  node.write("INSERT INTO t VALUES ('x', 'mmm', 1), ('y', 'mmm', 2), ('z', 'mmm', 3)");
  edit(node, "UPDATE t SET a = 'zzz' WHERE k = 'y'");
  const replica = replicaOf(node);
  const replies: StoreReply[] = [];
  const question = { kind: "stream-rows", ticket: 1, level: 0, nodes: [0] } as const;
  replica.handle({ ...question, cursor: new Uint8Array(0) }, node.nowMs, replies);
  const [reply] = replies;
  const decoded = decodeRowBlock(reply?.kind === "streamed" ? reply.block : new Uint8Array(0));
  const rows = decoded.kind === "rows" ? decoded.rows : [];
  expect(rows.map(({ cells }) => cells.map(({ value }) => value))).toEqual([
    ["mmm", 1],
    [2],
    ["mmm", 3],
  ]);
});

test("where nobody has a copy it stays reported until somebody writes the cell, or the row goes", () => {
  using node = new SqliteNode(schema);
  node.write("INSERT INTO t VALUES ('x', 'mmm', 1), ('y', 'mmm', 1)");
  node.db.exec("UPDATE t SET a = a || '!'");
  node.nowMs = 50_000;
  expect(pass(node)).toMatchObject({ damaged: 2 });
  const found = { table: "t", column: "a", foundMs: 50_000 };
  expect(node.store.damaged()).toMatchObject([found, found]);
  node.write("UPDATE t SET a = 'new' WHERE k = 'x'");
  expect(node.store.damaged()).toMatchObject([found]);
  node.write("DELETE FROM t WHERE k = 'y'");
  expect(node.store.damaged()).toEqual([]);
  // Nor does the file name them any more.
  expect(node.db.all("SELECT count(*) FROM patina_damaged")).toEqual([[0]]);
});

test("damaged cells that no column shows lose their clock as well, wherever their row stands", () => {
  using node = new SqliteNode(schema);
  const stamp = (ms: number) => ({ ms, count: 0, site: siteOf(3) });
  const rowOf = (table: string, cl: number): RowState => ({
    ...{ table, key: encodeKey([table]) as Uint8Array, clock: { ...stamp(5000), cl } },
    cells: [{ column: "zz", stamp: stamp(6000), value: 1 }],
  });
  // In its table, in a table that this schema lacks, and a tombstone with a cell that was written after it.
  const dead = { ...rowOf("t", 2), key: encodeKey(["dead"]) as Uint8Array };
  const rows = [rowOf("t", 1), rowOf("unknown", 1), dead];
  node.store.merge(rows);
  const unshown = () =>
    node.db.all("SELECT tbl, col FROM patina_unshown WHERE cells > 0 ORDER BY tbl");
  const before = unshown();
  // Of a table that is lacking the rows are counted.
  expect(before).toEqual([
    ["t", "zz"],
    ["unknown", ""],
  ]);
  const written = node.db.all(
    "SELECT hex(held) FROM patina_clock_t UNION ALL SELECT hex(held) FROM patina_absent",
  );
  expect(written).toEqual([["010102"], ["010102"], ["010102"]]);
  for (const table of ["patina_clock_t", "patina_absent"]) {
    edit(node, `UPDATE ${table} SET held = x'010104'`);
  }
  expect(pass(node)).toMatchObject({ rows: 3, damaged: 3 });
  expect(unshown()).toEqual([["unknown", ""]]);
  expect(node.store.read(rows).map((row) => row?.cells)).toEqual([[], [], []]);
  expect(node.strays()).toEqual([]);
  // Of what is deleted there is nothing to mend.
  expect(node.store.damaged().map(({ table }) => table)).toEqual(["t", "unknown"]);
  expect(node.store.merge(rows).map(({ changed }) => changed)).toEqual([true, true, true]);
  expect(node.store.read(rows)).toEqual(rows);
  expect(unshown()).toEqual(before);
  expect(node.store.damaged()).toEqual([]);
  expect(pass(node)).toMatchObject({ rows: 3, damaged: 0 });
});

// README says that what no peer has is to be written again: that left no trace where the value was the one shown.
test("a value that is right as it is shown heals by being written again, also after a start, and others hear of it", () => {
  const vfs = new MemoryVfs();
  const tables = `${schema}; CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, a TEXT, b INTEGER) WITHOUT ROWID`;
  // As an agent does, it notes what statements name.
  const rules = { w: { urgent: "b > 9" } };
  const set = (node: SqliteNode, table: string, sql: string) =>
    node.write(`UPDATE ${table} SET ${sql}`).changeset?.rows[0]?.cells.map(({ value }) => value);
  {
    using node = new SqliteNode(tables, { vfs });
    for (const table of ["t", "w"]) {
      node.write(`INSERT INTO ${table} VALUES ('x', 'mmm', 1), ('y', 'mmm', 1)`);
    }
    edit(node, "UPDATE t SET a = 'zzz' WHERE k = 'x'; UPDATE w SET a = 'zzz' WHERE k = 'x'");
  }
  {
    using node = new SqliteNode(tables, { vfs, nowMs: 50_000, rules });
    expect(pass(node)).toMatchObject({ damaged: 2 });
    // Not by a write of something else, which says nothing of it.
    for (const table of ["t", "w"]) expect(set(node, table, "b = 2")).toEqual([2]);
    expect(node.store.damaged().length).toBe(2);
    // Nor before peers have had time to bring a sound one: who writes whole rows may have read this one here.
    expect(set(node, "t", "a = a WHERE k = 'x'")).toBeUndefined();
    node.nowMs += 60_000;
    expect(set(node, "t", "a = a WHERE k = 'x'")).toEqual(["zzz", 2]);
    expect(node.store.damaged().map(({ table }) => table)).toEqual(["w"]);
  }
  using node = new SqliteNode(tables, { vfs, nowMs: 200_000, rules });
  expect(set(node, "w", "a = 'zzz' WHERE k = 'x'")).toEqual(["zzz", 2]);
  expect(node.store.damaged()).toEqual([]);
  expect(pass(node)).toMatchObject({ damaged: 0 });
  // Sound cells of that column still leave no trace.
  for (const table of ["t", "w"]) expect(set(node, table, "a = a")).toBeUndefined();
});

test("in an urgent row, too, a damaged cell is right because it is said again only once peers have had their time", () => {
  using node = new SqliteNode(schema, { rules: { t: { urgent: "b > 9" } } });
  const stamped = (sql: string) => {
    const { changeset } = node.write(sql);
    const cells = changeset?.rows[0]?.cells.filter(({ stamp }) => stamp.ms === node.nowMs);
    return cells?.map(({ column }) => column);
  };
  node.write("INSERT INTO t VALUES ('x', 'mmm', 10)");
  // Outside of a transaction of the store's.
  node.db.exec("UPDATE t SET a = 'zzz'");
  node.nowMs += 1000;
  expect(pass(node)).toMatchObject({ damaged: 1 });
  // Of what the rule reads each that is named counts, and the damaged cell isn't among that.
  expect(stamped("UPDATE t SET a = a, b = b")).toEqual(["b"]);
  node.nowMs += 60_000;
  expect(stamped("UPDATE t SET a = a, b = b")).toEqual(["a", "b"]);
});

// The time of the first was kept: after a start a client that wrote back what it had read won over the peer's copy.
test("a cell that is damaged again, after it had healed and before anybody asked, gives peers their time anew", () => {
  const vfs = new MemoryVfs();
  const rules = { t: { urgent: "b > 9" } };
  {
    using node = new SqliteNode(schema, { vfs });
    node.write("INSERT INTO t VALUES ('x', 'mmm', 1)");
    const sound = stateOf(node, "x") as RowState;
    for (const nowMs of [50_000, 200_000]) {
      node.nowMs = nowMs;
      edit(node, "UPDATE t SET a = 'zzz'");
      expect(pass(node)).toMatchObject({ damaged: 1 });
      if (nowMs === 50_000) node.store.merge([sound]);
    }
  }
  using node = new SqliteNode(schema, { vfs, nowMs: 201_000, rules });
  expect(node.write("UPDATE t SET a = a").changeset).toBeUndefined();
  expect(node.store.damaged()).toMatchObject([{ foundMs: 200_000 }]);
});

test("a row that is replaced by what it shows heals as well", () => {
  using node = new SqliteNode(schema);
  node.write("INSERT INTO t VALUES ('x', 'mmm', 1)");
  node.db.exec("UPDATE t SET a = 'zzz'");
  node.nowMs = 50_000;
  expect(pass(node)).toMatchObject({ damaged: 1 });
  node.nowMs += 60_000;
  const { changeset } = node.write("INSERT OR REPLACE INTO t VALUES ('x', 'zzz', 1)");
  expect(changeset?.rows[0]?.cells.map(({ value }) => value)).toEqual(["zzz", 1]);
  expect(node.store.damaged()).toEqual([]);
});

test("rows that are too young wait for another pass", () => {
  using node = new SqliteNode(schema);
  const { merged, changeset } = node.write("INSERT INTO t VALUES ('x', 'mmm', 1)");
  const replica = replicaOf(node);
  replica.committed({ merged, changeset }, node.nowMs, []);
  node.db.exec("UPDATE t SET a = 'zzz'");
  expect(pass(node, replica)).toMatchObject({ rows: 1, postponed: 1, damaged: 0 });
  node.nowMs += 20_000;
  replica.tick(node.nowMs, []);
  expect(pass(node, replica)).toMatchObject({ postponed: 0, damaged: 1 });
});

function otherDigester(): Digester {
  const hash = (input: Uint8Array) => Bun.SHA256.hash(input) as unknown as Uint8Array;
  return new Digester(hash, new Uint8Array(32).fill(9));
}

test("a file whose hashes are of another key has them made anew, and nothing seems damaged", () => {
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode(schema, { vfs });
    node.write(
      "INSERT INTO t VALUES ('x', 'mmm', 1), ('y', 'mmm', 1)",
      "DELETE FROM t WHERE k = 'y'",
    );
  }
  const other = otherDigester();
  using node = new SqliteNode(schema, { vfs, digester: other });
  expect(node.report.rehashedRows).toBe(1);
  expect(pass(node)).toMatchObject({ damaged: 0, rows: 1 });
  expect(stateOf(node, "x")?.cells.length).toBe(2);
  using again = new SqliteNode(schema, { vfs, digester: other });
  expect(again.report.rehashedRows).toBe(0);
});

test("of many rows all are hashed anew, and so is what no column shows", () => {
  const vfs = new MemoryVfs();
  const stamp = (ms: number) => ({ ms, count: 0, site: siteOf(3) });
  const rowOf = (table: string, cl: number): RowState => ({
    ...{ table, key: encodeKey(["held"]) as Uint8Array, clock: { ...stamp(5000), cl } },
    cells: [{ column: "zz", stamp: stamp(6000), value: 1 }],
  });
  // Of a table that this schema lacks, and a tombstone with a cell that was written after it.
  const held = [rowOf("unknown", 1), rowOf("t", 2)];
  {
    using node = new SqliteNode(schema, { vfs });
    const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100)";
    node.write(`INSERT INTO t SELECT 'r' || i, 'mmm', i FROM (${many} SELECT i FROM n)`);
    node.store.merge(held);
  }
  using node = new SqliteNode(schema, { vfs, digester: otherDigester() });
  expect(node.report.rehashedRows).toBe(2102);
  expect(node.store.read(held)).toEqual(held);
  expect(node.strays()).toEqual([]);
  const slice = node.store.scrub(undefined, 5000, node.nowMs, node.nowMs);
  expect(slice).toMatchObject({ rows: 2102, damaged: 0, next: undefined });
});

// What was damaged would be as sound as the rest.
test("a file that doesn't say of which key its hashes are is of this one's, and nothing is hashed anew", () => {
  const vfs = new MemoryVfs();
  {
    using node = new SqliteNode(schema, { vfs });
    node.write("INSERT INTO t VALUES ('x', 'mmm', 1)");
    node.db.exec("DELETE FROM patina_state WHERE name = 'digest_key'");
    edit(node, "UPDATE t SET a = 'zzz'");
  }
  using node = new SqliteNode(schema, { vfs, nowMs: 50_000 });
  expect(node.report.rehashedRows).toBe(0);
  expect(pass(node)).toMatchObject({ damaged: 1 });
});
