/**
 * One client's connection, whatever it speaks: what its listener tells it of the socket, and asks of it. Before it
 * has said what that is, it is `first-bytes.ts`; then `http1/connection.ts` or `http2/connection.ts`.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { Front } from "./front.ts";
import type { LateRequests } from "./late-requests.ts";

export interface ConnectionOptions {
  readonly front: Front;
  readonly bodyBytesMax: number;
  /** Requests that are on their way. */
  readonly lateRequests: LateRequests;
  /** A handler threw: our fault. */
  readonly onFault: (error: unknown) => void;
  /** That a client sends no more may mean that it is gone, as over TCP: it is written to, and its kernel says so. */
  readonly asksWhoEnded?: boolean;
  /** After which what one client has sent together waits until others had their turn. */
  readonly turnMs?: number;
}

/** As long as one query may take on the store thread at most. */
export const defaultTurnMs = 2;
/** Read in one turn, though they may be nothing but parts of a body, or frames that cost nothing. */
export const turnBytesMax: number = 64 * 1024;
/** Of what is sent ahead: while an answer is awaited, or others have their turn. */
export const aheadBytesMax: number = 64 * 1024;

export interface ServedConnection {
  /** @param bytes are the connection's from now on */
  received(bytes: Buffer): void;
  /** The socket takes more. */
  drained(): void;
  /** The client sends no more. It may still read. */
  ended(): void;
  /** Nothing more is read or written. */
  closed(): void;
  /** Takes no more requests, and ends when what was begun is answered. */
  stop(): void;
  /** At once, whatever is under way. */
  cut(): void;
  /**
   * Since when its client has asked nothing, or taken nothing of an answer that has an end: milliseconds on `performance.now()`.
   * Undefined while a request whose head has come is on its way or waits for its answer, and while a stream without end is open, however silent.
   */
  readonly idleSinceMs: number | undefined;
}
