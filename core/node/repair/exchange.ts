/**
 * The state of one exchange of repair, with one peer. What moves it on is `repair.ts`.
 *
 * @module
 */

import type { Entry, FingerprintHex } from "../../change/frame.ts";
import type { Moment, PeerId } from "../border.ts";
import type { Task } from "./repair-task.ts";

export interface Exchange {
  readonly id: number;
  readonly peer: PeerId;
  readonly startedMs: number;
  moment: Moment;
  rowsOwn: number;
  rowsPeer: number;
  /** Done from the end, so that a subtree is finished before the next is opened. */
  readonly tasks: Task[];
  /** What an answer, or the last row of a stream, is awaited for; one at a time. */
  step: Task | "root" | undefined;
  /** Both halves of a walk, as they come. */
  walkOwn: readonly FingerprintHex[] | undefined;
  walkPeer: readonly FingerprintHex[] | undefined;
  /** What a list has named so far; undefined while none is awaited: a peer may send one again. */
  entries: Entry[] | undefined;
  /** Nodes in which recent rows explained nothing, to be listed in full. */
  readonly unexplained: number[];
  unexplainedLevel: number;
  isScanned: boolean;
  hasListed: boolean;
  fetches: number;
  /** Rows that changed here by what was fetched. */
  changed: number;
  /** The roots differ, of settled images. */
  differs: boolean;
  /** Recent rows are not asked for: all rows of what differs are. */
  skipsRecent: boolean;
  /** Rows came by whole ranges. */
  hasRanges: boolean;
  /** They changed something: go on soon. */
  goOn: boolean;
  isStreaming: boolean;
  /** Elapsed time after which the peer counts as silent. */
  silentAtMs: number;
  /** Elapsed time of the last row that changed here. */
  changedMs: number;
}

/** One that has asked its peer for its root. */
export function openExchange(
  begun: Pick<Exchange, "id" | "peer" | "startedMs" | "moment" | "rowsOwn" | "silentAtMs">,
): Exchange {
  return {
    ...begun,
    rowsPeer: 0,
    tasks: [],
    step: "root",
    walkOwn: undefined,
    walkPeer: undefined,
    entries: undefined,
    unexplained: [],
    unexplainedLevel: 0,
    isScanned: false,
    hasListed: false,
    fetches: 0,
    changed: 0,
    differs: false,
    skipsRecent: false,
    hasRanges: false,
    goOn: false,
    isStreaming: false,
    changedMs: begun.startedMs,
  };
}
