/**
 * A store and its index without the agent around them: what the benches of merge and capture measure.
 *
 * @module
 */

import { sha256 } from "../agent/host/sha256.ts";
import { HlcClock } from "../core/clock/hlc-clock.ts";
import { hlcZero, siteOfHex } from "../core/clock/stamp.ts";
import { RowIndex } from "../core/index/row-index.ts";
import { cutAt } from "../core/index/settled-image.ts";
import { Digester } from "../core/row/digest.ts";
import { type PlannedSchema, problemToText } from "../core/schema/schema.ts";
import { readSchema } from "../core/schema/schema-reader.ts";
import { SqliteStore } from "../core/store/sqlite-store.ts";
import { type Database, openDatabase } from "../wasm/database.ts";
import { FileVfs } from "../wasm/vfs/file.ts";
import { MemoryVfs } from "../wasm/vfs/memory.ts";

/** Settings that both sides of a bench have. */
export const cacheKb = 65_536;
export const checkpointFrames = 1000;

/**
 * @param path ":memory:", or a file: then in WAL mode, NORMAL.
 * @param autoVacuum "incremental" as a store's file has it: then SQLite also keeps a map of its pages.
 */
export function openPlain(path: string, autoVacuum: "none" | "incremental" = "none"): Database {
  const db = openDatabase(path, { vfs: path === ":memory:" ? new MemoryVfs() : new FileVfs() });
  db.pragma("page_size", 4096);
  db.pragma("auto_vacuum", autoVacuum);
  settle(db, path);
  return db;
}

function settle(db: Database, path: string): void {
  db.pragma("cache_size", -cacheKb);
  if (path === ":memory:") return;
  db.pragma("journal_mode", "wal");
  db.pragma("synchronous", "normal");
  db.pragma("wal_autocheckpoint", checkpointFrames);
}

export const digestKey: Uint8Array = new Uint8Array(32).fill(7);

export function schemaOf(sql: string): PlannedSchema {
  using scratch = openDatabase(":memory:", { vfs: new MemoryVfs() });
  const read = readSchema(scratch, [{ name: "bench.sql", text: sql }], new Map());
  if (read.kind === "refused") throw new Error(read.problems.map(problemToText).join("\n"));
  return read.schema;
}

export class OwnStore implements Disposable {
  readonly db: Database;
  readonly store: SqliteStore;
  readonly clock: HlcClock = new HlcClock(siteOfHex("0".repeat(32)), hlcZero);
  readonly index: RowIndex;

  constructor(path: string, schemaSql: string, nowMs: number) {
    const vfs = path === ":memory:" ? new MemoryVfs() : new FileVfs();
    this.db = openDatabase(path, { vfs });
    const digester = new Digester(sha256, digestKey);
    const schema = schemaOf(schemaSql);
    const opened = SqliteStore.open({
      writer: this.db,
      schema,
      digester,
      clock: this.clock,
    });
    if (opened.kind === "refused") throw new Error(opened.why);
    this.store = opened.store;
    this.index = new RowIndex(digester, cutAt(nowMs));
    this.index.finishRebuild();
    settle(this.db, path);
  }

  [Symbol.dispose](): void {
    this.db.close();
  }
}
