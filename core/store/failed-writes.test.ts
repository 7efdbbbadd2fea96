import { expect, test } from "bun:test";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { siteOf } from "../../test/model/history.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import type { SqliteStore } from "./sqlite-store.ts";

const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b)";
const grown = schemaOf("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a, b, c)");
const refOf = (key: string) => ({ table: "t", key: encodeKey([key]) as Uint8Array });

/** Two rows, one of whose values another program has changed. */
function nodeOf(vfs: MemoryVfs): SqliteNode {
  const node = new SqliteNode(schema, { vfs });
  node.write("INSERT INTO t VALUES ('x', 1, 2), ('y', 3, 4)");
  node.write("UPDATE t SET a = 5 WHERE k = 'x'");
  node.db.mutePreupdate(true);
  node.db.exec("UPDATE t SET a = 'damaged' WHERE k = 'y'");
  node.db.mutePreupdate(false);
  return node;
}

/** What the store answers, and what the file has. */
const stateOf = ({ store, db }: SqliteNode): unknown[] => [
  store.read([refOf("x"), refOf("y")]),
  store.schema.tables.get("t")?.columns.length,
  ...["t", "patina_clock_t", "patina_late_clocks", "patina_damaged", "patina_state"].map((name) =>
    db.all(`SELECT * FROM ${name} ORDER BY 1, 2`),
  ),
];

/** Clocks of a row as they are, but for its newest stamp. */
function stampedAnew(store: SqliteStore, key: string) {
  const row = store.scan(undefined, 10).rows.find((one) => one.key[3] === key.charCodeAt(0));
  const { clock, cells } = row?.clocks ?? { clock: undefined as never, cells: [] };
  const stamp = { ms: clock.ms, count: clock.count + 1, site: siteOf(0) };
  return { ...refOf(key), clocks: { clock, cells: cells.map((cell) => ({ ...cell, stamp })) } };
}

const works: Record<string, (store: SqliteStore) => void> = {
  "a scrub": (store) => void store.scrub(undefined, 10, Number.POSITIVE_INFINITY, 0),
  "stamping rows anew": (store) => void store.reclock([stampedAnew(store, "x")], 0),
  "keeping the clock": (store) => store.keepClock(),
  "a change of schema": (store) => void store.changeSchema(grown),
};

test.each(Object.entries(works))(
  "%s that a full disk keeps from being written leaves all as it was",
  (_, work) => {
    const vfs = new MemoryVfs();
    using node = nodeOf(vfs);
    const { store, db } = node;
    const before = stateOf(node);
    db.pragma("query_only", 1);
    expect(() => work(store)).toThrow("readonly");
    expect(db.autocommit).toBe(true);
    db.pragma("query_only", 0);
    expect(stateOf(node)).toEqual(before);
    // What is written next is committed, and it is done then.
    node.write("UPDATE t SET b = 6 WHERE k = 'x'");
    work(store);
    expect(node.strays()).toEqual([]);
    using again = new SqliteNode(store.schema, { vfs, nowMs: 50_000 });
    expect(again.store.read([refOf("x")])).toEqual(store.read([refOf("x")]));
  },
);

test("a scrub that fails half way has taken no clock away", () => {
  using node = nodeOf(new MemoryVfs());
  const { store, db } = node;
  db.mutePreupdate(true);
  db.exec("UPDATE t SET b = 'damaged'");
  db.mutePreupdate(false);
  db.exec(`CREATE TEMP TRIGGER full BEFORE INSERT ON patina_damaged WHEN NEW.col = 'b'
    BEGIN SELECT RAISE(ABORT, 'full'); END`);
  const before = stateOf(node);
  expect(() => works["a scrub"]?.(store)).toThrow("full");
  expect([db.autocommit, stateOf(node)]).toEqual([true, before]);
  db.exec("DROP TRIGGER full");
  works["a scrub"]?.(store);
  expect(store.damaged().map(({ column }) => column)).toEqual(["b", "a", "b"]);
});

test("of rows that are stamped anew none is where one of them can't be", () => {
  using node = nodeOf(new MemoryVfs());
  const { store, db } = node;
  const before = stateOf(node);
  const unknown = { ...stampedAnew(store, "x"), ...refOf("z") };
  expect(() => store.reclock([stampedAnew(store, "x"), unknown], 0)).toThrow("held");
  expect([db.autocommit, stateOf(node)]).toEqual([true, before]);
});

/** Of a table and a column that this schema lacks, by a host that wasn't heard of. */
function fromElsewhere(): RowState[] {
  const stamp = { ms: 12_000, count: 0, site: siteOf(9) };
  const said = (table: string, key: string, column: string): RowState => ({
    ...{ table, key: encodeKey([key]) as Uint8Array, clock: { ...stamp, cl: 1 } },
    cells: [{ column, stamp, value: "said" }],
  });
  return [said("t", "new", "a"), said("t", "x", "elsewhere"), said("unknown", "x", "a")];
}

// Numbers of sites and columns stand in all clocks: one that only the memory knew would make them unreadable.
test("a merge that was rolled back, and is written after all, is whole after the next start", () => {
  const vfs = new MemoryVfs();
  const rows = fromElsewhere();
  {
    using node = nodeOf(vfs);
    const { store } = node;
    const shown = stateOf(node);
    const open = store.beginMerge();
    open.add(rows);
    open.rollback();
    expect(stateOf(node)).toEqual(shown);
    store.merge(rows);
    expect(store.unshown()).toEqual([
      { table: "t", column: "elsewhere", cells: 1 },
      { table: "unknown", column: "", cells: 1 },
    ]);
  }
  using node = new SqliteNode(schema, { vfs, nowMs: 50_000 });
  expect(node.store.read(rows)).toEqual(rows);
});

// What ran then would be committed statement by statement.
test.each(["as it comes", "as it was decided"])(
  "a merge in which SQLite has rolled back by itself writes nothing more: %s",
  (way) => {
    using node = nodeOf(new MemoryVfs());
    const { store, db } = node;
    const prepare = db.prepare.bind(db);
    db.prepare = (sql, ...kept) => {
      const statement = prepare(sql, ...kept);
      if (!sql.startsWith("INSERT OR IGNORE")) return statement;
      statement.step = () => {
        db.exec("ROLLBACK");
        throw new Error("the disk");
      };
      return statement;
    };
    const rows = fromElsewhere().slice(0, 1);
    const prepared = store.prepareMerge();
    if (way === "as it was decided") prepared.add(rows);
    prepared.finish();
    const before = stateOf(node);
    const open = store.beginMerge();
    const write = () => {
      if (prepared.length > 0) open.addPrepared(prepared, 0, 1);
      else open.add(rows);
    };
    expect(write).toThrow("the disk");
    expect([open.isOpen, db.autocommit, stateOf(node)]).toEqual([false, true, before]);
  },
);
