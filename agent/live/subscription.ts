/**
 * One live query: its rows as last told, and what a commit makes of them.
 *
 * Rows are kept as the text that clients were sent. A *keyed* query (`keyed-query.ts`) looks up the
 * results of the rows that changed; any other is run again and compared. Results are the same when they
 * have the same *identity*: the keys of the rows that they come from; for other queries those columns
 * that are key columns of some table, or, without any, the whole row. A row whose identity stays and
 * whose text changes is an update and keeps its row id. Events folded up always equal the fresh result,
 * whichever identity was found.
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
import type { TableChanges } from "./table-changes.ts";

interface Row {
  readonly rowId: number;
  /** `["a",1]` */
  readonly cells: string;
}

/** One table of a keyed query. */
export interface PlannedSource {
  readonly table: string;
  readonly keyColumns: number;
  /** The results of one of its rows; undefined where a change concerns others too. */
  readonly one: Statement | undefined;
}

/** How the rows are found. Statements belong to the subscription and are compiled for it. */
export type Plan =
  | {
      readonly kind: "keyed";
      readonly all: Statement;
      readonly sources: readonly PlannedSource[];
    }
  | {
      readonly kind: "rerun";
      readonly all: Statement;
      /** Columns of the result that make the identity; empty: all. */
      readonly identity: readonly number[];
    };

/** Above this many changed rows, or a quarter of those held, running again is cheaper. */
const lookupsMax = 1000;
const lookupsAlways = 8;

/** Cells of the results that there are now, by identity. Empty: none any more. */
type Fresh = Map<string, string[]>;

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
  /** For each table of a keyed query over several: identities in which a key stands, by the key's text. */
  readonly #byKey: readonly Map<string, Set<string>>[];
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
    const { plan } = options;
    const isJoin = plan.kind === "keyed" && plan.sources.length > 1;
    this.#byKey = isJoin ? plan.sources.map(() => new Map()) : [];
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

  /** Whether {@link refresh} can look up what these changes concern, in place of running it again. */
  canLookUp(changes: TableChanges): boolean {
    const plan = this.#plan;
    if (plan.kind !== "keyed") return false;
    let lookups = 0;
    for (const [table, rows] of changes) {
      const source = plan.sources.find((one) => one.table === table);
      if (rows === "unknown" || source?.one === undefined) return false;
      lookups += rows.length;
    }
    return lookups <= lookupsAlways || (lookups <= lookupsMax && lookups * 4 < this.#rows.size);
  }

  /**
   * Takes in changes of its tables, and returns the lines of what became of it: "" when nothing did.
   * On an error the rows are as before; the subscription is to be ended.
   *
   * @param changes of its tables alone; undefined finds out by itself
   * @throws SqliteError, NotUtf8Error
   */
  refresh(changes: TableChanges | undefined): string {
    const plan = this.#plan;
    return plan.kind === "keyed" && changes !== undefined && this.canLookUp(changes)
      ? this.#lookUp(plan, changes)
      : this.#runAgain();
  }

  dispose(): void {
    this.#plan.all.finalize();
    if (this.#plan.kind === "keyed") for (const { one } of this.#plan.sources) one?.finalize();
  }

  #lookUp(plan: Plan & { kind: "keyed" }, changes: TableChanges): string {
    const fresh: Fresh = new Map();
    for (const [i, { table, one, keyColumns }] of plan.sources.entries()) {
      for (const { key } of (changes.get(table) ?? []) as readonly MergedRow[]) {
        const values = decodeKey(key);
        if (values === undefined || values.length !== keyColumns || one === undefined) continue;
        const text = keyText(values);
        const held = this.#byKey.length === 0 ? [text] : (this.#byKey[i]?.get(text) ?? []);
        for (const identity of held) if (!fresh.has(identity)) fresh.set(identity, []);
        for (let n = 0; n < keyColumns; n++) one.bind(n + 1, values[n] as SqlValue);
        // A key that its column's affinity would change finds another row, which is what it is.
        this.#forEachRow(one, (identity, cells) => fresh.set(identity, [cells]));
      }
    }
    return this.#compare(fresh);
  }

  #runAgain(): string {
    const fresh: Fresh = new Map();
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
  #pairSingle(fresh: Fresh): void {
    if (this.#rows.size !== 1 || fresh.size !== 2) return;
    const [[oldIdentity, rows]] = this.#rows as unknown as [[string, Row[]]];
    const [newIdentity] = [...fresh.keys()].filter((identity) => identity !== oldIdentity);
    if (newIdentity === undefined || fresh.get(oldIdentity)?.length !== 0) return;
    if (rows.length !== 1 || fresh.get(newIdentity)?.length !== 1) return;
    this.#rows.delete(oldIdentity);
    this.#rows.set(newIdentity, rows);
    fresh.delete(oldIdentity);
  }

  #compare(fresh: Fresh): string {
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
      const rows = this.#rows.get(identity) as Row[];
      rows[rows.indexOf(row)] = { rowId: row.rowId, cells };
      lines += this.#event("update", row.rowId, cells);
    }
    for (const [identity, cells] of inserts) {
      const row = { rowId: ++this.#lastRowId, cells };
      this.#add(identity, row);
      lines += this.#event("insert", row.rowId, cells);
    }
    for (const [identity, row] of deletes) {
      this.#remove(identity, row);
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
    if (rows !== undefined) {
      rows.push(row);
      return;
    }
    this.#rows.set(identity, [row]);
    this.#forEachKey(identity, (identities, key) => {
      const same = identities.get(key);
      if (same === undefined) identities.set(key, new Set([identity]));
      else same.add(identity);
    });
  }

  #remove(identity: string, row: Row): void {
    const rows = this.#rows.get(identity) as Row[];
    if (rows.length > 1) {
      rows.splice(rows.indexOf(row), 1);
      return;
    }
    this.#rows.delete(identity);
    this.#forEachKey(identity, (identities, key) => {
      const same = identities.get(key);
      same?.delete(identity);
      if (same?.size === 0) identities.delete(key);
    });
  }

  #forEachKey(
    identity: string,
    use: (identities: Map<string, Set<string>>, key: string) => void,
  ): void {
    if (this.#byKey.length === 0) return;
    for (const [i, key] of identity.split(keySeparator).entries()) {
      const identities = this.#byKey[i];
      if (identities !== undefined) use(identities, key);
    }
  }

  #forEachRow(statement: Statement, use: (identity: string, cells: string) => void): void {
    const plan = this.#plan;
    try {
      while (statement.step()) {
        const cells = cellsJson(statement, this.#columnCount);
        if (plan.kind === "keyed") use(this.#identityOf(statement, plan.sources), cells);
        else if (plan.identity.length === 0) use(cells, cells);
        else use(keyText(plan.identity.map((column) => statement.column(column))), cells);
      }
    } finally {
      statement.reset();
    }
  }

  /** The keys' texts, table by table. */
  #identityOf(statement: Statement, sources: readonly PlannedSource[]): string {
    let column = this.#columnCount;
    const keys: string[] = [];
    for (const { keyColumns } of sources) {
      const values: SqlValue[] = [];
      for (let i = 0; i < keyColumns; i++) values.push(statement.column(column++));
      keys.push(keyText(values));
    }
    return keys.length === 1 ? (keys[0] as string) : keys.join(keySeparator);
  }
}

/** Stands in no key's text: JSON escapes it. */
const keySeparator = "\n";

function keyText(values: readonly SqlValue[]): string {
  let text = "";
  for (const value of values) text += `${sqlValueToJson(canonicalKeyValue(value))},`;
  return text;
}
