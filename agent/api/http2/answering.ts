/**
 * From whole requests to answers that are ready to be sent. Each is there as soon as its handler has it, in whatever order; a stream's
 * next piece is asked for when the client has taken the last.
 *
 * @module
 */

import { StreamCut } from "../event-stream.ts";
import type { Front } from "../front.ts";
import { type ApiResponse, internalError, noBytes } from "../http.ts";
import { noHead } from "./request-head.ts";
import { answerFields } from "./response-head.ts";
import type { Sender } from "./sender.ts";
import type { Http2Stream } from "./stream.ts";

export interface AnsweringOptions {
  readonly front: Front;
  readonly onFault: (error: unknown) => void;
  readonly sender: Sender;
  /** Whether something may be sent right away; {@link sendSoon} is called otherwise. */
  readonly isOpen: () => boolean;
  readonly sendSoon: () => void;
  /** Nobody but its client is to do anything for this stream any more. */
  readonly idle: (stream: Http2Stream) => void;
  /** The opposite: its client has taken what there was, and there is more. */
  readonly busy: (stream: Http2Stream) => void;
  /** What was sent of it isn't all, and no more will be. */
  readonly broken: (stream: Http2Stream) => void;
}

export class Answering {
  readonly #options: AnsweringOptions;

  constructor(options: AnsweringOptions) {
    this.#options = options;
  }

  /** Its request is whole, and has entered. */
  handle(stream: Http2Stream): void {
    const { front } = this.#options;
    let answer: ApiResponse | Promise<ApiResponse>;
    try {
      answer = front.handle(stream, stream.entry as NonNullable<Http2Stream["entry"]>);
    } catch (error) {
      answer = this.#faulty(error);
    }
    if (!(answer instanceof Promise)) {
      this.answer(stream, answer);
      return;
    }
    stream.isHandled = true;
    answer.then(
      (one) => this.answer(stream, one),
      (error) => this.answer(stream, this.#faulty(error)),
    );
  }

  answer(stream: Http2Stream, answer: ApiResponse): void {
    stream.isHandled = false;
    this.leave(stream);
    // The answer may wait for its client for long, be it one that isn't let in; and a stream may have no end.
    stream.head = noHead;
    stream.body = noBytes;
    const { body } = answer;
    if (!(body instanceof Uint8Array)) {
      this.#stream(stream, answer, body[Symbol.asyncIterator]());
      return;
    }
    if (stream.isClosed) return;
    const { sender, isOpen, sendSoon, idle } = this.#options;
    idle(stream);
    if (isOpen()) {
      sender.answer(stream, answer, body, true);
    } else {
      sender.answer(stream, answer, body, false);
      sendSoon();
    }
  }

  /** The next piece of a stream, which has sent the last. */
  ask(stream: Http2Stream): void {
    this.#options.busy(stream);
    (stream.streamed as AsyncIterator<Uint8Array>).next().then(
      ({ done, value }) => this.#piece(stream, done === true ? undefined : value),
      (error) => this.#broken(stream, error),
    );
  }

  /** Nobody waits for its answer any more. */
  drop(stream: Http2Stream): void {
    stream.isClosed = true;
    stream.piece = undefined;
    stream.gone();
    // As long as a handler has it, it takes its place.
    if (!stream.isHandled) this.leave(stream);
    this.#return(stream.streamed);
  }

  /** Its place is another's. Once more does nothing. */
  leave(stream: Http2Stream): void {
    if (stream.entry === undefined) return;
    this.#options.front.leave(stream.entry);
    stream.entry = undefined;
  }

  #stream(stream: Http2Stream, answer: ApiResponse, streamed: AsyncIterator<Uint8Array>): void {
    if (stream.isClosed) {
      this.#return(streamed);
      return;
    }
    stream.fields = answerFields(answer);
    if (stream.method === "HEAD") {
      stream.piece = noBytes;
      stream.isLastPiece = true;
      this.#queue(stream);
      stream.gone();
      this.#return(streamed);
      return;
    }
    stream.streamed = streamed;
    stream.isEndless = answer.isEndless === true;
    answer.onCut?.(() => {
      if (!stream.isClosed) this.#options.broken(stream);
    });
    this.ask(stream);
    // The first piece leaves with the head if it is there already.
    setImmediate(() => {
      if (!stream.isClosed && stream.fields !== undefined) this.#queue(stream);
    });
  }

  #piece(stream: Http2Stream, piece: Uint8Array | undefined): void {
    if (stream.isClosed) return;
    stream.piece = piece ?? noBytes;
    stream.pieceAt = 0;
    stream.isLastPiece = piece === undefined;
    // One without end isn't idle, however little is taken of it: what waits for it is bounded elsewhere.
    if (!stream.isEndless) this.#options.idle(stream);
    this.#queue(stream);
  }

  #queue(stream: Http2Stream): void {
    const { sender, isOpen, sendSoon } = this.#options;
    sender.queue(stream);
    if (!isOpen()) sendSoon();
  }

  #broken(stream: Http2Stream, error: unknown): void {
    if (!(error instanceof StreamCut)) this.#options.onFault(error);
    if (!stream.isClosed) this.#options.broken(stream);
  }

  #return(streamed: AsyncIterator<Uint8Array> | undefined): void {
    streamed?.return?.().catch(this.#options.onFault);
  }

  #faulty(error: unknown): ApiResponse {
    this.#options.onFault(error);
    return internalError();
  }
}
