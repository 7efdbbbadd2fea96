/**
 * Questions to the store: one at a time, so that an urgent change never waits behind many (`border.ts`).
 *
 * @module
 */

import type { PeerId, StoreReply, StoreRequest, Ticket } from "./border.ts";
import { Fifo } from "./fifo.ts";

/** A request that is answered by content: everything with a ticket but `apply`. */
export type Question = Extract<
  StoreRequest,
  {
    kind:
      | "walk"
      | "list"
      | "compare"
      | "missing"
      | "rows"
      | "range-rows"
      | "stream-rows"
      | "recent";
  }
>;

type WithoutTicket<T> = T extends { ticket: Ticket } ? Omit<T, "ticket"> : never;
export type QuestionAsked = WithoutTicket<Question>;

export type Answer = Extract<
  StoreReply,
  {
    kind:
      | "walked"
      | "listed"
      | "compared"
      | "missing"
      | "rows"
      | "streamed"
      | "recent"
      | "unavailable";
  }
>;

/** Called once for each reply: once in all, but for rows, whose last has `last`. */
export type AnswerTaken = (answer: Answer) => void;

interface Asked {
  readonly question: QuestionAsked;
  readonly taken: AnswerTaken;
  /** The peer that it is asked for; undefined for the node's own. */
  readonly forPeer: PeerId | undefined;
}

export class Questions {
  readonly #waiting = new Fifo<Asked>();
  readonly #waitingByPeer = new Map<PeerId, number>();
  #open: (Asked & { readonly ticket: Ticket; readonly sinceMs: number }) | undefined;

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Since when the open question waits for its answer. */
  get openSinceMs(): number | undefined {
    return this.#open?.sinceMs;
  }

  /** Questions that wait for one peer's sake: the caller refuses more than a few. */
  waitingFor(peer: PeerId): number {
    return this.#waitingByPeer.get(peer) ?? 0;
  }

  add(question: QuestionAsked, taken: AnswerTaken, forPeer?: PeerId): void {
    this.#waiting.push({ question, taken, forPeer });
    this.#count(forPeer, 1);
  }

  /** The next question to post, once the one before is answered. */
  next(ticket: Ticket, elapsedMs: number): Question | undefined {
    if (this.#open !== undefined) return undefined;
    const asked = this.#waiting.shift();
    if (asked === undefined) return undefined;
    this.#open = { ...asked, ticket, sinceMs: elapsedMs };
    return { ...asked.question, ticket } as Question;
  }

  /** Hands a reply to whoever asked. A reply to nothing that is open is of an earlier life: skipped. */
  reply(answer: Answer): void {
    const open = this.#open;
    if (open === undefined || open.ticket !== answer.ticket) return;
    if (answer.kind !== "rows" || answer.last) {
      this.#open = undefined;
      this.#count(open.forPeer, -1);
    }
    open.taken(answer);
  }

  #count(peer: PeerId | undefined, by: 1 | -1): void {
    if (peer === undefined) return;
    const count = this.waitingFor(peer) + by;
    if (count > 0) this.#waitingByPeer.set(peer, count);
    else this.#waitingByPeer.delete(peer);
  }
}
