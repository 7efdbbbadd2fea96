/**
 * Sends answers, as far as the windows (RFC 9113 §5.2, §6.9) and the socket allow. Streams that have something to send take
 * turns, a frame each, so that none holds up another.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import { assert } from "../../../core/assert.ts";
import { type ApiResponse, noBytes } from "../http.ts";
import { corked, type Output } from "../output.ts";
import {
  defaultWindowBytes,
  flags,
  frameHeadBytes,
  frameTypes,
  payloadBytesMax,
  putFrameHead,
  windowBytesMax,
} from "./frames.ts";
import { answerFields, emptyTable, lengthFieldBytes, putLengthField } from "./response-head.ts";
import type { Http2Stream } from "./stream.ts";

export class Sender {
  readonly #output: Output;
  readonly #onEnd: (stream: Http2Stream) => void;
  /** Of the connection. */
  #window = defaultWindowBytes;
  /** New streams begin with it. */
  initialWindow: number = defaultWindowBytes;
  /** Have something to send, and their own windows are open. */
  #queue: Http2Stream[] = [];
  /** Their piece is sent, and another may be had. */
  #sent: Http2Stream[] = [];
  #mustEmptyTable = false;
  #isTableEmpty = false;

  /** @param onEnd called when the last of an answer is written */
  constructor(output: Output, onEnd: (stream: Http2Stream) => void) {
    this.#output = output;
    this.#onEnd = onEnd;
  }

  get hasQueue(): boolean {
    return this.#queue.length > 0;
  }

  /** The client keeps no table: its next block must say that there is none (RFC 7541 §4.2). */
  emptyTable(): void {
    if (this.#isTableEmpty) return;
    this.#isTableEmpty = true;
    this.#mustEmptyTable = true;
  }

  /** What the next header block begins with. */
  takeTableUpdate(): Buffer {
    if (!this.#mustEmptyTable) return noBytes;
    this.#mustEmptyTable = false;
    return emptyTable;
  }

  /**
   * A whole answer. It leaves at once where nothing is in its way; otherwise with {@link pump}.
   *
   * @param isOpen the output is corked
   */
  answer(stream: Http2Stream, answer: ApiResponse, body: Uint8Array, isOpen: boolean): void {
    const fields = answerFields(answer);
    const sent = stream.method === "HEAD" ? noBytes : body;
    const { length } = sent;
    const fits = length <= payloadBytesMax && length <= stream.sendWindow && length <= this.#window;
    stream.fields = fields;
    stream.answerLength = body.length;
    stream.piece = sent;
    stream.pieceAt = 0;
    stream.isLastPiece = true;
    if (isOpen && (fits || length === 0) && !this.#output.isFull) this.#send(stream);
    else this.queue(stream);
  }

  /** It has something to send. */
  queue(stream: Http2Stream): void {
    if (stream.isQueued) return;
    stream.isQueued = true;
    this.#queue.push(stream);
  }

  /** Of the connection. False: it can't grow so far. */
  openWindow(bytes: number): boolean {
    this.#window += bytes;
    return this.#window <= windowBytesMax;
  }

  /** Of one stream; also by less than nothing. False: it can't grow so far. */
  openStreamWindow(stream: Http2Stream, bytes: number): boolean {
    stream.sendWindow += bytes;
    if (stream.sendWindow > windowBytesMax) return false;
    if (stream.sendWindow > 0 && stream.piece !== undefined) this.queue(stream);
    return true;
  }

  /** Sends what can be sent. The output is corked. @returns whether anything was */
  pump(): boolean {
    let hasSent = false;
    for (let isStuck = false; !isStuck && this.#queue.length > 0; ) {
      const round = this.#queue;
      this.#queue = [];
      isStuck = true;
      for (const stream of round) {
        stream.isQueued = false;
        if (stream.isClosed) continue;
        if (this.#output.isFull) {
          this.queue(stream);
          continue;
        }
        if (!this.#send(stream)) continue;
        hasSent = true;
        isStuck = false;
      }
    }
    return hasSent;
  }

  /** Those that can send another piece. */
  takeSent(): readonly Http2Stream[] {
    if (this.#sent.length === 0) return none;
    const sent = this.#sent;
    this.#sent = [];
    return sent;
  }

  /** It has something to send, and a window is closed. */
  isStuck({ piece, sendWindow }: Http2Stream): boolean {
    return piece !== undefined && (sendWindow <= 0 || this.#window <= 0);
  }

  closed(): void {
    this.#queue = [];
    this.#sent = [];
  }

  /** At most one frame of data, and the head before it. What is left is queued. @returns whether anything was sent */
  #send(stream: Http2Stream): boolean {
    const { piece, isLastPiece } = stream;
    const left = piece === undefined ? 0 : piece.length - stream.pieceAt;
    const length = Math.max(0, Math.min(left, payloadBytesMax, stream.sendWindow, this.#window));
    const isWhole = length === left;
    const ends = isLastPiece && isWhole;
    const hasHead = stream.fields !== undefined;
    if (hasHead) this.#putHead(stream, ends && length === 0);
    if (length > 0 || (ends && !hasHead)) this.#putData(stream, length, ends);
    if (!isWhole) {
      // Otherwise its own window is closed: it is queued when that opens.
      if (stream.sendWindow > 0) this.queue(stream);
    } else if (ends) {
      stream.piece = undefined;
      this.#onEnd(stream);
    } else if (piece !== undefined) {
      stream.piece = undefined;
      this.#sent.push(stream);
    }
    return hasHead || length > 0 || ends;
  }

  #putHead(stream: Http2Stream, ends: boolean): void {
    const fields = stream.fields as Buffer;
    const { answerLength } = stream;
    const table = this.takeTableUpdate();
    const lengthBytes = answerLength === undefined ? 0 : lengthFieldBytes(answerLength);
    const length = table.length + fields.length + lengthBytes;
    assert(length <= payloadBytesMax, "an answer's head fits into a frame");
    const at = this.#output.reserve(frameHeadBytes + length);
    const flagBits = flags.endHeaders | (ends ? flags.endStream : 0);
    let to = putFrameHead(corked, at, length, frameTypes.headers, flagBits, stream.id);
    if (table.length > 0) {
      corked.set(table, to);
      to += table.length;
    }
    corked.set(fields, to);
    if (answerLength !== undefined) putLengthField(corked, to + fields.length, answerLength);
    stream.fields = undefined;
    stream.hasBegun = true;
  }

  #putData(stream: Http2Stream, length: number, ends: boolean): void {
    const at = this.#output.reserve(frameHeadBytes + length);
    const flagBits = ends ? flags.endStream : 0;
    const to = putFrameHead(corked, at, length, frameTypes.data, flagBits, stream.id);
    if (length === 0) return;
    const piece = stream.piece as Uint8Array;
    const { pieceAt } = stream;
    const isAll = pieceAt === 0 && length === piece.length;
    corked.set(isAll ? piece : piece.subarray(pieceAt, pieceAt + length), to);
    stream.pieceAt += length;
    stream.sendWindow -= length;
    this.#window -= length;
  }
}

const none: readonly Http2Stream[] = [];
