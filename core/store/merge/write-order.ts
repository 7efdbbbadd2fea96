/**
 * The order in which many rows are best written: as they stand in their tables. In any other order each of them is
 * looked for anew, from the root down, on a page that is in no cache.
 *
 * Rows are ordered by a number of so few bits that it and the row's place are one double: of the rowid or, where there is
 * none yet or ever, of the key. So it isn't exact, and needn't be. 100,000 rows take some 10 ms at the end.
 *
 * @module
 */

import type { Rowid } from "../../database.ts";
import { valueTagText } from "../../row/value.ts";
import type { RowRef } from "../../row-store.ts";
import type { AnyWrite, DecidedRow, QuickWrite } from "./decided-row.ts";

/** Rows of one table that are ordered by the same thing. */
class Part {
  readonly rows: number[] = [];
  /** What they are ordered by. */
  readonly by: number[] = [];
  /** The same where all of that are equal: the bytes of the key after those. */
  readonly byNext: number[] = [];
}

interface TableParts {
  readonly byRowid: Part;
  readonly byKey: Part;
}

/** Of a key, in one number. */
const keyPartBytes = 6;

export class WriteOrder {
  readonly #parts = new Map<string, TableParts>();
  /** Rows of which nothing is to be written. */
  readonly #unchanged: number[] = [];
  /** Rows that aren't decided. They come last, in their order: they may be about one that came before. */
  readonly #rest: number[] = [];
  #rows = 0;

  /** The next row, which gets the next number, from 0 on. */
  add(decided: DecidedRow | undefined): void {
    const row = this.#rows++;
    if (decided === undefined) this.#rest.push(row);
    else if (decided.write === undefined) this.#unchanged.push(row);
    else this.#addWrite(row, decided.placed, rowidOf(decided.write));
  }

  #addWrite(row: number, { table, key }: RowRef, rowid: Rowid | undefined): void {
    let parts = this.#parts.get(table);
    if (parts === undefined) {
      parts = { byRowid: new Part(), byKey: new Part() };
      this.#parts.set(table, parts);
    }
    const part = rowid === undefined ? parts.byKey : parts.byRowid;
    part.rows.push(row);
    if (rowid !== undefined) part.by.push(Number(rowid));
    else {
      // Before a text stands its length, which says nothing of its place.
      const from = key[1] === valueTagText ? 3 : 0;
      part.by.push(numberAt(key, from));
      part.byNext.push(numberAt(key, from + keyPartBytes));
    }
  }

  /** @returns the numbers of the rows, in order */
  finish(): Uint32Array {
    const order = new Uint32Array(this.#rows);
    let count = 0;
    for (const { byRowid, byKey } of this.#parts.values()) {
      count = put(order, count, byRowid);
      count = put(order, count, byKey);
    }
    order.set(this.#unchanged, count);
    order.set(this.#rest, count + this.#unchanged.length);
    return order;
  }
}

/** Undefined: it has none yet, or never has. */
function rowidOf(write: QuickWrite | AnyWrite): Rowid | undefined {
  if (write.kind === "any") return write.slot.rowid;
  const { table, isNew, rowid, key } = write;
  return isNew && table.plan.rowidAlias ? (key?.[0] as Rowid) : rowid;
}

/** Some bytes of a key, as one number. */
function numberAt(key: Uint8Array, from: number): number {
  let number = 0;
  for (let at = from; at < from + keyPartBytes; at++) number = number * 256 + (key[at] ?? 0);
  return number;
}

/** Puts rows, ascending by their numbers, at `count` and after. @returns where the next go */
function put(order: Uint32Array, count: number, { rows, by, byNext }: Part): number {
  let { least, most } = spanOf(by);
  let numbers = by;
  if (least === most && byNext.length > 0) {
    numbers = byNext;
    ({ least, most } = spanOf(byNext));
  }
  // Number and place together are below 2**53.
  const places = 2 ** Math.ceil(Math.log2(rows.length + 1));
  const scale = Math.min(1, (2 ** 52 / places - 1) / (most - least));
  const sorted = new Float64Array(rows.length);
  for (let at = 0; at < rows.length; at++) {
    sorted[at] = Math.floor(((numbers[at] as number) - least) * scale) * places + at;
  }
  sorted.sort();
  for (let at = 0; at < rows.length; at++) {
    order[count + at] = rows[(sorted[at] as number) % places] as number;
  }
  return count + rows.length;
}

function spanOf(numbers: readonly number[]): { readonly least: number; readonly most: number } {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const number of numbers) {
    if (number < least) least = number;
    if (number > most) most = number;
  }
  return { least, most };
}
