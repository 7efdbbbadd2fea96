/**
 * One replicated table in SQLite: its base table, the clock table beside it, and the statements on both,
 * each compiled once.
 *
 * A row's *place* is what leads to its base row and its clocks: the rowid, or for WITHOUT ROWID the key.
 *
 * @module
 */

import { decodeKey, encodeKey } from "../row/key.ts";
import { lowerAscii } from "../row/row-state.ts";
import { equalValues, RawText, Real, type SqlValue, valueTagText } from "../row/value.ts";
import { isKeptByAffinity, isKeyKept, shownKeyValue } from "../schema/affinity.ts";
import type { PlannedColumn, PlannedTable } from "../schema/schema.ts";
import { clockTableName } from "../schema/schema-plan.ts";
import { urgentSql } from "../schema/schema-reader.ts";
import { quoteName } from "../schema/sql-token.ts";
import type { SqlDatabase, SqlStatement } from "./database.ts";

export interface Place {
  /** Undefined for WITHOUT ROWID. */
  readonly rowid: number | bigint | undefined;
  /** Values of the key columns, canonical. */
  readonly key: readonly SqlValue[];
  /** The same as bytes, as of `row/key.ts`. */
  readonly keyBytes: Uint8Array;
}

/** Clocks as they stand beside a row. Null: the row has none. */
export interface FoundRow {
  readonly rowid: number | bigint | undefined;
  readonly clock: Uint8Array | null;
  readonly held: Uint8Array | null;
}

/** A base row. */
export interface BaseRow {
  readonly rowid: number | bigint | undefined;
  /** As stored; in the order of the primary key. */
  readonly key: readonly SqlValue[];
  /** In the order of `valueColumns`. */
  readonly values: readonly SqlValue[];
}

export interface ClockedRow {
  /** The rowid, or the key's bytes: where a scan goes on. */
  readonly after: number | bigint | Uint8Array;
  /** As stored. Undefined where `after` is the key. */
  readonly key: readonly SqlValue[] | undefined;
  readonly clock: Uint8Array;
  readonly held: Uint8Array | null;
}

/** Where a scan's statement has the key; WITHOUT ROWID its place, which is the key, is in the one before. */
export const scannedKeyColumn = 3;

/** UPDATE statements kept a table, one for each set of columns. */
const updatesKeptMax = 64;

export class StoredTable {
  readonly plan: PlannedTable;
  readonly name: string;
  /** As this database spells it, which need not be as the file does. */
  readonly sqlName: string;
  /** Index in `plan.valueColumns` by name. */
  readonly valueIndex: ReadonlyMap<string, number>;
  /** Positions in the open database of the key columns and of the value columns. */
  readonly keyPositions: readonly number[];
  readonly valuePositions: readonly number[];
  readonly #database: SqlDatabase;
  readonly #statements = new Map<string, SqlStatement>();
  /** By the set of columns, one bit each; of tables with more columns than bits by their indexes. */
  readonly #updates = new Map<number | string, SqlStatement>();
  readonly #hasTextKey: boolean;
  // Those of a merge, which looking up by name would cost as much as they take.
  #find: SqlStatement | undefined;
  #insert: SqlStatement | undefined;
  #insertNew: SqlStatement | undefined;
  #insertClocks: SqlStatement | undefined;
  #updateClocks: SqlStatement | undefined;
  #updateClocksAlone: SqlStatement | undefined;

  constructor(database: SqlDatabase, plan: PlannedTable) {
    this.#database = database;
    this.plan = plan;
    this.name = plan.name;
    this.valueIndex = new Map(plan.valueColumns.map((column, i) => [column.name, i]));
    const [found] = database.all(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND lower(name) = ?",
      plan.name,
    );
    this.sqlName = String(found?.[0]);
    // Not those of the file: a column that was added later stands last.
    const positions = new Map<string, number>();
    const rows = database.all("SELECT name, cid FROM pragma_table_xinfo(?)", plan.sqlName);
    for (const [name, position] of rows) positions.set(lowerAscii(String(name)), Number(position));
    const positionOf = (column: PlannedColumn): number => positions.get(column.name) as number;
    this.#hasTextKey = plan.keyColumns.length === 1 && plan.keyColumns[0]?.affinity === "TEXT";
    this.keyPositions = plan.keyColumns.map(positionOf);
    this.valuePositions = plan.valueColumns.map(positionOf);
  }

