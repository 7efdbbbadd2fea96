/**
 * What a query reads: its tables, and the columns whose change can change its result.
 *
 * SQLite is asked twice. Its authorizer names the tables and columns that the text means; but it isn't
 * asked about columns of USING and NATURAL, nor of a table that stands in nothing else. The program
 * that SQLite compiled (EXPLAIN) names every b-tree that it opens, and can read nothing else. So tables
 * are those of both; columns are the authorizer's, all of them where USING, NATURAL or a view is about.
 *
 * The rows of a query that is run again can also depend on their order (LIMIT, the first row of a
 * scalar subquery, a sum of REALs), which is that of the b-trees that it reads: for these every column
 * of an index counts, and the rowid.
 *
 * @module
 */

import { lowerAscii } from "../../../core/row/row-state.ts";
import { tokenize } from "../../../core/schema/sql-token.ts";
import type { Database } from "../../../wasm/database.ts";
import type { SqlGuard } from "../../sql/guard.ts";
import { openedTables } from "../../sql/opened-tables.ts";
import { SqlRefused } from "../../sql/prepared.ts";

export interface TableDependency {
  /** In ASCII lower case; undefined: any. */
  readonly columns: ReadonlySet<string> | undefined;
}

/** By table, in ASCII lower case. */
export type Dependencies = ReadonlyMap<string, TableDependency>;

/** What a dependency on the rowid is called. */
export const rowidName = "rowid";

interface KnownTable {
  /** Columns of the row as it is stored. */
  readonly stored: ReadonlySet<string>;
  /** Columns of its indexes; undefined when one of them is an expression. */
  readonly indexed: ReadonlySet<string> | undefined;
}

/**
 * @param notes what the guard noted while `sql` was compiled
 * @param isOrdered the order of what is read may matter
 * @throws SqlRefused for a table whose changes nobody tells of
 */
export function dependenciesOf(
  database: Database,
  sql: string,
  notes: SqlGuard["notes"],
  isOrdered: boolean,
): Dependencies {
  const names = openedTables(database, sql);
  const views = viewsOf(database);
  for (const table of notes.read) if (!views.has(table)) names.add(table);
  let isPlain = true;
  for (const { kind, text, value } of tokenize(sql)) {
    if (kind === "word" && (value === "using" || value === "natural")) isPlain = false;
    // USING may stand in a view. The authorizer isn't asked about one of which no column is read (`count(*)`).
    const name = kind === "string" ? lowerAscii(text.slice(1, -1).replaceAll("''", "'")) : value;
    if (views.has(name)) isPlain = false;
  }
  const dependencies = new Map<string, TableDependency>();
  for (const name of names) {
    if (isUnwatched(name))
      throw new SqlRefused(`${name} changes unseen: it can't be subscribed to`);
    const columns = isPlain
      ? columnsOf(database, name, notes.columns.get(name), isOrdered)
      : undefined;
    dependencies.set(name, { columns });
  }
  return dependencies;
}

/** What Patina and SQLite keep for themselves, and write without telling. */
function isUnwatched(table: string): boolean {
  return (
    (table.startsWith("patina_") && table !== "patina_members") ||
    table.startsWith("pragma_") ||
    table.startsWith("sqlite_") ||
    table === "dbstat"
  );
}

function columnsOf(
  database: Database,
  table: string,
  read: ReadonlySet<string> | undefined,
  isOrdered: boolean,
): ReadonlySet<string> | undefined {
  if (read === undefined) return undefined;
  const { stored, indexed } = describeTable(database, table);
  const columns = new Set<string>();
  for (const column of read) {
    // "": it only matters which rows there are.
    if (column === "") continue;
    if (!stored.has(column) && column !== rowidName) return undefined;
    columns.add(column);
  }
  if (!isOrdered) return columns;
  if (indexed === undefined) return undefined;
  for (const column of indexed) columns.add(column);
  return columns.add(rowidName);
}

function viewsOf(database: Database): Set<string> {
  const views = database.all("SELECT name FROM main.sqlite_schema WHERE type = 'view'");
  return new Set(views.map(([name]) => lowerAscii(String(name))));
}

function describeTable(database: Database, table: string): KnownTable {
  const stored = new Set<string>();
  const generated = new Set<string>();
  for (const [name, hidden] of database.all(
    "SELECT name, hidden FROM pragma_table_xinfo(?)",
    table,
  )) {
    (Number(hidden) === 0 ? stored : generated).add(lowerAscii(String(name)));
  }
  let indexed: Set<string> | undefined = new Set();
  const rows = database.all(
    "SELECT x.name, x.cid, i.partial FROM pragma_index_list(?) AS i, pragma_index_xinfo(i.name) AS x",
    table,
  );
  for (const [name, position, partial] of rows) {
    // -1 is the rowid, -2 an expression.
    if (Number(position) === -1) continue;
    const column = name === null ? undefined : lowerAscii(String(name));
    if (column === undefined || generated.has(column) || Number(partial) !== 0) {
      indexed = undefined;
      break;
    }
    indexed.add(column);
  }
  return { stored, indexed };
}

/**
 * Affinity of a table's columns that are stored as they are written and compare byte by byte, by name in
 * ASCII lower case; undefined for what is no ordinary table.
 */
export function plainColumnsOf(
  database: Database,
  table: string,
): ReadonlyMap<string, "text" | "integer"> | undefined {
  const columns = new Map<string, "text" | "integer">();
  if (!isPlainlyCompared(database, table)) return undefined;
  const rows = database.all("SELECT name, type, hidden FROM pragma_table_xinfo(?)", table);
  for (const [name, type, hidden] of rows) {
    const declared = String(type).toUpperCase();
    if (Number(hidden) !== 0) continue;
    const column = lowerAscii(String(name));
    if (declared.includes("INT")) columns.set(column, "integer");
    else if (/CHAR|CLOB|TEXT/.test(declared)) columns.set(column, "text");
  }
  return columns;
}

/** Whether a column's type is what its values are of. */
export function isStrictTable(database: Database, table: string): boolean {
  const found = database.all(
    "SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
    table,
  );
  return Number(found[0]?.[0]) === 1;
}

/** Whether it is an ordinary table, and no column of it compares otherwise than byte by byte. */
export function isPlainlyCompared(database: Database, table: string): boolean {
  const found = database.all(
    "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE",
    table,
  );
  const [[sql] = [null]] = found;
  if (typeof sql !== "string") return false;
  const tokens = tokenize(sql);
  // CREATE VIRTUAL TABLE
  if (tokens[1]?.value === "virtual") return false;
  return !tokens.some(({ kind, value }) => kind === "word" && value === "collate");
}
