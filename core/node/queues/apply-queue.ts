/**
 * What waits to be applied in lanes 1 and 2: changesets that were pushed and rows that repair fetched.
 *
 * The store gets one slice at a time (`border.ts`), so that an urgent change waits for one slice at
 * most. Each peer has its own queue and they take turns, so that one that floods doesn't hold up the
 * others; normal goes before bulk, but every fifth slice is bulk's.
 *
 * @module
 */

import type { PeerId } from "../border.ts";
import { Fifo } from "./fifo.ts";

export interface ApplyItem {
  readonly peer: PeerId;
  readonly lane: 1 | 2;
  readonly what: "changesets" | "rows";
  readonly body: Uint8Array;
  /** When it came, the node's elapsed time. */
  readonly atMs: number;
  /** The whole second of its stamp, while it keeps the cut from passing that; see `pending-cut.ts`. */
  readonly second: number | undefined;
  /** Rows in the body and how many of them changed something; undefined when it was not applied. */
  readonly done?: ((result: { rows: number; changed: number } | undefined) => void) | undefined;
}

export interface ApplyLimits {
  /** Changesets in one slice. A row block is a slice of its own. */
  readonly sliceBodiesMax: number;
  /** Bytes in one slice; a larger body is a slice of its own. */
  readonly sliceBytesMax: number;
  /** Of urgent changesets that the store may have at once; beyond it they wait with the normal ones. */
  readonly urgentBytesMax: number;
  /** Bytes that may wait, by lane. */
  readonly normalBytesMax: number;
  readonly bulkBytesMax: number;
}

/** Every fifth slice is bulk's when both wait. */
const bulkTurn = 5;

class Waiting {
  readonly byPeer = new Map<PeerId, Fifo<ApplyItem>>();
  bytes = 0;

  push(item: ApplyItem): void {
    let queue = this.byPeer.get(item.peer);
    if (queue === undefined) {
      queue = new Fifo();
      this.byPeer.set(item.peer, queue);
    }
    queue.push(item);
    this.bytes += item.body.length;
  }

  count(): number {
    let count = 0;
    for (const queue of this.byPeer.values()) count += queue.length;
    return count;
  }

  take(bodiesMax: number, bytesMax: number): ApplyItem[] {
    const slice: ApplyItem[] = [];
    for (const [peer, queue] of this.byPeer) {
      let bytes = 0;
      while (queue.first !== undefined && slice.length < bodiesMax) {
        const { body, what } = queue.first;
        // A row block is large already, and who fetched it wants to know what it changed.
        if (slice[0]?.what === "rows") break;
        if (slice.length > 0 && (bytes + body.length > bytesMax || what !== slice[0]?.what)) break;
        bytes += body.length;
        slice.push(queue.shift() as ApplyItem);
      }
      this.bytes -= bytes;
      // To the end of the line, or out of it: a map keeps the order of insertion.
      this.byPeer.delete(peer);
      if (queue.length > 0) this.byPeer.set(peer, queue);
      break;
    }
    return slice;
  }
}

export class ApplyQueue {
  readonly #limits: ApplyLimits;
  readonly #normal = new Waiting();
  readonly #bulk = new Waiting();
  #turn = 0;

  constructor(limits: ApplyLimits) {
    this.#limits = limits;
  }

  /** Bodies that wait. */
  get count(): number {
    return this.#normal.count() + this.#bulk.count();
  }

  get normalBytes(): number {
    return this.#normal.bytes;
  }

  get bulkBytes(): number {
    return this.#bulk.bytes;
  }

  /** False when the lane is full: the item was not taken. */
  push(item: ApplyItem): boolean {
    const waiting = item.lane === 1 ? this.#normal : this.#bulk;
    const bytesMax = item.lane === 1 ? this.#limits.normalBytesMax : this.#limits.bulkBytesMax;
    if (waiting.bytes > 0 && waiting.bytes + item.body.length > bytesMax) return false;
    waiting.push(item);
    return true;
  }

  /** The next slice is a block of rows that isn't large. */
  get isBlockNext(): boolean {
    const order = this.#order((this.#turn + 1) % bulkTurn);
    const waiting = order.find(({ byPeer }) => byPeer.size > 0);
    for (const { first } of waiting?.byPeer.values() ?? []) {
      return first?.what === "rows" && first.body.length <= this.#limits.sliceBytesMax;
    }
    return false;
  }

  /** The next slice, of one peer, lane and kind; empty when nothing waits. */
  nextSlice(): readonly ApplyItem[] {
    this.#turn = (this.#turn + 1) % bulkTurn;
    for (const waiting of this.#order(this.#turn)) {
      const slice = waiting.take(this.#limits.sliceBodiesMax, this.#limits.sliceBytesMax);
      if (slice.length > 0) return slice;
    }
    return [];
  }

  #order(turn: number): readonly Waiting[] {
    return turn === 0 ? [this.#bulk, this.#normal] : [this.#normal, this.#bulk];
  }

  /** When the oldest item came; undefined when nothing waits. Costs one look at each peer. */
  oldestMs(): number | undefined {
    let oldest: number | undefined;
    for (const waiting of [this.#normal, this.#bulk]) {
      for (const queue of waiting.byPeer.values()) {
        const { atMs } = queue.first as ApplyItem;
        if (oldest === undefined || atMs < oldest) oldest = atMs;
      }
    }
    return oldest;
  }
}
