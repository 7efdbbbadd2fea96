/**
 * Capture: what a local transaction touches, noted as it happens by SQLite's preupdate hook.
 *
 * Of a row that was there its values are noted at the first touch, when nothing has changed yet. What became of
 * it is read from the table at the commit. So what a savepoint rolled back, an aborted statement and REPLACE
 * did in between leaves no trace: only the net difference counts.
 *
 * A change of the primary key is a delete and an insert. For the sake of cells that are held and not
 * shown, which no column can carry over, the new key remembers whose row it got.
 *
 * | a table               | is noted by | file            |
 * | --------------------- | ----------- | --------------- |
 * | with rowids           | rowid       | `row-notes.ts`  |
 * | WITHOUT ROWID         | key         | `key-notes.ts`  |
 *
 * @module
 */

import type { Preupdate } from "./database.ts";
import { KeyNotes } from "./key-notes.ts";
import { RowNotes } from "./row-notes.ts";
import type { StoredTable } from "./stored-table.ts";
import type { Touched } from "./touched.ts";

/**
 * Rows that a transaction may touch, most of which may come to nothing. Bounds memory: a statement that
 * goes on for ever is stopped here, and not only at the commit.
 */
export const touchedMax = 400_000;

export class Journal {
  readonly #tables: ReadonlyMap<string, StoredTable>;
  readonly #notes = new Map<StoredTable, RowNotes | KeyNotes>();
  /** In the order in which their tables were touched first. */
  readonly #touched: (RowNotes | KeyNotes)[] = [];
  #size = 0;
  #lastName = "";
  #last: RowNotes | KeyNotes | undefined;

  /** @param tables Replicated ones, by the name that SQLite shows. */
  constructor(tables: ReadonlyMap<string, StoredTable>) {
    this.#tables = tables;
  }

  /** What was touched, if rows only came or were updated in their place; undefined when there was more. */
  get plain(): readonly RowNotes[] | undefined {
    for (const notes of this.#touched) if (!notes.isPlain) return undefined;
    return this.#touched as RowNotes[];
  }

  /** The keys touched; a string says why the transaction can't be committed. */
  touched(): Touched[] | string {
    const all: Touched[] = [];
    for (const notes of this.#touched) {
      const touched = notes.touched();
      if (touched === undefined) {
        return `table ${notes.table.name}: a primary key is over 64 KB`;
      }
      for (const one of touched) all.push(one);
    }
    return all;
  }

  clear(): void {
    if (this.#lastName === "") return;
    for (const notes of this.#touched) notes.clear();
    this.#touched.length = 0;
    this.#size = 0;
    this.#last = undefined;
    this.#lastName = "";
  }

  /** Notes one change of one row, before it happens. */
  note(change: Preupdate): void {
    let notes = this.#last;
    if (change.table !== this.#lastName) {
      notes = this.#notesOf(change.table);
      this.#last = notes;
      this.#lastName = change.table;
    }
    if (notes === undefined) return;
    const sizeBefore = notes.size;
    notes.note(change);
    this.#size += notes.size - sizeBefore;
    // Thrown to SQLite, whose transaction can then only be rolled back.
    if (this.#size > touchedMax) {
      throw new Error(`a transaction may touch ${touchedMax} rows: split it`);
    }
  }

  #notesOf(name: string): RowNotes | KeyNotes | undefined {
    const table = this.#tables.get(name);
    if (table === undefined) return undefined;
    let notes = this.#notes.get(table);
    if (notes === undefined) {
      notes = table.plan.withoutRowid ? new KeyNotes(table) : new RowNotes(table);
      this.#notes.set(table, notes);
    }
    if (!this.#touched.includes(notes)) this.#touched.push(notes);
    return notes;
  }
}
