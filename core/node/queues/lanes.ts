/**
 * What waits to be sent to one peer, by lane.
 *
 * The stream below is one ordered pipe, so whatever was handed to it delays all that follows. Hence
 * little is handed to it: each lane may hand over bytes only while fewer than its *window* are in
 * flight, and frames above {@link partBytesMax} go in parts. An urgent frame is sent before all that
 * waits here, and waits for the windows of the other lanes at most. Large urgent frames, which go in parts, come after
 * the others that are urgent: what one host says is down doesn't wait for the 64 MiB of another.
 *
 * Nor does it wait for a flood of small ones: what this node says of itself goes first, and urgent changesets take turns by
 * whom they are of (`fair-queue.ts`).
 *
 * What waits is bounded in bytes. Frames above the bound are refused (the caller counts them and leaves them to
 * repair). Of urgent ones, large or small, room is left for those who flood nobody. A peer that takes none while as many
 * come as may wait is closed by the caller, and gets them in the exchange of recent rows when it is back. It isn't for large
 * ones: two commits of one client would then cut its host off from all others, and these from each other.
 *
 * @module
 */

import type { Lane } from "../../change/changeset.ts";
import { partBytesMax } from "../../change/frame.ts";
import { FairQueue } from "./fair-queue.ts";
import { Fifo } from "./fifo.ts";
import { encodePart } from "./parts.ts";

type PerLane = readonly [urgent: number, normal: number, bulk: number];

export interface LaneLimits {
  /**
   * Bytes handed over and not taken yet, below which a lane may hand over more. An urgent frame waits for
   * the larger of the others and one part at most: 192 KiB are 15 ms at 100 Mbit/s; in a flood of urgent ones for the first.
   */
  readonly windowBytes: PerLane;
  /**
   * Bytes that may wait. For urgent: of small frames, and of large ones twice as many; a quarter more of those who send little.
   */
  readonly queueBytesMax: PerLane;
}

/** What one origin sends before it is another's turn: some ten rows of instances; and of large frames. */
const turnBytes = 4 * 1024;
const largeTurnBytes = 1024 * 1024;

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
  /** What this node says of itself: hellos, heartbeats, that it goes. */
  readonly #own = new Fifo<Uint8Array>();
  #ownBytes = 0;
  /** Changesets. */
  readonly #urgent: FairQueue<Uint8Array>;
  /** Since the stream took one of these. */
  #urgentCameBytes = 0;
  /** One at a time comes to its line. */
  readonly #largeWaiting: FairQueue<Uint8Array>;
  readonly #largeUrgent = createLine(0);
  readonly #normal = createLine(1);
  readonly #bulk = createLine(2);
  #inFlightBytes = 0;
  #nextTransfer = 1;

  constructor(limits: LaneLimits) {
    this.#limits = limits;
    const bytesMax = limits.queueBytesMax[0];
    const bytesOf = (frame: Uint8Array) => frame.length;
    this.#urgent = new FairQueue({ turnBytes, bytesMax }, bytesOf);
    const large = { turnBytes: largeTurnBytes, bytesMax: 2 * bytesMax };
    this.#largeWaiting = new FairQueue(large, bytesOf);
  }

  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Bytes that wait in a lane. */
  bytes(lane: Lane): number {
    if (lane === 1) return this.#normal.bytes;
    if (lane === 2) return this.#bulk.bytes;
    return this.#smallUrgentBytes + this.#largeUrgent.bytes + this.#largeWaiting.bytes;
  }

  /** Urgent frames wait that go whole: the stream doesn't take any more. */
  get isUrgentHeldUp(): boolean {
    return this.#smallUrgentBytes > 0;
  }

  /** As many such frames came as may wait, and the stream took none. */
  get isTooSlow(): boolean {
    return this.#urgentCameBytes > this.#limits.queueBytesMax[0];
  }

  get #smallUrgentBytes(): number {
    return this.#ownBytes + this.#urgent.bytes;
  }

  /**
   * False when the lane is full and the frame was not taken. What this node says of itself always is.
   *
   * @param source Of a changeset: who sent it here. @param origin The site that made it.
   */
  push(frame: Uint8Array, lane: Lane, source?: string, origin = ""): boolean {
    if (lane === 0) return this.#pushUrgent(frame, source, origin);
    const line = lane === 1 ? this.#normal : this.#bulk;
    const bytesMax = this.#limits.queueBytesMax[lane];
    if (line.bytes > 0 && line.bytes + frame.length > bytesMax) return false;
    line.queue.push({ frame, sent: 0, transfer: 0 });
    line.bytes += frame.length;
    return true;
  }

  #pushUrgent(frame: Uint8Array, source: string | undefined, origin: string): boolean {
    if (frame.length > partBytesMax) {
      return this.#largeWaiting.push(frame, source ?? "", origin, this.#largeUrgent.bytes);
    }
    this.#urgentCameBytes += frame.length;
    if (source !== undefined) return this.#urgent.push(frame, source, origin);
    this.#own.push(frame);
    this.#ownBytes += frame.length;
    return true;
  }

  /** The transport has `bytesLeft` of what it was handed still before it. */
  drained(bytesLeft: number): void {
    this.#inFlightBytes = bytesLeft;
  }

  /** Whatever is in flight: urgent frames that go whole, for a stream that is about to be closed. What ends it is the last. */
  *lastWords(): Generator<{ readonly lane: Lane; readonly bytes: Uint8Array }> {
    for (;;) {
      const bytes = this.#urgent.shift() ?? this.#nextOwn();
      if (bytes === undefined) return;
      yield { lane: 0, bytes };
    }
  }

  #nextOwn(): Uint8Array | undefined {
    const frame = this.#own.shift();
    if (frame !== undefined) this.#ownBytes -= frame.length;
    return frame;
  }

  /** The next bytes to hand to the stream; undefined while nothing waits or the windows are full. */
  next(): { readonly lane: Lane; readonly bytes: Uint8Array } | undefined {
    const { windowBytes } = this.#limits;
    if (this.#inFlightBytes < windowBytes[0]) {
      const bytes = this.#nextOwn() ?? this.#urgent.shift();
      if (bytes !== undefined) {
        this.#urgentCameBytes = 0;
        this.#inFlightBytes += bytes.length;
        return { lane: 0, bytes };
      }
    }
    // A large urgent frame mustn't fill the window that others have to find empty.
    if (this.#inFlightBytes < windowBytes[1]) {
      this.#takeLarge();
      const next = this.#nextOf(this.#largeUrgent) ?? this.#nextOf(this.#normal);
      if (next !== undefined) return next;
    }
    return this.#inFlightBytes < windowBytes[2] ? this.#nextOf(this.#bulk) : undefined;
  }

  /** One is sent to its end before the next, or the other side would have to keep the parts of many. */
  #takeLarge(): void {
    if (this.#largeUrgent.queue.length > 0) return;
    const frame = this.#largeWaiting.shift();
    if (frame === undefined) return;
    this.#largeUrgent.queue.push({ frame, sent: 0, transfer: 0 });
    this.#largeUrgent.bytes = frame.length;
  }

  #nextOf(line: Line): { readonly lane: Lane; readonly bytes: Uint8Array } | undefined {
    const { lane, queue } = line;
    const waiting = queue.first;
    if (waiting === undefined) return undefined;
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
}
