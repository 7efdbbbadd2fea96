/**
 * A stretch of network between two UDP addresses, as a program: delay, loss and a bottleneck, where
 * netem can't be had. One process for one pair of peers:
 *
 *     bun shaping-proxy.ts '{"delayMs":25,"loss":0.01,"bytesPerMs":6250,"queueBytes":625000}'
 *
 * It prints `{"a":port,"b":port}`: a sends to port a, b to port b. One line on its input,
 * `{"a":port,"b":port}`, tells where they are. At the end of its input it exits.
 *
 * @module
 */

import { SeededRandom } from "../seeded-random.ts";
import { setSocketBuffer } from "../socket-buffer.ts";

export interface Shape {
  /** One way. */
  readonly delayMs: number;
  /** Share of packets, each way. */
  readonly loss: number;
  /** Rate of the bottleneck each way; absent is none. */
  readonly bytesPerMs?: number;
  readonly queueBytes?: number;
  readonly seed?: number;
}

/** IP and UDP headers take part in the rate. */
const HEADERS_BYTES = 28;

type RawSocket = import("bun").udp.Socket<"buffer"> & { readonly fd?: number };

class Direction {
  #queue: { readonly at: number; readonly bytes: Uint8Array }[] = [];
  #head = 0;
  #busyUntil = 0;
  #timer = false;
  readonly #shape: Shape;
  readonly #random: SeededRandom;
  readonly #deliver: (batch: Uint8Array[]) => void;

  constructor(shape: Shape, seed: number, deliver: (batch: Uint8Array[]) => void) {
    this.#shape = shape;
    this.#random = new SeededRandom(seed);
    this.#deliver = deliver;
  }

  push(bytes: Uint8Array): void {
    const { delayMs, loss, bytesPerMs, queueBytes } = this.#shape;
    if (this.#random.next() < loss) return;
    const now = performance.now();
    let departs = now;
    if (bytesPerMs !== undefined) {
      const size = bytes.length + HEADERS_BYTES;
      const queued = Math.max(0, this.#busyUntil - now) * bytesPerMs;
      if (queued + size > (queueBytes ?? Number.POSITIVE_INFINITY)) return;
      this.#busyUntil = Math.max(this.#busyUntil, now) + size / bytesPerMs;
      departs = this.#busyUntil;
    }
    this.#queue.push({ at: departs + delayMs, bytes });
    this.#arm();
  }

  #arm(): void {
    if (this.#timer) return;
    this.#timer = true;
    setTimeout(() => {
      this.#timer = false;
      this.#run();
    }, 1);
  }

  #run(): void {
    const now = performance.now();
    let batch: Uint8Array[] = [];
    for (;;) {
      const first = this.#queue[this.#head];
      if (first === undefined || first.at > now) break;
      this.#head++;
      batch.push(first.bytes);
      if (batch.length === 64) {
        this.#deliver(batch);
        batch = [];
      }
    }
    if (batch.length > 0) this.#deliver(batch);
    if (this.#head > 4096) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    if (this.#head < this.#queue.length) this.#arm();
  }
}

function open(onBytes: (bytes: Uint8Array) => void): RawSocket {
  const socket = Bun.peek(
    Bun.udpSocket({
      hostname: "127.0.0.1",
      binaryType: "buffer",
      socket: { data: (_socket, bytes) => onBytes(bytes), error: () => {} },
    }),
  ) as RawSocket;
  for (const direction of ["receive", "send"] as const) {
    setSocketBuffer(socket.fd ?? -1, direction, 4 * 1024 * 1024);
  }
  return socket;
}

async function main(): Promise<void> {
  const shape = JSON.parse(process.argv[2] ?? "{}") as Shape;
  const seed = shape.seed ?? 1;
  const ports = { a: 0, b: 0 };
  const sendAll = (socket: RawSocket, port: number, batch: Uint8Array[]): void => {
    socket.sendMany(batch.flatMap((bytes) => [bytes, port, "127.0.0.1"]));
  };
  const aToB = new Direction(shape, seed, (batch) => sendAll(socketB, ports.b, batch));
  const bToA = new Direction(shape, seed + 1, (batch) => sendAll(socketA, ports.a, batch));
  const socketA = open((bytes) => aToB.push(bytes));
  const socketB = open((bytes) => bToA.push(bytes));
  console.log(JSON.stringify({ a: socketA.port, b: socketB.port }));
  for await (const line of console) Object.assign(ports, JSON.parse(line));
  process.exit(0);
}

if (import.meta.main) await main();
