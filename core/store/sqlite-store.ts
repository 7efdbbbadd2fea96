/**
 * The rows of a replica in SQLite: local transactions in, changesets out; remote rows in, joined.
 *
 * | step of a local commit | file              |   | what else it does           | file          |
 * | ---------------------- | ----------------- | - | --------------------------- | ------------- |
 * | note touched rows      | `capture.ts`      |   | merge                       | `merger.ts`   |
 * | compare, stamp, limits | `local-commit.ts` |   | change its schema           | `intake.ts`   |
 * | all that at once       | `quick-commit.ts` |   |                             |               |
 * | write clocks           | `local-writer.ts` |   | scrub                       | `scrubber.ts` |
 *
 * `local-transaction.ts` takes these steps; `store-transaction.ts` begins, commits and rolls back for all.
 *
 * There is one writer: while a local transaction or a merge is open nothing else is asked of the store that writes.
 *
 * @module
 */

import { assert } from "../assert.ts";
import type { RowBlockWriter } from "../change/row-block.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import { type Hlc, hlcZero } from "../clock/stamp.ts";
import { type SqlDatabase, uncaptured } from "../database.ts";
import type { Digester } from "../row/digest.ts";
import { siteToBytes } from "../row/digest.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import type {
  DigestsEnough,
  MergedRow,
  NewerRowVisitor,
  RangeFilter,
  ReclockedRow,
  RowRef,
  RowStore,
  ScannedRow,
  ScanPosition,
} from "../row-store.ts";
import type { PlannedObject, PlannedSchema, SchemaProblem } from "../schema/schema.ts";
import { problemToText } from "../schema/schema.ts";
import { planSchema, type SchemaPlan } from "../schema/schema-plan.ts";
import {
  bringLoggedClocksHome,
  LateClocks,
  type LateLimits,
  lateLimits,
} from "./clocks/late-clocks.ts";
import { StoredOrdinals } from "./clocks/ordinals.ts";
import { RecentClocks } from "./clocks/recent-clocks.ts";
import { AdoptingTables } from "./file/adopting-tables.ts";
import { createOwnTables, prepareFile, readFileHeader, writeState } from "./file/file-header.ts";
import { KeptClock } from "./file/kept-clock.ts";
import { runPlan } from "./file/schema-run.ts";
import type { NamedColumns } from "./local/capture.ts";
import { Intake } from "./local/intake.ts";
import { LocalWriter } from "./local/local-writer.ts";
import { LocalTransaction } from "./local-transaction.ts";
import { type MergeHost, Merger, OpenMerge } from "./merge/merger.ts";
import { type PreparationHost, PreparedMerge } from "./merge/prepared-merge.ts";
import { type DamagedCell, isSound, type ScrubSlice } from "./scrub/scrub.ts";
import { Scrubber } from "./scrub/scrubber.ts";
import type { CommitResult, OpenReport, SchemaChanged } from "./store-outcomes.ts";
import { type CommitWatcher, StoreTransaction } from "./store-transaction.ts";
import { AbsentRows } from "./tables/absent-rows.ts";
import { rowStateOfSound } from "./tables/held-row.ts";
import { makeIndexes } from "./tables/large-rows.ts";
import { Places } from "./tables/places.ts";
import { RowWriter } from "./tables/row-writer.ts";
import { disposeParts, PlacedRow, positionOfSlot, type StoreParts } from "./tables/store-parts.ts";
import { StoredTable } from "./tables/stored-table.ts";

export interface SqliteStoreOptions {
  /** The one connection that writes. The store installs its preupdate hook. */
  readonly writer: SqlDatabase;
  readonly schema: PlannedSchema;
  readonly digester: Digester;
  /** Stamps local commits; its site is the one that this store writes as. */
  readonly clock: HlcClock;
  /** Of clocks that come to their tables later. */
  readonly late?: LateLimits;
}

export type StoreOpened =
  | { readonly kind: "opened"; readonly store: SqliteStore; readonly report: OpenReport }
  /** The file is as it was. `problems` are the schema's, if it was that. */
  | { readonly kind: "refused"; readonly why: string; readonly problems: readonly SchemaProblem[] };

