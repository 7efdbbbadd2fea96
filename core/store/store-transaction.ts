/**
 * The transactions of the one connection that writes: how they begin, and what is kept or forgotten with
 * their end.
 *
 * @module
 */

import type { SqlDatabase, SqlStatement } from "../database.ts";
import type { MergedRow } from "../row-store.ts";
import type { LateClocks } from "./clocks/late-clocks.ts";
import type { StoredOrdinals } from "./clocks/ordinals.ts";
import type { RecentClocks } from "./clocks/recent-clocks.ts";
import type { KeptClock } from "./file/kept-clock.ts";
import type { PreparedMerge } from "./merge/prepared-merge.ts";
import type { RowWriter } from "./tables/row-writer.ts";

/** Told of transactions that write rows, for what is to be written with them. */
export interface CommitWatcher {
  /** Only COMMIT is left. What this throws rolls the transaction back and is thrown on. */
  committing(merged: readonly MergedRow[]): void;
  committed(): void;
}

export class StoreTransaction {
  /** A merge is worked in pieces. */
  isMerging = false;
  /** Told of local commits and merges. */
  watcher: CommitWatcher | undefined;
  /** Called before each transaction; what it throws keeps it from beginning. */
  before: (() => void) | undefined;
  /** Told of whatever may make its decisions wrong. */
  prepared: PreparedMerge | undefined;
  /** The merge at hand writes its rows. */
  isOfPrepared = false;
  readonly #database: SqlDatabase;
  readonly #ordinals: StoredOrdinals;
  readonly #keptClock: KeptClock;
  readonly #late: LateClocks;
  readonly #begin: SqlStatement;
  readonly #beginImmediate: SqlStatement;
  readonly #commitAll: SqlStatement;
  #rows!: RowWriter;
  #recentClocks!: RecentClocks;
  #hasChecks!: boolean;
  /** A store is opened with CHECKs ignored. */
  #checksAreIgnored = true;

  /** {@link useSchema} is called before anything else. */
  constructor(
    database: SqlDatabase,
    ordinals: StoredOrdinals,
    keptClock: KeptClock,
    late: LateClocks,
  ) {
    this.#database = database;
    this.#ordinals = ordinals;
    this.#keptClock = keptClock;
    this.#late = late;
    this.#begin = database.prepare("BEGIN");
    this.#beginImmediate = database.prepare("BEGIN IMMEDIATE");
    this.#commitAll = database.prepare("COMMIT");
  }

  /** @param hasChecks Whether a replicated table has a CHECK. */
  useSchema(rows: RowWriter, recentClocks: RecentClocks, hasChecks: boolean): void {
    this.#rows = rows;
    this.#recentClocks = recentClocks;
    this.#hasChecks = hasChecks;
  }

  /** A transaction that writes clocks in ways of its own. */
  begin(): void {
    this.before?.();
    this.#recentClocks.forgetAll();
    this.prepared?.forgetAll();
    runOnce(this.#begin);
  }

  /** One that ends with {@link commitRows}, and keeps the recent clocks itself. */
  beginMerge(): void {
    this.before?.();
    runOnce(this.#begin);
    this.isMerging = true;
  }

  /** Work that writes nothing but ordinals, and sees one state of the file. */
  within(work: () => void): void {
    this.before?.();
    try {
      runOnce(this.#begin);
      work();
      runOnce(this.#commitAll);
    } catch (error) {
      if (!this.#database.autocommit) this.#database.exec("ROLLBACK");
      this.#ordinals.forget();
      throw error;
    }
    this.#ordinals.keep();
  }

  /** One that ends with {@link commitRows}. */
  beginImmediate(): void {
    this.before?.();
    runOnce(this.#beginImmediate);
  }

  /** Commits rows that were written, and tells the watcher before and after. Throws what SQLite or it throws. */
  commitRows(merged: readonly MergedRow[]): void {
    this.#rows.flush();
    this.watcher?.committing(merged);
    if (!this.isMerging) for (const { table, key } of merged) this.#recentClocks.forget(table, key);
    if (this.isOfPrepared) this.prepared?.forgetAll();
    else if (this.prepared !== undefined) {
      for (const { table, key } of merged) this.prepared.forget(table, key);
    }
    this.commit();
    this.isMerging = false;
    this.isOfPrepared = false;
    this.watcher?.committed();
    this.#late.relieve();
  }

  commit(): void {
    this.#late.write();
    runOnce(this.#commitAll);
    this.#late.keep();
    this.#ordinals.keep();
    this.#keptClock.keep();
  }

  /** Also after SQLite has rolled back by itself. */
  rollback(): void {
    this.isMerging = false;
    this.isOfPrepared = false;
    if (!this.#database.autocommit) this.#database.exec("ROLLBACK");
    this.#late.undo();
    this.#ordinals.forget();
    this.#rows.forget();
    this.#recentClocks.forgetAll();
    this.#keptClock.forget();
  }

  /**
   * CHECKs hold for what clients write, and are ignored by merges and by adoption. The switch makes SQLite compile its
   * statements again, so it is touched only where a table has a CHECK, and only when it must change.
   */
  ignoreChecks(ignored: boolean): void {
    if (this.#checksAreIgnored === ignored || (ignored && !this.#hasChecks)) return;
    this.#switchChecks(ignored);
  }

  /** For a change of schema: ALTER TABLE ADD COLUMN tests CHECKs on rows that a merge may have left breaking them. */
  ignoreChecksOfAll(): void {
    this.#switchChecks(true);
  }

  #switchChecks(ignored: boolean): void {
    this.#database.exec(`PRAGMA ignore_check_constraints = ${ignored ? "ON" : "OFF"}`);
    this.#checksAreIgnored = ignored;
  }
}

/** Of a statement without rows: it is at rest when it is done. */
function runOnce(statement: SqlStatement): void {
  if (statement.step()) statement.reset();
}
