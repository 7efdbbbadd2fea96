/**
 * One live query: its rows as last told, and what a commit makes of them.
 *
 * Rows are kept as the text that clients were sent. Where that is possible, the results of the rows that
 * changed are looked up (`look-up.ts`); otherwise the query is run again and compared. Results are the same when they
 * have the same *identity*: the keys of the rows that they come from; for other queries those columns
 * that are key columns of some table, or, without any, the whole row. A row whose identity stays and
 * whose text changes is an update and keeps its row id. Events folded up always equal the fresh result,
 * whichever identity was found.
 *
 * Finding out and taking in are two steps ({@link Subscription.find}, {@link Subscription.take}): in
 * between the transaction is committed, or isn't.
 *
 * @module
 */

import type { Statement } from "../../wasm/statement.ts";
import { ChangeHistory, type HistoryLimits } from "./change-history.ts";
import {
  asOneUpdate,
  type Change,
  changesOf,
  deleted,
  inserted,
  pairUp,
  renamesOf,
  updated,
} from "./changes.ts";
import type { GroupedPlan } from "./grouped-plan.ts";
import { areFew, type FreshResults, groupResults, KeyedLookUp } from "./look-up.ts";
import type { ConstantFilter } from "./plan/constant-filter.ts";
import type { Dependencies } from "./plan/dependencies.ts";
import type { KeyedGroup } from "./plan/keyed-group.ts";
import { bindValues, forEachRow, type RowShape, type WholeQuery } from "./read-row.ts";
import { PackedRows } from "./rows/packed-rows.ts";
import type { HeldRow, ReadRow } from "./rows/row.ts";
import { HashClaims, rowHash, rowHashSeed } from "./rows/row-hashes.ts";
import type { TableChanges } from "./table-changes.ts";

/** How the rows are found. */
export type Plan =
  | {
      readonly kind: "keyed";
      /** Its statements are shared: whoever uses one leaves it at rest. */
      readonly group: KeyedGroup<Subscription>;
      /** Of the group's parameters. */
      readonly values: readonly (string | number)[];
      /** Rows of some of its tables that it can't see, where SQLite has no index for its values. */
      readonly filters: readonly ConstantFilter[];
    }
  | {
      readonly kind: "rerun";
      /** The subscription's own. */
      readonly all: Statement;
      readonly dependencies: Dependencies;
      /** Columns of the result that make the identity; empty: all. */
      readonly identity: readonly number[];
      /** Its groups can be run one by one, and name its rows. */
      readonly grouped: GroupedPlan | undefined;
      /** Rows of some of its tables that it can't see. */
      readonly filters: readonly ConstantFilter[];
    };

/** It was given up: the result is longer than there is time for here. */
export class LongResultError extends Error {
  override readonly name: string = "LongResultError";
}

/** A result that is taken up again. */
export interface Restoring {
  /** For each row that there is now. */
  readonly row: (row: ReadRow) => void;
  /** After the last. */
  readonly end: () => readonly Change[];
}

export interface Before {
  readonly history: ChangeHistory;
  readonly lastRowId: number;
}

/** Of a keyed query, of each row for each of its tables: a holder (`key-holders.ts`). */
const holderBytes = 22;
/** A query without rows, measured: what is compiled (1.4 KB of SQLite's memory), maps, and journal. */
const queryBytes = 15_000;
/** Of its text, with what SQLite makes of it. */
const bytesPerChar = 8;

export class Subscription {
  readonly id: string;
  readonly hash: string;
  /** With all values in it; who asks for the same text shares this subscription. */
  readonly sql: string;
  readonly columnsJson: string;
  readonly history: ChangeHistory;
  #plan: Plan;
  #isSteep: boolean;
  readonly #columnCount: number;
  #shape: RowShape;
  /** Its rows have identities of a plan before this one, so they can't be looked up. */
  #areNamesOld = false;
  /** Its rows, for others to read. */
  readonly held: PackedRows;
  readonly #member: number;
  #lastRowId = 0;
  #isDisposed = false;

