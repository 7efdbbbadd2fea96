import { expect, test } from "bun:test";
import fc from "fast-check";
import { sqlValue, stamp } from "../../test/generators/rows.ts";
import { joined, selectRows, shownRows, sorted } from "../../test/generators/shown-rows.ts";
import { problemsOf, SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester } from "../../test/model/history.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import type { Changeset } from "../change/changeset.ts";
import { decodeRowBlock, encodeRowBlock } from "../change/row-block.ts";
import type { RowClock } from "../clock/row-clock.ts";
import { compareStamps, type Stamp } from "../clock/stamp.ts";
import type { ClockState, RowId } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { Real, type SqlValue } from "../row/value.ts";
import type { MergedRow } from "../row-store.ts";

const digester = createDigester();
/** For a machine that is busy with everything else. */
const timeoutMs = 120_000;
const columnNames = ["a", "b", "c", "d"];

/** A table that the planner accepts. */
function tableSql(name: string, wanted?: readonly string[]): fc.Arbitrary<string> {
  const type = fc.constantFrom(
    "",
    "TEXT",
    "INTEGER",
    "REAL",
    "NUMERIC",
    "BLOB",
    "VARCHAR(5)",
    "DATE",
  );
  const literal = fc.constantFrom(
    "0",
    "-1.5",
    "'5'",
    "'x'",
    '""',
    "x'00ff'",
    "TRUE",
    "9e999",
    "'1e3'",
  );
  const column = fc.constantFrom(...(wanted ?? columnNames)).chain((columnName) =>
    fc.tuple(type, fc.option(literal), fc.boolean()).map(([declared, fallback, notNull]) => ({
      name: columnName,
      sql:
        `${columnName} ${declared}` +
        (fallback === null ? "" : `${notNull ? " NOT NULL" : ""} DEFAULT ${fallback}`),
    })),
  );
  const key = fc.constantFrom(
    { columns: "k INTEGER PRIMARY KEY", end: "", rest: ")" },
    { columns: "k TEXT PRIMARY KEY NOT NULL", end: "", rest: ")" },
    { columns: "k BLOB PRIMARY KEY", end: "", rest: ") WITHOUT ROWID" },
    { columns: "k NUMERIC NOT NULL, l REAL NOT NULL", end: ", PRIMARY KEY (l, k)", rest: ")" },
    { columns: "k TEXT, l INT", end: ", PRIMARY KEY (k, l)", rest: ") WITHOUT ROWID" },
  );
  return fc
    .record({
      key,
      columns: fc.uniqueArray(column, {
        minLength: wanted?.length ?? 1,
        maxLength: 4,
        selector: (one) => one.name,
      }),
      check: fc.boolean(),
      generated: fc.constantFrom("", "VIRTUAL", "STORED"),
      json: fc.boolean(),
      index: fc.boolean(),
    })
    .map(({ key: { columns: keySql, end, rest }, columns, check, generated, json, index }) => {
      const first = columns[0]?.name as string;
      const parts = [keySql, ...columns.map(({ sql }) => sql)];
      const expression = json
        ? `CASE WHEN json_valid(${first}) THEN json_extract(${first}, '$.a[0]') ELSE k END`
        : `lower(${first}) || substr(k, 2)`;
      if (generated !== "") parts.splice(1, 0, `g INTEGER AS (${expression}) ${generated}`);
      const checks = check ? `, CHECK (${first} < k)` : "";
      const indexes = index
        ? `; CREATE INDEX x_${name} ON ${name} (length(${first}), k || ${first}) WHERE ${first} > 'a' OR json_valid(${first}) OR k IS NULL`
        : "";
      return `CREATE TABLE ${name} (${parts.join(", ")}${end}${checks}${rest}${indexes};`;
    });
}

function schemaSql(): fc.Arbitrary<string> {
  return fc.tuple(tableSql("t"), tableSql("u")).map((tables) => tables.join("\n"));
}

/** SQLite's own form of `{"a":[1]}`. */
const jsonb = Uint8Array.fromHex("5c17612b1331");

function value(): fc.Arbitrary<SqlValue> {
  return fc.oneof(
    sqlValue(),
    fc.constantFrom<SqlValue>(" 5", "5.0", "0x5", "1e3", "-0.0", "5\0x", "9223372036854775808"),
    fc.constantFrom<SqlValue>(...['{"a":[1]}', '{"a":[', "{a:[1]}", '{"a":[1]}\0'], jsonb),
  );
}

