/**
 * What a local transaction changed: the keys that were touched, what their rows were and what they are now.
 *
 * The rules of what a write makes of a row state are in `row/local-write.ts`; here are the rows.
 *
 * @module
 */

import { utf8Decode } from "../../bytes/utf8.ts";
import { changesetBytesMax } from "../../change/changeset.ts";
import { rowsMax } from "../../change/row-block.ts";
import { compareHlc, type Hlc, type Stamp } from "../../clock/stamp.ts";
import type { CellClock, Digester } from "../../row/digest.ts";
import { deleteRow, insertRow, updateRow } from "../../row/local-write.ts";
import { type Cell, type RowState, stampOfRow } from "../../row/row-state.ts";
import {
  bytesOfValue,
  equalValues,
  RawText,
  type SqlValue,
  valueBytesMax,
} from "../../row/value.ts";
import type { Ordinals } from "../clocks/clock-blob.ts";
import { isSound } from "../scrub/scrub.ts";
import type { AbsentRows } from "../tables/absent-rows.ts";
import { decodeHeldRow, type HeldCell, HeldRow } from "../tables/held-row.ts";
import type { BaseRow, StoredTable } from "../tables/stored-table.ts";
import { adoptionStamp } from "./adoption.ts";
import type { Touched } from "./touched.ts";

/**
 * Values of one row together, in bytes. Less than a changeset, so that a row that several nodes have
 * made large by halves still travels in one frame.
 */
export const rowBytesMax: number = 32 * 1024 * 1024;
/** What an update may set of a row that is larger than that: else nobody could say that it is down. */
const smallUpdateBytesMax = 64 * 1024;

/** What became of a touched key. */
export type LocalChange = { readonly touched: Touched } & (
  | { readonly kind: "insert"; readonly row: BaseRow }
  /** A row that was there without clocks is taken in (`adoption.ts`); `values` and `renewed` as of an update. */
  | {
      readonly kind: "adopt";
      readonly row: BaseRow;
      readonly values: ReadonlyMap<string, SqlValue>;
      readonly renewed: readonly string[];
    }
  /** `values` has the columns that differ, by name, and those that were said again and count (`capture.ts`): `renewed`. */
  | {
      readonly kind: "update";
      readonly row: BaseRow;
      readonly values: ReadonlyMap<string, SqlValue>;
      readonly renewed: readonly string[];
    }
  | { readonly kind: "delete"; readonly row: undefined }
  /** The same state under another rowid, or under a key that was written another way (1.0 for 1). */
  | { readonly kind: "moved"; readonly row: BaseRow }
);

/** The state that a change made. */
export interface LocalRow {
  readonly change: LocalChange;
  readonly state: RowState;
  readonly held: HeldRow;
}

export interface LocalReader {
  readonly absent: AbsentRows;
  readonly ordinals: Ordinals;
  readonly digester: Digester;
}

/**
 * After this nobody has a sound copy of a damaged cell. Until then what is written as it is shown may be what a client
 * has read here, and would win over that copy.
 */
const healingMs = 60_000;

/** The net difference, in the order of the keys. Empty: nothing changed. */
export function collectChanges(
  keys: readonly Touched[],
  reader: LocalReader,
  nowMs: number,
): LocalChange[] {
  const changes: LocalChange[] = [];
  for (const touched of keys) {
    const { row } = touched;
    if (row === undefined) {
      if (touched.before === undefined) continue;
      // Of a row without clocks peers may have another copy. What is held of its key besides isn't touched.
      const isHeld = clocksOfTouched(touched, reader) !== null;
      if (isHeld || !reader.absent.has(touched.table.name, touched.keyBytes)) {
        changes.push({ kind: "delete", touched, row });
      }
      continue;
    }
    const isInPlace = touched.source === touched;
    const hasClocks = touched.before !== undefined && clocksOfTouched(touched, reader) !== null;
    if (touched.before === undefined || !(hasClocks || isInPlace)) {
      changes.push({ kind: "insert", touched, row });
    } else {
      let values = differingValues(touched, row, reader);
      const renewed = renewedColumns(touched, row, values, reader, nowMs);
      if (renewed.length > 0)
        values = new Map([...values, ...valuesOf(touched.table, row, renewed)]);
      if (!hasClocks) changes.push({ kind: "adopt", touched, row, values, renewed });
      else if (values.size > 0) changes.push({ kind: "update", touched, row, values, renewed });
      else if (
        row.rowid !== touched.rowidBefore ||
        !touched.table.isKeyShown(touched.key, row.key)
      ) {
        changes.push({ kind: "moved", touched, row });
      }
    }
  }
  return changes;
}

