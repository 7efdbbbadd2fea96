/**
 * Opens the agent's database: one connection that writes and one that reads, or a reason that people can
 * act on.
 *
 * @module
 */

import { closeSync, openSync, readSync, rmSync } from "node:fs";
import type { Site } from "../../core/clock/stamp.ts";
import { type FileHeader, readFileHeader } from "../../core/store/file/file-header.ts";
import {
  SQLITE_BUSY,
  SQLITE_CANTOPEN,
  SQLITE_CORRUPT,
  SQLITE_DBCONFIG_DEFENSIVE,
  SQLITE_DBCONFIG_TRUSTED_SCHEMA,
  SQLITE_FULL,
  SQLITE_IOERR,
  SQLITE_LIMIT_ATTACHED,
  SQLITE_LIMIT_FUNCTION_ARG,
  SQLITE_LIMIT_LENGTH,
  SQLITE_NOTADB,
  SQLITE_READONLY,
} from "../../wasm/constants.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";
import type { Vfs } from "../../wasm/vfs/vfs.ts";
import { addPureFunctions } from "../sql/functions.ts";
import { exitCodes, StartFailure } from "../start-failure.ts";

export interface OpenedWriter {
  readonly writer: Database;
  readonly header: FileHeader & { kind: "new" | "adoptable" | "patina" };
  /** That the file had; undefined for a new one. */
  readonly site: Site | undefined;
}

/** Where a restore makes the new database. */
export function restoringPath(databasePath: string): string {
  return `${databasePath}.restoring`;
}

/** What a restore that was killed left. For who holds the database's lock: then no restore is under way. */
export function removeRestoring(databasePath: string): void {
  for (const end of ["", "-wal", "-journal"]) {
    rmSync(`${restoringPath(databasePath)}${end}`, { force: true, recursive: true });
  }
}

/** @throws StartFailure */
export function openWriter(path: string, vfs: Vfs): OpenedWriter {
  // In another VFS (the warm-up's is in memory) the path says nothing about the disk, where the root may be read-only.
  const isOnDisk = vfs instanceof FileVfs;
  if (isOnDisk) refuseOtherText(path);
  return guarded(path, () => {
    const writer = openDatabase(path, { vfs });
    try {
      if (isOnDisk) removeRestoring(path);
      addPureFunctions(writer);
      const header = readFileHeader(writer);
      if (header.kind === "refused") {
        throw new StartFailure(exitCodes.data, `database ${path}: ${header.why}`);
      }
      // What a start writes before anybody is served needn't be synced: were it lost, the next one would do it again.
      if (header.kind === "patina") settleWriter(writer, path, "normal");
      const site = header.kind === "patina" ? header.site : undefined;
      return { writer, header, site };
    } catch (error) {
      writer.close();
      throw error;
    }
  });
}

/** Where a database's header has the encoding of its text (SQLite's "Database File Format", 1.3.13): 1 is UTF-8. */
const encodingAt = 56;

/** SQLite as it is built here knows UTF-8 only, and takes a file of the other two encodings for a damaged one. */
function refuseOtherText(path: string): void {
  const header = Buffer.alloc(encodingAt + 4);
  try {
    const fd = openSync(path, "r");
    try {
      readSync(fd, header, 0, header.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    // There is none yet; or SQLite can't read it either, and says why.
    return;
  }
  const encoding = header.readUInt32BE(encodingAt);
  if (header.toString("latin1", 0, 6) !== "SQLite" || (encoding !== 2 && encoding !== 3)) return;
  throw new StartFailure(
    exitCodes.data,
    `database ${path}: its text is UTF-16, only UTF-8 is supported: make it anew with sqlite3 OLD .dump | sqlite3 NEW`,
  );
}

/** After the store has made or checked the file: `auto_vacuum` comes before WAL. @throws StartFailure */
export function settleWriter(writer: Database, path: string, durability: "normal" | "full"): void {
  guarded(path, () => {
    writer.pragma("journal_mode", "wal");
    writer.pragma("synchronous", durability);
    // The store thread does it, when nobody waits.
    writer.pragma("wal_autocheckpoint", 0);
    writer.pragma("cache_size", -writerCacheKib);
    writer.pragma("temp_store", sortsInPieces);
    harden(writer);
  });
}

export interface ReaderMemory {
  readonly cacheKib: number;
  /** Of all connections of the thread together. The heap never shrinks, so one bad query must not grow it for good. */
  readonly heapBytesMax: number;
}

const storeThreadMemory: ReaderMemory = { cacheKib: 8 * 1024, heapBytesMax: 512 * 1024 * 1024 };

/** @throws StartFailure */
export function openReader(
  path: string,
  vfs: Vfs,
  { cacheKib, heapBytesMax }: ReaderMemory = storeThreadMemory,
): Database {
  return guarded(path, () => {
    const reader = openDatabase(path, { vfs, readonly: true });
    addPureFunctions(reader);
    reader.pragma("query_only", 1);
    reader.pragma("cache_size", -cacheKib);
    reader.pragma("hard_heap_limit", heapBytesMax);
    reader.pragma("temp_store", sortsInPieces);
    harden(reader);
    return reader;
  });
}

const writerCacheKib = 16 * 1024;
/** FILE: `wasm/vfs/temporary-file.ts` says why. */
const sortsInPieces = 1;
/** As SQLite had it for long. JSON functions read the whole document once for each path. */
const functionArgumentsMax = 127;
/** Of a value or a row, in any step of a statement. Twice the largest row that replicates. */
export const lengthBytesMax = 64 * 1024 * 1024;

/** No SQL of a client reaches another file, the schema, or functions that it shouldn't. */
function harden(database: Database): void {
  database.configure(SQLITE_DBCONFIG_DEFENSIVE, true);
  database.configure(SQLITE_DBCONFIG_TRUSTED_SCHEMA, false);
  database.limit(SQLITE_LIMIT_ATTACHED, 0);
  database.limit(SQLITE_LIMIT_LENGTH, lengthBytesMax);
  database.limit(SQLITE_LIMIT_FUNCTION_ARG, functionArgumentsMax);
}

/** Turns refusals of SQLite's, and of the system, into a reason and an exit code. */
export function guarded<T>(path: string, use: () => T): T {
  try {
    return use();
  } catch (error) {
    if (isOfSystem(error)) {
      throw new StartFailure(exitCodes.data, `database ${path}: ${error.message}`);
    }
    if (!(error instanceof SqliteError)) throw error;
    const why = reasons[error.code] ?? error.message;
    // The path is said already, and of a lock there is nothing more to say.
    const more = error.message.replaceAll(`${path}: `, "");
    const detail = why === error.message || error.code === SQLITE_BUSY ? "" : ` (${more})`;
    throw new StartFailure(exitCodes.data, `database ${path}: ${why}${detail}`);
  }
}

function isOfSystem(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && (error as NodeJS.ErrnoException).syscall !== undefined;
}

const reasons: Readonly<Record<number, string>> = {
  [SQLITE_BUSY]: "it is locked: another agent or a sqlite3 has it open; end that first",
  [SQLITE_CANTOPEN]: "it can't be opened",
  [SQLITE_CORRUPT]:
    "it is damaged: move it away, with its -wal, and start anew; the others have its rows",
  [SQLITE_NOTADB]: "it is no SQLite database, or a damaged one: move it away and start anew",
  [SQLITE_FULL]: "the disk is full",
  [SQLITE_IOERR]: "reading or writing failed",
  [SQLITE_READONLY]: "it can't be written",
};
