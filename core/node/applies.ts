/**
 * What the store applies for this node: changesets that peers pushed and rows that repair fetched.
 *
 * Urgent ones are posted at once, up to a bound in bytes; those that the store applies in slices have one of their own, so
 * that they don't take the room of the others. Of lanes 1 and 2 the store has credit for one slice at a
 * time; the others wait here (`apply-queue.ts`), and so do urgent ones beyond their bound. A changeset keeps the cut from passing its stamp until it is
 * applied (`pending-cut.ts`).
 *
 * @module
 */

import type { Lane } from "../change/changeset.ts";
import { type ApplyItem, type ApplyLimits, ApplyQueue } from "./apply-queue.ts";
import {
  appliedAtOnceBytesMax,
  type PeerId,
  type StoreReply,
  type StoreRequest,
  type Ticket,
} from "./border.ts";
import type { Counters } from "./counters.ts";
import { PendingCut } from "./pending-cut.ts";
import type { Applied } from "./world.ts";

export type ApplyRequest = Omit<Extract<StoreRequest, { kind: "apply" }>, "ticket">;

interface OpenApply {
  readonly items: readonly ApplyItem[];
  readonly lane: Lane;
  /** Of an urgent changeset: as {@link ApplyItem.second}. */
  readonly second: number | undefined;
  /** What an urgent changeset takes, and of which bound. */
  readonly urgentBytes: number;
  readonly urgent: Urgent | undefined;
  readonly sinceMs: number;
}

/** Of urgent changesets of one size that the store has and hasn't applied. */
interface Urgent {
  bytes: number;
}

/** A changeset that a peer pushed. */
export interface PushedChangeset {
  readonly peer: PeerId;
  readonly lane: Lane;
  /** Of its stamp. */
  readonly stampMs: number;
  readonly body: Uint8Array;
}

export class Applies {
  readonly #counters: Counters;
  readonly #urgentBytesMax: number;
  readonly #urgent: Urgent = { bytes: 0 };
  /** Of those that are applied in slices. */
  readonly #largeUrgent: Urgent = { bytes: 0 };
  /** Posts a request to the store, under a ticket of its own. */
  readonly #post: (request: ApplyRequest) => Ticket;
  readonly #queue: ApplyQueue;
  readonly #pendingCut = new PendingCut();
  /** In the order in which they were posted. */
  readonly #open = new Map<Ticket, OpenApply>();
  /** Slices of lanes 1 and 2 that the store has: one at most. */
  #slicesOpen = 0;

  constructor(limits: ApplyLimits, counters: Counters, post: (request: ApplyRequest) => Ticket) {
    this.#queue = new ApplyQueue(limits);
    this.#urgentBytesMax = limits.urgentBytesMax;
    this.#counters = counters;
    this.#post = post;
  }

  /** Bodies that wait. */
  get count(): number {
    return this.#queue.count;
  }

  get normalBytes(): number {
    return this.#queue.normalBytes;
  }

  get bulkBytes(): number {
    return this.#queue.bulkBytes;
  }

  /** When the oldest was posted that the store hasn't answered; infinite when there is none. */
  get openSinceMs(): number {
    for (const { sinceMs } of this.#open.values()) return sinceMs;
    return Number.POSITIVE_INFINITY;
  }

  /** When the oldest came that waits, or was posted and isn't answered; infinite when there is none. */
  get oldestMs(): number {
    return Math.min(this.#queue.oldestMs() ?? Number.POSITIVE_INFINITY, this.openSinceMs);
  }

  /** The newest cut up to `cut` that covers nothing that waits to be applied. */
  newestCut(cut: number): number {
    return this.#pendingCut.limit(cut);
  }

  /** @param cut of the store's last report */
  changesetCame({ peer, lane, stampMs, body }: PushedChangeset, cut: number, nowMs: number): void {
    const second = this.#pendingCut.add(stampMs, cut);
    const isLarge = body.length > appliedAtOnceBytesMax;
    const urgent = isLarge ? this.#largeUrgent : this.#urgent;
    const urgentBytes = body.length;
    const hasRoom = urgent.bytes === 0 || urgent.bytes + urgentBytes <= this.#urgentBytesMax;
    if (lane === 0 && hasRoom) {
      urgent.bytes += urgentBytes;
      const request: ApplyRequest = {
        kind: "apply",
        lane,
        peer,
        what: "changesets",
        bodies: [body],
      };
      const open = { items: [], lane, second, urgent, urgentBytes, sinceMs: nowMs };
      this.#open.set(this.#post(request), open);
      return;
    }
    // What is large goes in bulk: it would leave normal ones no room.
    const urgentWaits = isLarge ? 2 : 1;
    const waits = lane === 0 ? urgentWaits : lane;
    const item: ApplyItem = { peer, lane: waits, what: "changesets", body, second, atMs: nowMs };
    if (this.#queue.push(item)) return;
    this.#counters.applyDropped++;
    this.#pendingCut.done(second);
  }

  /** @param done gets undefined when they are dropped, which may be at once */
  rowsCame(
    rows: { readonly peer: PeerId; readonly lane: 1 | 2; readonly body: Uint8Array },
    nowMs: number,
    done?: (applied: Applied | undefined) => void,
  ): void {
    if (this.#queue.push({ ...rows, what: "rows", second: undefined, atMs: nowMs, done })) return;
    this.#counters.applyDropped++;
    done?.(undefined);
  }

  applied(reply: Extract<StoreReply, { kind: "applied" }>): void {
    const open = this.#open.get(reply.ticket);
    if (open === undefined) return;
    this.#open.delete(reply.ticket);
    if (open.urgent !== undefined) open.urgent.bytes -= open.urgentBytes;
    if (open.lane !== 0) this.#slicesOpen--;
    this.#counters.bodiesRefused += reply.refused.length;
    this.#pendingCut.done(open.second);
    for (const item of open.items) {
      this.#pendingCut.done(item.second);
      item.done?.({ rows: reply.rows, changed: reply.changed });
    }
  }

  /** Posts what the store has credit for. */
  pump(nowMs: number): void {
    while (this.#slicesOpen === 0) {
      const items = this.#queue.nextSlice();
      const first = items[0];
      if (first === undefined) return;
      const { lane, peer, what } = first;
      const bodies = items.map(({ body }) => body);
      const ticket = this.#post({ kind: "apply", lane, peer, what, bodies });
      const open = { items, lane, second: undefined, urgent: undefined, urgentBytes: 0 };
      this.#open.set(ticket, { ...open, sinceMs: nowMs });
      this.#slicesOpen++;
    }
  }
}
