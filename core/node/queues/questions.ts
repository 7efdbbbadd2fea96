/**
 * Questions to the store, in two lines, of which each has one open at a time, so that an urgent change never
 * waits behind many (`border.ts`): those that are answered at once, and those that the store scans all
 * its rows for, beside whatever else it does. A scan may take some 20 s, and may be for a peer that has gone
 * since; nobody who asks for something else should wait for it, and who waits for one has a fair turn
 * (`scan-line.ts`). Whether rows by id need a scan only the store knows: it says so, and they change lines. (A peer
 * that asked for rows that don't exist kept the store from all others.)
 *
 * @module
 */

import type { PeerId, StoreReply, StoreRequest, Ticket } from "../border.ts";
import { Fifo } from "./fifo.ts";
import { ScanLine } from "./scan-line.ts";

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

interface Line {
  readonly waiting: Fifo<Asked> | ScanLine<Asked>;
  open: (Asked & { readonly ticket: Ticket; readonly sinceMs: number }) | undefined;
}

export class Questions {
  readonly #quick: Line = { waiting: new Fifo(), open: undefined };
  readonly #scans: Line = { waiting: new ScanLine(), open: undefined };
  readonly #lines = [this.#quick, this.#scans] as const;
  readonly #waitingByPeer = new Map<PeerId, number>();

  get waiting(): number {
    return this.#quick.waiting.length + this.#scans.waiting.length;
  }

  /** Since when a question that is to be answered at once waits for its answer. */
  get openSinceMs(): number | undefined {
    return this.#quick.open?.sinceMs;
  }

  /** Questions that wait for one peer's sake: the caller refuses more than a few. */
  waitingFor(peer: PeerId): number {
    return this.#waitingByPeer.get(peer) ?? 0;
  }

  add(question: QuestionAsked, taken: AnswerTaken, forPeer?: PeerId): void {
    const line = needsScan(question) ? this.#scans : this.#quick;
    line.waiting.push({ question, taken, forPeer });
    this.#count(forPeer, 1);
  }

  /** The next question to post, once the one before it in its line is answered. */
  next(ticket: Ticket, elapsedMs: number): Question | undefined {
    for (const line of this.#lines) {
      if (line.open !== undefined) continue;
      const asked = line.waiting.shift();
      if (asked === undefined) continue;
      line.open = { ...asked, ticket, sinceMs: elapsedMs };
      const isForIds = asked.question.kind === "rows" && line === this.#quick;
      return { ...asked.question, ...(isForIds ? { atOnce: true } : {}), ticket } as Question;
    }
    return undefined;
  }

  /** Hands a reply to whoever asked. A reply to nothing that is open is of an earlier life: skipped. */
  reply(answer: Answer): void {
    for (const line of this.#lines) {
      const { open } = line;
      if (open?.ticket !== answer.ticket) continue;
      if (answer.kind === "unavailable" && answer.why === "scan") {
        line.open = undefined;
        this.#scans.waiting.push(open);
        return;
      }
      if (answer.kind !== "rows" || answer.last) {
        line.open = undefined;
        this.#count(open.forPeer, -1);
      }
      open.taken(answer);
      return;
    }
  }

  #count(peer: PeerId | undefined, by: 1 | -1): void {
    if (peer === undefined) return;
    const count = this.waitingFor(peer) + by;
    if (count > 0) this.#waitingByPeer.set(peer, count);
    else this.#waitingByPeer.delete(peer);
  }
}

function needsScan(question: QuestionAsked): boolean {
  if (question.kind === "list" || question.kind === "compare") return !question.recentOnly;
  return question.kind === "range-rows";
}
