/**
 * The rows of a replica in SQLite: local transactions in, changesets out; remote rows in, joined.
 *
 * | step of a local commit | file              |   | step of a merge             | file            |
 * | ---------------------- | ----------------- | - | --------------------------- | --------------- |
 * | note touched keys      | `capture.ts`      |   | find row and clocks         | `row-writer.ts` |
 * | compare, stamp, limits | `local-commit.ts` |   | join                        | `held-row.ts`   |
 * | write clocks           | here              |   | write base row and clocks   | `row-writer.ts` |
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
} from "../change/changeset.ts";
import type { HlcClock } from "../clock/hlc-clock.ts";
import { isLive } from "../clock/row-clock.ts";
import { compareHlc, type Hlc, hlcZero, type Stamp } from "../clock/stamp.ts";
import type { ClockState, Digester, RowId } from "../row/digest.ts";
import { siteToBytes } from "../row/digest.ts";
import { canonicalKeyValue, decodeKey, encodeKey } from "../row/key.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import type { PlannedSchema, SchemaProblem } from "../schema/schema.ts";
import { problemToText } from "../schema/schema.ts";
import { clockTableName, planSchema, type SchemaPlan } from "../schema/schema-plan.ts";
import { quoteName } from "../schema/sql-token.ts";
import { adoptedAtOnceMax, namesFromText, namesToText } from "./adoption.ts";
import { Journal, type Touched } from "./capture.ts";
import type { SqlDatabase, SqlStatement } from "./database.ts";
import {
  createOwnTables,
  hlcToBytes,
  prepareFile,
  readFileHeader,
  readState,
  writeState,
} from "./file-header.ts";
import {
  clocksOfHeld,
  decodeHeldRow,
  encodeClocks,
  encodeHeld,
  type HeldRow,
  heldRowOf,
  joinHeld,
  rowStateOfSound,
} from "./held-row.ts";
import {
  clocksOfTouched,
  collectChanges,
  type LocalChange,
  type LocalReader,
  type LocalRow,
  largestHlcBefore,
  problemOfBytes,
  problemOfCount,
  problemOfSize,
  stampChanges,
} from "./local-commit.ts";
import { StoredOrdinals } from "./ordinals.ts";
import { Places } from "./places.ts";
import type {
  MergedRow,
  ReclockedRow,
  RowRef,
  RowStore,
  ScannedRow,
  ScanPosition,
} from "./row-store.ts";
import { RowWriter, type Slot } from "./row-writer.ts";
import { type DamagedCell, isSound, type ScrubSlice } from "./scrub.ts";
import { type BaseRow, type Place, StoredTable } from "./stored-table.ts";

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
      /** Commits of this site that changed something, with this one; null when it changed nothing. */
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

export class SqliteStore implements RowStore {
  readonly #writer: SqlDatabase;
  readonly #digester: Digester;
  readonly #clock: HlcClock;
  readonly #ordinals: StoredOrdinals;
  #schema!: PlannedSchema;
  #tables!: ReadonlyMap<string, StoredTable>;
  #places!: Places;
  #rows!: RowWriter;
  #reader!: LocalReader;
  #journal!: Journal;
  #hasChecks!: boolean;
  readonly #begin: SqlStatement;
  readonly #beginImmediate: SqlStatement;
  readonly #commitAll: SqlStatement;
  readonly #putState: SqlStatement;
  /** Tables whose rows don't all have clocks yet. */
  #adopting: ReadonlySet<string> = new Set();
  #checksAreIgnored = false;
  #watcher: CommitWatcher | undefined;
  #isLocal = false;
  #version: number;
  #storedHlc: Hlc;

