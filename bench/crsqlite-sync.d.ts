/**
 * What is used of cr-sqlite's WASM build: the raw exports, which Emscripten puts on the module.
 */
declare module "@vlcn.io/wa-sqlite/dist/crsqlite-sync.mjs" {
  export interface CrsqliteModule {
    /** Anew after the memory has grown: read it when it is used. */
    readonly HEAPU8: Uint8Array<ArrayBuffer>;
    readonly HEAP32: Int32Array<ArrayBuffer>;
    _malloc(bytes: number): number;
    _free(pointer: number): void;
    _sqlite3_open_v2(zName: number, out: number, flags: number, zVfs: number): number;
    _sqlite3_close(db: number): number;
    _sqlite3_errmsg(db: number): number;
    _sqlite3_libversion(): number;
    _sqlite3_exec(db: number, zSql: number, callback: number, data: number, out: number): number;
    _sqlite3_prepare_v2(db: number, zSql: number, bytes: number, out: number, tail: number): number;
    _sqlite3_finalize(statement: number): number;
    _sqlite3_step(statement: number): number;
    _sqlite3_reset(statement: number): number;
    _sqlite3_bind_null(statement: number, index: number): number;
    _sqlite3_bind_int(statement: number, index: number, value: number): number;
    _sqlite3_bind_int64(statement: number, index: number, low: number, high: number): number;
    _sqlite3_bind_double(statement: number, index: number, value: number): number;
    _sqlite3_bind_text(
      statement: number,
      index: number,
      pointer: number,
      bytes: number,
      destructor: number,
    ): number;
    _sqlite3_bind_blob(
      statement: number,
      index: number,
      pointer: number,
      bytes: number,
      destructor: number,
    ): number;
    _sqlite3_column_count(statement: number): number;
    _sqlite3_column_text(statement: number, column: number): number;
    _sqlite3_column_bytes(statement: number, column: number): number;
  }
  // biome-ignore lint/style/noDefaultExport: that is how the package exports it
  export default function create(options: { wasmBinary: Uint8Array }): Promise<CrsqliteModule>;
}
