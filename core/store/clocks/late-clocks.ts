/**
 * Clocks that come to their rows' pages later, many at once.
 *
 * Each changed row would dirty a page of its table and, somewhere else, one of the clock table. So clocks of rows that are
 * updated in place are written in order into a *clock log*, one row of `patina_late_clocks` a transaction
 * (`clock-log.ts`), in the same transaction as the rows; what they are is kept here (`late-table.ts`), where
 * everybody who reads clocks looks first. When many have come together they are brought *home*: written to the clock
 * table in the order of its pages, and out of the log.
 *
 * - Transactions of very few and of very many rows write none: their pages would be no fewer ({@link LateLimits}).
 * - Only clocks of rows that have some in the clock table are late. So it has a row of clocks for each row at all times.
 * - Whoever writes to the clock table says so ({@link LateTable.forget}), which is logged too. So nothing
 *   of the log is ever brought to a row that got its rowid later.
 * - They go home in slices, a transaction each, after commits that added to them, twice as many as were added. A slice that
 *   fails does no harm: the log has them until all are home.
 * - A start brings home what the log has ({@link bringLoggedClocksHome}), before anything else is read; where it can't
 *   write (a full disk), it takes it up as it is ({@link LateClocks.takeUp}).
 *
 * The file's version is 2 while there may be something in the log: an older patina wouldn't look there. An orderly stop
 * brings all home.
 *
 * @module
 */

import { assert } from "../../assert.ts";
import { ByteWriter } from "../../bytes/writer.ts";
import { type SqlDatabase, type SqlStatement, uncaptured } from "../../database.ts";
import { clockTableName } from "../../schema/schema-plan.ts";
import { quoteName } from "../../schema/sql-token.ts";
import { fileVersion, lateFileVersion } from "../file/file-header.ts";
import { readClockLog, writeClockLogRow } from "./clock-log.ts";
import { type ClockRow, ClockRows } from "./clock-rows.ts";
import { LateTable } from "./late-table.ts";

export interface LateLimits {
  /**
   * So many rows, or 128 bytes of the log for each, and they are brought home. 8,192 take some 2 MB in memory, and some
   * 30 ms of a start after a crash. 0: none is late.
   */
  readonly rowsMax: number;
  /** A transaction with fewer writes them to the clock table: a page of the log is no less than these. */
  readonly transactionRowsMin: number;
  /** A transaction with more writes the rest to the clock table at once: it dirties each page once. */
  readonly transactionRowsMax: number;
  /** And where the rest are so many, nearly all of those pages are dirty, and it writes these there, too. */
  readonly restRowsMin: number;
}

export const lateLimits: LateLimits = {
  ...{ rowsMax: 8192, transactionRowsMin: 4, transactionRowsMax: 256, restRowsMin: 1024 },
};

const logBytesPerRow = 128;
/** Brought home in one slice: below the first a transaction isn't worth it, the second takes a millisecond. */
const sliceRowsMin = 128;
const sliceRowsMax = 1024;
/** Log rows are removed faster than clocks are written. */
const removedPerRow = 4;

/** Clocks on their way home. */
interface Passage {
  /** Ascending by table and rowid; from `at` on they aren't home. */
  readonly tables: readonly { readonly table: LateTable; readonly rowids: Float64Array }[];
  tableAt: number;
  rowAt: number;
  /** Log rows up to `last` are theirs, and those up to `removed` are gone. */
  removed: number;
  readonly last: number;
}

export class LateClocks {
  readonly #database: SqlDatabase;
  readonly #limits: LateLimits;
  readonly #tables = new Map<string, LateTable>();
  readonly #clockRows = new Map<LateTable, ClockRows>();
  readonly #insert: SqlStatement;
  readonly #remove: SqlStatement;
  readonly #begin: SqlStatement;
  readonly #commit: SqlStatement;
  readonly #writer = new ByteWriter(4096);
  /** The log row written last, and that of the last transaction that was committed. */
  #written = 0;
  #kept = 0;
  /** The file's version says that there may be some, by the transaction at hand and by the last one. */
  #isMarked = false;
  #wasMarked = false;
  #freshRows = 0;
  /** Of the transaction at hand: what came when {@link LateLimits.transactionRowsMax} were late. */
  #restRows = 0;
  #waitingRows = 0;
  /** Of log rows that aren't on their way home. */
  #logBytes = 0;
  #freshBytes = 0;
  #passage: Passage | undefined;
  /** The last log row of the passage before. */
  #removed = 0;
  /** Added since the last slice. */
  #debt = 0;

  /** The log is empty, or {@link takeUp} comes before anything else. */
  constructor(database: SqlDatabase, limits: LateLimits) {
    this.#database = database;
    this.#limits = limits;
    this.#insert = database.prepare("INSERT INTO patina_late_clocks (seq, clocks) VALUES (?, ?)");
    this.#remove = database.prepare("DELETE FROM patina_late_clocks WHERE seq <= ?");
    this.#begin = database.prepare("BEGIN");
    this.#commit = database.prepare("COMMIT");
  }

