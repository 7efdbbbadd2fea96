/**
 * The questions that a replica answers: from its index at once (`index-answers.ts`), or with rows and scans of its store
 * (`row-answers.ts`).
 *
 * After a start a question is `starting` until the index is built. What is recent can be told before, and so can rows that
 * were named.
 *
 * What this host stamped far ahead of the fleet's time is told to nobody (`stamps-ahead.ts`), and what can't be read is as
 * good as not held: somebody else has it.
 *
 * @module
 */

import { unreachable } from "../assert.ts";
import { ByteWriter } from "../bytes/writer.ts";
import { RowBlockWriter } from "../change/row-block.ts";
import type { RowIndex } from "../index/row-index.ts";
import type { StoreReply } from "../node/border.ts";
import type { Question } from "../node/queues/questions.ts";
import type { Digester } from "../row/digest.ts";
import { type RowState, stampOfRow } from "../row/row-state.ts";
import type { RowRef, RowStore } from "../row-store.ts";
import {
  answerMissing,
  answerRecent,
  answerWalk,
  type IndexAnswersOptions,
} from "./index-answers.ts";
import type { IndexRebuild } from "./index-rebuild.ts";
import { RowAnswers, type RowAnswersOptions, type WriteRows } from "./row-answers.ts";
import type { StampsAhead } from "./stamps-ahead.ts";

export interface StoreAnswersParts {
  readonly store: RowStore;
  readonly index: RowIndex;
  readonly rebuild: IndexRebuild;
  readonly digester: Digester;
  readonly ahead: StampsAhead;
  readonly indexOptions: IndexAnswersOptions;
  readonly rowOptions: RowAnswersOptions;
  /** Does something with the store; undefined when it failed. */
  readonly trying: <T>(work: () => T) => T | undefined;
}

export class StoreAnswers {
  readonly #parts: StoreAnswersParts;
  readonly #rows: RowAnswers;
  /** Of rows that are streamed. */
  readonly #block = new RowBlockWriter();
  /** Of the call under way. */
  #nowMs = 0;

  /** @param life Cursors of another one are void. */
  constructor(parts: StoreAnswersParts, life: number) {
    const { store, index, digester, rowOptions, trying } = parts;
    this.#parts = parts;
    this.#rows = new RowAnswers(
      index,
      digester,
      (position, rowsMax, isWanted) => trying(() => store.scan(position, rowsMax, isWanted)),
      (refs) => this.#readRows(refs),
      this.#writeRows,
      rowOptions,
      life,
    );
  }

  /** Wall clock at which {@link tick} is wanted. */
  dueMs(nowMs: number): number {
    return this.#rows.dueMs(nowMs);
  }

  /** Rows that were asked for are on their way out. */
  get isSending(): boolean {
    return this.#rows.isSending;
  }

  /** Questions that aren't answered to their end. */
  get open(): number {
    return this.#rows.open;
  }

  /** One block of rows on their way out, or one slice of the scan. */
  tick(nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    this.#rows.tick(nowMs, replies);
  }

  /** Ends every question under way: positions in the store are good no longer. */
  end(replies: StoreReply[], nextLife: number): void {
    this.#rows.end(replies, nextLife);
  }

  answer(question: Question, nowMs: number, replies: StoreReply[]): void {
    this.#nowMs = nowMs;
    const { index, rebuild, indexOptions } = this.#parts;
    const rows = this.#rows;
    if (!this.#canAnswer(question)) {
      replies.push({ kind: "unavailable", ticket: question.ticket, why: "starting" });
      return;
    }
    if (!index.isBuilt) rebuild.putOff(nowMs);
    switch (question.kind) {
      case "walk":
        replies.push(answerWalk(question, index));
        return;
      case "list":
        rows.list(question, nowMs, replies);
        return;
      case "compare":
        rows.compare(question, nowMs, replies);
        return;
      case "missing":
        replies.push(answerMissing(question, index, indexOptions));
        return;
      case "recent":
        replies.push(answerRecent(question, index, indexOptions));
        return;
      case "rows":
        rows.rowsById(question, nowMs, replies);
        return;
      case "range-rows":
        rows.rowsByRange(question, nowMs, replies);
        return;
      case "stream-rows":
        rows.streamRows(question, nowMs, replies);
        return;
      default:
        unreachable(question);
    }
  }

  #canAnswer(question: Question): boolean {
    const { index, rebuild } = this.#parts;
    if (index.isBuilt) return true;
    if (!rebuild.isRecentKnown) return false;
    const { kind } = question;
    return (
      kind === "recent" || kind === "missing" || (kind === "rows" && this.#rows.knows(question.ids))
    );
  }

  #readRows(refs: readonly RowRef[]): readonly (RowState | undefined)[] {
    const { store, ahead, trying } = this.#parts;
    const readAlone = (ref: RowRef) => trying(() => store.read([ref]))?.[0];
    // Of those on a damaged page none comes, and of the others all do.
    const rows = trying(() => store.read(refs)) ?? refs.map(readAlone);
    if (ahead.isNone(this.#nowMs)) return rows;
    const msMax = ahead.sentMsMax(this.#nowMs);
    return rows.map((row) => (row !== undefined && stampOfRow(row).ms <= msMax ? row : undefined));
  }

  readonly #writeRows: WriteRows = (position, rowsMax, bytesMax) => {
    const { store, ahead, trying } = this.#parts;
    if (!ahead.isNone(this.#nowMs)) return undefined;
    return trying(() => {
      const block = this.#block;
      block.clear();
      const next = store.writeRows(position, rowsMax, bytesMax, block);
      const writer = new ByteWriter(block.body.length + 4096);
      block.finish(writer);
      return { block: writer.finish(), next };
    });
  };
}
