import { expect, test } from "bun:test";
import fc from "fast-check";
import { sqlValue, stamp } from "../../test/generators/rows.ts";
import { joined, selectRows, shownRows, sorted } from "../../test/generators/shown-rows.ts";
import { openMemory, SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester } from "../../test/model/history.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { encodeChangeset } from "../change/changeset.ts";
import { encodeRowBlock } from "../change/row-block.ts";
import { compareStamps } from "../clock/stamp.ts";
import type { PeerId, StoreReply, StoreRequest, Ticket } from "../node/border.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import { Replica, type ReplicaOptions } from "./replica.ts";

const digester = createDigester();
const peer = "ab".repeat(32) as PeerId;
const names = ["t", "w"] as const;
const columnNames = ["a", "b", "c"];

/** A column of each name; a schema has the first few of them. */
function columns(): fc.Arbitrary<string[]> {
  const type = fc.constantFrom("", "TEXT", "INTEGER", "REAL", "NUMERIC");
  const rest = fc.constantFrom("", " DEFAULT 7", " DEFAULT 'x'", " NOT NULL DEFAULT ''");
  return fc
    .tuple(...columnNames.map(() => fc.tuple(type, rest)))
    .map((all) => all.map(([declared, end], i) => `${columnNames[i]} ${declared}${end}`));
}

