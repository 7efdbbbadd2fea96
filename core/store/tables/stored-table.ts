/**
 * One replicated table in SQLite: its base table and the clock table beside it. What a key and a value are
 * in it, and its rows one by one.
 *
 * A row's *place* is what leads to its base row and its clocks: the rowid, or for WITHOUT ROWID the key.
 *
 * @module
 */

import type { Rowid, SqlDatabase, SqlStatement } from "../../database.ts";
import { decodeKey, encodeKey } from "../../row/key.ts";
import { lowerAscii } from "../../row/row-state.ts";
import {
  equalValues,
  RawText,
  Real,
  type SqlValue,
  valueTags,
  valueTagText,
} from "../../row/value.ts";
import { isKeptByAffinity, isKeyKept, shownKeyValue } from "../../schema/affinity.ts";
import type { PlannedColumn, PlannedTable } from "../../schema/schema.ts";
import { urgentSql } from "../../schema/schema-reader.ts";
import { quoteName } from "../../schema/sql-token.ts";
import type { LateTable } from "../clocks/late-table.ts";
import { QuickRows } from "./quick-rows.ts";
import { TableScan } from "./table-scan.ts";
import { runBound, TableStatements } from "./table-statements.ts";

export interface Place {
  /** Undefined for WITHOUT ROWID. */
  readonly rowid: Rowid | undefined;
  /** Values of the key columns, canonical. */
  readonly key: readonly SqlValue[];
  /** The same as bytes, as of `row/key.ts`. */
  readonly keyBytes: Uint8Array;
}

/** Clocks as they stand beside a row. Null: the row has none. */
export interface FoundRow {
  readonly rowid: Rowid | undefined;
  readonly clock: Uint8Array | null;
  readonly held: Uint8Array | null;
}

