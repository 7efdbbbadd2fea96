/**
 * cr-sqlite, the peer of the merge: the same changes through its `crsql_changes` table.
 *
 * Two of them. The WASM build of `@vlcn.io/wa-sqlite` is always there; its raw exports are called, since
 * its JavaScript interface would cost more than the merge, and it runs in memory. A native extension is
 * loaded into `bun:sqlite` where its path is given, and runs on a file as well.
 *
 * A *record* is one row of `crsql_changes`. cr-sqlite orders cells by `col_version` and lives by causal
 * length, where Patina orders both by time; fed dense ranks of the times it decides the same winners
 * (`test/differential`).
 *
 * @module
 */

import { Database as BunDatabase, type SQLQueryBindings, type Statement } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import create, { type CrsqliteModule } from "@vlcn.io/wa-sqlite/dist/crsqlite-sync.mjs";
import { RawText, Real, type SqlValue, textBytes } from "../core/row/value.ts";

/** One row of `crsql_changes`. Its database version is that of the transaction that brings it. */
export interface ChangeRecord {
  readonly table: string;
  /** As of {@link packKey}. */
  readonly key: Uint8Array;
  /** A column, or "-1": the row itself, whose causal length counts alone. */
  readonly column: string;
  readonly value: SqlValue;
  readonly columnVersion: number;
  /** 16 bytes. */
  readonly site: Uint8Array;
  readonly causalLength: number;
}

export interface CrsqlitePeer extends Disposable {
  readonly name: string;
  readonly version: string;
  exec(sql: string): void;
  /** One transaction. */
  merge(records: readonly ChangeRecord[]): void;
  /** First column of all rows, as text. */
  texts(sql: string): string[];
}

/** The column of records that tell of a row's life and death. */
export const rowRecord = "-1";

const insertSql = (hasTime: boolean) =>
  'INSERT INTO crsql_changes ("table", pk, cid, val, col_version, db_version, site_id, cl, seq' +
  `${hasTime ? ", ts" : ""}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?${hasTime ? ", '0'" : ""})`;

/**
 * A primary key as cr-sqlite packs it: u8 columns, then each: u8 (bytes of the number or length that
 * follows << 3 | type), that number big-endian, then TEXT or BLOB. Types: 1 INTEGER, 2 REAL, 3 TEXT,
 * 4 BLOB, 5 NULL.
 */
export function packKey(values: readonly SqlValue[]): Uint8Array {
  const bytes: number[] = [values.length];
  const integer = (type: number, value: bigint) => {
    const digits: number[] = [];
    for (let rest = BigInt.asUintN(64, value); rest > 0n; rest >>= 8n) {
      digits.unshift(Number(rest & 0xffn));
    }
    // Read back as a signed number of as many bytes: a set top bit would make it negative.
    if (value > 0n && (digits[0] as number) > 127 && digits.length < 8) digits.unshift(0);
    bytes.push((digits.length << 3) | type, ...digits);
  };
  for (const value of values) {
    if (value === null) bytes.push(5);
    else if (typeof value === "number" || typeof value === "bigint") integer(1, BigInt(value));
    else if (value instanceof Real) {
      const view = new DataView(new ArrayBuffer(8));
      view.setFloat64(0, value.real);
      bytes.push(2, ...new Uint8Array(view.buffer));
    } else {
      const isText = typeof value === "string" || value instanceof RawText;
      const payload = isText ? textBytes(value) : value;
      integer(isText ? 3 : 4, BigInt(payload.length));
      bytes.push(...payload);
    }
  }
  return Uint8Array.from(bytes);
}

let loading: Promise<CrsqliteModule> | undefined;

/** The WASM build, which is loaded once, with a database in memory. */
export async function openCrsqliteWasm(): Promise<CrsqlitePeer> {
  const url = import.meta.resolve("@vlcn.io/wa-sqlite/dist/crsqlite-sync.wasm");
  loading ??= create({ wasmBinary: readFileSync(fileURLToPath(url)) });
  return new WasmPeer(await loading);
}

const SQLITE_ROW = 100;
const SQLITE_DONE = 101;
const SQLITE_STATIC = 0;
const SQLITE_TRANSIENT = -1;
const openReadwriteCreate = 6;
const slotBytes = 256;