  constructor(options: {
    readonly id: string;
    readonly hash: string;
    readonly sql: string;
    readonly columns: readonly string[];
    readonly plan: Plan;
    readonly isSteep: boolean;
    readonly limits: HistoryLimits;
    /** What it goes on from, of one that was there before. */
    readonly before?: Before | undefined;
  }) {
    const { plan, before } = options;
    this.id = options.id;
    this.hash = options.hash;
    this.sql = options.sql;
    this.columnsJson = JSON.stringify(options.columns);
    this.#plan = plan;
    this.#isSteep = options.isSteep;
    this.history = before?.history ?? new ChangeHistory(options.limits);
    this.#columnCount = options.columns.length;
    this.#shape = shapeOf(plan, this.#columnCount);
    this.#lastRowId = before?.lastRowId ?? 0;
    this.#member = plan.kind === "keyed" ? plan.group.join(this, plan.values) : 0;
    this.held = new PackedRows(
      plan.kind === "keyed" ? { holders: plan.group.holders, member: this.#member } : undefined,
    );
  }

  get plan(): Plan {
    return this.#plan;
  }

  /** It calls a function whose time is the product of two values' sizes. */
  get isSteep(): boolean {
    return this.#isSteep;
  }

  get rowCount(): number {
    return this.held.count;
  }

  /** What it and its rows take in memory, about. */
  get heldBytes(): number {
    const textBytes = this.sql.length * bytesPerChar;
    const holders = this.held.count * this.#shape.keys.length;
    return queryBytes + textBytes + this.held.bytes + holders * holderBytes;
  }

  get lastRowId(): number {
    return this.#lastRowId;
  }

  get dependencies(): Dependencies {
    return this.plan.kind === "keyed" ? this.plan.group.dependencies : this.plan.dependencies;
  }

  /**
   * It is run like that from now on, and what it ran before is given back. Its rows stay; where the plan gives them
   * other identities, they get these when all of them have been found by it: {@link named}.
   *
   * @returns false where one of both plans finds rows by their keys: then nothing has happened
   */
  takePlan(plan: Plan, isSteep: boolean): boolean {
    const before = this.#plan;
    if (before.kind !== "rerun" || plan.kind !== "rerun") return false;
    const isSame =
      plan.identity.join() === before.identity.join() &&
      plan.grouped?.columns.join() === before.grouped?.columns.join();
    if (!isSame) this.#areNamesOld = true;
    before.all.finalize();
    before.grouped?.dispose();
    this.#plan = plan;
    this.#isSteep = isSteep;
    this.#shape = shapeOf(plan, this.#columnCount);
    return true;
  }

  /** Of a keyed one, under another schema. */
  takeFilters(filters: readonly ConstantFilter[]): void {
    if (this.#plan.kind === "keyed") this.#plan = { ...this.#plan, filters };
  }

  /** All that a whole run of its plan has found is taken in. */
  named(): void {
    this.#areNamesOld = false;
  }

  /** Runs it for the first time. @throws SqliteError, NotUtf8Error */
  start(): void {
    this.readAll((row) => this.addInitial(row));
  }

  /** What {@link start} runs, for somebody else, who hands its rows to {@link addInitial}. */
  get wholeQuery(): WholeQuery {
    const { plan, sql } = this;
    return plan.kind === "keyed"
      ? { sql: plan.group.text, values: plan.values, shape: this.#shape }
      : { sql: plan.grouped?.text ?? sql, values: [], shape: this.#shape };
  }

  /** @returns its row id */
  addInitial({ identity, cells }: ReadRow): number {
    const rowId = ++this.#lastRowId;
    this.held.add({ identity, row: { rowId, cells } });
    return rowId;
  }

  /** Runs it, and takes nothing in. @throws SqliteError, NotUtf8Error */
  readAll(use: (row: ReadRow) => void): void {
    forEachRow(this.#all(), this.#shape, use);
  }

  /**
   * Takes up the rows that {@link readAll} reads after a restart. Those that are as readers have them get the ids that
   * readers know them by; what became of the others is returned, as of {@link find}.
   *
   * @param claim the id of a row that readers have exactly so, once
   * @param unclaimed asked after the last row: what readers have and nobody claimed
   */
  restoring(
    claim: (row: ReadRow) => number | undefined,
    unclaimed: () => Iterable<HeldRow>,
  ): Restoring {
    const come: ReadRow[] = [];
    return {
      row: (row) => {
        const { identity, cells } = row;
        const rowId = claim(row);
        if (rowId === undefined) come.push(row);
        else this.held.add({ identity, row: { rowId, cells } });
      },
      end: () => {
        const gone = [...unclaimed()];
        for (const held of gone) this.held.add(held);
        return this.#told(gone, come);
      },
    };
  }

  /** Whether {@link find} can look up what these changes concern, in place of running it again. */
  canLookUp(changes: TableChanges): boolean {
    const { plan } = this;
    if (plan.kind === "rerun" && (plan.grouped === undefined || this.#areNamesOld)) return false;
    let lookups = 0;
    for (const [table, rows] of changes) {
      if (rows === "unknown") return false;
      if (plan.kind === "keyed") {
        const source = plan.group.sources.find((one) => one.table === table);
        if ((source?.one ?? source?.left) === undefined) return false;
      }
      lookups += rows.length;
    }
    return areFew(lookups, this.rowCount);
  }

  /**
   * What changes of its tables made of its rows. Nothing here becomes another.
   *
   * @param changes of its tables alone; undefined finds out by itself
   * @param charsMax of all rows, where it is run again
   * @throws SqliteError, NotUtf8Error, LongResultError
   */
  find(changes: TableChanges | undefined, charsMax?: number): readonly Change[] {
    const canLookUp = changes !== undefined && this.canLookUp(changes);
    const fresh = canLookUp ? this.#lookUp(changes) : undefined;
    return fresh === undefined ? this.#runAgain(charsMax) : this.#compare(fresh);
  }

  /** Makes it so. @param changes the last that {@link find} or {@link restoring} returned */
  take(changes: readonly Change[]): void {
    for (const { type, rowId, cells, identity, oldIdentity, place: before, line } of changes) {
      const isHeld = type !== "insert";
      const place = isHeld ? this.held.find(oldIdentity, rowId, before) : undefined;
      if (place !== undefined && type === "update" && identity === oldIdentity) {
        this.held.update(place, identity, cells);
      } else {
        if (place !== undefined) this.held.remove(place);
        if (type !== "delete") this.held.add({ identity, row: { rowId, cells } });
      }
      if (rowId > this.#lastRowId) this.#lastRowId = rowId;
      if (type !== "rename") this.history.add(line);
    }
    this.held.trim();
  }

  /** Once more does nothing. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    const { plan } = this;
    if (plan.kind === "rerun") {
      plan.all.finalize();
      plan.grouped?.dispose();
      return;
    }
    this.held.release();
    plan.group.leave(this.#member);
  }

  #all(): Statement {
    const { plan } = this;
    if (plan.kind === "rerun") return plan.all;
    bindValues(plan.group.all, plan.values);
    return plan.group.all;
  }

  #lookUp(changes: TableChanges): FreshResults | undefined {
    const { plan, held } = this;
    if (plan.kind === "rerun")
      return groupResults(plan.grouped as GroupedPlan, this.#shape, changes);
    const { group, values } = plan;
    return new KeyedLookUp(group.sources, values, this.#shape, held).resultsOf(changes);
  }

  #runAgain(charsMax = Number.POSITIVE_INFINITY): readonly Change[] {
    const { held } = this;
    const places = [...held.places()];
    const hashes = new BigUint64Array(places.length);
    for (const [i, place] of places.entries()) {
      const { identity, row } = held.rowAt(place);
      hashes[i] = rowHash({ identity, cells: row.cells }, rowHashSeed);
    }
    // By hashes, as another thread does it: equal rows are counted rather than gone through.
    const claims = new HashClaims({ hashes, seed: rowHashSeed });
    const come: ReadRow[] = [];
    let chars = 0;
    this.readAll((row) => {
      chars += row.cells.length;
      if (chars > charsMax) throw new LongResultError();
      if (!claims.claim(row)) come.push(row);
    });
    const gone = Array.from(claims.unclaimed(), (number): HeldRow => {
      const place = places[number] as number;
      return { ...held.rowAt(place), place };
    });
    return this.#told(gone, come);
  }

  #compare(fresh: FreshResults): readonly Change[] {
    const gone: HeldRow[] = [];
    const come: ReadRow[] = [];
    for (const [identity, cells] of fresh) {
      const rows: HeldRow[] = [];
      for (const place of this.held.of(identity)) rows.push(this.held.rowAt(place));
      for (const text of cells) {
        const at = rows.findIndex(({ row }) => row.cells === text);
        if (at >= 0) rows.splice(at, 1);
        else come.push({ identity, cells: text });
      }
      gone.push(...rows);
    }
    return this.#told(gone, come);
  }

  /** What it comes to that some of its rows are gone and others there. */
  #told(gone: readonly HeldRow[], come: readonly ReadRow[]): readonly Change[] {
    if (this.#areNamesOld) return this.#allChanges(gone, come);
    // What most commits come to: thousands may have one change each to tell.
    const [[held], [now]] = [gone, come];
    const changeId = this.history.lastId + 1;
    if (gone.length === 1 && come.length === 1 && held?.identity === now?.identity) {
      return [updated(held as HeldRow, now as ReadRow, changeId)];
    }
    if (gone.length === 1 && come.length === 0) return [deleted(held as HeldRow, changeId)];
    if (gone.length === 0 && come.length === 1) {
      return [inserted(now as ReadRow, this.#lastRowId + 1, changeId)];
    }
    return this.#allChanges(gone, come);
  }

  #allChanges(gone: readonly HeldRow[], come: readonly ReadRow[]): readonly Change[] {
    const changes: Change[] = [];
    for (const change of this.changes(gone, come)) if (change !== undefined) changes.push(change);
    return changes;
  }

  /**
   * What it comes to that some rows are gone and others there. Nothing here becomes another; it may rest after
   * each change, or undefined, for as long as nothing else does.
   *
   * @param gone of its rows
   */
  *changes(
    gone: readonly HeldRow[],
    come: readonly ReadRow[],
  ): Generator<Change | undefined, void, void> {
    if (this.#areNamesOld) {
      const { renames, ...left } = yield* renamesOf(gone, come);
      yield* renames;
      yield* this.#difference(left.gone, left.come);
    } else yield* this.#difference(gone, come);
  }

  *#difference(
    gone: readonly HeldRow[],
    come: readonly ReadRow[],
  ): Generator<Change | undefined, void, void> {
    const difference = yield* pairUp(gone, come);
    const isOne = this.plan.kind === "rerun" && this.rowCount === 1;
    const told = isOne ? asOneUpdate(difference) : difference;
    yield* changesOf(told, this.#lastRowId, this.history.lastId);
  }
}

function shapeOf(plan: Plan, columnCount: number): RowShape {
  if (plan.kind === "keyed") {
    const keys = plan.group.sources.map(({ keyColumns }) => keyColumns);
    return { columnCount, keys, identity: [] };
  }
  const keys = plan.grouped === undefined ? [] : [plan.grouped.columns.length];
  return { columnCount, keys, identity: plan.identity };
}
