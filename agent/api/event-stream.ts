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

import { errorJson, utf8 } from "./http.ts";
import type { StreamEvent } from "./store-service.ts";

/** What is thrown after the last piece of a stream that is cut. */
export class StreamCut extends Error {
  override readonly name = "StreamCut";
}

export class EventStream implements AsyncIterable<Uint8Array> {
  readonly #queue: Uint8Array[] = [];
  readonly #bytesMax: number;
  readonly #onEnd: () => void;
  #queuedBytes = 0;
  #ended = false;
  #isCut = false;
  #wake: (() => void) | undefined;

  /**
   * @param bytesMax of lines that wait, rows of the snapshot not counted
   * @param signal aborts when the client is gone
   * @param onEnd called once, when no more events are wanted
   */
  constructor(bytesMax: number, signal: AbortSignal, onEnd: () => void) {
    this.#bytesMax = bytesMax;
    this.#onEnd = onEnd;
    signal.addEventListener("abort", () => this.#end(), { once: true });
    if (signal.aborted) this.#end();
  }

  /** From the store. Never blocks. */
  readonly push = (event: StreamEvent): void => {
    if (this.#ended) return;
    if (event.kind === "end") {
      this.#isCut = event.isCut;
      this.#end();
      return;
    }
    if (!event.isSnapshot) {
      // One that has read everything gets a transaction of any size.
      const isBehind = this.#queuedBytes > 0;
      if (isBehind && this.#queuedBytes + event.bytes.length > this.#bytesMax) {
        const why = `too slow: over ${this.#bytesMax} bytes of events were waiting to be read`;
        const from = lastChangeId(this.#queue.at(-1) as Uint8Array);
        this.refuse(from === undefined ? `${why}; ask anew` : `${why}; go on with from=${from}`);
        return;
      }
      this.#queuedBytes += event.bytes.length;
    }
    this.#queue.push(event.bytes);
    this.#wake?.();
  };

  /** Ends it with a line that says why, after what was queued. */
  refuse(why: string): void {
    if (this.#ended) return;
    this.#queue.push(utf8(`${errorJson(why)}\n`));
    this.#end();
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        if (this.#queue.length > 0) {
          const chunk =
            this.#queue.length === 1 ? (this.#queue[0] as Uint8Array) : Buffer.concat(this.#queue);
          this.#queue.length = 0;
          this.#queuedBytes = 0;
          yield chunk;
        } else if (this.#isCut) throw new StreamCut();
        else if (this.#ended) return;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.#end();
    }
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