/** What follows from a schema. */
interface OfSchema {
  readonly schema: PlannedSchema;
  readonly parts: StoreParts;
  readonly local: LocalTransaction;
  readonly intake: Intake;
  readonly merger: Merger;
  readonly scrubber: Scrubber;
}

export class SqliteStore implements RowStore {
  readonly #writer: SqlDatabase;
  readonly #digester: Digester;
  readonly #clock: HlcClock;
  readonly #ordinals: StoredOrdinals;
  readonly #keptClock: KeptClock;
  readonly #late: LateClocks;
  readonly #transaction: StoreTransaction;
  readonly #adopting: AdoptingTables;
  #ofSchema!: OfSchema;
  /** Of an open that couldn't write: the site becomes another. Undefined: nothing is owed. */
  #owed: { readonly isNewSite: boolean } | undefined;

  private constructor(options: SqliteStoreOptions, version: number, storedHlc: Hlc) {
    const { writer, schema, digester, clock } = options;
    this.#writer = writer;
    this.#digester = digester;
    this.#clock = clock;
    this.#ordinals = new StoredOrdinals(writer);
    this.#adopting = new AdoptingTables(writer);
    this.#keptClock = new KeptClock(writer, version, storedHlc);
    this.#late = new LateClocks(writer, options.late ?? lateLimits);
    this.#transaction = new StoreTransaction(writer, this.#ordinals, this.#keptClock, this.#late);
    this.#useSchema(schema);
  }

