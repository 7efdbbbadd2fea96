/**
 * One connection of HTTP/1.1: requests are read and answered one after another, in the order in which they came. What a
 * client sends ahead waits, and not much of it is read.
 *
 * Answers to requests that came together leave together. Those that are streams are sent by `streamed-answer.ts`.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import { BodyBuffer } from "../body-buffer.ts";
import { StreamCut } from "../event-stream.ts";
import type { Entered } from "../front.ts";
import {
  type ApiRequest,
  type ApiResponse,
  internalError,
  noBytes,
  noRoomForBody,
  requestTooLate,
  textResponse,
} from "../http.ts";
import type { AwaitedRequest } from "../late-requests.ts";
import { Output } from "../output.ts";
import {
  aheadBytesMax,
  type ConnectionOptions,
  defaultTurnMs,
  type ServedConnection,
  turnBytesMax,
} from "../served-connection.ts";
import { ServedRequest } from "../served-request.ts";
import { ChunkedBody } from "./chunked-body.ts";
import { type HeadRefusal, type Http1Head, readHead } from "./request-head.ts";
import { type Persistence, responseHead } from "./response-head.ts";
import { StreamedAnswer } from "./streamed-answer.ts";

const goOn = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");
/** Before an answer's head (RFC 2518 §10.1); clients pass over what is below 200. */
const processing = Buffer.from("HTTP/1.1 102 Processing\r\n\r\n");
const refusals: Readonly<Record<HeadRefusal, ApiResponse>> = {
  400: textResponse(400, "this is no HTTP/1.1 request"),
  431: textResponse(431, "the request's head is too large"),
  501: textResponse(501, "no other transfer coding than chunked"),
  505: textResponse(505, "HTTP/1.1 or 1.0"),
};

/** Of a body in chunks, between two looks at the clock. */
const chunkedStepBytes = 16 * 1024;

/** A request whose head has come, and who entered with it. */
class Http1Request extends ServedRequest implements ApiRequest {
  readonly head: Http1Head;
  readonly entry: Entered;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  body: Uint8Array | "too-large" = noBytes;

  constructor(head: Http1Head, entry: Entered) {
    super();
    this.head = head;
    this.entry = entry;
    this.method = head.method;
    this.path = head.path;
    this.query = head.query;
  }

  header(name: string): string | undefined {
    return this.head.header(name);
  }

  /** What it said: nobody asks for it any more. */
  forget(): void {
    this.body = noBytes;
    this.head.forgetFields();
  }
}