  /** Whether rows of this key can stand in the table: each part is what its column makes of it. */
  isKey(key: readonly SqlValue[]): boolean {
    const { keyColumns, rowidAlias } = this.plan;
    return (
      key.length === keyColumns.length &&
      keyColumns.every((column, i) => isKeyKept(column.affinity, rowidAlias, key[i] as SqlValue))
    );
  }

  /**
   * The key of these bytes as it is bound, where the key is one TEXT of ordinary length: it needn't become
   * a string. Undefined: decode it.
   */
  textKey(keyBytes: Uint8Array): readonly SqlValue[] | undefined {
    return this.isTextKeyBytes(keyBytes) ? [new RawText(keyBytes.subarray(3))] : undefined;
  }

  /** Whether a key of these bytes is one TEXT of ordinary length, which starts at byte 3. */
  isTextKeyBytes(keyBytes: Uint8Array): boolean {
    return (
      this.#hasTextKey &&
      keyBytes[0] === 1 &&
      keyBytes[1] === valueTagText &&
      (keyBytes[2] as number) < 0x80 &&
      keyBytes[2] === keyBytes.length - 3
    );
  }

  /** Whether the column named gives the value back unchanged. */
  isShown(column: string, value: SqlValue): boolean {
    const index = this.valueIndex.get(column);
    return index !== undefined && this.isShownAt(index, value);
  }

  /** {@link isShown} by the column's index in `plan.valueColumns`. */
  isShownAt(index: number, value: SqlValue): boolean {
    const { affinity, notNull } = this.plan.valueColumns[index] as PlannedColumn;
    return value === null ? !notNull : isKeptByAffinity(affinity, value);
  }

  /** The row of a key that {@link isKey}, with its clocks. One look-up. */
  find(key: readonly SqlValue[], keyBytes: Uint8Array): FoundRow | undefined {
    const { withoutRowid } = this.plan;
    this.#find ??= this.#database.prepare(this.#findSql());
    const statement = this.#find;
    bindAll(statement, key);
    if (withoutRowid) statement.bind(key.length + 1, keyBytes);
    if (!statement.step()) return undefined;
    const found = {
      rowid: withoutRowid ? undefined : (statement.column(0) as number | bigint),
      clock: statement.column(1) as Uint8Array | null,
      held: statement.column(2) as Uint8Array | null,
    };
    statement.reset();
    return found;
  }

  // ---- The same for a merge that makes no objects (`quick-merge.ts`). A key that is undefined is a
  // ---- text key: see `isTextKeyBytes`.

  /** The row found last. Undefined for WITHOUT ROWID. */
  foundRowid: number | bigint | undefined;
  /** Its clocks; null when it has none. */
  foundClock: Uint8Array | null = null;
  foundHeld: Uint8Array | null = null;

  /** {@link find}: false when there is no row. */
  findQuick(key: readonly SqlValue[] | undefined, keyBytes: Uint8Array): boolean {
    const { withoutRowid } = this.plan;
    this.#find ??= this.#database.prepare(this.#findSql());
    const statement = this.#find;
    const next = bindKey(statement, 1, key, keyBytes);
    if (withoutRowid) statement.bind(next, keyBytes);
    if (!statement.step()) return false;
    this.foundRowid = withoutRowid ? undefined : (statement.column(0) as number | bigint);
    this.foundClock = statement.column(1) as Uint8Array | null;
    this.foundHeld = statement.column(2) as Uint8Array | null;
    statement.reset();
    return true;
  }

