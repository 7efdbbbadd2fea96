/**
 * Which protocol a connection speaks, by its first bytes: a client of h2c with prior knowledge begins with a preface
 * (RFC 9113 §3.4) that no request of HTTP/1.1 can begin with; any other one speaks HTTP/1.1, or isn't understood by it.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import { preface } from "./http2/frames.ts";
import type { AwaitedRequest, LateRequests } from "./late-requests.ts";
import type { ServedConnection } from "./served-connection.ts";

export type Protocol = "http1" | "http2";

/** Undefined: more bytes will tell. @param bytes the connection's first */
export function protocolOf(bytes: Buffer): Protocol | undefined {
  const length = Math.min(bytes.length, preface.length);
  if (bytes.compare(preface, 0, length, 0, length) !== 0) return "http1";
  return length === preface.length ? "http2" : undefined;
}

export interface FirstBytesOptions {
  /** A request is, too, while nothing of it has come. */
  readonly lateRequests: LateRequests;
  /** Who serves from now on. */
  readonly onTold: (protocol: Protocol) => ServedConnection;
  /** It has told, or is closed. */
  readonly onOver: () => void;
}

/** A connection until it has told. */
export class FirstBytes implements ServedConnection {
  readonly idleSinceMs: number = performance.now();
  readonly #socket: Socket<unknown>;
  readonly #options: FirstBytesOptions;
  readonly #awaited: AwaitedRequest;
  #held: Buffer | undefined;

  constructor(socket: Socket<unknown>, options: FirstBytesOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#awaited = options.lateRequests.await(() => this.stop());
  }

  received(bytes: Buffer): void {
    const held = this.#held;
    const first = held === undefined ? bytes : Buffer.concat([held, bytes]);
    const protocol = protocolOf(first);
    if (protocol === undefined) this.#held = first;
    else this.#told(protocol).received(first);
  }

  drained(): void {}

  ended(): void {
    const held = this.#held;
    if (held === undefined) {
      this.stop();
      return;
    }
    const connection = this.#told("http1");
    connection.received(held);
    connection.ended();
  }

  closed(): void {
    this.#over();
  }

  stop(): void {
    this.#socket.end();
  }

  cut(): void {
    this.#socket.terminate();
  }

  #told(protocol: Protocol): ServedConnection {
    this.#over();
    return this.#options.onTold(protocol);
  }

  #over(): void {
    this.#options.lateRequests.came(this.#awaited);
    this.#options.onOver();
  }
}
