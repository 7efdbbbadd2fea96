/**
 * What a node counts, for `patina status` and for the simulator. Plain data, since the start.
 *
 * @module
 */

import type { Frame } from "../change/frame.ts";

export interface Counters {
  /** Frames of a newer peer's kinds: skipped. */
  framesUnknown: number;
  framesOtherScope: number;
  /** Frames for which a peer was dropped. */
  framesMalformed: number;
  /** Changesets: own commits, received for the first time, received again. */
  commits: number;
  pushesReceived: number;
  pushesRepeated: number;
  /** Changesets that had to be asked for, and requests that were answered too late or not at all. */
  grafts: number;
  graftsInVain: number;
  /** Frames refused by a full lane on the way out, by a full queue on the way in: left to repair. */
  sendDropped: number;
  applyDropped: number;
  /** Bodies that the store refused: malformed, or stamped too far ahead. */
  bodiesRefused: number;
  /** Exchanges begun here, and how they ended. */
  exchanges: number;
  exchangesBusy: number;
  exchangesBehind: number;
  exchangesSilent: number;
  /** Verdicts at a cut, whoever began. */
  verdictsEqual: number;
  verdictsDifferent: number;
  /** Rows that repair fetched; of these at a cut, those that changed nothing. */
  rowsFetched: number;
  rowsNoise: number;
  /** Rows sent unasked, because a comparison showed that the peer lacks them. */
  rowsOffered: number;
  /** Complete lists (scans of the store) asked of peers. */
  scansAsked: number;
  busySent: number;
}

export function createCounters(): Counters {
  return {
    framesUnknown: 0,
    framesOtherScope: 0,
    framesMalformed: 0,
    commits: 0,
    pushesReceived: 0,
    pushesRepeated: 0,
    grafts: 0,
    graftsInVain: 0,
    sendDropped: 0,
    applyDropped: 0,
    bodiesRefused: 0,
    exchanges: 0,
    exchangesBusy: 0,
    exchangesBehind: 0,
    exchangesSilent: 0,
    verdictsEqual: 0,
    verdictsDifferent: 0,
    rowsFetched: 0,
    rowsNoise: 0,
    rowsOffered: 0,
    scansAsked: 0,
    busySent: 0,
  };
}

/** Bytes of whole frames by kind: parts count as the frame they are parts of. */
export type BytesByKind = Partial<Record<Frame["kind"], number>>;
