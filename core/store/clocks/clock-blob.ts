/**
 * Clock blob: all clocks of one row, beside its table; and held blob: the values that the table can't show.
 *
 * Sites and columns are local ordinals (`patina_site`, `patina_column`), so that a row of five columns
 * costs some 70 bytes. Version 1:
 *
 * | field | bytes                                                                                  |
 * | ----- | -------------------------------------------------------------------------------------- |
 * | version | u8 = 1                                                                               |
 * | row clock | hlc 8, varint site ordinal, varint causal length `cl`                              |
 * | cells | varint count, then each, ascending by column name: varint column ordinal, u8 flags, [hlc 8, varint site ordinal], value hash 8 |
 *
 * Cell flags: bits 0-1 where the stamp is (0 the row clock's, 1 the cell's before, 2 its own, which
 * follows), bit 2 *held*: the column doesn't show this value, the held blob has it.
 *
 * A held blob is u8 version = 1, then for each cell with bit 2, in the same order, its value (`row/value.ts`).
 *
 * @module
 */

import { ByteReader } from "../../bytes/reader.ts";
import type { ByteWriter } from "../../bytes/writer.ts";
import { causalLengthMax, type RowClock } from "../../clock/row-clock.ts";
import { compareStamps, readHlc, type Site, type Stamp, writeHlc } from "../../clock/stamp.ts";
import type { CellClock, ClockState } from "../../row/digest.ts";
import { readValue, type SqlValue, writeValue } from "../../row/value.ts";

export const clockBlobVersion = 1;

/** Local numbers for what a clock blob names often. Kept in the file; never reused. */
export interface Ordinals {
  siteOrdinal(site: Site): number;
  site(ordinal: number): Site | undefined;
  columnOrdinal(column: string): number;
  column(ordinal: number): string | undefined;
}

export interface StoredCell extends CellClock {
  /** The table can't show the value; the held blob has it. */
  readonly held: boolean;
}

export interface StoredClocks extends ClockState {
  readonly cells: readonly StoredCell[];
}

/** Appends a clock blob to `writer`. */
export function writeClockBlob(writer: ByteWriter, state: StoredClocks, ordinals: Ordinals): void {
  writer.u8(clockBlobVersion);
  writeHlc(writer, state.clock);
  writer.varint(ordinals.siteOrdinal(state.clock.site));
  writer.varint(state.clock.cl);
  writer.varint(state.cells.length);
  let before: Stamp = state.clock;
  for (const cell of state.cells) {
    const where =
      compareStamps(cell.stamp, state.clock) === 0
        ? 0
        : compareStamps(cell.stamp, before) === 0
          ? 1
          : 2;
    writer.varint(ordinals.columnOrdinal(cell.column));
    writer.u8(where | (cell.held ? 4 : 0));
    if (where === 2) {
      writeHlc(writer, cell.stamp);
      writer.varint(ordinals.siteOrdinal(cell.stamp.site));
    }
    writer.u32(cell.hash.high);
    writer.u32(cell.hash.low);
    before = cell.stamp;
  }
}

export type ClockBlobDecoded =
  | ({ readonly kind: "clocks" } & StoredClocks)
  /** The row is damaged: its clocks count as nothing and it is never sent. */
  | { readonly kind: "malformed"; readonly why: string };

export function decodeClockBlob(bytes: Uint8Array, ordinals: Ordinals): ClockBlobDecoded {
  const decoded = decodeClocks(bytes, ordinals);
  if (decoded.kind === "malformed") return decoded;
  const { clock, cells, held } = decoded;
  return {
    kind: "clocks",
    clock,
    cells: cells.map((cell, i) => ({ ...cell, held: held.includes(i) })),
  };
}

/** {@link decodeClockBlob} with clocks that are only that, and the indexes of held cells, ascending. */
export function decodeClocks(
  bytes: Uint8Array,
  ordinals: Ordinals,
):
  | {
      readonly kind: "clocks";
      readonly clock: RowClock;
      readonly cells: CellClock[];
      readonly held: readonly number[];
    }
  | { readonly kind: "malformed"; readonly why: string } {
  const reader = new ByteReader(bytes);
  const version = reader.u8("clock blob version");
  if (reader.ok && version !== clockBlobVersion) {
    reader.fail(`clock blob: version ${clockBlobVersion}, got ${version}`);
  }
  const stampOf = (): Stamp => {
    const hlc = readHlc(reader, "clock");
    const ordinal = reader.varint("site ordinal");
    const site = ordinals.site(ordinal);
    if (reader.ok && site === undefined) reader.fail(`site ordinal: known, got ${ordinal}`);
    return { ms: hlc.ms, count: hlc.count, site: site as Site };
  };
  const row = stampOf();
  const cl = reader.varint("causal length", causalLengthMax);
  const count = reader.varint("cells", reader.left);
  const cells: CellClock[] = [];
  let held = nothingHeld;
  let before: Stamp = row;
  for (let i = 0; i < count && reader.ok; i++) {
    const ordinal = reader.varint("column ordinal");
    const column = ordinals.column(ordinal);
    if (reader.ok && column === undefined) reader.fail(`column ordinal: known, got ${ordinal}`);
    const flags = reader.u8("cell flags");
    const where = flags & 3;
    if (flags > 7 || where === 3) reader.fail(`cell flags: version 1, got ${flags}`);
    const stamp = where === 0 ? row : where === 1 ? before : stampOf();
    const hash = { high: reader.u32("value hash"), low: reader.u32("value hash") };
    if ((flags & 4) !== 0) held = held.concat(i);
    cells.push({ column: column as string, stamp, hash });
    before = stamp;
  }
  reader.end("clock blob");
  if (!reader.ok) return { kind: "malformed", why: reader.why };
  const clock: RowClock = { ms: row.ms, count: row.count, site: row.site, cl };
  return { kind: "clocks", clock, cells, held };
}

const nothingHeld: readonly number[] = [];

/** Appends a held blob: `values` are those of the held cells, in the order of their columns. */
export function writeHeldBlob(writer: ByteWriter, values: readonly SqlValue[]): void {
  writer.u8(1);
  for (const value of values) writeValue(writer, value);
}

/** The values of a held blob; undefined when it is malformed or doesn't have `count` values. */
export function decodeHeldBlob(bytes: Uint8Array, count: number): SqlValue[] | undefined {
  const reader = new ByteReader(bytes);
  if (reader.u8("held blob version") !== 1) return undefined;
  const values: SqlValue[] = [];
  for (let i = 0; i < count && reader.ok; i++) values.push(readValue(reader, "held value"));
  reader.end("held blob");
  return reader.ok ? values : undefined;
}
