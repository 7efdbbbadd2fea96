/**
 * What became of a live query's rows, as it is told: which rows are others now, which came and which went, and the
 * lines that say so.
 *
 * @module
 */

import type { HeldRow, ReadRow } from "./rows/row.ts";

/** In the order in which it is told. */
export interface Change {
  /** Of a rename nobody is told: the row is as it was, and has another identity. */
  readonly type: "insert" | "update" | "delete" | "rename";
  readonly rowId: number;
  /** Of a deleted row the last ones. */
  readonly cells: string;
  readonly identity: string;
  /** Of an updated row, where it is another now. */
  readonly oldIdentity: string;
  /** Of one that was there: {@link HeldRow.place}. */
  readonly place?: number | undefined;
  /** `{"change":…}` and a newline; of a rename nothing. */
  readonly line: string;
}

export interface Difference {
  readonly updates: { readonly held: HeldRow; readonly now: ReadRow }[];
  readonly inserts: ReadRow[];
  readonly deletes: HeldRow[];
}

/** A row that went and one that came under the same identity are one that was updated. May rest after each row. */
export function* pairUp(
  gone: readonly HeldRow[],
  come: readonly ReadRow[],
): Generator<undefined, Difference> {
  /** The last first: what is taken off an array's beginning moves all that comes after it. */
  const goneByIdentity = new Map<string, HeldRow[]>();
  for (const held of gone.toReversed()) {
    yield undefined;
    const same = goneByIdentity.get(held.identity);
    if (same === undefined) goneByIdentity.set(held.identity, [held]);
    else same.push(held);
  }
  const updates: Difference["updates"] = [];
  const inserts: ReadRow[] = [];
  for (const now of come) {
    yield undefined;
    const held = goneByIdentity.get(now.identity)?.pop();
    if (held === undefined) inserts.push(now);
    else updates.push({ held, now });
  }
  const deletes: HeldRow[] = [];
  for (const rows of goneByIdentity.values()) {
    for (const held of rows) {
      yield undefined;
      deletes.push(held);
    }
  }
  deletes.reverse();
  return { updates, inserts, deletes };
}

/** What is left of `gone` and `come` when rows that look the same are the same. May rest after each row. */
export function* renamesOf(
  gone: readonly HeldRow[],
  come: readonly ReadRow[],
): Generator<undefined, { readonly renames: Change[]; gone: HeldRow[]; come: ReadRow[] }> {
  const goneByCells = new Map<string, HeldRow[]>();
  for (const held of gone.toReversed()) {
    yield undefined;
    const same = goneByCells.get(held.row.cells);
    if (same === undefined) goneByCells.set(held.row.cells, [held]);
    else same.push(held);
  }
  const renames: Change[] = [];
  const comeLeft: ReadRow[] = [];
  for (const now of come) {
    yield undefined;
    const held = goneByCells.get(now.cells)?.pop();
    if (held === undefined) comeLeft.push(now);
    else renames.push(renamed(held, now));
  }
  const goneLeft: HeldRow[] = [];
  for (const rows of goneByCells.values()) {
    yield undefined;
    goneLeft.push(...rows);
  }
  goneLeft.reverse();
  return { renames, gone: goneLeft, come: comeLeft };
}

/** A result of one row without key columns (an aggregate, say): an update, not a delete and an insert. */
export function asOneUpdate(difference: Difference): Difference {
  const { updates, inserts, deletes } = difference;
  const [[held], [now]] = [deletes, inserts];
  const isOne = updates.length === 0 && deletes.length === 1 && inserts.length === 1;
  if (!isOne || held === undefined || now === undefined) return difference;
  return { updates: [{ held, now }], inserts: [], deletes: [] };
}

/**
 * @param lastRowId that was given away
 * @param lastChangeId that was told
 */
export function* changesOf(
  { updates, inserts, deletes }: Difference,
  lastRowId: number,
  lastChangeId: number,
): Generator<Change, void> {
  let rowId = lastRowId;
  let changeId = lastChangeId;
  for (const { held, now } of updates) yield updated(held, now, ++changeId);
  for (const now of inserts) yield inserted(now, ++rowId, ++changeId);
  for (const held of deletes) yield deleted(held, ++changeId);
}

export function updated(held: HeldRow, now: ReadRow, changeId: number): Change {
  return change("update", held.row.rowId, now, held.identity, changeId, held.place);
}

export function inserted(now: ReadRow, rowId: number, changeId: number): Change {
  return change("insert", rowId, now, now.identity, changeId);
}

export function deleted({ identity, row, place }: HeldRow, changeId: number): Change {
  return change("delete", row.rowId, { identity, cells: row.cells }, identity, changeId, place);
}

/** Those that anybody is told of. */
export function toldOf(changes: readonly Change[]): readonly Change[] {
  const isRename = ({ type }: Change): boolean => type === "rename";
  return changes.some(isRename) ? changes.filter((change) => !isRename(change)) : changes;
}

function renamed({ identity: oldIdentity, row, place }: HeldRow, now: ReadRow): Change {
  return { type: "rename", rowId: row.rowId, ...now, oldIdentity, place, line: "" };
}

function change(
  type: Change["type"],
  rowId: number,
  { identity, cells }: ReadRow,
  oldIdentity: string,
  changeId: number,
  place?: number,
): Change {
  const line = `{"change":["${type}",${rowId},${cells},${changeId}]}\n`;
  return { type, rowId, cells, oldIdentity, identity, place, line };
}
