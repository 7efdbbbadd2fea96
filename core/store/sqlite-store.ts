/**
 * The rows of a replica in SQLite: local transactions in, changesets out; remote rows in, joined.
 *
 * | step of a local commit | file              |   | what else it does           | file          |
 * | ---------------------- | ----------------- | - | --------------------------- | ------------- |
 * | note touched keys      | `capture.ts`      |   | merge                       | `merger.ts`   |
 * | compare, stamp, limits | `local-commit.ts` |   | change its schema           | `intake.ts`   |
 * | write clocks           | `local-writer.ts` |   | scrub                       | `scrubber.ts` |
 *
 * There is one writer. Nothing here runs while a local transaction is open, except between its
 * `begin` and its `commit`.
 *
 * @module
 */

import { assert } from "../assert.ts";
import {
  type Changeset,
  changesetBytesMax,
  encodeChangeset,
  type Lane,
  normalBytesMax,
  withLane,
} from "../change/changeset.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import { compareHlc, type Hlc, hlcZero, type Stamp } from "../clock/stamp.ts";
import type { Digester } from "../row/digest.ts";
import { siteToBytes } from "../row/digest.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import type { PlannedSchema, SchemaProblem } from "../schema/schema.ts";
import { problemToText } from "../schema/schema.ts";
import { planSchema, type SchemaPlan } from "../schema/schema-plan.ts";
import { adoptedAtOnceMax, namesFromText, namesToText } from "./adoption.ts";
import { Journal } from "./capture.ts";
import type { SqlDatabase, SqlStatement } from "./database.ts";
import {
  createOwnTables,
  hlcToBytes,
  prepareFile,
  readFileHeader,
  readState,
  writeState,
} from "./file-header.ts";
import { rowStateOfSound } from "./held-row.ts";
import { Intake } from "./intake.ts";
import {
  collectChanges,
  type LocalRow,
  largestHlcBefore,
  problemOfBytes,
  problemOfCount,
  problemOfSize,
  stampChanges,
} from "./local-commit.ts";
import { LocalWriter } from "./local-writer.ts";
import { type MergeHost, Merger, OpenMerge } from "./merger.ts";
import { StoredOrdinals } from "./ordinals.ts";
import { Places } from "./places.ts";
import type {
  DigestsEnough,
  MergedRow,
  NewerRowVisitor,
  ReclockedRow,
  RowRef,
  RowStore,
  ScannedRow,
  ScanPosition,
} from "./row-store.ts";
import { RowWriter } from "./row-writer.ts";
import { runPlan } from "./schema-run.ts";
import { type DamagedCell, isSound, type ScrubSlice } from "./scrub.ts";
import { Scrubber } from "./scrubber.ts";
import { PlacedRow, positionOfSlot, type StoreParts } from "./store-parts.ts";
import { StoredTable } from "./stored-table.ts";

export interface SqliteStoreOptions {
  /** The one connection that writes. The store installs its preupdate hook. */
  readonly writer: SqlDatabase;
  readonly schema: PlannedSchema;
  readonly digester: Digester;
  /** Stamps local commits; its site is the one that this store writes as. */
  readonly clock: HlcClock;
  /** Wall clock, for the stamp of rows that were there before Patina. */
  readonly nowMs: number;
}

export interface OpenReport {
  /** The file was new. */
  readonly created: boolean;
  /** Schema statements that were run. */
  readonly statements: readonly string[];
  /** Rows that stood in a table when it became replicated, taken in as INSERTs under one stamp. */
  readonly adoptedRows: number;
  /** Rows and cells that were held and are shown since the schema grew. */
  readonly surfacedRows: number;
  /** Clocks whose row somebody deleted without Patina. They were removed: a peer brings the row back. */
  readonly clocksWithoutRows: number;
  /** Rows that somebody wrote without Patina: nobody else hears of them until they are written again. */
  readonly rowsWithoutClocks: number;
  /** Rows whose hashes were of another digest key: the file was another cluster's, or stood alone. */
  readonly rehashedRows: number;
}

export type StoreOpened =
  | { readonly kind: "opened"; readonly store: SqliteStore; readonly report: OpenReport }
  /** The file is as it was. `problems` are the schema's, if it was that. */
  | { readonly kind: "refused"; readonly why: string; readonly problems: readonly SchemaProblem[] };

