/**
 * What one subscriber has not read yet: a bounded queue between the store, which never waits, and a
 * carrier that may.
 *
 * A reader that falls behind by more than the bound is let go: it gets what was queued, one line that
 * says why and from which change to go on, and the end. It never holds up another.
 *
 * An answer that is over ends; one that the end of the agent breaks off is cut, so that a client which takes
 * streams up again by itself does so (Corrosion's does only when it sees its connection break).
 *
 * @module
 */

import { type ApiResponse, errorJson, utf8 } from "./http.ts";
import type { StreamEvent } from "./store-service.ts";
import type { Unread, UnreadRoom } from "./unread-room.ts";

/** What is thrown after the last piece of a stream that is cut. */
export class StreamCut extends Error {
  override readonly name = "StreamCut";
}

/** Pieces are handed on together up to this size. */
const chunkBytesMax = 256 * 1024;
/** The bound for one reader's events while all of them together have left too much unread. */
const fullBytesMax = 64 * 1024;

const over: IteratorReturnResult<undefined> = { done: true, value: undefined };

interface Queued {
  readonly bytes: Uint8Array;
  /** Rows of the snapshot count to no bound but the room's. */
  readonly isSnapshot: boolean;
}

export class EventStream implements AsyncIterable<Uint8Array>, Unread {
  readonly #queue: Queued[] = [];
  readonly #bytesMax: number;
  readonly #room: UnreadRoom;
  readonly #onEnd: () => void;
  /** Of events in the queue. */
  #eventBytes = 0;
  /** Of all that is in the queue, and of what the carrier has been handed last. */
  #unreadBytes = 0;
  /** Of the piece that was handed over last. */
  #handedBytes = 0;
  #idleSinceMs = 0;
  #ended = false;
  #isCut = false;
  #isGone = false;
  #hasBegun = false;
  #isTurnedAway = false;
  #wake: (() => void) | undefined;
  #onCut = (): void => {};

  /**
   * @param bytesMax of lines that wait, rows of the snapshot not counted
   * @param signal aborts when the client is gone
   * @param onEnd called once, when no more events are wanted
   */
  constructor(bytesMax: number, room: UnreadRoom, signal: AbortSignal, onEnd: () => void) {
    this.#bytesMax = bytesMax;
    this.#room = room;
    this.#onEnd = onEnd;
    signal.addEventListener("abort", () => this.#gone(), { once: true });
    if (signal.aborted) this.#gone();
  }

  /** From the store. Never blocks. */
  readonly push = (event: StreamEvent): void => {
    if (this.#ended) return;
    if (event.kind === "end") {
      this.#isCut = event.isCut;
      this.#end();
      return;
    }
    const { bytes, isSnapshot } = event;
    const { isFull } = this.#room;
    if (!isSnapshot) {
      // One that has read everything gets a transaction of any size.
      const isBehind = this.#eventBytes > 0;
      const bytesMax = isFull ? Math.min(this.#bytesMax, fullBytesMax) : this.#bytesMax;
      if (isBehind && this.#eventBytes + bytes.length > bytesMax) {
        const why = `too slow: over ${bytesMax} bytes of events were waiting to be read`;
        const from = lastChangeId((this.#queue.at(-1) as Queued).bytes);
        this.refuse(from === undefined ? `${why}; ask anew` : `${why}; go on with from=${from}`);
        return;
      }
    } else if (isFull && !this.#hasBegun) {
      // Many may have been let in before the first of them had its rows.
      if (!this.#room.mayEnter(performance.now())) {
        this.#isTurnedAway = true;
        this.#end();
        return;
      }
    } else if (isFull && this.#unreadBytes > 0) {
      this.#room.dropStalled(this, performance.now());
      if (this.#ended) return;
    }
    this.#hasBegun = true;
    this.#add({ bytes, isSnapshot });
    this.#wake?.();
  };

  /** Ends it with a line that says why, after what was queued. */
  refuse(why: string): void {
    if (this.#ended) return;
    this.#add({ bytes: utf8(`${errorJson(why)}\n`), isSnapshot: true });
    this.#end();
  }

  /** The same, in place of what was queued. What its carrier was handed counts until it is taken, or it is dropped once more. */
  drop(why: string): void {
    if (this.#ended) {
      // What is left of one that has ended has nothing more to say.
      this.#isCut = true;
      this.#forget();
      // Not within what another connection is sending.
      queueMicrotask(() => this.#onCut());
      return;
    }
    this.#queue.length = 0;
    this.#changeUnread(this.#handedBytes - this.#unreadBytes);
    this.#idleSinceMs = performance.now();
    this.refuse(why);
  }

  /** @param cut as {@link ApiResponse.onCut} has it */
  readonly onCut = (cut: () => void): void => {
    this.#onCut = cut;
  };

  get isEnded(): boolean {
    return this.#ended;
  }

  /** There was no room for its first line: nothing of it was sent. */
  get isTurnedAway(): boolean {
    return this.#isTurnedAway;
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  get idleSinceMs(): number {
    return this.#idleSinceMs;
  }

  /** By hand: a generator takes two promises more for each piece. */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return {
      next: () => this.#next(),
      return: async () => {
        this.#gone();
        return over;
      },
    };
  }

  async #next(): Promise<IteratorResult<Uint8Array, undefined>> {
    // Whoever asks for more has done with the last.
    if (this.#handedBytes > 0) this.#changeUnread(-Math.min(this.#handedBytes, this.#unreadBytes));
    this.#handedBytes = 0;
    while (this.#queue.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#queue.length > 0) {
      const value = this.#take();
      this.#handedBytes = value.length;
      return { done: false, value };
    }
    this.#gone();
    if (this.#isCut) throw new StreamCut();
    return over;
  }

  #add(queued: Queued): void {
    if (this.#unreadBytes === 0) this.#idleSinceMs = performance.now();
    this.#queue.push(queued);
    if (!queued.isSnapshot) this.#eventBytes += queued.bytes.length;
    this.#changeUnread(queued.bytes.length);
  }

  /** The next pieces, together. */
  #take(): Uint8Array {
    let count = 0;
    let length = 0;
    for (const { bytes, isSnapshot } of this.#queue) {
      if (count > 0 && length + bytes.length > chunkBytesMax) break;
      count++;
      length += bytes.length;
      if (!isSnapshot) this.#eventBytes -= bytes.length;
    }
    const taken = this.#queue.splice(0, count);
    this.#idleSinceMs = performance.now();
    return count === 1
      ? (taken[0] as Queued).bytes
      : Buffer.concat(taken.map(({ bytes }) => bytes));
  }

  #changeUnread(bytes: number): void {
    this.#unreadBytes += bytes;
    this.#room.changed(this, bytes);
  }

  #forget(): void {
    this.#queue.length = 0;
    this.#changeUnread(-this.#unreadBytes);
  }

  /** Nobody reads what is left. */
  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#forget();
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    this.#wake?.();
  }
}

/** Of the last change in these lines, or of the rows or the transaction that they end; undefined for table updates. */
function lastChangeId(lines: Uint8Array): string | undefined {
  const tail = Buffer.from(
    lines.subarray(lines.lastIndexOf(0x0a, lines.length - 2) + 1),
  ).toString();
  return /^\{"change":.*,(\d+)\]\}\n$/s.exec(tail)?.[1] ?? /"change_id":(\d+)/.exec(tail)?.[1];
}
