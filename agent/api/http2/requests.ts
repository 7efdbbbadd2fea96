/**
 * The requests of a connection, from their heads to the ends of their streams (RFC 9113 §5, §6.1 to §6.4, §8.1): what may come
 * on which stream, and what it makes of it. A fault of one stream resets that one (§5.4.2); others are returned, and end the
 * connection (§5.4.1).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { BodyBuffer } from "../body-buffer.ts";
import { type ApiResponse, noBytes, noRoomForBody, requestTooLate, textResponse } from "../http.ts";
import type { ConnectionOptions } from "../served-connection.ts";
import { Answering } from "./answering.ts";
import {
  type ControlFrames,
  concurrentStreamsMax,
  connectionWindowBytes,
} from "./control-frames.ts";
import { type ErrorCode, errorCodes, flags } from "./frames.ts";
import { type HeaderBlock, HeaderBlocks } from "./header-block.ts";
import { HeadReader, type Http2Head, noHead } from "./request-head.ts";
import type { Sender } from "./sender.ts";
import { Http2Stream, streamWindowBytes } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

/** DATA of nothing that doesn't end anything (CVE-2019-9518), between one request and the next. */
const emptyFramesMax = 1000;
/** Streams that ended before their answers began, more than of others (CVE-2023-44487, CVE-2025-8671). */
const cutStreamsMax = 1000;
/** Of bodies that are sent before anybody could say that they aren't wanted. */
const shortBodyBytesMax = 16 * 1024;
/** Of what came together: a body in it is used where it is. */
const smallChunkBytesMax = 16 * 1024;

const headTooLarge: ApiResponse = textResponse(431, "the request's head is too large");

export interface RequestsOptions {
  readonly connection: ConnectionOptions;
  readonly sender: Sender;
  readonly control: ControlFrames;
  /** Whether something may be sent right away; {@link sendSoon} is called otherwise. */
  readonly isOpen: () => boolean;
  readonly sendSoon: () => void;
  /** Sends what `write` writes. */
  readonly send: (write: () => void) => void;
}

export class Requests {
  readonly #options: RequestsOptions;
  readonly #answering: Answering;
  readonly #blocks = new HeaderBlocks();
  readonly #heads = new HeadReader();
  readonly #streams = new StreamTable();
  /** Their bodies haven't come whole with their heads. */
  #unfinished: Http2Stream[] = [];
  /** What the client may still send. */
  #receiveWindow = connectionWindowBytes;
  #emptyFrames = 0;
  #cutStreams = 0;
  /** Others than the ones that are under way aren't taken. */
  #isParting = false;
  /** Streams for which somebody else than the client is to do something. */
  #busy = 0;
  #sinceMs: number = performance.now();
  #hasHandled = false;

