/**
 * What the store applies for this node: changesets that peers pushed and rows that repair fetched.
 *
 * Urgent ones are posted at once while the store has few of them. The others wait here, and take turns by whom they are of
 * (`fair-queue.ts`), for what was posted is applied in the order in which it was; one turn is posted when the store has
 * answered what it had, or doesn't for a while. Both have a bound in bytes. Those that the store applies in slices have one of their own, so that
 * they don't take the room of the others. Of lanes 1 and 2 the store
 * has credit for one slice at a time, or two blocks of rows; what waits for it (`apply-queue.ts`), and urgent ones beyond their bound with it, waits
 * here too. A changeset keeps the cut from passing its stamp until it is applied (`pending-cut.ts`).
 *
 * @module
 */

import type { Lane } from "../../change/changeset.ts";
import type { Site } from "../../clock/stamp.ts";
import {
  appliedAtOnceBytesMax,
  type PeerId,
  type StoreReply,
  type StoreRequest,
  type Ticket,
} from "../border.ts";
import type { Counters } from "../counters.ts";
import { type ApplyItem, type ApplyLimits, ApplyQueue } from "../queues/apply-queue.ts";
import { FairQueue } from "../queues/fair-queue.ts";
import type { Applied } from "../world.ts";
import { PendingCut } from "./pending-cut.ts";

export type ApplyRequest = Omit<Extract<StoreRequest, { kind: "apply" }>, "ticket">;

interface OpenApply {
  readonly items: readonly ApplyItem[];
  readonly lane: Lane;
  /** Of urgent changesets: as {@link ApplyItem.second}. */
  readonly seconds: readonly (number | undefined)[];
  /** What they take, and of which bound. */
  readonly urgentBytes: number;
  readonly urgent: Urgent | undefined;
  readonly sinceMs: number;
}

/** Of urgent changesets of one size that the store has and hasn't applied. */
interface Urgent {
  count: number;
  bytes: number;
}

/** While the store has so many small urgent changesets, or so many bytes of them, the next ones wait: a millisecond of its work. */
const urgentOpenMax = 32;
const urgentOpenBytes = 64 * 1024;
/**
 * What it has applied it may answer late, while the index takes in what came before, and it has the next turn after so long
 * without an answer. It never has more than this.
 */
const unansweredMs = 10;
const unansweredMax = 256;
/** What one source posts before it is another's turn: some ten rows of instances. */
const urgentTurnBytes = 4 * 1024;
/** A source floods while more of it waits here. */
const floodBytes = 64 * 1024;

const slicesOpenMax = 2;

/** A changeset that a peer pushed. */
export interface PushedChangeset {
  readonly peer: PeerId;
  /** Whose turn it takes among urgent ones, as of `outgoing.ts`. */
  readonly source: string;
  /** The site that made it, as the peer says. */
  readonly origin: Site;
  readonly lane: Lane;
  /** Of its stamp. */
  readonly stampMs: number;
  readonly body: Uint8Array;
  /** Called when the store is handed it, of an urgent one that has to wait for that to be sent on. */
  readonly posted?: (() => void) | undefined;
}

/** An urgent one that the store has no credit for yet. */
interface UrgentWaiting {
  readonly peer: PeerId;
  readonly body: Uint8Array;
  posted: (() => void) | undefined;
  /** As {@link ApplyItem.second}. */
  readonly second: number | undefined;
  readonly atMs: number;
}

export class Applies {
  readonly #counters: Counters;
  readonly #urgentBytesMax: number;
  readonly #urgent: Urgent = { count: 0, bytes: 0 };
  readonly #urgentWaiting: FairQueue<UrgentWaiting>;
  /** Of those that are applied in slices. */
  readonly #largeUrgent: Urgent = { count: 0, bytes: 0 };
  /** Posts a request to the store, under a ticket of its own. */
  readonly #post: (request: ApplyRequest) => Ticket;
  readonly #queue: ApplyQueue;
  readonly #pendingCut = new PendingCut();
  /** When the last of the small ones was posted. */
  #urgentAtMs = Number.NEGATIVE_INFINITY;
  /** In the order in which they were posted. */
  readonly #open = new Map<Ticket, OpenApply>();
  /** Slices of lanes 1 and 2 that the store has: one, or two blocks of rows. */
  #slicesOpen = 0;