/** Columns that were said again and that count: of those that differ it needn't be asked. */
function renewedColumns(
  touched: Touched,
  row: BaseRow,
  differing: ReadonlyMap<string, SqlValue>,
  reader: LocalReader,
  nowMs: number,
): readonly string[] {
  const { table, key, keyBytes, source, named } = touched;
  const { urgentColumns } = table.plan;
  const said =
    source === touched ? named : [...new Set([...urgentColumns, ...table.damagedColumns.keys()])];
  const renewed = said?.filter((column) => !differing.has(column)) ?? [];
  if (renewed.length === 0) return renewed;
  const isUrgent = table.isUrgent({ rowid: row.rowid, key, keyBytes });
  return renewed.filter((column) =>
    isUrgent && urgentColumns.includes(column) ? true : isGivenUp(touched, column, reader, nowMs),
  );
}

/** Whether a cell has lost its clock to a scrub, or will at the next, and peers have had time to bring another. */
function isGivenUp(touched: Touched, column: string, reader: LocalReader, nowMs: number): boolean {
  const foundMs = touched.table.damagedColumns.get(column);
  if (foundMs === undefined || nowMs < foundMs + healingMs) return false;
  const cell = clocksOfTouched(touched, reader)?.cells.find((one) => one.column === column);
  return cell === undefined || !isSound(cell, reader.digester);
}

function valuesOf(
  table: StoredTable,
  row: BaseRow,
  columns: readonly string[],
): [column: string, value: SqlValue][] {
  return columns.map((column) => {
    const index = table.valueIndex.get(column) as number;
    return [column, row.values[index] as SqlValue];
  });
}

/** The clocks that a key had before the transaction. Its row's own clocks are read once. */
export function clocksOfTouched(touched: Touched, reader: LocalReader): HeldRow | null {
  if (touched.clocks !== undefined) return touched.clocks;
  const { table, key, keyBytes, rowidBefore, before } = touched;
  let clocks: HeldRow | undefined;
  if (before === undefined) clocks = reader.absent.find(table.name, keyBytes)?.held;
  else {
    const found = table.findClocks({ rowid: rowidBefore, key, keyBytes });
    if (found !== undefined) clocks = decodeHeldRow(found.clock, found.held, reader.ordinals);
    for (const cell of clocks?.cells ?? []) {
      // NULL is a value too.
      if (cell.value !== undefined) continue;
      cell.value = before[table.valueIndex.get(cell.column) as number] ?? null;
    }
  }
  touched.clocks = clocks ?? null;
  return touched.clocks;
}

/** Columns of a row that was there and is there. */
function differingValues(
  touched: Touched,
  row: BaseRow,
  reader: LocalReader,
): ReadonlyMap<string, SqlValue> {
  const { table, source } = touched;
  const { valueColumns } = table.plan;
  const before = touched.before as readonly SqlValue[];
  const isOther = source !== undefined && source !== touched;
  const carried = isOther ? carriedValues(table, row, source, reader) : undefined;
  let values = carried;
  for (let i = 0; i < before.length; i++) {
    const isEqual = equalValues(before[i] as SqlValue, row.values[i] as SqlValue);
    if (carried === undefined && isEqual) continue;
    const { name } = valueColumns[i] as { readonly name: string };
    if (carried === undefined) {
      values ??= new Map();
      values.set(name, row.values[i] as SqlValue);
      // Another row's value came, but it is the one that was here.
    } else if (isEqual && equalValues(before[i] as SqlValue, carried.get(name) as SqlValue)) {
      carried.delete(name);
    }
  }
  return values ?? noValues;
}

