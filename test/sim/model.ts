/**
 * What all replicas must come to, worked out apart from them: a plain map of all that was written.
 *
 * Replicas can agree on something wrong. So each commit is noted here as what it did to each row
 * (inserted it, deleted it, set columns) with its stamp, and the expected row is read off the notes by
 * one rule: the latest insert or delete says whether the row lives; of each column the
 * latest write counts, unless it is older than that.
 *
 * A commit that died with its disk before anybody heard of it is *in doubt*: it counts exactly if its
 * stamp is found in some replica at the end.
 *
 * @module
 */

import type { Changeset } from "../../core/change/changeset.ts";
import { compareStamps, type Stamp } from "../../core/clock/stamp.ts";
import { decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";

interface Note {
  readonly stamp: Stamp;
  /** What it did to the row's life; undefined for an update. */
  readonly life: "insert" | "delete" | undefined;
  readonly columns: ReadonlyMap<string, SqlValue>;
  inDoubt: boolean;
}

/** A row's name in checks and messages: its key. */
export type RowName = string;

export type Values = ReadonlyMap<string, SqlValue>;

export class Model {
  readonly #notes = new Map<RowName, Note[]>();
  readonly #byStamp = new Map<string, Note[]>();
  commits = 0;

  /** Notes a commit, before anybody else hears of it. */
  wrote({ stamp, rows }: Changeset): void {
    this.commits++;
    const notes: Note[] = [];
    for (const row of rows) {
      const isLife = compareStamps(row.clock, stamp) === 0;
      const life = isLife ? (row.clock.cl % 2 === 1 ? "insert" : "delete") : undefined;
      const columns = new Map<string, SqlValue>();
      for (const cell of row.cells) {
        if (compareStamps(cell.stamp, stamp) === 0) columns.set(cell.column, cell.value);
      }
      const note: Note = { stamp, life, columns, inDoubt: false };
      notes.push(note);
      const name = nameOfRow(row.key);
      const ofRow = this.#notes.get(name);
      if (ofRow === undefined) this.#notes.set(name, [note]);
      else ofRow.push(note);
    }
    this.#byStamp.set(textOfStamp(stamp), notes);
  }

  /** The disk that held this commit lost it. */
  lost(stamp: Stamp): void {
    for (const note of this.#byStamp.get(textOfStamp(stamp)) ?? []) note.inDoubt = true;
  }

  /** Whether the write with this stamp made the row less eligible: down, or deleted. */
  isDown(name: RowName, stamp: Stamp): boolean {
    return this.#find(name, stamp, (note) => {
      const status = note.columns.get("status");
      return note.life === "delete" || (status !== undefined && status !== "up");
    });
  }

  /** Live rows by name, given the stamps that are found in the replicas. */
  expected(found: ReadonlySet<string>): Map<RowName, Values> {
    const rows = new Map<RowName, Values>();
    for (const [name, all] of this.#notes) {
      const notes = all.filter((note) => !note.inDoubt || found.has(textOfStamp(note.stamp)));
      let life: Note | undefined;
      for (const note of notes) {
        if (note.life === undefined) continue;
        if (life === undefined || compareStamps(note.stamp, life.stamp) > 0) life = note;
      }
      if (life?.life !== "insert") continue;
      const winners = new Map<string, Note>();
      for (const note of notes) {
        if (compareStamps(note.stamp, life.stamp) < 0) continue;
        for (const column of note.columns.keys()) {
          const winner = winners.get(column);
          if (winner === undefined || compareStamps(note.stamp, winner.stamp) > 0) {
            winners.set(column, note);
          }
        }
      }
      const values = new Map<string, SqlValue>();
      for (const [column, note] of winners)
        values.set(column, note.columns.get(column) as SqlValue);
      rows.set(name, values);
    }
    return rows;
  }

  #find(name: RowName, stamp: Stamp, is: (note: Note) => boolean): boolean {
    for (const note of this.#notes.get(name) ?? []) {
      if (compareStamps(note.stamp, stamp) === 0 && is(note)) return true;
    }
    return false;
  }
}

export function nameOfRow(key: Uint8Array): RowName {
  return String(decodeKey(key)?.[0]);
}

export function textOfStamp(stamp: Stamp): string {
  return `${stamp.ms}.${stamp.count}.${stamp.site}`;
}

/**
 * Rows as text, in the order of their names, for comparing and for messages. Without NULLs: SQL shows a cell
 * that an INSERT left out as one that nobody wrote.
 */
export function textOfRows(rows: ReadonlyMap<RowName, Values>): string[] {
  return [...rows]
    .map(([name, values]) => {
      const cells = [...values]
        .filter(([, value]) => value !== null)
        .sort(([a], [b]) => (a < b ? -1 : 1));
      return `${name}: ${cells.map(([column, value]) => `${column}=${value}`).join(" ")}`;
    })
    .sort();
}
