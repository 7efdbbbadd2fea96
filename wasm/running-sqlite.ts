/**
 * The loaded build as those see it who call into it: its exports, its heap, and the few helpers that
 * callbacks need. `module.ts` makes one.
 *
 * @module
 */

import type { Heap } from "./heap.ts";
import type { VfsExports, VfsGlue } from "./vfs/glue.ts";

/** Pointers, lengths and codes are i32; a 64-bit integer is a BigInt (but see {@link SqliteCalls}). */
export interface SqliteExports extends VfsExports {
  sqlite3_initialize(): number;
  sqlite3_libversion(): number;
  sqlite3_status(what: number, pCurrent: number, pHighest: number, reset: number): number;
  sqlite3_errstr(code: number): number;
  sqlite3_vfs_find(zName: number): number;

  sqlite3_exec(db: number, zSql: number, callback: number, data: number, pzError: number): number;
  sqlite3_open_v2(zPath: number, ppDb: number, flags: number, zVfs: number): number;
  sqlite3_close_v2(db: number): number;
  sqlite3_errcode(db: number): number;
  sqlite3_extended_errcode(db: number): number;
  sqlite3_errmsg(db: number): number;
  sqlite3_error_offset(db: number): number;
  sqlite3_changes(db: number): number;
  sqlite3_last_insert_rowid(db: number): bigint;
  sqlite3_get_autocommit(db: number): number;
  sqlite3_txn_state(db: number, zSchema: number): number;
  sqlite3_interrupt(db: number): void;
  sqlite3_limit(db: number, id: number, value: number): number;
  sqlite3__wasm_db_config_ip(db: number, option: number, on: number, result: number): number;

  sqlite3_progress_handler(db: number, everyOps: number, callback: number, data: number): void;
  sqlite3_set_authorizer(db: number, callback: number, data: number): number;
  sqlite3_preupdate_hook(db: number, callback: number, data: number): number;
  sqlite3_preupdate_old(db: number, column: number, ppValue: number): number;
  sqlite3_preupdate_new(db: number, column: number, ppValue: number): number;
  sqlite3_preupdate_count(db: number): number;
  sqlite3_commit_hook(db: number, callback: number, data: number): number;
  sqlite3_rollback_hook(db: number, callback: number, data: number): number;
  sqlite3_create_function_v2(
    db: number,
    zName: number,
    argc: number,
    flags: number,
    data: number,
    xFunc: number,
    xStep: number,
    xFinal: number,
    xDestroy: number,
  ): number;
  sqlite3_user_data(context: number): number;

  sqlite3_prepare_v3(
    db: number,
    zSql: number,
    bytes: number,
    flags: number,
    ppStatement: number,
    pzTail: number,
  ): number;
  sqlite3_step(statement: number): number;
  sqlite3_reset(statement: number): number;
  sqlite3_finalize(statement: number): number;
  sqlite3_clear_bindings(statement: number): number;
  sqlite3_stmt_readonly(statement: number): number;
  sqlite3_stmt_isexplain(statement: number): number;
  sqlite3_expanded_sql(statement: number): number;
  sqlite3_bind_parameter_count(statement: number): number;
  sqlite3_bind_parameter_name(statement: number, index1: number): number;
  sqlite3_bind_parameter_index(statement: number, zName: number): number;
  sqlite3_bind_null(statement: number, index1: number): number;
  sqlite3_bind_int(statement: number, index1: number, value: number): number;
  sqlite3_bind_int64(statement: number, index1: number, value: bigint): number;
  sqlite3_bind_double(statement: number, index1: number, value: number): number;
  sqlite3_bind_text(
    statement: number,
    index1: number,
    pointer: number,
    bytes: number,
    destructor: number,
  ): number;
  sqlite3_bind_blob(
    statement: number,
    index1: number,
    pointer: number,
    bytes: number,
    destructor: number,
  ): number;
  sqlite3_column_count(statement: number): number;
  sqlite3_column_name(statement: number, column: number): number;
  sqlite3_column_database_name(statement: number, column: number): number;
  sqlite3_column_table_name(statement: number, column: number): number;
  sqlite3_column_origin_name(statement: number, column: number): number;
  sqlite3_column_type(statement: number, column: number): number;
  sqlite3_column_int64(statement: number, column: number): bigint;
  sqlite3_column_double(statement: number, column: number): number;
  sqlite3_column_text(statement: number, column: number): number;
  sqlite3_column_blob(statement: number, column: number): number;
  sqlite3_column_bytes(statement: number, column: number): number;
  sqlite3_column_value(statement: number, column: number): number;

  sqlite3_value_type(value: number): number;
  sqlite3_value_int64(value: number): bigint;
  sqlite3_value_double(value: number): number;
  sqlite3_value_text(value: number): number;
  sqlite3_value_blob(value: number): number;
  sqlite3_value_bytes(value: number): number;
  sqlite3_result_null(context: number): void;
  sqlite3_result_int64(context: number, value: bigint): void;
  sqlite3_result_subtype(context: number, subtype: number): void;
  sqlite3_result_double(context: number, value: number): void;
  sqlite3_result_text(context: number, pointer: number, bytes: number, destructor: number): void;
  sqlite3_result_blob(context: number, pointer: number, bytes: number, destructor: number): void;
  sqlite3_result_error(context: number, pointer: number, bytes: number): void;

  __wasm_call_ctors(): void;
  readonly __indirect_function_table: WebAssembly.Table;
}

/** Exports that take an i64, taking a safe integer in its place: no BigInt is made. */
export interface SqliteCalls {
  sqlite3_bind_int64(statement: number, index1: number, value: number): number;
  sqlite3_result_int64(context: number, value: number): void;
}

/** What `SqliteModule` is to the parts that it is made of. */
export interface RunningSqlite {
  readonly heap: Heap;
  readonly exports: SqliteExports;
  readonly calls: SqliteCalls;
  readonly vfs: Pick<VfsGlue, "takeFailure">;
  /** See `SqliteModule.trap`. */
  readonly trap: Error | null;
  /** Heap memory, to be given back with `free`. Throws SQLITE_NOMEM when there is none. */
  allocate(bytes: number): number;
  /** A zero-terminated copy, to be given back with `free`. */
  allocateCString(text: string): number;
  free(pointer: number): void;
  /** Function pointer of one of our callbacks. */
  pointer(callback: string): number;
}
