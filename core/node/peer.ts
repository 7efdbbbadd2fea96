/**
 * What a node keeps for each connected peer.
 *
 * @module
 */

import type { Hello } from "../change/hello.ts";
import type { PeerId } from "./border.ts";
import { type LaneLimits, LaneQueues } from "./queues/lanes.ts";
import { Reassembly } from "./queues/parts.ts";

export interface Agreement {
  /** The cut at which both settled images were equal. */
  readonly cut: number;
  /** Wall clock of the comparison. */
  readonly atMs: number;
}

/** How many clock samples are looked back on: the one that travelled fastest tells the offset best. */
const clockSamplesMax = 16;
/** Hellos that are taken as they come: one at first, and one more after each reload of a schema. */
const hellosAtOnce = 8;

export class Peer {
  readonly id: PeerId;
  readonly lanes: LaneQueues;
  readonly parts: Reassembly = new Reassembly();
  readonly connectedMs: number;
  helloSent = false;
  /** Undefined until the peer's hello: nothing else is taken before. */
  hello: Hello | undefined;
  /** Of more hellos the last: a member that says nothing else would keep the store writing who it is. */
  #heldHello: Uint8Array | undefined;
  #helloCredit = hellosAtOnce;
  /** Of its last heartbeat, in steps as of the frame format. */
  storeLag: 0 | 1 | 2 | 3 = 0;
  agreement: Agreement | undefined;
  /** Elapsed time before which it is not asked again: it answered `busy`. */
  busyUntilMs = 0;
  /** Half a round trip is taken off the clock offset. */
  rttMs: number | undefined;
  /** Elapsed time at which a part of a large frame came last. */
  partMs = 0;
  readonly #clockSamples: number[] = [];
  bytesSent = 0;
  bytesReceived = 0;

  constructor(id: PeerId, limits: LaneLimits, elapsedMs: number) {
    this.id = id;
    this.lanes = new LaneQueues(limits);
    this.connectedMs = elapsedMs;
  }

  /** Both hellos are through. */
  get isReady(): boolean {
    return this.helloSent && this.hello !== undefined;
  }

  /** False: too many came lately, and it waits for {@link takeHello}. */
  mayHearHello(body: Uint8Array): boolean {
    if (this.#helloCredit === 0) {
      this.#heldHello = body;
      return false;
    }
    this.#helloCredit--;
    return true;
  }

  /** With each heartbeat of this node: a hello that had to wait. */
  takeHello(): Uint8Array | undefined {
    const held = this.#heldHello;
    this.#heldHello = undefined;
    if (held === undefined) this.#helloCredit = Math.min(hellosAtOnce, this.#helloCredit + 1);
    return held;
  }

  /** Its hello named the feature. */
  has(feature: string): boolean {
    return this.hello?.features.includes(feature) === true;
  }

  /** @param peerMs The peer's clock as sent. @param nowMs The own wall clock as it came. */
  clockSeen(peerMs: number, nowMs: number): void {
    this.#clockSamples.push(peerMs - nowMs);
    if (this.#clockSamples.length > clockSamplesMax) this.#clockSamples.shift();
  }

  /** The peer's clock against the own, ms: positive when it is ahead. Undefined before its first frame. */
  clockOffsetMs(): number | undefined {
    if (this.#clockSamples.length === 0) return undefined;
    return Math.max(...this.#clockSamples) + (this.rttMs ?? 0) / 2;
  }

  rttSeen(ms: number): void {
    this.rttMs = this.rttMs === undefined ? ms : Math.min(ms, this.rttMs * 0.9 + ms * 0.1);
  }
}
