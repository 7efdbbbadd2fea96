/**
 * What all replicas must come to, worked out apart from them: a plain map of all that was written.
 *
 * Replicas can agree on something wrong. So each commit is noted here as what it did to each row
 * (inserted it, deleted it, set columns) with its stamp, and the expected row is read off the notes by
 * one rule: the latest insert or delete says whether the row lives; of each column the
 * latest write counts, unless it is older than that.
 *
 * A commit that died with its disk before anybody heard of it is *in doubt*: it counts exactly if its
 * stamp is found in that row of some replica at the end. So is what a host has stamped anew, since its clock had been far
 * ahead, as it was stamped before: under the new stamp it counts as any other write.
 *
 * @module
 */

import type { Changeset } from "../../core/change/changeset.ts";
import { compareStamps, type Stamp } from "../../core/clock/stamp.ts";
import type { ClockState } from "../../core/row/digest.ts";
import { decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";

/** With its values. */
export type RowBefore = Changeset["rows"][number];

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

  /** A host has stamped a row anew (`core/replica/restamp.ts`). */
  restamped(name: RowName, before: RowBefore, after: ClockState): void {
    const notes = this.#notes.get(name) ?? [];
    // What had lost to the old stamp, and wouldn't to the new one, may be gone as well.
    const doubt = (old: Stamp, now: Stamp | undefined, isConcerned: (note: Note) => boolean) => {
      for (const note of notes) {
        if (compareStamps(note.stamp, old) > 0 || !isConcerned(note)) continue;
        if (now === undefined || compareStamps(note.stamp, now) > 0) note.inDoubt = true;
      }
    };
    const now = after.clock;
    if (compareStamps(before.clock, now) !== 0) {
      const life = before.clock.cl % 2 === 1 ? "insert" : "delete";
      doubt(before.clock, now, () => true);
      notes.push({ stamp: now, life, columns: new Map(), inDoubt: false });
    }
    for (const { column, stamp, value } of before.cells) {
      const cell = after.cells.find((one) => one.column === column);
      if (cell !== undefined && compareStamps(cell.stamp, stamp) === 0) continue;
      doubt(stamp, cell?.stamp, ({ columns }) => columns.has(column));
      if (cell === undefined) continue;
      notes.push({
        ...{ stamp: cell.stamp, life: undefined, inDoubt: false },
        columns: new Map([[column, value]]),
      });
    }
  }

  /** Whether the write with this stamp made the row less eligible: down, or deleted. */
  isDown(name: RowName, stamp: Stamp): boolean {
    return this.#find(name, stamp, (note) => {
      const status = note.columns.get("status");
      return note.life === "delete" || (status !== undefined && status !== "up");
    });
  }

  /** Live rows by name, given what is found in the replicas: of each row {@link textOfRowStamp}, of each cell that and its column. */
  expected(found: ReadonlySet<string>): Map<RowName, Values> {
    const rows = new Map<RowName, Values>();
    for (const [name, notes] of this.#notes) {
      const counts = ({ stamp, inDoubt }: Note, column = "") =>
        !inDoubt || found.has(textOfRowStamp(name, stamp, column));
      let life: Note | undefined;
      for (const note of notes) {
        if (note.life === undefined || !counts(note)) continue;
        if (life === undefined || compareStamps(note.stamp, life.stamp) > 0) life = note;
      }
      if (life?.life !== "insert") continue;
      const winners = new Map<string, Note>();
      for (const note of notes) {
        if (compareStamps(note.stamp, life.stamp) < 0) continue;
        for (const column of note.columns.keys()) {
          const winner = winners.get(column);
          if (winner !== undefined && compareStamps(note.stamp, winner.stamp) <= 0) continue;
          if (counts(note, column)) winners.set(column, note);
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

export function textOfRowStamp(name: RowName, stamp: Stamp, column = ""): string {
  return `${name} ${column} ${textOfStamp(stamp)}`;
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
