/**
 * One query in the reader thread, as its reader sees it: pieces that come one after another and wait to be
 * taken, a few at a time.
 *
 * @module
 */

import { NotOfQueryError } from "../sql/not-of-query-error.ts";
import type { Piece, ReadRequest } from "./messages.ts";
import type { Loan } from "./snapshot-lender.ts";

/** Pieces that may be on their way or wait to be taken: 256 KiB of lines. */
export const creditMax = 4;

export type JobRequest = Omit<ReadRequest, "id" | "lane" | "regions" | "hlcMs" | "credit">;

export interface JobHooks {
  /** A piece was taken: room for another. */
  readonly onTaken: (job: ReadJob) => void;
  /** Nobody wants the rest. */
  readonly onLeft: (job: ReadJob) => void;
  /** Its reader is to have no more, and to be told why. */
  readonly onRefused: (job: ReadJob, why: string) => void;
  /** Its snapshot is that of the last commit before this call. */
  readonly onLent?: () => void;
}

export class ReadJob implements AsyncIterableIterator<Piece> {
  readonly id: number;
  readonly request: JobRequest;
  /** From when it is run. */
  loan: Loan | undefined;
  /** Of the WAL, when it was lent or the smallest since. */
  walBytes = 0;
  /** Undefined while it waits for its turn. */
  lane: number | undefined;
  /** Of the reader thread. */
  credit: number = creditMax;
  pieces = 0;
  /** Since when pieces have been waiting to be taken; undefined: none is. */
  waitingSinceMs: number | undefined;
  /** Why it was cancelled, for its reader. */
  cancelledBecause: string | undefined;
  readonly #hooks: JobHooks;
  readonly #waiting: Piece[] = [];
  #end: { readonly why: string | undefined; readonly isOfQuery: boolean } | undefined;
  #isLeft = false;
  #wake: (() => void) | undefined;

  constructor(id: number, request: JobRequest, hooks: JobHooks) {
    this.id = id;
    this.request = request;
    this.#hooks = hooks;
  }

  /** Whether it is running, or will go on by itself: it doesn't wait for its reader. */
  get isComputing(): boolean {
    return this.lane !== undefined && this.credit > 0 && this.#end === undefined;
  }

  get isEnded(): boolean {
    return this.#end !== undefined;
  }

  push(piece: Piece): void {
    this.pieces++;
    this.credit--;
    if (this.#isLeft) return;
    this.#waiting.push(piece);
    this.waitingSinceMs ??= performance.now();
    this.#wake?.();
  }

  lent(): void {
    this.#hooks.onLent?.();
  }

  /**
   * @param why what went wrong; undefined when that was all
   * @param isOfQuery it would go wrong again
   */
  end(why: string | undefined, isOfQuery = false): void {
    this.#end ??= { why, isOfQuery };
    this.#wake?.();
  }

  /** @throws what went wrong, after the pieces that were there before; {@link NotOfQueryError} */
  async next(): Promise<IteratorResult<Piece, undefined>> {
    for (;;) {
      const piece = this.#waiting.shift();
      if (piece !== undefined) {
        this.waitingSinceMs = this.#waiting.length > 0 ? performance.now() : undefined;
        this.#hooks.onTaken(this);
        return { done: false, value: piece };
      }
      if (this.#isLeft) return { done: true, value: undefined };
      if (this.#end !== undefined) {
        const { why, isOfQuery } = this.#end;
        if (why !== undefined) throw isOfQuery ? new Error(why) : new NotOfQueryError(why);
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Nobody wants the rest: also when somebody is waiting in {@link next}. */
  async return(): Promise<IteratorResult<Piece, undefined>> {
    this.leave();
    return { done: true, value: undefined };
  }

  leave(): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    this.#waiting.length = 0;
    this.waitingSinceMs = undefined;
    this.#wake?.();
    this.#hooks.onLeft(this);
  }

  /** It ends as soon as its thread looks, after what is there already. */
  refuse(why: string): void {
    if (!this.#isLeft) this.#hooks.onRefused(this, why);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