/** Few keys, so that rows meet; some of one part and some of two. */
const keys: readonly Uint8Array[] = [
  [1],
  ["1"],
  [5],
  ["x"],
  [2n ** 63n - 1n],
  [new Uint8Array([7])],
  [1, "x"],
  ["x", 1],
  [1, 1],
].map((parts) => encodeKey(parts) as Uint8Array);

function row(): fc.Arbitrary<RowState> {
  return fc
    .record({
      table: fc.constantFrom("t", "t", "t", "u", "unknown"),
      key: fc.oneof(
        { weight: 3, arbitrary: fc.constant(keys[0] as Uint8Array) },
        fc.constantFrom(...keys),
      ),
      at: stamp(),
      cl: fc.integer({ min: 1, max: 4 }),
      cells: fc.uniqueArray(
        fc.record({
          column: fc.constantFrom(...columnNames, ...columnNames, "g", "k", "other"),
          stamp: stamp(),
          value: value(),
        }),
        { selector: (cell) => cell.column },
      ),
    })
    .map(({ table, key, at, cl, cells }) => {
      const clock: RowClock = { ...at, cl };
      return {
        table,
        key,
        clock,
        cells: cells
          .filter((cell) => compareStamps(cell.stamp, clock) >= 0)
          .sort((a, b) => (a.column < b.column ? -1 : 1)),
      };
    });
}

/** Everything of a database can be read, and indexes and generated columns are what they must be. */
function expectSound(node: SqliteNode): void {
  for (const name of ["t", "u"]) node.db.all(`SELECT * FROM ${name}`);
  expect(node.strays()).toEqual([]);
  // It would also report CHECKs that a merge has broken, which is allowed.
  node.db.exec("PRAGMA ignore_check_constraints = ON");
  expect(node.db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
}

test(
  "the schemas of these tests are accepted",
  () => {
    fc.assert(fc.property(schemaSql(), (sql) => expect([sql, problemsOf(sql)]).toEqual([sql, []])));
  },
  timeoutMs,
);

// Merge is total, and what it shows is a function of what is held and of the schema.
test(
  "any accepted schema takes any rows, and SELECT * shows what is held as the columns keep it",
  () => {
    fc.assert(
      fc.property(
        schemaSql(),
        fc.array(row(), { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 5 }),
        (sql, rows, group) => {
          using node = new SqliteNode(sql, { digester });
          for (let i = 0; i < rows.length; i += group) {
            // As they come from a peer.
            const decoded = decodeRowBlock(encodeRowBlock(rows.slice(i, i + group)));
            if (decoded.kind === "malformed") throw new Error(decoded.why);
            node.store.merge(decoded.rows);
          }
          const model = joined(rows, digester);
          for (const name of ["t", "u"]) {
            expect(sorted(selectRows(node, name))).toEqual(
              sorted(shownRows(node.store.schema, name, model.values())),
            );
          }
          const states = [...model.values()];
          expect(node.store.read(states)).toEqual(states);
          expectSound(node);
        },
      ),
      { numRuns: 100 },
    );
  },
  timeoutMs,
);

test(
  "digests don't depend on the schema, and a schema that comes later shows the same",
  () => {
    fc.assert(
      fc.property(
        schemaSql(),
        schemaSql(),
        fc.array(row(), { minLength: 1, maxLength: 12 }),
        fc.nat(12),
        (sql, otherSql, rows, before) => {
          const vfs = new MemoryVfs();
          {
            using early = new SqliteNode("", { digester, vfs });
            early.store.merge(rows.slice(0, before));
          }
          using grown = new SqliteNode(sql, { digester, vfs });
          grown.store.merge(rows.slice(before));
          using one = new SqliteNode(sql, { digester });
          using other = new SqliteNode(otherSql, { digester });
          one.store.merge(rows);
          other.store.merge(rows);
          const clocks = [one, other, grown].map(
            (node) =>
              new Map(
                node.store.scan(undefined, 1000).rows.map(({ id, clocks: now }) => [id, now]),
              ),
          );
          expect(clocks[1]).toEqual(clocks[0] as never);
          expect(clocks[2]).toEqual(clocks[0] as never);
          for (const name of ["t", "u"]) {
            expect(sorted(selectRows(grown, name))).toEqual(sorted(selectRows(one, name)));
          }
          expect(grown.store.unshown()).toEqual(one.store.unshown());
        },
      ),
      { numRuns: 60 },
    );
  },
  timeoutMs,
);

/** A local statement: its text and values. */
interface Write {
  readonly sql: string;
  readonly values: readonly SqlValue[];
}

/** One statement, or several around a savepoint. Few keys and values, so that much comes to the same. */
function writes(): fc.Arbitrary<Write[]> {
  const table = fc.constantFrom("t", "u");
  const column = fc.constantFrom("a", "b");
  const keyValue = fc.constantFrom<SqlValue>(1, new Real(1), 2, "x", "1");
  const few = fc.oneof(fc.constantFrom<SqlValue>(null, 1, "1", "y"), value());
  const verb = fc.constantFrom("INSERT", "REPLACE", "INSERT OR IGNORE");
  const updateVerb = fc.constantFrom("UPDATE", "UPDATE OR REPLACE", "UPDATE OR IGNORE");
  const one = fc.oneof(
    fc.tuple(verb, table, column, keyValue, few).map(([insert, to, set, key, written]) => ({
      sql: `${insert} INTO ${to} (k, ${set}) VALUES (?, ?)`,
      values: [key, written],
    })),
    fc.tuple(table, column, few, keyValue).map(([to, set, written, key]) => ({
      sql: `UPDATE ${to} SET ${set} = ? WHERE k = ?`,
      values: [written, key],
    })),
    fc.tuple(updateVerb, table, keyValue, keyValue).map(([update, to, from, key]) => ({
      sql: `${update} ${to} SET k = ? WHERE k = ?`,
      values: [key, from],
    })),
    fc.tuple(table, keyValue).map(([from, key]) => ({
      sql: `DELETE FROM ${from} WHERE k = ?`,
      values: [key],
    })),
    fc.tuple(table, fc.constantFrom("DELETE FROM", "UPDATE")).map(([to, what]) => ({
      sql: what === "UPDATE" ? `UPDATE ${to} SET rowid = 7 - rowid` : `DELETE FROM ${to}`,
      values: [],
    })),
  );
  const ends = fc.constantFrom("ROLLBACK TO s; RELEASE s", "RELEASE s");
  return fc.oneof(
    { weight: 3, arbitrary: one.map((write) => [write]) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.array(one, { minLength: 1, maxLength: 3 }), ends)
        .map(([inner, end]) => [
          { sql: "SAVEPOINT s", values: [] },
          ...inner,
          ...end.split("; ").map((sql) => ({ sql, values: [] })),
        ]),
    },
  );
}