class WasmPeer implements CrsqlitePeer {
  readonly name = "cr-sqlite, WASM";
  readonly version: string;
  readonly #module: CrsqliteModule;
  readonly #out: number;
  readonly #db: number;
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder();
  readonly #begin: number;
  readonly #commit: number;
  readonly #insert: number;
  /** Memory of each parameter, and what it holds: most bind the same table, column and site again. */
  readonly #slots: number[] = [];
  readonly #bound: unknown[] = [];
  #transaction = 0;

  constructor(module: CrsqliteModule) {
    this.#module = module;
    this.#out = module._malloc(8);
    const zName = this.#string(":memory:");
    this.#check(module._sqlite3_open_v2(zName, this.#out, openReadwriteCreate, 0));
    module._free(zName);
    this.#db = module.HEAP32[this.#out >> 2] as number;
    const crsqlite = this.texts("SELECT value FROM crsql_master WHERE key = 'crsqlite_version'")[0];
    const libversion = this.#text(module._sqlite3_libversion());
    this.version = `${versionText(Number(crsqlite))}, SQLite ${libversion}`;
    this.#begin = this.#prepare("BEGIN");
    this.#commit = this.#prepare("COMMIT");
    this.#insert = this.#prepare(insertSql(false));
    for (let index = 0; index < 9; index++) this.#slots.push(module._malloc(slotBytes));
  }

  exec(sql: string): void {
    const zSql = this.#string(sql);
    const code = this.#module._sqlite3_exec(this.#db, zSql, 0, 0, 0);
    this.#module._free(zSql);
    this.#check(code);
  }

  merge(records: readonly ChangeRecord[]): void {
    const module = this.#module;
    const insert = this.#insert;
    const version = ++this.#transaction;
    if (records.length > 1) this.#run(this.#begin);
    let seq = 0;
    for (const record of records) {
      this.#bind(1, record.table);
      this.#bind(2, record.key);
      this.#bind(3, record.column);
      this.#bind(4, record.value);
      module._sqlite3_bind_int(insert, 5, record.columnVersion);
      module._sqlite3_bind_int(insert, 6, version);
      this.#bind(7, record.site);
      module._sqlite3_bind_int(insert, 8, record.causalLength);
      module._sqlite3_bind_int(insert, 9, seq++);
      this.#run(insert);
    }
    if (records.length > 1) this.#run(this.#commit);
  }

  texts(sql: string): string[] {
    const module = this.#module;
    const statement = this.#prepare(sql);
    const rows: string[] = [];
    let code = module._sqlite3_step(statement);
    for (; code === SQLITE_ROW; code = module._sqlite3_step(statement)) {
      const pointer = module._sqlite3_column_text(statement, 0);
      const bytes = module._sqlite3_column_bytes(statement, 0);
      rows.push(this.#decoder.decode(module.HEAPU8.subarray(pointer, pointer + bytes)));
    }
    if (code !== SQLITE_DONE) this.#check(code);
    module._sqlite3_finalize(statement);
    return rows;
  }

  [Symbol.dispose](): void {
    for (const statement of [this.#begin, this.#commit, this.#insert]) {
      this.#module._sqlite3_finalize(statement);
    }
    for (const slot of this.#slots) this.#module._free(slot);
    this.#module._free(this.#out);
    // It keeps statements of its own.
    this.exec("SELECT crsql_finalize()");
    this.#check(this.#module._sqlite3_close(this.#db));
  }

  #run(statement: number): void {
    const code = this.#module._sqlite3_step(statement);
    this.#module._sqlite3_reset(statement);
    if (code !== SQLITE_DONE) this.#check(code);
  }

  /** A parameter of the insert. TEXT and BLOB stay in its slot, as in Patina's own binding. */
  #bind(index: number, value: SqlValue): void {
    const module = this.#module;
    const statement = this.#insert;
    if (value === this.#bound[index] && typeof value !== "number") return;
    this.#bound[index] = value;
    if (value === null) module._sqlite3_bind_null(statement, index);
    else if (typeof value === "number" && (value | 0) === value) {
      module._sqlite3_bind_int(statement, index, value);
    } else if (typeof value === "number" || typeof value === "bigint") {
      const low = Number(BigInt.asIntN(32, BigInt(value)));
      module._sqlite3_bind_int64(statement, index, low, Number(BigInt(value) >> 32n));
    } else if (value instanceof Real) module._sqlite3_bind_double(statement, index, value.real);
    else {
      const isText = typeof value === "string" || value instanceof RawText;
      const bind = isText ? module._sqlite3_bind_text : module._sqlite3_bind_blob;
      const slot = this.#slots[index - 1] as number;
      if (typeof value === "string" && value.length * 3 <= slotBytes) {
        bind(statement, index, slot, this.#write(value, slot), SQLITE_STATIC);
        return;
      }
      const payload = isText ? textBytes(value) : value;
      if (payload.length <= slotBytes) {
        module.HEAPU8.set(payload, slot);
        bind(statement, index, slot, payload.length, SQLITE_STATIC);
        return;
      }
      const pointer = module._malloc(payload.length);
      module.HEAPU8.set(payload, pointer);
      bind(statement, index, pointer, payload.length, SQLITE_TRANSIENT);
      module._free(pointer);
    }
  }

  /** @returns bytes written */
  #write(text: string, pointer: number): number {
    const heap = this.#module.HEAPU8;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code > 127) {
        return this.#encoder.encodeInto(text, heap.subarray(pointer, pointer + slotBytes)).written;
      }
      heap[pointer + at] = code;
    }
    return text.length;
  }

