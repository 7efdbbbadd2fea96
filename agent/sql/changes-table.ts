/**
 * `patina_changes`: who changed what, when, and where, out of the clocks that stand beside the rows. Read-only, and
 * there without being declared.
 *
 * | column  | value                                                                                          |
 * | ------- | ---------------------------------------------------------------------------------------------- |
 * | `tbl`   | TEXT, in lower case; also of tables that this schema doesn't have                              |
 * | `key`   | the primary key; of several columns a JSON array in the key's order, as the API writes values  |
 * | `col`   | TEXT, in lower case; NULL: the row itself, its last insert or delete                           |
 * | `state` | TEXT: a row is `live` or `deleted`, a cell `shown` or `held` (the table can't show its value)  |
 * | `node`  | TEXT: whose commit it was, by name; NULL when this node has never met it                       |
 * | `site`  | TEXT: the same as 32 hex digits, what `actor_id` is; a node takes a new one when it has to     |
 * | `ms`    | INTEGER: when, in milliseconds since 1970, by the clock of whoever wrote it                    |
 * | `hlc`   | TEXT: the whole stamp, `ms.count`                                                              |
 *
 * There is no log: a cell has its last change only. `WHERE tbl = …` reads the rows of one table, with `AND key = …`
 * one row, by its key; without either everything that is held is read. It is asked in SQL of its own for what it
 * shows, so a token that is limited to some tables sees it only if it is one of them, and then all of it.
 *
 * @module
 */

import type { Site, Stamp } from "../../core/clock/stamp.ts";
import { hlcToText } from "../../core/clock/stamp.ts";
import { siteFromBytes, siteToBytes } from "../../core/row/digest.ts";
import { decodeKey, encodeKey } from "../../core/row/key.ts";
import { lowerAscii } from "../../core/row/row-state.ts";
import type { SqlValue } from "../../core/row/value.ts";
import { quoteName } from "../../core/schema/sql-token.ts";
import { decodeClockBlob, type Ordinals } from "../../core/store/clocks/clock-blob.ts";
import {
  type LoggedClocks,
  type ReadClockLog,
  readClockLog,
} from "../../core/store/clocks/clock-log.ts";
import { loggedSql } from "../../core/store/clocks/late-clocks.ts";
import type { Database } from "../../wasm/database.ts";
import type { VirtualTable } from "../../wasm/virtual-table.ts";
import { type JsonValue, parseJson } from "../api/json-reader.ts";
import { sqlValuesToJson } from "../api/json-writer.ts";
import { withOwnRights } from "./guard.ts";

const changesTableName = "patina_changes";

type LateClocks = ReadClockLog["tables"];

/** The first and the last row of the clock log: a look-up each, where both from one SELECT would be a scan. */
const rangeSql =
  "SELECT (SELECT min(seq) FROM patina_late_clocks), (SELECT max(seq) FROM patina_late_clocks)";

/** What it shows of one record. */
type Row = readonly SqlValue[];

/** A row's clocks as they are stored. */
interface StoredRow {
  readonly table: string;
  readonly key: readonly SqlValue[];
  readonly clock: Uint8Array;
}

/** A replicated table, as its clocks are found. */
interface ClockedTable {
  readonly name: string;
  /** As SQL has it, quoted. */
  readonly sqlName: string;
  /** Quoted, in the key's order. */
  readonly keyColumns: readonly string[];
  /** Undefined: its clocks are by key. */
  readonly rowid: string | undefined;
}

/** Makes it known to a connection, whatever stands in its database. */
export function addChangesTable(database: Database): void {
  database.createVirtualTable(changesTableName, new ChangesTable(database));
}

class ChangesTable implements VirtualTable {
  readonly columns = ["tbl", "key", "col", "state", "node", "site", "ms", "hlc"];
  readonly lookups = ["tbl", "key"];
  readonly rowsGuessed = [20_000_000, 5_000_000, 6];
  readonly #database: Database;
  /** As it was read last. */
  #late: { readonly name: string; readonly clocks: LateClocks } = { name: "", clocks: new Map() };

  constructor(database: Database) {
    this.#database = database;
  }