/** A base row. */
export interface BaseRow {
  readonly rowid: Rowid | undefined;
  /** As stored; in the order of the primary key. */
  readonly key: readonly SqlValue[];
  /** In the order of `valueColumns`. */
  readonly values: readonly SqlValue[];
}

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
  /** Indexes in `plan.valueColumns`, ascending by name. */
  readonly valuesByName: readonly number[];
  /** Positions of what is noted of a row: the value columns, ascending by name, and the key unless that is the rowid. */
  readonly notedPositions: readonly number[];
  /** Columns in which a scrub has found damage, and when last: a cell of theirs may have no clock (`scrub/scrub.ts`). */
  readonly damagedColumns: Map<string, number> = new Map();
  readonly scan: TableScan;
  /** For merges that make no objects. */
  readonly quick: QuickRows;
  readonly #database: SqlDatabase;
  readonly #statements: TableStatements;
  readonly #hasTextKey: boolean;
  readonly #late: LateTable;

  constructor(database: SqlDatabase, plan: PlannedTable, late: LateTable) {
    this.#late = late;
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
    this.valuesByName = plan.valueColumns.map((_, i) => i).sort(byName(plan));
    this.notedPositions = [
      ...this.valuesByName.map((index) => this.valuePositions[index] as number),
      ...(plan.rowidAlias ? [] : this.keyPositions),
    ];
    this.#statements = new TableStatements(database, plan);
    this.scan = new TableScan(plan, this.#hasTextKey, this.#statements, this.valuesByName, late);
    this.quick = new QuickRows(database, plan, this.#statements, this.valuesByName, late);
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

  /** False: by the kind of value alone it can't be said that {@link isShownAt}. @param tag As of `row/value.ts`. */
  isShownByTag(index: number, tag: number): boolean {
    const { affinity, notNull } = this.plan.valueColumns[index] as PlannedColumn;
    switch (tag) {
      case valueTags.null:
        return !notNull;
      case valueTags.integer:
        return affinity === "INTEGER" || affinity === "NUMERIC" || affinity === "BLOB";
      case valueTags.text:
        return affinity === "TEXT" || affinity === "BLOB";
      default:
        return tag === valueTags.blob || affinity === "BLOB";
    }
  }

  /** The row of a key that {@link isKey}, with its clocks. One look-up. */
  find(key: readonly SqlValue[], keyBytes: Uint8Array): FoundRow | undefined {
    const { withoutRowid } = this.plan;
    const statement = this.#statements.find;
    bindAll(statement, key);
    if (withoutRowid) statement.bind(key.length + 1, keyBytes);
    if (!statement.step()) return undefined;
    const rowid = withoutRowid ? undefined : (statement.column(0) as Rowid);
    const found = {
      rowid,
      clock: this.#late.get(rowid) ?? (statement.column(1) as Uint8Array | null),
      held: statement.column(2) as Uint8Array | null,
    };
    statement.reset();
    return found;
  }

  /** Clocks alone, by place. */
  findClocks(
    place: Place,
  ): { readonly clock: Uint8Array; readonly held: Uint8Array | null } | undefined {
    const { clocks, clockId } = this.#statements;
    const statement = this.#statements.kept(
      "clocks",
      () => `SELECT clock, held FROM ${clocks} WHERE ${clockId} = ?`,
    );
    statement.bind(1, place.rowid ?? place.keyBytes);
    if (!statement.step()) return undefined;
    const clock = this.#late.get(place.rowid) ?? (statement.column(0) as Uint8Array);
    const held = statement.column(1) as Uint8Array | null;
    statement.reset();
    return { clock, held };
  }

  readByRowid(rowid: Rowid): BaseRow | undefined {
    return this.#readBase("row", [rowid]);
  }

  readByKey(key: readonly SqlValue[]): BaseRow | undefined {
    return this.#readBase("key", key);
  }

  #readBase(by: "row" | "key", values: readonly SqlValue[]): BaseRow | undefined {
    const { keyColumns, valueColumns, rowidName, withoutRowid } = this.plan;
    const statement = this.#statements.kept(by, () => {
      const columns = [...keyColumns, ...valueColumns].map((column) => quoteName(column.sqlName));
      if (!withoutRowid) columns.push(rowidName);
      const condition = by === "row" ? `${rowidName} = ?` : this.#statements.keyIs("");
      return `SELECT ${columns.join(", ")} FROM ${this.#statements.base} WHERE ${condition}`;
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
    const { base, placeIs } = this.#statements;
    const statement = this.#statements.kept("values", () => {
      const columns = valueColumns.map((column) => quoteName(column.sqlName));
      return `SELECT ${columns.join(", ")} FROM ${base} WHERE ${placeIs}`;
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
  insert(key: readonly SqlValue[], values: readonly SqlValue[]): Rowid | undefined {
    const { withoutRowid, rowidAlias } = this.plan;
    const statement = this.#statements.insert;
    bindAll(statement, key);
    for (let i = 0; i < values.length; i++) {
      statement.bind(key.length + i + 1, values[i] as SqlValue);
    }
    runBound(statement);
    if (withoutRowid) return undefined;
    return rowidAlias ? (key[0] as Rowid) : this.#database.lastInsertRowid;
  }

  /** @param columns Indexes in `valueColumns`, ascending, at least one. */
  update(place: Place, columns: readonly number[], values: readonly SqlValue[]): void {
    const statement = this.#statements.updateOf(columns);
    bindAll(statement, values);
    this.#bindPlace(statement, values.length + 1, place);
    runBound(statement);
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
    const { base, placeIs } = this.#statements;
    const statement = this.#statements.kept("updateKey", () => {
      const sets = this.plan.keyColumns.map((column) => `${quoteName(column.sqlName)} = ?`);
      return `UPDATE ${base} SET ${sets.join(", ")} WHERE ${placeIs}`;
    });
    bindAll(statement, place.key);
    this.#bindPlace(statement, place.key.length + 1, place);
    runBound(statement);
  }

  remove(place: Place): void {
    const { base, placeIs } = this.#statements;
    const statement = this.#statements.kept("remove", () => `DELETE FROM ${base} WHERE ${placeIs}`);
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
    this.#late.forget(place.rowid);
    if (!isNew && !hadHeld && held === null) {
      const alone = this.#statements.updateClocksAlone;
      alone.bind(1, clock);
      alone.bind(2, id);
      runBound(alone);
      return;
    }
    const statement = isNew ? this.#statements.insertClocks : this.#statements.updateClocks;
    statement.bind(1, clock);
    statement.bind(2, held);
    statement.bind(3, id);
    runBound(statement);
  }

  removeClocks(place: Place): void {
    this.#late.forget(place.rowid);
    const { clocks, clockId } = this.#statements;
    const statement = this.#statements.kept(
      "removeClocks",
      () => `DELETE FROM ${clocks} WHERE ${clockId} = ?`,
    );
    statement.bind(1, place.rowid ?? place.keyBytes);
    runBound(statement);
  }

  /** Whether the urgent rule holds for a row that is there. A rule that fails on it counts as holding. */
  isUrgent(place: Place): boolean {
    const { urgent, sqlName } = this.plan;
    if (urgent === null) return false;
    const statement = this.#statements.kept("urgent", () =>
      urgentSql(urgent, sqlName, `WHERE ${this.#statements.placeIs}`),
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

  /** Base rows in the order of their places, for taking in and checking. */
  *baseRows(): IterableIterator<BaseRow> {
    const { keyColumns, valueColumns, rowidName, withoutRowid } = this.plan;
    const columns = [...keyColumns, ...valueColumns].map((column) => quoteName(column.sqlName));
    if (!withoutRowid) columns.push(rowidName);
    using statement = this.#database.prepare(
      `SELECT ${columns.join(", ")} FROM ${this.#statements.base}`,
    );
    while (statement.step()) {
      yield baseRowOf(statement, keyColumns.length, valueColumns.length, !withoutRowid);
    }
  }

  countRows(): number {
    return Number(this.#database.all(`SELECT count(*) FROM ${this.#statements.base}`)[0]?.[0]);
  }

  /** Of all values, as text where they are numbers. SQLite knows it without reading them. */
  countBytes(): number {
    const sizes = this.plan.valueColumns.map(({ sqlName }) => {
      return `sum(octet_length(${quoteName(sqlName)}))`;
    });
    if (sizes.length === 0) return 0;
    const [row] = this.#database.all(`SELECT ${sizes.join(", ")} FROM ${this.#statements.base}`);
    return (row ?? []).reduce((sum: number, bytes) => sum + Number(bytes), 0);
  }

  countClocks(): number {
    return Number(this.#database.all(`SELECT count(*) FROM ${this.#statements.clocks}`)[0]?.[0]);
  }

  /** Rows that have clocks. One look-up a row. */
  countMatched(): number {
    const { withoutRowid, rowidName } = this.plan;
    const { base, clocks } = this.#statements;
    if (!withoutRowid) {
      const sql = `SELECT count(*) FROM ${clocks} c CROSS JOIN ${base} t ON t.${rowidName} = c.id`;
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
    const { base, clocks } = this.#statements;
    if (!withoutRowid) {
      this.#database.exec(
        `DELETE FROM ${clocks} WHERE id NOT IN (SELECT ${rowidName} FROM ${base})`,
      );
      return;
    }
    for (const [keyBytes] of this.#database.all(`SELECT key FROM ${clocks}`)) {
      const key = decodeKey(keyBytes as Uint8Array) ?? [];
      const isKey = this.isKey(key);
      if (isKey && this.readByKey(key) !== undefined) continue;
      this.removeClocks({ rowid: undefined, key, keyBytes: keyBytes as Uint8Array });
    }
  }

  dispose(): void {
    this.#statements.dispose();
  }

  #bindPlace(statement: SqlStatement, from: number, place: Place): void {
    if (place.rowid !== undefined) statement.bind(from, place.rowid);
    else {
      place.key.forEach((value, i) => {
        statement.bind(from + i, value);
      });
    }
  }
}

/** Orders indexes in `valueColumns`. */
function byName({ valueColumns }: PlannedTable): (a: number, b: number) => number {
  const name = (index: number): string => valueColumns[index]?.name as string;
  return (a, b) => (name(a) < name(b) ? -1 : 1);
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
  const rowid = hasRowid ? (statement.column(keys + values) as Rowid) : undefined;
  return { rowid, key, values: columns };
}

function bindAll(statement: SqlStatement, values: readonly SqlValue[]): void {
  for (let i = 0; i < values.length; i++) statement.bind(i + 1, values[i] as SqlValue);
}
