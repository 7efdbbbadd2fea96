/**
 * One connection of HTTP/2 (RFC 9113), with prior knowledge: the client begins with the preface. No push, no priorities;
 * what a request has after its body is ignored.
 *
 * What one client has sent is worked for 2 ms at most, then others have their turn; what is answered meanwhile leaves together.
 * It is always read: what it may ask for while it takes no answers is bounded by the number of streams, and what it makes us
 * say beside is counted.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import { BodyBuffer } from "../body-buffer.ts";
import { type ApiResponse, noRoomForBody, requestTooLate, textResponse } from "../http.ts";
import type { AwaitedBody } from "../late-bodies.ts";
import { corked, Output } from "../output.ts";
import {
  type ConnectionOptions,
  defaultTurnMs,
  type ServedConnection,
} from "../served-connection.ts";
import { Answering } from "./answering.ts";
import {
  defaultWindowBytes,
  type ErrorCode,
  errorCodes,
  flags,
  frameHeadBytes,
  frameTypes,
  payloadBytesMax,
  preface,
  putFrameHead,
  putU32,
  settingIds,
  u24At,
  u31At,
} from "./frames.ts";
import { readSettings, type SettingsFault } from "./peer-settings.ts";
import { HeadReader, Http2Head, headBytesMax, unpackedBytesMax } from "./request-head.ts";
import { goOn } from "./response-head.ts";
import { Sender } from "./sender.ts";
import { Http2Stream, noBytes, streamWindowBytes } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

const concurrentStreamsMax = 256;
/** That all requests of a connection may send before they are told of more. What has come is taken at once. */
const connectionWindowBytes = 1024 * 1024;
/** Of a header block, which may have come in frames that say nothing (CVE-2024-27316). */
const blockFramesMax = 64;
/** DATA of nothing that doesn't end anything (CVE-2019-9518), between one request and the next. */
const emptyFramesMax = 1000;
/** Streams that ended before their answers began, more than of others (CVE-2023-44487, CVE-2025-8671). */
const cutStreamsMax = 1000;
/** That we say beside the answers to a client that takes nothing (CVE-2019-9512, CVE-2019-9515). */
const unreadControlBytesMax = 64 * 1024;
/** Of what still comes when nothing is answered any more. */
const ignoredBytesMax = 1024 * 1024;
/** Read in one turn, though they may be nothing but frames that cost nothing. */
const turnBytesMax = 64 * 1024;
/** Of what has come while others have their turn. */
const aheadBytesMax = 64 * 1024;
/** Of bodies that are sent before anybody could say that they aren't wanted. */
const shortBodyBytesMax = 16 * 1024;
/** Between two looks at the clock. */
const framesPerLook = 16;

const headTooLarge: ApiResponse = textResponse(431, "the request's head is too large");
const unknownHead = new Http2Head("GET", "/", new Map());

/** Our settings, and the connection's window. */
const firstWords = firstWordsOf([
  [settingIds.concurrentStreamsMax, concurrentStreamsMax],
  [settingIds.initialWindowSize, streamWindowBytes],
  [settingIds.headerListSizeMax, headBytesMax],
]);

function firstWordsOf(settings: readonly (readonly [number, number])[]): Buffer {
  const bytes = Buffer.alloc(2 * frameHeadBytes + settings.length * 6 + 4);
  let at = putFrameHead(bytes, 0, settings.length * 6, frameTypes.settings, 0, 0);
  for (const [id, value] of settings) {
    bytes.writeUInt16BE(id, at);
    putU32(bytes, at + 2, value);
    at += 6;
  }
  at = putFrameHead(bytes, at, 4, frameTypes.windowUpdate, 0, 0);
  putU32(bytes, at, connectionWindowBytes - defaultWindowBytes);
  return bytes;
}

/** A header block of which only the beginning has come (§6.10). */
interface PartialBlock {
  readonly stream: number;
  readonly ends: boolean;
  readonly isMalformed: boolean;
  readonly bytes: BodyBuffer;
  frames: number;
}

