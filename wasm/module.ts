/**
 * SQLite's WebAssembly build, loaded from inside the executable: once a thread, synchronously.
 *
 * The `.wasm` is embedded by the import below, which gives a path that works the same under
 * `bun run`, `bun test`, in Workers and in a compiled binary. None of the package's JavaScript is
 * loaded: imports.ts gives the build what it imports, trampoline.ts makes its function pointers,
 * and statements call the raw exports.
 *
 * Order matters and is all here: heap, imports, instance, trampolines into the function table,
 * `sqlite3_initialize`, then the removal of the VFSs that the build brings along.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import wasmPath from "@sqlite.org/sqlite-wasm/sqlite3.wasm" with { type: "file" };
import { SQLITE_INTERNAL, SQLITE_NOMEM, SQLITE_OK } from "./constants.ts";
import { SqliteError } from "./error.ts";
import { Heap } from "./heap.ts";
import { HookGlue } from "./hooks.ts";
import { createImports } from "./imports.ts";
import { createInsertGate } from "./insert-runs.ts";
import {
  createRowReads,
  placesAt,
  type RowReads,
  type RowReadsPlaces,
  rowReadsBytes,
} from "./row-reads.ts";
import type { RunningSqlite, SqliteCalls, SqliteExports } from "./running-sqlite.ts";
import { createTrampolines } from "./trampoline.ts";
import { VfsGlue } from "./vfs/glue.ts";
import { VirtualTableGlue } from "./virtual-table.ts";

const wrappedCalls = [
  ["sqlite3_bind_int64", "iij", "i"],
  ["sqlite3_result_int64", "ij", "v"],
] as const;

/** What the build declares as its least. It grows by itself. */
const heapInitialBytes = 8 * 1024 * 1024;
const scratchBytes = 1024;

export class SqliteModule implements RunningSqlite {
  readonly heap: Heap;
  readonly exports: SqliteExports;
  readonly calls: SqliteCalls;
  readonly rowReads: RowReads;
  readonly hooks: HookGlue;
  readonly vfs: VfsGlue;
  readonly tables: VirtualTableGlue;
  /** For results that SQLite writes through a pointer, and for short strings during one call. */
  readonly scratch: number;
  /** For what {@link rowReads} writes, until the next reading of it. */
  readonly read: RowReadsPlaces;
  readonly #pointers: ReadonlyMap<string, number>;
  /** Told once, when {@link trap} is set: only a new process has a sound heap again. */
  onTrap: ((trap: SqliteError) => void) | undefined;
  #trap: SqliteError | null = null;

  constructor(module: WebAssembly.Module) {
    this.heap = new Heap(heapInitialBytes);
    this.hooks = new HookGlue();
    this.vfs = new VfsGlue(this.heap);
    this.tables = new VirtualTableGlue();
    const instance = new WebAssembly.Instance(module, createImports(this.heap.memory, this.heap));
    this.exports = instance.exports as unknown as SqliteExports;
    this.exports.__wasm_call_ctors();

    this.rowReads = createRowReads(this.heap.memory, this.exports);

    const trampolines = createTrampolines(
      new Map([...this.hooks.callbacks(), ...this.vfs.callbacks(), ...this.tables.callbacks()]),
      new Map(
        wrappedCalls.map(([name, params, result]) => [
          name,
          { params, result, target: this.exports[name] },
        ]),
      ),
    );
    this.calls = Object.fromEntries(trampolines.calls) as unknown as SqliteCalls;
    const table = this.exports.__indirect_function_table;
    const pointers = new Map<string, number>();
    let next = table.grow(trampolines.callbacks.size);
    for (const [name, callable] of trampolines.callbacks) {
      const isCounted = name === "preupdate";
      table.set(next, isCounted ? createInsertGate(this.heap.memory, callable) : callable);
      pointers.set(name, next);
      next += 1;
    }
    this.#pointers = pointers;

    this.hooks.start(this.exports.sqlite3_user_data);
    this.tables.start(this);
    const code = this.exports.sqlite3_initialize();
    if (code !== SQLITE_OK) throw new SqliteError(code, "SQLite doesn't start");
    this.vfs.start(this.exports, pointers);
    // The build's own "unix" VFS leads to Emscripten's file system, which isn't there.
    for (let own = this.exports.sqlite3_vfs_find(0); own !== 0; ) {
      this.exports.sqlite3_vfs_unregister(own);
      own = this.exports.sqlite3_vfs_find(0);
    }
    this.scratch = this.allocate(scratchBytes);
    this.read = placesAt(this.allocate(rowReadsBytes));
  }

  /** Version of the library, such as "3.54.1". */
  get version(): string {
    return this.heap.cString(this.exports.sqlite3_libversion());
  }

  /** Function pointer of one of our callbacks. */
  pointer(callback: string): number {
    return this.#pointers.get(callback) as number;
  }

  /**
   * Set once a call was left by an exception of the engine: a WebAssembly trap, or no stack left.
   * Frames of C were skipped, so nothing in this heap can be relied on; every call throws it.
   */
  get trap(): SqliteError | null {
    return this.#trap;
  }

  /** Notes that a call into SQLite was left by `thrown`, and returns what to throw in its place. */
  trapped(thrown: unknown): SqliteError {
    if (this.#trap !== null) return this.#trap;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    this.#trap = new SqliteError(
      SQLITE_INTERNAL,
      `SQLite broke off and can't be used any more in this process: ${message}`,
      { cause: thrown },
    );
    this.onTrap?.(this.#trap);
    return this.#trap;
  }

  /** Heap memory, to be given back with {@link free}. Throws SQLITE_NOMEM when there is none. */
  allocate(bytes: number): number {
    const pointer = this.exports.sqlite3_malloc(bytes);
    if (pointer === 0)
      throw new SqliteError(SQLITE_NOMEM, `out of memory: ${bytes} bytes of wasm heap`);
    return pointer;
  }

  free(pointer: number): void {
    this.exports.sqlite3_free(pointer);
  }

  /** A zero-terminated copy, to be given back with {@link free}. */
  allocateCString(text: string): number {
    const bytesMax = text.length * 3 + 1;
    const pointer = this.allocate(bytesMax);
    const bytes = this.heap.writeText(text, pointer, bytesMax - 1);
    this.heap.u8[pointer + bytes] = 0;
    return pointer;
  }
}

let compiled: WebAssembly.Module | null = null;
let loaded: SqliteModule | null = null;

/** Compiles the build (17 ms). A Worker may be sent the result, which spares it the work. */
export function compileSqlite(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(readFileSync(wasmPath));
  return compiled;
}

/**
 * SQLite on this thread: the same instance at every call.
 *
 * @param module from {@link compileSqlite} on another thread; only the first call looks at it
 */
export function loadSqlite(module?: WebAssembly.Module): SqliteModule {
  loaded ??= new SqliteModule(module ?? compileSqlite());
  return loaded;
}
