/**
 * Reads the schema files of `[schema] paths`: files as they are, of a folder all `.sql` files in the
 * order of their names.
 *
 * @module
 */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type PlannedSchema, problemToText, type SchemaFile } from "../../core/schema/schema.ts";
import { readSchema } from "../../core/schema/schema-reader.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { readTextFile } from "../host/text-file.ts";
import { addPureFunctions } from "../sql/functions.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";
import type { TableConfig } from "./config.ts";

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
  const file = (name: string, read: (name: string) => string): SchemaFile => ({
    name,
    text: within(name, () => read(name)),
  });
  const inside = within(path, () => (statSync(path).isDirectory() ? readdirSync(path) : undefined));
  if (inside === undefined) return [file(path, readTextFile)];
  const names = inside.filter((name) => name.endsWith(".sql")).sort();
  return names.map((name) => file(join(path, name), readInFolder));
}

/** Whatever a folder has under such a name is meant as a file: a queue, say, would be waited for without end. */
function readInFolder(name: string): string {
  if (!statSync(name).isFile()) throw new Error("it is no file");
  return readTextFile(name);
}

/** @throws StartFailure that names `path` */
function within<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? "there is no such file or folder" : message;
    throw new StartFailure(exitCodes.usage, `schema.paths: ${path}: ${why}`);
  }
}
