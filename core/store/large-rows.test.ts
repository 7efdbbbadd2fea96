import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester, siteOf } from "../../test/model/history.ts";
import { SqliteError } from "../../wasm/error.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { Stamp } from "../clock/stamp.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import type { MergedRow } from "../row-store.ts";

/** Of a value, a row or an entry of an index. */
const lengthMax = 4096;
const digester = createDigester();

const plain =
  "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT DEFAULT 'left out', b TEXT, w INTEGER)";
const stored = plain.replace("w INTEGER", "w INTEGER, g TEXT AS (a || a || a) STORED");
const indexed = `${plain.replace("w INTEGER", "w INTEGER, g TEXT AS (a || a || b) VIRTUAL")};
  CREATE INDEX t_g ON t (g); CREATE INDEX t_ab ON t (w, a || b) WHERE b IS NOT NULL`;
const wide = `${stored} WITHOUT ROWID`;

function nodeOf(schema: string, site = 0, vfs?: MemoryVfs): SqliteNode {
  const options = { site, digester, lengthMax };
  return new SqliteNode(schema, vfs === undefined ? options : { ...options, vfs });
}

function row(key: string, cells: Record<string, SqlValue>, ms: number, cl = 1, bornMs = 1000) {
  const stampAt = (at: number): Stamp => ({ ms: at, count: 0, site: siteOf(9) });
  const state: RowState = {
    table: "t",
    key: encodeKey([key]) as Uint8Array,
    clock: { ...stampAt(bornMs), cl },
    cells: Object.entries(cells).map(([column, value]) => ({ column, stamp: stampAt(ms), value })),
  };
  return state;
}

const read = (node: SqliteNode, key = "x") => node.store.read([row(key, {}, 0)])[0];
const shown = (node: SqliteNode) => node.db.all("SELECT k, a, b, w FROM t ORDER BY k");

function held(node: SqliteNode) {
  return new Map(
    node.store
      .scan(undefined, 100)
      .rows.map(({ id, clocks }) => [id, digester.rowDigest(id, clocks)]),
  );
}

