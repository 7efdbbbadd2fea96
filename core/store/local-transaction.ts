/**
 * A local transaction: begun, captured while it runs, and ended as one changeset under one stamp.
 *
 * A host that hasn't caught up yet may lack a row that others have, and have said to be down. Its INSERT is then a new life
 * of that row, and what it says of all columns wins, although its client meant it for the case that there is no such row (`OR
 * IGNORE`, `DO NOTHING`, a DO UPDATE that sets other columns). So the caller may name tables in which such a commit is
 * refused: there a row that is new here has to be urgent, as a "down" is.
 *
 * @module
 */

import { assert } from "../assert.ts";
import {
  type Changeset,
  changesetBytesMax,
  EncodedChangeset,
  encodeChangeset,
  type Lane,
  normalBytesMax,
  withLane,
} from "../change/changeset.ts";
import { compareHlc, type Stamp } from "../clock/stamp.ts";
import { type Preupdate, uncaptured } from "../database.ts";
import type { MergedRow } from "../row-store.ts";
import type { KeptClock } from "./file/kept-clock.ts";
import { Journal, type NamedColumns } from "./local/capture.ts";
import {
  clocksOfTouched,
  collectChanges,
  type LocalChange,
  type LocalRow,
  largestHlcBefore,
  problemOfBytes,
  problemOfCount,
  problemOfSize,
  problemOfText,
  stampChanges,
} from "./local/local-commit.ts";
import { isCutToFit, type LocalWriter } from "./local/local-writer.ts";
import { QuickCommit, type QuickRow } from "./local/quick-commit.ts";
import type { CommitResult } from "./store-outcomes.ts";
import type { StoreTransaction } from "./store-transaction.ts";
import type { StoreParts } from "./tables/store-parts.ts";

const noTables: ReadonlySet<string> = new Set();

export class LocalTransaction {
  readonly #parts: StoreParts;
  readonly #writer: LocalWriter;
  readonly #transaction: StoreTransaction;
  readonly #keptClock: KeptClock;
  readonly #journal: Journal;
  readonly #quick: QuickCommit;
  #isBegun = false;

  constructor(
    parts: StoreParts,
    writer: LocalWriter,
    transaction: StoreTransaction,
    keptClock: KeptClock,
  ) {
    this.#parts = parts;
    this.#writer = writer;
    this.#transaction = transaction;
    this.#keptClock = keptClock;
    this.#quick = new QuickCommit(parts);
    const tables = [...parts.tables.values()];
    this.#journal = new Journal(new Map(tables.map((table) => [table.sqlName, table])));
  }

  /** Between its begin and its end, even if SQLite has rolled back. */
  get isBegun(): boolean {
    return this.#isBegun;
  }

  /** What SQLite's preupdate hook tells. @returns as `PreupdateListener`. */
  note(change: Preupdate): boolean {
    return this.#isBegun && this.#journal.note(change);
  }

