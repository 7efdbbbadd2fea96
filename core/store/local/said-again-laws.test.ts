import { expect, test } from "bun:test";
import fc from "fast-check";
import { SqliteNode, schemaOf } from "../../../test/generators/sqlite-store.ts";
import { createDigester } from "../../../test/model/history.ts";
import { MemoryVfs } from "../../../wasm/vfs/memory.ts";
import type { Changeset } from "../../change/changeset.ts";
import type { RowState } from "../../row/row-state.ts";
import type { SqlValue } from "../../row/value.ts";
import type { PlannedSchema } from "../../schema/schema.ts";

const digester = createDigester();
const columns = ["status", "weight", "drained"] as const;
type Column = (typeof columns)[number];
type Row = Readonly<Partial<Record<Column, SqlValue>>>;

interface Rule {
  readonly urgent: string | undefined;
  readonly reads: readonly Column[];
  readonly holds: (row: Row) => boolean;
}

const rules: readonly Rule[] = [
  {
    urgent: "status IS NOT 'up' OR drained",
    reads: ["status", "drained"],
    holds: ({ status, drained }) => status !== "up" || (drained !== null && drained !== 0),
  },
  {
    urgent: "status IS NOT 'up'",
    reads: ["status"],
    holds: ({ status }) => status !== "up",
  },
  { urgent: undefined, reads: [], holds: () => false },
];

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
  | { readonly kind: "hear"; readonly node: number; readonly which: number }
  /** The process dies and comes back, or reloads, with the next of its schemas, or rules. */
  | { readonly kind: "start" | "reload" | "rule"; readonly node: number }
  /** Said, and rolled back. */
  | { readonly kind: "drop"; readonly node: number; readonly statements: readonly Statement[] };

function step(): fc.Arbitrary<Step> {
  const node = fc.nat(2);
  const statements = fc.array(statement(), { minLength: 1, maxLength: 3 });
  const restart = fc.constantFrom("start" as const, "reload" as const, "rule" as const);
  return fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("commit" as const), node, statements }) },
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant("hear" as const), node, which: fc.nat(1000) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: restart, node }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), node, statements }) },
  );
}

/** What the law says of a row, from what was done to it by the clock: worked out without stamps. */
class ModelRow {
  /** The last insert or delete: when, and whether it was an insert. */
  #life = { at: 0, isLive: false };
  readonly #cells = new Map<Column, { readonly at: number; readonly value: SqlValue }>();

