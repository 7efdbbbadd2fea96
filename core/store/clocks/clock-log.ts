/**
 * A row of the clock log (`late-clocks.ts`): the clocks that one transaction gave to rows, not yet in their clock tables.
 *
 * | bytes  | what                                                                    |
 * | ------ | ----------------------------------------------------------------------- |
 * | 1      | version, 1                                                              |
 * |        | then to the end, for each table:                                        |
 * | text   | its name                                                                |
 * | varint | entries, one or more; each:                                             |
 * | zigzag | rowid, of magnitude 2**53 at most                                       |
 * | bytes  | with length: clock blob. None: the clock table has it from here on      |
 *
 * @module
 */

import { ByteReader } from "../../bytes/reader.ts";
import type { ByteWriter } from "../../bytes/writer.ts";

export const clockLogVersion = 1;

/** Clock blobs of one table by rowid. Null: the clock table has it. */
export type LoggedClocks = ReadonlyMap<number, Uint8Array | null>;

export interface LoggedTable {
  readonly name: string;
  /** What a transaction has for the log. */
  readonly fresh: LoggedClocks;
}

/** Tables without entries are left out. */
export function writeClockLogRow(writer: ByteWriter, tables: Iterable<LoggedTable>): void {
  writer.u8(clockLogVersion);
  for (const { name, fresh } of tables) {
    if (fresh.size === 0) continue;
    writer.text(name);
    writer.varint(fresh.size);
    for (const [rowid, clock] of fresh) {
      writer.zigzag(rowid);
      if (clock === null) writer.varint(0);
      else writer.blob(clock);
    }
  }
}

/** By table, as views on `bytes`. Undefined: it isn't such a row, or is damaged. */
export function decodeClockLogRow(
  bytes: Uint8Array,
): ReadonlyMap<string, LoggedClocks> | undefined {
  const reader = new ByteReader(bytes);
  if (reader.u8("version") !== clockLogVersion) return undefined;
  const tables = new Map<string, LoggedClocks>();
  while (reader.ok && reader.left > 0) {
    const name = reader.text("table", reader.left);
    const clocks = new Map<number, Uint8Array | null>();
    const count = reader.varint("entries", reader.left);
    for (let i = 0; i < count && reader.ok; i++) {
      const rowid = reader.zigzag("rowid");
      const clock = reader.blob("clock", reader.left);
      if (typeof rowid !== "number") reader.fail("rowid");
      else clocks.set(rowid, clock.length === 0 ? null : clock);
    }
    if (clocks.size !== count || count === 0 || tables.has(name)) return undefined;
    tables.set(name, clocks);
  }
  return reader.ok ? tables : undefined;
}

/** What a log says, by table. */
export interface ReadClockLog {
  readonly tables: ReadonlyMap<string, LoggedClocks>;
  /**
   * Log rows read. Of a damaged one and those before it none are: it may have said that the clock table has a row's clocks
   * again.
   */
  readonly rows: number;
}

/** @param rows The newest first: of each row's clocks the first count. */
export function readClockLog(rows: readonly unknown[]): ReadClockLog {
  const tables = new Map<string, Map<number, Uint8Array | null>>();
  for (const [index, bytes] of rows.entries()) {
    const logged = bytes instanceof Uint8Array ? decodeClockLogRow(bytes) : undefined;
    if (logged === undefined) return { tables, rows: index };
    for (const [name, clocks] of logged) {
      const known = tables.get(name) ?? new Map<number, Uint8Array | null>();
      tables.set(name, known);
      for (const [rowid, clock] of clocks) if (!known.has(rowid)) known.set(rowid, clock);
    }
  }
  return { tables, rows: rows.length };
}