  private constructor(options: SqliteStoreOptions, version: number, storedHlc: Hlc) {
    const { writer, schema, digester, clock } = options;
    this.#writer = writer;
    this.#digester = digester;
    this.#clock = clock;
    this.#version = version;
    this.#storedHlc = storedHlc;
    this.#ordinals = new StoredOrdinals(writer);
    this.#begin = writer.prepare("BEGIN");
    this.#beginImmediate = writer.prepare("BEGIN IMMEDIATE");
    this.#commitAll = writer.prepare("COMMIT");
    this.#putState = writer.prepare(
      "INSERT OR REPLACE INTO patina_state (name, value) VALUES (?, ?)",
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
    this.#tables = new Map(tables.map((table) => [table.name, table]));
    this.#rows = new RowWriter(this.#writer, this.#tables, this.#ordinals);
    this.#reader = { writer: this.#rows, ordinals: this.#ordinals, digester: this.#digester };
    this.#journal = new Journal(new Map(tables.map((table) => [table.sqlName, table])));
    this.#places = new Places(this.#writer, tables, this.#ordinals, this.#digester);
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
      const rehashedRows = store.#rehash();
      const changed = store.#schemaChanged(plan, options.nowMs);
      store.#rows.flush();
      store.#writeHlc();
      const check = store.#check();
      writer.exec("COMMIT");
      store.#ordinals.keep();
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
    assert(!this.#isLocal, "no change of schema inside a local transaction");
    const plan = planSchema(this.#writer, schema);
    if (plan.kind === "refused") return plan;
    const [before, tables] = [this.#schema, this.#tables];
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
      this.#rows.flush();
      this.#writeHlc();
      runOnce(this.#commitAll);
      this.#ordinals.keep();
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
      (this.#tables.get(name) as StoredTable).countRows() > adoptedAtOnceMax;
    const later = plan.adopted.filter(isLater);
    const known = namesFromText(readState(this.#writer, "adopting"));
    const adopting = [...known, ...later].filter((name) => this.#tables.has(name));
    if (adopting.length > 0 || known.length > 0) this.#setAdopting(adopting);
    const atOnce = plan.adopted.filter((name) => !later.includes(name));
    const adoptedRows = this.#adopt(atOnce, nowMs) + this.#adoptHeld(later, nowMs);
    const surfacedRows = this.#surfaceRows(plan.adopted) + this.#surfaceCells(plan.grown);
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
    assert(!this.#isLocal, "one local transaction at a time");
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
    const changes = collectChanges(journal, this.#reader);
    const tooMany = problemOfCount(changes);
    if (tooMany !== undefined) return refuse(tooMany);
    let rows: LocalRow[] = [];
    let stamp: Stamp | undefined;
    if (changes.some(({ kind }) => kind !== "moved")) {
      const before = largestHlcBefore(changes, this.#reader);
      if (before !== undefined) this.#clock.observe(before);
      stamp = this.#clock.next(nowMs);
      rows = stampChanges(changes, stamp, this.#reader);
    }
    const problem = problemOfSize(rows);
    if (problem !== undefined) return refuse(problem);
    // What is written from here on is the store's own doing.
    this.#end();
    const merged = this.#writeChanges(changes, rows);
    let changeset: Changeset | undefined;
    let encoded: Uint8Array | undefined;
    if (stamp !== undefined && rows.length > 0) {
      const isUrgent = rows.some((row) => this.#isUrgent(row));
      changeset = { stamp, lane: 1, rows: rows.map(({ state }) => state) };
      encoded = encodeChangeset(changeset);
      if (encoded.length > changesetBytesMax) {
        this.#rollback();
        return { kind: "refused", why: problemOfBytes(encoded.length) };
      }
      const lane: Lane = isUrgent ? 0 : encoded.length > normalBytesMax ? 2 : 1;
      if (lane !== changeset.lane) {
        changeset = { ...changeset, lane };
        encoded = encodeChangeset(changeset);
      }
      this.#writeState("version", this.#version + 1);
      this.#writeHlc();
    }
    this.#rows.flush();
    this.#watcher?.committing(merged);
    runOnce(this.#commitAll);
    this.#ordinals.keep();
    this.#watcher?.committed();
    if (changeset !== undefined) this.#version++;
    const version = changeset === undefined ? null : this.#version;
    return { kind: "committed", version, changeset, encoded, merged };
  }

  /** Writes clocks; the base rows are as the transaction left them. */
  #writeChanges(changes: readonly LocalChange[], rows: readonly LocalRow[]): MergedRow[] {
    const merged: MergedRow[] = [];
    // All clocks leave before any are put: rowids may have been handed from row to row.
    for (const { touched, row, kind } of changes) {
      if (touched.before === undefined || touched.clocks === null) continue;
      if (kind !== "delete" && row?.rowid === touched.rowidBefore) continue;
      touched.table.removeClocks(placeBefore(touched));
    }
    for (const change of changes) {
      if (change.kind === "moved") merged.push(this.#writeMoved(change.touched, change.row));
    }
    for (const row of rows) merged.push(this.#writeChanged(row));
    return merged;
  }

  /** The same state: its clocks go where the row went, and its key is written as everywhere. */
  #writeMoved(touched: Touched, row: BaseRow): MergedRow {
    const { table, key, keyBytes } = touched;
    const place: Place = { rowid: row.rowid, key, keyBytes };
    const held = clocksOfTouched(touched, this.#reader) as HeldRow;
    if (row.rowid !== touched.rowidBefore) this.#putClocks(place, table, held, true);
    if (!table.isKeyShown(key, row.key)) table.updateKey(place);
    const clocks = clocksOfHeld(held);
    return this.#mergedRow(touched, clocks, clocks, false);
  }

  #writeChanged({ change, held }: LocalRow): MergedRow {
    const { touched, row, kind } = change;
    const { table, key, keyBytes } = touched;
    const clocks = clocksOfTouched(touched, this.#reader);
    const wasAbsent = touched.before === undefined;
    if (clocks !== null) this.#rows.countUnshown(table.name, clocks, wasAbsent, -1);
    if (kind === "delete") this.#rows.putAbsent(table.name, keyBytes, held);
    else {
      const place: Place = { rowid: row?.rowid, key, keyBytes };
      const isNew = wasAbsent || clocks === null || row?.rowid !== touched.rowidBefore;
      this.#putClocks(place, table, held, isNew);
      if (wasAbsent && clocks !== null) this.#rows.removeAbsent(table.name, keyBytes);
      if (!table.isKeyShown(key, row?.key ?? [])) table.updateKey(place);
    }
    this.#rows.countUnshown(table.name, held, kind === "delete", 1);
    const before = clocks === null ? undefined : clocksOfHeld(clocks);
    return this.#mergedRow(touched, before, clocksOfHeld(held), true);
  }

  #mergedRow(
    touched: Touched,
    before: ClockState | undefined,
    after: ClockState,
    changed: boolean,
  ): MergedRow {
    const { table, keyBytes } = touched;
    const { name } = table;
    let place: ScanPosition | undefined;
    if (before !== undefined) {
      place =
        touched.before === undefined
          ? this.#places.ofAbsent(name, keyBytes)
          : this.#places.ofRow(table, placeBefore(touched));
    }
    const id = this.#digester.rowId(name, keyBytes);
    return new PlacedRow(
      { table: name, key: keyBytes, id, before, incoming: after, after, changed, conflict: false },
      place,
    );
  }

  #putClocks(place: Place, table: StoredTable, held: HeldRow, isNew: boolean): void {
    const clock = encodeClocks(held, this.#ordinals);
    table.putClocks(place, clock, encodeHeld(held), isNew, true);
  }

  #isUrgent({ change }: LocalRow): boolean {
    const { touched, row, kind } = change;
    const { table, key, keyBytes } = touched;
    if (table.plan.urgent === null) return false;
    return kind === "delete" || table.isUrgent({ rowid: row?.rowid, key, keyBytes });
  }

  merge(rows: readonly RowState[]): MergedRow[] {
    assert(!this.#isLocal, "no merge inside a local transaction");
    if (rows.length === 0) return [];
    this.#ignoreChecks(true);
    runOnce(this.#begin);
    let merged: MergedRow[];
    try {
      merged = this.#merge(rows);
      this.#rows.flush();
      this.#watcher?.committing(merged);
      runOnce(this.#commitAll);
    } catch (error) {
      this.#rollback();
      throw error;
    }
    this.#ordinals.keep();
    this.#watcher?.committed();
    return merged;
  }

  #merge(rows: readonly RowState[]): MergedRow[] {
    const merged: MergedRow[] = [];
    const groups = new Map<RowId, MergeGroup>();
    for (const row of rows) {
      const id = this.#digester.rowId(row.table, row.key);
      let group = groups.get(id);
      if (group === undefined) {
        let slot = this.#rows.find(row.table, row.key);
        const adopted = this.#adopting.size > 0 ? this.#adoptBeforeMerge(slot) : undefined;
        if (adopted !== undefined) {
          merged.push(adopted);
          slot = this.#rows.find(row.table, row.key);
        }
        group = { slot, row: slot.held, changed: false, position: this.#slotPosition(slot) };
        groups.set(id, group);
      }
      const { slot, row: held } = group;
      const incoming = this.#digester.clocksOf(row);
      const join = joinHeld(held, row, incoming, (column) => this.#readShown(slot, column));
      group.row = join.row;
      group.changed ||= join.changed;
      const before = held === undefined ? undefined : clocksOfHeld(held);
      const { changed, conflict } = join;
      const { table, key } = row;
      const after = changed || before === undefined ? clocksOfHeld(join.row) : before;
      const told = { table, key, id, before, incoming, after, changed, conflict };
      merged.push(new PlacedRow(told, group.position));
    }
    for (const { slot, row, changed } of groups.values()) {
      if (changed) this.#rows.write(slot, row as HeldRow);
    }
    // The clock follows what was merged as the replica judges it; the rows themselves hold their stamps.
    if (this.#clock.last.ms >= this.#storedHlc.ms + hlcStoreStepMs) this.#writeHlc();
    return merged;
  }

  reclock(rows: readonly ReclockedRow[]): readonly boolean[] {
    assert(!this.#isLocal, "no reclock inside a local transaction");
    runOnce(this.#begin);
    let urgent: boolean[];
    try {
      urgent = rows.map((row) => this.#reclock(row));
      this.#writeHlc();
      runOnce(this.#commitAll);
    } catch (error) {
      this.#rollback();
      throw error;
    }
    this.#ordinals.keep();
    return urgent;
  }

  /** The base row is untouched, and so is what of it is shown. */
  #reclock({ table: name, key, clocks }: ReclockedRow): boolean {
    const slot = this.#rows.find(name, key);
    const { held, table } = slot;
    assert(held?.cells.length === clocks.cells.length, "reclock: the cells that are held");
    const row = heldRowOf(
      clocks.clock,
      held.cells.map((cell, i) => ({
        ...cell,
        stamp: (clocks.cells[i] as ClockState["cells"][number]).stamp,
      })),
    );
    if (slot.isAbsent || table === undefined) {
      this.#rows.putAbsent(name, key, row);
      return !isLive(row.clock);
    }
    this.#putClocks(slot, table, row, false);
    return table.isUrgent(slot);
  }

  /** The value that a column of the base row shows, as it was before this merge. */
  #readShown(slot: Slot, column: string): SqlValue {
    const { table } = slot;
    const index = table?.valueIndex.get(column);
    if (table === undefined || index === undefined) return null;
    return table.readValues(slot)[index] ?? null;
  }

  read(refs: readonly RowRef[]): (RowState | undefined)[] {
    return refs.map(({ table, key }) => {
      const slot = this.#rows.find(table, key);
      if (slot.held === undefined) return undefined;
      this.#rows.readValues(slot, slot.held);
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
    assert(!this.#isLocal, "no scrub inside a local transaction");
    const { rows, next } = this.#places.scan(position, rowsMax);
    const settled = rows.filter(({ clocks }) => stampOfRow(clocks).ms < settledMs);
    const found = settled.filter((row) => this.#damagedColumns(row).length > 0);
    let damaged = 0;
    const merged: MergedRow[] = [];
    if (found.length > 0) {
      runOnce(this.#begin);
      try {
        for (const row of found) {
          const columns = this.#damagedColumns(row);
          damaged += columns.length;
          merged.push(this.#dropClocks(row, columns, nowMs));
        }
        this.#rows.flush();
        runOnce(this.#commitAll);
      } catch (error) {
        this.#rollback();
        throw error;
      }
    }
    return { rows: rows.length, postponed: rows.length - settled.length, damaged, merged, next };
  }

  /** Cells that were found damaged and that nobody has brought or written since; at most 1,000. */
  damaged(): DamagedCell[] {
    const cells: DamagedCell[] = [];
    const rows = this.#writer.all("SELECT tbl, key, col, found_ms FROM patina_damaged LIMIT 1000");
    for (const [name, bytes, column, foundMs] of rows) {
      const [table, key] = [String(name), bytes as Uint8Array];
      const { held } = this.#rows.find(table, key);
      const isHealed =
        held === undefined ||
        !isLive(held.clock) ||
        held.cells.some((cell) => cell.column === column);
      if (isHealed) {
        const where = "tbl = ? AND key = ? AND col = ?";
        this.#writer.run(`DELETE FROM patina_damaged WHERE ${where}`, table, key, column ?? null);
      } else cells.push({ table, key, column: String(column), foundMs: Number(foundMs) });
    }
    return cells;
  }

  #damagedColumns({ table, key }: RowRef): string[] {
    const slot = this.#rows.find(table, key);
    if (slot.held === undefined) return [];
    this.#rows.readValues(slot, slot.held);
    return slot.held.cells
      .filter((cell) => !isSound(cell, this.#digester))
      .map(({ column }) => column);
  }

  #dropClocks({ table: name, key }: RowRef, columns: readonly string[], nowMs: number): MergedRow {
    const slot = this.#rows.find(name, key);
    const before = slot.held as HeldRow;
    const row = heldRowOf(
      before.clock,
      before.cells.filter(({ column }) => !columns.includes(column)),
    );
    this.#rows.countUnshown(name, before, slot.isAbsent, -1);
    this.#rows.countUnshown(name, row, slot.isAbsent, 1);
    if (slot.isAbsent || slot.table === undefined) this.#rows.putAbsent(name, key, row);
    else this.#putClocks(slot, slot.table, row, false);
    for (const column of columns) {
      const insert = "INSERT OR IGNORE INTO patina_damaged (tbl, key, col, found_ms)";
      this.#writer.run(`${insert} VALUES (?, ?, ?, ?)`, name, key, column, Math.floor(nowMs));
    }
    const after = clocksOfHeld(row);
    const id = this.#digester.rowId(name, key);
    return new PlacedRow(
      {
        ...{ table: name, key, id, before: clocksOfHeld(before), incoming: after, after },
        ...{ changed: true, conflict: false },
      },
      this.#slotPosition(slot),
    );
  }

  scan(
    position: ScanPosition | undefined,
    rowsMax: number,
  ): { readonly rows: readonly ScannedRow[]; readonly next: ScanPosition | undefined } {
    return this.#places.scan(position, rowsMax);
  }

  /**
   * For a `MergedRow` of this store the place before its merge or commit counts; for any other the place
   * where the row is. A row that was nowhere is passed by no scan.
   */
  isPassed(position: ScanPosition, row: RowRef): boolean {
    const place = PlacedRow.is(row)
      ? row.placeBefore
      : this.#slotPosition(this.#rows.find(row.table, row.key));
    return place !== undefined && this.#places.isPassed(position, place);
  }

  #slotPosition(slot: Slot): ScanPosition | undefined {
    if (slot.held === undefined) return undefined;
    return slot.isAbsent || slot.table === undefined
      ? this.#places.ofAbsent(slot.name, slot.keyBytes)
      : this.#places.ofRow(slot.table, slot);
  }

  /**
   * Hashes all values anew when the digest key is another than the one that the file's hashes are of.
   * Under the wrong key every cell would seem damaged, and no digest equal.
   */
  #rehash(): number {
    const { high, low } = this.#digester.valueHash("patina digest key");
    const name = `${high} ${low}`;
    const known = readState(this.#writer, "digest_key");
    if (known === name) return 0;
    writeState(this.#writer, "digest_key", name);
    if (known === undefined) return 0;
    let count = 0;
    let position: ScanPosition | undefined;
    do {
      const slice = this.#places.scan(position, 1000);
      for (const { table, key } of slice.rows) {
        const slot = this.#rows.find(table, key);
        const held = slot.held as HeldRow;
        this.#rows.readValues(slot, held);
        const cells = held.cells.map((cell) => ({
          ...cell,
          hash: this.#digester.valueHash(cell.value as SqlValue),
        }));
        const row = heldRowOf(held.clock, cells);
        if (slot.isAbsent || slot.table === undefined) this.#rows.putAbsent(table, key, row);
        else this.#putClocks(slot, slot.table, row, false);
        count++;
      }
      position = slice.next;
    } while (position !== undefined);
    return count;
  }

  /** Takes in the rows of tables that are new to replication, all under one stamp. */
  #adopt(names: readonly string[], nowMs: number): number {
    let stamp: Stamp | undefined;
    let count = 0;
    for (const name of names) {
      const table = this.#tables.get(name) as StoredTable;
      for (const row of table.baseRows()) {
        stamp ??= this.#clock.next(nowMs);
        if (this.#adoptRow(table, row, stamp) !== undefined) count++;
      }
    }
    return count;
  }

  /** Rows of tables to be taken in later whose key is held already: peers have them. */
  #adoptHeld(names: readonly string[], nowMs: number): number {
    let count = 0;
    for (const name of names) {
      const table = this.#tables.get(name) as StoredTable;
      const found = this.#writer.all("SELECT key FROM patina_absent WHERE tbl = ?", name);
      for (const [bytes] of found) {
        const key = decodeKey(bytes as Uint8Array) ?? [];
        const row = table.isKey(key) ? table.readByKey(key) : undefined;
        if (row === undefined) continue;
        if (this.#adoptRow(table, row, this.#clock.next(nowMs)) !== undefined) count++;
      }
    }
    return count;
  }

  /** Undefined for what is too large to be sent: it stays as it is, and counts among rows without clocks. */
  #adoptRow(table: StoredTable, row: BaseRow, stamp: Stamp): MergedRow | undefined {
    const key = row.key.map(canonicalKeyValue);
    const keyBytes = encodeKey(key);
    if (keyBytes === undefined) return undefined;
    const change: LocalChange = {
      kind: "insert",
      row,
      touched: {
        table,
        key,
        keyBytes,
        before: undefined,
        rowidBefore: undefined,
        rowid: row.rowid,
        source: undefined,
        clocks: undefined,
      },
    };
    let own = stamp;
    const before = largestHlcBefore([change], this.#reader);
    if (before !== undefined && compareHlc(before, stamp) >= 0) {
      this.#clock.observe(before);
      own = this.#clock.next(0);
    }
    const rows = stampChanges([change], own, this.#reader);
    if (problemOfSize(rows) !== undefined) return undefined;
    return this.#writeChanges([change], rows)[0];
  }

  /** A row of a table under adoption that a merge is about to meet is taken in first. */
  #adoptBeforeMerge({ table, hasBase, hasClocks, key }: Slot): MergedRow | undefined {
    if (table === undefined || !hasBase || hasClocks || !this.#adopting.has(table.name)) return;
    const row = table.readByKey(key);
    // Time has gone on since the table became replicated by at least what the clock says.
    return row && this.#adoptRow(table, row, this.#clock.next(0));
  }

  /** Puts held rows into tables that this database has only now. */
  #surfaceRows(names: readonly string[]): number {
    let count = 0;
    for (const name of names) {
      const found = this.#writer.all("SELECT key FROM patina_absent WHERE tbl = ?", name);
      for (const [key] of found) {
        const slot = this.#rows.find(name, key as Uint8Array);
        if (slot.table === undefined || slot.held === undefined || slot.hasBase) continue;
        this.#rows.write(slot, slot.held);
        if (!slot.isAbsent) count++;
      }
    }
    return count;
  }

  /** Shows held cells in columns that their tables have only now. */
  #surfaceCells(names: readonly string[]): number {
    let count = 0;
    for (const name of names) {
      const table = this.#tables.get(name);
      if (table === undefined || !this.#hasHeldCells(table)) continue;
      let after: number | bigint | Uint8Array | null = null;
      for (;;) {
        const page = table.scan(after, 1000);
        for (const { after: id, key: stored, clock, held } of page) {
          after = id;
          if (held === null) continue;
          const row = decodeHeldRow(clock, held, this.#ordinals);
          const keyBytes = stored === undefined ? (id as Uint8Array) : encodeKey(stored);
          if (row === undefined || keyBytes === undefined) continue;
          const shown = row.cells.filter(
            (cell) => cell.held && table.isShown(cell.column, cell.value as SqlValue),
          );
          if (shown.length === 0) continue;
          for (const cell of shown) cell.fresh = true;
          this.#rows.write(this.#rows.find(name, keyBytes), row);
          count++;
        }
        if (page.length < 1000) break;
      }
    }
    return count;
  }

  /** Whether something may be held for a column that the table has: else nobody need look for it. */
  #hasHeldCells(table: StoredTable): boolean {
    return this.#writer
      .all("SELECT col FROM patina_unshown WHERE tbl = ? AND cells > 0", table.name)
      .some(([column]) => table.valueIndex.has(String(column)));
  }

  /**
   * Counts rows and clocks that don't belong together. Clocks whose row is gone go too: they would be
   * taken for those of the row that gets its rowid next.
   */
  #check(): { readonly clocksWithoutRows: number; readonly rowsWithoutClocks: number } {
    let clocksWithoutRows = 0;
    let rowsWithoutClocks = 0;
    for (const table of this.#tables.values()) {
      const matched = table.countMatched();
      const clocks = table.countClocks();
      // A row that is to be taken in will get its clocks.
      if (!this.#adopting.has(table.name)) rowsWithoutClocks += table.countRows() - matched;
      clocksWithoutRows += clocks - matched;
      if (clocks !== matched) table.removeStrayClocks();
    }
    return { clocksWithoutRows, rowsWithoutClocks };
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

  #writeHlc(): void {
    const hlc = this.#clock.last;
    this.#writeState("hlc", hlcToBytes(hlc));
    this.#storedHlc = hlc;
  }

  #writeState(name: string, value: SqlValue): void {
    this.#putState.bind(1, name);
    this.#putState.bind(2, value);
    runOnce(this.#putState);
  }

  #end(): void {
    this.#isLocal = false;
    this.#journal.clear();
  }

  #rollback(): void {
    if (!this.#writer.autocommit) this.#writer.exec("ROLLBACK");
    this.#ordinals.forget();
    this.#rows.forget();
  }
}

/** The statements of a plan, and the clock tables. What is wrong with one of them; undefined: nothing. */
function runPlan(
  database: SqlDatabase,
  schema: PlannedSchema,
  plan: SchemaPlan & { readonly kind: "plan" },
): SchemaProblem | undefined {
  for (const statement of plan.statements) {
    const problem = problemOfStatement(database, statement);
    if (problem !== undefined) return problem;
  }
  for (const name of plan.adopted) {
    const columns = schema.tables.get(name)?.withoutRowid
      ? "(key BLOB PRIMARY KEY NOT NULL, clock BLOB NOT NULL, held BLOB) WITHOUT ROWID"
      : "(id INTEGER PRIMARY KEY, clock BLOB NOT NULL, held BLOB)";
    database.exec(`CREATE TABLE ${quoteName(clockTableName(name))} ${columns}`);
  }
  return undefined;
}

function refusedSchema(problems: readonly SchemaProblem[]): StoreOpened {
  return { kind: "refused", why: problems.map(problemToText).join("\n"), problems };
}

/** Runs a statement of the schema's plan; what SQLite has against it, undefined when nothing. */
function problemOfStatement(database: SqlDatabase, sql: string): SchemaProblem | undefined {
  try {
    database.exec(sql);
    return undefined;
  } catch (error) {
    const { code, message } = error as { readonly code?: unknown; readonly message: string };
    // SQLITE_ERROR and SQLITE_CONSTRAINT are about the statement, all others about the file.
    if (code !== 1 && code !== 19) throw error;
    return { file: "", line: 0, why: `${sql}: ${message}` };
  }
}

function runOnce(statement: SqlStatement): void {
  statement.step();
  statement.reset();
}

function placeBefore({ rowidBefore, key, keyBytes }: Touched): Place {
  return { rowid: rowidBefore, key, keyBytes };
}

/** A row of a merge or commit of this store, which knows where it stood before; undefined: nowhere. */
class PlacedRow implements MergedRow {
  readonly table: string;
  readonly key: Uint8Array;
  readonly id: RowId;
  readonly before: ClockState | undefined;
  readonly incoming: ClockState;
  readonly after: ClockState;
  readonly changed: boolean;
  readonly conflict: boolean;
  readonly #placeBefore: ScanPosition | undefined;

  constructor(row: MergedRow, placeBefore: ScanPosition | undefined) {
    this.table = row.table;
    this.key = row.key;
    this.id = row.id;
    this.before = row.before;
    this.incoming = row.incoming;
    this.after = row.after;
    this.changed = row.changed;
    this.conflict = row.conflict;
    this.#placeBefore = placeBefore;
  }

  static is(row: RowRef): row is PlacedRow {
    return #placeBefore in row;
  }

  get placeBefore(): ScanPosition | undefined {
    return this.#placeBefore;
  }
}

interface MergeGroup {
  readonly slot: Slot;
  row: HeldRow | undefined;
  changed: boolean;
  readonly position: ScanPosition | undefined;
}