export class Http1Connection implements ServedConnection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket<unknown>;
  readonly #output: Output;
  /** What has come and isn't read yet: the beginning of a head, or what was sent ahead. */
  #held: Buffer | undefined;
  #request: Http1Request | undefined;
  /** Of the request, where it didn't come together with the head. */
  #body: BodyBuffer | undefined;
  #chunked: ChunkedBody | undefined;
  /** The request is whole, and its answer isn't. */
  #isAnswering = false;
  #streamed: StreamedAnswer | undefined;
  #isReading = false;
  /** Others have their turn. */
  #isYielding = false;
  #isPaused = false;
  /** No request is read any more. What still comes is thrown away. */
  #isOver = false;
  #isStopping = false;
  /** The client sends no more. It may still read. */
  #isSent = false;
  #isClosed = false;
  #awaited: AwaitedRequest | undefined;
  /** When something came last, or was taken or answered: ms on the monotonic clock. */
  #activeMs = performance.now();

  constructor(socket: Socket<unknown>, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#output = new Output(socket);
  }

  received(bytes: Buffer): void {
    if (!this.#isOver) {
      // What comes behind an answer that isn't taken says nothing of it.
      if (!this.#output.isFull) this.#activeMs = performance.now();
      const held = this.#held;
      this.#read(held === undefined ? bytes : Buffer.concat([held, bytes]));
    }
    // Bun reads on where there is more, and its next look at other sockets may be far away.
    if (bytes.length >= turnBytesMax && !this.#isPaused && (this.#isOver || !this.#mustWait)) {
      this.#isPaused = true;
      this.#socket.pause();
      this.#yield();
    }
  }

  drained(): void {
    this.#output.drained();
    this.#activeMs = performance.now();
    if (!this.#mustWait) this.#readOn();
  }

  /** What it asked for is answered, streams as well, and then the connection ends. */
  ended(): void {
    this.#isSent = true;
    if (this.#isOver) {
      if (!this.#output.isFull) this.#socket.end();
      return;
    }
    this.#readOn();
    if (this.#options.asksWhoEnded === true) this.#askWhoEnded();
  }

  closed(): void {
    this.#isClosed = true;
    this.#isOver = true;
    this.#held = undefined;
    this.#output.closed();
    this.#noLongerAwaited();
    const request = this.#request;
    if (request === undefined) return;
    request.gone();
    if (this.#isAnswering) {
      this.#streamed?.leave().catch(this.#options.onFault);
      return;
    }
    this.#dropRequest(request);
  }

  stop(): void {
    this.#isStopping = true;
    if (!this.#isAnswering) this.#end();
  }

  cut(): void {
    this.#socket.terminate();
  }

  get idleSinceMs(): number | undefined {
    if (this.#output.isFull && this.#streamed?.isEndless !== true) return this.#activeMs;
    const isBusy = this.#isAnswering || this.#isYielding || this.#request !== undefined;
    return isBusy ? undefined : this.#activeMs;
  }

  /** By what means nothing to a client that still reads. Of one that doesn't the kernel says so. */
  #askWhoEnded(): void {
    const request = this.#request;
    if (request === undefined || !this.#isAnswering || this.#output.isFull) return;
    if (this.#streamed?.hasBegun === true) this.#streamed.sendSpace();
    else if (!request.head.isHttp10) this.#output.write(processing);
  }

  /** What was sent ahead, now that there is nothing to wait for. */
  #readOn(): void {
    if (this.#isReading || this.#isOver) return;
    const held = this.#held;
    if (held !== undefined) this.#read(held);
    if (!this.#mustWait) this.#resume();
    if (!this.#isSent || this.#mustWait || this.#isOver) return;
    const request = this.#request;
    if ((this.#held ?? request) === undefined) this.#end();
    else this.#refuse(refusals[400], request?.head);
  }

  /** Nothing is read now: an answer is awaited, or not taken, or others have their turn. */
  get #mustWait(): boolean {
    return this.#isAnswering || this.#isYielding || this.#output.isFull;
  }

  /** Reads and answers as much as can be. */
  #read(bytes: Buffer): void {
    let at = 0;
    let untilMs: number | undefined;
    this.#held = undefined;
    this.#isReading = true;
    this.#output.cork();
    try {
      while (at < bytes.length && !this.#isOver && !this.#mustWait) {
        const end =
          this.#request === undefined ? this.#readHead(bytes, at) : this.#readBody(bytes, at);
        if (end === undefined) break;
        at = end;
        if (at === bytes.length) continue;
        // Whatever else came together costs others as much as it takes.
        const nowMs = performance.now();
        untilMs ??= nowMs + (this.#options.turnMs ?? defaultTurnMs);
        if (nowMs >= untilMs) this.#yield();
      }
    } finally {
      this.#output.uncork();
    }
    this.#isReading = false;
    if (this.#isOver) return;
    if (at < bytes.length) {
      this.#held = at === 0 ? bytes : bytes.subarray(at);
      if (this.#mustWait && this.#held.length > aheadBytesMax) this.#readNoFurther();
    }
    const isOnItsWay = this.#request !== undefined && !this.#isAnswering;
    if (!isOnItsWay && (this.#mustWait || this.#held === undefined)) return;
    this.#awaited ??= this.#options.lateRequests.await(() => this.#late());
  }

  #yield(): void {
    this.#isYielding = true;
    setImmediate(() => {
      this.#isYielding = false;
      if (this.#isOver) this.#resume();
      else if (!this.#mustWait) this.#readOn();
    });
  }

  /** That a client is gone isn't noticed while it isn't read from: behind a stream without end it is cut off. */
  #readNoFurther(): void {
    if (this.#streamed?.isEndless === true) this.cut();
    else if (!this.#isPaused) {
      this.#isPaused = true;
      this.#socket.pause();
    }
  }

  #resume(): void {
    if (!this.#isPaused || this.#isClosed) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  /** @returns where to go on; undefined when there is nothing to go on with */
  #readHead(bytes: Buffer, from: number): number | undefined {
    const head = readHead(bytes, from);
    if (head === "more") return undefined;
    if (typeof head === "number") return this.#refuse(refusals[head]);
    const { front, bodyBytesMax } = this.#options;
    const { contentLength: length, end } = head;
    const isWhole = !head.isChunked && bytes.length - end >= length;
    const entry = front.enter(head);
    if (entry.kind === "refused") {
      if (!isWhole) return this.#refuse(entry.response, head);
      this.#send(entry.response, head);
      return end + length;
    }
    const request = new Http1Request(head, entry);
    this.#request = request;
    if (length > bodyBytesMax) return this.#tooLarge(request);
    if (!entry.body.hold(length)) return this.#refuse(noRoomForBody, head);
    if (isWhole) {
      if (length > 0) request.body = bytes.subarray(end, end + length);
      this.#answer(request);
      return end + length;
    }
    const body = new BodyBuffer();
    this.#body = body;
    if (head.isChunked) this.#chunked = new ChunkedBody((part) => body.add(part), bodyBytesMax);
    if (head.expectsContinue && bytes.length === end) this.#output.write(goOn);
    return end;
  }

  #readBody(bytes: Buffer, from: number): number | undefined {
    const request = this.#request as Http1Request;
    const body = this.#body as BodyBuffer;
    let at: number;
    if (this.#chunked === undefined) {
      const { contentLength } = request.head;
      at = Math.min(bytes.length, from + contentLength - body.length);
      body.add(bytes.subarray(from, at));
      if (body.length < contentLength) return at;
    } else {
      // The smaller its chunks are, the longer it takes.
      const to = Math.min(bytes.length, from + chunkedStepBytes);
      const end = this.#chunked.feed(bytes.subarray(0, to), from);
      if (end === "malformed") return this.#refuse(refusals[400], request.head);
      if (end === "too-large") return this.#tooLarge(request);
      if (!request.entry.body.hold(body.length)) return this.#refuse(noRoomForBody, request.head);
      if (end === "more") return to;
      at = end;
    }
    request.body = body.whole;
    this.#answer(request);
    return at;
  }

  /** Where its body ends isn't looked for. */
  #tooLarge(request: Http1Request): undefined {
    request.body = "too-large";
    request.head.keepsAlive = false;
    this.#answer(request);
  }

  #answer(request: Http1Request): void {
    this.#noLongerAwaited();
    this.#body = undefined;
    this.#chunked = undefined;
    const { front } = this.#options;
    let answer: ApiResponse | Promise<ApiResponse>;
    try {
      answer = front.handle(request, request.entry);
    } catch (error) {
      answer = this.#faulty(error);
    }
    if (!(answer instanceof Promise)) {
      this.#answered(request, answer);
      return;
    }
    this.#isAnswering = true;
    answer.then(
      (one) => this.#answered(request, one),
      (error) => this.#answered(request, this.#faulty(error)),
    );
  }

  #faulty(error: unknown): ApiResponse {
    this.#options.onFault(error);
    return internalError();
  }

  #answered(request: Http1Request, answer: ApiResponse): void {
    this.#options.front.leave(request.entry);
    const { body } = answer;
    if (!(body instanceof Uint8Array)) {
      this.#isAnswering = true;
      request.forget();
      const isChunked = !request.head.isHttp10;
      const isEndless = answer.isEndless === true;
      const streamed = new StreamedAnswer(this.#output, body, { isEndless, isChunked });
      void this.#stream(request, answer, streamed);
      return;
    }
    if (this.#isAnswering) this.#activeMs = performance.now();
    this.#isAnswering = false;
    this.#request = undefined;
    if (this.#isClosed) return;
    this.#send(answer, request.head);
    this.#readOn();
  }

  /** A whole answer. */
  #send(answer: ApiResponse, head: Http1Head): void {
    const body = answer.body as Uint8Array;
    const persistence = this.#isStopping ? "ends" : persistenceOf(head);
    const hasBody = head.method !== "HEAD" && body.length > 0;
    this.#sendWhole(responseHead(answer, body.length, persistence), hasBody ? body : noBytes);
    if (persistence === "ends") this.#end();
  }

  /** In one piece, also where it isn't sent together with others. */
  #sendWhole(head: Uint8Array, body: Uint8Array): void {
    const isAlone = !this.#isReading;
    if (isAlone) this.#output.cork();
    this.#output.write(head);
    if (body.length > 0) this.#output.write(body);
    if (isAlone) this.#output.uncork();
  }

  async #stream(
    request: Http1Request,
    answer: ApiResponse,
    streamed: StreamedAnswer,
  ): Promise<void> {
    const { head } = request;
    this.#streamed = streamed;
    answer.onCut?.(() => this.cut());
    if (streamed.isEndless) this.#resume();
    if (head.isHttp10) head.keepsAlive = false;
    const first = responseHead(answer, head.isHttp10 ? "close" : "chunked", persistenceOf(head));
    try {
      if (head.method === "HEAD") {
        this.#output.write(first);
        request.gone();
        await streamed.leave();
      } else {
        await streamed.send(first);
        if (this.#isClosed) await streamed.leave();
      }
    } catch (error) {
      // It is to be seen that it is unfinished.
      if (!(error instanceof StreamCut)) this.#options.onFault(error);
      await this.#output.whenDrained();
      this.cut();
      return;
    }
    this.#streamed = undefined;
    this.#isAnswering = false;
    this.#request = undefined;
    this.#activeMs = performance.now();
    if (this.#isClosed) return;
    if (head.keepsAlive && !this.#isStopping) this.#readOn();
    else this.#end();
  }

  /** Answers what isn't read to its end. */
  #refuse(response: ApiResponse, head?: Http1Head): undefined {
    if (this.#request !== undefined) this.#dropRequest(this.#request);
    this.#noLongerAwaited();
    const body = response.body as Uint8Array;
    const sent = responseHead(response, body.length, "ends");
    this.#sendWhole(sent, head?.method === "HEAD" ? noBytes : body);
    this.#end();
  }

  #dropRequest(request: Http1Request): void {
    this.#request = undefined;
    this.#body = undefined;
    this.#chunked = undefined;
    this.#options.front.leave(request.entry);
  }

  #late(): void {
    this.#awaited = undefined;
    this.#refuse(requestTooLate, this.#request?.head);
  }

  #noLongerAwaited(): void {
    if (this.#awaited === undefined) return;
    this.#options.lateRequests.came(this.#awaited);
    this.#awaited = undefined;
  }

  /**
   * Nothing follows what was written. What a client is still sending is taken from it for a while: cut off at once,
   * it might not get to read its answer.
   */
  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#held = undefined;
    void this.#shutDown();
  }

  async #shutDown(): Promise<void> {
    // After what is being written together.
    await Promise.resolve();
    await this.#output.whenDrained();
    if (this.#isClosed) return;
    if (this.#isSent) {
      this.#socket.end();
      return;
    }
    this.#socket.shutdown();
    this.#resume();
    this.#awaited = this.#options.lateRequests.await(() => this.cut());
  }
}

function persistenceOf({ keepsAlive, isHttp10 }: Http1Head): Persistence {
  if (!keepsAlive) return "ends";
  return isHttp10 ? "stays-1.0" : "stays";
}
