import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode, schemaOf } from "../../../test/generators/sqlite-store.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import { RowBlockWriter } from "../../change/row-block.ts";
import { siteOfHex } from "../../clock/stamp.ts";
import { encodeKey } from "../../row/key.ts";
import type { RowState } from "../../row/row-state.ts";
import type { SqlValue } from "../../row/value.ts";
import type { ScanPosition } from "../../row-store.ts";
import { type LateLimits, lateLimits } from "./late-clocks.ts";

const schema = schemaOf(`
  CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT);
  CREATE TABLE n (id INTEGER PRIMARY KEY NOT NULL, a TEXT, b TEXT);
  CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, a TEXT) WITHOUT ROWID;
`);
const tables = ["n", "t", "w"];
const site = siteOfHex("b".repeat(32));
const startMs = 20_000;

const key = fc.constantFrom("x", "y", "z");
const table = fc.constantFrom("t", "t", "n", "w");
const keyOf = (name: string, k: string): SqlValue => (name === "n" ? "xyz".indexOf(k) + 1 : k);
const keyIs = (name: string, k: string): string =>
  name === "n" ? `id = ${keyOf(name, k)}` : `k = '${k}'`;

/** A row of another site. What its stamp says of it is the same wherever it comes from. */
const row = fc
  .record({ table, key, ms: fc.nat(400), cl: fc.constantFrom(1, 1, 1, 1, 2, 3) })
  .map(({ table: name, key: k, ms, cl }): RowState => {
    const born = { ms: startMs + 100 * (cl - 1), count: 0, site };
    const stamp = { ...born, ms: born.ms + ms };
    const columns = name === "w" ? ["a"] : ["a", "b"].slice(0, 1 + (ms % 2));
    return {
      table: name,
      key: encodeKey([keyOf(name, k)]) as Uint8Array,
      clock: { ...born, cl },
      cells:
        cl === 2 ? [] : columns.map((column) => ({ column, stamp, value: `${column} of ${ms}` })),
    };
  });

const sql = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(table, key, fc.nat(99))
      .map(([t, k, v]) => `UPDATE ${t} SET a = 'own ${v}' WHERE ${keyIs(t, k)}`),
  },
  fc.tuple(table, fc.nat(99)).map(([t, v]) => `UPDATE ${t} SET a = 'all ${v}'`),
  fc.tuple(table, key).map(([t, k]) => `DELETE FROM ${t} WHERE ${keyIs(t, k)}`),
  table.map((t) => `DELETE FROM ${t}`),
  // A rowid that another row had.
  fc
    .tuple(key, fc.integer({ min: 1, max: 4 }), fc.nat(99))
    .map(
      ([k, id, v]) => `INSERT OR REPLACE INTO t (rowid, k, a) VALUES (${id}, '${k}', 'at ${v}')`,
    ),
  key.map((k) => `UPDATE OR IGNORE t SET rowid = rowid % 4 + 1 WHERE k = '${k}'`),
  fc.tuple(key, key).map(([k, to]) => `UPDATE OR REPLACE t SET k = '${to}' WHERE k = '${k}'`),
  fc
    .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }))
    .map(([id, to]) => `UPDATE OR REPLACE n SET id = ${to} WHERE id = ${id}`),
  fc
    .tuple(fc.constantFrom("n", "w"), key, fc.nat(9))
    .map(
      ([t, k, v]) =>
        `INSERT OR REPLACE INTO ${t} (${t === "n" ? "id" : "k"}, a) VALUES (${t === "n" ? keyOf(t, k) : `'${k}'`}, 'new ${v}')`,
    ),
);

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom("merge" as const, "merge", "abandon" as const),
      rows: fc.array(row, { minLength: 1, maxLength: 5 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom("commit" as const, "commit", "commit", "roll back" as const),
      statements: fc.array(sql, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom("reopen" as const, "stop" as const) }),
  },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A store over the lives of its process. */
class Lives implements Disposable {
  readonly #vfs = new MemoryVfs();
  readonly #late: LateLimits;
  #nowMs = startMs;
  node: SqliteNode;

  constructor(late: LateLimits) {
    this.#late = late;
    this.node = this.#open();
  }