  /**
   * Inserts a row, and leaves its rowid in {@link foundRowid}; false when there is one of that key.
   *
   * @param values By index.
   */
  insertQuick(
    key: readonly SqlValue[] | undefined,
    keyBytes: Uint8Array,
    values: readonly SqlValue[],
  ): boolean {
    const { withoutRowid, rowidAlias, valueColumns } = this.plan;
    this.#insertNew ??= this.#database.prepare(this.#insertSql("INSERT OR IGNORE"));
    const statement = this.#insertNew;
    const next = bindKey(statement, 1, key, keyBytes);
    for (let i = 0; i < valueColumns.length; i++) statement.bind(next + i, values[i] as SqlValue);
    runBound(statement);
    if (this.#database.changes === 0) return false;
    if (withoutRowid) this.foundRowid = undefined;
    else if (rowidAlias) this.foundRowid = key?.[0] as number | bigint;
    else this.foundRowid = this.#database.lastInsertRowid;
    return true;
  }

  /** Writes columns of the row found last. @param columns A bit for each index. @param values By index. */
  updateQuick(
    columns: number,
    values: readonly SqlValue[],
    key: readonly SqlValue[] | undefined,
    keyBytes: Uint8Array,
  ): void {
    const statement = this.#updates.get(columns) ?? this.#prepareUpdate(columns);
    let at = 1;
    for (let i = 0; columns >>> i !== 0; i++) {
      if (((columns >>> i) & 1) === 1) statement.bind(at++, values[i] as SqlValue);
    }
    if (this.foundRowid !== undefined) statement.bind(at, this.foundRowid);
    else bindKey(statement, at, key, keyBytes);
    runBound(statement);
  }

  #prepareUpdate(columns: number): SqlStatement {
    const indexes: number[] = [];
    for (let i = 0; columns >>> i !== 0; i++) if (((columns >>> i) & 1) === 1) indexes.push(i);
    return this.#keepUpdate(columns, indexes);
  }

  /** Replaces the clocks of the row found last, none of whose values are held. */
  putClocksQuick(clock: Uint8Array, keyBytes: Uint8Array): void {
    this.#updateClocksAlone ??= this.#database.prepare(
      `UPDATE ${this.#clocks} SET clock = ? WHERE ${this.#clockId} = ?`,
    );
    this.#updateClocksAlone.bind(1, clock);
    this.#updateClocksAlone.bind(2, this.foundRowid ?? keyBytes);
    runBound(this.#updateClocksAlone);
  }

  /** Writes the clocks of the row inserted last. */
  insertClocksQuick(clock: Uint8Array, keyBytes: Uint8Array): void {
    const statement = this.#insertClocks ?? this.#prepareInsertClocks();
    statement.bind(1, clock);
    statement.bind(2, null);
    statement.bind(3, this.foundRowid ?? keyBytes);
    runBound(statement);
  }

