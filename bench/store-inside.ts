/**
 * The part of `bench store` that looks at a database from inside, in this process: the index, a merge, a listing
 * of one range, and a column more. The file is the one that the agent left.
 *
 * @module
 */

import { sha256 } from "../agent/host/sha256.ts";
import { type Stamp, siteOfHex } from "../core/clock/stamp.ts";
import type { StoreReply } from "../core/node/border.ts";
import { Replica } from "../core/replica/replica.ts";
import { Digester } from "../core/row/digest.ts";
import { encodeKey } from "../core/row/key.ts";
import type { RowState } from "../core/row/row-state.ts";
import { median } from "./harness.ts";
import { digestKey, OwnStore, schemaOf } from "./own-store.ts";

export interface Inside {
  /** Without an agent around it, nothing else to do. */
  readonly rebuildMs: number;
  /** A row of a batch of 1,000 that are all newer than what is held; index upkeep included. */
  readonly mergeMicroseconds: number;
  /** Listing one of the 65,536 ranges in full, which takes a scan. */
  readonly listMs: number;
  /** Of the thread's time while that goes on. */
  readonly listShare: number;
  /** How long anything else can be held up by it. */
  readonly listSliceMs: number;
  readonly columnMs: number;
}

const batches = 20;
const batchRows = 1000;
const range = 4242;

/** @param ids Keys of rows that are there, at least {@link batchRows} of them. */
export async function measureInside(
  path: string,
  schemaSql: string,
  columnSql: string,
  ids: readonly string[],
): Promise<Inside> {
  using own = new OwnStore(path, schemaSql, Date.now());
  const built = build(own);
  const listed = await list(built.replica);
  const startedMs = performance.now();
  const changed = own.store.changeSchema(schemaOf(columnSql));
  const columnMs = performance.now() - startedMs;
  if (changed.kind === "refused") throw new Error("the column is refused");
  // No clock and no digest may be another, or every row would travel.
  const after = build(own);
  if (after.fingerprint !== built.fingerprint) throw new Error("a column more changed digests");
  return {
    rebuildMs: built.ms,
    ...listed,
    columnMs,
    mergeMicroseconds: merge(own, ids),
  };
}

function build(own: OwnStore): { replica: Replica; ms: number; fingerprint: string } {
  const digester = new Digester(sha256, digestKey);
  const replica = new Replica({ store: own.store, clock: own.clock, digester, schema: [] });
  const replies: StoreReply[] = [];
  const startedMs = performance.now();
  replica.start(Date.now(), replies);
  while (!replica.isBuilt) replica.tick(Date.now(), replies);
  const ms = performance.now() - startedMs;
  const slot = replies.findLast((reply) => reply.kind === "slot");
  return { replica, ms, fingerprint: slot?.live.fingerprint ?? "" };
}

async function list(
  replica: Replica,
): Promise<Pick<Inside, "listMs" | "listShare" | "listSliceMs">> {
  const replies: StoreReply[] = [];
  const startedMs = performance.now();
  const question = {
    kind: "list",
    ticket: 1,
    live: true,
    cut: 0,
    level: 4,
    nodes: [range],
  } as const;
  replica.handle({ ...question, recentOnly: false }, Date.now(), replies);
  let busyMs = 0;
  let listSliceMs = 0;
  while (!replies.some(({ kind }) => kind === "listed")) {
    await Bun.sleep(Math.max(0, replica.pollTimeout() - Date.now()));
    const sliceMs = performance.now();
    replica.tick(Date.now(), replies);
    const tookMs = performance.now() - sliceMs;
    busyMs += tookMs;
    listSliceMs = Math.max(listSliceMs, tookMs);
  }
  const listMs = performance.now() - startedMs;
  return { listMs, listShare: busyMs / listMs, listSliceMs };
}

function merge(own: OwnStore, ids: readonly string[]): number {
  const times: number[] = [];
  for (let batch = 0; batch < batches; batch++) {
    const nowMs = Date.now();
    const stamp: Stamp = { ms: nowMs, count: batch, site: siteOfHex("a".repeat(32)) };
    const rows = Array.from({ length: batchRows }, (_, i): RowState => {
      const id = ids[(batch * batchRows + i) % ids.length] as string;
      const values = { address: `10.0.0.${i % 250}`, app: "app", port: i, status: "up" };
      const cells = Object.entries({ ...values, updated_ms: nowMs }).map(([column, value]) => {
        return { column, stamp, value };
      });
      const key = encodeKey([id]) as Uint8Array;
      return { table: "services", key, clock: { ...stamp, cl: 1 }, cells };
    });
    const startedMs = performance.now();
    for (const row of own.store.merge(rows)) own.index.merged(row, false, false, nowMs);
    times.push(((performance.now() - startedMs) * 1000) / batchRows);
  }
  return median(times);
}
