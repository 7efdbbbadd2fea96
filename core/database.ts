/**
 * What the store needs of SQLite. `wasm/` implements it; `core` never sees the module itself.
 *
 * Calls are synchronous and throw whatever the implementation throws for SQLite errors (an `Error` with
 * a numeric `code`): inside the store such an error is the outside world's, caught once by its caller.
 *
 * @module
 */

import type { ByteWriter } from "./bytes/writer.ts";
import type { SqlValue } from "./row/value.ts";

/** Exact: a bigint where a number wouldn't be. */
export type Rowid = number | bigint;

/** Columns that are read at once at most. */
export const readColumnsMax = 128;

export interface SqlStatement extends Disposable {
  /** Binds parameter `index`, from 1. */
  bind(index: number, value: SqlValue): void;
  /** Binds the TEXT of `bytes[from..]` to parameter `index`, from 1, whether it is UTF-8 or not. */
  bindTextFrom(index: number, bytes: Uint8Array, from: number): void;
  /** Runs to the next row; false when done: it is at rest then, as after {@link reset}. */
  step(): boolean;
  /** Column `index` of the current row, from 0. BLOBs are copies. */
  column(index: number): SqlValue;
  /** Appends column `index` to `writer` as `writeValue` of `row/value.ts` would, with no value in between. */
  writeColumn(index: number, writer: ByteWriter): void;
  /**
   * Writes columns `from` to `from + count` of the current row to {@link memory}, one behind the other, each as
   * {@link writeColumn} would. They stand there until columns are written so again, or a hook reads a row's.
   *
   * @param count At most {@link readColumnsMax}.
   * @returns false: they are too long for it, 64 KB together.
   */
  encodeColumns(from: number, count: number): boolean;
  /** Where of what was written last the one at `index` begins: 0 is the first. */
  encodedStart(index: number): number;
  /** And where it ends. */
  encodedEnd(index: number): number;
  /** What {@link bytesStart} and {@link encodeColumns} are in: never to be written, nor kept over a call. */
  readonly memory: Uint8Array;
  /** Where the bytes of a BLOB or TEXT begin, without a copy: good until the next step. */
  bytesStart(index: number): number;
  bytesLength(index: number): number;
  isText(index: number): boolean;
  readonly columnCount: number;
  /** Back to the start; bindings stay. */
  reset(): void;
}

/** One row change, before it happens, as SQLite's preupdate hook tells it. Valid only inside the call. */
export interface Preupdate {
  readonly operation: "insert" | "update" | "delete";
  readonly table: string;
  /** Rowid before (update, delete) and after (insert, update); meaningless for WITHOUT ROWID. */
  readonly oldRowid: Rowid;
  readonly newRowid: Rowid;
  /** Rows that came since the last call without one of their own: see {@link PreupdateListener}. */
  readonly followers: number;
  readonly columnCount: number;
  /** Column `index` before the change; only for update and delete. */
  old(index: number): SqlValue;
  /** Appends columns before the change to `writer` as `writeValue` of `row/value.ts` would, with no value in between. */
  writeOld(columns: readonly number[], writer: ByteWriter): void;
  /** Column `index` after the change; only for insert and update. */
  readonly new: (index: number) => SqlValue;
}

/**
 * Where it returns true for an insert, it isn't called for those that come right after into the same table, each at the rowid after
 * the one before: the next call says how many came, or {@link SqlDatabase.takeFollowers}. No table may be dropped meanwhile, whose
 * place another could take.
 */
export type PreupdateListener = (change: Preupdate) => unknown;

export interface SqlDatabase {
  /** Compiles one statement, meant to be kept. */
  prepare(sql: string): SqlStatement;
  /** Runs statements without results. */
  exec(sql: string): void;
  /** Runs one statement to its end. */
  run(sql: string, ...values: SqlValue[]): void;
  /** All rows of one statement. */
  all(sql: string, ...values: SqlValue[]): SqlValue[][];
  /** What one statement reads, as SQLite spells it; "" for a table of which it reads no column. It isn't run. */
  columnsRead(sql: string): { readonly table: string; readonly column: string }[];
  /** Bytes that a value, a row or an entry of an index may have. */
  readonly lengthMax: number;
  /** True outside of any transaction. */
  readonly autocommit: boolean;
  /** Rows changed by the last INSERT, UPDATE or DELETE. */
  readonly changes: number;
  readonly lastInsertRowid: Rowid;
  /** Installs the preupdate hook, before the statements that it is to see are prepared; null removes it. */
  onPreupdate(listener: PreupdateListener | null): void;
  /** Rows that came since the last call of the preupdate hook without one of their own. The next one has a call. */
  takeFollowers(): number;
  /** Whether the preupdate hook is told nothing for now. Nothing may be prepared meanwhile that it is to see. */
  mutePreupdate(isMuted: boolean): void;
}

/** Whether SQLite refused a value, a row or an entry of an index for its size (SQLITE_TOOBIG). */
export function isTooBig(error: unknown): boolean {
  return (error as { readonly code?: unknown } | undefined)?.code === 18;
}

/** Runs `work`, of whose writes the preupdate hook is told nothing: they are the store's own, and SQLite is faster then. */
export function uncaptured<T>(database: SqlDatabase, work: () => T): T {
  database.mutePreupdate(true);
  try {
    return work();
  } finally {
    database.mutePreupdate(false);
  }
}