  #prepareInsertClocks(): SqlStatement {
    // Clocks without a row may be in the way, where SQLite uses a rowid again.
    this.#insertClocks = this.#database.prepare(
      `INSERT OR REPLACE INTO ${this.#clocks} (clock, held, ${this.#clockId}) VALUES (?, ?, ?)`,
    );
    return this.#insertClocks;
  }

  #findSql(): string {
    const { keyColumns, rowidName, withoutRowid } = this.plan;
    const rowid = withoutRowid ? "NULL" : `t.${rowidName}`;
    const on = withoutRowid ? `c.key = ?${keyColumns.length + 1}` : `c.id = t.${rowidName}`;
    return (
      `SELECT ${rowid}, c.clock, c.held FROM ${this.#base} t ` +
      `LEFT JOIN ${this.#clocks} c ON ${on} WHERE ${this.#keyIs("t.", 1)}`
    );
  }

  /** Clocks alone, by place. */
  findClocks(
    place: Place,
  ): { readonly clock: Uint8Array; readonly held: Uint8Array | null } | undefined {
    const statement = this.#statement(
      "clocks",
      () => `SELECT clock, held FROM ${this.#clocks} WHERE ${this.#clockId} = ?`,
    );
    statement.bind(1, place.rowid ?? place.keyBytes);
    if (!statement.step()) return undefined;
    const clock = statement.column(0) as Uint8Array;
    const held = statement.column(1) as Uint8Array | null;
    statement.reset();
    return { clock, held };
  }

  readByRowid(rowid: number | bigint): BaseRow | undefined {
    return this.#readBase("row", [rowid]);
  }

  readByKey(key: readonly SqlValue[]): BaseRow | undefined {
    return this.#readBase("key", key);
  }

  #readBase(by: "row" | "key", values: readonly SqlValue[]): BaseRow | undefined {
    const { keyColumns, valueColumns, rowidName, withoutRowid } = this.plan;
    const statement = this.#statement(by, () => {
      const columns = [...keyColumns, ...valueColumns].map((column) => quoteName(column.sqlName));
      if (!withoutRowid) columns.push(rowidName);
      const condition = by === "row" ? `${rowidName} = ?` : this.#keyIs("");
      return `SELECT ${columns.join(", ")} FROM ${this.#base} WHERE ${condition}`;
    });
    bindAll(statement, values);
    if (!statement.step()) return undefined;
    const row = baseRowOf(statement, keyColumns.length, valueColumns.length, !withoutRowid);
    statement.reset();
    return row;
  }

  /** All values of a row that is there, in the order of `valueColumns`. */
  readValues(place: Place): readonly SqlValue[] {
    const { valueColumns } = this.plan;
    if (valueColumns.length === 0) return [];
    const statement = this.#statement("values", () => {
      const columns = valueColumns.map((column) => quoteName(column.sqlName));
      return `SELECT ${columns.join(", ")} FROM ${this.#base} WHERE ${this.#placeIs}`;
    });
    this.#bindPlace(statement, 1, place);
    const values: SqlValue[] = [];
    if (statement.step()) {
      for (let i = 0; i < valueColumns.length; i++) values.push(statement.column(i));
    }
    statement.reset();
    return values;
  }

  /** Inserts a row, all columns given. @returns its rowid. */
  insert(key: readonly SqlValue[], values: readonly SqlValue[]): number | bigint | undefined {
    const { withoutRowid, rowidAlias } = this.plan;
    // A row without clocks may be in the way, if somebody wrote to the file behind our back.
    const verb = withoutRowid ? "INSERT OR REPLACE" : "INSERT";
    this.#insert ??= this.#database.prepare(this.#insertSql(verb));
    const statement = this.#insert;
    bindAll(statement, key);
    for (let i = 0; i < values.length; i++) {
      statement.bind(key.length + i + 1, values[i] as SqlValue);
    }
    runBound(statement);
    if (withoutRowid) return undefined;
    return rowidAlias ? (key[0] as number | bigint) : this.#database.lastInsertRowid;
  }

  #insertSql(verb: string): string {
    const { keyColumns, valueColumns } = this.plan;
    const columns = [...keyColumns, ...valueColumns].map((column) => quoteName(column.sqlName));
    const marks = columns.map(() => "?").join(", ");
    return `${verb} INTO ${this.#base} (${columns.join(", ")}) VALUES (${marks})`;
  }

  /** @param columns Indexes in `valueColumns`, ascending, at least one. */
  update(place: Place, columns: readonly number[], values: readonly SqlValue[]): void {
    const name = this.plan.valueColumns.length <= 30 ? bitsOf(columns) : columns.join();
    const statement = this.#updates.get(name) ?? this.#keepUpdate(name, columns);
    bindAll(statement, values);
    this.#bindPlace(statement, values.length + 1, place);
    runBound(statement);
  }

  #keepUpdate(name: number | string, columns: readonly number[]): SqlStatement {
    if (this.#updates.size >= updatesKeptMax) this.#disposeUpdates();
    const sets = columns.map(
      (index) => `${quoteName(this.plan.valueColumns[index]?.sqlName as string)} = ?`,
    );
    const statement = this.#database.prepare(
      `UPDATE ${this.#base} SET ${sets.join(", ")} WHERE ${this.#placeIs}`,
    );
    this.#updates.set(name, statement);
    return statement;
  }

  /**
   * Whether the key columns show what they show on every node. Keys that SQLite holds equal are one key:
   * where a column has kept a REAL that is an integer, it is to have that integer.
   *
   * @param stored As the base row has it.
   */
  isKeyShown(key: readonly SqlValue[], stored: readonly SqlValue[]): boolean {
    return this.plan.keyColumns.every(({ affinity }, i) => {
      const value = stored[i] as SqlValue;
      // Only a REAL has other values that are equal to it.
      if (!(value instanceof Real)) return true;
      return equalValues(shownKeyValue(affinity, key[i] as SqlValue), value);
    });
  }

  /** Writes key columns as they are to be shown: values that SQLite holds equal to what is there. */
  updateKey(place: Place): void {
    const statement = this.#statement("updateKey", () => {
      const sets = this.plan.keyColumns.map((column) => `${quoteName(column.sqlName)} = ?`);
      return `UPDATE ${this.#base} SET ${sets.join(", ")} WHERE ${this.#placeIs}`;
    });
    bindAll(statement, place.key);
    this.#bindPlace(statement, place.key.length + 1, place);
    runBound(statement);
  }

  remove(place: Place): void {
    const statement = this.#statement(
      "remove",
      () => `DELETE FROM ${this.#base} WHERE ${this.#placeIs}`,
    );
    this.#bindPlace(statement, 1, place);
    runBound(statement);
  }

  /** @param hadHeld Whether there is a held blob now; true when in doubt. */
  putClocks(
    place: Place,
    clock: Uint8Array,
    held: Uint8Array | null,
    isNew: boolean,
    hadHeld: boolean,
  ): void {
    const id = place.rowid ?? place.keyBytes;
    if (!isNew && !hadHeld && held === null) {
      this.#updateClocksAlone ??= this.#database.prepare(
        `UPDATE ${this.#clocks} SET clock = ? WHERE ${this.#clockId} = ?`,
      );
      this.#updateClocksAlone.bind(1, clock);
      this.#updateClocksAlone.bind(2, id);
      runBound(this.#updateClocksAlone);
      return;
    }
    let statement: SqlStatement;
    if (isNew) {
      statement = this.#insertClocks ?? this.#prepareInsertClocks();
    } else {
      this.#updateClocks ??= this.#database.prepare(
        `UPDATE ${this.#clocks} SET clock = ?, held = ? WHERE ${this.#clockId} = ?`,
      );
      statement = this.#updateClocks;
    }
    statement.bind(1, clock);
    statement.bind(2, held);
    statement.bind(3, id);
    runBound(statement);
  }

  removeClocks(place: Place): void {
    const statement = this.#statement(
      "removeClocks",
      () => `DELETE FROM ${this.#clocks} WHERE ${this.#clockId} = ?`,
    );
    statement.bind(1, place.rowid ?? place.keyBytes);
    runBound(statement);
  }

  /** Whether the urgent rule holds for a row that is there. A rule that fails on it counts as holding. */
  isUrgent(place: Place): boolean {
    const { urgent, sqlName } = this.plan;
    if (urgent === null) return false;
    const statement = this.#statement("urgent", () =>
      urgentSql(urgent, sqlName, `WHERE ${this.#placeIs}`),
    );
    this.#bindPlace(statement, 1, place);
    try {
      return statement.step() && statement.column(0) === 1;
    } catch {
      return true;
    } finally {
      statement.reset();
    }
  }

  /** Rows with clocks, after a place, in its order. */
  scan(after: number | bigint | Uint8Array | null, rowsMax: number): ClockedRow[] {
    const statement = this.#scanStatement(after);
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    const rows: ClockedRow[] = [];
    while (statement.step()) rows.push(this.#clockedRow(statement));
    statement.reset();
    return rows;
  }

  /**
   * The same, row by row: `visit` reads what it needs, in the order of {@link ClockedRow}, or asks for the row.
   *
   * @returns as {@link scanClocks}.
   */
  scanEach(
    after: number | bigint | Uint8Array | null,
    rowsMax: number,
    visit: (statement: SqlStatement, row: () => ClockedRow) => void,
  ): { readonly after: number | bigint | Uint8Array | null; readonly count: number } {
    const statement = this.#scanStatement(after);
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    const row = () => this.#clockedRow(statement);
    let last = after;
    let count = 0;
    while (statement.step()) {
      visit(statement, row);
      if (++count === rowsMax) last = row().after;
    }
    statement.reset();
    return { after: last, count };
  }

  /** Whether a scan's row has its key as one TEXT in column {@link scannedKeyColumn}. */
  isTextKey(statement: SqlStatement): boolean {
    return this.#hasTextKey && !this.plan.withoutRowid && statement.isText(scannedKeyColumn);
  }

  /** The row that stands at a place of {@link scan}. */
  rowAt(place: number | bigint | Uint8Array): ClockedRow | undefined {
    const statement = this.#statement("scanAt", () =>
      this.#scanSql(`WHERE c.${this.#clockId} = ?2`),
    );
    statement.bind(1, 1);
    statement.bind(2, place);
    const row = statement.step() ? this.#clockedRow(statement) : undefined;
    statement.reset();
    return row;
  }

  #scanStatement(after: number | bigint | Uint8Array | null): SqlStatement {
    return this.#statement(after === null ? "scan" : "scanAfter", () =>
      this.#scanSql(after === null ? "" : `WHERE c.${this.#clockId} > ?2`),
    );
  }

  #scanSql(condition: string): string {
    const { withoutRowid, rowidName, keyColumns } = this.plan;
    const order = `${condition} ORDER BY c.${this.#clockId} LIMIT ?1`;
    if (withoutRowid) return `SELECT c.clock, c.held, c.key FROM ${this.#clocks} c ${order}`;
    const keys = keyColumns.map((column) => `t.${quoteName(column.sqlName)}`);
    return (
      `SELECT c.clock, c.held, c.id, ${keys.join(", ")} FROM ${this.#clocks} c ` +
      `CROSS JOIN ${this.#base} t ON t.${rowidName} = c.id ${order}`
    );
  }

  #clockedRow(statement: SqlStatement): ClockedRow {
    const { withoutRowid, keyColumns } = this.plan;
    const key: SqlValue[] = [];
    if (!withoutRowid) {
      for (let i = 0; i < keyColumns.length; i++) key.push(statement.column(scannedKeyColumn + i));
    }
    return {
      clock: statement.column(0) as Uint8Array,
      held: statement.column(1) as Uint8Array | null,
      after: statement.column(2) as number | bigint | Uint8Array,
      key: withoutRowid ? undefined : key,
    };
  }

  /**
   * Clock blobs alone, after a place, in its order: in column 0, and the place in column 1.
   *
   * @returns where the scan stands, and how many there were.
   */
  scanClocks(
    after: number | bigint | Uint8Array | null,
    rowsMax: number,
    visit: (statement: SqlStatement) => void,
  ): { readonly after: number | bigint | Uint8Array | null; readonly count: number } {
    const id = this.#clockId;
    const statement = this.#statement(after === null ? "scanClocks" : "scanClocksAfter", () => {
      const condition = after === null ? "" : `WHERE ${id} > ?2`;
      return `SELECT clock, ${id} FROM ${this.#clocks} ${condition} ORDER BY ${id} LIMIT ?1`;
    });
    statement.bind(1, rowsMax);
    if (after !== null) statement.bind(2, after);
    let last = after;
    let count = 0;
    while (statement.step()) {
      visit(statement);
      if (++count === rowsMax) last = statement.column(1) as number | bigint | Uint8Array;
    }
    statement.reset();
    return { after: last, count };
  }

  /** Base rows in the order of their places, for taking in and checking. */
  *baseRows(): IterableIterator<BaseRow> {
    const { keyColumns, valueColumns, rowidName, withoutRowid } = this.plan;
    const columns = [...keyColumns, ...valueColumns].map((column) => quoteName(column.sqlName));
    if (!withoutRowid) columns.push(rowidName);
    using statement = this.#database.prepare(`SELECT ${columns.join(", ")} FROM ${this.#base}`);
    while (statement.step()) {
      yield baseRowOf(statement, keyColumns.length, valueColumns.length, !withoutRowid);
    }
  }

  countRows(): number {
    return Number(this.#database.all(`SELECT count(*) FROM ${this.#base}`)[0]?.[0]);
  }

  countClocks(): number {
    return Number(this.#database.all(`SELECT count(*) FROM ${this.#clocks}`)[0]?.[0]);
  }

  /** Rows that have clocks. One look-up a row. */
  countMatched(): number {
    const { withoutRowid, rowidName } = this.plan;
    if (!withoutRowid) {
      const sql = `SELECT count(*) FROM ${this.#clocks} c CROSS JOIN ${this.#base} t ON t.${rowidName} = c.id`;
      return Number(this.#database.all(sql)[0]?.[0]);
    }
    let matched = 0;
    for (const { key } of this.baseRows()) {
      const keyBytes = encodeKey(key);
      if (keyBytes === undefined) continue;
      if (this.findClocks({ rowid: undefined, key, keyBytes }) !== undefined) matched++;
    }
    return matched;
  }

  /** Removes clocks that have no row. */
  removeStrayClocks(): void {
    const { withoutRowid, rowidName } = this.plan;
    if (!withoutRowid) {
      this.#database.exec(
        `DELETE FROM ${this.#clocks} WHERE id NOT IN (SELECT ${rowidName} FROM ${this.#base})`,
      );
      return;
    }
    for (const [keyBytes] of this.#database.all(`SELECT key FROM ${this.#clocks}`)) {
      const key = decodeKey(keyBytes as Uint8Array) ?? [];
      const isKey = this.isKey(key);
      if (isKey && this.readByKey(key) !== undefined) continue;
      this.removeClocks({ rowid: undefined, key, keyBytes: keyBytes as Uint8Array });
    }
  }

  dispose(): void {
    for (const statement of this.#statements.values()) statement[Symbol.dispose]();
    this.#statements.clear();
    this.#find?.[Symbol.dispose]();
    this.#insert?.[Symbol.dispose]();
    this.#insertNew?.[Symbol.dispose]();
    this.#insertClocks?.[Symbol.dispose]();
    this.#updateClocks?.[Symbol.dispose]();
    this.#updateClocksAlone?.[Symbol.dispose]();
    this.#disposeUpdates();
  }

  get #base(): string {
    return quoteName(this.plan.sqlName);
  }

  get #clocks(): string {
    return quoteName(clockTableName(this.name));
  }

  get #clockId(): string {
    return this.plan.withoutRowid ? "key" : "id";
  }

  get #placeIs(): string {
    return this.plan.withoutRowid ? this.#keyIs("") : `${this.plan.rowidName} = ?`;
  }

  #keyIs(prefix: string, from?: number): string {
    return this.plan.keyColumns
      .map(
        (column, i) =>
          `${prefix}${quoteName(column.sqlName)} = ?${from === undefined ? "" : from + i}`,
      )
      .join(" AND ");
  }

  #bindPlace(statement: SqlStatement, from: number, place: Place): void {
    if (place.rowid !== undefined) statement.bind(from, place.rowid);
    else {
      place.key.forEach((value, i) => {
        statement.bind(from + i, value);
      });
    }
  }

  #statement(name: string, sql: () => string): SqlStatement {
    let statement = this.#statements.get(name);
    if (statement === undefined) {
      statement = this.#database.prepare(sql());
      this.#statements.set(name, statement);
    }
    return statement;
  }

  #disposeUpdates(): void {
    for (const statement of this.#updates.values()) statement[Symbol.dispose]();
    this.#updates.clear();
  }
}

