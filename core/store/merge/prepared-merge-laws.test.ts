import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode, schemaOf } from "../../../test/generators/sqlite-store.ts";
import { createDigester } from "../../../test/model/history.ts";
import { siteOfHex } from "../../clock/stamp.ts";
import type { ClockState } from "../../row/digest.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";
import type { MergedRow } from "../../row-store.ts";
import type { PreparedMerge } from "./prepared-merge.ts";

const digester = createDigester();
const sites = ["a", "b"].map((digit) => siteOfHex(digit.repeat(32)));
const startMs = 20_000;
const key = fc.constantFrom("x", "y", "z");
const table = fc.constantFrom("t", "w", "elsewhere");

/** A row of another site. What its stamp says of it is the same wherever it comes from. */
const row = fc
  .record({
    table,
    key,
    cl: fc.constantFrom(1, 1, 1, 2, 3),
    ms: fc.nat(60),
    site: fc.nat(1),
    columns: fc.constantFrom("a", "b", "ab", "abc"),
  })
  .map(({ table: name, key: text, cl, ms: laterMs, site, columns }): RowState => {
    const bornMs = 20 * (cl - 1);
    const ms = bornMs + laterMs;
    const born = { ms: startMs + bornMs, count: 0, site: sites[0] as (typeof sites)[number] };
    const stamp = { ms: startMs + ms, count: 0, site: sites[site] as (typeof sites)[number] };
    return {
      table: name,
      key: encodeKey([text]) as Uint8Array,
      clock: { ...born, cl },
      cells:
        cl === 2
          ? []
          : [...columns].map((column) => ({ column, stamp, value: `${column} of ${ms} ${site}` })),
    };
  });

const sql = fc.oneof(
  fc
    .tuple(table, key, fc.nat(99))
    .map(([name, k, n]) => `UPDATE ${name} SET a = 'own ${n}' WHERE k = '${k}'`),
  fc.tuple(table, key).map(([name, k]) => `DELETE FROM ${name} WHERE k = '${k}'`),
  fc
    .tuple(table, key, fc.nat(99))
    .map(([name, k, n]) => `INSERT OR REPLACE INTO ${name} (k, a, b) VALUES ('${k}', '${n}', 1)`),
  key.map((k) => `UPDATE OR IGNORE t SET rowid = rowid + 10 WHERE k = '${k}'`),
  fc.tuple(key, key).map(([k, to]) => `UPDATE OR REPLACE t SET k = '${to}' WHERE k = '${k}'`),
);
const rows = fc.array(row, { minLength: 1, maxLength: 4 });

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("prepare" as const), rows }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      /** Attempts that are rolled back before, and how far they come. */
      vain: fc.array(fc.nat(), { maxLength: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom("merge" as const, "abandon" as const), rows }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("commit" as const, "commit", "roll back" as const),
      statements: fc.array(
        sql.filter((text) => !text.includes("elsewhere")),
        { minLength: 1, maxLength: 2 },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "schema" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "reclock" as const }) },
);

const tables = schemaOf(`CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT);
CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT) WITHOUT ROWID;`);
const grown = schemaOf(`CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT, c TEXT);
CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT) WITHOUT ROWID;
CREATE TABLE elsewhere (k TEXT PRIMARY KEY NOT NULL, a TEXT, b INTEGER);`);

function told({ table: name, key: bytes, before, incoming, after, changed, conflict }: MergedRow) {
  const [id, plain] = [
    digester.rowId(name, bytes),
    (clocks: typeof after) => digester.rowDigest(id, clocks),
  ];
  return [name, id, before && plain(before), plain(incoming), plain(after), changed, conflict];
}

/** Where they stand is another thing. */
function held(store: SqliteNode["store"]) {
  return store.scan(undefined, 100).rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** As after a clock fault: each clock is another. */
function later({ clock, cells }: ClockState): ClockState {
  const moved = <S extends { readonly ms: number }>(stamp: S) => ({ ...stamp, ms: stamp.ms + 7 });
  return {
    clock: moved(clock),
    cells: cells.map((cell) => ({ ...cell, stamp: moved(cell.stamp) })),
  };
}

/** Those of one row stay in their order. */
function byRow(merged: readonly MergedRow[]) {
  const rows = merged.map(told);
  return rows.sort(([, a], [, b]) => (String(a) < String(b) ? -1 : a === b ? 0 : 1));
}

// Decisions are made long before they are written, and others write in between. The second node prepares nothing.
test("a merge that was prepared does and tells what one does that wasn't", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 3, maxLength: 25, size: "max" }), (steps) => {
      using node = new SqliteNode(tables, { site: 2, digester });
      using other = new SqliteNode(tables, { site: 2, digester });
      const nodes = [node, other];
      let prepared: PreparedMerge | undefined;
      let waiting: RowState[] = [];
      let nowMs = startMs;
      for (const one of steps) {
        nowMs += 10;
        switch (one.kind) {
          case "prepare":
            prepared ??= node.store.prepareMerge();
            prepared.add(one.rows);
            waiting.push(...one.rows);
            break;
          case "write": {
            if (prepared === undefined) break;
            prepared.finish();
            for (const draw of one.vain) {
              const open = node.store.beginMerge();
              const at = draw % (prepared.length + 1);
              open.addPrepared(prepared, 0, at >> 1);
              open.addPrepared(prepared, at >> 1, at);
              open.rollback();
            }
            const open = node.store.beginMerge();
            open.addPrepared(prepared, 0, prepared.length >> 1);
            open.addPrepared(prepared, prepared.length >> 1, prepared.length);
            const merged = open.commit();
            prepared.end();
            expect(byRow(merged)).toEqual(byRow(other.store.merge(waiting)));
            prepared = undefined;
            waiting = [];
            break;
          }
          case "merge":
          case "abandon":
            for (const { store } of nodes) {
              const open = store.beginMerge();
              open.add(one.rows);
              if (one.kind === "merge") open.commit();
              else open.rollback();
            }
            break;
          case "schema":
            for (const { store } of nodes) {
              expect(store.changeSchema(grown).kind).toBe("changed");
            }
            break;
          case "reclock":
            for (const { store } of nodes) {
              const [first] = held(store);
              if (first !== undefined)
                store.reclock([{ ...first, clocks: later(first.clocks) }], 0);
            }
            break;
          default:
            for (const { store, db } of nodes) {
              store.begin();
              for (const statement of one.statements) db.run(statement);
              if (one.kind === "roll back") store.rollback();
              else expect(store.commit(nowMs).kind).toBe("committed");
            }
        }
        const state = ({ store, db }: SqliteNode) => [
          held(store).map(({ id, clocks }) => [id, digester.rowDigest(id, clocks)]),
          store.unshown(),
          ...["t", "w"].map((name) => db.all(`SELECT * FROM ${name} ORDER BY k`)),
        ];
        expect(state(node)).toEqual(state(other));
        expect(node.strays()).toEqual([]);
      }
    }),
    { numRuns: 50 },
  );
}, 120_000);
