/**
 * A live query that is taken up again, after a restart or under another schema: its rows are run anew,
 * and held against what readers were told. Rows that look the same are the same to them, and keep the
 * ids that they know them by.
 *
 * @module
 */

import type { Change } from "./changes.ts";
import { hashOf, type StoredSubscription } from "./live-store.ts";
import type { Row } from "./rows/row.ts";
import type { Restoring, Subscription } from "./subscription.ts";

/**
 * @param built the same query without rows, going on from `before`
 * @returns what became of the rows, as of {@link Subscription.find}
 * @throws SqliteError, NotUtf8Error
 */
export function rowsFrom(before: Subscription, built: Subscription): readonly Change[] {
  const rows = new Map<string, { identity: string; row: Row }[]>();
  for (const place of before.held.places()) {
    const held = before.held.rowAt(place);
    const same = rows.get(held.row.cells);
    if (same === undefined) rows.set(held.row.cells, [held]);
    else same.push(held);
  }
  const restoring = built.restoring(
    ({ cells }) => rows.get(cells)?.pop()?.row.rowId,
    () => [...rows.values()].flat(),
  );
  built.readAll(restoring.row);
  return restoring.end();
}

/** Of a subscription of another run, whose rows are known by their hashes. The same otherwise. */
export function rowsFromStored(stored: StoredSubscription, built: Subscription): readonly Change[] {
  const restoring = restoringStored(stored, built);
  built.readAll(restoring.row);
  return restoring.end();
}

/** The same for rows that somebody else reads. */
export function restoringStored({ rows }: StoredSubscription, built: Subscription): Restoring {
  // By the cells, and by identity and cells. Claimed once, a row stays in the other list until it is come upon.
  const byCells = new Map<bigint, number[]>();
  const byBoth = new Map<string, number[]>();
  const claimed = new Set<number>();
  for (const [rowId, { identity, cellsHash }] of rows) {
    addTo(byCells, cellsHash, rowId);
    addTo(byBoth, `${identity} ${cellsHash}`, rowId);
  }
  const takeFrom = (same: number[] | undefined): number | undefined => {
    for (let rowId = same?.pop(); rowId !== undefined; rowId = same?.pop()) {
      if (!claimed.has(rowId)) {
        claimed.add(rowId);
        return rowId;
      }
    }
    return undefined;
  };
  const identities = new Map<bigint, string>();
  return built.restoring(
    ({ identity, cells }) => {
      const identityHash = hashOf(identity);
      identities.set(identityHash, identity);
      const cellsHash = hashOf(cells);
      // The row's own id where it is among them.
      return (
        takeFrom(byBoth.get(`${identityHash} ${cellsHash}`)) ?? takeFrom(byCells.get(cellsHash))
      );
    },
    function* () {
      for (const [rowId, row] of rows) {
        if (claimed.has(rowId)) continue;
        const identity = identities.get(row.identity) ?? `\n${row.identity}`;
        yield { identity, row: { rowId, cells: row.cells ?? unknownCells } };
      }
    },
  );
}

function addTo<Key>(map: Map<Key, number[]>, key: Key, rowId: number): void {
  const same = map.get(key);
  if (same === undefined) map.set(key, [rowId]);
  else same.push(rowId);
}

/** A row went that readers know and nobody here does: what it was can't be told. */
export function isUntold({ type, cells }: Change): boolean {
  return type === "delete" && cells === unknownCells;
}

/** Stands for cells of which only the hash is known. No cells are like it. */
const unknownCells = "";