function baseRowOf(
  statement: SqlStatement,
  keys: number,
  values: number,
  hasRowid: boolean,
): BaseRow {
  const key: SqlValue[] = [];
  const columns: SqlValue[] = [];
  for (let i = 0; i < keys; i++) key.push(statement.column(i));
  for (let i = 0; i < values; i++) columns.push(statement.column(keys + i));
  const rowid = hasRowid ? (statement.column(keys + values) as number | bigint) : undefined;
  return { rowid, key, values: columns };
}

/** @returns the next parameter */
function bindKey(
  statement: SqlStatement,
  from: number,
  key: readonly SqlValue[] | undefined,
  keyBytes: Uint8Array,
): number {
  if (key === undefined) {
    statement.bindTextFrom(from, keyBytes, 3);
    return from + 1;
  }
  for (let i = 0; i < key.length; i++) statement.bind(from + i, key[i] as SqlValue);
  return from + key.length;
}

function bindAll(statement: SqlStatement, values: readonly SqlValue[]): void {
  for (let i = 0; i < values.length; i++) statement.bind(i + 1, values[i] as SqlValue);
}

function bitsOf(columns: readonly number[]): number {
  let bits = 0;
  for (const index of columns) bits |= 1 << index;
  return bits;
}

/** One that returns no rows: it is at rest again when its step has ended. */
function runBound(statement: SqlStatement): void {
  statement.step();
}
