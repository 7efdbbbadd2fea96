/**
 * The tables that a compiled statement can read: every b-tree that its program opens (EXPLAIN), by the
 * table that it belongs to, and the virtual tables that it opens. SQLite's authorizer isn't asked about a table of
 * which only columns of USING or NATURAL are read; the program can't do without opening it.
 *
 * @module
 */

import { assert } from "../../core/assert.ts";
import { lowerAscii } from "../../core/row/row-state.ts";
import { tokenize } from "../../core/schema/sql-token.ts";
import type { Database } from "../../wasm/database.ts";
import type { Statement } from "../../wasm/statement.ts";

/**
 * To be called outside of the guard's modes: what it asks isn't the client's.
 *
 * @param sql one statement
 * @returns names in ASCII lower case
 */
export function openedTables(database: Database, sql: string): Set<string> {
  const { roots, virtual } = openedObjects(database, sql);
  const tables = new Set(virtual);
  if (roots.has(1)) tables.add("sqlite_schema");
  for (const [table, root] of database.all(
    "SELECT tbl_name, rootpage FROM main.sqlite_schema WHERE rootpage > 0",
  )) {
    if (roots.delete(Number(root))) tables.add(lowerAscii(String(table)));
  }
  roots.delete(1);
  if (roots.size > 0) throw new Error(`a statement reads page ${[...roots]}, which is no table's`);
  return tables;
}

/** A virtual table of SQLite's own, where the authorizer may not have been asked about it: which one isn't told. */
const hiddenVirtual = "pragma_… (in USING or NATURAL)";

function openedObjects(
  database: Database,
  sql: string,
): { readonly roots: Set<number>; readonly virtual: ReadonlySet<string> } {
  const roots = new Set<number>();
  const virtual = new Set<string>();
  let jsonModule: number | undefined;
  using program = database.prepare(`EXPLAIN ${sql}`);
  while (program.step()) {
    const opcode = program.columnText(1);
    if (opcode === "VOpen") {
      const address = vtabAddress(program);
      const { tables } = database.module;
      const name = tables.nameAt(address);
      if (name !== undefined) virtual.add(name);
      else if (joinsByName(sql)) {
        // Whose rows are made of what the statement gives it: it reads nothing.
        jsonModule ??= jsonModuleOf(database);
        if (tables.moduleAt(address) !== jsonModule) virtual.add(hiddenVirtual);
      }
      continue;
    }
    const isMain = program.columnNumber(4) === 0;
    if (isMain && (opcode === "OpenRead" || opcode === "ReopenIdx")) {
      roots.add(program.columnNumber(3));
    }
  }
  return { roots, virtual };
}

/** As the operation at hand of an EXPLAIN names it. */
function vtabAddress(program: Statement): number {
  return Number.parseInt(program.columnText(5).replace(/^vtab:/, ""), 16);
}

/** What `json_each` and `json_tree` have in common. */
function jsonModuleOf(database: Database): number {
  using program = database.prepare("EXPLAIN SELECT 1 FROM json_each('[]')");
  do assert(program.step(), "opened tables: json_each is a virtual table");
  while (program.columnText(1) !== "VOpen");
  return database.module.tables.moduleAt(vtabAddress(program));
}

function joinsByName(sql: string): boolean {
  return tokenize(sql).some(
    ({ kind, value }) => kind === "word" && (value === "using" || value === "natural"),
  );
}
