/**
 * What goes into the node machine and what comes out of it: plain data, so a run can be logged and replayed.
 *
 * @module
 */

import type { Lane } from "../change/changeset.ts";
import type { MemberRow, PeerId, StoreReply, StoreRequest } from "./border.ts";
import type { BytesByKind, Counters } from "./counters.ts";
import type { Agreement } from "./peer.ts";

export type NodeEvent =
  /** A stream is open and the peer has proved membership. One stream a peer: the caller sees to that. */
  | { readonly kind: "connected"; readonly peer: PeerId }
  /** One frame from `kind` on, without its length. The bytes must not change afterwards. */
  | { readonly kind: "received"; readonly peer: PeerId; readonly frame: Uint8Array }
  /** The stream is closed, for whatever reason; also after a `close` effect (then it may be left out). */
  | { readonly kind: "disconnected"; readonly peer: PeerId }
  /**
   * The stream has taken what it was handed, but for `bytesLeft` (0 when left out). To be told whenever
   * it falls to nothing; without it a lane stands still once its window is full.
   */
  | { readonly kind: "drained"; readonly peer: PeerId; readonly bytesLeft?: number }
  | { readonly kind: "store"; readonly reply: StoreReply }
  /**
   * The caller is about to close this stream to make room for another neighbour; it closes it after the
   * effects are carried out. The peer is told, so that neither holds the other for dead.
   */
  | { readonly kind: "parting"; readonly peer: PeerId }
  /** The agent stops as planned. @param untilMs Wall clock by which it is back; 0: not soon. */
  | { readonly kind: "stopping"; readonly untilMs: number; readonly reason: string }
  /** The time of `pollTimeout` has come. */
  | { readonly kind: "timeout" };

export type NodeEffect =
  /** Hand these bytes to the peer's stream, after a length. In order, also across lanes. */
  | {
      readonly kind: "send";
      readonly peer: PeerId;
      readonly lane: Lane;
      readonly bytes: Uint8Array;
    }
  /** Close the peer's stream. The machine has forgotten it already. */
  | { readonly kind: "close"; readonly peer: PeerId; readonly why: string }
  /** Post this to the store. */
  | { readonly kind: "store"; readonly request: StoreRequest }
  /** Something that a person should know. */
  | { readonly kind: "alarm"; readonly alarm: Alarm; readonly peer: PeerId; readonly text: string };

export type Alarm = "schema-differs" | "name-taken" | "key-taken" | "no-common-version";

export interface PeerSnapshot {
  readonly peer: PeerId;
  readonly name: string | undefined;
  readonly region: string | undefined;
  readonly connectedForMs: number;
  readonly rttMs: number | undefined;
  readonly clockOffsetMs: number | undefined;
  readonly agreement: Agreement | undefined;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly inFlightBytes: number;
  readonly waitingBytes: readonly [urgent: number, normal: number, bulk: number];
}

export interface NodeSnapshot {
  readonly peers: readonly PeerSnapshot[];
  readonly members: readonly MemberRow[];
  readonly counters: Readonly<Counters>;
  readonly bytesSent: Readonly<BytesByKind>;
  readonly bytesReceived: Readonly<BytesByKind>;
  /** Changesets and row blocks that wait to be applied, and their bytes by lane. */
  readonly applyBodies: number;
  readonly applyBytes: { readonly normal: number; readonly bulk: number };
  readonly questionsWaiting: number;
  readonly storeLagMs: number;
  readonly isStuck: boolean;
  readonly newestCut: number;
}