  constructor(options: RequestsOptions) {
    this.#options = options;
    const { connection, sender, isOpen, sendSoon } = options;
    const { front, onFault } = connection;
    this.#answering = new Answering({
      ...{ front, onFault, sender, isOpen, sendSoon },
      idle: (stream) => this.#idle(stream),
      busy: (stream) => this.#becomeBusy(stream),
      broken: (stream) => this.#broken(stream),
    });
  }

  /** Of those that are open. */
  get count(): number {
    return this.#streams.size;
  }

  /** The highest stream that was opened. */
  get lastStream(): number {
    return this.#streams.lastId;
  }

  /** Only a CONTINUATION may follow (§6.10). */
  get isInBlock(): boolean {
    return this.#blocks.isOpen;
  }

  get isParting(): boolean {
    return this.#isParting;
  }

  /** As {@link ServedConnection.idleSinceMs}. */
  get idleSinceMs(): number | undefined {
    return this.#busy > 0 ? undefined : this.#sinceMs;
  }

  /** Whether a handler was called since it was last asked. */
  takeHandled(): boolean {
    const has = this.#hasHandled;
    this.#hasHandled = false;
    return has;
  }

  /** No others are taken. */
  part(): void {
    this.#isParting = true;
  }

  // ---- Frames -------------------------------------------------------------------------------------

  headers(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    return this.#block(this.#blocks.begin(flagBits, id, bytes, from, to));
  }

  continuation(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    return this.#block(this.#blocks.goOn(flagBits, id, bytes, from, to));
  }

  data(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (this.#streams.isIdle(id)) return errorCodes.protocol;
    // Padding counts as well (§6.9.1).
    this.#receiveWindow -= to - from;
    if (this.#receiveWindow < 0) return errorCodes.flowControl;
    if (this.#receiveWindow < connectionWindowBytes / 2) {
      this.#options.control.openWindow(0, connectionWindowBytes - this.#receiveWindow);
      this.#receiveWindow = connectionWindowBytes;
    }
    let at = from;
    let end = to;
    if ((flagBits & flags.padded) !== 0) {
      if (at === to) return errorCodes.frameSize;
      end -= bytes[at++] as number;
      if (at > end) return errorCodes.protocol;
    }
    const ends = (flagBits & flags.endStream) !== 0;
    if (at === end && !ends && ++this.#emptyFrames > emptyFramesMax) {
      return errorCodes.enhanceYourCalm;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (!this.#streams.isIgnored(id)) return this.#refuse(id, true, errorCodes.streamClosed);
      if (ends) this.#streams.ignoreNoLonger(id);
      return undefined;
    }
    if (stream.isRequestEnded) return this.#fail(stream, errorCodes.streamClosed);
    stream.receiveWindow -= to - from;
    if (stream.receiveWindow < 0) return this.#fail(stream, errorCodes.flowControl);
    return this.#bodyPart(stream, ends, bytes, at, end);
  }

  /** The client doesn't want an answer any more. */
  reset(id: number): ErrorCode | undefined {
    if (this.#streams.isIdle(id)) return errorCodes.protocol;
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#streams.ignoreNoLonger(id);
      return undefined;
    }
    const fault = stream.hasBegun ? undefined : this.#countCut();
    stream.isRequestEnded = true;
    this.#close(stream);
    return fault;
  }

  openWindow(id: number, bytes: number): ErrorCode | undefined {
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#streams.isIdle(id) ? errorCodes.protocol : undefined;
    if (bytes === 0) return this.#fail(stream, errorCodes.protocol);
    const isOpened = this.#options.sender.openStreamWindow(stream, bytes);
    return isOpened ? undefined : this.#fail(stream, errorCodes.flowControl);
  }

  /** Of all streams that are open or will be (§6.9.2). False: one can't grow so far. */
  changeWindows(initialWindow: number): boolean {
    const { sender } = this.#options;
    const grown = initialWindow - sender.initialWindow;
    sender.initialWindow = initialWindow;
    for (const stream of this.#streams.all()) {
      if (!sender.openStreamWindow(stream, grown)) return false;
    }
    return true;
  }

  // ---- Heads --------------------------------------------------------------------------------------

  /** It is always unpacked: those that follow depend on it. */
  #block(block: HeaderBlock | ErrorCode | undefined): ErrorCode | undefined {
    if (typeof block !== "object") return block;
    const { stream: id, ends, bytes, from, to } = block;
    if (!this.#streams.isIdle(id)) return this.#trailers(block);
    const head = this.#heads.read(bytes, from, to);
    if (head === "unreadable") return errorCodes.compression;
    if (head === "bomb") return errorCodes.enhanceYourCalm;
    this.#streams.begin(id);
    if (this.#isParting || this.#streams.size >= concurrentStreamsMax) {
      return this.#refuse(id, ends, errorCodes.refusedStream);
    }
    if (block.isMalformed || head === "malformed") {
      return this.#refuse(id, ends, errorCodes.protocol);
    }
    const isTooLarge = head === "too-large";
    const { initialWindow } = this.#options.sender;
    const stream = new Http2Stream(id, isTooLarge ? noHead : head, initialWindow);
    this.#streams.add(stream);
    this.#busy++;
    stream.isRequestEnded = ends;
    if (!isTooLarge) return this.#enter(stream, head, ends);
    this.#answerEarly(stream, headTooLarge);
    return undefined;
  }

  /** By its head alone. */
  #enter(stream: Http2Stream, head: Http2Head, ends: boolean): ErrorCode | undefined {
    const { front, bodyBytesMax } = this.#options.connection;
    const { contentLength = 0 } = head;
    if (ends && contentLength > 0) return this.#fail(stream, errorCodes.protocol);
    const entry = front.enter(head);
    if (entry.kind === "refused") {
      this.#answerEarly(stream, entry.response);
      return undefined;
    }
    stream.entry = entry;
    if (ends) {
      this.#handle(stream);
    } else if (contentLength > bodyBytesMax) {
      this.#tooLarge(stream);
    } else if (!entry.body.hold(contentLength)) {
      this.#answerEarly(stream, noRoomForBody);
    } else {
      this.#unfinished.push(stream);
      const { control, sender } = this.#options;
      if (head.expectsContinue) control.goOn(stream.id, sender.takeTableUpdate());
    }
    return undefined;
  }

  /** Fields after the body (§8.1), or a head on a stream that has had its own. */
  #trailers({ stream: id, ends, bytes, from, to }: HeaderBlock): ErrorCode | undefined {
    const fault = this.#heads.readTrailers(bytes, from, to);
    if (fault === "unreadable") return errorCodes.compression;
    if (fault === "bomb") return errorCodes.enhanceYourCalm;
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (this.#streams.isIgnored(id)) {
        if (ends) this.#streams.ignoreNoLonger(id);
        return undefined;
      }
      return this.#streams.wasSkipped(id) ? errorCodes.protocol : errorCodes.streamClosed;
    }
    if (stream.isRequestEnded) return this.#fail(stream, errorCodes.streamClosed);
    if (fault !== undefined || !ends) return this.#fail(stream, errorCodes.protocol);
    return this.#bodyEnded(stream);
  }

  // ---- Bodies -------------------------------------------------------------------------------------

  #bodyPart(
    stream: Http2Stream,
    ends: boolean,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (stream.isRequestOver) {
      stream.isRequestEnded = ends;
      return undefined;
    }
    const isFirst = stream.receivedBytes === 0;
    stream.receivedBytes += to - from;
    const { contentLength } = stream;
    if (contentLength !== undefined && stream.receivedBytes > contentLength) {
      return this.#fail(stream, errorCodes.protocol);
    }
    if (stream.receivedBytes > this.#options.connection.bodyBytesMax) {
      stream.isRequestEnded = ends;
      this.#tooLarge(stream);
      return undefined;
    }
    if (ends && isFirst) {
      stream.body = bodyOf(bytes, from, to);
      return this.#bodyEnded(stream);
    }
    stream.buffer ??= new BodyBuffer();
    stream.buffer.add(bytes.subarray(from, to));
    if (stream.entry?.body.hold(stream.receivedBytes) === false) {
      stream.isRequestEnded = ends;
      this.#answerEarly(stream, noRoomForBody);
      return undefined;
    }
    if (ends) return this.#bodyEnded(stream);
    if (stream.receiveWindow < streamWindowBytes / 2) {
      this.#options.control.openWindow(stream.id, streamWindowBytes - stream.receiveWindow);
      stream.receiveWindow = streamWindowBytes;
    }
    return undefined;
  }

  #bodyEnded(stream: Http2Stream): ErrorCode | undefined {
    stream.isRequestEnded = true;
    if (stream.isRequestOver) return undefined;
    const { contentLength } = stream;
    if (contentLength !== undefined && contentLength !== stream.receivedBytes) {
      return this.#fail(stream, errorCodes.protocol);
    }
    if (stream.buffer !== undefined) stream.body = stream.buffer.whole;
    this.#handle(stream);
    return undefined;
  }

  #tooLarge(stream: Http2Stream): void {
    stream.body = "too-large";
    this.#handle(stream);
  }

  #handle(stream: Http2Stream): void {
    this.#requestOver(stream);
    this.#hasHandled = true;
    this.#answering.handle(stream);
  }

  #answerEarly(stream: Http2Stream, answer: ApiResponse): void {
    this.#requestOver(stream);
    this.#answering.answer(stream, answer);
  }

  /** What still comes of it is of no use. */
  #requestOver(stream: Http2Stream): void {
    stream.isRequestOver = true;
    stream.buffer = undefined;
    if (stream.awaited === undefined) return;
    this.#options.connection.lateRequests.came(stream.awaited);
    stream.awaited = undefined;
  }

  /** Bodies that haven't come together with their heads have so much time. */
  awaitBodies(): void {
    if (this.#unfinished.length === 0) return;
    for (const stream of this.#unfinished) {
      if (stream.isRequestOver || stream.isClosed) continue;
      stream.awaited = this.#options.connection.lateRequests.await(() => {
        stream.awaited = undefined;
        this.#options.send(() => this.#answerEarly(stream, requestTooLate));
      });
    }
    this.#unfinished = [];
  }

  // ---- Answers, and ends of streams ---------------------------------------------------------------

  /** All pieces that there were have been taken. */
  askForMore(): void {
    for (const stream of this.#options.sender.takeSent()) {
      if (!stream.isClosed) this.#answering.ask(stream);
    }
  }

  /** Something was sent. */
  progressed(): void {
    if (this.#busy === 0) this.#sinceMs = performance.now();
  }

  /** All of its answer is written. */
  answered(stream: Http2Stream): void {
    this.#emptyFrames = 0;
    if (this.#cutStreams > 0) this.#cutStreams--;
    // The client needn't send the rest (§8.1), where that is more than may be on its way already.
    const isShort = (stream.contentLength ?? Number.POSITIVE_INFINITY) <= shortBodyBytesMax;
    if (!stream.isRequestEnded && !isShort) this.#options.control.reset(stream.id, errorCodes.none);
    stream.isClosed = true;
    // A stream without end was busy until now.
    this.#idle(stream);
    this.#forget(stream);
  }

  /** The client sends no more, and opens no window. */
  dropUnanswerable(): void {
    for (const stream of this.#streams.all()) {
      if (!stream.isRequestOver || stream.isEndless || this.#options.sender.isStuck(stream)) {
        this.#drop(stream);
      }
    }
  }

  dropAll(): void {
    for (const stream of this.#streams.all()) this.#drop(stream);
    this.#options.sender.closed();
  }

  #drop(stream: Http2Stream): void {
    stream.isRequestEnded = true;
    this.#close(stream);
  }

  #broken(stream: Http2Stream): void {
    this.#options.send(() => {
      this.#options.control.reset(stream.id, errorCodes.internal);
      this.#close(stream);
    });
  }

  /** @returns why the connection ends, if it does */
  #fail(stream: Http2Stream, code: ErrorCode): ErrorCode | undefined {
    this.#options.control.reset(stream.id, code);
    this.#close(stream);
    return this.#countCut();
  }

  /** A stream that there isn't. */
  #refuse(id: number, ends: boolean, code: ErrorCode): ErrorCode | undefined {
    this.#options.control.reset(id, code);
    if (!ends) this.#streams.ignore(id);
    return this.#countCut();
  }

  #close(stream: Http2Stream): void {
    this.#requestOver(stream);
    this.#answering.drop(stream);
    this.#idle(stream);
    this.#forget(stream);
  }

  #forget(stream: Http2Stream): void {
    this.#streams.remove(stream.id);
    if (!stream.isRequestEnded) this.#streams.ignore(stream.id);
  }

  #idle(stream: Http2Stream): void {
    if (!stream.isBusy) return;
    stream.isBusy = false;
    if (--this.#busy === 0) this.#sinceMs = performance.now();
  }

  #becomeBusy(stream: Http2Stream): void {
    if (stream.isBusy) return;
    stream.isBusy = true;
    this.#busy++;
  }

  #countCut(): ErrorCode | undefined {
    return ++this.#cutStreams > cutStreamsMax ? errorCodes.enhanceYourCalm : undefined;
  }
}

/**
 * A body that came in one piece is used where it is, unless much more came together with it, which would stay as long as the
 * request.
 */
function bodyOf(bytes: Buffer, from: number, to: number): Uint8Array {
  if (from === to) return noBytes;
  const body = bytes.subarray(from, to);
  const isSmallPart = bytes.length > smallChunkBytesMax && body.length < bytes.length / 2;
  return isSmallPart ? Buffer.from(body) : body;
}