  /** What the statement of a client that runs next names: see `capture.ts`. */
  beginStatement(named: NamedColumns | undefined): void {
    assert(this.#isBegun, "a statement outside of a transaction");
    this.#journal.beginStatement(named);
  }

  /** As `SqliteStore.begin`. */
  begin(ignoresChecks: boolean): void {
    assert(!this.#isBegun && !this.#transaction.isMerging, "one transaction at a time");
    this.#transaction.ignoreChecks(ignoresChecks);
    this.#journal.clear();
    this.#transaction.beginImmediate();
    this.#isBegun = true;
  }

  /**
   * Whether the local transaction is still open. `OR ROLLBACK` ends it in the middle, and what ran
   * then would be committed statement by statement: ask after every statement.
   */
  get isOpen(): boolean {
    return this.#isBegun && !this.#parts.database.autocommit;
  }

  /**
   * Ends a local transaction: what it changed becomes one changeset under one stamp. Throws what SQLite
   * throws when the file can't be written; the transaction is then rolled back.
   */
  commit(nowMs: number, unsure: ReadonlySet<string> = noTables): CommitResult {
    assert(this.#isBegun, "commit without begin");
    const followers = this.#parts.database.takeFollowers();
    if (followers > 0) this.#journal.follow(followers);
    if (this.#parts.database.autocommit) {
      this.#end();
      return { kind: "refused", why: "the transaction was rolled back by one of its statements" };
    }
    try {
      return this.#commit(nowMs, unsure);
    } catch (error) {
      this.#end();
      this.#transaction.rollback();
      throw error;
    }
  }

  /** Ends a local transaction; nothing of it is applied. */
  rollback(): void {
    assert(this.#isBegun, "rollback without begin");
    this.#parts.database.takeFollowers();
    this.#end();
    this.#transaction.rollback();
  }

  #commit(nowMs: number, unsure: ReadonlySet<string>): CommitResult {
    const { clock } = this.#parts;
    const { plain } = this.#journal;
    if (plain !== undefined) {
      const stamp = clock.peek(nowMs);
      const rows = this.#quick.collect(plain, stamp);
      if (rows !== undefined) {
        const unheard = unsure.size === 0 ? undefined : this.#unheardQuick(rows, unsure);
        if (unheard !== undefined) return this.#refuseUnheard(unheard);
        this.#end();
        return this.#commitQuick(rows, stamp, nowMs);
      }
    }
    const refuse = (why: string): CommitResult => {
      this.rollback();
      return { kind: "refused", why };
    };
    const touched = this.#journal.touched();
    if (typeof touched === "string") return refuse(touched);
    const changes = collectChanges(touched, this.#parts, nowMs);
    const tooMany = problemOfCount(changes);
    if (tooMany !== undefined) return refuse(tooMany);
    const notText = problemOfText(changes);
    if (notText !== undefined) return refuse(notText);
    const unheard = unsure.size === 0 ? undefined : this.#unheard(changes, unsure);
    if (unheard !== undefined) return this.#refuseUnheard(unheard);
    let rows: LocalRow[] = [];
    let stamp: Stamp | undefined;
    if (changes.some(({ kind }) => kind !== "moved")) {
      stamp = clock.nextAfter(largestHlcBefore(changes, this.#parts), nowMs);
      rows = stampChanges(changes, stamp, this.#parts);
    }
    const problem = problemOfSize(rows);
    if (problem !== undefined) return refuse(problem);
    // What is written from here on is the store's own doing.
    this.#end();
    // Of those something may be shown that peers wrote.
    if (rows.some(isCutToFit)) this.#transaction.ignoreChecks(true);
    const merged = uncaptured(this.#parts.database, () => this.#writer.write(changes, rows));
    if (stamp === undefined || rows.length === 0) return this.#finish(undefined, merged);
    const lane: Lane = rows.some((row) => this.#writer.isUrgent(row)) ? 0 : 1;
    let changeset: Changeset = { stamp, lane, rows: rows.map(({ state }) => state) };
    let encoded = encodeChangeset(changeset);
    if (encoded.length > changesetBytesMax) {
      this.#transaction.rollback();
      return { kind: "refused", why: problemOfBytes(encoded.length) };
    }
    if (lane === 1 && encoded.length > normalBytesMax) {
      changeset = { ...changeset, lane: 2 };
      encoded = withLane(encoded, 2);
    }
    return this.#finish({ changeset, encoded }, merged);
  }

  /** The table of a row that others may have, and have said to be down. */
  #unheard(changes: readonly LocalChange[], unsure: ReadonlySet<string>): string | undefined {
    const found = changes.find(({ kind, touched, row }) => {
      const { table, key, keyBytes } = touched;
      if (kind !== "insert" || !unsure.has(table.name)) return false;
      // What is known to be gone was heard of.
      if (clocksOfTouched(touched, this.#parts) !== null) return false;
      return !table.isUrgent({ rowid: row.rowid, key, keyBytes });
    });
    return found?.touched.table.name;
  }

  #unheardQuick(rows: readonly QuickRow[], unsure: ReadonlySet<string>): string | undefined {
    const found = rows.find((row) => {
      return row.isNew && unsure.has(row.table.name) && !this.#writer.isUrgentQuick(row);
    });
    return found?.table.name;
  }

  #refuseUnheard(table: string): CommitResult {
    this.rollback();
    const why =
      `${table}: this host is still catching up with the others, and may not have heard of this row yet: ` +
      "insert it once patina status says ready";
    return { kind: "refused", why, isUnheard: true };
  }

  /** @param stamp The clock's next one, which is in what was collected. */
  #commitQuick(rows: readonly QuickRow[], stamp: Stamp, nowMs: number): CommitResult {
    const merged = rows.map((row) => row.merged);
    if (rows.length === 0) return this.#finish(undefined, merged);
    const issued = this.#parts.clock.next(nowMs);
    assert(
      compareHlc(issued, stamp) === 0,
      "quick commit: nothing was stamped since it was collected",
    );
    uncaptured(this.#parts.database, () => this.#writer.writeQuick(rows));
    let lane: Lane = rows.some((row) => this.#writer.isUrgentQuick(row)) ? 0 : 1;
    let encoded = this.#quick.encode(lane);
    if (lane === 1 && encoded.length > normalBytesMax) {
      lane = 2;
      encoded = withLane(encoded, lane);
    }
    const changeset = new EncodedChangeset(stamp, lane, encoded);
    return this.#finish({ changeset, encoded }, merged);
  }

  /** @param sent Undefined: nothing that is replicated changed. */
  #finish(
    sent: { readonly changeset: Changeset; readonly encoded: Uint8Array } | undefined,
    merged: readonly MergedRow[],
  ): CommitResult {
    const keptClock = this.#keptClock;
    if (sent !== undefined) keptClock.reserve(this.#parts.clock.last);
    this.#transaction.commitRows(merged);
    if (sent === undefined) {
      const nothing = { version: null, changeset: undefined, encoded: undefined };
      return { kind: "committed", ...nothing, merged };
    }
    const version = ++keptClock.version;
    return { kind: "committed", version, changeset: sent.changeset, encoded: sent.encoded, merged };
  }

  #end(): void {
    this.#isBegun = false;
    this.#journal.clear();
  }
}
