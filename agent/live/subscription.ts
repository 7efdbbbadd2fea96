/**
 * One live query: its rows as last told, and what a commit makes of them.
 *
 * Rows are kept as the text that clients were sent. A *keyed* query (`keyed-query.ts`) looks up the
 * results of the rows that changed; any other is run again and compared. Results are the same when they
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

import { decodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { Statement } from "../../wasm/statement.ts";
import { cellsJson } from "../sql/query-runner.ts";
import { ChangeHistory, type HistoryLimits } from "./change-history.ts";
import {
  asOneUpdate,
  type Change,
  changesOf,
  deleted,
  inserted,
  pairUp,
  updated,
} from "./changes.ts";
import type { GroupedPlan } from "./grouped-plan.ts";
import { stepUnclocked } from "./plan/changing-functions.ts";
import type { ConstantFilter } from "./plan/constant-filter.ts";
import type { Dependencies } from "./plan/dependencies.ts";
import type { KeyedGroup, KeyedSource } from "./plan/keyed-group.ts";
import { keySeparator, keyText, parseKeyText } from "./rows/key-text.ts";
import { PackedRows } from "./rows/packed-rows.ts";
import type { HeldRow, ReadRow } from "./rows/row.ts";
import { HashClaims, rowHash, rowHashSeed } from "./rows/row-hashes.ts";
import type { ChangedRow, TableChanges } from "./table-changes.ts";

/** How the rows are found. */
export type Plan =
  | {
      readonly kind: "keyed";
      /** Its statements are shared: whoever uses one leaves it at rest. */
      readonly group: KeyedGroup<Subscription>;
      /** Of the group's parameters. */
      readonly values: readonly (string | number)[];
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

/** What is run to get the rows: plain data, for another connection to the same database. */
export interface InitialQuery {
  readonly sql: string;
  readonly values: readonly (string | number)[];
  readonly shape: RowShape;
}

/** How a row's identity and cells stand in what a statement returns. */
export interface RowShape {
  /** The client's own, the first ones. */
  readonly columnCount: number;
  /** How many columns each table's key has; they follow, table by table. Empty: not keyed. */
  readonly keys: readonly number[];
  /** Of one that isn't keyed: the columns that make the identity; empty: all. */
  readonly identity: readonly number[];
}

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

/** Above this many changed rows, or a quarter of those held, running again is cheaper. */
const lookupsMax = 1000;
/** Of a keyed query, of each row for each of its tables: a holder (`key-holders.ts`). */
const holderBytes = 22;
/** A query without rows, measured: what is compiled (1.4 KB of SQLite's memory), maps, and journal. */
const queryBytes = 15_000;
/** Of its text, with what SQLite makes of it. */
const bytesPerChar = 8;
const lookupsAlways = 8;

/** Cells of the results that there are now, by identity. Empty: none any more. */
type Fresh = Map<string, string[]>;

export class Subscription {
  readonly id: string;
  readonly hash: string;
  /** With all values in it; who asks for the same text shares this subscription. */
  readonly sql: string;
  readonly columnsJson: string;
  readonly history: ChangeHistory;
  #plan: Plan;
  /** It calls a function whose time is the product of two values' sizes. */
  readonly isSteep: boolean;
  readonly #shape: RowShape;
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
    this.isSteep = options.isSteep;
    this.history = before?.history ?? new ChangeHistory(options.limits);
    const columnCount = options.columns.length;
    this.#shape =
      plan.kind === "keyed"
        ? {
            columnCount,
            keys: plan.group.sources.map(({ keyColumns }) => keyColumns),
            identity: [],
          }
        : {
            columnCount,
            keys: plan.grouped === undefined ? [] : [plan.grouped.columns.length],
            identity: plan.identity,
          };
    this.#lastRowId = before?.lastRowId ?? 0;
    this.#member = plan.kind === "keyed" ? plan.group.join(this, plan.values) : 0;
    this.held = new PackedRows(
      plan.kind === "keyed" ? { holders: plan.group.holders, member: this.#member } : undefined,
    );
  }

  get plan(): Plan {
    return this.#plan;
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
   * It is run like that from now on, and what it ran before is given back. Its rows stay.
   *
   * @returns false when these would have other identities: then nothing has happened
   */
  takePlan(plan: Plan): boolean {
    const before = this.#plan;
    if (before.kind !== "rerun" || plan.kind !== "rerun") return false;
    const isSame =
      plan.identity.join() === before.identity.join() &&
      plan.grouped?.columns.join() === before.grouped?.columns.join();
    if (!isSame) return false;
    before.all.finalize();
    before.grouped?.dispose();
    this.#plan = plan;
    return true;
  }

  /** Runs it for the first time. @throws SqliteError, NotUtf8Error */
  start(): void {
    this.#forEachRow(this.#all(), (identity, cells) => this.addInitial({ identity, cells }));
  }

  /** What {@link start} runs, for somebody else, who hands its rows to {@link addInitial}. */
  get initialQuery(): InitialQuery {
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
    this.#forEachRow(this.#all(), (identity, cells) => use({ identity, cells }));
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
    if (plan.kind === "rerun" && plan.grouped === undefined) return false;
    let lookups = 0;
    for (const [table, rows] of changes) {
      if (rows === "unknown") return false;
      if (plan.kind === "keyed") {
        const source = plan.group.sources.find((one) => one.table === table);
        if ((source?.one ?? source?.left) === undefined) return false;
      }
      lookups += rows.length;
    }
    return lookups <= lookupsAlways || (lookups <= lookupsMax && lookups * 4 < this.rowCount);
  }

  /**
   * What changes of its tables made of its rows. Nothing here becomes another.
   *
   * @param changes of its tables alone; undefined finds out by itself
   * @param charsMax of all rows, where it is run again
   * @throws SqliteError, NotUtf8Error, LongResultError
   */
  find(changes: TableChanges | undefined, charsMax?: number): readonly Change[] {
    const { plan } = this;
    if (changes === undefined || !this.canLookUp(changes)) return this.#runAgain(charsMax);
    if (plan.kind === "keyed") return this.#lookUp(changes, plan, charsMax);
    return this.#lookUpGroups(changes, plan.grouped as GroupedPlan, charsMax);
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
      this.history.add(line);
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

  #lookUpGroups(
    changes: TableChanges,
    grouped: GroupedPlan,
    charsMax: number | undefined,
  ): readonly Change[] {
    const fresh: Fresh = new Map();
    for (const row of (changes.get(grouped.table) ?? []) as readonly ChangedRow[]) {
      const groups = grouped.groupsOf(row);
      if (groups === undefined) return this.#runAgain(charsMax);
      for (const values of groups) {
        const group = keyText(values);
        if (fresh.has(group)) continue;
        fresh.set(group, []);
        for (const [i, value] of values.entries()) grouped.one.bind(i + 1, value);
        this.#forEachRow(grouped.one, (identity, cells) => fresh.set(identity, [cells]));
      }
    }
    return this.#compare(fresh);
  }

  #lookUp(
    changes: TableChanges,
    { group }: Plan & { kind: "keyed" },
    charsMax: number | undefined,
  ): readonly Change[] {
    const fresh: Fresh = new Map();
    /** Of the first table, by their text. */
    const leftKeys = new Map<string, readonly SqlValue[]>();
    for (const [i, source] of group.sources.entries()) {
      for (const { key } of (changes.get(source.table) ?? []) as readonly ChangedRow[]) {
        const parts = decodeKey(key);
        if (parts === undefined || parts.length !== source.keyColumns) continue;
        if (source.one !== undefined) this.#lookUpKey(i, parts, fresh);
        else if (!this.#findLeftKeys(i, parts, leftKeys)) return this.#runAgain(charsMax);
      }
    }
    const { size } = leftKeys;
    if (size > lookupsMax || (size > lookupsAlways && size * 4 > this.rowCount)) {
      return this.#runAgain(charsMax);
    }
    for (const parts of leftKeys.values()) this.#lookUpKey(0, parts, fresh);
    return this.#compare(fresh);
  }

  /** All results of one row. */
  #lookUpKey(place: number, parts: readonly SqlValue[], fresh: Fresh): void {
    const { group, values } = this.plan as Plan & { kind: "keyed" };
    const { one } = group.sources[place] as KeyedSource;
    if (one === undefined) return;
    for (const identity of this.held.identitiesOf(place, keyText(parts))) {
      if (!fresh.has(identity)) fresh.set(identity, []);
    }
    bindValues(one, values);
    for (const [n, part] of parts.entries()) one.bind(values.length + n + 1, part);
    // A key that its column's affinity would change finds another row, which is what it is.
    this.#forEachRow(one, (identity, cells) => fresh.set(identity, [cells]));
  }

  /**
   * Keys of the first table in whose results a row on the right of a LEFT JOIN stands, or stood.
   *
   * @returns false when they can't be named
   */
  #findLeftKeys(
    place: number,
    parts: readonly SqlValue[],
    keys: Map<string, readonly SqlValue[]>,
  ): boolean {
    const { group, values } = this.plan as Plan & { kind: "keyed" };
    const { left } = group.sources[place] as KeyedSource;
    if (left === undefined) return false;
    for (const identity of this.held.identitiesOf(place, keyText(parts))) {
      const [text] = identity.split(keySeparator) as [string];
      if (keys.has(text)) continue;
      const key = parseKeyText(text);
      if (key === undefined) return false;
      keys.set(text, key);
    }
    bindValues(left, values);
    for (const [n, part] of parts.entries()) left.bind(values.length + n + 1, part);
    try {
      while (stepUnclocked(left)) {
        const key = Array.from({ length: left.columnCount }, (_, n) => left.column(n));
        keys.set(keyText(key), key);
      }
    } finally {
      left.reset();
    }
    return true;
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
    this.#forEachRow(this.#all(), (identity, cells) => {
      chars += cells.length;
      if (chars > charsMax) throw new LongResultError();
      const row = { identity, cells };
      if (!claims.claim(row)) come.push(row);
    });
    const gone = Array.from(claims.unclaimed(), (number): HeldRow => {
      const place = places[number] as number;
      return { ...held.rowAt(place), place };
    });
    return this.#told(gone, come);
  }

  #compare(fresh: Fresh): readonly Change[] {
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
    const difference = yield* pairUp(gone, come);
    const isOne = this.plan.kind === "rerun" && this.rowCount === 1;
    const told = isOne ? asOneUpdate(difference) : difference;
    yield* changesOf(told, this.#lastRowId, this.history.lastId);
  }

  #forEachRow(statement: Statement, use: (identity: string, cells: string) => void): void {
    try {
      while (stepUnclocked(statement)) {
        const { identity, cells } = readRow(statement, this.#shape);
        use(identity, cells);
      }
    } finally {
      statement.reset();
    }
  }
}

/** The row at hand. @throws NotUtf8Error */
export function readRow(statement: Statement, shape: RowShape): ReadRow {
  const { columnCount, keys, identity } = shape;
  const cells = cellsJson(statement, columnCount);
  if (keys.length === 0) {
    if (identity.length === 0) return { identity: cells, cells };
    return { identity: keyText(identity.map((column) => statement.column(column))), cells };
  }
  let column = columnCount;
  let text = "";
  for (const [i, keyColumns] of keys.entries()) {
    const values: SqlValue[] = [];
    for (let n = 0; n < keyColumns; n++) values.push(statement.column(column++));
    text += i === 0 ? keyText(values) : keySeparator + keyText(values);
  }
  return { identity: text, cells };
}

function bindValues(statement: Statement, values: readonly (string | number)[]): void {
  for (let i = 0; i < values.length; i++) statement.bind(i + 1, values[i] as string | number);
}
