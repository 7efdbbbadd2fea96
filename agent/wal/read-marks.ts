/**
 * Marks in the WAL: read transactions that read nothing, each on a connection of its own. A checkpoint copies no
 * frame behind the first of them, and so can be made in pieces, one from each mark to the next.
 *
 * SQLite has room for four marks that differ; a reader that finds none free shares an older one, which only keeps
 * a checkpoint from copying as much as it might.
 *
 * @module
 */

import { assert } from "../../core/assert.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import type { Vfs } from "../../wasm/vfs/vfs.ts";

export const marksMax = 4;

export class ReadMarks {
  /** In the order in which they were set. */
  readonly #held: Database[] = [];
  readonly #free: Database[];

  constructor(path: string, vfs: Vfs) {
    this.#free = Array.from({ length: marksMax }, () => {
      const database = openDatabase(path, { vfs, readonly: true });
      database.pragma("cache_size", 2);
      return database;
    });
  }

  get count(): number {
    return this.#held.length;
  }

  /** Room for one mark more, beside the one that a round begins with. */
  get hasRoom(): boolean {
    return this.#free.length > 1;
  }

  /** Behind the last frame. Throws what SQLite throws. */
  set(): void {
    const database = this.#free.at(-1);
    assert(database !== undefined, "read marks: one is free");
    database.exec("BEGIN");
    this.#free.pop();
    this.#held.push(database);
    // It begins with the first read.
    database.all("SELECT 1 FROM sqlite_schema LIMIT 1");
  }

  releaseFirst(): void {
    this.release(0);
  }

  /** @param index In the order in which they were set. */
  release(index: number): void {
    const [database] = this.#held.splice(index, 1);
    if (database === undefined) return;
    this.#free.push(database);
    if (!database.autocommit) database.exec("COMMIT");
  }

  releaseAll(): void {
    while (this.#held.length > 0) this.releaseFirst();
  }

  close(): void {
    for (const database of [...this.#held, ...this.#free]) database.close();
  }
}
