/**
 * The tables that a compiled statement can read: every b-tree that its program opens (EXPLAIN), by the
 * table that it belongs to. SQLite's authorizer isn't asked about a table of which only columns of
 * USING or NATURAL are read; the program can't do without opening it.
 *
 * @module
 */

import type { Database } from "../../wasm/database.ts";
import { asciiLower } from "./guard.ts";

/**
 * To be called outside of the guard's modes: what it asks isn't the client's.
 *
 * @param sql one statement
 * @returns names in ASCII lower case
 */
export function openedTables(database: Database, sql: string): Set<string> {
  const roots = openedRoots(database, sql);
  const tables = new Set<string>();
  if (roots.has(1)) tables.add("sqlite_schema");
  for (const [table, root] of database.all(
    "SELECT tbl_name, rootpage FROM main.sqlite_schema WHERE rootpage > 0",
  )) {
    if (roots.delete(Number(root))) tables.add(asciiLower(String(table)));
  }
  roots.delete(1);
  if (roots.size > 0) throw new Error(`a statement reads page ${[...roots]}, which is no table's`);
  return tables;
}

function openedRoots(database: Database, sql: string): Set<number> {
  const roots = new Set<number>();
  using program = database.prepare(`EXPLAIN ${sql}`);
  while (program.step()) {
    const opcode = program.columnText(1);
    const isMain = program.columnNumber(4) === 0;
    if (isMain && (opcode === "OpenRead" || opcode === "ReopenIdx")) {
      roots.add(program.columnNumber(3));
    }
  }
  return roots;
}
