/**
 * What SQLite refused, as an exception: caught by the store, which turns it into a result.
 *
 * @module
 */

import { codeName, SQLITE_ERROR, SQLITE_NOMEM, SQLITE_OK } from "./constants.ts";
import type { RunningSqlite } from "./running-sqlite.ts";

export interface SqliteErrorDetail {
  /** The statement's text, when there was one. */
  readonly sql?: string | undefined;
  /** Offset into `sql` in bytes of UTF-8, as sqlite3_error_offset tells it; -1 when unknown. */
  readonly offset?: number | undefined;
  /** What a callback of ours threw, or the operating system's error under a failed VFS call. */
  readonly cause?: unknown;
}

export class SqliteError extends Error {
  /** Primary result code: `SQLITE_BUSY`, `SQLITE_FULL` and so on (constants.ts). */
  readonly code: number;
  /** Extended result code; its low byte is `code`. */
  readonly extendedCode: number;
  /** Name of the extended code, or of the primary one where it has none. */
  readonly codeName: string;
  readonly sql: string | undefined;
  readonly offset: number;

  constructor(extendedCode: number, message: string, detail: SqliteErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "SqliteError";
    this.code = extendedCode & 0xff;
    this.extendedCode = extendedCode;
    this.codeName = codeName(extendedCode);
    this.sql = detail.sql;
    this.offset = detail.offset ?? -1;
  }
}

/**
 * The error for a result code: SQLite's message, and below it what the operating system said.
 *
 * @param pointer the connection, or 0
 * @param before put in front of the message
 */
export function errorOf(
  module: RunningSqlite,
  pointer: number,
  code: number,
  sql?: string,
  before = "",
): SqliteError {
  const { exports, heap } = module;
  // Misuse is reported by the call alone; the connection still has the message of an older error.
  const isOwn = pointer !== 0 && exports.sqlite3_extended_errcode(pointer) === code;
  const text = heap.cString(isOwn ? exports.sqlite3_errmsg(pointer) : exports.sqlite3_errstr(code));
  const offset = isOwn ? exports.sqlite3_error_offset(pointer) : -1;
  const cause = code === SQLITE_NOMEM ? undefined : module.vfs.takeFailure(code);
  const below = cause instanceof Error ? ` (${cause.message})` : "";
  // A call that only a callback of ours stopped ends with OK; whoever asks for its error says more.
  const kind = code === SQLITE_OK ? SQLITE_ERROR : code;
  return new SqliteError(kind, `${before}${text}${below}`, { sql, offset, cause });
}