  /**
   * Takes up what a process that was killed left in the log, and writes nothing.
   *
   * @returns log rows that are lost, as {@link LoggedClocksHome} has them
   */
  takeUp(): number {
    const logged = this.#database.all(
      "SELECT clocks, seq FROM patina_late_clocks ORDER BY seq DESC",
    );
    if (logged.length === 0) return 0;
    const found = readClockLog(logged.map(([clocks]) => clocks));
    for (const [name, clocks] of found.tables) {
      if (hasTable(this.#database, clockTableName(name))) this.of(name).takeUp(clocks);
    }
    this.#written = Number(logged[0]?.[1]);
    this.#kept = this.#written;
    this.#isMarked = true;
    this.#wasMarked = true;
    for (const { waiting } of this.#tables.values()) this.#waitingRows += waiting;
    for (const [clocks] of logged) this.#logBytes += (clocks as Uint8Array).length;
    return logged.length - found.rows;
  }

  /** Those of a table. It is the same whatever becomes of the schema: replicated tables stay. */
  of(name: string): LateTable {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new LateTable(name, this.#takesOne);
      this.#tables.set(name, table);
    }
    return table;
  }

  /** A slice that couldn't keep up (a full disk, say) leaves no room, and clocks are written as if there were no log. */
  readonly #takesOne = (): boolean => {
    if (this.#freshRows >= this.#limits.transactionRowsMax) this.#restRows++;
    else if (this.#waitingRows < 2 * this.#limits.rowsMax) {
      this.#freshRows++;
      return true;
    }
    return false;
  };

  /** Writes the log row of the transaction at hand, the last thing before its COMMIT. */
  write(): void {
    if (!this.#hasFresh) return;
    if (this.#isForClockTable) {
      this.#writeFresh();
      if (!this.#hasFresh) return;
    }
    const writer = this.#writer;
    writer.reuse();
    writeClockLogRow(writer, this.#tables.values());
    this.#insert.bind(1, this.#written + 1);
    this.#insert.bind(2, writer.peek());
    runOnce(this.#insert);
    this.#written++;
    this.#freshBytes = writer.length;
    if (!this.#isMarked) this.#mark(lateFileVersion);
  }

  get #hasFresh(): boolean {
    for (const { fresh } of this.#tables.values()) if (fresh.size > 0) return true;
    return false;
  }

  /** The log would save nothing. */
  get #isForClockTable(): boolean {
    if (this.#restRows >= this.#limits.restRowsMin) return true;
    if (this.#freshRows >= this.#limits.transactionRowsMin) return false;
    for (const table of this.#tables.values()) if (table.mustLog()) return false;
    return true;
  }

  /** Writes what is fresh to the clock table. What is left is for the log: that these are there, and not in it. */
  #writeFresh(): void {
    uncaptured(this.#database, () => {
      for (const table of this.#tables.values()) {
        if (table.fresh.size < this.#limits.transactionRowsMin) {
          const clockRows = this.#clockRowsOf(table);
          for (const [rowid, clock] of table.fresh) {
            if (clock === null) continue;
            clockRows.replace(rowid, clock);
            table.forget(rowid);
          }
          continue;
        }
        const rows: ClockRow[] = [];
        for (const [rowid, clock] of table.fresh) if (clock !== null) rows.push({ rowid, clock });
        if (rows.length > 0) this.#clockRowsOf(table).put(rows, 0, rows.length);
        for (const { rowid } of rows) table.forget(rowid);
      }
    });
    this.#freshRows = 0;
  }

  #mark(version: number): void {
    this.#database.exec(`PRAGMA user_version = ${version}`);
    this.#isMarked = version === lateFileVersion;
  }

  /** The transaction was committed. */
  keep(): void {
    this.#kept = this.#written;
    this.#wasMarked = this.#isMarked;
    if (this.#freshBytes > 0) {
      this.#waitingRows = 0;
      for (const table of this.#tables.values()) {
        if (table.fresh.size > 0) table.keep();
        this.#waitingRows += table.waiting;
      }
      this.#logBytes += this.#freshBytes;
      this.#debt += this.#freshRows;
    }
    this.#freshRows = 0;
    this.#restRows = 0;
    this.#freshBytes = 0;
  }

  /** The transaction was rolled back. */
  undo(): void {
    for (const table of this.#tables.values()) table.undo();
    this.#written = this.#kept;
    this.#isMarked = this.#wasMarked;
    this.#freshRows = 0;
    this.#restRows = 0;
    this.#freshBytes = 0;
  }

  /** After a commit: brings some home, if that is due. Never throws: what can't be written now is written later. */
  relieve(): void {
    if (this.#passage === undefined) {
      const isDue =
        this.#waitingRows >= this.#limits.rowsMax ||
        this.#logBytes >= this.#limits.rowsMax * logBytesPerRow;
      if (!isDue) return;
      this.#setOut();
    }
    const rows = Math.min(sliceRowsMax, 2 * this.#debt);
    if (rows < Math.min(sliceRowsMin, this.#limits.rowsMax)) return;
    this.#debt -= rows / 2;
    try {
      this.#slice(rows);
    } catch {
      // The log has them. The next commits meet what is wrong with the disk, and tell of it.
    }
  }

  /** Brings all home, for an orderly stop. Throws what SQLite throws; nothing is lost then. */
  bringHome(): void {
    while (this.#passage !== undefined) this.#slice(Number.POSITIVE_INFINITY);
    if (!this.#isMarked) return;
    this.#setOut();
    while (this.#passage !== undefined) this.#slice(Number.POSITIVE_INFINITY, fileVersion);
  }

  #setOut(): void {
    const tables = [...this.#tables.values()]
      .filter(({ waiting }) => waiting > 0)
      .map((table) => ({ table, rowids: table.setOut() }));
    this.#passage = { tables, tableAt: 0, rowAt: 0, removed: this.#removed, last: this.#kept };
    this.#waitingRows = 0;
    this.#logBytes = 0;
    this.#debt = 0;
  }

  /** @param version The file's, if nothing is in the log when the slice ends. */
  #slice(rowsMax: number, version?: number): void {
    assert(this.#database.autocommit, "clocks are brought home in transactions of their own");
    const next = { ...(this.#passage as Passage) };
    try {
      uncaptured(this.#database, () => {
        runOnce(this.#begin);
        const left = this.#bring(next, rowsMax);
        if (left > 0) {
          next.removed = Math.min(next.last, next.removed + removedPerRow * left);
          this.#remove.bind(1, next.removed);
          runOnce(this.#remove);
          if (next.removed === next.last && version !== undefined) this.#mark(version);
        }
        runOnce(this.#commit);
      });
    } catch (error) {
      if (!this.#database.autocommit) this.#database.exec("ROLLBACK");
      this.#isMarked = this.#wasMarked;
      throw error;
    }
    this.#wasMarked = this.#isMarked;
    this.#passage = next;
    if (next.removed < next.last) return;
    for (const { table } of next.tables) table.arrived();
    this.#passage = undefined;
    this.#removed = next.last;
  }

  /** @returns how many more there might have been */
  #bring(passage: Passage, rowsMax: number): number {
    let left = rowsMax;
    for (; passage.tableAt < passage.tables.length; passage.tableAt++) {
      const { table, rowids } = passage.tables[passage.tableAt] as Passage["tables"][number];
      const leaving: ClockRow[] = [];
      while (passage.rowAt < rowids.length && left > 0) {
        left--;
        const rowid = rowids[passage.rowAt++] as number;
        const clock = table.leaving(rowid);
        if (clock !== undefined) leaving.push({ rowid, clock });
      }
      this.#clockRowsOf(table).put(leaving, 0, leaving.length);
      if (passage.rowAt < rowids.length) return 0;
      passage.rowAt = 0;
    }
    return left;
  }

  #clockRowsOf(table: LateTable): ClockRows {
    let rows = this.#clockRows.get(table);
    if (rows === undefined) {
      rows = new ClockRows(this.#database, table.name);
      this.#clockRows.set(table, rows);
    }
    return rows;
  }
}

/** The clock log, its newest row first. */
export const loggedSql = "SELECT clocks FROM patina_late_clocks ORDER BY seq DESC";

/** What a log that was left behind came to. */
export interface LoggedClocksHome {
  /** Rows whose clocks were brought home. */
  readonly rows: number;
  /**
   * Log rows that couldn't be read, and those before them: that the clock table has a row's clocks again may have
   * stood there, so they count for nothing. Their rows have the clocks from before, and values that these aren't of: a scrub
   * finds them damaged.
   */
  readonly lost: number;
}

/** Brings home what a process that was killed left in the log, in the transaction that is open. */
export function bringLoggedClocksHome(database: SqlDatabase): LoggedClocksHome {
  const logged = database.all(loggedSql);
  const found = readClockLog(logged.map(([clocks]) => clocks));
  let rows = 0;
  for (const [name, clocks] of found.tables) {
    if (!hasTable(database, clockTableName(name))) continue;
    using update = database.prepare(updateSql(name));
    for (const rowid of Float64Array.from(clocks.keys()).sort()) {
      const clock = clocks.get(rowid);
      if (!clock) continue;
      update.bind(1, clock);
      update.bind(2, rowid);
      runOnce(update);
      rows++;
    }
  }
  if (logged.length > 0) database.exec("DELETE FROM patina_late_clocks");
  return { rows, lost: logged.length - found.rows };
}

/** Clock, rowid. Never an INSERT: a row that has no clocks gets none from the log. */
function updateSql(name: string): string {
  return `UPDATE ${quoteName(clockTableName(name))} SET clock = ? WHERE id = ?`;
}

function hasTable(database: SqlDatabase, name: string): boolean {
  return (
    database.all("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", name).length > 0
  );
}

/** Of a statement without rows: it is at rest when it is done. */
function runOnce(statement: SqlStatement): void {
  if (statement.step()) statement.reset();
}
