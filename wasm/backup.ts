/**
 * Copies a database page by page, while it is in use: SQLite's online backup.
 *
 * The copy is made from the connection that writes. What that connection changes in pages already copied
 * is written to the copy as well, so the copy never begins anew, holds no read lock between steps, and
 * is in the end the database as it is at the last step. Pages are copied as they are: rowids stay.
 *
 * @module
 */

import { SQLITE_DONE, SQLITE_OK } from "./constants.ts";
import type { Database } from "./database.ts";
import { SqliteError } from "./error.ts";

interface BackupExports {
  sqlite3_backup_init(target: number, zTarget: number, source: number, zSource: number): number;
  sqlite3_backup_step(backup: number, pages: number): number;
  sqlite3_backup_finish(backup: number): number;
  sqlite3_backup_remaining(backup: number): number;
  sqlite3_backup_pagecount(backup: number): number;
}

export class OnlineBackup implements Disposable {
  readonly #target: Database;
  readonly #exports: BackupExports;
  #backup: number;

  /** @param source The connection that writes. @param target An empty database; in use until the end. */
  constructor(source: Database, target: Database) {
    const { module } = source;
    this.#target = target;
    this.#exports = module.exports as unknown as BackupExports;
    const zMain = module.allocateCString("main");
    this.#backup = this.#exports.sqlite3_backup_init(target.handle, zMain, source.handle, zMain);
    module.free(zMain);
    if (this.#backup === 0) throw target.error(module.exports.sqlite3_errcode(target.handle));
  }

  /** Of the source, after the first step. */
  get pages(): number {
    return this.#exports.sqlite3_backup_pagecount(this.#backup);
  }

  get pagesLeft(): number {
    return this.#exports.sqlite3_backup_remaining(this.#backup);
  }

  /**
   * Copies up to `pages` pages. True: the copy is complete, and on the disk as the target's `synchronous`
   * says. Not inside a transaction of the source. @throws SqliteError; the copy can then only be dropped
   */
  step(pages: number): boolean {
    const code = this.#exports.sqlite3_backup_step(this.#backup, pages);
    if (code === SQLITE_DONE) return true;
    if (code !== SQLITE_OK) throw new SqliteError(code, this.#target.error(code).message);
    return false;
  }

  /** Ends it; before the last step the target is left without what was copied. */
  [Symbol.dispose](): void {
    if (this.#backup === 0) return;
    this.#exports.sqlite3_backup_finish(this.#backup);
    this.#backup = 0;
  }
}
