/**
 * Reads the schema files of `[schema] paths`: files as they are, of a folder all `.sql` files in the
 * order of their names.
 *
 * @module
 */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type PlannedSchema, problemToText, type SchemaFile } from "../core/schema/schema.ts";
import { readSchema } from "../core/schema/schema-reader.ts";
import { openDatabase } from "../wasm/database.ts";
import { MemoryVfs } from "../wasm/vfs/memory.ts";
import type { TableConfig } from "./config.ts";
import { addPureFunctions } from "./sql/functions.ts";
import { exitCodes, StartFailure } from "./start-failure.ts";

/** @throws StartFailure */
export function readSchemaFiles(
  paths: readonly string[],
  tables: Readonly<Record<string, TableConfig>>,
): PlannedSchema {
  const files = paths.flatMap(readPath);
  const rules = new Map(
    Object.entries(tables).map(([table, { replicated, urgent }]) => [
      table,
      { replicated, ...(urgent === undefined ? {} : { urgent }) },
    ]),
  );
  using scratch = openDatabase("/schema.db", { vfs: new MemoryVfs() });
  addPureFunctions(scratch);
  const read = readSchema(scratch, files, rules);
  if (read.kind === "refused") {
    const lines = read.problems.map(problemToText).join("\n");
    throw new StartFailure(exitCodes.usage, `the schema is refused:\n${lines}`);
  }
  return read.schema;
}

function readPath(path: string): SchemaFile[] {
  try {
    if (!statSync(path).isDirectory()) return [{ name: path, text: readFileSync(path, "utf8") }];
    return readdirSync(path)
      .filter((name) => name.endsWith(".sql"))
      .sort()
      .map((name) => ({ name: join(path, name), text: readFileSync(join(path, name), "utf8") }));
  } catch (error) {
    throw new StartFailure(exitCodes.usage, `schema.paths: ${(error as Error).message}`);
  }
}
