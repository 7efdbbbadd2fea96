/**
 * Live queries over a bare database: what was committed, and when it is told, is the test's to say.
 *
 * @module
 */

import type { StreamEvent, SubscribeOptions } from "../../agent/api/store-service.ts";
import { type LiveLimits, LiveQueries, liveLimits } from "../../agent/live/live-queries.ts";
import type { RerunSource } from "../../agent/live/live-reruns.ts";
import type { ChangedRow } from "../../agent/live/table-changes.ts";
import { Deadline } from "../../agent/sql/deadline.ts";
import { SqlGuard } from "../../agent/sql/guard.ts";
import { QueryRunner } from "../../agent/sql/query-runner.ts";
import { encodeKey } from "../../core/row/key.ts";
import type { MergedRow } from "../../core/row-store.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";

/** @param column of a change; undefined: any */
export const rowOf = (id: number, table = "t", column?: string): ChangedRow => ({
  table,
  key: encodeKey([id]) as Uint8Array,
  columns: column === undefined ? undefined : new Set([column]),
});

/**
 * Tables `t` and `u`, of columns id, name, n.
 *
 * @param reruns where those are run again that take long
 */
export function openLive(limits: Partial<LiveLimits> = {}, reruns?: RerunSource) {
  const vfs = new MemoryVfs();
  const database = openDatabase("/live.db", { vfs });
  database.exec("PRAGMA journal_mode = wal");
  for (const table of ["t", "u"]) {
    database.exec(
      `CREATE TABLE ${table} (id INTEGER NOT NULL PRIMARY KEY, name TEXT, n INTEGER DEFAULT 0)`,
    );
  }
  const reader = new QueryRunner(openDatabase("/live.db", { vfs }), {
    timeoutMs: 10_000,
    resultBytesMax: 2 ** 20,
  });
  const keys = new Map([
    ["t", ["id"]],
    ["u", ["id"]],
  ]);
  let last = 0;
  const live = new LiveQueries({
    reader,
    writer: { database, guard: new SqlGuard(database), deadline: new Deadline(database) },
    keyColumnsOf: (table) => keys.get(table),
    nextSubscriber: () => ++last,
    limits: { ...liveLimits, ...limits },
    reruns,
  });
  const subscribe = async (sql: string, options: Partial<SubscribeOptions> = {}) => {
    const lines: string[] = [];
    const rows: (readonly MergedRow[] | undefined)[] = [];
    const outcome = await live.subscribe(
      { sql, parameters: undefined },
      { from: undefined, skipRows: true, ...options },
      (event: StreamEvent) => {
        rows.push(live.toldRows);
        if (event.kind === "end") lines.push("end");
        else lines.push(...Buffer.from(event.bytes).toString().trim().split("\n"));
      },
    );
    if (outcome.kind === "refused") throw new Error(outcome.why);
    return { lines, rows, id: outcome.id, subscriber: outcome.subscriber };
  };
  /** Committed, and not told yet. */
  const commit = (sql: string, changes: Record<string, ChangedRow[] | "unknown">): MergedRow[] => {
    database.exec(sql);
    const rows: MergedRow[] = [];
    live.committed({ changes: () => new Map(Object.entries(changes)), rows });
    return rows;
  };
  const told = async () => {
    live.tell(true);
    while (live.isBehind) await new Promise((resolve) => setImmediate(resolve));
  };
  return { database, keys, live, subscribe, commit, told };
}

export const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

export const inserted = (id: number, name: string) =>
  `INSERT INTO t (id, name) VALUES (${id}, '${name}')`;
