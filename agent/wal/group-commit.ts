/**
 * Full durability for many clients: their transactions share syncs of the disk, and nothing else.
 *
 * With `durability = "full"` an answer means that the commit survives the loss of power. SQLite's own FULL
 * syncs inside COMMIT, one transaction at a time, while the thread stands still. Here each transaction of a
 * client is a transaction of its own, with its own changeset, version and failure, committed as under NORMAL;
 * then one fdatasync on another thread covers all that were committed before it began, and only after it
 * are they answered. Whoever comes while one is under way waits for the next; a lone request waits for
 * none but its own.
 *
 * Queries, subscribers and peers see a commit before it is on the disk, as under NORMAL. What a power cut
 * takes away was answered to nobody, and peers who have heard of it bring it back: after an unclean boot
 * this node is another site.
 *
 * All others (merges, which peers are told of, and what the agent writes for itself) commit under
 * SQLite's FULL. Under NORMAL nothing is grouped: a hundred updates in one transaction take a tenth less
 * time than in a hundred (`bench capture`).
 *
 * @module
 */

import type { NamedColumns } from "../../core/store/local/capture.ts";
import type { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { CommitResult } from "../../core/store/store-outcomes.ts";
import type { Database } from "../../wasm/database.ts";
import type { WalSync } from "../../wasm/vfs/vfs.ts";
import type { WriteStore } from "../sql/transaction-runner.ts";

export class GroupCommit implements WriteStore<CommitResult> {
  readonly #database: Database;
  readonly #store: SqliteStore;
  readonly #open: () => WalSync;
  #sync: WalSync | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** @param database the store's connection, under FULL @param open called once there is a WAL */
  constructor(database: Database, store: SqliteStore, open: () => WalSync) {
    this.#database = database;
    this.#store = store;
    this.#open = open;
  }

  begin(): void {
    this.#relax();
    try {
      this.#store.begin();
    } catch (error) {
      this.#restore();
      throw error;
    }
  }

  beginStatement(named: NamedColumns | undefined): void {
    this.#store.beginStatement(named);
  }

  commit(nowMs: number, unsure?: ReadonlySet<string>): CommitResult {
    try {
      return this.#store.commit(nowMs, unsure);
    } finally {
      this.#restore();
    }
  }

  rollback(): void {
    try {
      this.#store.rollback();
    } finally {
      this.#restore();
    }
  }

  /** Resolves when everything that was committed before the call is on the disk. Rejects when that isn't known. */
  durable(): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#start();
    // The one under way may have begun before this commit.
    const after = this.#running.then(
      () => this.#start(),
      () => this.#start(),
    );
    this.#next = after;
    return after;
  }

  /** Once what is under way has ended. */
  async close(): Promise<void> {
    await (this.#next ?? this.#running)?.catch(() => undefined);
    this.#sync?.close();
    this.#sync = undefined;
  }

  #start(): Promise<void> {
    this.#next = undefined;
    const running = this.#syncOnce().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #syncOnce(): Promise<void> {
    this.#sync ??= this.#open();
    await this.#sync.sync();
  }

  /** SQLite takes another level only between transactions, and as it compiles the statement. */
  #relax(): void {
    this.#database.exec("PRAGMA synchronous = NORMAL");
  }

  #restore(): void {
    this.#database.exec("PRAGMA synchronous = FULL");
  }
}
