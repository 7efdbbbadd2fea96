/**
 * Urgent changesets that this node said or passed on lately. A peer that comes is pushed them.
 *
 * It hears of their rows in the exchange of recent rows, too, and fetches them. But what is fetched isn't sent on: of what a
 * host said while it had no stream, as it started or was cut off, only its neighbours heard, and the others when
 * repair came to it, some seconds later (scenario `fleet`). What is pushed and new goes on at once; what isn't new is dropped.
 *
 * @module
 */

import type { PeerId } from "../border.ts";
import { Fifo } from "../queues/fifo.ts";
import type { PushedBy } from "./outgoing.ts";

export interface UrgentFrame {
  readonly frame: Uint8Array;
  readonly by: PushedBy;
  /** Who sent it here; this node itself, if it made it. */
  readonly from: PeerId;
  readonly atMs: number;
}

/** For so long: less than ids are remembered (`seen.ts`), and as long as a node names its own recent rows after a start. */
const keptMs = 30_000;
/** So much at most, the latest: each new stream may begin with it. */
const keptBytesMax = 128 * 1024;
/** Larger ones are left to the exchange of recent rows. */
const frameBytesMax = 16 * 1024;

export class RecentUrgent {
  readonly #frames = new Fifo<UrgentFrame>();
  #bytes = 0;

  /** @param frame Not kept itself: it may be a view of a larger buffer. */
  add(frame: Uint8Array, by: PushedBy, from: PeerId, elapsedMs: number): void {
    if (frame.length > frameBytesMax) return;
    this.#frames.push({ frame: new Uint8Array(frame), by, from, atMs: elapsedMs });
    this.#bytes += frame.length;
    this.#forget(elapsedMs);
  }

  /** In the order in which they came. */
  since(elapsedMs: number): Iterable<UrgentFrame> {
    this.#forget(elapsedMs);
    return this.#frames.items();
  }

  #forget(elapsedMs: number): void {
    for (;;) {
      const { first } = this.#frames;
      if (first === undefined) return;
      if (this.#bytes <= keptBytesMax && elapsedMs - first.atMs < keptMs) return;
      this.#frames.shift();
      this.#bytes -= first.frame.length;
    }
  }
}
