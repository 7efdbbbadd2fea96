/**
 * Capture: what a local transaction touches, noted as it happens by SQLite's preupdate hook.
 *
 * Of a row that was there its values are noted at the first touch, when nothing has changed yet. What became of
 * it is read from the table at the commit. So what a savepoint rolled back, an aborted statement and REPLACE
 * did in between leaves no trace: only the net difference counts.
 *
 * With one exception, for the sake of "a newer down is never beaten by an older up": a cell that the table's
 * urgent rule reads, that a statement *named*, and that stands in a row for which the rule holds at the commit is
 * stamped anew although its value is the same. This host may not have heard of an "up" in between. An UPDATE,
 * and an upsert that updates, name the columns of their SET; a row that came by INSERT over one that was there
 * (REPLACE, DELETE and INSERT), or from another key, is named as a whole. A DELETE of a row that isn't there names no key, so one
 * that is said again changes nothing. And with another one: a cell that lost its clock because it was damaged
 * (`scrub/scrub.ts`) is stamped when a statement names it, whatever its value is, once no peer has brought another for a minute: that is how a
 * person says that it is right.
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

import type { Preupdate } from "../../database.ts";
import type { StoredTable } from "../tables/stored-table.ts";
import { KeyNotes } from "./key-notes.ts";
import { RowNotes } from "./row-notes.ts";
import type { Touched } from "./touched.ts";

/**
 * Rows that a transaction may touch, most of which may come to nothing. Bounds memory: a statement that
 * goes on for ever is stopped here, and not only at the commit.
 */
export const touchedMax = 400_000;

/** What a statement sets by name: in the SET of an UPDATE, or of an upsert's DO UPDATE. */
export interface NamedColumns {
  /** In ASCII lower case, as the columns. */
  readonly table: string;
  readonly columns: ReadonlySet<string>;
}

export class Journal {
  readonly #tables: ReadonlyMap<string, StoredTable>;
  /** The same, by {@link StoredTable.name}. */
  readonly #tablesByName: ReadonlyMap<string, StoredTable>;
  readonly #notes = new Map<StoredTable, RowNotes | KeyNotes>();
  /** In the order in which their tables were touched first. */
  readonly #touched: (RowNotes | KeyNotes)[] = [];
  #size = 0;
  #lastName = "";
  #last: RowNotes | KeyNotes | undefined;
  #named: NamedColumns | undefined;
  /** Of the table that {@link #named} says something of. */
  #naming: RowNotes | KeyNotes | undefined;

  /** @param tables Replicated ones, by the name that SQLite shows. */
  constructor(tables: ReadonlyMap<string, StoredTable>) {
    this.#tables = tables;
    this.#tablesByName = new Map([...tables.values()].map((table) => [table.name, table]));
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
    this.beginStatement(undefined);
    if (this.#lastName === "") return;
    for (const notes of this.#touched) notes.clear();
    this.#touched.length = 0;
    this.#size = 0;
    this.#last = undefined;
    this.#lastName = "";
  }

  /** What the statement that runs next names; undefined: nothing, or it isn't a client's. */
  beginStatement(named: NamedColumns | undefined): void {
    if (named === this.#named) return;
    if (this.#naming !== undefined) this.#naming.named = undefined;
    this.#naming = undefined;
    this.#named = named;
    if (named === undefined) return;
    const table = this.#tablesByName.get(named.table);
    if (table === undefined) return;
    const { plan, damagedColumns } = table;
    if (plan.urgentColumns.length + damagedColumns.size === 0) return;
    const counts = (column: string) =>
      plan.urgentColumns.includes(column) || damagedColumns.has(column);
    const columns = [...named.columns].filter(counts);
    if (columns.length === 0) return;
    this.#naming = this.#notesOfTable(table);
    this.#naming.named = columns;
  }

  /** Notes one change of one row, before it happens. @returns as `PreupdateListener`. */
  note(change: Preupdate): boolean {
    if (change.followers > 0) this.follow(change.followers);
    let notes = this.#last;
    if (change.table !== this.#lastName) {
      notes = this.#notesOf(change.table);
      this.#last = notes;
      this.#lastName = change.table;
    }
    if (notes === undefined) return false;
    const sizeBefore = notes.size;
    notes.note(change);
    this.#size += notes.size - sizeBefore;
    // Thrown to SQLite, whose transaction can then only be rolled back.
    if (this.#size > touchedMax) {
      throw new Error(`a transaction may touch ${touchedMax} rows: split it`);
    }
    return notes instanceof RowNotes && typeof change.newRowid === "number";
  }

  /** Notes rows that came behind the one that was noted last. */
  follow(rows: number): void {
    (this.#last as RowNotes).follow(rows);
    this.#size += rows;
  }

  #notesOf(name: string): RowNotes | KeyNotes | undefined {
    const table = this.#tables.get(name);
    if (table === undefined) return undefined;
    const notes = this.#notesOfTable(table);
    if (!this.#touched.includes(notes)) this.#touched.push(notes);
    return notes;
  }

  #notesOfTable(table: StoredTable): RowNotes | KeyNotes {
    let notes = this.#notes.get(table);
    if (notes === undefined) {
      notes = table.plan.withoutRowid ? new KeyNotes(table) : new RowNotes(table);
      this.#notes.set(table, notes);
    }
    return notes;
  }
}