export type SchemaChanged =
  | {
      readonly kind: "changed";
      readonly statements: readonly string[];
      /** Tables that have got columns. */
      readonly grown: readonly string[];
      /** Taken in here, as in {@link OpenReport}; beyond that see {@link SqliteStore.adopting}. */
      readonly adoptedRows: number;
      readonly surfacedRows: number;
    }
  /** Nothing was done. */
  | { readonly kind: "refused"; readonly problems: readonly SchemaProblem[] };

export type CommitResult =
  | {
      readonly kind: "committed";
      /** Counts this site's commits that changed something, after a crash with a gap; null when it changed nothing. */
      readonly version: number | null;
      /** Undefined when nothing that is replicated changed. */
      readonly changeset: Changeset | undefined;
      /** The changeset's bytes. */
      readonly encoded: Uint8Array | undefined;
      readonly merged: readonly MergedRow[];
    }
  /** The transaction was rolled back; nothing of it was applied. */
  | { readonly kind: "refused"; readonly why: string };

/** Told of transactions that write rows, for what is to be written with them. */
export interface CommitWatcher {
  /** Only COMMIT is left. What this throws rolls the transaction back and is thrown on. */
  committing(merged: readonly MergedRow[]): void;
  committed(): void;
}

/** How far the stored HLC may fall behind the clock while only merges run. */
const hlcStoreStepMs = 1000;
/** How far it may be ahead while local commits follow each other: less than what peers warn of. */
const hlcReserveMs = 250;
/** How far the stored version may be ahead with it. */
export const versionsReserved = 256;

interface KeptClock {
  readonly hlc: Hlc;
  readonly version: number;
}

export class SqliteStore implements RowStore {
  readonly #writer: SqlDatabase;
  readonly #digester: Digester;
  readonly #clock: HlcClock;
  readonly #ordinals: StoredOrdinals;
  #schema!: PlannedSchema;
  #parts!: StoreParts;
  #localWriter!: LocalWriter;
  #intake!: Intake;
  #merger!: Merger;
  #scrubber!: Scrubber;
  #journal!: Journal;
  #hasChecks!: boolean;
  readonly #begin: SqlStatement;
  readonly #beginImmediate: SqlStatement;
  readonly #commitAll: SqlStatement;
  readonly #putClock: SqlStatement;
  /** Tables whose rows don't all have clocks yet. */
  #adopting: ReadonlySet<string> = new Set();
  #checksAreIgnored = false;
  #watcher: CommitWatcher | undefined;
  #isLocal = false;
  /** A merge is worked in pieces. */
  #isMerging = false;
  #version: number;
  /** HLC and version as the file has them: nothing above was ever stamped. */
  #kept: KeptClock;
  /** The same, with what the transaction at hand wrote. */
  #written: KeptClock;