/** Keys of one column, and the columns a and b, so that the statements above fit. */
function writableSchemaSql(): fc.Arbitrary<string> {
  return fc
    .tuple(tableSql("t", ["a", "b"]), tableSql("u", ["a", "b"]))
    .map((tables) => tables.join("\n"))
    .filter((sql) => !sql.includes("l REAL") && !sql.includes("l INT"));
}

type Step =
  | {
      readonly kind: "commit";
      readonly node: number;
      readonly writes: readonly (readonly Write[])[];
      readonly laterMs: number;
    }
  | { readonly kind: "hear"; readonly node: number; readonly which: number };

function step(): fc.Arbitrary<Step> {
  return fc.oneof(
    fc.record({
      kind: fc.constant("commit" as const),
      node: fc.nat(2),
      writes: fc.array(writes(), { minLength: 1, maxLength: 4 }),
      laterMs: fc.nat(2),
    }),
    fc.record({ kind: fc.constant("hear" as const), node: fc.nat(2), which: fc.nat(1000) }),
  );
}

/** Runs what a user may run; what SQLite refuses is refused. */
function tryRun(node: SqliteNode, { sql, values }: Write): void {
  try {
    node.db.run(sql, ...values);
  } catch {}
}

// What capture sends, merged elsewhere, gives equal tables; and a store agrees with itself: what it
// holds is what it shows.
test(
  "three nodes that write what they like and hear of each other come to equal tables",
  () => {
    fc.assert(
      fc.property(
        writableSchemaSql(),
        fc.array(step(), { minLength: 1, maxLength: 25, size: "max" }),
        (sql, steps) => {
          const schema = schemaOf(sql);
          const nodes = [0, 1, 2].map((site) => new SqliteNode(schema, { site, digester }));
          const sent: Changeset[] = [];
          // What an index would know by listening.
          const told = nodes.map(() => new Map<RowId, ClockState>());
          const tell = (node: number, merged: readonly MergedRow[]): void => {
            for (const { id, before, after } of merged) {
              expect(before && plain(before)).toEqual(told[node]?.get(id));
              told[node]?.set(id, plain(after));
            }
          };
          let nowMs = 20_000;
          for (const one of steps) {
            const node = nodes[one.node] as SqliteNode;
            if (one.kind === "hear") {
              const heard = sent[one.which % Math.max(1, sent.length)];
              if (heard !== undefined) tell(one.node, node.store.merge(heard.rows));
              continue;
            }
            nowMs += one.laterMs;
            node.store.begin();
            for (const statement of one.writes.flat()) tryRun(node, statement);
            const result = node.store.commit(nowMs);
            // A refused commit leaves nothing behind: the rest of the law would show it.
            if (result.kind === "refused") {
              expect(result.why).toEndWith("TEXT that isn't UTF-8: write it as a BLOB");
              continue;
            }
            tell(one.node, result.merged);
            if (result.changeset !== undefined) sent.push(result.changeset);
          }
          const rows = sent.flatMap((changeset) => [...changeset.rows]);
          const model = joined(rows, digester);
          for (const [i, node] of nodes.entries()) {
            const order = i === 0 ? rows : i === 1 ? rows.toReversed() : [...rows, ...rows];
            tell(i, node.store.merge(order));
            for (const name of ["t", "u"]) {
              expect(sorted(selectRows(node, name))).toEqual(
                sorted(shownRows(schema, name, model.values())),
              );
            }
            const held: Map<RowId, ClockState> = new Map(
              node.store.scan(undefined, 1000).rows.map(({ id, clocks }) => [id, clocks]),
            );
            expect(held).toEqual(
              new Map([...model].map(([id, state]) => [id as never, digester.clocksOf(state)])),
            );
            expect(told[i]).toEqual(held);
            expectSound(node);
            node[Symbol.dispose]();
          }
        },
      ),
      { numRuns: 100 },
    );
  },
  timeoutMs,
);