  /** Everything that follows from the schema, which the open database has by now. */
  #useSchema(schema: PlannedSchema): void {
    const parts = this.#createParts(schema);
    const localWriter = new LocalWriter(parts);
    const intake = new Intake(parts, localWriter);
    this.#goBy({
      schema,
      parts,
      local: new LocalTransaction(parts, localWriter, this.#transaction, this.#keptClock),
      intake,
      merger: new Merger(parts, intake),
      scrubber: new Scrubber(parts),
    });
  }

  #createParts(schema: PlannedSchema): StoreParts {
    const replicated = [...schema.tables.values()].filter((table) => table.replicated);
    const tables = replicated
      .map((table) => new StoredTable(this.#writer, table, this.#late.of(table.name)))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const [database, ordinals, digester] = [this.#writer, this.#ordinals, this.#digester];
    const byName = new Map(tables.map((table) => [table.name, table]));
    const absent = new AbsentRows(database, ordinals);
    return {
      database,
      digester,
      clock: this.#clock,
      ordinals,
      tables: byName,
      absent,
      rows: new RowWriter(database, byName, absent, ordinals),
      places: new Places(tables, absent, ordinals, digester),
      recentClocks: new RecentClocks(),
    };
  }

  #goBy(made: OfSchema): void {
    this.#ofSchema = made;
    const { tables, rows, recentClocks } = made.parts;
    // Its statements are of the schema before.
    this.#transaction.prepared?.forgetAll();
    const hasChecks = [...tables.values()].some(({ plan }) => plan.hasCheck);
    this.#transaction.useSchema(rows, recentClocks, hasChecks);
  }

  get #parts(): StoreParts {
    return this.#ofSchema.parts;
  }

  get #local(): LocalTransaction {
    return this.#ofSchema.local;
  }

  get #intake(): Intake {
    return this.#ofSchema.intake;
  }

  get #merger(): Merger {
    return this.#ofSchema.merger;
  }

  get #scrubber(): Scrubber {
    return this.#ofSchema.scrubber;
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
      const late = bringLoggedClocksHome(writer);
      const tooLarge: PlannedObject[] = [];
      const problem = runPlan(writer, schema, plan, tooLarge);
      if (problem !== undefined) {
        writer.exec("ROLLBACK");
        return refusedSchema([problem]);
      }
      const isSameSite = header.kind === "patina" && header.site === clock.site;
      const storedHlc = header.kind === "patina" ? header.hlc : hlcZero;
      clock.observe(storedHlc);
      const store = new SqliteStore(options, isSameSite ? header.version : 0, storedHlc);
      if (!isSameSite) {
        writeState(writer, "site", siteToBytes(clock.site));
        writeState(writer, "version", 0);
      }
      const rehashedRows = store.#scrubber.rehash();
      const changed = store.#intake.takeIn(plan, store.#adopting);
      const leftOut = makeIndexes(store.#parts, tooLarge);
      store.#parts.rows.flush();
      store.#keptClock.write(clock.last);
      const check = store.#intake.check(store.adopting);
      store.#transaction.commit();
      writer.onPreupdate((change) => store.#local.note(change));
      const report: OpenReport = {
        created: header.kind === "new",
        statements: plan.statements,
        warnings: [...plan.warnings, ...leftOut],
        ...changed,
        ...check,
        rehashedRows,
        lateClocksLost: late.lost,
      };
      return { kind: "opened", store, report };
    } catch (error) {
      if (!writer.autocommit) writer.exec("ROLLBACK");
      throw error;
    }
  }

  /**
   * Opens a database as {@link open} does where nothing can be written (a full disk): what there is can be read. No
   * transaction may begin before {@link settle} has succeeded: {@link holdBack} sees to that.
   *
   * Refused if more would have to be written than how it was opened.
   */
  static openUnwritten(options: SqliteStoreOptions): StoreOpened {
    const { writer, schema, clock } = options;
    const refused = (what: string): StoreOpened => {
      return { kind: "refused", why: `the disk is full, and ${what}`, problems: [] };
    };
    const header = readFileHeader(writer);
    if (header.kind === "refused") return { ...header, problems: [] };
    if (header.kind !== "patina") return refused("the database has to be made");
    const plan = planSchema(writer, schema);
    if (plan.kind === "refused") return refusedSchema(plan.problems);
    if (plan.statements.length + plan.adopted.length > 0) {
      return refused("the schema has to be changed");
    }
    writer.exec("PRAGMA foreign_keys = OFF");
    writer.exec("PRAGMA ignore_check_constraints = ON");
    clock.observe(header.hlc);
    const isSameSite = header.site === clock.site;
    const store = new SqliteStore(options, isSameSite ? header.version : 0, header.hlc);
    if (!store.#scrubber.isHashed) return refused("values have to be hashed anew");
    const lateClocksLost = store.#late.takeUp();
    store.#adopting.takeUp((name) => store.#parts.tables.has(name));
    const check = store.#intake.check(store.adopting, false);
    store.#owed = { isNewSite: !isSameSite };
    writer.onPreupdate((change) => store.#local.note(change));
    const report: OpenReport = {
      created: false,
      statements: [],
      warnings: plan.warnings,
      adoptedRows: 0,
      surfacedRows: 0,
      ...check,
      rehashedRows: 0,
      lateClocksLost,
    };
    return { kind: "opened", store, report };
  }

  /**
   * Writes what an open that couldn't write owes, and what `more` writes, in one transaction. Throws what SQLite and
   * `more` throw; then it is still owed.
   */
  settle(more: () => void): void {
    assert(!this.#isBusy, "nothing is settled inside another transaction");
    const { before } = this.#transaction;
    const owed = this.#owed;
    this.#transaction.before = undefined;
    try {
      this.#transaction.begin();
      if (owed !== undefined) {
        if (owed.isNewSite) {
          writeState(this.#writer, "site", siteToBytes(this.#clock.site));
          writeState(this.#writer, "version", 0);
        }
        this.#keptClock.write(this.#clock.last);
        this.#intake.check(this.adopting);
      }
      more();
      this.#transaction.commit();
      this.#owed = undefined;
    } catch (error) {
      this.#transaction.rollback();
      this.#transaction.before = before;
      throw error;
    }
  }

  /** No transaction begins before `before` lets it: it calls {@link settle}, and throws what that throws. */
  holdBack(before: () => void): void {
    this.#transaction.before = before;
  }

  get schema(): PlannedSchema {
    return this.#ofSchema.schema;
  }

  /** Tables whose rows are still to be taken in (`adoption.ts`). */
  get adopting(): ReadonlySet<string> {
    return this.#adopting.names;
  }

  /** What {@link changeSchema} would do. Nothing is done. */
  planSchema(schema: PlannedSchema): SchemaPlan {
    return planSchema(this.#writer, schema);
  }

  /**
   * Brings the open database to another schema, in one transaction: refused, it is as it was. No clock
   * becomes another, but those of rows that stood in a table when it became replicated.
   */
  changeSchema(schema: PlannedSchema): SchemaChanged {
    assert(!this.#isBusy, "no change of schema inside another transaction");
    const plan = planSchema(this.#writer, schema);
    if (plan.kind === "refused") return plan;
    const before = this.#ofSchema;
    const { adopting } = this;
    const { statements, grown, warnings } = plan;
    if (statements.length + plan.adopted.length === 0) {
      // Of rules and tokens nothing is written, and a full disk is no reason not to go by them.
      this.#useSchema(schema);
      disposeParts(before.parts);
      return { kind: "changed", statements, grown, warnings, adoptedRows: 0, surfacedRows: 0 };
    }
    this.#transaction.ignoreChecksOfAll();
    this.#transaction.beginImmediate();
    try {
      const tooLarge: PlannedObject[] = [];
      const problem = runPlan(this.#writer, schema, plan, tooLarge);
      if (problem !== undefined) {
        this.#transaction.rollback();
        return { kind: "refused", problems: [problem] };
      }
      this.#useSchema(schema);
      const changed = this.#intake.takeIn(plan, this.#adopting);
      const leftOut = makeIndexes(this.#parts, tooLarge);
      this.#parts.rows.flush();
      this.#keptClock.write(this.#clock.last);
      this.#transaction.commit();
      disposeParts(before.parts);
      return {
        kind: "changed",
        statements,
        grown,
        warnings: [...warnings, ...leftOut],
        ...changed,
      };
    } catch (error) {
      this.#transaction.rollback();
      // Nothing is read for the way back: a disk that fails may go on failing.
      if (this.#ofSchema !== before) disposeParts(this.#parts);
      this.#goBy(before);
      this.#adopting.names = adopting;
      throw error;
    }
  }

  /** All rows of a table have been gone through. */
  adopted(table: string): void {
    this.#adopting.remove(table);
  }

  get #isBusy(): boolean {
    return this.#local.isBegun || this.#transaction.isMerging;
  }

  /** Commits of this site that changed something. */
  get version(): number {
    return this.#keptClock.version;
  }

  /** Writes down the clock as it is, for an orderly stop: while commits follow each other the file is ahead. */
  keepClock(): void {
    assert(!this.#local.isBegun, "the clock is kept outside of local transactions");
    this.#transaction.begin();
    try {
      this.#keptClock.write(this.#clock.last);
      this.#transaction.commit();
    } catch (error) {
      this.#transaction.rollback();
      throw error;
    }
  }

  /** Writes all late clocks to their tables, for an orderly stop (`late-clocks.ts`). */
  bringClocksHome(): void {
    assert(!this.#isBusy, "clocks are brought home outside of transactions");
    this.#late.bringHome();
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
    this.#transaction.watcher = watcher;
  }

  /**
   * Begins a local transaction. What is then run on the writer connection is captured.
   *
   * @param ignoresChecks It writes nothing new, and rows that a merge has left may break a CHECK.
   */
  begin(ignoresChecks = false): void {
    this.#local.begin(ignoresChecks);
  }

  /** What the statement of a client that runs next names, from its compilation; until the next one, or the end. */
  beginStatement(named: NamedColumns | undefined): void {
    this.#local.beginStatement(named);
  }

  /**
   * Whether the local transaction is still open. `OR ROLLBACK` ends it in the middle, and what ran
   * then would be committed statement by statement: ask after every statement.
   */
  get isOpen(): boolean {
    return this.#local.isOpen;
  }

  /**
   * Ends a local transaction: what it changed becomes one changeset under one stamp. Throws what SQLite
   * throws when the file can't be written; the transaction is then rolled back.
   *
   * @param unsure tables in which a row that is new here isn't taken, unless it is urgent
   */
  commit(nowMs: number, unsure?: ReadonlySet<string>): CommitResult {
    return this.#local.commit(nowMs, unsure);
  }

  /** Ends a local transaction; nothing of it is applied. */
  rollback(): void {
    this.#local.rollback();
  }

  merge(rows: readonly RowState[]): MergedRow[] {
    if (rows.length === 0) return [];
    const transaction = this.beginMerge();
    transaction.add(rows);
    return transaction.commit();
  }

  beginMerge(): OpenMerge {
    assert(!this.#isBusy, "no merge inside another transaction");
    this.#transaction.ignoreChecks(true);
    this.#transaction.beginMerge();
    return new OpenMerge(this.#mergeHost);
  }

  /** After this call another one is of no use. */
  prepareMerge(): PreparedMerge {
    const prepared = new PreparedMerge(this.#preparationHost);
    this.#transaction.prepared = prepared;
    return prepared;
  }

  readonly #preparationHost: PreparationHost = {
    decide: (rows, prepared) => {
      assert(!this.#isBusy, "nothing is decided inside a transaction");
      const decide = () => this.#merger.decide(rows, this.#adopting.names, prepared);
      uncaptured(this.#writer, () => this.#transaction.within(decide));
    },
    ended: (prepared) => {
      if (this.#transaction.prepared === prepared) this.#transaction.prepared = undefined;
    },
  };

  readonly #mergeHost: MergeHost = {
    mergePiece: (rows, merged) => {
      uncaptured(this.#writer, () => this.#merger.merge(rows, this.#adopting.names, merged));
    },
    mergePrepared: (prepared, from, to, merged) => {
      assert(prepared === this.#transaction.prepared, "merge: the rows that were prepared last");
      this.#transaction.isOfPrepared = true;
      const { names } = this.#adopting;
      uncaptured(this.#writer, () =>
        this.#merger.mergePrepared(prepared as PreparedMerge, from, to, names, merged),
      );
    },
    commitMerge: (merged) => {
      // The clock follows what was merged as the replica judges it.
      this.#keptClock.follow(this.#clock.last);
      this.#transaction.commitRows(merged);
    },
    rollbackMerge: () => this.#transaction.rollback(),
  };

  reclock(rows: readonly ReclockedRow[], nowMs: number): readonly boolean[] {
    assert(!this.#isBusy, "no reclock inside another transaction");
    this.#transaction.begin();
    let urgent: boolean[];
    try {
      urgent = rows.map((row) => this.#merger.reclock(row, nowMs));
      this.#parts.rows.flush();
      this.#keptClock.write(this.#clock.last);
      this.#transaction.commit();
    } catch (error) {
      this.#transaction.rollback();
      throw error;
    }
    return urgent;
  }

  read(refs: readonly RowRef[]): (RowState | undefined)[] {
    return refs.map(this.#readRow);
  }

  readonly #readRow = ({ table, key }: RowRef): RowState | undefined => {
    const slot = this.#parts.rows.find(table, key);
    if (slot.held === undefined) return undefined;
    this.#parts.rows.readValues(slot, slot.held);
    // What is read is sent, and what is damaged never is.
    return rowStateOfSound(table, key, slot.held, (cell) => isSound(cell, this.#digester));
  };

  writeRows(
    position: ScanPosition | undefined,
    rowsMax: number,
    bytesMax: number,
    block: RowBlockWriter,
  ): ScanPosition | undefined {
    return this.#parts.places.writeRows(position, rowsMax, bytesMax, block, this.#readRow);
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
    assert(!this.#isBusy, "no scrub inside another transaction");
    const { rows, next } = this.#parts.places.scan(position, rowsMax);
    const settled = rows.filter(({ clocks }) => stampOfRow(clocks).ms < settledMs);
    const counts = { rows: rows.length, postponed: rows.length - settled.length, next };
    const found = settled.filter((row) => this.#scrubber.isDamaged(row));
    if (found.length === 0) return { ...counts, damaged: 0, merged: [] };
    this.#transaction.begin();
    try {
      const dropped = this.#scrubber.dropDamaged(found, nowMs);
      this.#parts.rows.flush();
      this.#transaction.commit();
      return { ...counts, ...dropped };
    } catch (error) {
      this.#transaction.rollback();
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
    isWanted?: RangeFilter,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    return this.#parts.places.scan(position, rowsMax, isWanted);
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
}

function refusedSchema(problems: readonly SchemaProblem[]): StoreOpened {
  return { kind: "refused", why: problems.map(problemToText).join("\n"), problems };
}
