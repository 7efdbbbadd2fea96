/**
 * A process of its own that reads single rows over an agent's Unix socket, open loop: requests leave on a
 * fixed schedule, whether earlier ones have been answered or not, and are timed from when they were due. (A
 * closed loop hides every stall: it waits through it and counts it once.)
 *
 * `bun bench/open-loop-reads.ts SOCKET PER_SECOND ROWS` reads until its standard input ends, then prints one
 * JSON object ({@link OpenLoopResult}). It begins when it has printed `ready` and a line came in.
 *
 * Each connection carries one request at a time. There are so many that none should ever wait for one; that
 * one was wanted and none was free is counted, like every send that left late. Each asks once before the first that counts.
 * None is ever cut: one that is counts as wrong.
 *
 * @module
 */

import type { Socket } from "bun";
import { bulkId } from "./read-under-merge-rows.ts";

export interface OpenLoopResult {
  /** When each request was due, ms since 1970 with fractions. */
  readonly dueMs: readonly number[];
  /** From then until the whole answer was here. */
  readonly tookMs: readonly number[];
  /** Requests that left more than {@link lateMs} after they were due. */
  readonly lateSends: number;
  readonly latestSendMs: number;
  /** Requests for which no connection was free. */
  readonly starved: number;
  /** Answers that were not 200 with one row, those that never came, and connections that were cut. */
  readonly wrong: number;
  /** The first of them. */
  readonly wrongText: string | undefined;
}

/** A timer of Bun's has a millisecond, and what was due just after it fired waits for the next. */
export const lateMs = 2;
const connections = 2000;

interface Request {
  readonly index: number;
  readonly dueMs: number;
}

interface Carrier {
  request: Request | undefined;
  text: string;
}

class OpenLoopReads {
  readonly #perSecond: number;
  readonly #rows: number;
  readonly #free: Socket<Carrier>[] = [];
  readonly #waiting: Request[] = [];
  readonly #dueMs: number[] = [];
  readonly #tookMs: number[] = [];
  #open = 0;
  #lateSends = 0;
  #latestSendMs = 0;
  #starved = 0;
  #wrong = 0;
  #wrongText: string | undefined;

  constructor(perSecond: number, rows: number) {
    this.#perSecond = perSecond;
    this.#rows = rows;
  }

  async connect(path: string): Promise<void> {
    const open = (): Promise<Socket<Carrier>> =>
      Bun.connect<Carrier>({
        unix: path,
        data: { request: undefined, text: "" },
        socket: {
          data: (socket, bytes) => this.#received(socket, bytes),
          close: (socket) => this.#closed(socket),
        },
      });
    for (let failures = 0, opened = 0; opened < connections; ) {
      try {
        const socket = await open();
        opened++;
        this.#ask(socket, 0);
      } catch (error) {
        // Its queue of connections to accept is full.
        if (++failures > 1000) throw error;
        await Bun.sleep(5);
      }
    }
    const deadlineMs = performance.now() + 60_000;
    while (this.#free.length < connections) {
      if (performance.now() > deadlineMs) throw new Error(`only ${this.#free.length} connections`);
      await Bun.sleep(5);
    }
  }

  /** Sends what is due, every millisecond, until told to stop; returns when the last answer is in. */
  async run(isOver: () => boolean): Promise<OpenLoopResult> {
    const startMs = performance.now() + 5;
    const everyMs = 1000 / this.#perSecond;
    for (let next = 0; !isOver(); ) {
      const nowMs = performance.now();
      for (; startMs + next * everyMs <= nowMs; next++) {
        const dueMs = startMs + next * everyMs;
        const behindMs = performance.now() - dueMs;
        if (behindMs > lateMs) this.#lateSends++;
        this.#latestSendMs = Math.max(this.#latestSendMs, behindMs);
        this.#send({ index: next, dueMs });
      }
      // Less than a millisecond would be none at all.
      await Bun.sleep(1);
    }
    const deadlineMs = performance.now() + 60_000;
    while (this.#open > 0 && performance.now() < deadlineMs) await Bun.sleep(1);
    return {
      dueMs: this.#dueMs.map((ms) => performance.timeOrigin + ms),
      tookMs: this.#tookMs,
      lateSends: this.#lateSends,
      latestSendMs: this.#latestSendMs,
      starved: this.#starved,
      wrong: this.#wrong + this.#open,
      wrongText: this.#wrongText,
    };
  }

  #send(request: Request): void {
    const socket = this.#free.pop();
    this.#open++;
    if (socket === undefined) {
      this.#starved++;
      this.#waiting.push(request);
      return;
    }
    this.#write(socket, request);
  }

  #write(socket: Socket<Carrier>, request: Request): void {
    socket.data.request = request;
    this.#ask(socket, request.index);
  }

  #ask(socket: Socket<Carrier>, index: number): void {
    socket.data.text = "";
    // Every row in turn, far from the one before.
    const id = bulkId((index * 7919) % this.#rows);
    const body = `["SELECT * FROM services WHERE id = ?",["${id}"]]`;
    socket.write(
      `POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
  }

  #received(socket: Socket<Carrier>, bytes: Uint8Array): void {
    const carrier = socket.data;
    carrier.text += Buffer.from(bytes).toString("latin1");
    if (!isWhole(carrier.text)) return;
    const { request } = carrier;
    if (request === undefined) {
      this.#free.push(socket);
      return;
    }
    const nowMs = performance.now();
    this.#dueMs.push(request.dueMs);
    this.#tookMs.push(nowMs - request.dueMs);
    if (!carrier.text.startsWith("HTTP/1.1 200") || !carrier.text.includes('{"row":[1,')) {
      this.#wrong++;
      this.#wrongText ??= carrier.text;
    }
    this.#open--;
    carrier.request = undefined;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#free.push(socket);
    else this.#write(socket, waiting);
  }

  #closed(socket: Socket<Carrier>): void {
    const { request, text } = socket.data;
    this.#wrong++;
    this.#wrongText ??= `a connection was cut, ${text.length} bytes into an answer`;
    if (request !== undefined) this.#open--;
    const at = this.#free.indexOf(socket);
    if (at >= 0) this.#free.splice(at, 1);
  }
}

/** Of one answer of HTTP/1.1, with a length or in chunks. */
function isWhole(text: string): boolean {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd))?.[1];
  if (length !== undefined) return text.length >= headEnd + 4 + Number(length);
  return text.endsWith("\r\n0\r\n\r\n");
}

if (import.meta.main) {
  const [socket, perSecond, rows] = process.argv.slice(2);
  const reads = new OpenLoopReads(Number(perSecond), Number(rows));
  await reads.connect(String(socket));
  console.log("ready");
  let isOver = false;
  const input = Bun.stdin.stream().getReader();
  await input.read();
  void (async () => {
    while (!(await input.read()).done);
    isOver = true;
  })();
  const result = await reads.run(() => isOver);
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
}