  *rows([table, key]: readonly SqlValue[]): IterableIterator<Row> {
    if (!this.#isPatina()) return;
    const names = new StoredNames(this.#database);
    for (const row of this.#stored(this.#lateClocks(), table, key)) yield* rowsOf(row, names);
  }

  /** @param late Clocks that aren't in their clock tables yet. */
  *#stored(
    late: LateClocks,
    table: SqlValue | undefined,
    key: SqlValue | undefined,
  ): IterableIterator<StoredRow> {
    if (table !== undefined && typeof table !== "string") return;
    const known = this.#tables().filter(({ name }) => table === undefined || name === table);
    if (key === undefined) {
      for (const one of known) yield* this.#live(one, late.get(one.name));
      yield* this.#absent(table);
      return;
    }
    for (const values of keysOf(key)) {
      const bytes = encodeKey(values);
      if (bytes === undefined) continue;
      for (const one of known) yield* this.#liveOf(one, late.get(one.name), values, bytes);
      const absent = this.#all(
        "SELECT clock FROM patina_absent WHERE tbl = ? AND key = ?",
        table as string,
        bytes,
      );
      for (const [clock] of absent) {
        yield { table: table as string, key: values, clock: clock as Uint8Array };
      }
    }
  }

  *#live(table: ClockedTable, late: LoggedClocks | undefined): IterableIterator<StoredRow> {
    const { name, sqlName, keyColumns, rowid } = table;
    const clocks = quoteName(`patina_clock_${name}`);
    if (rowid === undefined) {
      for (const [key, clock] of this.#each(`SELECT key, clock FROM ${clocks}`)) {
        yield { table: name, key: decodeKey(key as Uint8Array) ?? [], clock: clock as Uint8Array };
      }
      return;
    }
    const columns = keyColumns.map((column) => `t.${column}`).join(", ");
    const sql = `SELECT c.clock, c.id, ${columns} FROM ${sqlName} AS t JOIN ${clocks} AS c ON c.id = t.${rowid}`;
    for (const [clock, id, ...key] of this.#each(sql)) {
      yield { table: name, key, clock: late?.get(id as number) ?? (clock as Uint8Array) };
    }
  }

  *#liveOf(
    table: ClockedTable,
    late: LoggedClocks | undefined,
    values: readonly SqlValue[],
    bytes: Uint8Array,
  ): IterableIterator<StoredRow> {
    const { name, sqlName, keyColumns, rowid } = table;
    if (values.length !== keyColumns.length) return;
    const clocks = quoteName(`patina_clock_${name}`);
    if (rowid === undefined) {
      for (const [clock] of this.#all(`SELECT clock FROM ${clocks} WHERE key = ?`, bytes)) {
        yield { table: name, key: values, clock: clock as Uint8Array };
      }
      return;
    }
    const columns = keyColumns.map((column) => `t.${column}`).join(", ");
    const isKey = keyColumns.map((column) => `t.${column} = ?`).join(" AND ");
    const sql = `SELECT c.clock, c.id, ${columns} FROM ${sqlName} AS t JOIN ${clocks} AS c ON c.id = t.${rowid} WHERE ${isKey}`;
    for (const [clock, id, ...key] of this.#all(sql, ...values)) {
      yield { table: name, key, clock: late?.get(id as number) ?? (clock as Uint8Array) };
    }
  }

  /** Rows that stand in no table: tombstones, and what this schema can't show. */
  *#absent(table: string | undefined): IterableIterator<StoredRow> {
    const where = table === undefined ? "" : " WHERE tbl = ?";
    const values = table === undefined ? [] : [table];
    const sql = `SELECT tbl, key, clock FROM patina_absent${where}`;
    for (const [name, key, clock] of this.#each(sql, ...values)) {
      yield {
        table: String(name),
        key: decodeKey(key as Uint8Array) ?? [],
        clock: clock as Uint8Array,
      };
    }
  }

  #tables(): ClockedTable[] {
    return this.#all(
      `SELECT t.name, l.wr FROM sqlite_schema AS c
        JOIN sqlite_schema AS t ON t.type = 'table' AND lower(t.name) = substr(c.name, 14)
        JOIN pragma_table_list AS l ON l.schema = 'main' AND l.name = t.name
        WHERE c.type = 'table' AND c.name LIKE 'patina!_clock!_%' ESCAPE '!'`,
    ).map(([name, isByKey]) => {
      const columns = this.#all("SELECT name, pk FROM pragma_table_xinfo(?)", name as string);
      const taken = new Set(columns.map(([column]) => lowerAscii(String(column))));
      return {
        name: lowerAscii(String(name)),
        sqlName: quoteName(String(name)),
        keyColumns: columns
          .filter(([, position]) => Number(position) > 0)
          .sort(([, a], [, b]) => Number(a) - Number(b))
          .map(([column]) => quoteName(String(column))),
        rowid:
          Number(isByKey) === 1
            ? undefined
            : ["rowid", "_rowid_", "oid"].find((alias) => !taken.has(alias)),
      };
    });
  }

  /** Those of the snapshot that the statement holds which reads this table. A join asks for each row. */
  #lateClocks(): LateClocks {
    const [first, last] = this.#all(rangeSql)[0] ?? [];
    // Log rows are numbered on while a process lives: these two name what stands between them.
    const name = `${first} ${last}`;
    if (this.#late.name !== name) {
      const rows = this.#all(loggedSql).map(([clocks]) => clocks);
      this.#late = { name, clocks: readClockLog(rows).tables };
    }
    return this.#late.clocks;
  }

  #isPatina(): boolean {
    return this.#all("SELECT 1 FROM sqlite_schema WHERE name = 'patina_late_clocks'").length > 0;
  }

  #all(sql: string, ...values: SqlValue[]): SqlValue[][] {
    return withOwnRights(this.#database, () => this.#database.all(sql, ...values));
  }

  /** Row by row: there may be millions. */
  *#each(sql: string, ...values: SqlValue[]): IterableIterator<SqlValue[]> {
    const database = this.#database;
    using statement = withOwnRights(database, () => database.prepare(sql, false));
    for (const [index, value] of values.entries()) statement.bind(index + 1, value);
    const { columnCount } = statement;
    while (withOwnRights(database, () => statement.step())) {
      yield Array.from({ length: columnCount }, (_, column) => statement.column(column));
    }
  }
}

