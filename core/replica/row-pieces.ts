/**
 * Rows on their way out, cut into lists of a bounded size.
 *
 * A commit can't make a row larger than a frame carries, but several can, on hosts that don't know of each other: each
 * fills other columns. Such a row is sent in pieces with one row clock, whose join it is (`change/row-block.ts`).
 *
 * @module
 */

import { utf8Length } from "../bytes/utf8.ts";
import type { RowState } from "../row/row-state.ts";
import { RawText, type SqlValue } from "../row/value.ts";

/**
 * Cuts `rows` into lists of at most `bytesMax`, or of one cell.
 *
 * @param turn Which piece of a large row is the first. Of one that is larger than what a peer takes at once only the
 * first pieces come through: with another turn each time all do at last.
 */
export function piecesOf(rows: readonly RowState[], bytesMax: number, turn: number): RowState[][] {
  const lists: RowState[][] = [];
  let list: RowState[] = [];
  let bytes = 0;
  for (const row of rows) {
    const rowBytes = valueBytesOf(row);
    if (rowBytes > bytesMax) {
      const pieces = cut(row, bytesMax);
      const first = turn % pieces.length;
      for (const piece of [...pieces.slice(first), ...pieces.slice(0, first)]) lists.push([piece]);
      continue;
    }
    if (bytes + rowBytes > bytesMax) {
      lists.push(list);
      list = [];
      bytes = 0;
    }
    list.push(row);
    bytes += rowBytes;
  }
  if (list.length > 0) lists.push(list);
  return lists;
}

/** About how many bytes a row's key and values take. */
export function valueBytesOf(row: RowState): number {
  let bytes = row.key.length + 16;
  for (const { value } of row.cells) bytes += cellBytesOf(value);
  return bytes;
}

function cut(row: RowState, bytesMax: number): RowState[] {
  const pieces: RowState[] = [];
  let start = 0;
  let bytes = 0;
  for (const [at, { value }] of row.cells.entries()) {
    const cellBytes = cellBytesOf(value);
    if (at > start && bytes + cellBytes > bytesMax) {
      pieces.push({ ...row, cells: row.cells.slice(start, at) });
      start = at;
      bytes = 0;
    }
    bytes += cellBytes;
  }
  pieces.push({ ...row, cells: row.cells.slice(start) });
  return pieces;
}

function cellBytesOf(value: SqlValue): number {
  if (value instanceof Uint8Array) return value.length + 8;
  if (value instanceof RawText) return value.bytes.length + 8;
  if (typeof value !== "string") return 8;
  // Short text is counted by its units: near enough for sums.
  return (value.length < 1024 ? value.length : utf8Length(value)) + 8;
}
