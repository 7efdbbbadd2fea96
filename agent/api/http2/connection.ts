/**
 * One connection of HTTP/2 (RFC 9113), with prior knowledge: the client begins with the preface. No push, no priorities;
 * what a request has after its body is ignored.
 *
 * What one client has sent is worked for 2 ms or 64 KB at most, then others have their turn; what is answered meanwhile leaves
 * together. It is always read: what it may ask for while it takes no answers is bounded by the number of streams, and what
 * it makes us say beside is counted.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import type { AwaitedRequest } from "../late-requests.ts";
import { Output } from "../output.ts";
import {
  aheadBytesMax,
  type ConnectionOptions,
  defaultTurnMs,
  type ServedConnection,
  turnBytesMax,
} from "../served-connection.ts";
import { ControlFrames } from "./control-frames.ts";
import { FrameReader } from "./frame-reader.ts";
import { errorCodes } from "./frames.ts";
import { Requests } from "./requests.ts";
import { Sender } from "./sender.ts";

/** Between two looks at the clock. */
const framesPerLook = 16;
/** Of what still comes when nothing is answered any more. */
const ignoredBytesMax = 1024 * 1024;

export class Http2Connection implements ServedConnection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket<unknown>;
  readonly #output: Output;
  readonly #control: ControlFrames;
  readonly #sender: Sender;
  readonly #requests: Requests;
  readonly #reader: FrameReader;
  /** What has come and isn't read yet: the beginning of a frame, or what waits for its turn. */
  #held: Buffer | undefined;
  /** The output is corked. */
  #isOpen = false;
  /** Something is to be sent when all that is done now has been. */
  #isDue = false;
  /** Others have their turn. */
  #isYielding = false;
  #isPaused = false;
  /** Nothing is read any more. */
  #isOver = false;
  /** The client sends no more, or nothing that is of interest. */
  #isSent = false;
  #isClosed = false;
  #ignoredBytes = 0;
  #awaitedEnd: AwaitedRequest | undefined;

  constructor(socket: Socket<unknown>, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#output = new Output(socket);
    this.#control = new ControlFrames(this.#output, () => this.cut());
    this.#sender = new Sender(this.#output, (stream) => this.#requests.answered(stream));
    this.#requests = new Requests({
      connection: options,
      sender: this.#sender,
      control: this.#control,
      isOpen: () => this.#isOpen,
      sendSoon: () => this.#sendSoon(),
      send: (write) => this.#send(write),
    });
    this.#reader = new FrameReader(this.#requests, this.#sender, this.#control);
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
    this.#control.drained();
    if (this.#isOver) this.#shut();
    else this.#send(nothing);
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
    if (!this.#isOver) this.#corked(() => this.#control.ping());
  }

  closed(): void {
    this.#isClosed = true;
    this.#isOver = true;
    this.#held = undefined;
    this.#output.closed();
    this.#requests.dropAll();
    if (this.#awaitedEnd !== undefined) this.#options.lateRequests.came(this.#awaitedEnd);
  }

  stop(): void {
    if (this.#isOver) return;
    this.#requests.part();
    this.#send(() => this.#control.goAway(this.#requests.lastStream, errorCodes.none));
  }

  cut(): void {
    this.#socket.terminate();
  }

  get idleSinceMs(): number | undefined {
    return this.#requests.idleSinceMs;
  }

  /** Reads as much as can be, and sends what that led to. */
  #read(bytes: Buffer): void {
    const reader = this.#reader;
    let at = 0;
    let untilMs: number | undefined;
    let frames = 0;
    this.#held = undefined;
    this.#corked(() => {
      while (at < bytes.length && !this.#isOver && !this.#isYielding) {
        const next = reader.next(bytes, at);
        if (next === "more") break;
        if (next === "fault") {
          this.#fail();
          break;
        }
        at = next;
        if (at === bytes.length) break;
        if (at >= turnBytesMax) this.#yield();
        if (++frames % framesPerLook !== 0 && !this.#requests.takeHandled()) continue;
        const nowMs = performance.now();
        untilMs ??= nowMs + (this.#options.turnMs ?? defaultTurnMs);
        if (nowMs >= untilMs) this.#yield();
      }
    });
    if (this.#isOver) return;
    if (at < bytes.length) this.#held = at === 0 ? bytes : bytes.subarray(at);
    this.#requests.awaitBodies();
    this.#settle();
  }

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

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  /** What is written meanwhile leaves together, with what streams have to send. */
  #corked(write: () => void): void {
    if (this.#isOpen) {
      write();
      return;
    }
    this.#isOpen = true;
    this.#output.cork();
    try {
      write();
      if (this.#sender.hasQueue && this.#sender.pump()) this.#requests.progressed();
    } finally {
      this.#isOpen = false;
      this.#output.uncork();
    }
  }

  #send(write: () => void): void {
    if (this.#isOver) return;
    this.#corked(write);
    this.#settle();
  }

  /** Together with what else is made in this turn. */
  #sendSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#send(nothing);
    });
  }

  /** What follows from what was read and sent. */
  #settle(): void {
    if (this.#isOver) return;
    if (!this.#output.isFull) this.#requests.askForMore();
    if (this.#isSent && !this.#isYielding) this.#requests.dropUnanswerable();
    if ((this.#requests.isParting || this.#isSent) && this.#requests.count === 0) this.#end();
  }

  /** What concerns the whole connection (§5.4.1). The output is corked. */
  #fail(): void {
    const { fault } = this.#reader;
    this.#control.goAway(this.#requests.lastStream, fault);
    // A flood isn't listened to any longer.
    if (fault === errorCodes.enhanceYourCalm) this.#isSent = true;
    this.#end();
    this.#requests.dropAll();
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

function nothing(): void {}
