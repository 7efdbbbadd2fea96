/**
 * Latency as a client sees it: requests leave on a fixed schedule, whether or not earlier ones have been
 * answered, and each is timed from when it was due: a closed loop hides every stall.
 *
 * In a process of its own, so that it doesn't share an event loop with anybody, over enough connections that
 * no request waits for one. It tells its own lateness: a run with more than 1 % late sends says nothing.
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { quantile } from "./harness.ts";

export interface OpenLoopOptions {
  /** Unix socket. */
  readonly socket: string;
  readonly path: string;
  /** JSON bodies, taken in turns. */
  readonly bodies: readonly string[];
  readonly perSecond: number;
  readonly seconds: number;
  readonly connections: number;
}

export interface OpenLoopReport {
  readonly sent: number;
  /** Sent more than 2 ms after they were due, or with no connection free. */
  readonly late: number;
  /** Answers with another status than 200, or none. */
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const lateMs = 2;
/** After the last was sent. */
const answersMs = 60_000;

/** Runs it in a process of its own. */
export async function openLoop(options: OpenLoopOptions): Promise<OpenLoopReport> {
  const child = Bun.spawn([process.execPath, import.meta.path, JSON.stringify(options)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the open loop ended with ${child.exitCode}`);
  return JSON.parse(text) as OpenLoopReport;
}

/** One connection: one request at a time. */
class Connection {
  readonly #socket: Socket;
  #seen = "";
  #done: ((isGood: boolean) => void) | undefined;

  constructor(path: string) {
    this.#socket = connect(path);
    this.#socket.on("data", (chunk) => {
      this.#seen += chunk.toString("latin1");
      if (!isWhole(this.#seen)) return;
      const isGood = this.#seen.startsWith("HTTP/1.1 200 ");
      this.#seen = "";
      this.#end(isGood);
    });
    this.#socket.on("close", () => this.#end(false));
    this.#socket.on("error", () => this.#end(false));
  }

  send(request: string, done: (isGood: boolean) => void): void {
    this.#done = done;
    this.#socket.write(request);
  }

  close(): void {
    this.#socket.destroy();
  }

  #end(isGood: boolean): void {
    const done = this.#done;
    this.#done = undefined;
    done?.(isGood);
  }
}

/** Whether an answer has come to its end, by its length or its last chunk. */
function isWhole(text: string): boolean {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, headEnd + 2));
  if (length !== null) return text.length >= headEnd + 4 + Number(length[1]);
  return text.endsWith("0\r\n\r\n");
}

async function run(options: OpenLoopOptions): Promise<OpenLoopReport> {
  const { path, perSecond, seconds, connections } = options;
  const requests = options.bodies.map((body) => {
    const head = `POST ${path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`;
    return head + body;
  });
  const all = Array.from({ length: connections }, () => new Connection(options.socket));
  const free = [...all];
  const count = Math.round(perSecond * seconds);
  const latencies: number[] = [];
  const waiting: number[] = [];
  let late = 0;
  let failed = 0;
  let answered = 0;
  let sent = 0;
  const send = (connection: Connection, dueMs: number): void => {
    const request = requests[sent++ % requests.length] as string;
    connection.send(request, (isGood) => {
      latencies.push(performance.now() - dueMs);
      if (!isGood) failed++;
      answered++;
      const next = waiting.shift();
      if (next === undefined) free.push(connection);
      else send(connection, next);
    });
  };
  const startMs = performance.now() + 50;
  for (let i = 0; i < count; ) {
    const nowMs = performance.now();
    const dueMs = startMs + (i * 1000) / perSecond;
    if (dueMs > nowMs) {
      await Bun.sleep(dueMs - nowMs);
      continue;
    }
    i++;
    const connection = free.pop();
    if (connection === undefined || nowMs - dueMs > lateMs) late++;
    if (connection === undefined) waiting.push(dueMs);
    else send(connection, dueMs);
  }
  const deadlineMs = performance.now() + answersMs;
  while (answered < count && performance.now() < deadlineMs) await Bun.sleep(1);
  for (const connection of all) connection.close();
  return {
    sent: count,
    late,
    failed: failed + count - answered,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    maxMs: quantile(latencies, 1),
  };
}

if (import.meta.main) {
  console.log(JSON.stringify(await run(JSON.parse(process.argv[2] as string))));
  process.exit(0);
}
