/**
 * SQLite stores in memory, for tests.
 *
 * @module
 */

import { SqlGuard } from "../../agent/sql/guard.ts";
import { HlcClock } from "../../core/clock/hlc-clock.ts";
import { hlcZero } from "../../core/clock/stamp.ts";
import type { Digester } from "../../core/row/digest.ts";
import type { PlannedSchema, TableRules } from "../../core/schema/schema.ts";
import { problemToText } from "../../core/schema/schema.ts";
import { readSchema } from "../../core/schema/schema-reader.ts";
import { type LateLimits, lateLimits } from "../../core/store/clocks/late-clocks.ts";
import type { NamedColumns } from "../../core/store/local/capture.ts";
import { SqliteStore } from "../../core/store/sqlite-store.ts";
import type { CommitResult } from "../../core/store/store-outcomes.ts";
import { SQLITE_LIMIT_LENGTH } from "../../wasm/constants.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { createDigester, siteOf } from "../model/history.ts";

export function openMemory(vfs: MemoryVfs = new MemoryVfs()): Database {
  return openDatabase("test.db", { vfs });
}

/** A schema that must be accepted. */
export function schemaOf(sql: string, rules: Record<string, TableRules> = {}): PlannedSchema {
  using scratch = openMemory();
  const read = readSchema(
    scratch,
    [{ name: "test.sql", text: sql }],
    new Map(Object.entries(rules)),
  );
  if (read.kind === "refused") throw new Error(read.problems.map(problemToText).join("\n"));
  return read.schema;
}

/** What a schema is refused for; empty when it is accepted. */
export function problemsOf(sql: string, rules: Record<string, TableRules> = {}): string[] {
  using scratch = openMemory();
  const read = readSchema(
    scratch,
    [{ name: "test.sql", text: sql }],
    new Map(Object.entries(rules)),
  );
  return read.kind === "refused" ? read.problems.map(problemToText) : [];
}

export interface SqliteNodeOptions {
  readonly site?: number;
  readonly digester?: Digester;
  readonly rules?: Record<string, TableRules>;
  /** The file, for a second opening. */
  readonly vfs?: MemoryVfs;
  readonly nowMs?: number;
  /** Few by default, so that clocks are late, on their way home and home in any test. */
  readonly late?: LateLimits;
  /** Of a value, a row or an entry of an index, as SQLite has it. */
  readonly lengthMax?: number;
}

/** A database with its store. */
export class SqliteNode implements Disposable {
  readonly db: Database;
  readonly store: SqliteStore;
  readonly clock: HlcClock;
  readonly report: Extract<ReturnType<typeof SqliteStore.open>, { kind: "opened" }>["report"];
  nowMs: number;
  /** Where there is an urgent rule. */
  readonly #guard: SqlGuard | undefined;

  constructor(schema: string | PlannedSchema, options: SqliteNodeOptions = {}) {
    this.db = openMemory(options.vfs);
    if (options.lengthMax !== undefined) this.db.limit(SQLITE_LIMIT_LENGTH, options.lengthMax);
    this.clock = new HlcClock(siteOf(options.site ?? 0), hlcZero);
    this.nowMs = options.nowMs ?? 10_000;
    const opened = SqliteStore.open({
      writer: this.db,
      schema: typeof schema === "string" ? schemaOf(schema, options.rules) : schema,
      digester: options.digester ?? createDigester(),
      clock: this.clock,
      late: options.late ?? { ...lateLimits, rowsMax: 3, transactionRowsMin: 1 },
    });
    if (opened.kind === "refused") throw new Error(opened.why);
    this.store = opened.store;
    const tables = [...this.store.schema.tables.values()];
    if (tables.some(({ urgent }) => urgent !== null)) this.#guard = new SqlGuard(this.db);
    this.report = opened.report;
  }

  /** One local transaction, a second after the last. An error of SQLite's rolls it back and is thrown. */
  write(...statements: string[]): Extract<CommitResult, { kind: "committed" }> {
    const result = this.tryWrite(...statements);
    if (result.kind === "refused") throw new Error(result.why);
    return result;
  }

  tryWrite(...statements: string[]): CommitResult {
    this.store.begin();
    try {
      for (const sql of statements) {
        this.store.beginStatement(this.namedColumns(sql));
        this.db.exec(sql);
      }
    } catch (error) {
      if (this.store.isOpen) this.store.rollback();
      throw error;
    }
    this.nowMs += 1000;
    return this.store.commit(this.nowMs);
  }

  /** As an agent has it of its authorizer. Of what clients can't run nothing is known. */
  namedColumns(sql: string): NamedColumns | undefined {
    if (this.#guard === undefined) return undefined;
    const guard = this.#guard;
    guard.beginNotes();
    try {
      guard.within("write", () => this.db.prepare(sql, false).finalize());
    } catch {}
    return guard.notes.names;
  }

  /** Rows of a table, in the order of its first column, which in tests is the key. */
  table(name: string): unknown[][] {
    return this.db.all(`SELECT * FROM "${name}" ORDER BY 1`);
  }

  /** Rows without clocks and clocks without rows, by table; there must be none. */
  strays(): string[] {
    const strays: string[] = [];
    for (const table of this.store.schema.tables.values()) {
      if (!table.replicated) continue;
      const clocks = this.db.all(`SELECT count(*) FROM patina_clock_${table.name}`)[0]?.[0];
      const rows = this.db.all(`SELECT count(*) FROM "${table.name}"`)[0]?.[0];
      const id = table.rowidName;
      const pairs = table.withoutRowid
        ? rows
        : this.db.all(
            `SELECT count(*) FROM patina_clock_${table.name} c JOIN "${table.name}" t ON t.${id} = c.id`,
          )[0]?.[0];
      if (clocks !== pairs || rows !== pairs) {
        strays.push(`${table.name}: ${clocks} clocks, ${rows} rows, ${pairs} pairs`);
      }
    }
    return strays;
  }

  [Symbol.dispose](): void {
    this.db.close();
  }
}
