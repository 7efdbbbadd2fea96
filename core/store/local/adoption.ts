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

/** More rows than this aren't taken in inside the transaction that makes a table replicated. */
export const adoptedAtOnceMax = 10_000;
/** Of one slice; some 10 µs each. */
const sliceRowsMax = 1000;

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

  /** One commit of up to 1,000 rows; undefined when the table is through. Throws as a commit does. */
  slice(nowMs: number): Commit | undefined {
    for (;;) {
      const last = this.#lastOfNext();
      if (last === undefined) {
        this.#store.adopted(this.#table.name);
        return undefined;
      }
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
      // Too much to be sent at once, or at all.
      if (this.#sliceRows > 1) this.#sliceRows = Math.ceil(this.#sliceRows / 4);
      else {
        this.#after = last;
        this.#rows++;
        this.#skipped++;
      }
    }
  }

  /** Names of what orders the rows. */
  get #order(): string {
    const { withoutRowid, rowidName, keyColumns } = this.#table;
    if (!withoutRowid) return rowidName;
    return keyColumns.map((column) => quoteName(column.sqlName)).join(", ");
  }

  /** Where the next slice ends, itself included. */
  #lastOfNext(): SqlValue[] | undefined {
    const { sqlName } = this.#table;
    const order = this.#order;
    const after = this.#after ?? [];
    const behind = after.length === 0 ? "" : `WHERE (${order}) > (${marks(after.length, 1)})`;
    const next = `SELECT ${order} FROM ${quoteName(sqlName)} ${behind} ORDER BY ${order}`;
    // Without OFFSET past the end: the last of up to so many.
    return this.#database.all(`SELECT * FROM (${next} LIMIT ${this.#sliceRows})`, ...after).at(-1);
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
