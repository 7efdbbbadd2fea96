/**
 * What SQLite refused, as an exception: caught by the store, which turns it into a result.
 *
 * @module
 */

import { codeName } from "./constants.ts";

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
