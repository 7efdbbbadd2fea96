/**
 * One request and its answer (RFC 9113 §5).
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { BodyBuffer } from "../body-buffer.ts";
import type { Entered } from "../front.ts";
import { type ApiRequest, noBytes } from "../http.ts";
import type { AwaitedRequest } from "../late-requests.ts";
import { ServedRequest } from "../served-request.ts";
import type { Http2Head } from "./request-head.ts";

/** That a client may send of one body before it is told of more. What has come is taken at once. */
export const streamWindowBytes: number = 256 * 1024;

export class Http2Stream extends ServedRequest implements ApiRequest {
  readonly id: number;
  readonly method: string;
  /** Of the body; undefined when it isn't told. */
  readonly contentLength: number | undefined;
  head: Http2Head;
  body: Uint8Array | "too-large" = noBytes;
  /** Until the answer is there. */
  entry: Entered | undefined;

  // ---- What comes ----
  /** Of the body. */
  receivedBytes = 0;
  receiveWindow: number = streamWindowBytes;
  /** Where the body didn't come in one piece. */
  buffer: BodyBuffer | undefined;
  awaited: AwaitedRequest | undefined;
  /** The client has sent all, or what it still sends is of no use. */
  isRequestOver = false;
  /** The client has sent all. */
  isRequestEnded = false;

  // ---- What goes ----
  /** What the client takes; below zero when it has changed its mind (§6.9.2). */
  sendWindow: number;
  /** Of the answer's head, until it is sent. */
  fields: Buffer | undefined;
  /** Of a whole answer's body, told in its head. */
  answerLength: number | undefined;
  /** What is to be sent, from `pieceAt` on; undefined while there is nothing. */
  piece: Uint8Array | undefined;
  pieceAt = 0;
  /** The answer ends with this piece. */
  isLastPiece = false;
  /** The answer's head is sent. */
  hasBegun = false;
  /** The sender knows that there is something. */
  isQueued = false;
  streamed: AsyncIterator<Uint8Array> | undefined;
  /** Of the answer: it has no end of its own. */
  isEndless = false;

  /** A handler has it. */
  isHandled = false;
  /** Somebody else than its client is to do something, or will, as with a live query. */
  isBusy = true;
  isClosed = false;

  constructor(id: number, head: Http2Head, sendWindow: number) {
    super();
    this.id = id;
    this.head = head;
    this.method = head.method;
    this.contentLength = head.contentLength;
    this.sendWindow = sendWindow;
  }

  get path(): string {
    return this.head.path;
  }

  get query(): string {
    return this.head.query;
  }

  header(name: string): string | undefined {
    return this.head.header(name);
  }
}
