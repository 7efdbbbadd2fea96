/**
 * Virtual tables whose rows JavaScript computes: read-only, and there without being created (SQLite
 * calls them eponymous).
 *
 * As in hooks.ts there is one C function for each kind of call, and a number in SQLite's own structures
 * says whom it is for. Layouts (wasm32, all words):
 *
 * | structure | words |
 * | --- | --- |
 * | `sqlite3_module` | version 0 · xCreate = 0 (eponymous only) · xConnect · xBestIndex · xDisconnect · xDestroy · xOpen · xClose · xFilter · xNext · xEof · xColumn · xRowid · xUpdate = 0 (read-only) · … 0, 25 in all |
 * | `sqlite3_vtab` | module · references · message · **number of the table** |
 * | `sqlite3_vtab_cursor` | vtab · **number of the cursor** |
 * | `sqlite3_index_info` | constraints · their address · … · usage's address (4) · idxNum (5) · … · cost, f64 (10) · rows, i64 (12) |
 * | a constraint | column · u8 operator, u8 usable · offset; usage: argument · u8 omit |
 *
 * @module
 */

import type { SqlValue } from "../core/row/value.ts";
import { SQLITE_ERROR, SQLITE_NOMEM, SQLITE_OK } from "./constants.ts";
import { SqliteError } from "./error.ts";
import type { RunningSqlite } from "./running-sqlite.ts";
import type { TrampolineSignature } from "./trampoline.ts";
import { readValueAt, writeResult, writeResultError } from "./value.ts";

/** A table that is computed. What its rows throw becomes the statement's error. */
export interface VirtualTable {
  /** Names of its columns, which have no types. */
  readonly columns: readonly string[];
  /**
   * Columns by which it can look rows up, each useful only with those before it. SQLite compares once more, so
   * more rows than wanted may come.
   */
  readonly lookups: readonly string[];
  /** Guesses for the planner: rows without a look-up, with the first column looked up, and so on. */
  readonly rowsGuessed: readonly number[];
  /**
   * Its rows, each with a value for every column.
   *
   * @param wanted what the first so many of {@link lookups} must be equal to
   */
  rows(wanted: readonly SqlValue[]): IterableIterator<readonly SqlValue[]>;
}

interface VirtualTableExports {
  sqlite3_create_module_v2(
    db: number,
    zName: number,
    module: number,
    data: number,
    xDestroy: number,
  ): number;
  sqlite3_declare_vtab(db: number, zSql: number): number;
  sqlite3_vtab_collation(info: number, constraint: number): number;
  sqlite3__wasm_vtab_config(db: number, option: number, argument: number): number;
}

const SQLITE_INDEX_CONSTRAINT_EQ = 2;
/** It tells nobody more than its rows: it may stand in views. */
const SQLITE_VTAB_INNOCUOUS = 2;

const moduleWords = 25;
const vtabWords = 4;
const cursorWords = 2;
const constraintWords = 3;
const usageWords = 2;

interface Cursor {
  readonly table: VirtualTable;
  rows: IterableIterator<readonly SqlValue[]> | undefined;
  /** Undefined at the end. */
  row: readonly SqlValue[] | undefined;
  position: number;
}

