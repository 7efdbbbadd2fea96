/**
 * One history into cr-sqlite and into replicas, and whether they have the same rows.
 *
 * @module
 */

import {
  type ChangeRecord,
  type CrsqlitePeer,
  openCrsqliteWasm,
  packKey,
  rowRecord,
} from "../../bench/crsqlite.ts";
import { seededRandom } from "../../bench/seeded-random.ts";
import { isLive } from "../../core/clock/row-clock.ts";
import { compareStamps, type Stamp } from "../../core/clock/stamp.ts";
import { siteToBytes } from "../../core/row/digest.ts";
import { decodeKey } from "../../core/row/key.ts";
import type { RowState } from "../../core/row/row-state.ts";
import { SqliteNode } from "../generators/sqlite-store.ts";
import {
  type Act,
  clockOfCell,
  dumpSql,
  peerSql,
  type RowRecords,
  recordsOf,
  runHistory,
  schema,
  smallestStates,
  tables,
} from "./sql-history.ts";

/** Every table's rows, by whoever has them. */
export interface Outcome {
  readonly crsqlite: string[];
  /** Given whole rows, as changesets carry them. */
  readonly wholeRows: string[];
  /** Given each clock and each cell alone. */
  readonly smallest: string[];
  /** Records that cr-sqlite was fed. */
  readonly records: number;
}

/** @param seed Of the orders of delivery, each side's own. */
export async function compareHistory(history: readonly Act[], seed: number): Promise<Outcome> {
  const changesets = runHistory(history);
  const rows = recordsOf(changesets);
  const random = seededRandom(seed);
  const records = changeRecords(rows);
  using peer = await openCrsqliteWasm();
  createTables(peer);
  for (const transaction of deliveries(records, random)) peer.merge(transaction);
  const replica = (states: readonly RowState[]): string[] => {
    using node = new SqliteNode(schema);
    for (const transaction of deliveries(states, random)) node.store.merge(transaction);
    return tables.flatMap((table) =>
      node.db.all(dumpSql(table)).map(([text]) => `${table.name}: ${text}`),
    );
  };
  return {
    crsqlite: tables.flatMap((table) =>
      peer.texts(dumpSql(table)).map((text) => `${table.name}: ${text}`),
    ),
    wholeRows: replica(changesets.flatMap((changeset) => changeset.rows)),
    smallest: replica(smallestStates(rows)),
    records: records.length,
  };
}

function createTables(peer: CrsqlitePeer): void {
  peer.exec(peerSql);
  for (const { name } of tables) peer.exec(`SELECT crsql_as_crr('${name}')`);
}

/**
 * The records as rows of `crsql_changes`. Versions are dense ranks: of a cell's stamp among all stamps,
 * of a row clock among those of its row; a causal length is twice that, and odd for a life.
 */
function changeRecords(rows: readonly RowRecords[]): ChangeRecord[] {
  const stamps = rows.flatMap((row) => row.cells.map((cell) => cell.stamp)).sort(compareStamps);
  const ranks = new Map<string, number>();
  for (const stamp of stamps) {
    const name = stampName(stamp);
    if (!ranks.has(name)) ranks.set(name, ranks.size + 1);
  }
  return rows.flatMap((row) => {
    const { table, clocks } = row;
    const key = packKey(decodeKey(row.key) ?? []);
    const lengthOf = new Map(
      clocks.map((clock, rank) => [clock, 2 * rank + (isLive(clock) ? 1 : 0)]),
    );
    const records: ChangeRecord[] = clocks.map((clock) => ({
      table,
      key,
      column: rowRecord,
      value: null,
      columnVersion: lengthOf.get(clock) as number,
      site: siteToBytes(clock.site),
      causalLength: lengthOf.get(clock) as number,
    }));
    for (const cell of row.cells) {
      const clock = clockOfCell(row, cell);
      if (!isLive(clock)) continue;
      records.push({
        table,
        key,
        column: cell.column,
        value: cell.value,
        columnVersion: ranks.get(stampName(cell.stamp)) as number,
        site: siteToBytes(cell.stamp.site),
        causalLength: lengthOf.get(clock) as number,
      });
    }
    return records;
  });
}

function stampName({ ms, count, site }: Stamp): string {
  return `${ms} ${count} ${site}`;
}

/** In any order, some more than once, in transactions of any size. */
function deliveries<Item>(items: readonly Item[], random: () => number): Item[][] {
  const order = items.concat(items.filter(() => random() < 0.2));
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] as Item, order[i] as Item];
  }
  const transactions: Item[][] = [];
  while (order.length > 0) transactions.push(order.splice(0, 1 + Math.floor(random() * 8)));
  return transactions;
}