/** A table of rowids and one without; none of `count` 0. */
function schemaSql(count: number, all: readonly string[]): string {
  if (count === 0) return "";
  const some = all.slice(0, count).join(", ");
  return (
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${some});` +
    `CREATE TABLE w (k BLOB PRIMARY KEY, ${some}) WITHOUT ROWID;` +
    `CREATE INDEX t_a ON t (a) WHERE a > 5;`
  );
}

const keys = ["x", "y", 5].map((value) => encodeKey([value]) as Uint8Array);

function row(): fc.Arbitrary<RowState> {
  return fc
    .record({
      table: fc.constantFrom(...names, "unknown"),
      key: fc.constantFrom(...keys),
      at: stamp(),
      cl: fc.integer({ min: 1, max: 4 }),
      cells: fc.uniqueArray(
        fc.record({
          column: fc.constantFrom(...columnNames, "z"),
          stamp: stamp(),
          value: sqlValue(),
        }),
        { selector: (cell) => cell.column },
      ),
    })
    .map(({ table, key, at, cl, cells }) => ({
      ...{ table, key, clock: { ...at, cl } },
      cells: cells
        .filter((cell) => compareStamps(cell.stamp, at) >= 0)
        .sort((a, b) => (a.column < b.column ? -1 : 1)),
    }));
}

type Change =
  | { readonly kind: "rows"; readonly rows: readonly RowState[]; readonly isChangeset: boolean }
  | { readonly kind: "write"; readonly sql: readonly string[] };

type Step =
  | Change
  /** The index is built anew, row by row, and these come in between. */
  | { readonly kind: "rebuild"; readonly meanwhile: readonly Change[] }
  /** The schema gets so many columns at least, in the running store or over a restart. */
  | { readonly kind: "schema"; readonly count: number; readonly isRestart: boolean }
  /** A write behind the store's back, which a scrub may meet once the rows are old enough. */
  | { readonly kind: "edit"; readonly sql: string; readonly isMet: boolean }
  | { readonly kind: "scrub" }
  /** The clock was far ahead for one write, and is put right. */
  | { readonly kind: "clock fault"; readonly sql: string }
  | { readonly kind: "wait"; readonly ms: number };

function step(): fc.Arbitrary<Step> {
  const name = fc.constantFrom(...names);
  const key = fc.constantFrom("'x'", "'y'", "5");
  const value = fc.constantFrom("1", "'1'", "2.5", "NULL", "'up'");
  const insert = fc.tuple(name, key, value).map(([to, k, v]) => {
    return `INSERT INTO ${to} (k, a) VALUES (${k}, ${v}) ON CONFLICT DO UPDATE SET a = excluded.a`;
  });
  const statement = fc.oneof(
    { weight: 2, arbitrary: insert },
    fc.tuple(name, key).map(([from, k]) => `DELETE FROM ${from} WHERE k = ${k}`),
    fc.tuple(name, value).map(([to, v]) => `UPDATE ${to} SET b = ${v}`),
    fc
      .tuple(name, key, key)
      .map(([to, k, l]) => `UPDATE OR REPLACE ${to} SET k = ${k} WHERE k = ${l}`),
  );
  const edit = fc.tuple(name, value).map(([to, v]) => `UPDATE OR IGNORE ${to} SET a = ${v}`);
  const rows = fc.record({
    kind: fc.constant("rows" as const),
    rows: fc.array(row(), { minLength: 1, maxLength: 5 }),
    isChangeset: fc.boolean(),
  });
  const write = fc.record({
    kind: fc.constant("write" as const),
    sql: fc.array(statement, { minLength: 1, maxLength: 3 }),
  });
  return fc.oneof(
    { weight: 3, arbitrary: rows },
    { weight: 3, arbitrary: write },
    fc.record({
      kind: fc.constant("rebuild" as const),
      meanwhile: fc.array(fc.oneof(rows, write), { minLength: 1, maxLength: 6 }),
    }),
    fc.record({
      kind: fc.constant("schema" as const),
      count: fc.integer({ min: 1, max: 3 }),
      isRestart: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("edit" as const), sql: edit, isMet: fc.boolean() }),
    fc.constant({ kind: "scrub" as const }),
    fc.record({ kind: fc.constant("clock fault" as const), sql: insert }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(10, 1500, 9000) }),
  );
}

/** One database with its replica, over schemas and restarts. */
class World implements Disposable {
  readonly #vfs = new MemoryVfs();
  readonly #columns: readonly string[];
  readonly replies: StoreReply[] = [];
  /** All that was ever told to it or by it. */
  readonly told: RowState[] = [];
  node: SqliteNode;
  replica: Replica;
  count: number;
  nowMs = 1_764_000_000_000;
  isDamaged = false;
  /** Cells that scrubs have found. */
  damaged = 0;
  /** Changes that came while an index was half built. */
  betweenRows = 0;
  #ticket = 0;

  constructor(all: readonly string[], count: number) {
    this.#columns = all;
    this.count = count;
    this.node = this.#open();
    this.replica = this.start();
  }

  #open(): SqliteNode {
    const schema = schemaSql(this.count, this.#columns);
    return new SqliteNode(schema, { digester, vfs: this.#vfs, nowMs: this.nowMs });
  }

  /** A replica that builds its index now. */
  start(): Replica {
    const replica = this.#begin();
    this.pass(replica, 0);
    return replica;
  }

  #begin(options: Partial<ReplicaOptions> = {}): Replica {
    const { store, clock } = this.node;
    const schema = store.schema.shapes;
    const replica = new Replica({ store, clock, digester, schema, options });
    replica.start(this.nowMs, []);
    return replica;
  }

  pass(replica: Replica, ms: number): void {
    this.nowMs += ms;
    do replica.tick(this.nowMs, this.replies);
    while (replica.status().starting);
  }

  do(step: Step): void {
    const { node, replica } = this;
    switch (step.kind) {
      case "rows": {
        const { rows } = step;
        const at = rows
          .map(({ clock }) => clock)
          .sort(compareStamps)
          .at(-1) as RowState["clock"];
        const what = step.isChangeset ? "changesets" : "rows";
        const body = step.isChangeset
          ? encodeChangeset({ stamp: at, lane: 1, rows })
          : encodeRowBlock(rows);
        this.told.push(...rows);
        this.handle({ kind: "apply", lane: 1, peer, what, bodies: [body] });
        return;
      }
      case "write":
        this.#write(step.sql);
        return;
      case "rebuild": {
        this.replica = this.#begin({ rebuildRowsPerTick: 1 });
        for (const change of step.meanwhile) {
          this.replica.tick(this.nowMs, this.replies);
          this.betweenRows += this.replica.status().starting ? 1 : 0;
          this.do(change);
        }
        this.pass(this.replica, 0);
        return;
      }
      case "schema": {
        this.count = Math.max(this.count, step.count);
        if (step.isRestart) {
          node[Symbol.dispose]();
          this.node = this.#open();
          this.replica = this.start();
          return;
        }
        const changed = node.store.changeSchema(schemaOf(schemaSql(this.count, this.#columns)));
        if (changed.kind === "refused") throw new Error(changed.problems[0]?.why);
        replica.changeSchema(node.store.schema.shapes, changed.adoptedRows > 0, this.nowMs, []);
        return;
      }
      case "edit": {
        if (this.count === 0) return;
        this.isDamaged = true;
        const other = openMemory(this.#vfs);
        other.exec(step.sql);
        other.close();
        if (!step.isMet) return;
        this.pass(replica, 12_000);
        this.do({ kind: "scrub" });
        return;
      }
      case "scrub": {
        const slice = node.store.scrub(undefined, 1000, replica.settledMs, this.nowMs);
        this.damaged += slice.damaged;
        replica.scrubbed(slice.merged, this.nowMs, this.replies);
        return;
      }
      case "clock fault": {
        const rightMs = this.nowMs;
        this.nowMs += 400_000_000;
        this.#write([step.sql]);
        this.nowMs = rightMs;
        // Stamps that were made meanwhile are never told, and none is left.
        this.isDamaged = true;
        this.handle({ kind: "peers", offsetsMs: [0, 0, 0], count: 3 });
        this.pass(replica, 0);
        return;
      }
      case "wait":
        this.pass(replica, step.ms);
        return;
      default:
        step satisfies never;
    }
  }

  handle(request: object): void {
    const asked = { ...request, ticket: ++this.#ticket as Ticket } as StoreRequest;
    this.replica.handle(asked, this.nowMs, this.replies);
  }

  #write(statements: readonly string[]): void {
    const { node, replica } = this;
    node.store.begin();
    for (const sql of statements) {
      try {
        node.db.exec(sql);
      } catch {
        // SQLite refuses it: no such table yet, NOT NULL.
      }
    }
    const result = node.store.commit(this.nowMs);
    if (result.kind === "refused") {
      // A text of a merge that isn't UTF-8 was written anew, under another key. Nothing is left of the commit.
      expect(result.why).toEndWith("TEXT that isn't UTF-8: write it as a BLOB");
      return;
    }
    for (const { table, key, clock, cells } of result.changeset?.rows ?? []) {
      // A cell of a local commit has more to it than what is sent.
      const sent = cells.map(({ column, stamp, value }) => ({ column, stamp, value }));
      this.told.push({ table, key, clock, cells: sent });
    }
    replica.committed(result, this.nowMs, this.replies);
  }

  /** What is held, by row id. */
  held(): Map<string, RowState> {
    const { rows } = this.node.store.scan(undefined, 10_000);
    const states = this.node.store.read(rows);
    return new Map(rows.map(({ id }, i) => [id, states[i] as RowState]));
  }

  [Symbol.dispose](): void {
    this.node[Symbol.dispose]();
  }
}

// The clever index, kept up to date row by row, equals the one that a scan of what is held now gives.
// And what is shown is a function of what is held and the schema, whatever schemas there were before.
test("after any history the index equals a rebuilt one, and SELECT * shows what is held", () => {
  const seen = { damaged: 0, restamped: 0, undamaged: 0, betweenRows: 0 };
  fc.assert(
    fc.property(
      columns(),
      fc.nat(2),
      fc.array(step(), { minLength: 1, maxLength: 25, size: "max" }),
      fc.boolean(),
      (all, count, steps, isCalm) => {
        using world = new World(all, count);
        for (const one of steps) {
          if (isCalm && (one.kind === "edit" || one.kind === "clock fault")) continue;
          world.do(one);
        }
        const { node, replica } = world;
        if (!world.isDamaged) {
          seen.undamaged++;
          const model = joined(world.told, digester);
          expect(world.held()).toEqual(model);
          for (const name of names) {
            if (world.count === 0) continue;
            expect(sorted(selectRows(node, name))).toEqual(
              sorted(shownRows(node.store.schema, name, model.values())),
            );
          }
        }
        if (world.damaged > 0) seen.damaged++;
        seen.betweenRows += world.betweenRows;
        seen.restamped += replica.status().clock.restampedRows;
        // Late clocks have entered every cut that can be asked for.
        for (let i = 0; i < 12; i++) world.pass(replica, 1000);
        const atRest = world.start();
        const { rows, roots, cut, starting } = replica.status();
        const rebuilt = atRest.status();
        expect({ rows, roots, cut, starting }).toEqual({
          ...{ rows: rebuilt.rows, roots: rebuilt.roots, cut: rebuilt.cut, starting: false },
        });
        expect(rows).toBe(world.held().size);
        expect(node.strays()).toEqual([]);
        node.db.exec("PRAGMA ignore_check_constraints = ON");
        expect(node.db.all("PRAGMA integrity_check")).toEqual([["ok"]]);
      },
    ),
    { numRuns: 150 },
  );
  expect(Object.values(seen).map((count) => count > 0)).toEqual([true, true, true, true]);
}, 120_000);
