/**
 * What waits to be sent to one peer, by lane.
 *
 * The stream below is one ordered pipe, so whatever was handed to it delays all that follows. Hence
 * little is handed to it: each lane may hand over bytes only while fewer than its *window* are in
 * flight, and frames above {@link partBytesMax} go in parts. An urgent frame is sent before all that
 * waits here, and waits for the windows of the other lanes at most. Large urgent frames, which go in parts, come after
 * the others that are urgent: what one host says is down doesn't wait for the 64 MiB of another.
 *
 * What waits is bounded in bytes. Frames above the bound are refused (the caller counts them and leaves them to
 * repair). Urgent frames that go whole are never dropped; a peer that doesn't take them is
 * closed by the caller, and gets them in the exchange of recent rows when it is back. It isn't for large ones: two
 * commits of one client would then cut its host off from all others, and these from each other.
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
  /**
   * Bytes that may wait. For urgent: above it the peer is too slow to be kept; and as many of large frames, beyond
   * which one more may wait.
   */
  readonly queueBytesMax: PerLane;
}

interface Waiting {
  readonly frame: Uint8Array;
  /** Bytes already sent as parts. */
  sent: number;
  transfer: number;
}

/** Frames of one kind, first come, first sent. */
interface Line {
  readonly lane: Lane;
  readonly queue: Fifo<Waiting>;
  /** That wait. */
  bytes: number;
}

function createLine(lane: Lane): Line {
  return { lane, queue: new Fifo(), bytes: 0 };
}

export class LaneQueues {
  readonly #limits: LaneLimits;
  readonly #urgent = createLine(0);
  readonly #largeUrgent = createLine(0);
  readonly #normal = createLine(1);
  readonly #bulk = createLine(2);
  /** In the order in which they are sent. */
  readonly #lines: readonly Line[] = [this.#urgent, this.#largeUrgent, this.#normal, this.#bulk];
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
    return this.#lines.reduce((sum, line) => (line.lane === lane ? sum + line.bytes : sum), 0);
  }

  /** Urgent frames wait that go whole: the stream doesn't take any more. */
  get isUrgentHeldUp(): boolean {
    return this.#urgent.bytes > 0;
  }

  /** Whether such frames pile up beyond their bound. */
  get isTooSlow(): boolean {
    return this.#urgent.bytes > this.#limits.queueBytesMax[0];
  }

  /** False when the lane is full and the frame was not taken. Urgent frames that go whole always are. */
  push(frame: Uint8Array, lane: Lane): boolean {
    const line = this.#lineOf(frame, lane);
    if (this.#isFull(line, frame)) return false;
    line.queue.push({ frame, sent: 0, transfer: 0 });
    line.bytes += frame.length;
    return true;
  }

  #lineOf(frame: Uint8Array, lane: Lane): Line {
    if (lane === 1) return this.#normal;
    if (lane === 2) return this.#bulk;
    return frame.length > partBytesMax ? this.#largeUrgent : this.#urgent;
  }

  #isFull(line: Line, frame: Uint8Array): boolean {
    const bytesMax = this.#limits.queueBytesMax[line.lane];
    if (line === this.#urgent) return false;
    if (line === this.#largeUrgent) return line.bytes > bytesMax;
    return line.bytes > 0 && line.bytes + frame.length > bytesMax;
  }

  /** The transport has `bytesLeft` of what it was handed still before it. */
  drained(bytesLeft: number): void {
    this.#inFlightBytes = bytesLeft;
  }

  /** Whatever is in flight: urgent frames that go whole, for a stream that is about to be closed. */
  *lastWords(): Generator<{ readonly lane: Lane; readonly bytes: Uint8Array }> {
    for (;;) {
      const waiting = this.#urgent.queue.shift();
      if (waiting === undefined) return;
      this.#urgent.bytes -= waiting.frame.length;
      yield { lane: 0, bytes: waiting.frame };
    }
  }

  /** The next bytes to hand to the stream; undefined while nothing waits or the windows are full. */
  next(): { readonly lane: Lane; readonly bytes: Uint8Array } | undefined {
    for (const line of this.#lines) {
      const { lane, queue } = line;
      const waiting = queue.first;
      if (waiting === undefined) continue;
      // A large urgent frame mustn't fill the window that others have to find empty.
      const windowBytes = this.#limits.windowBytes[line === this.#largeUrgent ? 1 : lane];
      if (this.#inFlightBytes >= windowBytes) continue;
      const { frame } = waiting;
      if (frame.length <= partBytesMax) {
        queue.shift();
        line.bytes -= frame.length;
        this.#inFlightBytes += frame.length;
        return { lane, bytes: frame };
      }
      if (waiting.transfer === 0) {
        waiting.transfer = this.#nextTransfer;
        this.#nextTransfer = (this.#nextTransfer % 0xffff_ffff) + 1;
      }
      const part = encodePart(frame, waiting.sent, waiting.transfer, lane);
      line.bytes -= part.next - waiting.sent;
      waiting.sent = part.next;
      if (part.next === frame.length) queue.shift();
      this.#inFlightBytes += part.bytes.length;
      return { lane, bytes: part.bytes };
    }
    return undefined;
  }
}
