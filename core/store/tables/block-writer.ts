/**
 * Rows of a scan as a row block, for a stream of everything: keys, clocks and values go from where SQLite has them
 * into the block, and become no objects on the way.
 *
 * It knows the rows that stand in a table with all their values shown, which are nearly all; a value is written only
 * if it is the one that its clock was given for. Of any other row (held in part, damaged, WITHOUT ROWID) it says so,
 * and the caller reads that as rows are always read.
 *
 * @module
 */

import { ByteWriter } from "../../bytes/writer.ts";
import type { RowBlockWriter } from "../../change/row-block.ts";
import type { Site } from "../../clock/stamp.ts";
import type { SqlStatement } from "../../database.ts";
import type { Digester } from "../../row/digest.ts";
import { encodeKey, keyBytesMax } from "../../row/key.ts";
import type { SqlValue } from "../../row/value.ts";
import { FlatClocks, flatCellsMax } from "../clocks/flat-clocks.ts";
import type { StoredOrdinals } from "../clocks/ordinals.ts";
import type { StoredTable } from "./stored-table.ts";
import { scannedKeyColumn } from "./table-scan.ts";

/** A table as its rows are gone through: the value columns, ascending by name. */
interface WrittenTable {
  readonly names: readonly string[];
  /** Index in `names` by ordinal; -1: it isn't there. */
  readonly indexByOrdinal: (number | undefined)[];
  readonly firstValue: number;
}

export class BlockWriter {
  readonly #digester: Digester;
  readonly #ordinals: StoredOrdinals;
  readonly #tables = new Map<StoredTable, WrittenTable>();
  #life = 0;
  readonly #held = new FlatClocks();
  readonly #key = new ByteWriter(64);
  /** Values of the row at hand, one after the other, and where each ends. */
  readonly #values = new ByteWriter(1024);
  readonly #ends: number[] = [];

  constructor(digester: Digester, ordinals: StoredOrdinals) {
    this.#digester = digester;
    this.#ordinals = ordinals;
  }

  /**
   * Appends the row that a statement of `TableScan.eachWithValues` stands on.
   *
   * @param late Its clocks, where they aren't the statement's.
   * @returns false, and nothing is appended: it isn't one of these.
   */
  add(
    table: StoredTable,
    statement: SqlStatement,
    late: Uint8Array | undefined,
    block: RowBlockWriter,
  ): boolean {
    const known = this.#tableOf(table);
    const [held, ordinals, digester] = [this.#held, this.#ordinals, this.#digester];
    if (known === undefined) return false;
    const start = statement.bytesStart(0);
    const isClocks =
      late === undefined
        ? held.decode(statement.memory, start, start + statement.bytesLength(0), ordinals)
        : held.decode(late, 0, late.length, ordinals);
    if (!isClocks) return false;
    if (held.hasHeld || held.cl % 2 === 0 || statement.column(1) !== null) return false;
    const key = this.#keyOf(table, known, statement);
    if (key === undefined) return false;
    const values = this.#values;
    values.reuse();
    for (let cell = 0; cell < held.count; cell++) {
      const index = this.#indexOf(known, held.column[cell] as number);
      if (index < 0) return false;
      statement.writeColumn(known.firstValue + index, values);
      this.#ends[cell] = values.length;
    }
    const bytes = values.peek();
    let valueStart = 0;
    for (let cell = 0; cell < held.count; cell++) {
      const valueEnd = this.#ends[cell] as number;
      digester.hashEncoded(bytes, valueStart, valueEnd);
      const { hashHigh, hashLow } = digester;
      if (hashHigh !== held.high[cell] || hashLow !== held.low[cell]) return false;
      valueStart = valueEnd;
    }
    this.#write(table, known, key, bytes, block);
    return true;
  }

  #write(
    table: StoredTable,
    { names, indexByOrdinal }: WrittenTable,
    key: Uint8Array,
    bytes: Uint8Array,
    block: RowBlockWriter,
  ): void {
    const [held, ordinals] = [this.#held, this.#ordinals];
    const site = ordinals.site(held.site) as Site;
    block.row(table.name, key, { ms: held.ms, count: held.clockCount, site }, held.cl, held.count);
    let start = 0;
    for (let cell = 0; cell < held.count; cell++) {
      const name = names[indexByOrdinal[held.column[cell] as number] as number] as string;
      const cellSite = ordinals.site(held.cellSite[cell] as number) as Site;
      block.cell(name, held.cellMs[cell] as number, held.cellCount[cell] as number, cellSite);
      const end = this.#ends[cell] as number;
      block.body.copy(bytes, start, end);
      start = end;
    }
  }

  /** What a table has no column for would be held. */
  #indexOf({ names, indexByOrdinal }: WrittenTable, ordinal: number): number {
    let index = indexByOrdinal[ordinal];
    if (index === undefined) {
      index = names.indexOf(this.#ordinals.column(ordinal) as string);
      while (indexByOrdinal.length < ordinal) indexByOrdinal.push(undefined);
      indexByOrdinal[ordinal] = index;
    }
    return index;
  }

  /** As of `row/key.ts`; good until the next row. */
  #keyOf(
    table: StoredTable,
    { firstValue }: WrittenTable,
    statement: SqlStatement,
  ): Uint8Array | undefined {
    if (table.scan.isTextKey(statement)) {
      const key = this.#key;
      key.reuse();
      key.varint(1);
      statement.writeColumn(scannedKeyColumn, key);
      return key.length <= keyBytesMax ? key.peek() : undefined;
    }
    const values: SqlValue[] = [];
    for (let i = scannedKeyColumn; i < firstValue; i++) values.push(statement.column(i));
    return encodeKey(values);
  }

  #tableOf(table: StoredTable): WrittenTable | undefined {
    if (this.#ordinals.life !== this.#life) {
      // A rollback took ordinals back.
      this.#life = this.#ordinals.life;
      this.#tables.clear();
    }
    let known = this.#tables.get(table);
    if (known === undefined) {
      const { valueColumns, keyColumns } = table.plan;
      if (valueColumns.length > flatCellsMax) return undefined;
      const names = table.valuesByName.map((index) => valueColumns[index]?.name as string);
      known = {
        names,
        indexByOrdinal: [],
        firstValue: scannedKeyColumn + keyColumns.length,
      };
      this.#tables.set(table, known);
    }
    return known;
  }
}
