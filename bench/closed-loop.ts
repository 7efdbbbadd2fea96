/**
 * Throughput: so many connections, and on each the next request leaves when the answer to the last has
 * come. In a process of its own. The latency that it reports is that of a server at its limit; what one waits
 * for at a given rate is the open loop's (open-loop.ts).
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { quantile } from "./harness.ts";

export interface ClosedLoopOptions {
  /** Unix socket. */
  readonly socket: string;
  readonly path: string;
  /** JSON bodies, taken in turns. */
  readonly bodies: readonly string[];
  readonly connections: number;
  /** Requests in all, after a tenth as many to warm up. */
  readonly requests: number;
}

export interface ClosedLoopReport {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Runs it in a process of its own. @throws when an answer isn't a 200 */
export async function closedLoop(options: ClosedLoopOptions): Promise<ClosedLoopReport> {
  const child = Bun.spawn([process.execPath, import.meta.path], {
    stdin: new TextEncoder().encode(JSON.stringify(options)),
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`the closed loop ended with ${child.exitCode}`);
  return JSON.parse(text) as ClosedLoopReport;
}

async function run(options: ClosedLoopOptions): Promise<ClosedLoopReport> {
  const requests = options.bodies.map((body) =>
    Buffer.from(
      `POST ${options.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    ),
  );
  const sockets = await Promise.all(
    Array.from({ length: options.connections }, () => open(options.socket)),
  );
  let next = 0;
  const loop = async (count: number): Promise<number[]> => {
    const latencies: number[] = [];
    let left = count;
    await Promise.all(
      sockets.map(
        (socket) =>
          new Promise<void>((resolve, reject) => {
            let seen = "";
            let sentMs = 0;
            const send = (): void => {
              if (left-- <= 0) {
                socket.off("data", onData);
                resolve();
                return;
              }
              sentMs = performance.now();
              socket.write(requests[next++ % requests.length] as Buffer);
            };
            const onData = (chunk: Buffer): void => {
              seen += chunk.toString("latin1");
              const end = seen.indexOf("\r\n\r\n");
              if (end < 0) return;
              const length = /content-length: *(\d+)/i.exec(seen);
              if (length === null || seen.length < end + 4 + Number(length[1])) return;
              if (!seen.startsWith("HTTP/1.1 200 ")) {
                reject(new Error(seen));
                return;
              }
              latencies.push(performance.now() - sentMs);
              seen = "";
              send();
            };
            socket.on("data", onData);
            send();
          }),
      ),
    );
    return latencies;
  };
  await loop(Math.ceil(options.requests / 10));
  const begunMs = performance.now();
  const latencies = await loop(options.requests);
  const perSecond = options.requests / ((performance.now() - begunMs) / 1000);
  for (const socket of sockets) socket.destroy();
  return { perSecond, p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) };
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });
}

if (import.meta.main) {
  console.log(JSON.stringify(await run(JSON.parse(await Bun.stdin.text()))));
  process.exit(0);
}
