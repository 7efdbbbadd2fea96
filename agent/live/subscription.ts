/**
 * One live query: its rows as last told, and what a commit makes of them.
 *
 * Rows are kept as the text that clients were sent. A query over one table (`keyed-query.ts`) looks up
 * the rows that changed; any other is run again and compared, and only after a change of a table that
 * it reads. Rows are the same when they have the same *identity*: the key of the table for the first
 * kind; for the second those columns of the result that are key columns of some table, or, without
 * any, the whole row. A row whose identity stays and whose text changes is an update and keeps its row
 * id. Events folded up always equal the fresh result, whichever identity was found.
 *
 * @module
 */

import { canonicalKeyValue, decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { MergedRow } from "../../core/store/row-store.ts";
import type { Statement } from "../../wasm/statement.ts";
import { sqlValueToJson } from "../api/json-writer.ts";
import { cellsJson } from "../sql/query-runner.ts";
import { ChangeHistory } from "./change-history.ts";

interface Row {
  readonly rowId: number;
  /** `["a",1]` */
  readonly cells: string;
}

/** How the rows are found. Statements belong to the subscription and are compiled for it. */
export type Plan =
  | {
      readonly kind: "keyed";
      readonly all: Statement;
      readonly one: Statement;
      readonly keyColumns: number;
    }
  | {
      readonly kind: "rerun";
      readonly all: Statement;
      /** Columns of the result that make the identity; empty: all. */
      readonly identity: readonly number[];
    };

/** Above this many changed rows, or a quarter of those held, running again is cheaper. */
const lookupsMax = 1000;

export class Subscription {
  readonly id: string;
  readonly hash: string;
  /** With all values in it; who asks for the same text shares this subscription. */
  readonly sql: string;
  /** Tables that it reads, in ASCII lower case. */
  readonly tables: ReadonlySet<string>;
  readonly columnsJson: string;
  readonly history: ChangeHistory = new ChangeHistory();
  readonly #plan: Plan;
  readonly #columnCount: number;
  /** By identity; several where the identity isn't unique. */
  readonly #rows = new Map<string, Row[]>();
  #lastRowId = 0;

  constructor(options: {
    readonly id: string;
    readonly hash: string;
    readonly sql: string;
    readonly tables: ReadonlySet<string>;
    readonly columns: readonly string[];
    readonly plan: Plan;
  }) {
    this.id = options.id;
    this.hash = options.hash;
    this.sql = options.sql;
    this.tables = options.tables;
    this.columnsJson = JSON.stringify(options.columns);
    this.#plan = options.plan;
    this.#columnCount = options.columns.length;
  }

  get rowCount(): number {
    let count = 0;
    for (const rows of this.#rows.values()) count += rows.length;
    return count;
  }

  get isKeyed(): boolean {
    return this.#plan.kind === "keyed";
  }

  /** Runs it for the first time. @throws SqliteError, NotUtf8Error */
  start(): void {
    this.#forEachRow(this.#plan.all, (identity, cells) => {
      this.#add(identity, { rowId: ++this.#lastRowId, cells });
    });
  }

  /** `{"row":…}` lines of all rows, by row id. */
  rowLines(): string {
    const rows = [...this.#rows.values()].flat().sort((a, b) => a.rowId - b.rowId);
    let text = "";
    for (const row of rows) text += `{"row":[${row.rowId},${row.cells}]}\n`;
    return text;
  }

  /**
   * Takes in a change of its tables, and returns the lines of what became of it: "" when nothing did.
   * On an error the rows are as before; the subscription is to be ended.
   *
   * @param changed rows of its one table; `"unknown"` finds out by itself
   * @throws SqliteError, NotUtf8Error
   */
  refresh(changed: readonly MergedRow[] | "unknown"): string {
    const plan = this.#plan;
    if (plan.kind === "keyed" && changed !== "unknown") {
      const isFew = changed.length <= 8 || changed.length * 4 < this.#rows.size;
      if (isFew && changed.length <= lookupsMax) return this.#refreshKeyed(plan, changed);
    }
    return this.#refreshAll();
  }

  dispose(): void {
    this.#plan.all.finalize();
    if (this.#plan.kind === "keyed") this.#plan.one.finalize();
  }

  #refreshKeyed(plan: Plan & { kind: "keyed" }, changed: readonly MergedRow[]): string {
    const fresh = new Map<string, string[]>();
    for (const { key } of changed) {
      const values = decodeKey(key);
      if (values === undefined || values.length !== plan.keyColumns) continue;
      fresh.set(identityOf(values), fresh.get(identityOf(values)) ?? []);
      for (let i = 0; i < values.length; i++) plan.one.bind(i + 1, values[i] as SqlValue);
      // A key that the column's affinity would change finds another row; it is compared as what it is.
      this.#forEachRow(plan.one, (identity, cells) => fresh.set(identity, [cells]));
    }
    return this.#compare(fresh);
  }

  #refreshAll(): string {
    const fresh = new Map<string, string[]>();
    this.#forEachRow(this.#plan.all, (identity, cells) => {
      const same = fresh.get(identity);
      if (same === undefined) fresh.set(identity, [cells]);
      else same.push(cells);
    });
    for (const identity of this.#rows.keys()) if (!fresh.has(identity)) fresh.set(identity, []);
    if (this.#plan.kind === "rerun") this.#pairSingle(fresh);
    return this.#compare(fresh);
  }

  /**
   * A result without key columns whose one different row is another now (an aggregate, say): an update
   * of that row, not a delete and an insert.
   */
  #pairSingle(fresh: Map<string, string[]>): void {
    if (this.#rows.size !== 1 || fresh.size !== 2) return;
    const [[oldIdentity, rows]] = this.#rows as unknown as [[string, Row[]]];
    const [newIdentity] = [...fresh.keys()].filter((identity) => identity !== oldIdentity);
    if (newIdentity === undefined || fresh.get(oldIdentity)?.length !== 0) return;
    if (rows.length !== 1 || fresh.get(newIdentity)?.length !== 1) return;
    this.#rows.delete(oldIdentity);
    this.#rows.set(newIdentity, rows);
    fresh.delete(oldIdentity);
  }

  /** @param fresh for each identity that may have changed, the cells of its rows now */
  #compare(fresh: ReadonlyMap<string, readonly string[]>): string {
    const updates: [Row, string, string][] = [];
    const inserts: [string, string][] = [];
    const deletes: [string, Row][] = [];
    for (const [identity, cells] of fresh) {
      const held = this.#rows.get(identity) ?? [];
      if (held.length === 1 && cells.length === 1 && held[0]?.cells === cells[0]) continue;
      const gone = [...held];
      const come: string[] = [];
      for (const text of cells) {
        const at = gone.findIndex((row) => row.cells === text);
        if (at >= 0) gone.splice(at, 1);
        else come.push(text);
      }
      for (const text of come) {
        const row = gone.shift();
        if (row === undefined) inserts.push([identity, text]);
        else updates.push([row, identity, text]);
      }
      for (const row of gone) deletes.push([identity, row]);
    }
    let lines = "";
    for (const [row, identity, cells] of updates) {
      this.#replace(identity, row, { rowId: row.rowId, cells });
      lines += this.#event("update", row.rowId, cells);
    }
    for (const [identity, cells] of inserts) {
      const row = { rowId: ++this.#lastRowId, cells };
      this.#add(identity, row);
      lines += this.#event("insert", row.rowId, cells);
    }
    for (const [identity, row] of deletes) {
      this.#replace(identity, row, undefined);
      lines += this.#event("delete", row.rowId, row.cells);
    }
    return lines;
  }

  #event(type: "insert" | "update" | "delete", rowId: number, cells: string): string {
    const line = `{"change":["${type}",${rowId},${cells},${this.history.lastId + 1}]}\n`;
    this.history.add(line);
    return line;
  }

  #add(identity: string, row: Row): void {
    const rows = this.#rows.get(identity);
    if (rows === undefined) this.#rows.set(identity, [row]);
    else rows.push(row);
  }

  #replace(identity: string, before: Row, after: Row | undefined): void {
    const rows = this.#rows.get(identity) as Row[];
    const at = rows.indexOf(before);
    if (after !== undefined) rows[at] = after;
    else if (rows.length > 1) rows.splice(at, 1);
    else this.#rows.delete(identity);
  }

  #forEachRow(statement: Statement, use: (identity: string, cells: string) => void): void {
    const plan = this.#plan;
    try {
      while (statement.step()) {
        const cells = cellsJson(statement, this.#columnCount);
        if (plan.kind === "keyed") {
          const values: SqlValue[] = [];
          for (let i = 0; i < plan.keyColumns; i++) {
            values.push(statement.column(this.#columnCount + i));
          }
          use(identityOf(values), cells);
        } else if (plan.identity.length === 0) use(cells, cells);
        else use(identityOf(plan.identity.map((column) => statement.column(column))), cells);
      }
    } finally {
      statement.reset();
    }
  }
}

function identityOf(values: readonly SqlValue[]): string {
  let text = "";
  for (const value of values) text += `${sqlValueToJson(canonicalKeyValue(value))},`;
  return text;
}
