/**
 * An agent without replication, for tests of the HTTP side: the real SQLite in memory, the real runners,
 * live queries and handlers, and in place of the store a plain transaction whose changed rows are read
 * off the preupdate hook.
 *
 * @module
 */

import { Front, RouteRoom } from "../../agent/api/front.ts";
import { type ApiHandler, apiLimits, createApi } from "../../agent/api/handlers.ts";
import type { HealthReport } from "../../agent/api/store-service.ts";
import type { LookBudget } from "../../agent/live/evaluation.ts";
import { liveLimits } from "../../agent/live/live-queries.ts";
import type { RerunSource } from "../../agent/live/live-reruns.ts";
import { addPureFunctions } from "../../agent/sql/functions.ts";
import { QueryRunner } from "../../agent/sql/query-runner.ts";
import { TransactionRunner, type WriteCommit } from "../../agent/sql/transaction-runner.ts";
import { LocalService } from "../../agent/store/local-service.ts";
import { encodeKey } from "../../core/row/key.ts";
import type { SqlValue } from "../../core/row/value.ts";
import type { MergedRow } from "../../core/row-store.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";

export interface PlainAgent extends Disposable {
  readonly handle: ApiHandler;
  /** For carriers; everything is allowed. */
  readonly front: Front;
  readonly service: LocalService;
  /** Changes the schema, of what isn't a table's columns. */
  changeSchema(sql: string): void;
}

let vfsCount = 0;
const nothing: LookBudget = { rerun: { ms: 0, bytes: 0 }, lookUpMs: 0 };

export interface PlainAgentOptions {
  readonly queryTimeoutMs?: number;
  readonly resultBytesMax?: number;
  readonly subscriberBytesMax?: number;
  readonly bodyBytesMax?: number;
  readonly health?: () => HealthReport;
  /** Whatever live queries have to find out is found out there. */
  readonly reruns?: (runner: QueryRunner) => RerunSource;
  /** But what takes no longer; nothing by default. */
  readonly lookBudget?: LookBudget;
}

/** @param schema CREATE TABLE statements */
export function createPlainAgent(schema: string, options: PlainAgentOptions = {}): PlainAgent {
  const vfs = new MemoryVfs({ name: `plain-agent-${vfsCount++}` });
  const writer = openDatabase("/plain.db", { vfs });
  writer.pragma("journal_mode", "wal");
  writer.exec(schema);
  const reader = openDatabase("/plain.db", { vfs, readonly: true });
  for (const database of [writer, reader]) addPureFunctions(database);
  const keyColumns = new Map<string, readonly string[]>();
  const columnIndexes = new Map<string, readonly number[]>();
  for (const [name] of writer.all("SELECT name FROM sqlite_schema WHERE type = 'table'")) {
    const columns = writer.all(
      `SELECT name, pk, cid FROM pragma_table_info('${name}') WHERE pk > 0 ORDER BY pk`,
    );
    const table = String(name).toLowerCase();
    keyColumns.set(
      table,
      columns.map(([column]) => String(column).toLowerCase()),
    );
    columnIndexes.set(
      table,
      columns.map(([, , cid]) => Number(cid)),
    );
  }

  let touched = new Map<string, { table: string; key: Uint8Array }>();
  let version = 0;
  writer.onPreupdate((change) => {
    const indexes = columnIndexes.get(change.table.toLowerCase()) ?? [];
    const note = (read: (index: number) => SqlValue) => {
      const key = encodeKey(indexes.map(read));
      if (key !== undefined) {
        const id = `${change.table} ${Buffer.from(key).toString("hex")}`;
        touched.set(id, { table: change.table.toLowerCase(), key });
      }
    };
    if (change.operation !== "insert") note((index) => change.old(index));
    if (change.operation !== "delete") note((index) => change.new(index));
  });
  const store = {
    begin() {
      touched = new Map();
      writer.exec("BEGIN IMMEDIATE");
    },
    beginStatement() {},
    commit(): WriteCommit {
      const merged = [...touched.values()].map(({ table, key }) => merge(table, key));
      service.committing(merged);
      writer.exec("COMMIT");
      service.committed();
      return { kind: "committed", version: merged.length > 0 ? ++version : null, merged };
    },
    rollback() {
      if (!writer.autocommit) writer.exec("ROLLBACK");
    },
  };
  const merge = (table: string, key: Uint8Array): MergedRow => {
    const clock = { ms: 0, count: 0, site: "" as never, cl: 1 };
    const state = { clock, cells: [] };
    return {
      table,
      key,
      id: "" as never,
      words: { first: 0, second: 0, third: 0, fourth: 0 },
      before: undefined,
      incoming: state,
      after: state,
      changed: true,
      conflict: false,
      quickNews: undefined,
    };
  };

  const runner = new QueryRunner(reader, {
    timeoutMs: options.queryTimeoutMs ?? 10_000,
    resultBytesMax: options.resultBytesMax ?? 64 * 1024 * 1024,
  });
  const service: LocalService = new LocalService(
    runner,
    new TransactionRunner(writer, store, { timeoutMs: 10_000 }),
    {
      actorId: `${"0".repeat(31)}1`,
      nowMs: () => Date.now(),
      keyColumnsOf: (table) => keyColumns.get(table),
      isReplicated: (table) => keyColumns.has(table),
      writesRefused: () => undefined,
      onCommitted: () => {},
      health: async () =>
        options.health?.() ?? { members: 1, queueSize: 0, p99LagSeconds: 0.25, ready: true },
      status: () => ({}),
      swarm: async () => ({}),
      ...(options.reruns === undefined
        ? {}
        : {
            reruns: options.reruns(runner),
            liveLimits: {
              ...liveLimits,
              lookBudget: options.lookBudget ?? nothing,
              rerunPauseMs: 0,
            },
          }),
    },
  );
  const limits = {
    ...apiLimits,
    subscriberBytesMax: options.subscriberBytesMax ?? apiLimits.subscriberBytesMax,
    bodyBytesMax: options.bodyBytesMax ?? apiLimits.bodyBytesMax,
  };
  const handle = createApi(service, limits);
  return {
    handle,
    front: new Front({ handle, room: new RouteRoom(), gate: undefined }),
    service,
    changeSchema(sql) {
      writer.exec(sql);
      service.schemaChanged();
    },
    [Symbol.dispose]() {
      service.endStreams();
      service.live.close();
      reader.close();
      writer.close();
    },
  };
}
