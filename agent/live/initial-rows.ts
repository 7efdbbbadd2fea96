/**
 * The rows of a live query before its first event: where a new subscription gets them from, and the
 * lines that a reader gets.
 *
 * @module
 */

import { secondsToJson } from "../api/json-writer.ts";
import type { Evaluation } from "./evaluation.ts";
import type { Entry } from "./live-registry.ts";
import type { Subscription } from "./subscription.ts";

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

/** The lines `columns`, each `row`, and `eoq`, in pieces. @param tookMs what running it took */
export function* snapshotLines(
  subscription: Subscription,
  tookMs: number,
): IterableIterator<string> {
  let text = `{"columns":${subscription.columnsJson}}\n`;
  for (const { rowId, cells } of subscription.sortedRows()) {
    text += `{"row":[${rowId},${cells}]}\n`;
    if (text.length < chunkCharsMin) continue;
    yield text;
    text = "";
  }
  const { lastId } = subscription.history;
  yield `${text}{"eoq":{"time":${secondsToJson(tookMs)},"change_id":${lastId}}}\n`;
}