export class Http2Connection implements ServedConnection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket<unknown>;
  readonly #output: Output;
  readonly #sender: Sender;
  readonly #answering: Answering;
  readonly #heads = new HeadReader();
  readonly #streams = new StreamTable();
  /** What has come and isn't read yet: the beginning of a frame, or what waits for its turn. */
  #held: Buffer | undefined;
  /** How much of the preface has come. */
  #prefaceBytes = 0;
  /** The client's first frame is its settings (§3.4). */
  #hasSettings = false;
  #partial: PartialBlock | undefined;
  /** Streams whose bodies haven't come whole with their heads. */
  #unfinished: Http2Stream[] = [];
  /** What the client may still send. */
  #receiveWindow = connectionWindowBytes;
  #emptyFrames = 0;
  #cutStreams = 0;
  #unreadControlBytes = 0;
  #ignoredBytes = 0;
  /** Streams for which somebody else than the client is to do something. */
  #busy = 0;
  #sinceMs: number = performance.now();
  /** A handler was called since the last look at the clock. */
  #isLookDue = false;
  /** The output is corked. */
  #isOpen = false;
  /** Something is to be sent when all that is done now has been. */
  #isDue = false;
  #isYielding = false;
  #isPaused = false;
  /** Others than the ones that are under way aren't taken. */
  #isParting = false;
  /** Nothing is read any more. */
  #isOver = false;
  /** The client sends no more, or nothing that is of interest. */
  #isSent = false;
  #isClosed = false;
  #awaitedEnd: AwaitedBody | undefined;

  constructor(socket: Socket<unknown>, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#output = new Output(socket);
    this.#sender = new Sender(this.#output, (stream) => this.#answered(stream));
    this.#answering = new Answering({
      front: options.front,
      onFault: options.onFault,
      sender: this.#sender,
      isOpen: () => this.#isOpen,
      sendSoon: () => this.#sendSoon(),
      idle: (stream) => this.#idle(stream),
      broken: (stream) => this.#broken(stream),
    });
  }

  received(bytes: Buffer): void {
    if (this.#isOver) {
      this.#ignoredBytes += bytes.length;
      if (this.#ignoredBytes > ignoredBytesMax) this.cut();
      return;
    }
    const held = this.#held;
    const all = held === undefined ? bytes : Buffer.concat([held, bytes]);
    if (this.#isYielding) {
      this.#held = all;
      if (all.length > aheadBytesMax) this.#pause();
      return;
    }
    this.#read(all);
    if (this.#isOver || all.length < turnBytesMax) return;
    // Bun reads on where there is more, and its next look at other sockets may be far away.
    this.#yield();
    this.#pause();
  }

  drained(): void {
    this.#output.drained();
    if (this.#output.isFull) return;
    this.#unreadControlBytes = 0;
    if (this.#isOver) this.#shut();
    else this.#send();
  }

  /** Who sends no more opens no windows, either. What was asked for is answered as far as they are open. */
  ended(): void {
    this.#isSent = true;
    if (this.#isOver) {
      this.#shut();
      return;
    }
    if (!this.#isYielding) this.#settle();
    // The kernel of one that is gone says so when it is written to.
    if (!this.#isOver) this.#corked(() => this.#ask());
  }

  closed(): void {
    this.#isClosed = true;
    this.#isOver = true;
    this.#held = undefined;
    this.#output.closed();
    this.#dropAll();
    if (this.#awaitedEnd !== undefined) this.#options.lateRequests.came(this.#awaitedEnd);
  }

  stop(): void {
    if (this.#isOver) return;
    this.#isParting = true;
    this.#corked(() => this.#goAway(errorCodes.none));
    this.#settle();
  }

  cut(): void {
    this.#socket.terminate();
  }

  get idleSinceMs(): number | undefined {
    return this.#busy > 0 ? undefined : this.#sinceMs;
  }

  // ---- Turns --------------------------------------------------------------------------------------

  /** Reads as much as can be, and sends what that led to. */
  #read(bytes: Buffer): void {
    let at = 0;
    let untilMs: number | undefined;
    let frames = 0;
    this.#held = undefined;
    this.#corked(() => {
      while (at < bytes.length && !this.#isOver && !this.#isYielding) {
        const end = this.#readNext(bytes, at);
        if (end === undefined) break;
        at = end;
        if (at >= turnBytesMax && at < bytes.length) this.#yield();
        if (at === bytes.length || (++frames % framesPerLook !== 0 && !this.#isLookDue)) continue;
        this.#isLookDue = false;
        const nowMs = performance.now();
        untilMs ??= nowMs + (this.#options.turnMs ?? defaultTurnMs);
        if (nowMs >= untilMs) this.#yield();
      }
    });
    if (this.#isOver) return;
    if (at < bytes.length) this.#held = at === 0 ? bytes : bytes.subarray(at);
    for (const stream of this.#unfinished.splice(0)) {
      if (!stream.isRequestOver && !stream.isClosed) {
        stream.awaited = this.#options.lateRequests.await(() => this.#late(stream));
      }
    }
    this.#settle();
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  /** Others have their turn. */
  #yield(): void {
    if (this.#isYielding) return;
    this.#isYielding = true;
    setImmediate(() => {
      this.#isYielding = false;
      if (this.#isOver) return;
      if (this.#held === undefined) this.#settle();
      else this.#read(this.#held);
      // What is there comes first, or it would become ever more.
      if (this.#isYielding || !this.#isPaused) return;
      this.#isPaused = false;
      this.#socket.resume();
    });
  }

  /** What is written meanwhile leaves together, with what streams have to send. */
  #corked(write: () => unknown): void {
    if (this.#isOpen) {
      write();
      return;
    }
    this.#isOpen = true;
    this.#output.cork();
    try {
      write();
      if (this.#sender.hasQueue && this.#sender.pump() && this.#busy === 0) {
        this.#sinceMs = performance.now();
      }
    } finally {
      this.#isOpen = false;
      this.#output.uncork();
    }
  }

  #send(): void {
    this.#corked(() => {});
    this.#settle();
  }

  /** Together with what else is made in this turn. */
  #sendSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      if (!this.#isOver) this.#send();
    });
  }

  /** What follows from what was read and sent. */
  #settle(): void {
    if (this.#isOver) return;
    if (!this.#output.isFull) {
      for (const stream of this.#sender.takeSent()) {
        if (!stream.isClosed) this.#answering.ask(stream);
      }
    }
    if (this.#isSent && !this.#isYielding) this.#dropUnanswerable();
    if ((this.#isParting || this.#isSent) && this.#streams.size === 0) this.#end();
  }

  // ---- Frames -------------------------------------------------------------------------------------

  /** @returns where to go on; undefined when there is nothing to go on with */
  #readNext(bytes: Buffer, at: number): number | undefined {
    if (this.#prefaceBytes < preface.length) return this.#readPreface(bytes, at);
    const payloadAt = at + frameHeadBytes;
    if (bytes.length < payloadAt) return undefined;
    const length = u24At(bytes, at);
    if (length > payloadBytesMax) return this.#fail(errorCodes.frameSize);
    const end = payloadAt + length;
    if (bytes.length < end) return undefined;
    const type = bytes[at + 3] as number;
    const flagBits = bytes[at + 4] as number;
    const stream = u31At(bytes, at + 5);
    if (!this.#hasSettings) {
      const isFirst = type === frameTypes.settings && (flagBits & flags.acknowledged) === 0;
      if (!isFirst) return this.#fail(errorCodes.protocol);
      this.#hasSettings = true;
    }
    const fault = this.#readFrame(type, flagBits, stream, bytes, payloadAt, end);
    return fault === undefined ? end : this.#fail(fault);
  }

  #readPreface(bytes: Buffer, from: number): number | undefined {
    let at = from;
    for (; at < bytes.length && this.#prefaceBytes < preface.length; at++) {
      if (bytes[at] !== preface[this.#prefaceBytes]) return this.#fail(errorCodes.protocol);
      this.#prefaceBytes++;
    }
    if (this.#prefaceBytes === preface.length) this.#output.write(firstWords);
    return at;
  }

  /** @returns why the connection ends */
  #readFrame(
    type: number,
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (this.#partial !== undefined && type !== frameTypes.continuation) return errorCodes.protocol;
    const length = to - from;
    switch (type) {
      case frameTypes.data:
        return this.#readData(flagBits, id, bytes, from, to);
      case frameTypes.headers:
        return this.#readHeaders(flagBits, id, bytes, from, to);
      case frameTypes.continuation:
        return this.#readContinuation(flagBits, id, bytes, from, to);
      case frameTypes.priority:
        if (length !== 5) return errorCodes.frameSize;
        return id === 0 || u31At(bytes, from) === id ? errorCodes.protocol : undefined;
      case frameTypes.reset:
        if (length !== 4) return errorCodes.frameSize;
        return this.#readReset(id);
      case frameTypes.settings:
        return this.#readSettings(flagBits, id, bytes, from, to);
      case frameTypes.ping:
        if (length !== 8) return errorCodes.frameSize;
        if (id !== 0) return errorCodes.protocol;
        if ((flagBits & flags.acknowledged) === 0) {
          const at = this.#control(frameTypes.ping, flags.acknowledged, 0, 8);
          bytes.copy(corked, at, from, to);
        }
        return undefined;
      case frameTypes.goAway:
        if (length < 8) return errorCodes.frameSize;
        if (id !== 0) return errorCodes.protocol;
        this.#isParting = true;
        return undefined;
      case frameTypes.windowUpdate:
        if (length !== 4) return errorCodes.frameSize;
        return this.#readWindowUpdate(id, u31At(bytes, from));
      case frameTypes.pushPromise:
        return errorCodes.protocol;
      default:
        return undefined;
    }
  }

  #readSettings(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (id !== 0) return errorCodes.protocol;
    if ((flagBits & flags.acknowledged) !== 0) {
      return from === to ? undefined : errorCodes.frameSize;
    }
    const settings = readSettings(bytes, from, to);
    if (typeof settings === "string") return settingsFaultCodes[settings];
    if (settings.isTableSmaller) this.#sender.emptyTable();
    const { initialWindow } = settings;
    if (initialWindow !== undefined) {
      const grown = initialWindow - this.#sender.initialWindow;
      this.#sender.initialWindow = initialWindow;
      for (const stream of this.#streams.all()) {
        if (!this.#sender.openStreamWindow(stream, grown)) return errorCodes.flowControl;
      }
    }
    this.#control(frameTypes.settings, flags.acknowledged, 0, 0);
    return undefined;
  }

  #readWindowUpdate(id: number, bytes: number): ErrorCode | undefined {
    if (id === 0) {
      if (bytes === 0) return errorCodes.protocol;
      return this.#sender.openWindow(bytes) ? undefined : errorCodes.flowControl;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#streams.isIdle(id) ? errorCodes.protocol : undefined;
    if (bytes === 0) this.#reset(stream, errorCodes.protocol);
    else if (!this.#sender.openStreamWindow(stream, bytes)) {
      this.#reset(stream, errorCodes.flowControl);
    }
    return undefined;
  }

  #readReset(id: number): ErrorCode | undefined {
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

  // ---- Heads --------------------------------------------------------------------------------------

  #readHeaders(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (id % 2 === 0) return errorCodes.protocol;
    let at = from;
    let end = to;
    let isMalformed = false;
    if ((flagBits & flags.padded) !== 0) {
      if (at === to) return errorCodes.frameSize;
      end -= bytes[at++] as number;
    }
    if ((flagBits & flags.priority) !== 0) {
      if (to - at < 5) return errorCodes.frameSize;
      // A stream that depends on itself (RFC 7540 §5.3.1).
      isMalformed = u31At(bytes, at) === id;
      at += 5;
    }
    if (at > end) return errorCodes.protocol;
    const ends = (flagBits & flags.endStream) !== 0;
    if ((flagBits & flags.endHeaders) !== 0) {
      return this.#readBlock(id, ends, isMalformed, bytes, at, end);
    }
    const block = new BodyBuffer();
    block.add(bytes.subarray(at, end));
    this.#partial = { stream: id, ends, isMalformed, bytes: block, frames: 1 };
    return undefined;
  }

  #readContinuation(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    const partial = this.#partial;
    if (partial === undefined || partial.stream !== id) return errorCodes.protocol;
    partial.bytes.add(bytes.subarray(from, to));
    partial.frames++;
    if (partial.frames > blockFramesMax || partial.bytes.length > unpackedBytesMax) {
      return errorCodes.enhanceYourCalm;
    }
    if ((flagBits & flags.endHeaders) === 0) return undefined;
    this.#partial = undefined;
    const block = partial.bytes.whole as Buffer;
    return this.#readBlock(id, partial.ends, partial.isMalformed, block, 0, block.length);
  }

  /** A whole header block. It is always unpacked: those that follow depend on it. */
  #readBlock(
    id: number,
    ends: boolean,
    isMalformed: boolean,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (!this.#streams.isIdle(id)) return this.#readTrailers(id, ends, bytes, from, to);
    const head = this.#heads.read(bytes, from, to);
    if (head === "unreadable") return errorCodes.compression;
    if (head === "bomb") return errorCodes.enhanceYourCalm;
    this.#streams.begin(id);
    if (this.#isParting || this.#streams.size >= concurrentStreamsMax) {
      return this.#refuse(id, ends, errorCodes.refusedStream);
    }
    if (isMalformed || head === "malformed") return this.#refuse(id, ends, errorCodes.protocol);
    const isTooLarge = head === "too-large";
    const stream = new Http2Stream(id, isTooLarge ? unknownHead : head, this.#sender.initialWindow);
    this.#streams.add(stream);
    this.#busy++;
    stream.isRequestEnded = ends;
    if (isTooLarge) this.#answerEarly(stream, headTooLarge);
    else return this.#enter(stream, head, ends);
    return undefined;
  }

  /** By its head alone. */
  #enter(stream: Http2Stream, head: Http2Head, ends: boolean): ErrorCode | undefined {
    const { front, bodyBytesMax } = this.#options;
    const { contentLength } = head;
    if (ends && contentLength !== undefined && contentLength > 0) {
      return this.#reset(stream, errorCodes.protocol);
    }
    const entry = front.enter(head);
    if (entry.kind === "refused") {
      this.#answerEarly(stream, entry.response);
      return undefined;
    }
    stream.entry = entry;
    if (ends) {
      this.#handle(stream);
    } else if (contentLength !== undefined && contentLength > bodyBytesMax) {
      this.#tooLarge(stream);
    } else if (contentLength !== undefined && !entry.body.hold(contentLength)) {
      this.#answerEarly(stream, noRoomForBody);
    } else {
      this.#unfinished.push(stream);
      if (head.expectsContinue) {
        const at = this.#control(frameTypes.headers, flags.endHeaders, stream.id, goOn.length);
        corked.set(goOn, at);
      }
    }
    return undefined;
  }

  /** Fields after the body (§8.1), or a head on a stream that has had its own. */
  #readTrailers(
    id: number,
    ends: boolean,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
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
    if (stream.isRequestEnded) return this.#reset(stream, errorCodes.streamClosed);
    if (fault !== undefined || !ends) return this.#reset(stream, errorCodes.protocol);
    return this.#bodyEnded(stream);
  }

  // ---- Bodies -------------------------------------------------------------------------------------

  #readData(
    flagBits: number,
    id: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    if (this.#streams.isIdle(id)) return errorCodes.protocol;
    const ends = (flagBits & flags.endStream) !== 0;
    // Padding counts as well (§6.9.1).
    this.#receiveWindow -= to - from;
    if (this.#receiveWindow < 0) return errorCodes.flowControl;
    if (this.#receiveWindow < connectionWindowBytes / 2) {
      this.#giveBack(0, connectionWindowBytes - this.#receiveWindow);
      this.#receiveWindow = connectionWindowBytes;
    }
    let at = from;
    let end = to;
    if ((flagBits & flags.padded) !== 0) {
      if (at === to) return errorCodes.frameSize;
      end -= bytes[at++] as number;
      if (at > end) return errorCodes.protocol;
    }
    if (at === end && !ends && ++this.#emptyFrames > emptyFramesMax) {
      return errorCodes.enhanceYourCalm;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (!this.#streams.isIgnored(id)) return this.#refuse(id, true, errorCodes.streamClosed);
      if (ends) this.#streams.ignoreNoLonger(id);
      return undefined;
    }
    if (stream.isRequestEnded) return this.#reset(stream, errorCodes.streamClosed);
    stream.receiveWindow -= to - from;
    if (stream.receiveWindow < 0) return this.#reset(stream, errorCodes.flowControl);
    return this.#takeData(stream, ends, bytes, at, end);
  }

  #takeData(
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
    const { contentLength } = stream.head;
    if (contentLength !== undefined && stream.receivedBytes > contentLength) {
      return this.#reset(stream, errorCodes.protocol);
    }
    if (stream.receivedBytes > this.#options.bodyBytesMax) {
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
      this.#giveBack(stream.id, streamWindowBytes - stream.receiveWindow);
      stream.receiveWindow = streamWindowBytes;
    }
    return undefined;
  }

  #bodyEnded(stream: Http2Stream): ErrorCode | undefined {
    stream.isRequestEnded = true;
    if (stream.isRequestOver) return undefined;
    const { contentLength } = stream.head;
    if (contentLength !== undefined && contentLength !== stream.receivedBytes) {
      return this.#reset(stream, errorCodes.protocol);
    }
    if (stream.buffer !== undefined) stream.body = stream.buffer.whole;
    this.#handle(stream);
    return undefined;
  }

  #tooLarge(stream: Http2Stream): void {
    stream.body = "too-large";
    stream.buffer = undefined;
    this.#handle(stream);
  }

  /** The request is over; what still comes of it is of no use. */
  #handle(stream: Http2Stream): void {
    this.#requestOver(stream);
    this.#isLookDue = true;
    this.#answering.handle(stream);
  }

  #answerEarly(stream: Http2Stream, answer: ApiResponse): void {
    this.#requestOver(stream);
    this.#answering.answer(stream, answer);
  }

  #requestOver(stream: Http2Stream): void {
    stream.isRequestOver = true;
    stream.buffer = undefined;
    if (stream.awaited === undefined) return;
    this.#options.lateRequests.came(stream.awaited);
    stream.awaited = undefined;
  }

  #late(stream: Http2Stream): void {
    stream.awaited = undefined;
    if (stream.isClosed || this.#isOver) return;
    this.#corked(() => this.#answerEarly(stream, requestTooLate));
    this.#settle();
  }

  // ---- Ends of streams ----------------------------------------------------------------------------

  /** All of its answer is written. */
  #answered(stream: Http2Stream): void {
    this.#emptyFrames = 0;
    if (this.#cutStreams > 0) this.#cutStreams--;
    // The client needn't send the rest (§8.1), where that is more than may be on its way already.
    const isShort = (stream.head.contentLength ?? Number.POSITIVE_INFINITY) <= shortBodyBytesMax;
    if (!stream.isRequestEnded && !isShort) this.#putReset(stream.id, errorCodes.none);
    stream.isClosed = true;
    this.#forget(stream);
  }

  #broken(stream: Http2Stream): void {
    this.#corked(() => {
      this.#putReset(stream.id, errorCodes.internal);
      this.#close(stream);
    });
    this.#settle();
  }

  /** What only concerns one stream (§5.4.2). @returns why the connection ends, if it does */
  #reset(stream: Http2Stream, code: ErrorCode): ErrorCode | undefined {
    this.#putReset(stream.id, code);
    this.#close(stream);
    return this.#countCut();
  }

  /** A stream that there isn't. */
  #refuse(id: number, ends: boolean, code: ErrorCode): ErrorCode | undefined {
    this.#putReset(id, code);
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

  #countCut(): ErrorCode | undefined {
    return ++this.#cutStreams > cutStreamsMax ? errorCodes.enhanceYourCalm : undefined;
  }

  /** The client sends no more, and opens no window. */
  #dropUnanswerable(): void {
    for (const stream of this.#streams.all()) {
      if (!stream.isRequestOver || stream.isEndless || this.#sender.isStuck(stream)) {
        stream.isRequestEnded = true;
        this.#close(stream);
      }
    }
  }

  #dropAll(): void {
    for (const stream of this.#streams.all()) {
      stream.isRequestEnded = true;
      this.#close(stream);
    }
    this.#sender.closed();
  }

  // ---- What is said beside the answers, and the end -----------------------------------------------

  /** @returns where the payload goes, in {@link corked} */
  #control(type: number, flagBits: number, stream: number, length: number): number {
    if (this.#output.isFull) {
      this.#unreadControlBytes += frameHeadBytes + length;
      if (this.#unreadControlBytes > unreadControlBytesMax) this.cut();
    }
    const at = this.#output.reserve(frameHeadBytes + length);
    return putFrameHead(corked, at, length, type, flagBits, stream);
  }

  /** Whether it is there. */
  #ask(): void {
    const at = this.#control(frameTypes.ping, 0, 0, 8);
    corked.fill(0, at, at + 8);
  }

  #giveBack(stream: number, bytes: number): void {
    putU32(corked, this.#control(frameTypes.windowUpdate, 0, stream, 4), bytes);
  }

  #putReset(stream: number, code: ErrorCode): void {
    putU32(corked, this.#control(frameTypes.reset, 0, stream, 4), code);
  }

  #goAway(code: ErrorCode): void {
    const at = this.#control(frameTypes.goAway, 0, 0, 8);
    putU32(corked, at, this.#streams.lastId);
    putU32(corked, at + 4, code);
  }

  /** What concerns the whole connection (§5.4.1). The output is corked. */
  #fail(code: ErrorCode): undefined {
    this.#goAway(code);
    // A flood isn't listened to any longer.
    if (code === errorCodes.enhanceYourCalm) this.#isSent = true;
    this.#end();
    this.#dropAll();
  }

  /**
   * Nothing follows what was written. What a client is still sending is taken from it for a while: cut off at once, it
   * might not get to read why.
   */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#held = undefined;
    this.#awaitedEnd = this.#options.lateRequests.await(() => this.cut());
    if (this.#isPaused) this.#socket.resume();
    // After what is being written together.
    queueMicrotask(() => this.#shut());
  }

  #shut(): void {
    if (this.#isClosed || this.#output.isFull) return;
    if (this.#isSent) this.#socket.end();
    else this.#socket.shutdown();
  }
}

/**
 * A body that came in one piece is used where it is, unless much more came together with it, which would stay as long as the request.
 */
function bodyOf(bytes: Buffer, from: number, to: number): Uint8Array {
  if (from === to) return noBytes;
  const body = bytes.subarray(from, to);
  const isSmallPart = bytes.length > smallChunkBytesMax && body.length < bytes.length / 2;
  return isSmallPart ? Buffer.from(body) : body;
}

const smallChunkBytesMax = 16 * 1024;

const settingsFaultCodes: Readonly<Record<SettingsFault, ErrorCode>> = {
  "wrong-size": errorCodes.frameSize,
  "too-many": errorCodes.enhanceYourCalm,
  "wrong-value": errorCodes.protocol,
  "window-too-large": errorCodes.flowControl,
};
