/**
 * Reads the schema files of `[schema] paths`: files as they are, of a folder all `.sql` files in the
 * order of their names.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
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
  const names = within(path, () => {
    if (!statSync(path).isDirectory()) return [path];
    const inside = readdirSync(path).filter((name) => name.endsWith(".sql"));
    return inside.sort().map((name) => join(path, name));
  });
  return names.map((name) => ({ name, text: within(name, () => readText(name)) }));
}

/** A text that is no UTF-8 would be another one on a node that repairs it otherwise. */
function readText(name: string): string {
  const bytes = readFileSync(name);
  if (!isUtf8(bytes)) throw new Error("it is not UTF-8");
  return bytes.toString();
}

/** @throws StartFailure that names `path` */
function within<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { message } = error as Error;
    throw new StartFailure(exitCodes.usage, `schema.paths: ${path}: ${message}`);
  }
}