export class VirtualTableGlue {
  #module!: RunningSqlite;
  readonly #tables: ({ readonly name: string; readonly table: VirtualTable } | undefined)[] = [
    undefined,
  ];
  readonly #cursors = new Map<number, Cursor>();
  #lastCursor = 0;
  /** By address of the `sqlite3_vtab`. */
  readonly #connected = new Map<number, string>();
  /** One for all: it only names the functions. */
  #cModule = 0;

  start(module: RunningSqlite): void {
    this.#module = module;
  }

  /** Makes `table` known to a connection under `name`. It may stand in views and tells no secrets. */
  add(database: number, name: string, table: VirtualTable): number {
    const module = this.#module;
    if (this.#cModule === 0) this.#cModule = this.#createModule();
    this.#tables.push({ name, table });
    const zName = module.allocateCString(name);
    const code = this.#exports.sqlite3_create_module_v2(
      database,
      zName,
      this.#cModule,
      this.#tables.length - 1,
      module.pointer("tableDestroy"),
    );
    module.free(zName);
    return code;
  }

  /** Whose `sqlite3_vtab` this is, as EXPLAIN tells its address; undefined for SQLite's own. */
  nameAt(address: number): string | undefined {
    return this.#connected.get(address);
  }

  /** The `sqlite3_module` of a `sqlite3_vtab` that some statement holds. */
  moduleAt(address: number): number {
    return this.#word(address, 0);
  }

  callbacks(): [string, TrampolineSignature & { readonly target: CallableFunction }][] {
    const callback = (
      name: string,
      params: string,
      target: CallableFunction,
      result: "i" | "v" = "i",
    ): [string, TrampolineSignature & { readonly target: CallableFunction }] => [
      name,
      { params, result, target },
    ];
    return [
      callback("tableConnect", "iiiiii", this.#connect),
      callback("tableBestIndex", "ii", this.#bestIndex),
      callback("tableDisconnect", "i", this.#disconnect),
      callback("tableOpen", "ii", this.#open),
      callback("tableClose", "i", this.#close),
      callback("tableFilter", "iiiii", this.#filter),
      callback("tableNext", "i", this.#next),
      callback("tableEof", "i", this.#eof),
      callback("tableColumn", "iii", this.#column),
      callback("tableRowid", "ii", this.#rowid),
      callback("tableDestroy", "i", this.#destroy, "v"),
    ];
  }

  get #exports(): VirtualTableExports {
    return this.#module.exports as unknown as VirtualTableExports;
  }

  #createModule(): number {
    const pointer = this.#allocate(moduleWords);
    const functions = [
      ...["tableConnect", "tableBestIndex", "tableDisconnect", "tableDisconnect", "tableOpen"],
      ...["tableClose", "tableFilter", "tableNext", "tableEof", "tableColumn", "tableRowid"],
    ];
    for (const [at, name] of functions.entries()) {
      this.#set(pointer, 2 + at, this.#module.pointer(name));
    }
    return pointer;
  }

  #allocate(words: number): number {
    const pointer = this.#module.allocate(words * 4);
    this.#module.heap.u8.fill(0, pointer, pointer + words * 4);
    return pointer;
  }

  #word(pointer: number, at: number): number {
    return this.#module.heap.i32[(pointer >> 2) + at] as number;
  }

  #set(pointer: number, at: number, value: number): void {
    this.#module.heap.i32[(pointer >> 2) + at] = value;
  }

  #tableOf(vtab: number): VirtualTable {
    return (this.#tables[this.#word(vtab, 3)] as { readonly table: VirtualTable }).table;
  }

  #cursor(pointer: number): Cursor {
    return this.#cursors.get(this.#word(pointer, 1)) as Cursor;
  }

  /** A result code for what was thrown, with its message in the `sqlite3_vtab`. */
  #failed(vtab: number, thrown: unknown): number {
    // Not an error of the table: it has to get out, over all frames.
    if (this.#module.trap !== null) throw this.#module.trap;
    const code = thrown instanceof SqliteError ? thrown.extendedCode : SQLITE_ERROR;
    if (code === SQLITE_NOMEM) return code;
    this.#module.free(this.#word(vtab, 2));
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    this.#set(vtab, 2, this.#module.allocateCString(message));
    return code;
  }

  #connect = (
    database: number,
    data: number,
    _argc: number,
    _argv: number,
    ppVtab: number,
  ): number => {
    const { name, table } = this.#tables[data] as { name: string; table: VirtualTable };
    const columns = table.columns.map((column) => `"${column}"`).join(", ");
    const zSql = this.#module.allocateCString(`CREATE TABLE x(${columns})`);
    const code = this.#exports.sqlite3_declare_vtab(database, zSql);
    this.#module.free(zSql);
    if (code !== SQLITE_OK) return code;
    this.#exports.sqlite3__wasm_vtab_config(database, SQLITE_VTAB_INNOCUOUS, 0);
    const vtab = this.#allocate(vtabWords);
    this.#set(vtab, 3, data);
    this.#connected.set(vtab, name);
    this.#set(ppVtab, 0, vtab);
    return SQLITE_OK;
  };

  #disconnect = (vtab: number): number => {
    this.#connected.delete(vtab);
    this.#module.free(vtab);
    return SQLITE_OK;
  };

  /** Takes the equalities that {@link VirtualTable.lookups} can use; `idxNum` says how many. */
  #bestIndex = (vtab: number, info: number): number => {
    const { columns, lookups, rowsGuessed } = this.#tableOf(vtab);
    const constraints = this.#word(info, 1);
    const usages = this.#word(info, 4);
    let used = 0;
    for (const lookup of lookups) {
      const at = this.#equality(info, constraints, columns.indexOf(lookup));
      if (at === undefined) break;
      used++;
      this.#set(usages, at * usageWords, used);
    }
    this.#set(info, 5, used);
    const rows = rowsGuessed[used] as number;
    const view = new DataView(this.#module.heap.memory.buffer, info);
    view.setFloat64(40, rows, true);
    view.setBigInt64(48, BigInt(rows), true);
    return SQLITE_OK;
  };

  /** The first constraint of this column by equality, byte by byte. */
  #equality(info: number, constraints: number, column: number): number | undefined {
    const { heap } = this.#module;
    for (let at = 0; at < this.#word(info, 0); at++) {
      const constraint = constraints + at * constraintWords * 4;
      const isUsable = heap.u8[constraint + 5] !== 0;
      if (this.#word(constraint, 0) !== column || !isUsable) continue;
      if (heap.u8[constraint + 4] !== SQLITE_INDEX_CONSTRAINT_EQ) continue;
      const collation = heap.cString(this.#exports.sqlite3_vtab_collation(info, at));
      if (collation === "BINARY") return at;
    }
    return undefined;
  }

  #open = (vtab: number, ppCursor: number): number => {
    const pointer = this.#allocate(cursorWords);
    const id = ++this.#lastCursor;
    this.#cursors.set(id, {
      table: this.#tableOf(vtab),
      rows: undefined,
      row: undefined,
      position: 0,
    });
    this.#set(pointer, 1, id);
    this.#set(ppCursor, 0, pointer);
    return SQLITE_OK;
  };

  #close = (pointer: number): number => {
    const id = this.#word(pointer, 1);
    this.#cursors.get(id)?.rows?.return?.();
    this.#cursors.delete(id);
    this.#module.free(pointer);
    return SQLITE_OK;
  };

  #filter = (
    pointer: number,
    _idxNum: number,
    _idxStr: number,
    argc: number,
    argv: number,
  ): number => {
    const cursor = this.#cursor(pointer);
    cursor.rows?.return?.();
    cursor.position = 0;
    try {
      const wanted: SqlValue[] = [];
      for (let at = 0; at < argc; at++)
        wanted.push(readValueAt(this.#module, this.#word(argv, at)));
      cursor.rows = cursor.table.rows(wanted);
    } catch (thrown) {
      return this.#failed(this.#word(pointer, 0), thrown);
    }
    return this.#advance(pointer, cursor);
  };

  #next = (pointer: number): number => this.#advance(pointer, this.#cursor(pointer));

  #advance(pointer: number, cursor: Cursor): number {
    try {
      const { done, value } = (cursor.rows as IterableIterator<readonly SqlValue[]>).next();
      cursor.row = done ? undefined : value;
      cursor.position++;
      return SQLITE_OK;
    } catch (thrown) {
      cursor.row = undefined;
      return this.#failed(this.#word(pointer, 0), thrown);
    }
  }

  #eof = (pointer: number): number => (this.#cursor(pointer).row === undefined ? 1 : 0);

  #column = (pointer: number, context: number, column: number): number => {
    try {
      const value = this.#cursor(pointer).row?.[column] ?? null;
      writeResult(this.#module, context, value);
    } catch (thrown) {
      if (this.#module.trap !== null) throw this.#module.trap;
      writeResultError(this.#module, context, String(thrown));
    }
    return SQLITE_OK;
  };

  #rowid = (pointer: number, pRowid: number): number => {
    this.#set(pRowid, 0, this.#cursor(pointer).position);
    this.#set(pRowid, 1, 0);
    return SQLITE_OK;
  };

  #destroy = (data: number): void => {
    this.#tables[data] = undefined;
  };
}
