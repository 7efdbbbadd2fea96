/**
 * Lends snapshots of the database to the reader thread, and keeps them while they are lent: by a
 * read transaction on a connection of the store thread's own (wasm/vfs/lent.ts).
 *
 * @module
 */

import { type Database, openDatabase } from "../../wasm/database.ts";
import type { FileVfs } from "../../wasm/vfs/file.ts";

export interface Loan {
  readonly regions: Uint8Array<ArrayBuffer>[];
  /** Once the borrower reads no more. Once more does nothing. */
  end(): void;
}

export class SnapshotLender {
  readonly #path: string;
  readonly #vfs: FileVfs;
  readonly #idle: Database[] = [];
  /** With the loan's number, the oldest first. */
  readonly #lent = new Map<Database, number>();
  #lastLoan = 0;

  constructor(path: string, vfs: FileVfs) {
    this.#path = path;
    this.#vfs = vfs;
  }

  /** Whether any snapshot is lent: then the WAL can't begin anew. */
  get isPinned(): boolean {
    return this.#lent.size > 0;
  }

  /** The number of the oldest loan: the WAL can't be copied beyond its snapshot. Undefined: none is lent. */
  get oldest(): number | undefined {
    return this.#lent.values().next().value;
  }

  /** The last commit, as it is now: a transaction that the writer is in the middle of isn't in it. */
  lend(): Loan {
    const proxy = this.#idle.pop() ?? this.#open();
    proxy.exec("BEGIN");
    // It begins with the first read.
    proxy.all("SELECT 1 FROM sqlite_schema LIMIT 1");
    const regions = this.#vfs.copyWalIndex(this.#path, proxy.module.heap.u8);
    const loan = ++this.#lastLoan;
    this.#lent.set(proxy, loan);
    return {
      regions,
      end: () => {
        // Its connection may have been lent again.
        if (this.#lent.get(proxy) !== loan) return;
        this.#lent.delete(proxy);
        proxy.exec("COMMIT");
        this.#idle.push(proxy);
      },
    };
  }

  close(): void {
    for (const proxy of [...this.#lent.keys(), ...this.#idle]) proxy.close();
    this.#lent.clear();
    this.#idle.length = 0;
  }

  #open(): Database {
    const proxy = openDatabase(this.#path, { vfs: this.#vfs, readonly: true });
    // It reads one page.
    proxy.pragma("cache_size", 2);
    return proxy;
  }
}
