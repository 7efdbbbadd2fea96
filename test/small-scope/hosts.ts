/**
 * The hosts of small scopes: the real stores behind the few things that happen to a host in a history.
 *
 * - SQLite, as clients write it: capture, the merge, restarts, a schema that lacks a column.
 * - The map store with the real replica around it: clocks, the index, the settled image, stamps given anew.
 *
 * @module
 */

import { decodeChangeset, encodeChangeset, type Lane } from "../../core/change/changeset.ts";
import type { Site, Stamp } from "../../core/clock/stamp.ts";
import type { ClockState, RowId } from "../../core/row/digest.ts";
import { encodeKey } from "../../core/row/key.ts";
import { type RowState, stampOfRow } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { MergedRow } from "../../core/row-store.ts";
import type { PlannedSchema } from "../../core/schema/schema.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { SqliteNode, schemaOf } from "../generators/sqlite-store.ts";
import { createDigester, siteOf } from "../model/history.ts";
import { type Column, columns, type Shown } from "./said.ts";
import { type Statement, urgentRule } from "./statements.ts";

export const digester = createDigester();
const table = "t";

export function refOf(key: string): { readonly table: string; readonly key: Uint8Array } {
  return { table, key: encodeKey([key]) as Uint8Array };
}

/** A commit that changed something. */
export interface Commit {
  readonly stamp: Stamp;
  readonly lane: Lane;
  readonly changeset: Uint8Array;
}

export interface ScopeHost extends Disposable {
  readonly site: Site;
  /** That its schema has. */
  readonly columns: readonly Column[];
  /** It hasn't agreed with anybody yet, and may lack rows: one that is new here has to be urgent. */
  readonly isUnsure: boolean;
  /** Undefined: it changed nothing, or was refused. */
  write(statement: Statement, key: string, nowMs: number): Commit | undefined;
  hear(changeset: Uint8Array, nowMs: number): void;
  /** Another host's row, as repair brings it. */
  hearRow(row: RowState, nowMs: number): void;
  read(key: string): RowState | undefined;
  shown(key: string): Shown;
  /** The process is killed, and comes back. */
  restart(nowMs: number): void;
  /** Gets the columns that it lacks. */
  reload(): void;
  /** A history begins, a while after the one before. */
  begin(nowMs: number): void;
  /** Is told the peers' clocks, against the own. What it pushes if it has stamped rows anew; undefined: it hasn't. */
  clocks(offsetsMs: readonly number[], nowMs: number): readonly Commit[] | undefined;
  /** What is wrong with what an index would know of this row; undefined: nothing. */
  indexProblem(key: string, nowMs: number): string | undefined;
}

/** What whoever listens to a store would know of its rows. */
class Told {
  readonly #clocks = new Map<RowId, ClockState>();
  problem: string | undefined;

  take(merged: readonly MergedRow[]): void {
    for (const { id, before, after, changed } of merged) {
      const known = textOfClocks(this.#clocks.get(id));
      if (textOfClocks(before) !== known) this.problem ??= `told of before: ${known}`;
      if (changed === (textOfClocks(after) === known)) this.problem ??= `told of changed: ${known}`;
      this.#clocks.set(id, { clock: after.clock, cells: after.cells });
    }
  }

  clocksOf(key: string): ClockState | undefined {
    const { key: bytes } = refOf(key);
    return this.#clocks.get(digester.rowId(table, bytes));
  }
}

function textOfClocks(clocks: ClockState | undefined): string {
  if (clocks === undefined) return "nothing";
  const cells = clocks.cells.map(({ column, stamp, hash }) => {
    return ` ${column}@${textOfStamp(stamp)}#${hash}`;
  });
  return `cl ${clocks.clock.cl}@${textOfStamp(clocks.clock)}${cells.join("")}`;
}

export function textOfStamp({ ms, count, site }: Stamp): string {
  return `${ms}.${count}.${Number.parseInt(site, 16)}`;
}

const schemas = new Map<string, PlannedSchema>();

function schemaWith(has: readonly Column[]): PlannedSchema {
  const names = has.join(", ");
  let schema = schemas.get(names);
  if (schema === undefined) {
    const sql = `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${names})`;
    schema = schemaOf(sql, { t: { urgent: urgentRule } });
    schemas.set(names, schema);
  }
  return schema;
}

export class SqliteHost implements ScopeHost {
  readonly #vfs = new MemoryVfs();
  readonly #index: number;
  readonly #told = new Told();
  #node: SqliteNode;
  columns: readonly Column[];
  readonly isUnsure: boolean;

  constructor(index: number, has: readonly Column[], isUnsure = false) {
    this.#index = index;
    this.columns = has;
    this.isUnsure = isUnsure;
    this.#node = this.#open();
  }

  get site(): Site {
    return siteOf(this.#index);
  }

  #open(): SqliteNode {
    return new SqliteNode(schemaWith(this.columns), {
      ...{ site: this.#index, digester, vfs: this.#vfs },
    });
  }

  write({ sql, names }: Statement, key: string, nowMs: number): Commit | undefined {
    const { store, db } = this.#node;
    store.begin();
    for (const one of sql) {
      const named = names.length === 0 ? undefined : { table, columns: new Set(names) };
      store.beginStatement(named);
      db.run(one, key);
    }
    const result = store.commit(nowMs, new Set(this.isUnsure ? [table] : []));
    if (result.kind === "refused") {
      if (result.isUnheard) return undefined;
      throw new Error(result.why);
    }
    this.#told.take(result.merged);
    const { changeset } = result;
    if (changeset === undefined) return undefined;
    const { stamp, lane } = changeset;
    return { stamp, lane, changeset: result.encoded ?? encodeChangeset(changeset) };
  }

  hear(changeset: Uint8Array, _nowMs: number): void {
    const decoded = decodeChangeset(changeset);
    if (decoded.kind === "malformed") throw new Error(decoded.why);
    this.#merge(decoded.changeset.rows);
  }

  hearRow(row: RowState): void {
    this.#merge([row]);
  }

  #merge(rows: readonly RowState[]): void {
    this.#told.take(this.#node.store.merge(rows));
    for (const row of rows) this.#node.clock.observe(stampOfRow(row));
  }

  read(key: string): RowState | undefined {
    return this.#node.store.read([refOf(key)])[0];
  }

  shown(key: string): Shown {
    const list = this.columns.join(", ");
    const [row] = this.#node.db.all(`SELECT ${list} FROM t WHERE k = ?`, key);
    if (row === undefined) return undefined;
    const value = (column: Column): SqlValue => row[this.columns.indexOf(column)] ?? null;
    return { status: value("status"), weight: value("weight") };
  }

  restart(): void {
    this.#node.db.close();
    this.#node = this.#open();
  }

  reload(): void {
    this.columns = columns;
    const { kind } = this.#node.store.changeSchema(schemaWith(columns));
    if (kind !== "changed") throw new Error(`reload: ${kind}`);
  }

  begin(): void {}

  clocks(): undefined {}

  indexProblem(key: string): string | undefined {
    const row = this.read(key);
    const held = row && digester.clocksOf(row);
    if (textOfClocks(held) !== textOfClocks(this.#told.clocksOf(key))) {
      return `told ${textOfClocks(this.#told.clocksOf(key))}, held ${textOfClocks(held)}`;
    }
    return this.#told.problem;
  }

  [Symbol.dispose](): void {
    this.#node[Symbol.dispose]();
  }
}
