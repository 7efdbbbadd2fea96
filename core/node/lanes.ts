/**
 * What waits to be sent to one peer, by lane.
 *
 * The stream below is one ordered pipe, so whatever was handed to it delays all that follows. Hence
 * little is handed to it: each lane may hand over bytes only while fewer than its *window* are in
 * flight, and frames above {@link partBytesMax} go in parts. An urgent frame is sent before all that
 * waits here, and waits for the windows of the other lanes at most.
 *
 * What waits is bounded in bytes. Normal and bulk frames above the bound are refused (the caller counts
 * them and leaves them to repair). Urgent frames are never dropped; a peer that doesn't take them is
 * closed by the caller, and gets them in the exchange of recent rows when it is back.
 *
 * @module
 */

import type { Lane } from "../change/changeset.ts";
import { partBytesMax } from "../change/frame.ts";
import { Fifo } from "./fifo.ts";
import { encodePart } from "./parts.ts";

type PerLane = readonly [urgent: number, normal: number, bulk: number];

export interface LaneLimits {
  /**
   * Bytes handed over and not taken yet, below which a lane may hand over more. An urgent frame waits for
   * the larger of the others and one part at most: 192 KiB are 15 ms at 100 Mbit/s.
   */
  readonly windowBytes: PerLane;
  /** Bytes that may wait. For urgent: above it the peer is too slow to be kept. */
  readonly queueBytesMax: PerLane;
}

interface Waiting {
  readonly frame: Uint8Array;
  /** Bytes already sent as parts. */
  sent: number;
  transfer: number;
}

export class LaneQueues {
  readonly #limits: LaneLimits;
  readonly #queues = [new Fifo<Waiting>(), new Fifo<Waiting>(), new Fifo<Waiting>()] as const;
  readonly #bytes: [number, number, number] = [0, 0, 0];
  #inFlightBytes = 0;
  #nextTransfer = 1;

  constructor(limits: LaneLimits) {
    this.#limits = limits;
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Bytes that wait in a lane. */
  bytes(lane: Lane): number {
    return this.#bytes[lane];
  }

  /** Whether urgent frames pile up beyond their bound. */
  get isTooSlow(): boolean {
    return this.#bytes[0] > this.#limits.queueBytesMax[0];
  }

  /** False when the lane is full and the frame was not taken. Urgent frames always are. */
  push(frame: Uint8Array, lane: Lane): boolean {
    const full =
      this.#bytes[lane] > 0 && this.#bytes[lane] + frame.length > this.#limits.queueBytesMax[lane];
    if (lane !== 0 && full) return false;
    this.#queues[lane].push({ frame, sent: 0, transfer: 0 });
    this.#bytes[lane] += frame.length;
    return true;
  }

  /** The transport has `bytesLeft` of what it was handed still before it. */
  drained(bytesLeft: number): void {
    this.#inFlightBytes = bytesLeft;
  }

  /** The next bytes to hand to the stream; undefined while nothing waits or the windows are full. */
  next(): { readonly lane: Lane; readonly bytes: Uint8Array } | undefined {
    for (const lane of [0, 1, 2] as const) {
      const queue = this.#queues[lane];
      const waiting = queue.first;
      if (waiting === undefined) continue;
      if (this.#inFlightBytes >= this.#limits.windowBytes[lane]) continue;
      const { frame } = waiting;
      if (frame.length <= partBytesMax) {
        queue.shift();
        this.#bytes[lane] -= frame.length;
        this.#inFlightBytes += frame.length;
        return { lane, bytes: frame };
      }
      if (waiting.transfer === 0) {
        waiting.transfer = this.#nextTransfer;
        this.#nextTransfer = (this.#nextTransfer % 0xffff_ffff) + 1;
      }
      const part = encodePart(frame, waiting.sent, waiting.transfer, lane);
      this.#bytes[lane] -= part.next - waiting.sent;
      waiting.sent = part.next;
      if (part.next === frame.length) queue.shift();
      this.#inFlightBytes += part.bytes.length;
      return { lane, bytes: part.bytes };
    }
    return undefined;
  }
}
