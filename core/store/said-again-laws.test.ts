import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester } from "../../test/model/history.ts";
import type { RowState } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";

const digester = createDigester();
const columns = ["status", "weight", "drained"] as const;
const ruleColumns: readonly string[] = ["status", "drained"];
const urgent = "status IS NOT 'up' OR drained";

type Column = (typeof columns)[number];
type Row = Readonly<Record<Column, SqlValue>>;

interface Statement {
  readonly sql: string;
  readonly key: string;
  /** Columns that it names, of a row that is there; `"gone"`: it takes the row away first. */
  readonly names: readonly Column[] | "gone";
}

function statement(): fc.Arbitrary<Statement> {
  const key = fc.constantFrom("a", "a", "b");
  const status = fc.constantFrom("'up'", "'down'", "'down'", "NULL");
  const small = fc.constantFrom("NULL", "0", "1");
  const where = (one: string) => `WHERE k = '${one}'`;
  return fc.oneof(
    fc.tuple(key, status).map(
      ([k, s]): Statement => ({
        ...{ sql: `UPDATE t SET status = ${s} ${where(k)}`, key: k, names: ["status"] },
      }),
    ),
    fc.tuple(key, small).map(
      ([k, n]): Statement => ({
        ...{ sql: `UPDATE t SET weight = ${n} ${where(k)}`, key: k, names: ["weight"] },
      }),
    ),
    fc.tuple(key, small, status).map(
      ([k, n, s]): Statement => ({
        ...{ sql: `UPDATE t SET drained = ${n}, status = ${s} ${where(k)}`, key: k },
        names: ["drained", "status"],
      }),
    ),
    fc.tuple(key, status, small).map(
      ([k, s, n]): Statement => ({
        sql: `INSERT INTO t (k, status, weight) VALUES ('${k}', ${s}, ${n})
            ON CONFLICT (k) DO UPDATE SET status = excluded.status`,
        ...{ key: k, names: ["status"] },
      }),
    ),
    fc.tuple(key, status, small).map(
      ([k, s, n]): Statement => ({
        ...{ sql: `REPLACE INTO t (k, status, drained) VALUES ('${k}', ${s}, ${n})`, key: k },
        names: "gone",
      }),
    ),
    key.map((k): Statement => ({ sql: `DELETE FROM t ${where(k)}`, key: k, names: "gone" })),
  );
}

type Step =
  | { readonly kind: "commit"; readonly node: number; readonly statements: readonly Statement[] }
  | { readonly kind: "hear"; readonly node: number; readonly which: number };

function step(): fc.Arbitrary<Step> {
  const node = fc.nat(2);
  return fc.oneof(
    fc.record({
      ...{ kind: fc.constant("commit" as const), node },
      statements: fc.array(statement(), { minLength: 1, maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant("hear" as const), node, which: fc.nat(1000) }),
  );
}

/** What the law says of a row, from what was done to it by the clock: worked out without stamps. */
class ModelRow {
  /** The last insert or delete: when, and whether it was an insert. */
  #life = { at: 0, isLive: false };
  readonly #cells = new Map<Column, { readonly at: number; readonly value: SqlValue }>();

  /** @param names By statements of the commit, if the row was there before and after it. */
  commit(at: number, before: Row | undefined, after: Row | undefined, names: Set<Column>): void {
    if (before === undefined && after === undefined) return;
    if (before === undefined || after === undefined) {
      if (at > this.#life.at) this.#life = { at, isLive: after !== undefined };
    }
    if (after === undefined) return;
    const isUrgent = after.status !== "up" || (after.drained !== null && after.drained !== 0);
    for (const column of columns) {
      const isSaid = isUrgent && names.has(column) && ruleColumns.includes(column);
      if (before !== undefined && before[column] === after[column] && !isSaid) continue;
      this.#cells.set(column, { at, value: after[column] });
    }
  }

  get shown(): Row | undefined {
    if (!this.#life.isLive) return undefined;
    const value = (column: Column): SqlValue => {
      const cell = this.#cells.get(column);
      return cell === undefined || cell.at < this.#life.at ? null : cell.value;
    };
    return { status: value("status"), weight: value("weight"), drained: value("drained") };
  }
}

function readRow(node: SqliteNode, key: string): Row | undefined {
  const [row] = node.db.all("SELECT status, weight, drained FROM t WHERE k = ?", key);
  if (row === undefined) return undefined;
  const [status, weight, drained] = row as [SqlValue, SqlValue, SqlValue];
  return { status, weight, drained };
}

// The newest statement counts that changed a cell, or that named one of the rule's and left the rule true; no other
// does. So a "down" that was said last, by whoever, is what all show, and nobody's weight brings back an old one.
test.each(["", " WITHOUT ROWID"])(
  "what was last said of a cell while the rule held is what all come to%s",
  (withoutRowid) => {
    const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT, weight INTEGER, drained INTEGER)${withoutRowid}`;
    const schema = schemaOf(sql, { t: { urgent } });
    fc.assert(
      fc.property(fc.array(step(), { minLength: 1, maxLength: 25, size: "max" }), (steps) => {
        const nodes = [0, 1, 2].map((site) => new SqliteNode(schema, { site, digester }));
        const sent: (readonly RowState[])[] = [];
        const model = new Map(["a", "b"].map((key) => [key, new ModelRow()]));
        let nowMs = 20_000;
        for (const one of steps) {
          const node = nodes[one.node] as SqliteNode;
          if (one.kind === "hear") {
            const heard = sent[one.which % Math.max(1, sent.length)];
            if (heard !== undefined) node.store.merge(heard);
            continue;
          }
          nowMs += 10;
          node.nowMs = nowMs;
          const before = new Map([...model.keys()].map((key) => [key, readRow(node, key)]));
          const { changeset } = node.write(...one.statements.map(({ sql: text }) => text));
          if (changeset !== undefined) sent.push(changeset.rows);
          for (const [key, row] of model) {
            const ofKey = one.statements.filter((said) => said.key === key);
            const isWhole = ofKey.some(({ names }) => names === "gone");
            const names = ofKey.flatMap((said) => (said.names === "gone" ? [] : said.names));
            const named = new Set<Column>(isWhole ? columns : names);
            row.commit(nowMs, before.get(key), readRow(node, key), named);
          }
        }
        for (const [i, node] of nodes.entries()) {
          for (const rows of i === 1 ? sent.toReversed() : sent) node.store.merge(rows);
          for (const [key, row] of model)
            expect([key, readRow(node, key)]).toEqual([key, row.shown]);
          node[Symbol.dispose]();
        }
      }),
      { numRuns: 150 },
    );
  },
  60_000,
);