const noValues: ReadonlyMap<string, SqlValue> = new Map();

/** All columns of a row that another key had, with what that key held and couldn't show. */
function carriedValues(
  table: StoredTable,
  row: BaseRow,
  source: Touched | undefined,
  reader: LocalReader,
): Map<string, SqlValue> {
  const values = new Map<string, SqlValue>();
  table.plan.valueColumns.forEach(({ name }, i) => {
    values.set(name, row.values[i] as SqlValue);
  });
  if (source?.before === undefined) return values;
  for (const cell of clocksOfTouched(source, reader)?.cells ?? []) {
    if (!cell.held) continue;
    const index = table.valueIndex.get(cell.column);
    // A column that was set in the same transaction has its new value.
    const isUntouched =
      index === undefined ||
      equalValues(row.values[index] as SqlValue, source.before[index] as SqlValue);
    if (isUntouched) values.set(cell.column, cell.value as SqlValue);
  }
  return values;
}

/** The largest stamp of what the changed rows were before: the commit's must be larger. */
export function largestHlcBefore(
  changes: readonly LocalChange[],
  reader: LocalReader,
): Hlc | undefined {
  let largest: Hlc | undefined;
  for (const { touched } of changes) {
    const clocks = clocksOfTouched(touched, reader);
    if (clocks === null) continue;
    const stamp = stampOfRow(clocks);
    if (largest === undefined || compareHlc(stamp, largest) > 0) largest = stamp;
  }
  return largest;
}

/** The states that the changes make, all under one stamp. Moves change no state. */
export function stampChanges(
  changes: readonly LocalChange[],
  stamp: Stamp,
  reader: LocalReader,
): LocalRow[] {
  const rows: LocalRow[] = [];
  for (const change of changes) {
    if (change.kind === "moved") continue;
    const { touched } = change;
    const { table, keyBytes } = touched;
    const clocks = clocksOfTouched(touched, reader);
    const before: RowState | undefined =
      clocks === null
        ? undefined
        : { table: table.name, key: keyBytes, clock: clocks.clock, cells: clocks.cells as Cell[] };
    let after: RowState;
    if (change.kind === "delete") after = deleteRow(before ?? takenIn(touched, stamp), stamp);
    else if (change.kind === "update") {
      after = updateRow(before as RowState, change.values, stamp, change.renewed);
    } else if (change.kind === "adopt") {
      after = updateRow(takenIn(touched, stamp), change.values, stamp, change.renewed);
    } else {
      const source = touched.source === touched ? undefined : touched.source;
      const values = carriedValues(table, change.row, source, reader);
      after = insertRow(before, table.name, keyBytes, values, stamp);
    }
    if (after === before) continue;
    rows.push(localRow(change, after, reader.digester));
  }
  return rows;
}

/** A row without clocks as it was before the transaction. @param stamp the commit's */
function takenIn({ table, keyBytes, before }: Touched, { site }: Stamp): RowState {
  const values = new Map<string, SqlValue>();
  table.plan.valueColumns.forEach(({ name }, i) => {
    values.set(name, before?.[i] as SqlValue);
  });
  return insertRow(undefined, table.name, keyBytes, values, adoptionStamp(site));
}