  #open(): SqliteNode {
    const options = { vfs: this.#vfs, late: this.#late };
    return new SqliteNode(schema, { ...options, site: 2, nowMs: this.#nowMs });
  }

  take(one: Step): void {
    const { store, db } = this.node;
    this.#nowMs += 10;
    switch (one.kind) {
      case "merge":
      case "abandon": {
        const open = store.beginMerge();
        open.add(one.rows);
        if (one.kind === "abandon") open.rollback();
        else open.commit();
        return;
      }
      case "commit":
      case "roll back":
        store.begin();
        for (const statement of one.statements) db.run(statement);
        if (one.kind === "roll back") store.rollback();
        else expect(store.commit(this.#nowMs).kind).toBe("committed");
        return;
      case "stop":
        store.bringClocksHome();
        expect(db.all("SELECT count(*) FROM patina_late_clocks")).toEqual([[0]]);
        expect(db.all("PRAGMA user_version")).toEqual([[1]]);
        return;
      case "reopen":
        db.close();
        this.node = this.#open();
        expect(this.node.report).toMatchObject({
          ...{ clocksWithoutRows: 0, rowsWithoutClocks: 0, lateClocksLost: 0 },
        });
    }
  }

  [Symbol.dispose](): void {
    this.node.db.close();
  }
}

/** All that a store says of its rows, in every way that clocks are read. */
function said({ store, db }: SqliteNode): unknown {
  const newer: unknown[] = [];
  store.scanNewer(undefined, 1000, 0, (part, after, ms) => newer.push([part, after, ms]));
  const { rows } = store.scan(undefined, 1000);
  const block = new RowBlockWriter();
  store.writeRows(undefined, 1000, 2 ** 20, block);
  const { columns, rows: whole } = store.scanDigests(undefined, 1000, () => true);
  const digests = Array.from({ length: columns.count }, (_, i) => [
    columns.idAt(i),
    [...columns.digests.slice(4 * i, 4 * i + 4)],
  ]);
  return {
    shown: tables.map((name) =>
      db.all(`SELECT ${name === "t" ? "rowid, " : ""}* FROM ${name} ORDER BY 1`),
    ),
    ...{ rows, block: block.body.finish() },
    ...{ newer, digests, whole },
    at: store.rowsAt(newer.map((one) => placeOf(one as [number, never]))),
    held: store.read(rows),
  };
}

function placeOf([part, after]: [number, ScanPosition["after"]]): ScanPosition {
  return { part, after };
}

function clocks({ db }: SqliteNode): unknown {
  return tables.map((name) => db.all(`SELECT * FROM patina_clock_${name} ORDER BY 1`));
}

// Clocks that come to their tables later are read as if they were there, whatever becomes of the rows and their rowids in between,
// and what is brought home is what would have been written at once.
test("a store whose clocks are late says what one says that writes them at once", () => {
  let late = 0;
  fc.assert(
    fc.property(
      fc.record({
        rowsMax: fc.integer({ min: 1, max: 12 }),
        transactionRowsMin: fc.constantFrom(1, 1, 1, 2, 3),
        transactionRowsMax: fc.constantFrom(1, 3, 256),
        restRowsMin: fc.integer({ min: 1, max: 4 }),
      }),
      fc.array(step, { minLength: 5, maxLength: 40, size: "max" }),
      (limits, steps) => {
        using one = new Lives(limits);
        using other = new Lives({ ...lateLimits, rowsMax: 0, transactionRowsMin: 1 });
        for (const taken of steps) {
          one.take(taken);
          other.take(taken);
          expect(said(one.node)).toEqual(said(other.node));
          late += Number(one.node.db.all("SELECT count(*) FROM patina_late_clocks")[0]?.[0]);
          expect(other.node.db.all("SELECT count(*) FROM patina_late_clocks")).toEqual([[0]]);
        }
        one.node.store.bringClocksHome();
        expect(clocks(one.node)).toEqual(clocks(other.node));
        expect(one.node.strays()).toEqual([]);
      },
    ),
    { numRuns: 60 },
  );
  expect(late).toBeGreaterThan(100);
}, 120_000);
