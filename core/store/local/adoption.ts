/**
 * Takes in the rows of tables that were filled before they became replicated.
 *
 * Each slice is a local transaction that writes rows as they are: capture finds no clocks beside them and
 * takes them for INSERTs of long ago ({@link adoptionStamp}). A table is *under adoption* until all of its rows
 * have clocks; which ones are is kept in the file, so that a later start goes on. Until then a row without clocks
 * is told to nobody and compared with nobody. Where a peer has a row of the same key, that one counts. (It may break
 * a CHECK, and a slice comes by it: so CHECKs are ignored.)
 *
 * @module
 */

import type { Site, Stamp } from "../../clock/stamp.ts";
import type { SqlDatabase } from "../../database.ts";
import type { SqlValue } from "../../row/value.ts";
import type { PlannedTable } from "../../schema/schema.ts";
import { quoteName } from "../../schema/sql-token.ts";

/**
 * The stamp of what stood in a table before that was replicated: it comes before all that is said of a row by Patina.
 * When it was written nobody knows. Were it stamped now, a host that takes its table in later than others would
 * bring back an "up" that is as old as its copy, over a "down" of a minute ago.
 */
export function adoptionStamp(site: Site): Stamp {
  return { ms: 1, count: 0, site };
}

/** More rows than this aren't taken in inside the transaction that makes a table replicated, nor are more bytes. */
export const adoptedAtOnceMax = 10_000;
export const adoptedAtOnceBytesMax: number = 16 * 1024 * 1024;
/** Of one slice; some 10 µs each. */
const sliceRowsMax = 1000;
/** Of its rows together, unless the first alone has more: some milliseconds, and some times as much memory. */
const sliceBytesMax = 1024 * 1024;
/** What a value counts beside its bytes. */
const valueBytesMin = 16;
/** What rows count at least that may not be said to others: they were written and rolled back. */
const refusedBytesMin = 32 * 1024;

export interface AdoptionProgress {
  readonly table: string;
  /** Rows gone through. */
  readonly rows: number;
  /** When it began. */
  readonly of: number;
  /** Rows too large to be sent: they stay without clocks until they are written again. */
  readonly skipped: number;
}

/** What the adoption needs of the store that it belongs to. */
export interface AdoptionStore<Commit extends { readonly kind: string }> {
  begin(ignoresChecks: boolean): void;
  commit(nowMs: number): Commit;
  rollback(): void;
  /** All rows of the table have been gone through. */
  adopted(table: string): void;
}

export class Adoption<Commit extends { readonly kind: string; readonly why?: string }> {
  readonly #database: SqlDatabase;
  readonly #store: AdoptionStore<Commit>;
  readonly #table: PlannedTable;
  readonly #of: number;
  /** Key or rowid of the last row gone through. */
  #after: SqlValue[] | undefined;
  #rows = 0;
  #skipped = 0;
  #sliceRows = sliceRowsMax;

  constructor(database: SqlDatabase, store: AdoptionStore<Commit>, table: PlannedTable) {
    this.#database = database;
    this.#store = store;
    this.#table = table;
    this.#of = Number(database.all(`SELECT count(*) FROM ${quoteName(table.sqlName)}`)[0]?.[0]);
  }

  get progress(): AdoptionProgress {
    const { name } = this.#table;
    return { table: name, rows: this.#rows, of: this.#of, skipped: this.#skipped };
  }

  /**
   * One commit of up to 1,000 rows; undefined when the table is through. Refused: some may not be said to others, and
   * the next slice goes on behind them. Throws as a commit does.
   */
  slice(nowMs: number): Commit | undefined {
    let leftBytes = sliceBytesMax;
    for (;;) {
      const next = this.#next();
      if (next === undefined) {
        this.#store.adopted(this.#table.name);
        return undefined;
      }
      const { last, bytes } = next;
      this.#store.begin(true);
      let rows: number;
      try {
        rows = this.#touch(last);
      } catch (error) {
        this.#store.rollback();
        throw error;
      }
      const commit = this.#store.commit(nowMs);
      if (commit.kind !== "refused") {
        this.#after = last;
        this.#rows += rows;
        this.#sliceRows = Math.min(sliceRowsMax, this.#sliceRows * 2);
        return commit;
      }
      if (rows > 1) this.#sliceRows = Math.ceil(rows / 4);
      else {
        this.#after = last;
        this.#rows++;
        this.#skipped++;
      }
      leftBytes -= Math.max(bytes, refusedBytesMin);
      if (leftBytes <= 0) return commit;
    }
  }

  /** Names of what orders the rows. */
  get #order(): string {
    const { withoutRowid, rowidName, keyColumns } = this.#table;
    if (!withoutRowid) return rowidName;
    return keyColumns.map((column) => quoteName(column.sqlName)).join(", ");
  }

  /** The last row of the next slice, and how much there is up to it. */
  #next(): { readonly last: SqlValue[]; readonly bytes: number } | undefined {
    const { sqlName, keyColumns, valueColumns } = this.#table;
    const order = this.#order;
    const after = this.#after ?? [];
    const behind = after.length === 0 ? "" : `WHERE (${order}) > (${marks(after.length, 1)})`;
    // SQLite knows these without reading the values.
    const sizes = [...keyColumns, ...valueColumns].map(
      (column) => `octet_length(${quoteName(column.sqlName)})`,
    );
    using statement = this.#database.prepare(
      `SELECT ${sizes.join(", ")}, ${order} FROM ${quoteName(sqlName)} ${behind} ` +
        `ORDER BY ${order} LIMIT ${this.#sliceRows}`,
    );
    after.forEach((value, i) => {
      statement.bind(i + 1, value);
    });
    let next: { readonly last: SqlValue[]; readonly bytes: number } | undefined;
    while (statement.step()) {
      let bytes = next?.bytes ?? 0;
      for (let i = 0; i < sizes.length; i++) {
        bytes += valueBytesMin + Number(statement.column(i) ?? 0);
      }
      if (next !== undefined && bytes > sliceBytesMax) break;
      const last: SqlValue[] = [];
      for (let i = sizes.length; i < statement.columnCount; i++) last.push(statement.column(i));
      next = { last, bytes };
    }
    return next;
  }

  /** Writes rows as they are. @returns how many */
  #touch(last: readonly SqlValue[]): number {
    const { sqlName, columns, keyColumns } = this.#table;
    const order = this.#order;
    const width = last.length;
    const plain = columns.find(({ key, generated }) => key === 0 && !generated) ?? keyColumns[0];
    const column = quoteName(plain?.sqlName as string);
    const after = this.#after === undefined ? "" : `AND (${order}) > (${marks(width, width + 1)})`;
    this.#database.run(
      `UPDATE ${quoteName(sqlName)} SET ${column} = ${column} WHERE (${order}) <= (${marks(width, 1)}) ${after}`,
      ...last,
      ...(this.#after ?? []),
    );
    return this.#database.changes;
  }
}

function marks(count: number, from: number): string {
  return Array.from({ length: count }, (_, i) => `?${from + i}`).join(", ");
}