function localRow(change: LocalChange, after: RowState, digester: Digester): LocalRow {
  const { table } = change.touched;
  const cells: HeldCell[] = [];
  const clocks: CellClock[] = [];
  for (const cell of after.cells as readonly (Cell | HeldCell)[]) {
    let held: HeldCell;
    if ("hash" in cell) {
      // Not written, so the one that was held. If its value is damaged it isn't told to anybody.
      if (!isSound(cell, digester)) continue;
      held = cell;
    } else {
      const { column, stamp, value } = cell;
      const index = table.valueIndex.get(column);
      const shown = index === undefined ? undefined : change.row?.values[index];
      // Of a row that was too large for it, it came along from another key.
      const isOther = shown !== undefined && !equalValues(shown, value);
      const isHeld = isOther || !table.isShown(column, value);
      const hash = digester.valueHash(value);
      held = { column, stamp, hash, value, held: isHeld, fresh: false };
    }
    cells.push(held);
    clocks.push({ column: held.column, stamp: held.stamp, hash: held.hash });
  }
  const { clock } = after;
  // All values are in hand: those of held cells, those that were written, and the rest of the row before.
  const state = { table: after.table, key: after.key, clock, cells: cells as Cell[] };
  return { change, held: new HeldRow(clock, clocks, cells), state };
}

/** Why a commit has too many rows to be sent; undefined when it hasn't. */
export function problemOfCount(changes: readonly LocalChange[]): string | undefined {
  if (changes.length <= rowsMax) return undefined;
  return `a transaction may change ${rowsMax} rows, this one changes ${changes.length}: split it`;
}

/**
 * Why a commit's TEXT is refused; undefined when it isn't. TEXT that isn't UTF-8 (only SQL can make it:
 * `CAST(x'ff' AS TEXT)`) can't be said in JSON: one row of it would end every live query that shows it, on every node.
 * What is there already, of peers' or older than this rule, is left alone.
 */
export function problemOfText(changes: readonly LocalChange[]): string | undefined {
  for (const change of changes) {
    const { plan } = change.touched.table;
    if (change.kind === "update") {
      for (const [column, value] of change.values) {
        if (isNotText(value)) return notText(plan.name, column);
      }
    } else if (change.kind === "insert" || change.kind === "adopt") {
      const { key, values } = change.row;
      for (let i = 0; i < key.length; i++) {
        if (isNotText(key[i] as SqlValue)) return notText(plan.name, plan.keyColumns[i]?.name);
      }
      for (let i = 0; i < values.length; i++) {
        if (isNotText(values[i] as SqlValue)) return notText(plan.name, plan.valueColumns[i]?.name);
      }
    }
  }
  return undefined;
}

function isNotText(value: SqlValue): boolean {
  return value instanceof RawText && utf8Decode(value.bytes) === undefined;
}

function notText(table: string, column: string | undefined): string {
  return `${table}.${column}: TEXT that isn't UTF-8: write it as a BLOB`;
}

/** Why a commit is too large to be sent; undefined when it isn't. */
export function problemOfSize(rows: readonly LocalRow[]): string | undefined {
  let commitBytes = 0;
  for (const { change, state } of rows) {
    let rowBytes = 0;
    for (const { column, value } of state.cells) {
      const bytes = bytesOfValue(value);
      if (bytes > valueBytesMax) {
        return `${state.table}.${column}: a value may have ${valueBytesMax} bytes, this one has ${bytes}`;
      }
      rowBytes += bytes;
    }
    if (rowBytes > rowBytesMax && !isSmallUpdate(change)) {
      return `table ${state.table}: the values of a row may have ${rowBytesMax} bytes, these have ${rowBytes}`;
    }
    commitBytes += rowBytes;
  }
  return commitBytes > changesetBytesMax ? problemOfBytes(commitBytes) : undefined;
}

function isSmallUpdate(change: LocalChange): boolean {
  if (change.kind !== "update") return false;
  let bytes = 0;
  for (const value of change.values.values()) bytes += bytesOfValue(value);
  return bytes <= smallUpdateBytesMax;
}

export function problemOfBytes(bytes: number): string {
  return `a transaction may change ${changesetBytesMax} bytes, this one changes ${bytes}: split it`;
}