/** Names behind the ordinals of clock blobs, looked up as they come. */
class StoredNames implements Pick<Ordinals, "site" | "column"> {
  readonly #database: Database;
  readonly #sites = new Map<number, Site | undefined>();
  readonly #columns = new Map<number, string | undefined>();
  readonly #nodes = new Map<Site, string | null>();

  constructor(database: Database) {
    this.#database = database;
  }

  readonly site = (ordinal: number): Site | undefined => {
    if (!this.#sites.has(ordinal)) {
      const bytes = this.#one("SELECT site FROM patina_site WHERE ord = ?", ordinal);
      this.#sites.set(ordinal, bytes instanceof Uint8Array ? siteFromBytes(bytes) : undefined);
    }
    return this.#sites.get(ordinal);
  };

  readonly column = (ordinal: number): string | undefined => {
    if (!this.#columns.has(ordinal)) {
      const name = this.#one("SELECT name FROM patina_column WHERE ord = ?", ordinal);
      this.#columns.set(ordinal, typeof name === "string" ? name : undefined);
    }
    return this.#columns.get(ordinal);
  };

  node(site: Site): string | null {
    let node = this.#nodes.get(site);
    if (node === undefined) {
      const found = this.#one(
        "SELECT node FROM patina_node_site WHERE site = ?",
        siteToBytes(site),
      );
      node = typeof found === "string" ? found : null;
      this.#nodes.set(site, node);
    }
    return node;
  }

  #one(sql: string, value: SqlValue): SqlValue | undefined {
    return withOwnRights(this.#database, () => this.#database.all(sql, value))[0]?.[0];
  }
}

function* rowsOf({ table, key, clock }: StoredRow, names: StoredNames): IterableIterator<Row> {
  const decoded = decodeClockBlob(clock, names as StoredNames & Ordinals);
  // Damaged: the scrub tells of it.
  if (decoded.kind === "malformed") return;
  const shownKey = keyToSql(key);
  const row = (column: string | null, state: string, stamp: Stamp): Row => [
    ...[table, shownKey, column, state],
    ...[names.node(stamp.site), stamp.site, stamp.ms, hlcToText(stamp)],
  ];
  yield row(null, decoded.clock.cl % 2 === 1 ? "live" : "deleted", decoded.clock);
  for (const cell of decoded.cells) {
    yield row(cell.column, cell.held ? "held" : "shown", cell.stamp);
  }
}

/** A key of one column is its value. */
function keyToSql(key: readonly SqlValue[]): SqlValue {
  if (key.length === 1) return key[0] as SqlValue;
  try {
    return sqlValuesToJson(key);
  } catch {
    // A part is text that is no UTF-8: JSON has no form for it.
    return null;
  }
}

/** The keys that are shown as this value. */
function keysOf(shown: SqlValue): (readonly SqlValue[])[] {
  const keys: (readonly SqlValue[])[] = [[shown]];
  if (typeof shown !== "string" || !shown.startsWith("[")) return keys;
  try {
    const values = parseJson(shown);
    if (Array.isArray(values) && values.length > 1) keys.push(values.map(toSqlValue));
  } catch {
    // It isn't JSON: a text like any other.
  }
  return keys;
}

function toSqlValue(json: JsonValue): SqlValue {
  return Array.isArray(json) ? Uint8Array.from(json as number[]) : (json as SqlValue);
}