  private constructor(options: SqliteStoreOptions, version: number, storedHlc: Hlc) {
    const { writer, schema, digester, clock } = options;
    this.#writer = writer;
    this.#digester = digester;
    this.#clock = clock;
    this.#version = version;
    this.#kept = { hlc: storedHlc, version };
    this.#written = this.#kept;
    this.#ordinals = new StoredOrdinals(writer);
    this.#begin = writer.prepare("BEGIN");
    this.#beginImmediate = writer.prepare("BEGIN IMMEDIATE");
    this.#commitAll = writer.prepare("COMMIT");
    this.#putClock = writer.prepare(
      "INSERT OR REPLACE INTO patina_state (name, value) VALUES ('hlc', ?), ('version', ?)",
    );
    this.#useSchema(schema);
  }

  /** Everything that follows from the schema, which the open database has by now. */
  #useSchema(schema: PlannedSchema): void {
    const replicated = [...schema.tables.values()].filter((table) => table.replicated);
    const tables = replicated
      .map((table) => new StoredTable(this.#writer, table))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#schema = schema;
    this.#hasChecks = replicated.some((table) => table.hasCheck);
    const [database, ordinals, digester] = [this.#writer, this.#ordinals, this.#digester];
    const byName = new Map(tables.map((table) => [table.name, table]));
    const parts: StoreParts = {
      database,
      digester,
      clock: this.#clock,
      ordinals,
      tables: byName,
      rows: new RowWriter(database, byName, ordinals),
      places: new Places(database, tables, ordinals, digester),
    };
    this.#parts = parts;
    this.#localWriter = new LocalWriter(parts);
    this.#intake = new Intake(parts, this.#localWriter);
    this.#merger = new Merger(parts, this.#intake);
    this.#scrubber = new Scrubber(parts);
    this.#journal = new Journal(new Map(tables.map((table) => [table.sqlName, table])));
  }

  /**
   * Opens a database as a replica: makes or checks the file, brings its tables to `schema`, takes in
   * what was there, shows what was held for want of a table or column, and checks that rows and clocks
   * belong together. One transaction: a refusal or a failure leaves the file as it was.
   *
   * The connection must have no open transaction and, where wanted, WAL is set after this for a new
   * file (`auto_vacuum` must come before the first page is written).
   */
  static open(options: SqliteStoreOptions): StoreOpened {
    const { writer, schema, clock } = options;
    const header = readFileHeader(writer);
    if (header.kind === "refused") return { ...header, problems: [] };
    const plan = planSchema(writer, schema);
    if (plan.kind === "refused") return refusedSchema(plan.problems);
    if (header.kind !== "patina") prepareFile(writer);
    writer.exec("PRAGMA foreign_keys = OFF");
    // ALTER TABLE ADD COLUMN tests CHECKs on rows that a merge may have left breaking them.
    writer.exec("PRAGMA ignore_check_constraints = ON");
    writer.exec("BEGIN IMMEDIATE");
    try {
      createOwnTables(writer);
      const problem = runPlan(writer, schema, plan);
      if (problem !== undefined) {
        writer.exec("ROLLBACK");
        return refusedSchema([problem]);
      }
      const isSameSite = header.kind === "patina" && header.site === clock.site;
      const storedHlc = header.kind === "patina" ? header.hlc : hlcZero;
      clock.observe(storedHlc);
      const store = new SqliteStore(options, isSameSite ? header.version : 0, storedHlc);
      store.#checksAreIgnored = true;
      if (!isSameSite) {
        writeState(writer, "site", siteToBytes(clock.site));
        writeState(writer, "version", 0);
      }
      const rehashedRows = store.#scrubber.rehash();
      const changed = store.#schemaChanged(plan, options.nowMs);
      store.#parts.rows.flush();
      store.#writeClock(clock.last, store.#version);
      const check = store.#intake.check(store.#adopting);
      store.#commitWritten();
      writer.onPreupdate((change) => {
        if (store.#isLocal) store.#journal.note(change);
      });
      const report: OpenReport = {
        created: header.kind === "new",
        statements: plan.statements,
        ...changed,
        ...check,
        rehashedRows,
      };
      return { kind: "opened", store, report };
    } catch (error) {
      if (!writer.autocommit) writer.exec("ROLLBACK");
      throw error;
    }
  }

  get schema(): PlannedSchema {
    return this.#schema;
  }

  /** Tables whose rows are still to be taken in (`adoption.ts`). */
  get adopting(): ReadonlySet<string> {
    return this.#adopting;
  }

  /** What {@link changeSchema} would do. Nothing is done. */
  planSchema(schema: PlannedSchema): SchemaPlan {
    return planSchema(this.#writer, schema);
  }

  /**
   * Brings the open database to another schema, in one transaction: refused, it is as it was. No clock
   * becomes another, but those of rows that stood in a table when it became replicated.
   */
  changeSchema(schema: PlannedSchema, nowMs: number): SchemaChanged {
    assert(!this.#isLocal && !this.#isMerging, "no change of schema inside another transaction");
    const plan = planSchema(this.#writer, schema);
    if (plan.kind === "refused") return plan;
    const [before, { tables }] = [this.#schema, this.#parts];
    const { adopting } = this;
    // As at the start, and for the same reason.
    this.#writer.exec("PRAGMA ignore_check_constraints = ON");
    this.#checksAreIgnored = true;
    runOnce(this.#beginImmediate);
    try {
      const problem = runPlan(this.#writer, schema, plan);
      if (problem !== undefined) {
        this.#rollback();
        return { kind: "refused", problems: [problem] };
      }
      this.#useSchema(schema);
      const changed = this.#schemaChanged(plan, nowMs);
      this.#parts.rows.flush();
      this.#writeClock(this.#clock.last, this.#version);
      this.#commitWritten();
      for (const table of tables.values()) table.dispose();
      const { statements, grown } = plan;
      return { kind: "changed", statements, grown, ...changed };
    } catch (error) {
      this.#rollback();
      this.#useSchema(before);
      this.#adopting = adopting;
      throw error;
    }
  }

  /** All rows of a table have been gone through. */
  adopted(table: string): void {
    this.#setAdopting([...this.#adopting].filter((name) => name !== table));
  }

  #setAdopting(names: readonly string[]): void {
    writeState(this.#writer, "adopting", namesToText(names));
    this.#adopting = new Set(names);
  }

  /** Takes in what was there, or notes that it is to be, and shows what was held. */
  #schemaChanged(
    plan: SchemaPlan & { readonly kind: "plan" },
    nowMs: number,
  ): Pick<OpenReport, "adoptedRows" | "surfacedRows"> {
    const isLater = (name: string): boolean =>
      (this.#parts.tables.get(name) as StoredTable).countRows() > adoptedAtOnceMax;
    const later = plan.adopted.filter(isLater);
    const known = namesFromText(readState(this.#writer, "adopting"));
    const adopting = [...known, ...later].filter((name) => this.#parts.tables.has(name));
    if (adopting.length > 0 || known.length > 0) this.#setAdopting(adopting);
    const atOnce = plan.adopted.filter((name) => !later.includes(name));
    const intake = this.#intake;
    const adoptedRows = intake.adopt(atOnce, nowMs) + intake.adoptHeld(later, nowMs);
    const surfacedRows = intake.surfaceRows(plan.adopted) + intake.surfaceCells(plan.grown);
    return { adoptedRows, surfacedRows };
  }

  /** Commits of this site that changed something. */
  get version(): number {
    return this.#version;
  }

  /** A value that the agent keeps in the file; undefined when it was never set. */
  state(name: string): SqlValue | undefined {
    return readState(this.#writer, name);
  }

  /** Keeps a value in the file, in the transaction that is open or in one of its own. */
  setState(name: string, value: SqlValue): void {
    assert(!["site", "hlc", "version"].includes(name), `state ${name} is the store's own`);
    writeState(this.#writer, name, value);
  }

  /** Writes down the clock as it is, for an orderly stop: while commits follow each other the file is ahead. */
  keepClock(): void {
    assert(!this.#isLocal, "the clock is kept outside of local transactions");
    runOnce(this.#begin);
    try {
      this.#writeClock(this.#clock.last, this.#version);
      this.#commitWritten();
    } catch (error) {
      this.#rollback();
      throw error;
    }
  }

  /** What is held and not shown: cells by table and column, whole rows under the column "". */
  unshown(): { readonly table: string; readonly column: string; readonly cells: number }[] {
    return this.#writer
      .all("SELECT tbl, col, cells FROM patina_unshown WHERE cells > 0")
      .map(([table, column, cells]) => ({
        table: String(table),
        column: String(column),
        cells: Number(cells),
      }));
  }

  /** One at a time: commits and merges tell it. */
  watch(watcher: CommitWatcher): void {
    this.#watcher = watcher;
  }

  /** Begins a local transaction. What is then run on the writer connection is captured. */
  begin(): void {
    assert(!this.#isLocal && !this.#isMerging, "one transaction at a time");
    this.#ignoreChecks(false);
    this.#journal.clear();
    runOnce(this.#beginImmediate);
    this.#isLocal = true;
  }

  /**
   * Whether the local transaction is still open. `OR ROLLBACK` ends it in the middle, and what ran
   * then would be committed statement by statement: ask after every statement.
   */
  get isOpen(): boolean {
    return this.#isLocal && !this.#writer.autocommit;
  }

  /**
   * Ends a local transaction: what it changed becomes one changeset under one stamp. Throws what SQLite
   * throws when the file can't be written; the transaction is then rolled back.
   */
  commit(nowMs: number): CommitResult {
    assert(this.#isLocal, "commit without begin");
    if (this.#writer.autocommit) {
      this.#end();
      return { kind: "refused", why: "the transaction was rolled back by one of its statements" };
    }
    try {
      return this.#commit(nowMs);
    } catch (error) {
      this.#end();
      this.#rollback();
      throw error;
    }
  }

  /** Ends a local transaction; nothing of it is applied. */
  rollback(): void {
    assert(this.#isLocal, "rollback without begin");
    this.#end();
    this.#rollback();
  }

  #commit(nowMs: number): CommitResult {
    const journal = this.#journal;
    const refuse = (why: string): CommitResult => {
      this.rollback();
      return { kind: "refused", why };
    };
    if (journal.problem !== "") return refuse(journal.problem);
    const changes = collectChanges(journal, this.#parts);
    const tooMany = problemOfCount(changes);
    if (tooMany !== undefined) return refuse(tooMany);
    let rows: LocalRow[] = [];
    let stamp: Stamp | undefined;
    if (changes.some(({ kind }) => kind !== "moved")) {
      const before = largestHlcBefore(changes, this.#parts);
      if (before !== undefined) this.#clock.observe(before);
      stamp = this.#clock.next(nowMs);
      rows = stampChanges(changes, stamp, this.#parts);
    }
    const problem = problemOfSize(rows);
    if (problem !== undefined) return refuse(problem);
    // What is written from here on is the store's own doing.
    this.#end();
    const merged = this.#localWriter.write(changes, rows);
    let changeset: Changeset | undefined;
    let encoded: Uint8Array | undefined;
    if (stamp !== undefined && rows.length > 0) {
      let lane: Lane = rows.some((row) => this.#localWriter.isUrgent(row)) ? 0 : 1;
      changeset = { stamp, lane, rows: rows.map(({ state }) => state) };
      encoded = encodeChangeset(changeset);
      if (encoded.length > changesetBytesMax) {
        this.#rollback();
        return { kind: "refused", why: problemOfBytes(encoded.length) };
      }
      if (lane === 1 && encoded.length > normalBytesMax) {
        lane = 2;
        changeset = { ...changeset, lane };
        encoded = withLane(encoded, lane);
      }
      this.#reserve();
    }
    this.#parts.rows.flush();
    this.#watcher?.committing(merged);
    this.#commitWritten();
    this.#watcher?.committed();
    if (changeset !== undefined) this.#version++;
    const version = changeset === undefined ? null : this.#version;
    return { kind: "committed", version, changeset, encoded, merged };
  }

  merge(rows: readonly RowState[]): MergedRow[] {
    if (rows.length === 0) return [];
    const transaction = this.beginMerge();
    transaction.add(rows);
    return transaction.commit();
  }

  beginMerge(): OpenMerge {
    assert(!this.#isLocal && !this.#isMerging, "no merge inside another transaction");
    this.#ignoreChecks(true);
    runOnce(this.#begin);
    this.#isMerging = true;
    return new OpenMerge(this.#mergeHost);
  }

  readonly #mergeHost: MergeHost = {
    mergePiece: (rows, merged) => {
      // What a merge writes is nobody's local change.
      this.#writer.mutePreupdate(true);
      try {
        this.#merger.merge(rows, this.#adopting, merged);
      } finally {
        this.#writer.mutePreupdate(false);
      }
    },
    commitMerge: (merged) => {
      // The clock follows what was merged as the replica judges it; the rows themselves hold their stamps.
      if (this.#clock.last.ms >= this.#kept.hlc.ms + hlcStoreStepMs) {
        this.#writeClock(this.#clock.last, this.#kept.version);
      }
      this.#parts.rows.flush();
      this.#watcher?.committing(merged);
      this.#commitWritten();
      this.#isMerging = false;
      this.#watcher?.committed();
    },
    rollbackMerge: () => this.#rollback(),
  };

  reclock(rows: readonly ReclockedRow[]): readonly boolean[] {
    assert(!this.#isLocal && !this.#isMerging, "no reclock inside another transaction");
    runOnce(this.#begin);
    let urgent: boolean[];
    try {
      urgent = rows.map((row) => this.#merger.reclock(row));
      this.#writeClock(this.#clock.last, this.#version);
      this.#commitWritten();
    } catch (error) {
      this.#rollback();
      throw error;
    }
    return urgent;
  }

  read(refs: readonly RowRef[]): (RowState | undefined)[] {
    return refs.map(({ table, key }) => {
      const slot = this.#parts.rows.find(table, key);
      if (slot.held === undefined) return undefined;
      this.#parts.rows.readValues(slot, slot.held);
      // What is read is sent, and what is damaged never is.
      return rowStateOfSound(table, key, slot.held, (cell) => isSound(cell, this.#digester));
    });
  }

  /**
   * Holds the values of up to `rowsMax` rows against their hashes, and takes the clocks of damaged cells
   * away (`scrub.ts`). Throws as `merge` does; nothing is changed then.
   *
   * @param settledMs Rows stamped later are left to another pass.
   */
  scrub(
    position: ScanPosition | undefined,
    rowsMax: number,
    settledMs: number,
    nowMs: number,
  ): ScrubSlice {
    assert(!this.#isLocal && !this.#isMerging, "no scrub inside another transaction");
    const { rows, next } = this.#parts.places.scan(position, rowsMax);
    const settled = rows.filter(({ clocks }) => stampOfRow(clocks).ms < settledMs);
    const counts = { rows: rows.length, postponed: rows.length - settled.length, next };
    const found = settled.filter((row) => this.#scrubber.isDamaged(row));
    if (found.length === 0) return { ...counts, damaged: 0, merged: [] };
    runOnce(this.#begin);
    try {
      const dropped = this.#scrubber.dropDamaged(found, nowMs);
      this.#parts.rows.flush();
      runOnce(this.#commitAll);
      return { ...counts, ...dropped };
    } catch (error) {
      this.#rollback();
      throw error;
    }
  }

  /** Cells that were found damaged and that nobody has brought or written since; at most 1,000. */
  damaged(): DamagedCell[] {
    return this.#scrubber.damaged();
  }

  scan(
    position: ScanPosition | undefined,
    rowsMax: number,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    return this.#parts.places.scan(position, rowsMax);
  }

  scanNewer(
    position: ScanPosition | undefined,
    rowsMax: number,
    sinceMs: number,
    visit: NewerRowVisitor,
  ): ScanPosition | undefined {
    return this.#parts.places.scanNewer(position, rowsMax, sinceMs, visit);
  }

  scanDigests(
    position: ScanPosition | undefined,
    rowsMax: number,
    isEnough: DigestsEnough,
  ): ReturnType<RowStore["scanDigests"]> {
    return this.#parts.places.scanDigests(position, rowsMax, isEnough);
  }

  rowsAt(places: readonly ScanPosition[]): (ScannedRow | undefined)[] {
    return places.map((place) => this.#parts.places.rowAt(place));
  }

  /**
   * For a `MergedRow` of this store the place before its merge or commit counts; for any other the place
   * where the row is. A row that was nowhere is passed by no scan.
   */
  isPassed(position: ScanPosition, row: RowRef): boolean {
    const place =
      row instanceof PlacedRow
        ? row.placeBefore
        : positionOfSlot(this.#parts, this.#parts.rows.find(row.table, row.key));
    return place !== undefined && this.#parts.places.isPassed(position, place);
  }

  /**
   * CHECKs hold for local writes and are ignored by merges. The switch makes SQLite compile its
   * statements again, so it is touched only where a table has a CHECK, and only when it must change.
   */
  #ignoreChecks(ignored: boolean): void {
    if (this.#checksAreIgnored === ignored || (ignored && !this.#hasChecks)) return;
    this.#writer.exec(`PRAGMA ignore_check_constraints = ${ignored ? "ON" : "OFF"}`);
    this.#checksAreIgnored = ignored;
  }

  /**
   * Sees to it that the file names no HLC and no version below those of the commit at hand. While commits
   * follow each other it is told some that are still to come, so that most commits needn't write there;
   * after a crash the next ones come after them.
   */
  #reserve(): void {
    const hlc = this.#clock.last;
    const version = this.#version + 1;
    const kept = this.#kept;
    if (compareHlc(hlc, kept.hlc) <= 0 && version <= kept.version) return;
    const isOneOfMany = hlc.ms - kept.hlc.ms < hlcReserveMs;
    if (isOneOfMany) {
      this.#writeClock({ ms: hlc.ms + hlcReserveMs, count: 0 }, version + versionsReserved);
    } else this.#writeClock(hlc, version);
  }

  #writeClock(hlc: Hlc, version: number): void {
    const statement = this.#putClock;
    statement.bind(1, hlcToBytes(hlc));
    statement.bind(2, version);
    runOnce(statement);
    this.#written = { hlc, version };
  }

  #commitWritten(): void {
    runOnce(this.#commitAll);
    this.#ordinals.keep();
    this.#kept = this.#written;
  }

  #end(): void {
    this.#isLocal = false;
    this.#journal.clear();
  }

  #rollback(): void {
    this.#isMerging = false;
    if (!this.#writer.autocommit) this.#writer.exec("ROLLBACK");
    this.#ordinals.forget();
    this.#parts.rows.forget();
    this.#written = this.#kept;
  }
}

function refusedSchema(problems: readonly SchemaProblem[]): StoreOpened {
  return { kind: "refused", why: problems.map(problemToText).join("\n"), problems };
}

function runOnce(statement: SqlStatement): void {
  statement.step();
  statement.reset();
}
