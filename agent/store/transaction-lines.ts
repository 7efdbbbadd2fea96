/**
 * What a subscription with `?tx=1` is told beside the contract's lines: where a transaction of this node's
 * store ends, and whose writes were in it.
 *
 * After the changes that one commit made to the subscription's rows comes
 *
 * ```json
 * {"tx":{"changes":2,"change_id":17,"origins":[{"site":"4c3d…","hlc":"1764100000000.3"}]}}
 * ```
 *
 * `changes` counts the lines before it, the last of which has `change_id`. `origins` are the sites whose writes in
 * tables of the subscription were in the commit, each with its largest stamp (milliseconds, then a count): one
 * for a local transaction, maybe several for a merge, which takes in what came together. It is null when
 * commits were taken together because the query is too expensive to be run after each. Replayed
 * changes (`?from=`) have no such lines.
 *
 * @module
 */

import { compareStamps, hlcToText, type Stamp } from "../../core/clock/stamp.ts";
import type { MergedRow } from "../../core/row-store.ts";
import { utf8 } from "../api/http.ts";
import type { StreamListener } from "../api/store-service.ts";

/**
 * @param commit the rows of the commit that is being told; undefined for none
 * @param tables that the subscription reads
 */
export function withTransactionLines(
  listener: StreamListener,
  commit: () => readonly MergedRow[] | undefined,
  tables: () => ReadonlySet<string> | undefined,
): StreamListener {
  return (event) => {
    if (event.kind !== "lines" || event.isSnapshot) return listener(event);
    const line = transactionLine(event.bytes, commit(), tables());
    const bytes = line === undefined ? event.bytes : Buffer.concat([event.bytes, utf8(line)]);
    listener({ kind: "lines", bytes, isSnapshot: false });
  };
}

function transactionLine(
  lines: Uint8Array,
  rows: readonly MergedRow[] | undefined,
  tables: ReadonlySet<string> | undefined,
): string | undefined {
  const tail = Buffer.from(lines.subarray(-40)).toString("latin1");
  const changeId = /,(\d+)\]\}\n$/.exec(tail)?.[1];
  if (changeId === undefined) return undefined;
  let changes = 0;
  for (const byte of lines) if (byte === 0x0a) changes++;
  const origins = rows === undefined ? null : originsOf(rows, tables);
  return `{"tx":{"changes":${changes},"change_id":${changeId},"origins":${JSON.stringify(origins)}}}\n`;
}

function originsOf(
  rows: readonly MergedRow[],
  tables: ReadonlySet<string> | undefined,
): { site: string; hlc: string }[] {
  const latest = new Map<string, Stamp>();
  for (const { table, changed, incoming } of rows) {
    if (!changed || tables?.has(table) === false) continue;
    let stamp: Stamp = incoming.clock;
    for (const cell of incoming.cells) {
      if (compareStamps(cell.stamp, stamp) > 0) stamp = cell.stamp;
    }
    const known = latest.get(stamp.site);
    if (known === undefined || compareStamps(stamp, known) > 0) latest.set(stamp.site, stamp);
  }
  return [...latest].map(([site, stamp]) => ({ site, hlc: hlcToText(stamp) }));
}