function expectSound(node: SqliteNode): void {
  expect(node.strays()).toEqual([]);
  expect(node.db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
  expect(node.store.scrub(undefined, 1000, Number.POSITIVE_INFINITY, 0).damaged).toBe(0);
}

type Shown = ReadonlyMap<string, Readonly<Record<string, unknown>>>;

const shownByKey = (node: SqliteNode): Shown =>
  new Map(shown(node).map(([k, a, b, w]) => [String(k), { a, b, w }]));

/** Whatever is shown otherwise than before has another clock, or its row is told to be cut. */
function expectTold(node: SqliteNode, before: Shown, merged: readonly MergedRow[]): void {
  const now = shownByKey(node);
  for (const k of new Set([...before.keys(), ...now.keys()])) {
    const [old, row] = [before.get(k), now.get(k)];
    const differing = Object.keys({ ...old, ...row }).filter((name) => old?.[name] !== row?.[name]);
    if (differing.length === 0) continue;
    const told = merged.filter(({ key }) => Bun.deepEquals(key, encodeKey([k])));
    const isTold = told.some(({ changed, before: known, after, isCutToFit }) => {
      if (!changed) return false;
      if (isCutToFit === true || known === undefined) return true;
      if (!Bun.deepEquals(known.clock, after.clock)) return true;
      const cellOf = ({ cells }: typeof after, name: string) =>
        cells.find(({ column }) => column === name);
      return differing.every((name) => !Bun.deepEquals(cellOf(known, name), cellOf(after, name)));
    });
    expect([k, differing, isTold]).toEqual([k, differing, true]);
  }
}

const long = (letter: string, length: number) => letter.repeat(length);

// A host without the column takes this row gladly, and so must one that has it.
test("of a row that is too large the largest values aren't shown, and all that is held is the same", () => {
  const first = row("x", { a: long("a", 1500), b: "b", w: 1 }, 2000);
  for (const schema of [stored, indexed.replace("|| b)", "|| a)"), wide]) {
    using other = nodeOf(plain);
    using node = nodeOf(schema, 1);
    for (const { store } of [node, other]) store.merge([row("y", { w: 5 }, 2000), first]);
    expect(shown(node)).toEqual([
      ["x", "left out", "b", 1],
      ["y", "left out", null, 5],
    ]);
    expect(read(node)).toEqual(first);
    expect(held(node)).toEqual(held(other));
    expect(node.store.unshown()).toEqual([{ table: "t", column: "a", cells: 1 }]);
    // Other columns go on as if nothing were.
    const down = row("x", { b: "down" }, 3000);
    for (const { store } of [node, other]) store.merge([down]);
    expect(shown(node)[0]).toEqual(["x", "left out", "down", 1]);
    expect(held(node)).toEqual(held(other));
    expectSound(node);
    // It fits again.
    for (const { store } of [node, other]) store.merge([row("x", { a: "short" }, 4000)]);
    expect(shown(node)).toEqual(shown(other));
    expect(node.store.unshown()).toEqual([]);
    // And back, with what is there.
    for (const { store } of [node, other]) store.merge([row("x", { a: long("c", 2000) }, 5000)]);
    expect(shown(node)[0]).toEqual(["x", "left out", "down", 1]);
    expect(held(node)).toEqual(held(other));
    expectSound(node);
  }
});

test("what hosts that don't know of each other wrote is shown as far as a row goes", () => {
  using node = nodeOf(plain);
  node.store.merge([row("x", { a: long("a", 2500) }, 2000)]);
  node.store.merge([row("x", { b: long("b", 2000), w: 3 }, 3000)]);
  expect(shown(node)).toEqual([["x", "left out", long("b", 2000), 3]]);
  expect(read(node)?.cells.map(({ value }) => String(value).length)).toEqual([2500, 2000, 1]);
  // A new life has only what it says.
  node.store.merge([row("x", { b: "new" }, 5000, 3, 5000)]);
  expect(shown(node)).toEqual([["x", "left out", "new", null]]);
  expect(node.store.unshown()).toEqual([]);
  expectSound(node);
});

// By what its expressions make of it, not by its own size.
test("of two long values the one that a generated column repeats isn't shown", () => {
  using node = nodeOf(stored);
  node.store.merge([row("x", { a: long("a", 1200), b: long("b", 2000), w: 3 }, 2000)]);
  expect(shown(node)).toEqual([["x", "left out", long("b", 2000), 3]]);
  expectSound(node);
});

test("a row that fits by a local write is shown whole", () => {
  using node = nodeOf(plain);
  node.store.merge([row("x", { a: long("a", 2500) }, 2000)]);
  node.store.merge([row("x", { b: long("b", 2000), w: 3 }, 3000)]);
  const { changeset } = node.write("UPDATE t SET b = 'short'");
  expect(shown(node)).toEqual([["x", long("a", 2500), "short", 3]]);
  expect(changeset?.rows[0]?.cells.map(({ value }) => String(value).length)).toEqual([2500, 5, 1]);
  expect(node.store.unshown()).toEqual([]);
  expectSound(node);
});

// Who watches another column than those that were written has no other way to know.
test("a row of which a write made other cells shown, or no longer, is told to be cut to fit", () => {
  using node = nodeOf(plain);
  const told = (merge: (rows: RowState[]) => readonly MergedRow[], one: RowState) => {
    const before = shownByKey(node);
    const merged = merge([one]);
    expectTold(node, before, merged);
    return merged.map(({ isCutToFit }) => isCutToFit);
  };
  const merge = (rows: RowState[]) => node.store.merge(rows);
  const mergePrepared = (rows: RowState[]) => {
    const prepared = node.store.prepareMerge();
    prepared.add(rows);
    prepared.finish();
    const open = node.store.beginMerge();
    open.addPrepared(prepared, 0, rows.length);
    const merged = open.commit();
    prepared.end();
    return merged;
  };
  expect(told(merge, row("x", { a: long("a", 2500) }, 2000))).toEqual([false]);
  expect(told(merge, row("x", { b: long("b", 2000) }, 3000))).toEqual([true]);
  expect(told(merge, row("x", { w: 1 }, 3500))).toEqual([true]);
  expect(told(mergePrepared, row("x", { b: "short" }, 4000))).toEqual([true]);
  expect(told(mergePrepared, row("x", { w: 2 }, 4500))).toEqual([false]);
  expect(told(mergePrepared, row("x", { b: long("b", 2000) }, 5000))).toEqual([true]);
  const before = shownByKey(node);
  const { merged } = node.write("UPDATE t SET b = 'shorter'");
  expectTold(node, before, merged);
  expect(merged.map(({ isCutToFit }) => isCutToFit)).toEqual([true]);
  expect(node.write("UPDATE t SET w = 3").merged[0]?.isCutToFit).toBe(false);
});

test("what is shown again by a local write may break a CHECK, as what is merged", () => {
  using node = nodeOf(`${plain.slice(0, -1)}, CHECK (a <> '${long("a", 2500)}'))`);
  node.store.merge([row("x", { a: long("a", 2500) }, 2000)]);
  node.store.merge([row("x", { b: long("b", 2000), w: 3 }, 3000)]);
  node.write("UPDATE t SET b = 'short'");
  expect(shown(node)).toEqual([["x", long("a", 2500), "short", 3]]);
  // What clients write is held to it.
  const broken = () => node.write(`UPDATE t SET a = '${long("a", 2500)}'`);
  expect(broken).toThrow("CHECK");
});

test("a small update is taken of a row that hosts together made larger than a commit may", () => {
  using node = new SqliteNode(plain.replace("w INTEGER", "w INTEGER, c, d, e"), { digester });
  const value = new Uint8Array(7 * 1024 * 1024);
  ["a", "b", "c", "d", "e"].forEach((name, i) => {
    node.store.merge([row("x", { [name]: value, w: 1 }, 2000 + i)]);
  });
  const { changeset } = node.write("UPDATE t SET w = 2");
  expect(changeset?.rows[0]?.cells.length).toBe(6);
  expect(node.db.all("SELECT w FROM t")).toEqual([[2]]);
  const larger = () => node.write("UPDATE t SET a = zeroblob(7000000), w = 3");
  expect(larger).toThrow("the values of a row may have 33554432 bytes");
});

test("what isn't shown goes along when a row's key changes", () => {
  using node = nodeOf(stored);
  node.store.merge([row("x", { a: long("a", 1500), b: "b", w: 1 }, 2000)]);
  node.write("UPDATE t SET k = 'y'");
  expect(shown(node)).toEqual([["y", "left out", "b", 1]]);
  expect(read(node, "y")?.cells[0]?.value).toBe(long("a", 1500));
  expect(node.store.unshown()).toEqual([{ table: "t", column: "a", cells: 1 }]);
  expectSound(node);
});

test("a row whose key alone makes it too large is held and stands in no table", () => {
  const repeats = plain.replace("w INTEGER", "w INTEGER, g TEXT AS (k || k || k) STORED");
  using node = nodeOf(repeats);
  const key = long("k", 1500);
  const large = row(key, { a: "a", b: "b", w: 1 }, 2000);
  node.store.merge([large, row("y", { w: 1 }, 2000)]);
  expect(shown(node).length).toBe(1);
  expect(read(node, key)).toEqual(large);
  node.store.merge([row(key, { w: 2 }, 3000)]);
  expect(read(node, key)?.cells[2]?.value).toBe(2);
  expect(node.store.unshown()).toEqual([{ table: "t", column: "", cells: 1 }]);
  expectSound(node);
});

// By a new schema, at a start or in the running store: else no host that has such a row comes up with it.
test("an index that rows are too large for is made, and shows of them what fits", () => {
  for (const isRestart of [true, false]) {
    for (const table of [plain, `${plain} WITHOUT ROWID`]) {
      const vfs = new MemoryVfs();
      let node = nodeOf(table, 1, vfs);
      const change = (sql: string): void => {
        if (isRestart) {
          node[Symbol.dispose]();
          node = nodeOf(sql, 1, vfs);
        } else expect(node.store.changeSchema(schemaOf(sql)).kind).toBe("changed");
      };
      const large = Array.from({ length: 20 }, (_, i) =>
        row(`x${i + 10}`, { a: long("a", 1100 + i), b: "b", w: i }, 2000),
      );
      // Larger, and not in the index's way.
      large.push(row("y", { b: long("b", 1500), w: 3 }, 2000), row("z", { w: 4 }, 2000));
      node.store.merge(large);
      const before = held(node);
      const whole = shown(node);
      const index = "CREATE INDEX t_a ON t (a || a, a || a)";
      change(`${table}; ${index}; CREATE INDEX t_b ON t (b)`);
      expect(shown(node)).toEqual(
        whole.map((cells, i) => (i < 20 ? cells.with(1, "left out") : cells)),
      );
      expect(held(node)).toEqual(before);
      expect(node.store.read(large)).toEqual(large);
      expect(node.store.unshown()).toEqual([{ table: "t", column: "a", cells: 20 }]);
      expect(node.db.all("SELECT count(*) FROM t INDEXED BY t_a WHERE a || a > ''")).toEqual([
        [22],
      ]);
      expectSound(node);
      // Without it they are shown whole again.
      change(`${table}; CREATE INDEX t_b ON t (b)`);
      expect(shown(node)).toEqual(whole);
      expect(node.store.unshown()).toEqual([]);
      expectSound(node);
      node[Symbol.dispose]();
    }
  }
});

// One whose held values are as large again can't be taken out of its table; of a table that isn't replicated none can.
test("an index that can't be made is left out and told, and made once it can be", () => {
  const own = "CREATE TABLE own (k TEXT PRIMARY KEY, v TEXT)";
  const rules = { own: { replicated: false } };
  for (const isRestart of [true, false]) {
    const vfs = new MemoryVfs();
    const options = { site: 1, digester, lengthMax, vfs, rules };
    let node = new SqliteNode(`${plain}; ${own}`, options);
    const change = (sql: string): readonly string[] => {
      if (isRestart) {
        node[Symbol.dispose]();
        node = new SqliteNode(sql, options);
        return node.report.warnings.map(({ why }) => why);
      }
      const changed = node.store.changeSchema(schemaOf(sql, rules));
      return changed.kind === "changed" ? changed.warnings.map(({ why }) => why) : [changed.kind];
    };
    node.db.exec("INSERT INTO own VALUES ('k', hex(zeroblob(1100)))");
    // The second column is of a later schema.
    const large = row("x", { a: long("a", 2200), later: long("l", 2200) }, 2000);
    const others = [row("y", { a: long("b", 2100) }, 2000), row("z", { w: 4 }, 2000)];
    node.store.merge([large, ...others]);
    const before = held(node);
    const whole = shown(node);
    const sql = `${plain}; ${own}; CREATE INDEX t_a ON t (a || a); CREATE INDEX own_v ON own (v || v)`;
    for (let i = 0; i < 2; i++) {
      expect(change(sql)).toEqual([
        "index t_a isn't made: a row of t is too large for it",
        "index own_v isn't made: a row of own is too large for it",
      ]);
      expect(shown(node)).toEqual(whole);
      expect(held(node)).toEqual(before);
      expect(node.store.read([large])).toEqual([large]);
      expectSound(node);
    }
    node.db.exec("DELETE FROM own");
    node.store.merge([row("x", {}, 3000, 2, 3000)]);
    expect(change(sql)).toEqual([]);
    expect(node.db.all("SELECT count(*) FROM t INDEXED BY t_a WHERE a || a > ''")).toEqual([[2]]);
    expect(node.store.unshown()).toContainEqual({ table: "t", column: "a", cells: 1 });
    expectSound(node);
    node[Symbol.dispose]();
  }
});

const length = fc.constantFrom(1, 3, 500, 1000, 1300, 1900);
const key = fc.constantFrom("x", "y");
const column = fc.constantFrom("a", "b");
const step = fc.oneof(
  fc.record({
    kind: fc.constant("say" as const),
    key,
    cl: fc.constantFrom(1, 1, 1, 1, 2, 3),
    ms: fc.nat(50),
    cells: fc.record({ a: length, b: length, w: fc.nat(3) }, { requiredKeys: [] }),
    isPrepared: fc.boolean(),
    to: fc.nat(4),
  }),
  fc.record({ kind: fc.constant("set" as const), key, column, length, at: fc.nat(4) }),
  fc.record({ kind: fc.constant("move" as const), key, to: key, at: fc.nat(4) }),
  fc.record({ kind: fc.constant("insert" as const), key, length, at: fc.nat(4) }),
  fc.record({ kind: fc.constant("hear" as const), from: fc.nat(4), to: fc.nat(4) }),
);

// Two of each kind: what a host shows is a function of what it holds and of its schema.
test("hosts with and without generated columns and indexes hold the same, and alike ones show the same", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 15, size: "max" }), (steps) => {
      const nodes = [stored, plain, indexed, stored, indexed].map((sql, i) => nodeOf(sql, i));
      const rows = (node: SqliteNode) =>
        node.store.read(node.store.scan(undefined, 100).rows) as RowState[];
      const said: RowState[] = [];
      for (const one of steps) {
        if (one.kind === "say") {
          const { cl } = one;
          const cells = Object.fromEntries(
            Object.entries(one.cells).map(([name, n]) => [name, name === "w" ? n : long(name, n)]),
          );
          // What a stamp says is the same wherever it comes from.
          const ms = 20_000 + 100 * cl + one.ms;
          if (said.some(({ cells: known }) => known.some(({ stamp }) => stamp.ms === ms))) continue;
          const state = row(one.key, cl === 2 ? {} : cells, ms, cl, 20_000 + 100 * cl);
          said.push(state);
          const node = nodes[one.to] as SqliteNode;
          const before = shownByKey(node);
          if (!one.isPrepared) {
            expectTold(node, before, node.store.merge([state]));
            continue;
          }
          const prepared = node.store.prepareMerge();
          prepared.add([state]);
          prepared.finish();
          const open = node.store.beginMerge();
          open.addPrepared(prepared, 0, 1);
          expectTold(node, before, open.commit());
          prepared.end();
        } else if (one.kind === "hear") {
          const [from, to] = [nodes[one.from] as SqliteNode, nodes[one.to] as SqliteNode];
          const before = shownByKey(to);
          expectTold(to, before, to.store.merge(rows(from)));
        } else {
          const node = nodes[one.at] as SqliteNode;
          const where = `WHERE k = '${one.key}'`;
          const sql =
            one.kind === "set"
              ? `UPDATE t SET ${one.column} = '${long("s", one.length)}' ${where}`
              : one.kind === "move"
                ? `UPDATE OR IGNORE t SET k = '${one.to}' ${where}`
                : `INSERT OR REPLACE INTO t (k, a) VALUES ('${one.key}', '${long("i", one.length)}')`;
          const before = shownByKey(node);
          try {
            const result = node.tryWrite(sql);
            if (result.kind === "committed") expectTold(node, before, result.merged);
          } catch (error) {
            if (!(error instanceof SqliteError)) throw error;
          }
        }
        for (const node of nodes) expectSound(node);
      }
      const all = [...said, ...nodes.flatMap(rows)];
      nodes.forEach(({ store }, i) => {
        store.merge(i % 2 === 0 ? all : all.toReversed());
      });
      for (const node of nodes) {
        expect(held(node)).toEqual(held(nodes[0] as SqliteNode));
        expectSound(node);
      }
      const [a, , b, c, d] = nodes as [SqliteNode, SqliteNode, SqliteNode, SqliteNode, SqliteNode];
      expect(shown(c)).toEqual(shown(a));
      expect(shown(d)).toEqual(shown(b));
      expect(c.store.unshown()).toEqual(a.store.unshown());
      for (const node of nodes) node[Symbol.dispose]();
    }),
    { numRuns: 40 },
  );
}, 120_000);
