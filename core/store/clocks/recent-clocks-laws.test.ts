import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { joined } from "../../../test/generators/shown-rows.ts";
import { SqliteNode, schemaOf } from "../../../test/generators/sqlite-store.ts";
import { createDigester } from "../../../test/model/history.ts";
import { siteOfHex } from "../../clock/stamp.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";
import type { PreparedMerge } from "../merge/prepared-merge.ts";

const digester = createDigester();
const sites = ["a", "b"].map((digit) => siteOfHex(digit.repeat(32)));
const startMs = 20_000;
const key = fc.constantFrom("x", "y", "z");

/** A row of another site. What its stamp says of it is the same wherever it comes from. */
const row = fc
  .record({
    key,
    cl: fc.constantFrom(1, 1, 1, 2, 3),
    ms: fc.nat(60),
    site: fc.nat(1),
    columns: fc.constantFrom("a", "b", "ab"),
  })
  .map(({ key: name, cl, ms: laterMs, site, columns }): RowState => {
    const bornMs = 20 * (cl - 1);
    const ms = bornMs + laterMs;
    const born = { ms: startMs + bornMs, count: 0, site: sites[0] as (typeof sites)[number] };
    const stamp = { ms: startMs + ms, count: 0, site: sites[site] as (typeof sites)[number] };
    return {
      table: "t",
      key: encodeKey([name]) as Uint8Array,
      clock: { ...born, cl },
      cells:
        cl === 2
          ? []
          : [...columns].map((column) => ({ column, stamp, value: `${column} of ${ms} ${site}` })),
    };
  });

const sql = fc.oneof(
  fc.tuple(key, fc.nat(99)).map(([k, n]) => `UPDATE t SET a = 'own ${n}' WHERE k = '${k}'`),
  key.map((k) => `DELETE FROM t WHERE k = '${k}'`),
  fc.tuple(key, fc.nat(99)).map(([k, n]) => `INSERT OR REPLACE INTO t VALUES ('${k}', '${n}', 1)`),
  key.map((k) => `UPDATE OR IGNORE t SET rowid = rowid + 10 WHERE k = '${k}'`),
  fc.tuple(key, key).map(([k, to]) => `UPDATE OR REPLACE t SET k = '${to}' WHERE k = '${k}'`),
);

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("merge" as const, "merge", "merge", "abandon" as const),
      rows: fc.array(row, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("commit" as const, "commit", "roll back" as const),
      statements: fc.array(sql, { minLength: 1, maxLength: 2 }),
    }),
  },
);

// Merges keep the clocks that they wrote, and don't look at the file again. Whatever else happens to a row in between,
// what is held is the join of all that was heard and written.
test("clocks that a merge keeps are those of the file", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 3, maxLength: 25, size: "max" }), (steps) => {
      const schema = schemaOf("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT)");
      using node = new SqliteNode(schema, { site: 2, digester });
      const known: RowState[] = [];
      let nowMs = startMs;
      for (const one of steps) {
        if ("rows" in one) {
          const open = node.store.beginMerge();
          open.add(one.rows);
          if (one.kind === "abandon") open.rollback();
          else {
            open.commit();
            known.push(...one.rows);
          }
        } else {
          nowMs += 10;
          node.store.begin();
          for (const statement of one.statements) node.db.run(statement);
          if (one.kind === "roll back") node.store.rollback();
          else {
            const result = node.store.commit(nowMs);
            if (result.kind === "refused") throw new Error(result.why);
            known.push(...(result.changeset?.rows ?? []));
          }
        }
        const { rows } = node.store.scan(undefined, 100);
        const held = new Map(
          rows.map(({ id, clocks }) => [String(id), digester.rowDigest(id, clocks)]),
        );
        const wanted = [...joined(known, digester)].map(([id, state]): [string, unknown] => [
          String(id),
          digester.rowDigest(id as never, digester.clocksOf(state)),
        ]);
        expect(held).toEqual(new Map(wanted) as typeof held);
      }
    }),
    { numRuns: 100 },
  );
}, 120_000);

describe("an older change loses to a row that was written lately by", () => {
  const change = (ms: number): RowState => {
    const stampOf = (at: number) => ({ ms: at, count: 0, site: sites[0] as (typeof sites)[0] });
    return {
      ...{ table: "t", key: encodeKey(["x"]) as Uint8Array, clock: { ...stampOf(1000), cl: 1 } },
      cells: [{ column: "a", stamp: stampOf(ms), value: `said at ${ms}` }],
    };
  };
  /** The clocks of row x are known without a look into the file. */
  const createNode = () => {
    const node = new SqliteNode("CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT)");
    for (const ms of [1000, 1010]) node.store.merge([change(ms)]);
    return node;
  };
  const prepare = ({ store }: SqliteNode, ms: number) => {
    const prepared = store.prepareMerge();
    prepared.add([change(ms)]);
    prepared.finish();
    return prepared;
  };
  const write = ({ store }: SqliteNode, prepared: PreparedMerge) => {
    const open = store.beginMerge();
    open.addPrepared(prepared, 0, prepared.length);
    open.commit();
    prepared.end();
  };
  const stampAnew = ({ store }: SqliteNode, ms: number) => {
    const { table, key, cells, clock } = change(ms);
    const hash = digester.valueHash("said at 1010");
    const clocks = { clock, cells: cells.map(({ column, stamp }) => ({ column, stamp, hash })) };
    store.reclock([{ table, key, clocks }], 0);
  };
  const shown = ({ db }: SqliteNode) => db.all("SELECT a FROM t");

  test("a merge that was prepared", () => {
    using node = createNode();
    write(node, prepare(node, 1030));
    node.store.merge([change(1020)]);
    expect(shown(node)).toEqual([["said at 1030"]]);
  });

  test("stamping anew", () => {
    using node = createNode();
    stampAnew(node, 1030);
    node.store.merge([change(1020)]);
    expect(shown(node)).toEqual([["said at 1010"]]);
  });

  test("stamping anew, if it was decided on before", () => {
    using node = createNode();
    const prepared = prepare(node, 1020);
    stampAnew(node, 1030);
    write(node, prepared);
    expect(shown(node)).toEqual([["said at 1010"]]);
  });
});