  /** @param names By statements of the commit, if the row was there before and after it. */
  commit(
    at: number,
    before: Row | undefined,
    after: Row | undefined,
    names: ReadonlySet<Column>,
    { columns: known, rule }: Pick<Host, "columns" | "rule">,
  ): void {
    if (before === undefined && after === undefined) return;
    if (before === undefined || after === undefined) {
      if (at > this.#life.at) this.#life = { at, isLive: after !== undefined };
    }
    if (after === undefined) return;
    for (const column of known) {
      const isSaid = names.has(column) && rule.reads.includes(column) && rule.holds(after);
      if (before !== undefined && before[column] === after[column] && !isSaid) continue;
      this.#cells.set(column, { at, value: after[column] as SqlValue });
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

/** A host over its lives: its file, its schema and its rule. */
class Host {
  readonly #site: number;
  readonly #tail: string;
  readonly #vfs = new MemoryVfs();
  #rule: number;
  /** Whether its schema has the column. */
  #hasDrained: boolean;
  node: SqliteNode;

  constructor(site: number, tail: string) {
    this.#site = site;
    this.#tail = tail;
    this.#rule = site === 0 ? 1 : 0;
    this.#hasDrained = site !== 0;
    this.node = this.#open();
  }

  get columns(): readonly Column[] {
    return this.#hasDrained ? columns : ["status", "weight"];
  }

  get rule(): Rule {
    return rules[this.#rule] as Rule;
  }

  get #schema(): PlannedSchema {
    const drained = this.#hasDrained ? ", drained INTEGER" : "";
    const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, status TEXT, weight INTEGER${drained})${this.#tail}`;
    const { urgent } = this.rule;
    return schemaOf(sql, urgent === undefined ? {} : { t: { urgent } });
  }

  #open(): SqliteNode {
    return new SqliteNode(this.#schema, { site: this.#site, digester, vfs: this.#vfs });
  }

  begin(kind: "start" | "reload" | "rule"): void {
    if (kind === "rule") this.#rule = (this.#rule + 1) % rules.length;
    else this.#hasDrained = true;
    if (!this.#hasDrained && this.#rule === 0) this.#rule = 1;
    if (kind === "start") {
      this.node.db.close();
      this.node = this.#open();
    } else expect(this.node.store.changeSchema(this.#schema).kind).toBe("changed");
  }

  rowOf(key: string): Row | undefined {
    const list = this.columns.join(", ");
    const [row] = this.node.db.all(`SELECT ${list} FROM t WHERE k = ?`, key);
    return row && (Object.fromEntries(this.columns.map((column, i) => [column, row[i]])) as Row);
  }

  /** Says it and takes it back. */
  drop(statements: readonly Statement[]): void {
    const { store, db } = this.node;
    store.begin();
    for (const { sql } of statements) {
      store.beginStatement(this.node.namedColumns(sql));
      try {
        db.exec(sql);
      } catch {}
    }
    store.rollback();
  }

  /** Undefined: a column that it doesn't have, and nothing was done. */
  write(statements: readonly Statement[]): Changeset | null | undefined {
    try {
      return this.node.write(...statements.map(({ sql }) => sql)).changeset ?? null;
    } catch {
      return undefined;
    }
  }
}

// The newest statement counts that changed a cell, or that named one of the rule's and left the rule true; no other
// does. So a "down" that was said last, by whoever, is what all show, and nobody's weight brings back an old one.
test.each(["", " WITHOUT ROWID"])(
  "what was last said of a cell while the rule held is what all come to%s",
  (tail) => {
    fc.assert(
      fc.property(fc.array(step(), { minLength: 1, maxLength: 30, size: "max" }), (steps) => {
        const hosts = [0, 1, 2].map((site) => new Host(site, tail));
        const sent: (readonly RowState[])[] = [];
        const model = new Map(["a", "b"].map((key) => [key, new ModelRow()]));
        let nowMs = 20_000;
        for (const one of steps) {
          const host = hosts[one.node] as Host;
          nowMs += 10;
          host.node.nowMs = nowMs;
          if (one.kind === "hear") {
            const heard = sent[one.which % Math.max(1, sent.length)];
            if (heard !== undefined) host.node.store.merge(heard);
          } else if (one.kind === "drop") host.drop(one.statements);
          else if (one.kind !== "commit") {
            host.begin(one.kind);
            // A clock that was killed goes on up to 250 ms ahead, and here time is what orders what is said.
            nowMs += 300;
          }
          if (one.kind !== "commit") continue;
          const before = new Map([...model.keys()].map((key) => [key, host.rowOf(key)]));
          const changeset = host.write(one.statements);
          if (changeset === undefined) continue;
          if (changeset !== null) sent.push(changeset.rows);
          for (const [key, row] of model) {
            const ofKey = one.statements.filter((said) => said.key === key);
            const isWhole = ofKey.some(({ names }) => names === "gone");
            const names = ofKey.flatMap((said) => (said.names === "gone" ? [] : said.names));
            const named = new Set<Column>(isWhole ? columns : names);
            row.commit(host.node.nowMs, before.get(key), host.rowOf(key), named, host);
          }
        }
        for (const [i, host] of hosts.entries()) {
          for (const rows of i === 1 ? sent.toReversed() : sent) host.node.store.merge(rows);
          // Whatever it couldn't show so far.
          host.begin("reload");
          for (const [key, row] of model) {
            expect([key, host.rowOf(key)]).toEqual([key, row.shown]);
          }
          host.node[Symbol.dispose]();
        }
      }),
      { numRuns: 100 },
    );
  },
  120_000,
);