/** As an object: the store may hold clocks as bytes. */
function plain({ clock, cells }: ClockState): ClockState {
  return { clock, cells };
}

interface Told {
  readonly stamp: Stamp;
  readonly what: "up" | "down" | "deleted";
}

// Replicas can agree on something wrong. This law is about what was done last, by the clock.
test(
  "a newer down or delete is never beaten by an older up",
  () => {
    const action = fc.record({
      node: fc.nat(2),
      what: fc.constantFrom("up" as const, "down" as const, "deleted" as const),
      laterMs: fc.nat(1),
      hears: fc.option(fc.nat(1000)),
    });
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 20 }), (actions) => {
        const schema = schemaOf("CREATE TABLE i (k TEXT PRIMARY KEY NOT NULL, status TEXT)");
        const nodes = [0, 1, 2].map((site) => new SqliteNode(schema, { site, digester }));
        const sent: Changeset[] = [];
        let last: Told | undefined;
        let nowMs = 20_000;
        for (const { node: index, what, laterMs, hears } of actions) {
          const node = nodes[index] as SqliteNode;
          const heard = hears === null ? undefined : sent[hears % Math.max(1, sent.length)];
          if (heard !== undefined) node.store.merge(heard.rows);
          nowMs += laterMs;
          node.store.begin();
          if (what === "deleted") node.db.run("DELETE FROM i");
          else {
            node.db.run(
              "INSERT INTO i VALUES ('x', ?1) ON CONFLICT (k) DO UPDATE SET status = ?1",
              what,
            );
          }
          const result = node.store.commit(nowMs);
          if (result.kind === "refused" || result.changeset === undefined) continue;
          sent.push(result.changeset);
          const told: Told = { stamp: result.changeset.stamp, what };
          if (last === undefined || compareStamps(told.stamp, last.stamp) > 0) last = told;
        }
        for (const node of nodes) {
          for (const { rows } of sent) node.store.merge(rows);
          const [shown] = node.table("i");
          if (last?.what === "deleted") expect(shown).toBeUndefined();
          if (last?.what === "down") expect(shown?.[1] ?? "down").toBe("down");
          node[Symbol.dispose]();
        }
      }),
      { numRuns: 100 },
    );
  },
  timeoutMs,
);
