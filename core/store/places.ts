/**
 * Where rows stand in the order of a scan, and the scan.
 *
 * A scan goes through the tables, ascending by name, each by rowid or by key bytes, and then through
 * `patina_absent`. A position is the part (the table's number; that of `patina_absent` is after the
 * last) and the place in it after which the scan goes on. In `patina_absent` the place is: text table
 * name, then the key's bytes to the end.
 *
 * @module
 */

import { ByteReader } from "../bytes/reader.ts";
import { utf8Decode } from "../bytes/utf8.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { Digester } from "../row/digest.ts";
import { encodeKey } from "../row/key.ts";
import { compareBytes } from "../row/value.ts";
import type { Ordinals } from "./clock-blob.ts";
import type { SqlDatabase, SqlStatement } from "./database.ts";
import { clocksOfHeld, decodeHeldRow, type HeldRow } from "./held-row.ts";
import type { ScannedRow, ScanPosition } from "./row-store.ts";
import type { Place, StoredTable } from "./stored-table.ts";

interface Page {
  readonly rows: readonly ScannedRow[];
  readonly after: ScanPosition["after"];
  readonly isEnd: boolean;
}

export class Places {
  readonly #tables: readonly StoredTable[];
  readonly #partByTable: ReadonlyMap<StoredTable, number>;
  readonly #ordinals: Ordinals;
  readonly #digester: Digester;
  readonly #scanAbsent: SqlStatement;

  /** @param tables Ascending by name. */
  constructor(
    database: SqlDatabase,
    tables: readonly StoredTable[],
    ordinals: Ordinals,
    digester: Digester,
  ) {
    this.#tables = tables;
    this.#partByTable = new Map(tables.map((table, part) => [table, part]));
    this.#ordinals = ordinals;
    this.#digester = digester;
    this.#scanAbsent = database.prepare(
      "SELECT tbl, key, clock, held FROM patina_absent WHERE (tbl, key) > (?1, ?2) ORDER BY tbl, key LIMIT ?3",
    );
  }

  ofRow(table: StoredTable, { rowid, keyBytes }: Place): ScanPosition {
    return { part: this.#partByTable.get(table) as number, after: rowid ?? keyBytes };
  }

  ofAbsent(table: string, key: Uint8Array): ScanPosition {
    return { part: this.#tables.length, after: encodeAbsent(table, key) };
  }

  /** Whether a scan that stands at `position` has gone by `place`. */
  isPassed(position: ScanPosition, place: ScanPosition): boolean {
    if (place.part !== position.part) return place.part < position.part;
    if (position.after === null) return false;
    const isAbsent = place.part === this.#tables.length;
    return comparePlaces(place.after, position.after, isAbsent) <= 0;
  }

  /** As `RowStore.scan`. */
  scan(
    position: ScanPosition | undefined,
    rowsMax: number,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    const rows: ScannedRow[] = [];
    let { part, after } = position ?? { part: 0, after: null };
    while (part <= this.#tables.length) {
      const wanted = rowsMax - rows.length;
      if (wanted <= 0) return { rows, next: { part, after } };
      const table = this.#tables[part];
      const page =
        table === undefined
          ? this.#absentPage(after as Uint8Array | null, wanted)
          : this.#tablePage(table, after as number | bigint | Uint8Array | null, wanted);
      for (const row of page.rows) rows.push(row);
      if (page.isEnd) {
        part++;
        after = null;
      } else after = page.after;
    }
    return { rows, next: undefined };
  }

  #tablePage(
    table: StoredTable,
    after: number | bigint | Uint8Array | null,
    rowsMax: number,
  ): Page {
    const found = table.scan(after, rowsMax);
    const rows: ScannedRow[] = [];
    for (const { after: id, key: stored, clock, held } of found) {
      const row = decodeHeldRow(clock, held, this.#ordinals);
      const key = stored === undefined ? (id as Uint8Array) : encodeKey(stored);
      // Damaged clocks count as nothing.
      if (row !== undefined && key !== undefined) rows.push(this.#scanned(table.name, key, row));
    }
    return { rows, after: found.at(-1)?.after ?? after, isEnd: found.length < rowsMax };
  }

  #absentPage(after: Uint8Array | null, rowsMax: number): Page {
    const statement = this.#scanAbsent;
    // Before every name and key: no table is called "".
    const from = after === null ? { table: "", key: new Uint8Array(0) } : decodeAbsent(after);
    statement.bind(1, from.table);
    statement.bind(2, from.key);
    statement.bind(3, rowsMax);
    const rows: ScannedRow[] = [];
    let last = after;
    let count = 0;
    while (statement.step()) {
      const table = statement.column(0) as string;
      const key = statement.column(1) as Uint8Array;
      const clock = statement.column(2) as Uint8Array;
      const held = statement.column(3) as Uint8Array | null;
      count++;
      last = encodeAbsent(table, key);
      const row = decodeHeldRow(clock, held, this.#ordinals);
      if (row !== undefined) rows.push(this.#scanned(table, key, row));
    }
    statement.reset();
    return { rows, after: last, isEnd: count < rowsMax };
  }

  #scanned(table: string, key: Uint8Array, row: HeldRow): ScannedRow {
    return { table, key, id: this.#digester.rowId(table, key), clocks: clocksOfHeld(row) };
  }
}

function encodeAbsent(table: string, key: Uint8Array): Uint8Array {
  const writer = new ByteWriter(64);
  writer.text(table);
  writer.bytes(key);
  return writer.finish();
}

function decodeAbsent(place: Uint8Array): { readonly table: string; readonly key: Uint8Array } {
  const { name, key } = splitAbsent(place);
  return { table: utf8Decode(name) ?? "", key };
}

function splitAbsent(place: Uint8Array): { readonly name: Uint8Array; readonly key: Uint8Array } {
  const reader = new ByteReader(place);
  const name = reader.blob("table", place.length);
  return { name, key: reader.bytes(reader.left, "key") };
}

/** As SQLite orders them: numbers, bytes, and in `patina_absent` by name and then by key. */
function comparePlaces(
  a: ScanPosition["after"],
  b: ScanPosition["after"],
  isAbsent: boolean,
): number {
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    if (!isAbsent) return compareBytes(a, b);
    const left = splitAbsent(a);
    const right = splitAbsent(b);
    return compareBytes(left.name, right.name) || compareBytes(left.key, right.key);
  }
  const left = a as number | bigint;
  const right = b as number | bigint;
  return left < right ? -1 : left > right ? 1 : 0;
}