  constructor(limits: ApplyLimits, counters: Counters, post: (request: ApplyRequest) => Ticket) {
    this.#queue = new ApplyQueue(limits);
    this.#urgentBytesMax = limits.urgentBytesMax;
    this.#urgentWaiting = new FairQueue(
      { turnBytes: urgentTurnBytes, bytesMax: limits.urgentBytesMax },
      ({ body }) => body.length,
    );
    this.#counters = counters;
    this.#post = post;
  }

  /** Bodies that wait. */
  get count(): number {
    return this.#queue.count + this.#urgentWaiting.length;
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
    let oldestMs = Math.min(this.#queue.oldestMs() ?? Number.POSITIVE_INFINITY, this.openSinceMs);
    for (const { atMs } of this.#urgentWaiting.firsts()) oldestMs = Math.min(oldestMs, atMs);
    return oldestMs;
  }

  /** The newest cut up to `cut` that covers nothing that waits to be applied. */
  newestCut(cut: number): number {
    return this.#pendingCut.limit(cut);
  }

  /** More urgent ones come from there than the store can take, though it takes some. */
  isFlooding(source: string): boolean {
    return this.#urgentWaiting.bytesOfSource(source) > floodBytes;
  }

  /** As if those that wait had been posted: nobody knows when they will be. */
  tellHeldBack(): void {
    for (const waiting of this.#urgentWaiting.items()) {
      const { posted } = waiting;
      waiting.posted = undefined;
      posted?.();
    }
  }

  /** @param cut of the store's last report */
  changesetCame(
    { peer, source, origin, lane, stampMs, body, posted }: PushedChangeset,
    cut: number,
    nowMs: number,
  ): void {
    const second = this.#pendingCut.add(stampMs, cut);
    const isLarge = body.length > appliedAtOnceBytesMax;
    if (lane === 0) {
      const waiting = { peer, body, posted, second, atMs: nowMs };
      const urgent = isLarge ? this.#largeUrgent : this.#urgent;
      const hasRoom = urgent.bytes === 0 || urgent.bytes + body.length <= this.#urgentBytesMax;
      if (hasRoom && (isLarge || this.#isUrgentFree)) {
        this.#postUrgent([waiting], urgent, nowMs);
        return;
      }
      if (!isLarge && this.#urgentWaiting.push(waiting, source, origin, urgent.bytes)) return;
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
    if (open.urgent !== undefined) {
      open.urgent.bytes -= open.urgentBytes;
      open.urgent.count -= open.seconds.length;
    }
    if (open.lane !== 0) this.#slicesOpen--;
    this.#counters.bodiesRefused += reply.refused.length;
    for (const second of open.seconds) this.#pendingCut.done(second);
    for (const item of open.items) {
      this.#pendingCut.done(item.second);
      item.done?.({ rows: reply.rows, changed: reply.changed });
    }
  }

  /** Posts what the store has credit for. */
  pump(nowMs: number): void {
    if (this.#urgentWaiting.length > 0 && this.#isUrgentDue(nowMs)) {
      this.#postUrgent(this.#urgentWaiting.shiftTurn(urgentOpenMax), this.#urgent, nowMs);
    }
    while (this.#slicesOpen === 0 || this.#mayAddBlock) {
      const items = this.#queue.nextSlice();
      const first = items[0];
      if (first === undefined) return;
      const { lane, peer, what } = first;
      const bodies = items.map(({ body }) => body);
      const ticket = this.#post({ kind: "apply", lane, peer, what, bodies });
      const open = { items, lane, seconds: [], urgent: undefined, urgentBytes: 0 };
      this.#open.set(ticket, { ...open, sinceMs: nowMs });
      this.#slicesOpen++;
    }
  }

  /**
   * A block of rows is some milliseconds of work, and between the answer to one and the next two threads have to wake up: so
   * the store has the next one while it works on the one before.
   */
  get #mayAddBlock(): boolean {
    if (this.#slicesOpen >= slicesOpenMax || !this.#queue.isBlockNext) return false;
    for (const { items } of this.#open.values()) {
      if (items.some(({ what }) => what !== "rows")) return false;
    }
    return true;
  }

  get #isUrgentFree(): boolean {
    const { count, bytes } = this.#urgent;
    if (this.#urgentWaiting.length > 0) return false;
    return count < urgentOpenMax && bytes < urgentOpenBytes;
  }

  /** The store has done what it had, or has been at it for a while. */
  #isUrgentDue(nowMs: number): boolean {
    const { count } = this.#urgent;
    return count === 0 || (count < unansweredMax && nowMs - this.#urgentAtMs >= unansweredMs);
  }

  /** Of one peer. */
  #postUrgent(waiting: readonly UrgentWaiting[], urgent: Urgent, nowMs: number): void {
    const bodies = waiting.map(({ body }) => body);
    const urgentBytes = bodies.reduce((sum, { length }) => sum + length, 0);
    urgent.count += waiting.length;
    urgent.bytes += urgentBytes;
    if (urgent === this.#urgent) this.#urgentAtMs = nowMs;
    const { peer } = waiting[0] as UrgentWaiting;
    const ticket = this.#post({ kind: "apply", lane: 0, peer, what: "changesets", bodies });
    const seconds = waiting.map(({ second }) => second);
    this.#open.set(ticket, { items: [], lane: 0, seconds, urgent, urgentBytes, sinceMs: nowMs });
    for (const { posted } of waiting) posted?.();
  }
}
