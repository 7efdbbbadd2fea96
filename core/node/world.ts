/**
 * What the parts of a node machine (answers, fetches, recent rows, repair) need of the whole.
 *
 * @module
 */

import type { Entry, Frame } from "../change/frame.ts";
import type { Hlc } from "../clock/stamp.ts";
import type { PeerId, SlotReport } from "./border.ts";
import type { Counters } from "./counters.ts";
import type { NodeTuning, ZstdCodec } from "./options.ts";
import type { Peer } from "./peer.ts";
import type { AnswerTaken, QuestionAsked } from "./queues/questions.ts";

export interface Applied {
  readonly rows: number;
  readonly changed: number;
}

export interface World {
  readonly tuning: NodeTuning;
  readonly zstd: ZstdCodec | undefined;
  readonly counters: Counters;
  /** Milliseconds since the start of this machine; never runs back. */
  readonly elapsedMs: number;
  /** The wall clock. */
  readonly nowMs: number;
  /** The store's last report; undefined while it starts. */
  readonly slot: SlotReport | undefined;
  /** The store's index isn't built yet: what its slot says of its rows is of a part of them. */
  readonly isStarting: boolean;
  /** The store's HLC now, as well as it is known here: ms. */
  readonly hlcMs: number;
  readonly horizon: Hlc;
  /** The own site; undefined before the store told it. */
  readonly site: string | undefined;
  random(): number;
  /** A number for an exchange or fetch: 1..2**32, none twice in a row of a million. */
  nextExchange(): number;
  /** Peers whose hello is through. */
  readyPeers(): readonly Peer[];
  readyPeer(id: PeerId): Peer | undefined;
  /** The newest cut that covers nothing that waits to be applied; 0 while there is none. */
  newestCut(): number;
  /** Questions asked for this peer that wait for the store. */
  waitingFor(peer: PeerId): number;
  /** The store has not answered for too long. */
  isStuck(): boolean;
  /** False: the lane is full, or the peer has gone, and the frame is dropped. */
  send(peer: Peer, frame: Frame): boolean;
  /** Closes the connection to a peer that doesn't keep to the protocol. */
  malformed(peer: Peer, why: string): void;
  ask(question: QuestionAsked, taken: AnswerTaken, forPeer?: PeerId): void;
  /** Rows from a peer, through the ordinary merge. `done` gets undefined when they were dropped. */
  applyRows(
    peer: Peer,
    block: Uint8Array,
    lane: 1 | 2,
    done?: (applied: Applied | undefined) => void,
  ): void;
}

/** Cuts a list of entries for frames that need no parts. */
export function* entryChunks(
  entries: readonly Entry[],
): Generator<{ readonly entries: readonly Entry[]; readonly more: boolean }> {
  // 33 to 48 bytes each: below 64 KiB.
  const entriesPerFrame = 1200;
  let at = 0;
  do {
    const next = Math.min(entries.length, at + entriesPerFrame);
    yield { entries: entries.slice(at, next), more: next < entries.length };
    at = next;
  } while (at < entries.length);
}
