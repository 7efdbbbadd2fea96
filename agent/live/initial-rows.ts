/**
 * The rows of a live query before its first event: where a new subscription gets them from, and the
 * lines that a reader gets.
 *
 * They may come in the turn in which they are asked for, from the connection that writes, or in pieces
 * from a source of another thread's, while commits go on. In the second case the subscription is
 * *starting*: what commits change meanwhile is noted, and looked at when the last row is there
 * (`live-readers.ts`).
 *
 * @module
 */

import { secondsToJson } from "../api/json-writer.ts";
import type { Evaluation } from "./evaluation.ts";
import type { Entry } from "./live-registry.ts";
import type { WholeQuery } from "./read-row.ts";
import type { ReadRow } from "./rows/row.ts";
import type { RowsSnapshot } from "./rows/rows-snapshot.ts";
import { sliceMsMax } from "./slices.ts";
import type { Subscription } from "./subscription.ts";

/** Runs queries elsewhere. */
export interface InitialRowsSource {
  /**
   * Rows of one state of the database, as it is when this is called or later: commits that come before the last
   * row may be in it or not. Whoever iterates asks for one piece after another, and may stop.
   *
   * @returns undefined: it is to be run here, at once
   * @throws what is wrong, with a message for the reader, while iterating
   */
  read(query: WholeQuery): AsyncIterable<readonly ReadRow[]> | undefined;
}

/** Rows of a snapshot are handed on in pieces of about this size. */
const chunkCharsMin = 64 * 1024;

/** Runs a new query for the first time, in this turn. @returns why it failed; undefined when it didn't */
export function readInitialRows(entry: Entry, evaluation: Evaluation): string | undefined {
  const started = evaluation.of(
    entry,
    () => {
      entry.subscription.start();
      return [];
    },
    true,
  );
  return started.kind === "failed" ? started.why : undefined;
}

/**
 * The lines `columns`, each `row`, and `eoq`, in pieces: of the rows as they are when this is called.
 *
 * @param tookMs what running it took, asked at the end
 */
export function snapshotLines(
  subscription: Subscription,
  tookMs: () => number,
): IteratorObject<string, undefined> {
  const { lastId } = subscription.history;
  return linesOf(columnsLine(subscription), subscription.held.snapshot(), () =>
    eoqLine(lastId, tookMs()),
  );
}

function* linesOf(
  head: string,
  snapshot: RowsSnapshot,
  end: () => string,
): Generator<string, undefined> {
  let text = head;
  for (const { row } of snapshot.rows()) {
    text += rowLine(row.rowId, row.cells);
    if (text.length < chunkCharsMin) continue;
    yield text;
    text = "";
  }
  yield text + end();
  return undefined;
}

/**
 * Takes rows in as they come, one piece after another, and hands their lines on.
 *
 * @param first of `pieces`
 * @returns false when the entry was dropped meanwhile
 */
export async function takeInitialRows(
  entry: Entry,
  first: IteratorResult<readonly ReadRow[]>,
  pieces: AsyncIterator<readonly ReadRow[]>,
  tell: (lines: string) => void,
): Promise<boolean> {
  const { subscription } = entry;
  tell(columnsLine(subscription));
  let untilMs = performance.now() + sliceMsMax;
  for (let piece = first; piece.done !== true; piece = await pieces.next()) {
    if (entry.isDropped) break;
    let text = "";
    for (const row of piece.value) text += rowLine(subscription.addInitial(row), row.cells);
    if (text !== "") tell(text);
    // The next piece may be here already, and so without end.
    if (performance.now() < untilMs) continue;
    await new Promise((resolve) => setImmediate(resolve));
    untilMs = performance.now() + sliceMsMax;
  }
  if (entry.isDropped) await pieces.return?.();
  return !entry.isDropped;
}

function columnsLine({ columnsJson }: Subscription): string {
  return `{"columns":${columnsJson}}\n`;
}

function rowLine(rowId: number, cells: string): string {
  return `{"row":[${rowId},${cells}]}\n`;
}

export function eoqLine(changeId: number, tookMs: number): string {
  return `{"eoq":{"time":${secondsToJson(tookMs)},"change_id":${changeId}}}\n`;
}