  #prepare(sql: string): number {
    const zSql = this.#string(sql);
    const code = this.#module._sqlite3_prepare_v2(this.#db, zSql, -1, this.#out, 0);
    this.#module._free(zSql);
    this.#check(code);
    return this.#module.HEAP32[this.#out >> 2] as number;
  }

  #string(text: string): number {
    const bytes = this.#encoder.encode(`${text}\0`);
    const pointer = this.#module._malloc(bytes.length);
    this.#module.HEAPU8.set(bytes, pointer);
    return pointer;
  }

  #text(pointer: number): string {
    const heap = this.#module.HEAPU8;
    return this.#decoder.decode(heap.subarray(pointer, heap.indexOf(0, pointer)));
  }

  #check(code: number): void {
    if (code === 0) return;
    throw new Error(`cr-sqlite: ${this.#text(this.#module._sqlite3_errmsg(this.#db))} (${code})`);
  }
}

/**
 * A native extension in `bun:sqlite`.
 *
 * @param path Of the database; ":memory:" or a file that is made.
 */
export function openCrsqliteNative(extension: string, path: string): CrsqlitePeer {
  return new NativePeer(extension, path);
}

class NativePeer implements CrsqlitePeer {
  readonly name = "cr-sqlite, native";
  readonly version: string;
  readonly #db: BunDatabase;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #insert: Statement<unknown, SQLQueryBindings[]>;
  #transaction = 0;

  constructor(extension: string, path: string) {
    this.#db = new BunDatabase(path, { create: true });
    this.#db.loadExtension(extension, "sqlite3_crsqlite_init");
    const one = (sql: string) => String(this.#db.prepare(sql).values()[0]?.[0]);
    const crsqlite = one("SELECT value FROM crsql_master WHERE key = 'crsqlite_version'");
    this.version = `${versionText(Number(crsqlite))}, SQLite ${one("SELECT sqlite_version()")}`;
    // Corrosion's fork has one column more.
    const hasTime =
      one("SELECT count(*) FROM pragma_table_info('crsql_changes') WHERE name = 'ts'") === "1";
    this.#begin = this.#db.prepare("BEGIN");
    this.#commit = this.#db.prepare("COMMIT");
    this.#insert = this.#db.prepare(insertSql(hasTime));
  }

  exec(sql: string): void {
    this.#db.run(sql);
  }

  merge(records: readonly ChangeRecord[]): void {
    const version = ++this.#transaction;
    if (records.length > 1) this.#begin.run();
    let seq = 0;
    for (const record of records) {
      const { value } = record;
      this.#insert.run(
        record.table,
        record.key,
        record.column,
        value instanceof Real ? value.real : (value as SQLQueryBindings),
        record.columnVersion,
        version,
        record.site,
        record.causalLength,
        seq++,
      );
    }
    if (records.length > 1) this.#commit.run();
  }

  texts(sql: string): string[] {
    return this.#db
      .prepare(sql)
      .values()
      .map(([text]) => String(text));
  }

  [Symbol.dispose](): void {
    // Else the statements keep the file open.
    for (const statement of [this.#begin, this.#commit, this.#insert]) statement.finalize();
    this.#db.run("SELECT crsql_finalize()");
    this.#db.close();
  }
}

/** 150000 is 0.15.0: two digits each. */
function versionText(version: number): string {
  return `0.${Math.floor(version / 10_000)}.${Math.floor(version / 100) % 100}`;
}
